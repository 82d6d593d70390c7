//! The source of a worker's records: where it begins, and where it goes on when its position is gone.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_records::records::FlawKind;
use kafka_records::step::Relocation;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::budget::Share;
use super::rewinds::Rewinds;
use crate::config::{OutOfRange, StartAt};
use crate::kafka::{Cause, Error};
use crate::observe::{PartitionMetrics, PartitionState, PartitionStatus, count};
use crate::offsets::{Checkpoint, OffsetStore};
use crate::record::{Offset, Position};
use crate::retry::{Operation, Retries};
use crate::source::{PartitionReader, SourceBatch};
use crate::topic::{TopicId, TopicPartition};

/// The least pause after a fetch that a quota left empty.
const THROTTLED_PAUSE: Duration = Duration::from_millis(10);

/// Reads a partition from its checkpoint on; whatever fails is retried.
pub(super) struct Source {
    config: SourceConfig,
    operation: Operation,
    position: Position,
    /// The place before which the log was last found to lack what had been read.
    truncated_before: Option<Position>,
    rewinds: Rewinds,
}

/// The parts of a [`Source`].
pub(super) struct SourceConfig {
    /// The partition's topic.
    pub topic: String,
    /// The topic's id, where the broker tells one.
    pub topic_id: Option<TopicId>,
    /// The partition.
    pub partition: i32,
    /// Reads the partition, one attempt a call.
    pub reader: PartitionReader,
    /// The store of checkpoints.
    pub store: Arc<dyn OffsetStore>,
    /// The place to begin at without a checkpoint.
    pub start: StartAt,
    /// The policy where the position no longer exists.
    pub out_of_range: OutOfRange,
    /// The share of memory for what is fetched.
    pub share: Share,
    /// The policy of retries, and who is told of failures.
    pub retries: Retries,
    /// The partition's metrics.
    pub metrics: Arc<PartitionMetrics>,
    /// The partition's status, for people.
    pub status: Arc<PartitionStatus>,
}

/// The place where a source begins.
#[derive(Debug, Clone)]
pub(super) struct Start {
    /// The place.
    pub checkpoint: Checkpoint,
    /// The offset that the store has, though it be another log's.
    pub stored: Option<Offset>,
    /// Set where the place is stored. If not it must be, before anything is written: a partition that begins
    /// at the end must not begin at a later end after a crash.
    pub is_stored: bool,
}

impl Source {
    /// A source that knows nothing of its position yet.
    pub(super) fn new(config: SourceConfig) -> Self {
        let operation =
            config.retries.operation_of("fetch", "read", TopicPartition::new(&config.topic, config.partition));
        Self { config, operation, position: Position::default(), truncated_before: None, rewinds: Rewinds::default() }
    }

    /// Finds where to begin. What an earlier attempt had fetched is forgotten.
    pub(super) async fn start(&mut self) -> Start {
        self.config.share.give_back(usize::MAX);
        loop {
            match self.try_start().await {
                Ok(start) => {
                    let checkpoint = &start.checkpoint;
                    self.operation.succeeded();
                    self.position = checkpoint.position();
                    self.config.status.state(PartitionState::Running);
                    let (reader, why) = self.config.reader.taken();
                    info!(
                        topic = checkpoint.topic,
                        partition = checkpoint.partition,
                        offset = checkpoint.next_offset.0,
                        reader,
                        why,
                        "reading"
                    );
                    return start;
                }
                Err(pause) => sleep(pause).await,
            }
        }
    }

    async fn try_start(&mut self) -> Result<Start, Duration> {
        let SourceConfig { topic, partition, store, topic_id, .. } = &self.config;
        let stored = store.load(topic, *partition).await;
        let found = stored.map_err(|error| self.operation.failed_as(error.class(), &error))?;
        let stored = found.as_ref().map(|found| found.next_offset);
        let same_topic = |found: &Checkpoint| found.topic_id.zip(*topic_id).is_none_or(|(old, new)| old == new);
        let next_offset = match &found {
            Some(found) if same_topic(found) => {
                let checkpoint = Checkpoint { topic_id: topic_id.or(found.topic_id), ..found.clone() };
                return Ok(Start { checkpoint, stored, is_stored: true });
            }
            Some(found) => {
                warn!(
                    topic,
                    partition,
                    offset = found.next_offset.0,
                    "topic was recreated: the stored offset belongs to the old topic and is not used"
                );
                self.policy_offset(found.next_offset).await
            }
            None => self.first_offset().await,
        };
        let next_offset = next_offset.map_err(|error| self.operation.failed(&error))?;
        let SourceConfig { topic, partition, topic_id, .. } = &self.config;
        let checkpoint = Checkpoint {
            topic: topic.clone(),
            topic_id: *topic_id,
            partition: *partition,
            next_offset,
            leader_epoch: None,
        };
        Ok(Start { checkpoint, stored, is_stored: false })
    }

