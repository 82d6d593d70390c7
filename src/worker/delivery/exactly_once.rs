//! Exactly once: outputs, dead letters and the source's offset in one transaction: all of it counts, or none.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kafka_client::{
    Begun, Cluster, Connection, Coordinator, OffsetInTransaction, TopicPartitions, TransactionVersion,
    WithinTransaction,
};
use kafka_protocol::ResponseError;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use super::Aborted;
use crate::config;
use crate::kafka::{Cause, Error};
use crate::observe::{Dimensions, Tally};
use crate::offsets::{Checkpoint, CommitIdentity, StoreError, group_offset};
use crate::output::{Destination, OutputBatch, OutputTopics, Producer};
use crate::ownership::PartitionOwnership;
use crate::record::{Offset, Position};
use crate::retry::{ErrorClass, Operation, Retries};
use crate::source::SourceBatch;
use crate::topic::TopicPartition;
use crate::worker::source::Start;
use crate::worker::telemetry::{CompletedBatch, Telemetry};
use kafka_client::concurrent_transactions::Ending;
use kafka_client::transaction::{Failure, Request, Transaction, is_fenced};

/// Everything that the transactions of all partitions share.
pub struct Transactions {
    /// `delivery.*`
    pub settings: config::Delivery,
    /// Begins each transactional id.
    pub id_prefix: String,
    /// The brokers.
    pub cluster: Arc<Cluster>,
    /// Keeps the offsets. The store loads them over the same connection as they are committed.
    pub group: Arc<Coordinator>,
    /// The member, or none, that offsets are committed as.
    pub committer: CommitIdentity,
    /// The time after which an offset is committed again though nothing has changed: brokers would forget it.
    pub refresh_interval: Option<Duration>,
    /// The topics that are written to.
    pub outputs: Arc<OutputTopics>,
    /// The policy of retries, and who is told of failures.
    pub retries: Retries,
    /// The version of transactions that the log was last told of.
    pub told: Mutex<Option<TransactionVersion>>,
}

impl Transactions {
    /// Logs which version is spoken: once, as long as it stays that.
    fn tell(&self, version: TransactionVersion) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if *told != Some(version) {
            *told = Some(version);
            info!(version = version.number(), "exactly once by transactions of this version (transaction.version)");
        }
    }
}

/// Delivers exactly once.
pub(crate) struct ExactlyOnce {
    config: ExactlyOnceConfig,
    id: Arc<str>,
    coordinator: Coordinator,
    machine: Transaction,
    /// The id at the moment, and the numbers of what is written under it.
    producer: Option<(Begun, Producer)>,
    /// The last commit, and its time.
    committed: Option<(Checkpoint, Instant)>,
    /// The offset that the group was said to have, until the first commit shows that it has.
    unconfirmed: Option<Loaded>,
    /// Whom the offset was loaded from, or committed to last.
    keeper: Option<Arc<Connection>>,
    /// Requests for an id whose answers were lost: each may yet arrive, and fence what came after it.
    unanswered: Unanswered,
    open: Open,
    /// Failing while a request is refused.
    operation: Operation,
    /// Failing since what was written last was aborted, until something is committed.
    progress: Operation,
}

/// The time that a request whose answer was given up may lie somewhere before it is carried out.
const LATE: Duration = Duration::from_secs(120);

/// Requests whose answers were lost.
#[derive(Debug, Default)]
struct Unanswered(Vec<Instant>);

impl Unanswered {
    fn note(&mut self) {
        self.forget_old();
        self.0.push(Instant::now());
    }

    /// Tells whether one of them may have been carried out by now. Each can be the reason once.
    fn has_arrived(&mut self) -> bool {
        self.forget_old();
        let any = !self.0.is_empty();
        self.0.truncate(self.0.len().saturating_sub(1));
        any
    }

    fn forget_old(&mut self) {
        self.0.retain(|since| since.elapsed() < LATE);
    }
}

/// An offset as the store told it; `None` where it has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Loaded(Option<Offset>);

/// The parts of an [`ExactlyOnce`].
pub(crate) struct ExactlyOnceConfig {
    /// The source's partition.
    pub of: TopicPartition,
    /// Everything that the partitions share.
    pub transactions: Arc<Transactions>,
    /// The ownership of the partition: nothing is committed after it.
    pub ownership: PartitionOwnership,
    /// The fields that are counted by value.
    pub dimensions: Dimensions,
    /// Counts and status of what is committed.
    pub telemetry: Arc<Telemetry>,
}

