//! Outputs, dead letters and the source's offset in one transaction: all of it counts, or none.

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
use crate::broker::{
    Cause, Destination, Ending, Error, Failure, OutputBatch, Producer, SourceBatch, Transaction,
    TransactionRequest as Request, Trouble, Watch, Writer, Written, is_fenced,
};
use crate::config;
use crate::observe::{Dimensions, Tally};
use crate::offsets::{Checkpoint, CommitIdentity, StoreError, group_offset};
use crate::ownership::PartitionOwnership;
use crate::record::{Offset, Position};
use crate::retry::ErrorClass;
use crate::topic::TopicPartition;
use crate::worker::accounts::{Accounts, Done};
use crate::worker::source::Start;

/// What the transactions of all partitions share.
pub struct Transactions {
    /// As configured.
    pub settings: config::Delivery,
    /// Begins each transactional id.
    pub id_prefix: String,
    /// The brokers.
    pub cluster: Arc<Cluster>,
    /// Keeps the offsets. The store loads them over the same connection as they are committed.
    pub group: Arc<Coordinator>,
    /// As whom they are committed.
    pub committer: CommitIdentity,
    /// How often an offset must be committed again though nothing has changed.
    pub refresh_interval: Option<Duration>,
    /// Who writes.
    pub writer: Arc<Writer>,
    /// Who is told of failures.
    pub watch: Watch,
    /// The version of transactions that was last told of.
    pub told: Mutex<Option<TransactionVersion>>,
}

impl Transactions {
    /// Says which version is spoken: once, as long as it stays that.
    fn tell(&self, version: TransactionVersion) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if *told != Some(version) {
            *told = Some(version);
            info!(version = version.number(), "exactly once: by transactions of this version (transaction.version)");
        }
    }
}

/// Delivers exactly once.
pub struct ExactlyOnce {
    parts: ExactlyOnceParts,
    id: Arc<str>,
    coordinator: Coordinator,
    machine: Transaction,
    /// The id at the moment, and the numbers of what is written under it.
    producer: Option<(Begun, Producer)>,
    /// What was committed last, and when.
    committed: Option<(Checkpoint, Instant)>,
    /// The offset that the group was said to have, until the first commit shows that it has.
    unconfirmed: Option<Loaded>,
    /// Whom the offset was loaded from, or committed to last.
    keeper: Option<Arc<Connection>>,
    /// Requests for an id whose answers were lost: each may yet arrive, and fence what came after it.
    unanswered: Unanswered,
    open: Open,
    /// In trouble while a request is refused.
    trouble: Trouble,
    /// In trouble since what was written last was aborted, until something is committed.
    progress: Trouble,
}

/// How long a request whose answer was given up may lie somewhere before it is carried out.
const LATE: Duration = Duration::from_secs(120);

/// Requests whose answers were lost.
#[derive(Debug, Default)]
struct Unanswered(Vec<Instant>);

impl Unanswered {
    fn note(&mut self) {
        self.forget_old();
        self.0.push(Instant::now());
    }

    /// Whether one of them may have been carried out by now. Each can be the reason once.
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

/// What it is made of.
pub struct ExactlyOnceParts {
    /// What the partitions share.
    pub transactions: Arc<Transactions>,
    /// The source topic.
    pub topic: String,
    /// The source partition.
    pub partition: i32,
    /// For how long it is this instance's: nothing is written after.
    pub ownership: PartitionOwnership,
    /// What is counted by value.
    pub dimensions: Dimensions,
}

/// What does not count before the next commit.
struct Open {
    since: Option<Instant>,
    /// The place to commit.
    next: Option<Position>,
    /// Bytes of source records, those of the batch that is being worked on included.
    bytes: usize,
    batches: Vec<Done>,
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
    /// Asks nobody yet.
    pub fn new(parts: ExactlyOnceParts) -> Self {
        let ExactlyOnceParts { transactions, topic, partition, dimensions, .. } = &parts;
        let id: Arc<str> = format!("{}-{topic}-{partition}", transactions.id_prefix).into();
        let of = TopicPartition::new(topic, *partition);
        let trouble = transactions.watch.operation_of("transaction", "transactions of", of.clone());
        let progress = transactions.watch.operation_of("transaction", "commits of", of);
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
            trouble,
            progress,
            parts,
        }
    }

