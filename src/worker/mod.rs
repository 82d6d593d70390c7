//! One task for each assigned partition, which owns everything of it: reader, position, tracker.
//!
//! ```text
//!            ┌──────────── while this batch is written ────────────┐
//! Source ──► │ the next one is fetched                             │
//!   ▲        └──────────────────────────────► Sink ──► stages ──► output::write ──► brokers
//!   │                                           └─ Delivery: transactions, or offsets in a store
//!   └── aborted: from the offset that is stored ──────┘
//! ```
//!
//! Batches are worked on one after another, which keeps the order of the partition; at most two
//! are held, the one being written and the one fetched ahead.

mod breaker;
mod budget;
mod dead_letter_gate;
mod delivery;
mod factory;
mod rewinds;
mod sink;
mod source;
mod telemetry;

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::observe::{PartitionState, PartitionStatus};
use crate::offsets::StoreError;
use crate::ownership::PartitionOwnership;
use crate::retry::working_for;
use crate::source::SourceBatch;

pub use budget::Budget;
pub use dead_letter_gate::ShutdownHandle;
pub use delivery::Transactions;
pub use factory::WorkerFactory;

use delivery::Aborted;
use sink::Sink;
use source::Source;

/// The worker of one partition.
pub struct PartitionWorker {
    /// The ownership of the partition, which ends this worker.
    ownership: PartitionOwnership,
    source: Source,
    sink: Sink,
    status: Arc<PartitionStatus>,
}

impl PartitionWorker {
    /// Works until `stop`, then finishes what is in flight and stores the last checkpoint. Dropped
    /// before, or at the end of its ownership, it leaves what is not acknowledged to whoever reads the
    /// partition next; in the latter case it does nothing more, and waits for `stop`.
    ///
    /// # Errors
    /// Where the last checkpoint can't be stored.
    pub async fn run(self, stop: CancellationToken) -> Result<(), StoreError> {
        let Self { ownership, source, sink, status } = self;
        tokio::select! {
            biased;
            // Not the end of this: whoever started it would start it again, under the same ownership.
            () = ownership.ended() => {
                stop.cancelled().await;
                Ok(())
            }
            never = drains(&status, &stop) => match never {},
            result = working_for(status.troubles(), Self::work(source, sink, stop.clone())) => result,
        }
    }

    async fn work(mut source: Source, mut sink: Sink, stop: CancellationToken) -> Result<(), StoreError> {
        while let Err(Aborted { pause }) = attempt(&mut source, &mut sink, &stop).await {
            if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                break;
            }
        }
        sink.finish().await
    }
}

/// Shows from `stop` on that the worker drains.
async fn drains(status: &PartitionStatus, stop: &CancellationToken) -> Infallible {
    stop.cancelled().await;
    status.state(PartitionState::Draining);
    std::future::pending().await
}

/// Works from the offset that is stored on, until `stop`.
///
/// # Errors
/// [`Aborted`]: what was written since the last commit does not count.
async fn attempt(source: &mut Source, sink: &mut Sink, stop: &CancellationToken) -> Result<(), Aborted> {
    let begun = async {
        sink.prepare().await?;
        sink.begin_at(source.start().await).await
    };
    let Some(begun) = stop.run_until_cancelled(begun).await else { return Ok(()) };
    begun?;
    let mut fetched = next(source, sink, None, stop).await?;
    while let Some(batch) = fetched {
        let bytes = batch.bytes();
        // Ahead only where there is room for two.
        fetched = if source.has_room_ahead() {
            let ahead = next(source, sink, Some(batch), stop).await?;
            source.release(bytes);
            ahead
        } else {
            sink.deliver(&batch, stop).await?;
            drop(batch);
            source.release(bytes);
            next(source, sink, None, stop).await?
        };
    }
    Ok(())
}

/// Fetches the next batch, while one is delivered, if there is one, and commits are made as they are
/// due; `None` once `stop` is called.
async fn next(
    source: &mut Source,
    sink: &mut Sink,
    batch: Option<SourceBatch>,
    stop: &CancellationToken,
) -> Result<Option<SourceBatch>, Aborted> {
    let mut fetch = pin!(source.fetch(stop));
    let mut fetched = None;
    // Dropped as soon as it is delivered: the next one may wait for the memory that it holds.
    if let Some(batch) = batch {
        beside(&mut fetch, &mut fetched, sink.deliver(&batch, stop)).await?;
    }
    loop {
        if let Some(fetched) = fetched {
            return Ok(fetched);
        }
        tokio::select! {
            ahead = &mut fetch => fetched = Some(ahead),
            () = sink.due() => beside(&mut fetch, &mut fetched, sink.commit()).await?,
        }
    }
}

/// Sees `work` through while a fetch goes on: one that stood still in the middle could hold what others wait for, the
/// connection that it writes to among them.
async fn beside<F: Future, T>(
    fetch: &mut Pin<&mut F>,
    fetched: &mut Option<F::Output>,
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            ahead = &mut *fetch, if fetched.is_none() => *fetched = Some(ahead),
        }
    }
}
