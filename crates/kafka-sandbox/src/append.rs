//! What producers and transactions' coordinators write, checked and placed as by Kafka.

use kafka_records::batch::ProducerId;

use super::batch::{self, NewBatch};
use super::batch_header::{BatchError, BatchHeader};
use super::cluster::{Cluster, Watcher};
use super::error_codes;
use super::idempotence::Verdict;
use super::topic_config::Unappended;
use super::txn::machine::{Participant, TransactionVersion};

const CODEC_ZSTD: i16 = 4;
/// The first version of Produce whose transactional batches leaders add to the transaction (KIP-890).
const ADDS_TO_TRANSACTION: i16 = 12;
/// The `acks` of a producer that wants all in-sync replicas to have what it writes.
const ACKS_ALL: i16 = -1;

/// A producer's batch, and how it came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent<'a> {
    pub acks: i16,
    /// Of the request.
    pub version: i16,
    pub transactional_id: Option<&'a str>,
    pub bytes: &'a [u8],
}

impl Cluster {
    /// Appends the one batch of a producer as Kafka does: checked, placed, once. Returns its base
    /// offset and the partition's log start.
    pub(crate) fn produce(
        &mut self,
        node: i32,
        topic: &str,
        partition: i32,
        sent: Sent<'_>,
    ) -> Result<(i64, i64), Unappended> {
        let Sent { acks, version, transactional_id, bytes } = sent;
        let in_sync = self.nodes.values().filter(|node| node.up).count();
        let found = self.topics.get(topic).ok_or(error_codes::UNKNOWN_TOPIC_OR_PARTITION)?;
        let config = found.config.clone();
        let watcher = self.watcher.clone();
        let index = partition;
        self.led_by(node, topic, index)?;
        if acks == ACKS_ALL && in_sync < config.min_insync_replicas {
            return Err(error_codes::NOT_ENOUGH_REPLICAS.into());
        }
        let header = check_produced(bytes, version, config.max_message_bytes)?;
        config.check_records(&header, bytes, self.clock.unix_ms())?;
        self.check_transaction(topic, index, transactional_id, version, &header)?;
        let partition = self.partition(topic, index)?;
        let base_offset = match partition.producers.judge(&header) {
            Verdict::Refuse(code) => return Err(code.into()),
            Verdict::Duplicate(base_offset) => base_offset,
            Verdict::Append => {
                let base_offset = partition.append(&header, bytes);
                if let Some(Watcher(watcher)) = watcher {
                    // What has just been checked can be decoded.
                    let appended = batch::records_of(&batch::placed(bytes, base_offset, partition.leader_epoch));
                    let appended = appended.unwrap_or_default();
                    if header.is_transactional() {
                        partition.unwatched.entry(header.producer_id).or_default().extend(appended);
                    } else {
                        watcher(topic, index, &appended);
                    }
                }
                base_offset
            }
        };
        Ok((base_offset, partition.log.start()))
    }

    /// Whether a batch may be written: it is part of an open transaction if it says so, and of none if it does not.
    fn check_transaction(
        &mut self,
        topic: &str,
        partition: i32,
        transactional_id: Option<&str>,
        version: i16,
        header: &BatchHeader,
    ) -> Result<(), i16> {
        let producer = ProducerId { id: header.producer_id, epoch: header.producer_epoch };
        let found = self.partition(topic, partition)?;
        let is_open = found.log.has_open_transaction(producer.id);
        if !header.is_transactional() {
            return if is_open { Err(error_codes::INVALID_TXN_STATE) } else { Ok(()) };
        }
        let id = transactional_id.ok_or(error_codes::TRANSACTIONAL_ID_AUTHORIZATION_FAILED)?;
        if is_open && found.producers.epoch(producer.id) == Some(producer.epoch) {
            return Ok(()); // the coordinator was asked for the first batch
        }
        let version = if version >= ADDS_TO_TRANSACTION { TransactionVersion::V2 } else { TransactionVersion::V1 };
        found.producers.attempted(header, version == TransactionVersion::V2);
        let participant = Participant::Partition(topic.to_owned(), partition);
        self.admit_to_transaction(id, producer, participant, version).map_err(|code| match (code, version) {
            (error_codes::CONCURRENT_TRANSACTIONS, TransactionVersion::V2) => code,
            // Old producers give up at these, and try again at this.
            (
                error_codes::CONCURRENT_TRANSACTIONS
                | error_codes::COORDINATOR_LOAD_IN_PROGRESS
                | error_codes::COORDINATOR_NOT_AVAILABLE
                | error_codes::NOT_COORDINATOR,
                _,
            ) => error_codes::NOT_ENOUGH_REPLICAS,
            (code, _) => code,
        })
    }

    /// Writes the marker that ends a producer's transaction; says whether the partition has it, or is no more.
    pub(crate) fn mark_partition(&mut self, topic: &str, index: i32, producer: ProducerId, commit: bool) -> bool {
        let watcher = self.watcher.clone();
        let (nodes, now) = (self.nodes.clone(), self.clock.unix_ms());
        let Ok(partition) = self.partition(topic, index) else { return true };
        if !nodes.get(&partition.leader).is_some_and(|leader| leader.up) {
            return false;
        }
        let mut marker = NewBatch::control(producer.id, commit, now);
        marker.producer_epoch = producer.epoch;
        let marker = marker.to_bytes();
        // What has just been built can be read.
        let Ok(header) = BatchHeader::read(&marker) else { return true };
        partition.append(&header, &marker);
        let written = partition.unwatched.remove(&producer.id);
        if let Some((Watcher(watcher), written)) = watcher.zip(written).filter(|_| commit) {
            watcher(topic, index, &written);
        }
        true
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