/// The open transaction: nothing of it counts before the next commit.
struct Open {
    since: Option<Instant>,
    /// The place to commit.
    next: Option<Position>,
    /// Bytes of source records, those of the batch that is being worked on included.
    bytes: usize,
    batches: Vec<CompletedBatch>,
    tally: Tally,
}

impl Open {
    fn nothing(dimensions: Dimensions) -> Self {
        Self { since: None, next: None, bytes: 0, batches: Vec::new(), tally: Tally::new(dimensions) }
    }

    fn clear(&mut self) {
        let Self { since, next, bytes, batches, tally } = self;
        (*since, *next, *bytes) = (None, None, 0);
        batches.clear();
        tally.clear();
    }
}

impl ExactlyOnce {
    /// A guarantee that has asked nobody yet.
    pub(crate) fn new(config: ExactlyOnceConfig) -> Self {
        let ExactlyOnceConfig { of, transactions, dimensions, .. } = &config;
        let id: Arc<str> = format!("{}-{}-{}", transactions.id_prefix, of.topic, of.partition).into();
        let operation = transactions.retries.operation_of("transaction", "transactions of", of.clone());
        let progress = transactions.retries.operation_of("transaction", "commits of", of.clone());
        Self {
            coordinator: Coordinator::of_transactions(Arc::clone(&transactions.cluster), &id),
            id,
            machine: Transaction::default(),
            producer: None,
            committed: None,
            unconfirmed: None,
            keeper: None,
            unanswered: Unanswered::default(),
            open: Open::nothing(dimensions),
            operation,
            progress,
            config,
        }
    }

    /// Gets an id: whoever wrote for this partition before writes no more, and what was open is ended.
    ///
    /// # Errors
    /// [`Aborted`] never, since nothing is open.
    pub(crate) async fn prepare(&mut self) -> Result<(), Aborted> {
        self.settle().await
    }

    /// Begins where the source begins; commits that first where it is not.
    ///
    /// # Errors
    /// [`Aborted`].
    pub(crate) async fn begin_at(&mut self, start: Start) -> Result<(), Aborted> {
        let next = start.checkpoint.position();
        self.committed = Some((start.checkpoint, Instant::now()));
        self.unconfirmed = Some(Loaded(start.stored));
        self.keeper = self.config.transactions.group.current().await;
        self.config.telemetry.in_flight(0);
        self.config.telemetry.begin_at(next.offset);
        if !start.is_stored {
            self.open.next = Some(next);
            self.commit().await?;
        } else if self.progress.is_failing() {
            // Though there may be no more to read: a commit shows that this works again.
            (self.open.next, self.open.since) = (Some(next), Some(Instant::now()));
        }
        Ok(())
    }

    /// Notes that a batch is about to be written.
    pub(crate) fn begin(&mut self, batch: &SourceBatch) {
        self.open.since.get_or_insert_with(Instant::now);
        self.open.bytes += batch.bytes();
        self.config.telemetry.in_flight(self.open.bytes);
    }

    /// Tells whether anything is written that does not count yet.
    pub(crate) fn is_open(&self) -> bool {
        !self.open.batches.is_empty()
    }

    /// The tally of what does not count yet.
    pub(crate) fn tally(&mut self) -> &mut Tally {
        &mut self.open.tally
    }

    /// Returns once the open transaction has the partitions of these outputs.
    ///
    /// # Errors
    /// [`Aborted`].
    pub(crate) async fn ready(&mut self, out: &OutputBatch) -> Result<(), Aborted> {
        self.machine.write_to(out.destinations());
        self.settle().await
    }

    /// The producer of the open transaction.
    ///
    /// # Errors
    /// Where it has no id.
    pub(crate) fn producer(&self) -> Result<&Producer, Error> {
        self.producer.as_ref().map(|(_, producer)| producer).ok_or_else(|| self.unidentified())
    }

    /// Ends the open transaction, of which nothing counts.
    pub(crate) async fn abort(&mut self, error: &Error) -> Aborted {
        self.machine.abort();
        self.aborted(error).await
    }

    /// Notes that all of a batch is written; commits where the transaction is large or old enough.
    ///
    /// # Errors
    /// [`Aborted`].
    pub(crate) async fn complete(&mut self, completed: CompletedBatch) -> Result<(), Aborted> {
        let settings = &self.config.transactions.settings;
        self.open.next = Some(completed.end);
        self.open.batches.push(completed);
        let old = self.open.since.is_some_and(|since| since.elapsed() >= settings.transaction_interval);
        let large = self.open.bytes >= settings.transaction_max_bytes.as_usize();
        if old || large { self.commit().await } else { Ok(()) }
    }

