//! Record batches as Kafka stores them: reading headers, patching offsets, building, decoding.
//!
//! ```text
//! 0            8        12       16    17   21          23            27         61
//! │ baseOffset │ length │ epoch  │ magic │ crc │ attributes │ lastOffsetDelta │ … │ records
//! └── outside the CRC: patched by the broker ──┘└────────── covered by the CRC ──────────┘
//! ```
//!
//! The broker never recompresses: a batch goes into the log as it came, but for its base offset and
//! its leader epoch, which the checksum leaves out for this very reason.
//! Format: <https://kafka.apache.org/documentation/#recordbatch>.

use std::ops::Range;

use bytes::{Buf, Bytes};

use super::batch_header::{
    ATTRIBUTE_CODEC, ATTRIBUTE_CONTROL, ATTRIBUTE_TRANSACTIONAL, BatchError, BatchHeader, HEADER_BYTES, LENGTH_OVERHEAD,
};
use super::compression;
use super::record::{self, NewRecord, StoredRecord};

/// Where its fields begin.
pub(super) const BASE_OFFSET: usize = 0;
pub(super) const LENGTH: usize = 8;
pub(super) const LEADER_EPOCH: usize = 12;
pub(super) const LAST_OFFSET_DELTA: usize = 23;
pub(super) const RECORD_COUNT: usize = 57;
const CRC_START: usize = 17;
const CRC_COVERS_FROM: usize = 21;

/// Checks the checksum of the one batch that `bytes` is.
pub(super) fn check_crc(header: &BatchHeader, bytes: &[u8]) -> Result<(), BatchError> {
    let covered = bytes.get(CRC_COVERS_FROM..header.size).ok_or(BatchError::Truncated { have: bytes.len() })?;
    let actual = crc32c::crc32c(covered);
    if actual == header.crc { Ok(()) } else { Err(BatchError::Checksum { stated: header.crc, actual }) }
}

/// Base offset and length field of what begins there, where a broker would look for a batch.
pub(super) fn framed(bytes: &[u8]) -> Option<(i64, i32)> {
    let mut at = bytes.get(..CRC_START)?;
    Some((at.get_i64(), at.get_i32()))
}

/// What the batch that begins there adds to its base offset for its last one.
pub(super) fn last_offset_delta(bytes: &[u8]) -> Option<i32> {
    bytes.get(LAST_OFFSET_DELTA..)?.first_chunk().copied().map(i32::from_be_bytes)
}

/// Makes the checksum of the one batch that `bytes` is right.
pub(super) fn seal(bytes: &mut [u8]) {
    let Some((head, covered)) = bytes.split_at_mut_checked(CRC_COVERS_FROM) else { return };
    if let Some(crc) = head.get_mut(CRC_START..) {
        crc.copy_from_slice(&crc32c::crc32c(covered).to_be_bytes());
    }
}

/// Where a record of a batch lies, counted from 0, its length left out; not in a compressed one.
pub(super) fn record_at(bytes: &[u8], index: usize) -> Option<Range<usize>> {
    let header = BatchHeader::read(bytes).ok().filter(|header| header.codec() == 0)?;
    let mut payload = Bytes::copy_from_slice(bytes.get(HEADER_BYTES..header.size)?);
    for _ in 0..index {
        record::skip(&mut payload)?;
    }
    let size = record::body(&mut payload)?;
    let begin = header.size - payload.len();
    Some(begin..begin + size)
}