    /// Gets an id: whoever wrote for this partition before writes no more, and what was open is ended.
    ///
    /// # Errors
    /// [`Aborted`] never, since nothing is open.
    pub async fn prepare(&mut self) -> Result<(), Aborted> {
        self.settle().await
    }

    /// Begins where the source begins; commits that first where it is not.
    ///
    /// # Errors
    /// [`Aborted`].
    pub async fn begin_at(&mut self, start: Start, accounts: &Accounts) -> Result<(), Aborted> {
        let next = start.checkpoint.position();
        self.committed = Some((start.checkpoint, Instant::now()));
        self.unconfirmed = Some(Loaded(start.stored));
        self.keeper = self.parts.transactions.group.current().await;
        accounts.in_flight(0);
        accounts.begin_at(next.offset);
        if !start.is_stored {
            self.open.next = Some(next);
            self.commit(accounts).await?;
        } else if self.progress.lasts() {
            // Though there may be no more to read: a commit shows that this works again.
            (self.open.next, self.open.since) = (Some(next), Some(Instant::now()));
        }
        Ok(())
    }

    /// Work on a batch begins.
    pub fn begin(&mut self, batch: &SourceBatch, accounts: &Accounts) {
        self.open.since.get_or_insert_with(Instant::now);
        self.open.bytes += batch.bytes();
        accounts.in_flight(self.open.bytes);
    }

    /// Whether there is anything that does not count yet.
    pub fn is_open(&self) -> bool {
        !self.open.batches.is_empty()
    }

    /// Counts what does not count yet.
    pub fn tally(&mut self) -> &mut Tally {
        &mut self.open.tally
    }

    /// Writes a batch as part of the open transaction.
    ///
    /// # Errors
    /// [`Aborted`].
    pub async fn write(&mut self, out: OutputBatch) -> Result<Written, Aborted> {
        self.machine.write_to(out.destinations());
        self.settle().await?;
        let written = match &self.producer {
            Some((_, producer)) => self.parts.transactions.writer.write(out, producer, &self.parts.ownership).await,
            None => Written { aborted: Some(self.unidentified()), ..Written::default() },
        };
        match &written.aborted {
            Some(error) => {
                self.machine.abort();
                Err(self.aborted(error).await)
            }
            None => Ok(written),
        }
    }

    /// All of a batch is written; commits where the transaction is large or old enough.
    ///
    /// # Errors
    /// [`Aborted`].
    pub async fn done(&mut self, done: Done, accounts: &Accounts) -> Result<(), Aborted> {
        let settings = &self.parts.transactions.settings;
        self.open.next = Some(done.end);
        self.open.batches.push(done);
        let old = self.open.since.is_some_and(|since| since.elapsed() >= settings.transaction_interval);
        let large = self.open.bytes >= settings.transaction_max_bytes.as_usize();
        if old || large { self.commit(accounts).await } else { Ok(()) }
    }

