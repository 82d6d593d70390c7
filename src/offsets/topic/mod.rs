//! Offsets in a compacted topic of our own: for hosts without a disk that lasts.
//!
//! ```text
//! load, store ──► TopicStore ──queue──► Desk ── 1 read on to the end ──┐
//!                                        │      2 may this be written? │ Ledger (pure): who owns
//!                                        │      3 append, acks=all     │ what, which record counts
//!                                        │      4 read on to the end ──┘
//!                                        └────► outcomes
//! ```
//!
//! There is one partition that is used, 0, and so one order of all that is written. Everything that
//! is due goes through the four steps together: one batch in flight at a time.
//!
//! # Owners
//!
//! An instance takes over a partition when it loads the partition's offset: it reads the log to its
//! end and appends a record under an epoch greater than any before, with a number of its own beside
//! it. From then on that owner, the greatest, is right about this partition, and nobody else. An
//! instance that finds a greater owner than itself stores nothing for the partition any more, ends
//! its ownership, so that its worker writes no more output either, and turns unready; it never takes
//! over again in this life. Orderly ends are noted (`released`), so that `offsets set` knows whether
//! anybody works.
//!
//! What is promised:
//!
//! - A stored offset is acknowledged by all in-sync replicas, and the log was read behind it: it
//!   counted then, and counts until the owner stores another or is replaced.
//! - At most one instance is told that its offset is stored: of two that start at once the greater
//!   owner wins, by epoch, then by number. The other is fenced before it has read a record.
//! - An instance that was stopped and wakes reads the log before it writes. If it was stopped between
//!   the two, its record comes late and counts for nothing: its owner is less than the one now.
//! - Compaction changes nothing of that. It keeps the last record of each key, and keys are an
//!   owner's own, so that no late record takes another owner's place.
//! - What is damaged, deleted or not ours is refused with its offset, never read as zero.
//!
//! What is not:
//!
//! - Between taking over and the old owner's next checkpoint both write output: records are
//!   repeated, as after a crash, not lost.
//! - A write whose answer was lost may land behind the next one of the same owner, and count until
//!   the owner writes again. If the owner dies in between, records are repeated.
//! - The log is as safe as its topic: unclean leader elections, or a `cleanup.policy` that is changed
//!   later, can lose offsets.

mod admin;
mod error;
#[cfg(feature = "fuzzing")]
pub(super) mod fuzzing;
mod ledger;
mod log;
mod record;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tracing::info;

pub use admin::TopicAdmin;
pub use error::TopicError;
pub use record::Owner;

use super::{Checkpoint, OffsetStore, StoreError};
use crate::config::{Config, CreateTopics};
use crate::observe::{ComponentHandle, Health, Severity};
use crate::ownership::PartitionOwnership;
use kafka_client::Cluster;
use ledger::{Ledger, Standing, Written};
use log::Log;
pub use log::Missing;
use record::{Entry, State};

/// Orders that wait for their turn; one a partition, so that this is never reached.
const QUEUE: usize = 1024;

/// Which topic, and whose part of it.
#[derive(Debug, Clone)]
pub struct TopicSettings {
    /// The offsets topic.
    pub topic: String,
    /// The consumer group's id.
    pub group: String,
    /// The meaning of a missing topic.
    pub missing: Missing,
    /// The time that brokers may take to replicate what is written.
    pub timeout: Duration,
}

impl From<&Config> for TopicSettings {
    fn from(config: &Config) -> Self {
        Self {
            topic: config.offsets.topic.clone(),
            group: config.group.id.clone(),
            missing: match config.topics.create {
                CreateTopics::Never => Missing::Error,
                CreateTopics::Missing => Missing::Make { replication: config.topics.replication },
            },
            timeout: config.kafka.request_timeout,
        }
    }
}

impl TopicSettings {
    /// The log, and a ledger under a number of its own: nothing of a past life is taken for ours.
    fn open(&self, cluster: Arc<Cluster>) -> (Log, Ledger) {
        let log = Log::new(cluster, &self.topic, self.missing, self.timeout);
        (log, Ledger::new(&self.topic, &self.group, fastrand::u64(..)))
    }
}

/// The topic store. Dropped, it ends what is not written yet.
#[derive(Debug)]
pub struct TopicStore {
    queue: mpsc::Sender<Order>,
}

impl TopicStore {
    /// Asks no broker yet. Readiness hears of partitions that another instance has taken over.
    pub fn new(cluster: Arc<Cluster>, settings: &TopicSettings, health: Health) -> Self {
        let (queue, queued) = mpsc::channel(QUEUE);
        let (log, ledger) = settings.open(cluster);
        let desk = Desk { log, ledger, health, fenced: BTreeMap::new(), closed: false };
        tokio::spawn(desk.serve(queued).boxed());
        Self { queue }
    }

    async fn order(&self, of: (&str, i32), work: Work) -> Result<Option<Checkpoint>, StoreError> {
        let (done, outcome) = oneshot::channel();
        let not_held = || StoreError::NotHeld { topic: of.0.to_owned(), partition: of.1 };
        let order = Order { topic: of.0.to_owned(), partition: of.1, work, done };
        // Both fail only where the runtime ends.
        self.queue.send(order).await.map_err(|_| not_held())?;
        outcome.await.unwrap_or_else(|_| Err(not_held()))
    }
}

impl OffsetStore for TopicStore {
    /// Takes the partition over.
    fn load<'a>(&'a self, topic: &'a str, partition: i32) -> BoxFuture<'a, Result<Option<Checkpoint>, StoreError>> {
        self.order((topic, partition), Work::Load).boxed()
    }

