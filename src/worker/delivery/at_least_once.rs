//! At least once: what is acknowledged counts at once; the offset follows, at most once an interval.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::error;

use super::Aborted;
use crate::kafka::Error;
use crate::offsets::{Checkpoint, Checkpointer, OffsetStore, Standing, StoreError};
use crate::output::Producer;
use crate::ownership::PartitionOwnership;
use crate::record::{Offset, Position};
use crate::retry::{ErrorClass, Operation, Retries};
use crate::source::SourceBatch;
use crate::topic::TopicPartition;
use crate::tracker::{TrackError, Tracker};
use crate::worker::source::Start;
use crate::worker::telemetry::{CompletedBatch, Telemetry};

/// Delivers at least once.
pub(crate) struct AtLeastOnce {
    config: AtLeastOnceConfig,
    /// The idempotent producer that batches are written by.
    producer: Producer,
    progress: Option<Progress>,
    /// Failing while the store turns out to have another offset than it told.
    confirmation: Operation,
}

/// The parts of an [`AtLeastOnce`].
pub(crate) struct AtLeastOnceConfig {
    /// The source's partition.
    pub of: TopicPartition,
    /// The store of checkpoints.
    pub store: Arc<dyn OffsetStore>,
    /// The time between two checkpoints, at least.
    pub checkpoint_interval: Duration,
    /// The ownership of the partition: no checkpoint is stored after it.
    pub ownership: PartitionOwnership,
    /// The policy of retries, and who is told of failures.
    pub retries: Retries,
    /// Counts and status of what is acknowledged.
    pub telemetry: Arc<Telemetry>,
}

#[derive(Debug)]
struct Progress {
    tracker: Tracker,
    checkpointer: Checkpointer,
}

impl AtLeastOnce {
    /// A guarantee that does not know where its partition begins yet.
    pub(crate) fn new(config: AtLeastOnceConfig) -> Self {
        let confirmation = config.retries.operation_of("checkpoint", "confirm the offset of", config.of.clone());
        Self { config, producer: Producer::default(), progress: None, confirmation }
    }

    /// Begins where the source begins; stores that first, however long it takes.
    ///
    /// # Errors
    /// [`Aborted`] where the store turns out to have another offset than it told.
    pub(crate) async fn begin_at(&mut self, start: Start) -> Result<(), Aborted> {
        let mut operation =
            self.config.retries.operation_of("checkpoint", "store the offset of", self.config.of.clone());
        let loaded = start.stored.filter(|_| start.is_stored);
        if !start.is_stored {
            self.store_first(&start, &mut operation).await?;
        }
        let start = start.checkpoint;
        self.config.telemetry.begin_at(start.next_offset);
        let tracker = Tracker::starting_at(start.next_offset);
        let telemetry = Arc::clone(&self.config.telemetry);
        let report = move |outcome: Result<&Checkpoint, &StoreError>, took| match outcome {
            Ok(checkpoint) => {
                operation.succeeded();
                telemetry.stored(checkpoint.next_offset, took);
                Duration::ZERO
            }
            Err(error) => operation.failed_as(error.class(), error),
        };
        let AtLeastOnceConfig { store, ownership, checkpoint_interval, .. } = &self.config;
        let (store, ownership) = (Arc::clone(store), ownership.clone());
        let checkpointer = Checkpointer::spawn(store, ownership, start, loaded, *checkpoint_interval, report);
        self.progress = Some(Progress { tracker, checkpointer });
        Ok(())
    }

    async fn store_first(&mut self, start: &Start, operation: &mut Operation) -> Result<(), Aborted> {
        let mut before = vec![start.stored];
        loop {
            let AtLeastOnceConfig { store, ownership, .. } = &self.config;
            ownership.held().await; // a lease that ran out may be renewed
            let Err(error) = store.store_over(&start.checkpoint, &before, ownership).await else {
                operation.succeeded();
                self.confirmation.succeeded();
                return Ok(());
            };
            if let Some(overtaken) = error.overtaken() {
                return Err(self.begin_anew(overtaken));
            }
            if error.leaves_doubt() {
                before.push(Some(start.checkpoint.next_offset));
            }
            sleep(operation.failed_as(error.class(), &error)).await;
        }
    }

    /// The place where this began is not where the store is: nothing more is written from there.
    fn begin_anew(&mut self, overtaken: &Error) -> Aborted {
        self.progress = None;
        Aborted { pause: self.confirmation.failed_as(ErrorClass::Transient, overtaken) }
    }

    /// Checks that the place where this began is what the store has, as far as is known.
    ///
    /// # Errors
    /// [`Aborted`] where it is not.
    pub(crate) fn confirm(&mut self) -> Result<(), Aborted> {
        match self.progress.as_ref().map(|progress| progress.checkpointer.standing()) {
            Some(Standing::Overtaken(error)) => Err(self.begin_anew(&error)),
            Some(Standing::Confirmed) => {
                self.confirmation.succeeded();
                Ok(())
            }
            Some(Standing::Unconfirmed) | None => Ok(()),
        }
    }

    /// Returns when [`AtLeastOnce::confirm`] has something to say.
    pub(crate) async fn due(&self) {
        let Some(Progress { checkpointer, .. }) = &self.progress else { return std::future::pending().await };
        checkpointer.decided().await;
        // Said once: after that, only being overtaken is news.
        if matches!(checkpointer.standing(), Standing::Confirmed) && !self.confirmation.is_failing() {
            checkpointer.overtaken().await;
        }
    }

    /// Notes that a batch is about to be written.
    pub(crate) fn begin(&mut self, batch: &SourceBatch) {
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
        self.config.telemetry.in_flight(batch.bytes());
    }

    /// The producer that batches are written by.
    pub(crate) fn producer(&self) -> &Producer {
        &self.producer
    }

    /// Returns once the store turns out to have another offset than it told: what is not written by then is not to be.
    pub(crate) async fn overtaken(&self) -> Error {
        match &self.progress {
            Some(progress) => progress.checkpointer.overtaken().await,
            None => std::future::pending().await,
        }
    }

    /// Notes that a write was called off.
    pub(crate) fn abort(&mut self, error: &Error) -> Aborted {
        // Of what was on its way nobody knows the number.
        self.producer = Producer::default();
        self.begin_anew(error)
    }

    /// Notes that all of a batch is written.
    pub(crate) fn complete(&mut self, completed: &CompletedBatch) {
        let Some(Progress { tracker, checkpointer }) = &mut self.progress else { return };
        match tracker.acknowledge(completed.range.clone()) {
            Ok(()) => {
                // Of an earlier place, where there is work before this, the epoch is not known.
                let offset = tracker.done();
                let leader_epoch = completed.end.leader_epoch.filter(|_| offset == completed.end.offset);
                checkpointer.advance(Position { offset, leader_epoch });
            }
            Err(error) => self.say_mistake(&completed.range, &error),
        }
        self.config.telemetry.in_flight(0);
        self.config.telemetry.note(completed);
    }

    fn say_mistake(&self, range: &Range<Offset>, error: &TrackError) {
        let (TopicPartition { topic, partition }, offset) = (&self.config.of, range.start.0);
        error!(%topic, partition, offset, %error, "offsets out of order, by a mistake of this program: the stored offset stays where it is");
    }

    /// Stores the last checkpoint.
    ///
    /// # Errors
    /// Where that fails.
    pub(crate) async fn finish(self) -> Result<(), StoreError> {
        match self.progress {
            Some(progress) => progress.checkpointer.finish().await,
            None => Ok(()),
        }
    }
}
