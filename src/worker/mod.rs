//! One task for each assigned partition, which owns everything of it: reader, position, tracker.
//!
//! ```text
//!            ┌──────────── while this batch is written ────────────┐
//! Source ──► │ the next one is fetched                             │
//!            └──────────────────────────────► Sink ── stages ── writer ── tracker ── checkpoint
//! ```
//!
//! Batches are worked on one after another, which keeps the order of the partition; at most two
//! are held, the one being written and the one fetched ahead.

mod budget;
mod sink;
mod source;

use tokio_util::sync::CancellationToken;

use crate::offsets::StoreError;
use crate::tenure::Tenure;

pub use budget::Budget;
pub use sink::{Sink, SinkParts};
pub use source::{Source, SourceParts};

/// The worker of one partition.
pub struct PartitionWorker {
    /// For how long the partition is this instance's.
    pub tenure: Tenure,
    /// Where records come from.
    pub source: Source,
    /// Where they go.
    pub sink: Sink,
}

impl PartitionWorker {
    /// Works until `stop`, then finishes what is in flight and stores the last checkpoint. Dropped
    /// before, or at the end of its tenure, it leaves what is not acknowledged to whoever reads the
    /// partition next; in the latter case it does nothing more, and waits for `stop`.
    ///
    /// # Errors
    /// Where the last checkpoint can't be stored.
    pub async fn run(self, stop: CancellationToken) -> Result<(), StoreError> {
        let Self { tenure, source, sink } = self;
        tokio::select! {
            biased;
            // Not the end of this: whoever started it would start it again, under the same tenure.
            () = tenure.ended() => {
                stop.cancelled().await;
                Ok(())
            }
            result = Self::work(source, sink, stop.clone()) => result,
        }
    }

    async fn work(mut source: Source, mut sink: Sink, stop: CancellationToken) -> Result<(), StoreError> {
        let Some(start) = stop.run_until_cancelled(source.start()).await else { return Ok(()) };
        sink.begin_at(start);
        let mut fetched = source.fetch(&stop).await;
        while let Some(batch) = fetched {
            // Ahead only where there is room for two.
            fetched = if source.has_room_ahead() {
                let ((), ahead) = tokio::join!(sink.deliver(&batch), source.fetch(&stop));
                source.release(&batch);
                ahead
            } else {
                sink.deliver(&batch).await;
                source.release(&batch);
                source.fetch(&stop).await
            };
        }
        sink.finish().await
    }
}