    fn store<'a>(
        &'a self,
        checkpoint: &'a Checkpoint,
        ownership: &'a PartitionOwnership,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let work = Work::Store(checkpoint.clone(), ownership.clone());
        self.order((&checkpoint.topic, checkpoint.partition), work).map(|stored| stored.map(drop)).boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.order(("", 0), Work::Close).map(|closed| closed.map(drop)).boxed()
    }
}

/// Something to be done with a partition.
#[derive(Debug)]
struct Order {
    topic: String,
    partition: i32,
    work: Work,
    done: oneshot::Sender<Result<Option<Checkpoint>, StoreError>>,
}

#[derive(Debug)]
enum Work {
    Load,
    Store(Checkpoint, PartitionOwnership),
    /// Gives up everything; the order's partition means nothing.
    Close,
}

/// The task that works on the orders, one batch of them after another.
#[derive(Debug)]
struct Desk {
    log: Log,
    ledger: Ledger,
    health: Health,
    /// The partitions that another instance has taken over: unready for the rest of this life.
    fenced: BTreeMap<(String, i32), ComponentHandle>,
    closed: bool,
}

impl Desk {
    async fn serve(mut self, mut queued: mpsc::Receiver<Order>) {
        while let Some(first) = queued.recv().await {
            let mut orders = vec![first];
            while let Ok(order) = queued.try_recv() {
                orders.push(order);
            }
            self.work(orders).await;
        }
    }

    async fn work(&mut self, orders: Vec<Order>) {
        let (mut records, mut planned) = (Vec::new(), Vec::new());
        let read = self.log.read_on(&mut self.ledger).await;
        for order in orders {
            match read.clone().map_err(StoreError::from).and_then(|()| self.plan(&order)) {
                Ok(more) => {
                    records.extend(more);
                    planned.push(order);
                }
                Err(error) => answer(order, Err(error)),
            }
        }
        let written = self.write(&records).await;
        for order in planned {
            let outcome = written.clone().map_err(StoreError::from).and_then(|()| self.outcome(&order));
            answer(order, outcome);
        }
    }

    /// Appends, and reads the log behind it.
    async fn write(&mut self, records: &[Written]) -> Result<(), TopicError> {
        if records.is_empty() {
            return Ok(());
        }
        self.log.append(records).await?;
        self.log.read_on(&mut self.ledger).await
    }

    /// Finds the records to write for an order, as the log stands.
    fn plan(&mut self, order: &Order) -> Result<Vec<Written>, StoreError> {
        let Order { topic, partition, work, .. } = order;
        let not_held = || StoreError::NotHeld { topic: topic.clone(), partition: *partition };
        match work {
            Work::Close => {
                self.closed = true;
                Ok(self.releases())
            }
            _ if self.closed => Err(not_held()),
            Work::Store(_, ownership) if !ownership.holds() => Err(not_held()),
            Work::Store(checkpoint, _) => {
                let entry = Entry { state: State::Held, checkpoint: Some(checkpoint.clone()) };
                match self.standing(order)? {
                    Some(owner) => Ok(vec![self.ledger.update(topic, *partition, owner, &entry)]),
                    None => Ok(self.ledger.claim(topic, *partition, &entry)),
                }
            }
            Work::Load => {
                let checkpoint = self.ledger.checkpoint(topic, *partition)?.cloned();
                if self.standing(order)?.is_some() {
                    return Ok(Vec::new());
                }
                let entry = Entry { state: State::Held, checkpoint };
                Ok(self.ledger.claim(topic, *partition, &entry))
            }
        }
    }

    /// The outcome of an order, as the log stands behind what was written.
    fn outcome(&mut self, order: &Order) -> Result<Option<Checkpoint>, StoreError> {
        let Order { topic, partition, work, .. } = order;
        if matches!(work, Work::Close) {
            return Ok(None);
        }
        // None only where the log was recreated between writing and reading.
        let not_held = || StoreError::NotHeld { topic: topic.clone(), partition: *partition };
        let owner = self.standing(order)?.ok_or_else(not_held)?;
        if !matches!(work, Work::Load) {
            return Ok(None);
        }
        info!(topic, partition, epoch = owner.epoch, "its offsets are this instance's");
        Ok(self.ledger.checkpoint(topic, *partition)?.cloned())
    }

    /// The owner that this instance is of an order's partition; `None` where it never was.
    fn standing(&mut self, order: &Order) -> Result<Option<Owner>, TopicError> {
        let Order { topic, partition, .. } = order;
        match self.ledger.standing(topic, *partition) {
            Standing::Unclaimed => Ok(None),
            Standing::Held(owner) => Ok(Some(owner)),
            Standing::Fenced { ours, by } => {
                let error = TopicError::Fenced { topic: topic.clone(), partition: *partition, ours, by };
                let component = self.fenced.entry((topic.clone(), *partition));
                let component =
                    component.or_insert_with(|| self.health.component(format!("offset of {topic}/{partition}")));
                component.degraded(&error.to_string(), Severity::Fatal);
                if let Work::Store(_, ownership) = &order.work {
                    ownership.end();
                }
                Err(error)
            }
        }
    }

    /// Notes that everything this instance owns is given up.
    fn releases(&self) -> Vec<Written> {
        let release = |(topic, partition): (&str, i32)| {
            let Standing::Held(owner) = self.ledger.standing(topic, partition) else { return None };
            let checkpoint = self.ledger.checkpoint(topic, partition).ok()?.cloned();
            let entry = Entry { state: State::Released, checkpoint };
            Some(self.ledger.update(topic, partition, owner, &entry))
        };
        self.ledger.held().filter_map(release).collect()
    }
}

fn answer(order: Order, outcome: Result<Option<Checkpoint>, StoreError>) {
    let _ = order.done.send(outcome); // the worker may have gone
}
