//! What all nodes share: who is up, who leads which partition, the logs, the armed faults.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use kafka_protocol::messages::ApiKey;
use kafka_records::topic;
use tokio::sync::watch;
use uuid::Uuid;

use super::error_codes;
use super::fault::FaultBook;
use super::group::Groups;
use super::log::PartitionLog;
use super::partition::Partition;
use super::placement::Placement;
use super::record::StoredRecord;
use super::stale::Snapshot;
use super::topic_config::TopicConfig;
use super::txn::Transactions;
use super::txn::machine::TransactionVersion;

/// The broker's own limit of a whole answer to a fetch, whatever a client asks for.
const FETCH_MAX_BYTES: usize = 55 << 20;
/// Kafka's limit, and a guard against a typing error in a test.
const MAX_PARTITIONS: i32 = 10_000;

/// The cluster behind its lock, and the bell that rings when something in it changes.
#[derive(Debug)]
pub(super) struct Shared {
    cluster: Mutex<Cluster>,
    changes: watch::Sender<()>,
    /// What it was, by [`Snapshot`]'s numbers.
    frozen: Mutex<Vec<Arc<Shared>>>,
}

impl Shared {
    pub(crate) fn new(cluster: Cluster) -> Self {
        Self { cluster: Mutex::new(cluster), changes: watch::Sender::new(()), frozen: Mutex::default() }
    }

    /// Keeps what the cluster is now. Logs are shared with it until they are written to.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let now = Arc::new(Self::new(self.lock().frozen()));
        let mut frozen = self.frozen.lock().unwrap_or_else(PoisonError::into_inner);
        frozen.push(now);
        Snapshot(frozen.len() - 1)
    }

    /// What the cluster was; `None` where another sandbox has made the snapshot.
    pub(crate) fn at(&self, snapshot: Snapshot) -> Option<Arc<Self>> {
        self.frozen.lock().unwrap_or_else(PoisonError::into_inner).get(snapshot.0).cloned()
    }

    /// The cluster; a panic elsewhere does not take it away.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever waits for records, leaders or topics.
    pub(crate) fn ring(&self) {
        self.changes.send_replace(());
    }

    /// Rings for every change after this call.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Cluster {
    pub nodes: BTreeMap<i32, NodeInfo>,
    pub topics: BTreeMap<String, Topic>,
    pub faults: FaultBook,
    pub requests: HashMap<ApiKey, u64>,
    pub defaults: Defaults,
    pub groups: Groups,
    /// Told of what producers append.
    pub watcher: Option<Watcher>,
    pub transactions: Transactions,
    pub clock: Clock,
    pub next_producer_id: i64,
}

/// What watches takes topic, partition and records.
type Watch = dyn Fn(&str, i32, &[StoredRecord]) + Send + Sync;

/// Is told of each batch that a producer appends, while the cluster is locked.
#[derive(Clone)]
pub(super) struct Watcher(pub Arc<Watch>);

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watcher")
    }
}

/// Tells the time of day.
type Tell = dyn Fn() -> i64 + Send + Sync;

/// The clock of the brokers.
#[derive(Clone)]
pub(super) struct Clock(pub Arc<Tell>);

impl Clock {
    /// Milliseconds since the Unix epoch.
    pub(crate) fn unix_ms(&self) -> i64 {
        (self.0)()
    }
}

/// This machine's.
impl Default for Clock {
    fn default() -> Self {
        Self(Arc::new(|| {
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
            since_epoch.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
        }))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// What the builder was told of all topics, and of the broker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Defaults {
    pub retention_bytes: Option<usize>,
    pub segment_bytes: Option<usize>,
    /// Of the broker (`fetch.max.bytes`).
    pub fetch_max_bytes: usize,
    /// Of the broker: whether a fetch leaves its last batch out instead of cutting it.
    pub whole_batches: bool,
    /// Of the cluster: its feature `transaction.version`.
    pub transaction_version: i16,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            retention_bytes: None,
            segment_bytes: None,
            fetch_max_bytes: FETCH_MAX_BYTES,
            whole_batches: false,
            transaction_version: 2,
        }
    }
}

/// A node, as the others know it.
#[derive(Debug, Clone, Copy)]
pub(super) struct NodeInfo {
    pub port: u16,
    pub up: bool,
}

/// A topic and its partitions, in order.
#[derive(Debug, Clone)]
pub(super) struct Topic {
    /// Another one when it is made anew.
    pub id: Uuid,
    pub partitions: Vec<Partition>,
    pub config: TopicConfig,
}

impl Cluster {
    pub(crate) fn new(nodes: BTreeMap<i32, NodeInfo>, defaults: Defaults) -> Self {
        Self {
            nodes,
            topics: BTreeMap::new(),
            faults: FaultBook::default(),
            requests: HashMap::new(),
            defaults,
            groups: Groups::new(),
            watcher: None,
            transactions: Transactions::default(),
            clock: Clock::default(),
            next_producer_id: 1000,
        }
    }

    /// What it holds now, for answers that are late. Members of groups stay behind.
    pub(crate) fn frozen(&self) -> Self {
        Self {
            nodes: self.nodes.clone(),
            topics: self.topics.clone(),
            groups: self.groups.frozen(),
            transactions: self.transactions.clone(),
            next_producer_id: self.next_producer_id,
            clock: self.clock.clone(),
            ..Self::new(BTreeMap::new(), self.defaults)
        }
    }

    /// The settings of a topic of which nothing else is said.
    pub(crate) fn default_topic(&self, partitions: i32) -> TopicConfig {
        let Defaults { retention_bytes, segment_bytes, .. } = self.defaults;
        TopicConfig { retention_bytes, segment_bytes, ..TopicConfig::new(partitions) }
    }

