//! What all nodes share: who is up, who leads which partition, the logs, the armed faults.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use kafka_records::topic;
use tokio::sync::watch;
use uuid::Uuid;

use super::batch;
use super::batch_header::{BatchError, BatchHeader};
use super::error_codes;
use super::fault::FaultBook;
use super::group::Groups;
use super::idempotence::{Producers, Verdict};
use super::log::{OutOfRange, PartitionLog};
use super::record::StoredRecord;
use super::stale::Snapshot;

/// Kafka's default of `max.message.bytes`.
pub(super) const MAX_MESSAGE_BYTES: usize = 1_048_588;
/// The broker's own limit of a whole answer to a fetch, whatever a client asks for.
const FETCH_MAX_BYTES: usize = 55 << 20;
/// Kafka's limit, and a guard against a typing error in a test.
const MAX_PARTITIONS: i32 = 10_000;
const CODEC_ZSTD: i16 = 4;
/// Kafka 4's default of `message.timestamp.after.max.ms`.
const TIMESTAMP_AFTER_MAX_MS: i64 = 3_600_000;
/// The timestamp of a record that has none.
const NO_TIMESTAMP: i64 = -1;
/// The `acks` of a producer that wants all in-sync replicas to have what it writes.
const ACKS_ALL: i16 = -1;

/// How a topic is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicConfig {
    /// How many partitions; led by the nodes in turn.
    pub partitions: i32,
    /// The largest batch that Produce takes, in bytes (`max.message.bytes`).
    pub max_message_bytes: usize,
    /// How many bytes a partition keeps before it drops its oldest batches; `None` keeps all.
    pub retention_bytes: Option<usize>,
    /// How many bytes a segment of a partition takes (`segment.bytes`); `None`: a GiB, or an eighth of
    /// what is kept.
    pub segment_bytes: Option<usize>,
    /// Whether records without a key are refused (`cleanup.policy=compact`). Nothing is compacted:
    /// [`append_hole`](super::Sandbox::append_hole) leaves what compaction leaves.
    pub compacted: bool,
    /// Takes no record dated later than now by more than this (`message.timestamp.after.max.ms`): an
    /// hour, as Kafka 4; `None` takes all.
    pub timestamp_after_max_ms: Option<i64>,
    /// The same of records dated earlier (`message.timestamp.before.max.ms`).
    pub timestamp_before_max_ms: Option<i64>,
    /// Produce with `acks=all` is refused while fewer nodes are up (`min.insync.replicas`).
    pub min_insync_replicas: usize,
}

impl TopicConfig {
    /// Kafka's defaults with so many partitions.
    pub fn new(partitions: i32) -> Self {
        Self {
            partitions,
            max_message_bytes: MAX_MESSAGE_BYTES,
            retention_bytes: None,
            segment_bytes: None,
            compacted: false,
            timestamp_after_max_ms: Some(TIMESTAMP_AFTER_MAX_MS),
            timestamp_before_max_ms: None,
            min_insync_replicas: 1,
        }
    }

    /// What `LogValidator` checks of each record.
    fn check_records(&self, header: &BatchHeader, bytes: &[u8], now_ms: i64) -> Result<(), Unappended> {
        let earliest = self.timestamp_before_max_ms.map(|reach| now_ms.saturating_sub(reach));
        let latest = self.timestamp_after_max_ms.map(|reach| now_ms.saturating_add(reach));
        // Most batches are in order by their headers: only the others are unpacked.
        let late = latest.is_some_and(|latest| header.max_timestamp > latest);
        if !self.compacted && earliest.is_none() && !late {
            return Ok(());
        }
        let stored = batch::records(&Bytes::copy_from_slice(bytes)).map_err(|_| error_codes::INVALID_RECORD)?;
        let keyless = |record: &StoredRecord| self.compacted && record.key.is_none();
        let untimely = |record: &StoredRecord| {
            let at = record.timestamp_ms;
            at != NO_TIMESTAMP
                && (earliest.is_some_and(|earliest| at < earliest) || latest.is_some_and(|latest| at > latest))
        };
        let code =
            if stored.iter().any(keyless) { error_codes::INVALID_RECORD } else { error_codes::INVALID_TIMESTAMP };
        let refused = (0..).zip(&stored).filter(|(_, record)| keyless(record) || untimely(record));
        let records: Vec<i32> = refused.map(|(at, _)| at).collect();
        if records.is_empty() { Ok(()) } else { Err(Unappended { code, records }) }
    }
}

