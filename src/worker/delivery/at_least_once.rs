//! What is acknowledged counts at once; the offset follows, at most once an interval.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::error;

use super::Aborted;
use crate::broker::{Error, OutputBatch, Producer, SourceBatch, Trouble, Watch, Writer, Written};
use crate::offsets::{Checkpoint, Checkpointer, OffsetStore, Standing, StoreError};
use crate::ownership::PartitionOwnership;
use crate::record::{Offset, Position};
use crate::retry::ErrorClass;
use crate::topic::TopicPartition;
use crate::tracker::{TrackError, Tracker};
use crate::worker::accounts::{Accounts, Done};
use crate::worker::source::Start;

/// Delivers at least once.
pub struct AtLeastOnce {
    parts: AtLeastOnceParts,
    /// As whom batches are written.
    producer: Producer,
    progress: Option<Progress>,
    /// In trouble while the store turns out to have another offset than it told.
    overtaken: Trouble,
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
    pub ownership: PartitionOwnership,
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
        let overtaken = parts.watch.operation_of("checkpoint", "confirm the offset of", parts.of.clone());
        Self { parts, producer: Producer::default(), progress: None, overtaken }
    }

    /// Begins where the source begins; stores that first, however long it takes.
    ///
    /// # Errors
    /// [`Aborted`] where the store turns out to have another offset than it told.
    pub async fn begin_at(&mut self, start: Start, accounts: &Arc<Accounts>) -> Result<(), Aborted> {
        let mut trouble = self.parts.watch.operation_of("checkpoint", "store the offset of", self.parts.of.clone());
        let loaded = start.stored.filter(|_| start.is_stored);
        if !start.is_stored {
            self.store_first(&start, &mut trouble).await?;
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
        let AtLeastOnceParts { store, ownership, checkpoint_interval, .. } = &self.parts;
        let (store, ownership) = (Arc::clone(store), ownership.clone());
        let checkpointer = Checkpointer::spawn(store, ownership, start, loaded, *checkpoint_interval, report);
        self.progress = Some(Progress { tracker, checkpointer });
        Ok(())
    }

    async fn store_first(&mut self, start: &Start, trouble: &mut Trouble) -> Result<(), Aborted> {
        let mut before = vec![start.stored];
        loop {
            let AtLeastOnceParts { store, ownership, .. } = &self.parts;
            ownership.held().await; // a lease that ran out may be renewed
            let Err(error) = store.store_over(&start.checkpoint, &before, ownership).await else {
                trouble.passed();
                self.overtaken.passed();
                return Ok(());
            };
            if let Some(overtaken) = error.overtaken() {
                return Err(self.begin_anew(overtaken));
            }
            if error.leaves_doubt() {
                before.push(Some(start.checkpoint.next_offset));
            }
            sleep(trouble.failed_as(error.class(), &error)).await;
        }
    }

    /// The place where this began is not where the store is: nothing more is written from there.
    fn begin_anew(&mut self, overtaken: &Error) -> Aborted {
        self.progress = None;
        Aborted { pause: self.overtaken.failed_as(ErrorClass::Transient, overtaken) }
    }

    /// Whether the place where this began is what the store has, as far as is known.
    ///
    /// # Errors
    /// [`Aborted`] where it is not.
    pub fn confirm(&mut self) -> Result<(), Aborted> {
        match self.progress.as_ref().map(|progress| progress.checkpointer.standing()) {
            Some(Standing::Overtaken(error)) => Err(self.begin_anew(&error)),
            Some(Standing::Confirmed) => {
                self.overtaken.passed();
                Ok(())
            }
            Some(Standing::Unconfirmed) | None => Ok(()),
        }
    }

    /// Returns when [`AtLeastOnce::confirm`] has something to say.
    pub async fn due(&self) {
        let Some(Progress { checkpointer, .. }) = &self.progress else { return std::future::pending().await };
        checkpointer.decided().await;
        // Said once: after that, only being overtaken is news.
        if matches!(checkpointer.standing(), Standing::Confirmed) && !self.overtaken.lasts() {
            checkpointer.overtaken().await;
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
    ///
    /// # Errors
    /// [`Aborted`] where the store turns out to have another offset than it told: what is not written by then
    /// is not to be.
    pub async fn write(&mut self, out: OutputBatch) -> Result<Written, Aborted> {
        self.confirm()?;
        let AtLeastOnceParts { writer, ownership, .. } = &self.parts;
        let overtaken = async {
            match &self.progress {
                Some(progress) => progress.checkpointer.overtaken().await,
                None => std::future::pending().await,
            }
        };
        let error = tokio::select! {
            biased;
            written = writer.write(out, &self.producer, ownership) => return Ok(written),
            error = overtaken => error,
        };
        // Of what was on its way nobody knows the number.
        self.producer = Producer::default();
        Err(self.begin_anew(&error))
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