    /// The node that answers for the cluster: the first that is up.
    pub(crate) fn controller(&self) -> i32 {
        let up = self.nodes.iter().find(|(_, node)| node.up);
        up.map_or(-1, |(id, _)| *id)
    }

    pub(crate) fn is_up(&self, node: i32) -> bool {
        self.nodes.get(&node).is_some_and(|node| node.up)
    }

    /// A producer id that nobody has.
    pub(crate) fn new_producer_id(&mut self) -> i64 {
        self.next_producer_id += 1;
        self.next_producer_id
    }

    /// Which transactions the cluster has.
    pub(crate) fn transaction_version(&self) -> TransactionVersion {
        if self.defaults.transaction_version >= 2 { TransactionVersion::V2 } else { TransactionVersion::V1 }
    }

    /// Whether a topic could be made so; the error code if not.
    pub(crate) fn check_topic(&self, name: &str, partitions: i32) -> Result<(), i16> {
        if !topic::is_name(name) {
            return Err(error_codes::INVALID_TOPIC_EXCEPTION);
        }
        if self.topics.contains_key(name) {
            return Err(error_codes::TOPIC_ALREADY_EXISTS);
        }
        if !(1..=MAX_PARTITIONS).contains(&partitions) {
            return Err(error_codes::INVALID_PARTITIONS);
        }
        Ok(())
    }

    pub(crate) fn create_topic(&mut self, name: &str, config: TopicConfig) -> Result<(), i16> {
        self.check_topic(name, config.partitions)?;
        let total = config.partitions;
        let id = Uuid::from_u128(fastrand::u128(1..)); // 0 is none
        let topic = Topic { id, partitions: Vec::new(), config };
        self.topics.insert(name.to_owned(), topic);
        self.grow_topic(name, total)
    }

    /// Deletes a topic, and the offsets that groups have committed for it, as Kafka does.
    pub(crate) fn delete_topic(&mut self, name: &str) -> Result<(), i16> {
        self.topics.remove(name).ok_or(error_codes::UNKNOWN_TOPIC_OR_PARTITION)?;
        self.groups.forget_topic(name);
        Ok(())
    }

    /// The node that keeps a key: where it was moved to, or by its name. It may be down, and nobody takes its
    /// place by himself.
    pub(crate) fn keeper(&self, key: &str, placement: Placement) -> Result<i32, i16> {
        let node = placement.moved_to.or_else(|| self.home(key));
        node.filter(|node| self.is_up(*node)).ok_or(error_codes::COORDINATOR_NOT_AVAILABLE)
    }

    /// Whether that node answers for a key now.
    pub(crate) fn answers_for(&self, node: i32, key: &str, placement: Placement) -> Result<(), i16> {
        if self.keeper(key, placement) != Ok(node) {
            return Err(error_codes::NOT_COORDINATOR);
        }
        if placement.loading { Err(error_codes::COORDINATOR_LOAD_IN_PROGRESS) } else { Ok(()) }
    }

    /// Whether somebody counts for a key now: its node is up and has read it.
    pub(crate) fn is_coordinated(&self, key: &str, placement: Placement) -> bool {
        self.keeper(key, placement).is_ok() && !placement.loading
    }

    /// The node that keeps a key which was never moved.
    pub(crate) fn home(&self, key: &str) -> Option<i32> {
        let sum: usize = key.bytes().map(usize::from).sum();
        self.nodes.keys().nth(sum % self.nodes.len().max(1)).copied()
    }

    /// The node that keeps a group.
    pub(crate) fn coordinator(&self, group: &str) -> Result<i32, i16> {
        self.keeper(group, self.groups.placement(group))
    }

    /// Whether that node answers for a group now.
    pub(crate) fn coordinates(&self, node: i32, group: &str) -> Result<(), i16> {
        if group.is_empty() {
            return Err(error_codes::INVALID_GROUP_ID);
        }
        self.answers_for(node, group, self.groups.placement(group))
    }

    /// Adds partitions until there are `total`; there are never fewer than before.
    pub(crate) fn grow_topic(&mut self, name: &str, total: i32) -> Result<(), i16> {
        let nodes: Vec<i32> = self.nodes.keys().copied().collect();
        let topic = self.topics.get_mut(name).ok_or(error_codes::UNKNOWN_TOPIC_OR_PARTITION)?;
        let wanted = usize::try_from(total).map_err(|_| error_codes::INVALID_PARTITIONS)?;
        if total > MAX_PARTITIONS || wanted < topic.partitions.len() {
            return Err(error_codes::INVALID_PARTITIONS);
        }
        for index in topic.partitions.len()..wanted {
            let leader = nodes.get(index % nodes.len().max(1)).copied().unwrap_or(-1);
            let log = PartitionLog::new(topic.config.segment_bytes, topic.config.retention_bytes);
            topic.partitions.push(Partition::new(leader, log));
        }
        topic.config.partitions = total;
        Ok(())
    }

    /// A partition, whoever leads it.
    pub(crate) fn partition(&mut self, topic: &str, partition: i32) -> Result<&mut Partition, i16> {
        let index = usize::try_from(partition).unwrap_or(usize::MAX);
        self.topics
            .get_mut(topic)
            .and_then(|topic| topic.partitions.get_mut(index))
            .ok_or(error_codes::UNKNOWN_TOPIC_OR_PARTITION)
    }

    /// A partition, if that node leads it.
    pub(crate) fn led_by(&mut self, node: i32, topic: &str, partition: i32) -> Result<&mut Partition, i16> {
        let found = self.partition(topic, partition)?;
        if found.leader == node { Ok(found) } else { Err(error_codes::NOT_LEADER_OR_FOLLOWER) }
    }
}