/// Why a batch is not appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unappended {
    /// The error code.
    pub code: i16,
    /// The records that are the reason, by their place in it, where it is not the batch.
    pub records: Vec<i32>,
}

impl From<i16> for Unappended {
    fn from(code: i16) -> Self {
        Self { code, records: Vec::new() }
    }
}

/// A producer's batch, and how it came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent<'a> {
    pub acks: i16,
    /// Of the request.
    pub version: i16,
    pub bytes: &'a [u8],
}

/// The cluster behind its lock, and the bell that rings when something in it changes.
#[derive(Debug)]
pub(super) struct Shared {
    cluster: Mutex<Cluster>,
    changes: watch::Sender<()>,
    /// What it was, by [`Snapshot`]'s numbers.
    frozen: Mutex<Vec<Arc<Shared>>>,
}

impl Shared {
    pub fn new(cluster: Cluster) -> Self {
        Self { cluster: Mutex::new(cluster), changes: watch::Sender::new(()), frozen: Mutex::default() }
    }

    /// Keeps what the cluster is now. Logs are shared with it until they are written to.
    pub fn snapshot(&self) -> Snapshot {
        let now = Arc::new(Self::new(self.lock().frozen()));
        let mut frozen = self.frozen.lock().unwrap_or_else(PoisonError::into_inner);
        frozen.push(now);
        Snapshot(frozen.len() - 1)
    }

    /// What the cluster was; `None` where another sandbox has made the snapshot.
    pub fn at(&self, snapshot: Snapshot) -> Option<Arc<Self>> {
        self.frozen.lock().unwrap_or_else(PoisonError::into_inner).get(snapshot.0).cloned()
    }