    async fn first_offset(&mut self) -> Result<Offset, Error> {
        match self.config.start {
            StartAt::Earliest => self.config.reader.earliest().await,
            StartAt::Latest => self.config.reader.latest().await,
        }
    }

    /// Returns the next batch that covers any offset, or `None` once `stop` is cancelled. Fetches that bring nothing, or
    /// fail, are repeated here.
    pub(super) async fn fetch(&mut self, stop: &CancellationToken) -> Option<SourceBatch> {
        stop.run_until_cancelled(self.fetch_some()).await
    }

    async fn fetch_some(&mut self) -> SourceBatch {
        loop {
            let begun = Instant::now();
            let fetched = self.config.reader.fetch(self.position, self.config.share.room()).await;
            self.config.metrics.undecodable.inc_by(self.config.reader.take_undecodable());
            match fetched {
                Ok(batch) => {
                    self.operation.succeeded();
                    self.note_fetched(&batch, begun.elapsed());
                    if !batch.range.is_empty() {
                        self.position = batch.end();
                        self.config.share.take(batch.bytes());
                        return batch;
                    }
                }
                Err(error) if error.is(ResponseError::OffsetOutOfRange) => {
                    if let Some(batch) = self.out_of_range(error).await {
                        return batch;
                    }
                }
                Err(error) if let Cause::Truncated { diverged, .. } = error.cause => {
                    if let Some(batch) = self.truncated(error, diverged).await {
                        return batch;
                    }
                }
                // The broker answers, and the next request waits for as long as it asked.
                Err(error) if error.is(ResponseError::ThrottlingQuotaExceeded) => {
                    self.operation.succeeded();
                    sleep(THROTTLED_PAUSE).await;
                }
                Err(error) => sleep(self.operation.at(self.position.offset).failed(&error)).await,
            }
        }
    }

    fn note_fetched(&self, batch: &SourceBatch, took: Duration) {
        let SourceConfig { metrics, status, .. } = &self.config;
        if !batch.is_empty() {
            metrics.fetch.observe(took); // a fetch that waited in vain says nothing of the broker
        }
        metrics.fetched(count(batch.len()), count(batch.bytes()));
        self.note_damage(batch);
        metrics.position(batch.range.end);
        status.position(batch.range.end);
        status.high_watermark(batch.high_watermark);
    }

    /// Logs and counts what is passed over because it can't be decoded.
    fn note_damage(&self, batch: &SourceBatch) {
        let SourceConfig { topic, partition, metrics, .. } = &self.config;
        for flaw in batch.flaws().iter().filter(|flaw| flaw.kind == FlawKind::Corrupt) {
            metrics.corrupt_batches.inc();
            warn!(
                topic,
                partition,
                from = batch.range.start.0,
                to = batch.range.end.0,
                why = flaw.why,
                "records can't be decoded: their bytes become a dead letter, and reading goes on behind them"
            );
        }
    }

    /// Goes on where the policy says; or waits, where it says to fail. What is returned has no
    /// records: it lets the place where reading goes on be stored, or a crash before the next
    /// record would ask the policy again, and a later end would pass over what came in between.
    async fn out_of_range(&mut self, error: Error) -> Option<SourceBatch> {
        let from = self.position;
        let to = match self.policy_offset(from.offset).await {
            // The broker takes it back.
            Ok(offset) if offset == from.offset => Err(error),
            Ok(offset) => Ok(Relocation { from, to: offset.into() }),
            Err(error) => Err(error),
        };
        let relocation = self.permitted(to).await?;
        let (topic, partition) = (&self.config.topic, self.config.partition);
        let expired = relocation.to.offset.since(from.offset);
        warn!(
            topic,
            partition,
            from = from.offset.0,
            to = relocation.to.offset.0,
            expired,
            "position no longer exists: reading goes on elsewhere, by source.on_offset_out_of_range"
        );
        self.config.metrics.expired.inc_by(expired);
        Some(self.relocate(relocation))
    }