/// The same batch at another place of the log; what the checksum covers stays untouched.
pub(super) fn placed(bytes: &[u8], base_offset: i64, leader_epoch: i32) -> Bytes {
    let mut placed = bytes.to_vec();
    if placed.len() >= HEADER_BYTES {
        placed[0..8].copy_from_slice(&base_offset.to_be_bytes());
        placed[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
    }
    placed.into()
}

/// The same bytes with the last one flipped: a payload that its checksum does not fit.
pub(super) fn corrupted(bytes: &[u8]) -> Bytes {
    let mut bytes = bytes.to_vec();
    if let Some(last) = bytes.last_mut() {
        *last ^= 0xff;
    }
    bytes.into()
}

/// A batch to be built; the log gives it its base offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBatch {
    /// Its records, at offsets base, base + 1, …
    pub records: Vec<NewRecord>,
    /// `None`: the delta of its last record. A larger one is what compaction leaves behind: offsets
    /// that the batch takes and no record has.
    pub last_offset_delta: Option<i32>,
    /// The producer's id, or -1.
    pub producer_id: i64,
    /// The producer's epoch, or -1.
    pub producer_epoch: i16,
    /// The first record's sequence number, or -1.
    pub base_sequence: i32,
    /// Whether it belongs to a transaction, which only a control batch ends.
    pub transactional: bool,
    control: bool,
    packed: Option<Packed>,
}

/// What stands in a batch in place of its records.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Packed {
    codec: i16,
    bytes: Bytes,
    records: i32,
}

impl NewBatch {
    /// A batch of a plain producer.
    pub fn new(records: Vec<NewRecord>) -> Self {
        Self {
            records,
            last_offset_delta: None,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            transactional: false,
            control: false,
            packed: None,
        }
    }

    /// A batch that says that it has so many records, compressed by the codec of that number, and has
    /// any bytes in their place. Its checksum is right. Codecs: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    pub fn packed(codec: i16, records: i32, bytes: impl Into<Bytes>) -> Self {
        let packed = Packed { codec, bytes: bytes.into(), records };
        Self { packed: Some(packed), last_offset_delta: Some((records - 1).max(0)), ..Self::new(Vec::new()) }
    }

    /// Its records as they would be compressed, one behind the other.
    pub fn plain(&self) -> Bytes {
        let mut plain = Vec::new();
        self.put_records(&mut plain);
        plain.into()
    }

    /// A batch within a transaction of that producer, which `control` ends.
    #[must_use]
    pub fn in_transaction(mut self, producer_id: i64) -> Self {
        self.producer_id = producer_id;
        self.producer_epoch = 0;
        self.transactional = true;
        self
    }

    /// Taking offsets up to base + `delta`, records or none.
    #[must_use]
    pub fn last_offset_delta(mut self, delta: i32) -> Self {
        self.last_offset_delta = Some(delta);
        self
    }

    /// The marker that ends a producer's transaction, as Kafka 4.x writes it: key (version 0, type 0
    /// abort or 1 commit), value (version 0, coordinator epoch). rskafka 0.6.0 takes the record's
    /// length and attributes for the key, and fails with `version: 8192`.
    pub fn control(producer_id: i64, commit: bool, timestamp_ms: i64) -> Self {
        let key: &[u8] = if commit { &[0, 0, 0, 1] } else { &[0, 0, 0, 0] };
        let value: &[u8] = &[0, 0, 0, 0, 0, 0];
        let marker = NewRecord::new(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        Self { control: true, ..Self::new(vec![marker.timestamp(timestamp_ms)]).in_transaction(producer_id) }
    }

    /// The batch in bytes, at base offset 0, its checksum right.
    pub fn to_bytes(&self) -> Bytes {
        let base_timestamp = self.base_timestamp();
        let max_timestamp = self.records.iter().map(|r| r.timestamp_ms).max();
        let mut attributes = 0;
        if self.transactional {
            attributes |= ATTRIBUTE_TRANSACTIONAL;
        }
        if self.control {
            attributes |= ATTRIBUTE_CONTROL;
        }
        let mut records = i32::try_from(self.records.len()).unwrap_or(i32::MAX);
        if let Some(packed) = &self.packed {
            attributes |= packed.codec & ATTRIBUTE_CODEC;
            records = packed.records;
        }

        let mut covered = Vec::with_capacity(64 * self.records.len());
        covered.extend_from_slice(&attributes.to_be_bytes());
        let last = self.last_offset_delta.unwrap_or((records - 1).max(0));
        covered.extend_from_slice(&last.to_be_bytes());
        covered.extend_from_slice(&base_timestamp.to_be_bytes());
        covered.extend_from_slice(&max_timestamp.unwrap_or(-1).to_be_bytes());
        covered.extend_from_slice(&self.producer_id.to_be_bytes());
        covered.extend_from_slice(&self.producer_epoch.to_be_bytes());
        covered.extend_from_slice(&self.base_sequence.to_be_bytes());
        covered.extend_from_slice(&records.to_be_bytes());
        match &self.packed {
            Some(packed) => covered.extend_from_slice(&packed.bytes),
            None => self.put_records(&mut covered),
        }

        let length = i32::try_from(covered.len() + CRC_COVERS_FROM - LENGTH_OVERHEAD);
        let mut batch = Vec::with_capacity(covered.len() + CRC_COVERS_FROM);
        batch.extend_from_slice(&0i64.to_be_bytes());
        batch.extend_from_slice(&length.unwrap_or(i32::MAX).to_be_bytes());
        batch.extend_from_slice(&0i32.to_be_bytes());
        batch.push(2);
        debug_assert_eq!(batch.len(), CRC_START);
        batch.extend_from_slice(&crc32c::crc32c(&covered).to_be_bytes());
        batch.extend_from_slice(&covered);
        batch.into()
    }

    fn base_timestamp(&self) -> i64 {
        self.records.first().map_or(-1, |r| r.timestamp_ms)
    }

    fn put_records(&self, out: &mut Vec<u8>) {
        for (delta, record) in (0i64..).zip(&self.records) {
            record::put(out, delta, self.base_timestamp(), record);
        }
    }
}

