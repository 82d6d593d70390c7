//! What is acknowledged counts at once; the offset follows, at most once an interval.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::error;

use crate::broker::{OutputBatch, Producer, SourceBatch, Trouble, Watch, Writer, Written};
use crate::offsets::{Checkpoint, Checkpointer, OffsetStore, StoreError};
use crate::record::{Offset, Position, TopicPartition};
use crate::tenure::Tenure;
use crate::tracker::{TrackError, Tracker};
use crate::worker::accounts::{Accounts, Done};
use crate::worker::source::Start;

/// Delivers at least once.
pub struct AtLeastOnce {
    parts: AtLeastOnceParts,
    /// As whom batches are written.
    producer: Producer,
    progress: Option<Progress>,
}

/// What it is made of.
pub struct AtLeastOnceParts {
    /// The source's partition.
    pub of: TopicPartition,
    /// Who writes.
    pub writer: Arc<Writer>,
    /// Where checkpoints go.
    pub store: Arc<dyn OffsetStore>,
    /// How often at most.
    pub checkpoint_interval: Duration,
    /// For how long the partition is this instance's: nothing is written after.
    pub tenure: Tenure,
    /// Who is told of failures.
    pub watch: Watch,
}

#[derive(Debug)]
struct Progress {
    tracker: Tracker,
    checkpointer: Checkpointer,
}

impl AtLeastOnce {
    /// Knows nothing of where its partition begins yet.
    pub fn new(parts: AtLeastOnceParts) -> Self {
        Self { parts, producer: Producer::default(), progress: None }
    }

    /// Begins where the source begins; stores that first, however long it takes.
    pub async fn begin_at(&mut self, start: Start, accounts: &Arc<Accounts>) {
        let mut trouble = self.parts.watch.operation_of("checkpoint", "store the offset of", self.parts.of.clone());
        if !start.is_stored {
            self.store_first(&start.checkpoint, &mut trouble).await;
        }
        let start = start.checkpoint;
        accounts.begin_at(start.next_offset);
        let tracker = Tracker::starting_at(start.next_offset);
        let accounts = Arc::clone(accounts);
        let report = move |outcome: Result<&Checkpoint, &StoreError>, took| match outcome {
            Ok(checkpoint) => {
                trouble.passed();
                accounts.stored(checkpoint.next_offset, took);
                Duration::ZERO
            }
            Err(error) => trouble.failed_as(error.class(), error),
        };
        let AtLeastOnceParts { store, tenure, checkpoint_interval, .. } = &self.parts;
        let checkpointer = Checkpointer::spawn(Arc::clone(store), tenure.clone(), start, *checkpoint_interval, report);
        self.progress = Some(Progress { tracker, checkpointer });
    }

    async fn store_first(&self, checkpoint: &Checkpoint, trouble: &mut Trouble) {
        let AtLeastOnceParts { store, tenure, .. } = &self.parts;
        loop {
            tenure.held().await; // a lease that ran out may be renewed
            match store.store(checkpoint, tenure).await {
                Ok(()) => return trouble.passed(),
                Err(error) => sleep(trouble.failed_as(error.class(), &error)).await,
            }
        }
    }

    /// Work on a batch begins.
    pub fn begin(&mut self, batch: &SourceBatch, accounts: &Accounts) {
        let Some(Progress { tracker, checkpointer }) = &mut self.progress else { return };
        if batch.range.start != tracker.next() {
            // The source went on elsewhere; nothing is in flight, so that nothing is passed over
            // but what the log no longer has.
            *tracker = Tracker::starting_at(batch.range.start);
            let known = batch.range.is_empty().then(|| batch.end());
            checkpointer.restart_at(known.unwrap_or_else(|| batch.range.start.into()));
        }
        if let Err(error) = tracker.begin(batch.range.clone()) {
            self.say_mistake(&batch.range, &error);
        }
        accounts.in_flight(batch.bytes());
    }

    /// Writes a batch.
    pub async fn write(&self, out: OutputBatch) -> Written {
        self.parts.writer.write(out, &self.producer, &self.parts.tenure).await
    }

    /// All of a batch is written.
    pub fn done(&mut self, done: &Done, accounts: &Accounts) {
        let Some(Progress { tracker, checkpointer }) = &mut self.progress else { return };
        match tracker.acknowledge(done.range.clone()) {
            Ok(()) => {
                // Of an earlier place, where there is work before this, the epoch is not known.
                let offset = tracker.done();
                let leader_epoch = done.end.leader_epoch.filter(|_| offset == done.end.offset);
                checkpointer.advance(Position { offset, leader_epoch });
            }
            Err(error) => self.say_mistake(&done.range, &error),
        }
        accounts.in_flight(0);
        accounts.note(done);
    }

    fn say_mistake(&self, range: &Range<Offset>, error: &TrackError) {
        let (TopicPartition { topic, partition }, offset) = (&self.parts.of, range.start.0);
        error!(%topic, partition, offset, %error, "a mistake of this program: the offset stays where it is");
    }

    /// Stores the last checkpoint.
    ///
    /// # Errors
    /// Where that fails.
    pub async fn finish(self) -> Result<(), StoreError> {
        match self.progress {
            Some(progress) => progress.checkpointer.finish().await,
            None => Ok(()),
        }
    }
}