    /// Returns when what is open is old enough, or what was committed is about to be forgotten.
    pub(crate) async fn due(&self) {
        let Transactions { settings, refresh_interval, .. } = &*self.config.transactions;
        let old = self.open.since.map(|since| since + settings.transaction_interval);
        let stale = self.committed.as_ref().zip(*refresh_interval).map(|((_, at), interval)| *at + interval);
        match old.or(stale) {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    /// Commits what is open; where nothing is, the offset as it was, which brokers would forget.
    ///
    /// # Errors
    /// [`Aborted`]: then it is not committed, or it can't be told here; the group's offset tells.
    pub(crate) async fn commit(&mut self) -> Result<(), Aborted> {
        let Some((checkpoint, at)) = &self.committed else { return Ok(()) };
        let stale = self.config.transactions.refresh_interval.is_some_and(|interval| at.elapsed() >= interval);
        let unchanged = stale.then(|| checkpoint.position());
        let Some(next) = self.open.next.or(unchanged) else { return Ok(()) };
        let begun = Instant::now();
        self.machine.commit(next.offset);
        self.settle().await?;
        self.progress.succeeded();
        self.committed = self.committed.take().map(|(before, _)| (before.at(next), Instant::now()));
        let telemetry = &self.config.telemetry;
        telemetry.stored(next.offset, begun.elapsed());
        telemetry.tally().merge(&self.open.tally);
        self.open.batches.iter().for_each(|completed| telemetry.note(completed));
        self.open.clear();
        telemetry.in_flight(0);
        Ok(())
    }

    /// Asks the coordinators until there is nothing to ask.
    async fn settle(&mut self) -> Result<(), Aborted> {
        let mut ending = Ending::default();
        while let Some(request) = self.machine.poll() {
            self.config.ownership.held().await;
            let Err(error) = self.ask(&request).await else {
                self.operation.succeeded();
                continue;
            };
            if matches!(error.cause, Cause::NotHeld) {
                continue; // not sent: waits until it may be
            }
            if matches!(request, Request::Initialize | Request::Renew) && error.leaves_doubt() {
                self.unanswered.note();
            }
            if self.machine.failed(&error) == Failure::Aborted {
                return Err(self.aborted(&error).await);
            }
            if let Some(pause) = ending.pause(&error) {
                sleep(pause).await;
                continue;
            }
            if let Request::AddPartitions(partitions) = &request
                && self.has_any_gone(partitions, &error).await
            {
                return Err(self.abort(&error).await);
            }
            let pause = self.note(&request, &error);
            sleep(pause).await;
        }
        Ok(())
    }

    /// Asks one thing, once.
    async fn ask(&mut self, request: &Request) -> Result<(), Error> {
        let Transactions { settings, group, outputs, .. } = &*self.config.transactions;
        let ownership = &*self.config.ownership.permit();
        if matches!(request, Request::Initialize | Request::Renew) {
            let before = self.producer.as_ref().map(|(begun, _)| begun.producer);
            let before = before.filter(|_| *request == Request::Renew);
            let (timeout, latest) = (settings.transaction_timeout, settings.transaction_version.into());
            let begun = self.coordinator.init_transactions(timeout, latest, before, ownership).await?;
            self.config.transactions.tell(begun.version);
            self.write_as(begun);
            self.machine.initialized(begun.version);
            return Ok(());
        }
        let Some((begun, _)) = &self.producer else { return Err(self.unidentified()) };
        let begun = *begun;
        match request {
            Request::Initialize | Request::Renew => {}
            Request::AddPartitions(partitions) => {
                let mut named = TopicPartitions::new();
                for to in partitions {
                    named.entry(outputs.name(*to).to_owned()).or_default().insert(to.partition);
                }
                self.coordinator.add_partitions(begun.producer, &named, ownership).await?;
            }
            Request::AddOffsets => self.coordinator.add_offsets(begun.producer, group.group(), ownership).await?,
            Request::CommitOffsets(offset) => {
                self.commit_offset(begun, *offset).await?;
                self.unconfirmed = None;
            }
            Request::End => {
                let next = self.coordinator.commit_transaction(begun, ownership).await?;
                if let Some((_, producer)) = &self.producer {
                    outputs.count(producer.take_uncounted());
                }
                if next != begun {
                    self.write_as(next);
                }
            }
        }
        self.machine.done();
        Ok(())
    }

    /// From now on. Numbers begin again.
    fn write_as(&mut self, begun: Begun) {
        let within = WithinTransaction { transactional_id: Arc::clone(&self.id), version: begun.version };
        self.producer = Some((begun, Producer::transactional(within, begun.producer)));
    }

    async fn commit_offset(&mut self, begun: Begun, next_offset: Offset) -> Result<(), Error> {
        let Transactions { group, committer, .. } = &*self.config.transactions;
        let Some((before, _)) = &self.committed else { return Err(self.unidentified()) };
        self.keeper = Some(group.connection().await?); // who this is, is asked as late as can be
        let identity = committer.identity(group.group())?;
        // The machine knows offsets; the epoch is that of what is open, or of what was committed before.
        let leader_epoch = self.open.next.map_or(before.leader_epoch, |next| next.leader_epoch);
        let next = Position { offset: next_offset, leader_epoch };
        let offset = group_offset(&before.clone().at(next));
        let permit = self.config.ownership.permit();
        let commit = OffsetInTransaction {
            transactional_id: &self.id,
            begun,
            identity: identity.as_ref(),
            topic: &self.config.of.topic,
            partition: self.config.of.partition,
            offset: &offset,
            permit: &*permit,
        };
        let outcome = match self.unconfirmed {
            None => group.commit_in_transaction(commit).await,
            Some(loaded) => group.commit_in_transaction_over(commit).await.and_then(|found| {
                let found = found.map(|found| found.offset);
                let (begun_at, on) = (loaded.0, format!("{}/{}", commit.topic, commit.partition));
                let overtaken =
                    kafka_client::Error { doing: "commit", on, cause: Cause::Overtaken { begun_at, found } };
                if found == begun_at { Ok(()) } else { Err(overtaken) }
            }),
        };
        if let Err(kafka_client::Error { cause: Cause::Code(code), .. }) = &outcome {
            committer.refused(*code);
        }
        Ok(outcome?)
    }

    /// The error of what is asked or written before there is an id, which is a mistake: it aborts.
    fn unidentified(&self) -> Error {
        Error::code("write as transactional id", &*self.id, ResponseError::InvalidProducerIdMapping)
    }

    /// Tells whether the topic of one of these has been recreated with fewer partitions: its records have another place
    /// now.
    async fn has_any_gone<'p>(&self, partitions: impl IntoIterator<Item = &'p Destination>, error: &Error) -> bool {
        if !error.is(ResponseError::UnknownTopicOrPartition) {
            return false;
        }
        for to in partitions {
            if self.config.transactions.outputs.has_gone(*to).await {
                return true;
            }
        }
        false
    }

    /// Notes a failure that leaves the transaction what it is.
    fn note(&mut self, request: &Request, error: &Error) -> Duration {
        match request {
            // A member's answers have their own meanings.
            Request::CommitOffsets(_) => {
                let class = StoreError::from(error.clone()).class();
                self.operation.failed_as(class, error)
            }
            _ => self.operation.failed(error),
        }
    }

    /// Forgets what is open, which does not count. A new connection tells which version of
    /// transactions the cluster has by now.
    async fn aborted(&mut self, error: &Error) -> Aborted {
        self.coordinator.forget_any().await;
        // Whoever kept the offset may have ceased to: who does is asked again before it is loaded.
        if let Some(keeper) = self.keeper.take() {
            self.config.transactions.group.forget(&keeper).await;
        }
        let timeout = self.config.transactions.settings.transaction_timeout;
        let open_for = self.open.since.map_or(Duration::ZERO, |since| since.elapsed());
        let is_fenced = is_fenced(error);
        let is_own = is_fenced && self.unanswered.has_arrived();
        // Where another has the id, it stays so until somebody ends one of the two. The coordinator
        // says the same of what it has thrown away, because it was open for too long.
        let is_anothers = is_fenced && !is_own && open_for < timeout;
        let class = if is_anothers { ErrorClass::Fatal } else { ErrorClass::Transient };
        let reason: &dyn fmt::Display = if is_own { &OWN_REQUEST } else { error };
        let pause = self.progress.failed_as(class, reason);
        let (transactional_id, batches) = (&*self.id, self.open.batches.len());
        let TopicPartition { topic, partition } = &self.config.of;
        let offset = self.committed.as_ref().map(|(committed, _)| committed.next_offset.0);
        warn!(
            topic = &**topic,
            partition,
            offset,
            transactional_id,
            batches,
            error = %reason,
            "transaction aborted: its records are processed again from this offset on"
        );
        self.open.clear();
        Aborted { pause }
    }
}

/// The reason where a producer that asked for its id twice fences itself.
const OWN_REQUEST: &str = "an earlier request of this instance for an id (InitProducerId), whose answer was lost, was \
                           carried out late, and ended the transaction";