/// Decodes the records of the one batch that `bytes` is; a control batch has none.
///
/// # Errors
/// What is wrong with it.
pub fn records_of(bytes: &Bytes) -> Result<Vec<StoredRecord>, BatchError> {
    let header = BatchHeader::read(bytes)?;
    check_crc(&header, bytes)?;
    if header.is_control() {
        return Ok(Vec::new());
    }
    let payload = bytes.slice(HEADER_BYTES..header.size);
    let mut payload = compression::decompress(header.codec(), payload)?;
    let mut records = Vec::new();
    for _ in 0..header.records {
        records.push(record::take(&header, &mut payload)?);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_is_read_back() {
        let record = NewRecord::new("key", "value")
            .timestamp(1_700_000_000_000)
            .header("twice", Some(b"1"))
            .header("twice", None);
        let tombstone = NewRecord { timestamp_ms: 1_699_999_999_000, ..NewRecord::default() };
        let bytes = NewBatch::new(vec![record.clone(), tombstone]).to_bytes();

        let read = records_of(&placed(&bytes, 40, 7)).unwrap();

        assert_eq!(read[0].offset, 40);
        assert_eq!(read[0].headers, record.headers);
        assert_eq!(read[1].offset, 41);
        assert_eq!(read[1].timestamp_ms, 1_699_999_999_000);
        assert_eq!((&read[1].key, &read[1].value), (&None, &None));
    }

    #[test]
    fn placing_leaves_the_checksum_valid() {
        let bytes = placed(&NewBatch::new(vec![NewRecord::new("k", "v")]).to_bytes(), 9, 3);
        let header = BatchHeader::read(&bytes).unwrap();
        assert_eq!((header.base_offset, header.leader_epoch), (9, 3));
        assert_eq!(check_crc(&header, &bytes), Ok(()));
    }

    #[test]
    fn a_flipped_byte_is_found() {
        let bytes = corrupted(&NewBatch::new(vec![NewRecord::new("k", "v")]).to_bytes());
        assert!(matches!(records_of(&bytes), Err(BatchError::Checksum { .. })));
    }

    #[test]
    fn no_prefix_of_a_batch_panics() {
        let bytes = NewBatch::new(vec![NewRecord::new("k", "v")]).to_bytes();
        for end in 0..bytes.len() {
            assert!(BatchHeader::read(&bytes[..end]).is_err());
        }
    }

    #[test]
    fn a_control_batch_has_the_bytes_at_which_rskafka_fails() {
        let bytes = NewBatch::control(1, true, 0).to_bytes();
        assert_eq!(&bytes[HEADER_BYTES..HEADER_BYTES + 2], 8192i16.to_be_bytes());
        assert!(BatchHeader::read(&bytes).unwrap().is_control());
    }
}
