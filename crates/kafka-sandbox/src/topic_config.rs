//! How a topic is made, and what that lets into it. Pure.

use bytes::Bytes;

use super::batch;
use super::batch_header::BatchHeader;
use super::error_codes;
use super::record::StoredRecord;

/// Kafka's default of `max.message.bytes`.
pub(super) const MAX_MESSAGE_BYTES: usize = 1_048_588;
/// Kafka 4's default of `message.timestamp.after.max.ms`.
const TIMESTAMP_AFTER_MAX_MS: i64 = 3_600_000;
/// The timestamp of a record that has none.
const NO_TIMESTAMP: i64 = -1;

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
    pub(super) fn check_records(&self, header: &BatchHeader, bytes: &[u8], now_ms: i64) -> Result<(), Unappended> {
        let earliest = self.timestamp_before_max_ms.map(|reach| now_ms.saturating_sub(reach));
        let latest = self.timestamp_after_max_ms.map(|reach| now_ms.saturating_add(reach));
        // Most batches are in order by their headers: only the others are unpacked.
        let late = latest.is_some_and(|latest| header.max_timestamp > latest);
        if !self.compacted && earliest.is_none() && !late {
            return Ok(());
        }
        let stored = batch::records_of(&Bytes::copy_from_slice(bytes)).map_err(|_| error_codes::INVALID_RECORD)?;
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