    /// A move that is right and due. Where it is not, this says so and waits for a while.
    async fn permitted(&mut self, to: Result<Relocation, Error>) -> Option<Relocation> {
        let refused = match to {
            Ok(relocation) if relocation.goes_back() => match self.rewinds.wait(Instant::now()) {
                None => return Some(relocation),
                Some(wait) => self.goes_back_again(relocation, wait),
            },
            Ok(relocation) => return Some(relocation),
            Err(error) => error,
        };
        sleep(self.operation.at(self.position.offset).failed(&refused)).await;
        None
    }

    /// The error that keeps a policy from sending the position back once more.
    fn goes_back_again(&self, relocation: Relocation, wait: Duration) -> Error {
        let on = format!(
            "{}/{}, which would go back from {} to {} once more: what gives the reason for it again and again would have \
             all that lies between written again and again; that is done in {}",
            self.config.topic,
            self.config.partition,
            relocation.from.offset,
            relocation.to.offset,
            humantime::format_duration(Duration::from_secs(wait.as_secs() + 1))
        );
        Error::code("read", on, ResponseError::OffsetOutOfRange)
    }

    /// Moves the position as a policy says.
    fn relocate(&mut self, relocation: Relocation) -> SourceBatch {
        if relocation.goes_back() {
            self.rewinds.note(Instant::now());
            self.config.metrics.rewinds.inc();
        }
        (self.position, self.truncated_before) = (relocation.to, None);
        SourceBatch::relocated(relocation)
    }

    /// Goes on where the leader's log begins to differ from what was read, or, where the leader can't
    /// tell, where the policy says; or waits, where it says to fail. What is returned has no records,
    /// as after [`Source::out_of_range`].
    ///
    /// Kafka's own consumer does the same. With `latest`, too: what stands behind the place where the
    /// logs part was never read, so that passing over it would lose it, and going further back would
    /// only repeat what both have.
    async fn truncated(&mut self, error: Error, diverged: Option<Position>) -> Option<SourceBatch> {
        if self.truncated_before.replace(self.position) != Some(self.position) {
            self.config.metrics.truncations.inc();
        }
        let from = self.position;
        let to = match (self.config.out_of_range, diverged) {
            (OutOfRange::Fail, _) => Err(self.refused(error)),
            (_, Some(diverged)) => Ok(diverged),
            (OutOfRange::Earliest, None) => self.config.reader.earliest().await.map(Position::from),
            (OutOfRange::Latest, None) => self.config.reader.latest().await.map(Position::from),
        };
        let relocation = self.permitted(to.map(|to| Relocation { from, to })).await?;
        error!(
            topic = self.config.topic,
            partition = self.config.partition,
            position = from.offset.0,
            leader_epoch = from.leader_epoch,
            diverged = diverged.map(|diverged| diverged.offset.0),
            next = relocation.to.offset.0,
            "the log was truncated, as by an unclean leader election: what was read from where it diverged on \
             is lost to Kafka; reading goes on with what stands there now"
        );
        Some(self.relocate(relocation))
    }

    /// A truncation that someone is to decide about.
    fn refused(&self, error: Error) -> Error {
        let on = format!(
            "{} (source.on_offset_out_of_range is \"fail\": set another, or the offset with 'offsets set')",
            error.on
        );
        Error::new(error.doing, on, error.cause.clone())
    }

    /// Asks the policy where to go on instead of at `position`.
    ///
    /// # Errors
    /// Where that can't be asked, or the policy is to fail.
    async fn policy_offset(&mut self, position: Offset) -> Result<Offset, Error> {
        // Another topic by the same name is the assignment's to tell of.
        self.config.reader.check_topic().await?;
        let (earliest, latest) = (self.config.reader.earliest().await?, self.config.reader.latest().await?);
        match self.config.out_of_range {
            _ if (earliest..=latest).contains(&position) && position == self.position.offset => Ok(position),
            OutOfRange::Earliest => Ok(earliest),
            OutOfRange::Latest => Ok(latest),
            OutOfRange::Fail => {
                let on = format!(
                    "{}/{} at offset {position}, which is not within {earliest}..={latest} (source.on_offset_out_of_range is \"fail\": \
                     set another, or the offset with 'offsets set')",
                    self.config.topic, self.config.partition
                );
                let failed = Error::code("read", on, ResponseError::OffsetOutOfRange);
                Err(failed)
            }
        }
    }

    /// Tells whether another batch may be fetched while one is written.
    pub(super) fn has_room_ahead(&self) -> bool {
        self.config.share.has_room_ahead()
    }

    /// Gives back the room of a batch that is written.
    pub(super) fn release(&mut self, bytes: usize) {
        self.config.share.give_back(bytes);
    }
}