    /// Returns when what is open is old enough, or what was committed is about to be forgotten.
    pub async fn due(&self) {
        let Transactions { settings, refresh_interval, .. } = &*self.parts.transactions;
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
    pub async fn commit(&mut self, accounts: &Accounts) -> Result<(), Aborted> {
        let Some((checkpoint, at)) = &self.committed else { return Ok(()) };
        let stale = self.parts.transactions.refresh_interval.is_some_and(|interval| at.elapsed() >= interval);
        let unchanged = stale.then(|| checkpoint.position());
        let Some(next) = self.open.next.or(unchanged) else { return Ok(()) };
        let begun = Instant::now();
        self.machine.commit(next.offset);
        self.settle().await?;
        self.progress.passed();
        self.committed = self.committed.take().map(|(before, _)| (before.at(next), Instant::now()));
        accounts.stored(next.offset, begun.elapsed());
        accounts.tally().merge(&self.open.tally);
        self.open.batches.iter().for_each(|done| accounts.note(done));
        self.open.clear();
        accounts.in_flight(0);
        Ok(())
    }

    /// Asks the coordinators until there is nothing to ask.
    async fn settle(&mut self) -> Result<(), Aborted> {
        let mut ending = Ending::default();
        while let Some(request) = self.machine.poll() {
            self.parts.ownership.held().await;
            let Err(error) = self.ask(&request).await else {
                self.trouble.passed();
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
                self.machine.abort();
                return Err(self.aborted(&error).await);
            }
            let pause = self.note(&request, &error);
            sleep(pause).await;
        }
        Ok(())
    }

    /// Asks one thing, once.
    async fn ask(&mut self, request: &Request) -> Result<(), Error> {
        let Transactions { settings, group, writer, .. } = &*self.parts.transactions;
        let ownership = &*self.parts.ownership.permit();
        if matches!(request, Request::Initialize | Request::Renew) {
            let before = self.producer.as_ref().map(|(begun, _)| begun.producer);
            let before = before.filter(|_| *request == Request::Renew);
            let (timeout, latest) = (settings.transaction_timeout, settings.transaction_version.into());
            let begun = self.coordinator.init_transactions(timeout, latest, before, ownership).await?;
            self.parts.transactions.tell(begun.version);
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
                    named.entry(writer.topic(*to).to_owned()).or_default().insert(to.partition);
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
                    writer.count(producer.take_uncounted());
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
        let Transactions { group, committer, .. } = &*self.parts.transactions;
        let Some((before, _)) = &self.committed else { return Err(self.unidentified()) };
        self.keeper = Some(group.connection().await?); // who this is, is asked as late as can be
        let identity = committer.identity(group.group())?;
        // The machine knows offsets; the epoch is that of what is open, or of what was committed before.
        let leader_epoch = self.open.next.map_or(before.leader_epoch, |next| next.leader_epoch);
        let next = Position { offset: next_offset, leader_epoch };
        let offset = group_offset(&before.clone().at(next));
        let permit = self.parts.ownership.permit();
        let commit = OffsetInTransaction {
            transactional_id: &self.id,
            begun,
            identity: identity.as_ref(),
            topic: &self.parts.topic,
            partition: self.parts.partition,
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

    /// For what is asked or written before there is an id, which is a mistake: it aborts.
    fn unidentified(&self) -> Error {
        Error::code("write as transactional id", &*self.id, ResponseError::InvalidProducerIdMapping)
    }

    /// Whether the topic of one of these has been made anew with fewer partitions: its records have
    /// another place now.
    async fn has_any_gone<'p>(&self, partitions: impl IntoIterator<Item = &'p Destination>, error: &Error) -> bool {
        if !error.is(ResponseError::UnknownTopicOrPartition) {
            return false;
        }
        for to in partitions {
            if self.parts.transactions.writer.has_gone(*to).await {
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
                self.trouble.failed_as(class, error)
            }
            _ => self.trouble.failed(error),
        }
    }

    /// Notes that what is open does not count, and forgets it. A new connection tells which version of
    /// transactions the cluster has by now.
    async fn aborted(&mut self, error: &Error) -> Aborted {
        self.coordinator.forget_any().await;
        // Whoever kept the offset may have ceased to: who does is asked again before it is loaded.
        if let Some(keeper) = self.keeper.take() {
            self.parts.transactions.group.forget(&keeper).await;
        }
        let timeout = self.parts.transactions.settings.transaction_timeout;
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
        let (topic, partition) = (&self.parts.topic, self.parts.partition);
        let offset = self.committed.as_ref().map(|(committed, _)| committed.next_offset.0);
        warn!(
            topic,
            partition,
            offset,
            transactional_id,
            batches,
            error = %reason,
            "transaction aborted: its records are done again from this offset on"
        );
        self.open.clear();
        Aborted { pause }
    }
}

/// What a producer is fenced by that asked for its id twice.
const OWN_REQUEST: &str = "an earlier request of this instance for an id (InitProducerId), whose answer was lost, was \
                           carried out late, and ended the transaction";