    /// The cluster; a panic elsewhere does not take it away.
    pub fn lock(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever waits for records, leaders or topics.
    pub fn ring(&self) {
        self.changes.send_replace(());
    }

    /// Rings for every change after this call.
    pub fn changes(&self) -> watch::Receiver<()> {
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
    next_producer_id: i64,
    transactional: BTreeMap<String, (i64, i16)>,
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

/// What the builder was told of all topics, and of the broker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Defaults {
    pub retention_bytes: Option<usize>,
    pub segment_bytes: Option<usize>,
    /// Of the broker (`fetch.max.bytes`).
    pub fetch_max_bytes: usize,
    /// Of the broker: whether a fetch leaves its last batch out instead of cutting it.
    pub whole_batches: bool,
}

impl Default for Defaults {
    fn default() -> Self {
        Self { retention_bytes: None, segment_bytes: None, fetch_max_bytes: FETCH_MAX_BYTES, whole_batches: false }
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

/// A partition: its only replica's log, and who leads it.
#[derive(Debug, Clone)]
pub(super) struct Partition {
    pub leader: i32,
    pub leader_epoch: i32,
    pub log: PartitionLog,
    /// Each leader epoch, and the offset that the log ended at when it began.
    epochs: BTreeMap<i32, i64>,
    producers: Producers,
}

impl Cluster {
    pub fn new(nodes: BTreeMap<i32, NodeInfo>, defaults: Defaults) -> Self {
        Self {
            nodes,
            topics: BTreeMap::new(),
            faults: FaultBook::default(),
            requests: HashMap::new(),
            defaults,
            groups: Groups::new(),
            watcher: None,
            next_producer_id: 1000,
            transactional: BTreeMap::new(),
        }
    }

    /// What it holds now, for answers that are late. Members of groups stay behind.
    pub fn frozen(&self) -> Self {
        Self {
            nodes: self.nodes.clone(),
            topics: self.topics.clone(),
            groups: self.groups.frozen(),
            next_producer_id: self.next_producer_id,
            transactional: self.transactional.clone(),
            ..Self::new(BTreeMap::new(), self.defaults)
        }
    }

    /// The settings of a topic of which nothing else is said.
    pub fn default_topic(&self, partitions: i32) -> TopicConfig {
        let Defaults { retention_bytes, segment_bytes, .. } = self.defaults;
        TopicConfig { retention_bytes, segment_bytes, ..TopicConfig::new(partitions) }
    }

    /// The node that answers for the cluster: the first that is up.
    pub fn controller(&self) -> i32 {
        let up = self.nodes.iter().find(|(_, node)| node.up);
        up.map_or(-1, |(id, _)| *id)
    }

    pub fn is_up(&self, node: i32) -> bool {
        self.nodes.get(&node).is_some_and(|node| node.up)
    }

    /// A new producer id, or a known transactional id's own in its next epoch.
    pub fn producer_id(&mut self, transactional_id: Option<&str>) -> (i64, i16) {
        if let Some((id, epoch)) = transactional_id.and_then(|id| self.transactional.get_mut(id)) {
            *epoch = epoch.saturating_add(1);
            return (*id, *epoch);
        }
        self.next_producer_id += 1;
        let new = (self.next_producer_id, 0);
        if let Some(transactional_id) = transactional_id {
            self.transactional.insert(transactional_id.to_owned(), new);
        }
        new
    }

    /// Whether a topic could be made so; the error code if not.
    pub fn check_topic(&self, name: &str, partitions: i32) -> Result<(), i16> {
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

    pub fn create_topic(&mut self, name: &str, config: TopicConfig) -> Result<(), i16> {
        self.check_topic(name, config.partitions)?;
        let total = config.partitions;
        let id = Uuid::from_u128(fastrand::u128(1..)); // 0 is none
        let topic = Topic { id, partitions: Vec::new(), config };
        self.topics.insert(name.to_owned(), topic);
        self.grow_topic(name, total)
    }

    /// Deletes a topic, and the offsets that groups have committed for it, as Kafka does.
    pub fn delete_topic(&mut self, name: &str) -> Result<(), i16> {
        self.topics.remove(name).ok_or(error_codes::UNKNOWN_TOPIC_OR_PARTITION)?;
        self.groups.forget_topic(name);
        Ok(())
    }

    /// The node that keeps a group: where it was moved to, or by the group's name. It may be down,
    /// and nobody takes its place by himself.
    pub fn coordinator(&self, group: &str) -> Result<i32, i16> {
        let moved = self.groups.find(group).and_then(|entry| entry.moved_to);
        let node = moved.or_else(|| self.home(group));
        node.filter(|node| self.is_up(*node)).ok_or(error_codes::COORDINATOR_NOT_AVAILABLE)
    }

    /// The node that keeps a group which was never moved.
    pub fn home(&self, group: &str) -> Option<i32> {
        let sum: usize = group.bytes().map(usize::from).sum();
        self.nodes.keys().nth(sum % self.nodes.len().max(1)).copied()
    }

    /// Whether that node answers for a group now.
    pub fn coordinates(&self, node: i32, group: &str) -> Result<(), i16> {
        if group.is_empty() {
            return Err(error_codes::INVALID_GROUP_ID);
        }
        if self.coordinator(group) != Ok(node) {
            return Err(error_codes::NOT_COORDINATOR);
        }
        match self.groups.find(group) {
            Some(entry) if entry.loading => Err(error_codes::COORDINATOR_LOAD_IN_PROGRESS),
            _ => Ok(()),
        }
    }

    /// Adds partitions until there are `total`; there are never fewer than before.
    pub fn grow_topic(&mut self, name: &str, total: i32) -> Result<(), i16> {
        let nodes: Vec<i32> = self.nodes.keys().copied().collect();
        let topic = self.topics.get_mut(name).ok_or(error_codes::UNKNOWN_TOPIC_OR_PARTITION)?;
        let wanted = usize::try_from(total).map_err(|_| error_codes::INVALID_PARTITIONS)?;
        if total > MAX_PARTITIONS || wanted < topic.partitions.len() {
            return Err(error_codes::INVALID_PARTITIONS);
        }
        for index in topic.partitions.len()..wanted {
            topic.partitions.push(Partition {
                leader: nodes.get(index % nodes.len().max(1)).copied().unwrap_or(-1),
                leader_epoch: 0,
                log: PartitionLog::new(topic.config.segment_bytes, topic.config.retention_bytes),
                epochs: BTreeMap::from([(0, 0)]),
                producers: Producers::default(),
            });
        }
        topic.config.partitions = total;
        Ok(())
    }

    /// A partition, whoever leads it.
    pub fn partition(&mut self, topic: &str, partition: i32) -> Result<&mut Partition, i16> {
        let index = usize::try_from(partition).unwrap_or(usize::MAX);
        self.topics
            .get_mut(topic)
            .and_then(|topic| topic.partitions.get_mut(index))
            .ok_or(error_codes::UNKNOWN_TOPIC_OR_PARTITION)
    }

    /// A partition, if that node leads it.
    pub fn led_by(&mut self, node: i32, topic: &str, partition: i32) -> Result<&mut Partition, i16> {
        let found = self.partition(topic, partition)?;
        if found.leader == node { Ok(found) } else { Err(error_codes::NOT_LEADER_OR_FOLLOWER) }
    }

    /// Appends the one batch of a producer as Kafka does: checked, placed, once. Returns its base
    /// offset and the partition's log start.
    pub fn produce(
        &mut self,
        node: i32,
        topic: &str,
        partition: i32,
        sent: Sent<'_>,
    ) -> Result<(i64, i64), Unappended> {
        let Sent { acks, version, bytes } = sent;
        let in_sync = self.nodes.values().filter(|node| node.up).count();
        let found = self.topics.get(topic).ok_or(error_codes::UNKNOWN_TOPIC_OR_PARTITION)?;
        let config = found.config.clone();
        let watcher = self.watcher.clone();
        let index = partition;
        let partition = self.led_by(node, topic, index)?;
        if acks == ACKS_ALL && in_sync < config.min_insync_replicas {
            return Err(error_codes::NOT_ENOUGH_REPLICAS.into());
        }
        let header = check_produced(bytes, version, config.max_message_bytes)?;
        config.check_records(&header, bytes, now_ms())?;
        let base_offset = match partition.producers.judge(&header) {
            Verdict::Refuse(code) => return Err(code.into()),
            Verdict::Duplicate(base_offset) => base_offset,
            Verdict::Append => {
                let base_offset = partition.append(&header, bytes);
                if let Some(Watcher(watcher)) = watcher {
                    // What has just been checked can be decoded.
                    let appended = batch::records(&batch::placed(bytes, base_offset, partition.leader_epoch));
                    watcher(topic, index, &appended.unwrap_or_default());
                }
                base_offset
            }
        };
        Ok((base_offset, partition.log.start()))
    }
}

impl Partition {
    /// Appends a batch that was checked, and remembers its producer.
    pub fn append(&mut self, header: &BatchHeader, bytes: &[u8]) -> i64 {
        let base_offset = self.log.append(header, bytes, self.leader_epoch);
        self.producers.appended(header, base_offset);
        base_offset
    }

    /// Gives the partition another leader, in a new epoch.
    pub fn lead(&mut self, node: i32) {
        self.leader = node;
        self.leader_epoch += 1;
        self.epochs.insert(self.leader_epoch, self.log.end());
    }

    /// Gives the partition a leader that has nothing from `offset` on.
    pub fn lead_uncleanly(&mut self, node: i32, offset: i64) -> Result<(), OutOfRange> {
        self.log.truncate(offset)?;
        self.epochs.retain(|_, begun| *begun < offset);
        self.lead(node);
        Ok(())
    }

    /// Whether a client knows which epoch this is (KIP-320).
    pub fn check_epoch(&self, known: i32) -> Result<(), i16> {
        match known {
            -1 => Ok(()),
            known if known < self.leader_epoch => Err(error_codes::FENCED_LEADER_EPOCH),
            known if known > self.leader_epoch => Err(error_codes::UNKNOWN_LEADER_EPOCH),
            _ => Ok(()),
        }
    }

    /// As `LeaderEpochFileCache` tells: the latest epoch that is not later than this one, and where
    /// the next one begins; -1 for both where all are earlier.
    pub fn epoch_end(&self, epoch: i32) -> (i32, i64) {
        if epoch == self.leader_epoch {
            return (epoch, self.log.end());
        }
        let next = self.epochs.range(epoch.saturating_add(1)..).next();
        let floor = self.epochs.range(..=epoch).next_back();
        next.map_or((-1, -1), |(_, begun)| (floor.map_or(epoch, |(floor, _)| *floor), *begun))
    }
}

/// What `LogValidator` checks, in its order.
fn check_produced(bytes: &[u8], version: i16, max_bytes: usize) -> Result<BatchHeader, i16> {
    let header = BatchHeader::read(bytes).map_err(|error| match error {
        BatchError::Magic(_) => error_codes::INVALID_RECORD,
        _ => error_codes::CORRUPT_MESSAGE,
    })?;
    if header.size != bytes.len() {
        return Err(error_codes::INVALID_RECORD); // more than one batch
    }
    if header.size > max_bytes {
        return Err(error_codes::MESSAGE_TOO_LARGE);
    }
    batch::check_crc(&header, bytes).map_err(|_| error_codes::CORRUPT_MESSAGE)?;
    if header.codec() == CODEC_ZSTD && version < 7 {
        return Err(error_codes::UNSUPPORTED_COMPRESSION_TYPE);
    }
    let counted = header.last_offset_delta.checked_add(1);
    let sequenced = header.producer_id < 0 || header.base_sequence >= 0;
    let whole = header.records > 0 && counted == Some(header.records);
    if header.is_control() || !whole || !sequenced {
        return Err(error_codes::INVALID_RECORD);
    }
    Ok(header)
}

pub(super) fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    since_epoch.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}
