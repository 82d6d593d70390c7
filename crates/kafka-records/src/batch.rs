//! A record batch (format 2) under construction: each record is written once, where it stays.
//!
//! Layout: <https://kafka.apache.org/documentation/#recordbatch>

use std::io;

use bytes::Bytes;

use crate::compression::{self, Compression};
use crate::record::Headers;

/// Length of a batch's header; the records follow.
pub(crate) const HEADER_BYTES: usize = 61;
/// Where the part that the length counts begins.
pub(crate) const AFTER_LENGTH: usize = 12;
/// Where the part that the checksum covers begins.
pub(crate) const AFTER_CRC: usize = 21;
/// Where producer id, epoch and sequence stand.
const PRODUCER_STATE_AT: usize = 43;
const PRODUCER_STATE_BYTES: usize = 8 + 2 + 4;
/// The attribute of a batch that counts only once its transaction is committed.
const TRANSACTIONAL: i16 = 1 << 4;

/// A record to write.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// Its timestamp, milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
}

/// An idempotent producer's id and epoch, by which the brokers know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerId {
    /// The id.
    pub id: i64,
    /// The epoch: of several producers with the same id, only the one of the latest may write.
    pub epoch: i16,
}

/// A batch's producer id, epoch and sequence number, by which a broker recognizes a duplicate (KIP-98).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerState {
    /// The producer that the batch is of.
    pub producer: ProducerId,
    /// The number of its first record, among all that the producer wrote to the partition.
    pub sequence: i32,
    /// Whether it is part of a transaction. No batch changes in this.
    pub transactional: bool,
}

impl ProducerState {
    /// The state of a batch that no idempotent producer wrote: the broker does not tell it from its copies.
    pub const PLAIN: Self = Self { producer: ProducerId { id: -1, epoch: -1 }, sequence: -1, transactional: false };
}

/// The records of one batch, encoded as they come.
#[derive(Debug)]
pub struct BatchBuilder {
    bytes: Vec<u8>,
    count: i32,
    first_timestamp: i64,
    max_timestamp: i64,
    /// In how many bytes the lengths of the last record and of its value were written: most often the
    /// next one's take as many.
    length_bytes: usize,
    value_length_bytes: usize,
}

/// A batch as it was before a record.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    bytes: usize,
    count: i32,
    max_timestamp: i64,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::within(Vec::new(), 0)
    }
}

impl BatchBuilder {
    /// Empty, within a buffer that has served before, with room for records of so many bytes.
    pub fn within(mut buffer: Vec<u8>, bytes: usize) -> Self {
        buffer.clear();
        buffer.reserve(HEADER_BYTES + bytes);
        buffer.resize(HEADER_BYTES, 0);
        Self {
            bytes: buffer,
            count: 0,
            first_timestamp: 0,
            max_timestamp: i64::MIN,
            length_bytes: 2,
            value_length_bytes: 2,
        }
    }

    /// Writes a record at the end, with its headers.
    pub fn append(&mut self, record: &Outgoing<'_>, headers: Headers<'_>) {
        let mut write = |out: &mut Vec<u8>| out.extend_from_slice(record.value.unwrap_or_default());
        self.append_any(record, record.value.is_none(), headers, &mut write);
    }

    /// Appends a record with the value that `write` appends to the bytes that it is given, in place of the
    /// record's own. Where it panics nothing is written.
    pub fn append_with(&mut self, record: &Outgoing<'_>, headers: Headers<'_>, write: &mut dyn FnMut(&mut Vec<u8>)) {
        self.append_any(record, false, headers, write);
    }

    fn append_any(
        &mut self,
        record: &Outgoing<'_>,
        is_null: bool,
        headers: Headers<'_>,
        write: &mut dyn FnMut(&mut Vec<u8>),
    ) {
        let Outgoing { timestamp_ms, key, .. } = *record;
        let first_timestamp = if self.count == 0 { timestamp_ms } else { self.first_timestamp };
        let mut unfinished = Unfinished::new(&mut self.bytes);
        let Unfinished { start, bytes: out } = &mut unfinished;
        let start = *start;
        // Both lengths are set when they are known: until then there is room for them.
        put_room(out, self.length_bytes);
        out.push(0); // attributes: none are defined
        put_varint(out, timestamp_ms.wrapping_sub(first_timestamp));
        put_varint(out, i64::from(self.count));
        put_field(out, key);
        let value_length_at = out.len();
        put_room(out, self.value_length_bytes);
        let value_at = out.len();
        write(out);
        let value_length = if is_null { -1 } else { signed(out.len() - value_at) };
        if headers.is_empty() {
            put_varint(out, 0);
        } else {
            put_headers(out, headers);
        }
        self.value_length_bytes = set_varint(out, value_length_at, self.value_length_bytes, value_length);
        let length = signed(out.len() - start - self.length_bytes);
        self.length_bytes = set_varint(out, start, self.length_bytes, length);
        unfinished.finish();
        self.first_timestamp = first_timestamp;
        self.max_timestamp = self.max_timestamp.max(timestamp_ms);
        self.count += 1;
    }

    /// Marks a place that [`BatchBuilder::rewind`] leads back to.
    pub fn mark(&self) -> Mark {
        Mark { bytes: self.bytes.len(), count: self.count, max_timestamp: self.max_timestamp }
    }

    /// Takes back what was appended since.
    pub fn rewind(&mut self, mark: Mark) {
        let Mark { bytes, count, max_timestamp } = mark;
        self.bytes.truncate(bytes);
        (self.count, self.max_timestamp) = (count, max_timestamp);
    }

    /// About how many bytes a record adds, its headers left out.
    pub fn bytes_of(record: &Outgoing<'_>) -> usize {
        const AROUND: usize = 25; // lengths and deltas at their longest
        AROUND + record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len)
    }

    /// Bytes so far, before compression.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Records so far.
    pub fn count(&self) -> i32 {
        self.count
    }

    /// The whole batch, ready to be sent as often as it takes.
    ///
    /// # Errors
    /// Where the codec fails, which it does for want of memory only.
    pub fn finish(self, codec: Compression) -> io::Result<Bytes> {
        let Finished { batch, failed } = self.finish_as(codec, ProducerState::PLAIN);
        failed.map_or(Ok(batch), Err)
    }

    /// Finishes the batch under a producer state. Where the codec fails, the batch stays uncompressed: any reader takes
    /// that as well.
    pub fn finish_as(self, codec: Compression, state: ProducerState) -> Finished {
        let Self { mut bytes, count, first_timestamp, max_timestamp, .. } = self;
        let (mut codec, mut failed) = (codec, None);
        if codec != Compression::None {
            let records = bytes.get(HEADER_BYTES..).unwrap_or_default();
            let mut compressed = vec![0; HEADER_BYTES];
            match compression::compress(codec, records, &mut compressed) {
                Ok(()) => bytes = compressed,
                Err(error) => (codec, failed) = (Compression::None, Some(error)),
            }
        }
        let length = i32::try_from(bytes.len() - AFTER_LENGTH).unwrap_or(i32::MAX);
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(&0_i64.to_be_bytes()); // base offset: the broker's to give
        header.extend_from_slice(&length.to_be_bytes());
        header.extend_from_slice(&(-1_i32).to_be_bytes()); // partition leader epoch
        header.push(2); // magic: the format's version
        header.extend_from_slice(&[0; 4]); // checksum, below
        let attributes = compression::attribute(codec) | if state.transactional { TRANSACTIONAL } else { 0 };
        header.extend_from_slice(&attributes.to_be_bytes());
        header.extend_from_slice(&(count - 1).to_be_bytes()); // last offset delta
        header.extend_from_slice(&first_timestamp.to_be_bytes());
        header.extend_from_slice(&max_timestamp.to_be_bytes());
        header.extend_from_slice(&[0; PRODUCER_STATE_BYTES]);
        header.extend_from_slice(&count.to_be_bytes());
        bytes[..HEADER_BYTES].copy_from_slice(&header);
        put_producer_state(&mut bytes, state);
        Finished { batch: bytes.into(), failed }
    }
}

/// A whole batch.
#[derive(Debug)]
pub struct Finished {
    /// Its bytes.
    pub batch: Bytes,
    /// Why it is plain, though it was to be compressed.
    pub failed: Option<io::Error>,
}

/// Rewrites a whole batch's producer state. Copies the batch only where someone else still holds it.
pub fn with_producer_state(batch: Bytes, state: ProducerState) -> Bytes {
    let mut bytes = Vec::from(batch);
    put_producer_state(&mut bytes, state);
    bytes.into()
}

/// Writes a producer state into a whole batch, and the checksum, which covers it.
fn put_producer_state(batch: &mut [u8], state: ProducerState) {
    let ProducerState { producer: ProducerId { id, epoch }, sequence, .. } = state;
    let mut bytes = [0; PRODUCER_STATE_BYTES];
    bytes[..8].copy_from_slice(&id.to_be_bytes());
    bytes[8..10].copy_from_slice(&epoch.to_be_bytes());
    bytes[10..].copy_from_slice(&sequence.to_be_bytes());
    batch[PRODUCER_STATE_AT..PRODUCER_STATE_AT + PRODUCER_STATE_BYTES].copy_from_slice(&bytes);
    let crc = crc32c::crc32c(&batch[AFTER_CRC..]);
    batch[AFTER_CRC - 4..AFTER_CRC].copy_from_slice(&crc.to_be_bytes());
}

/// A record that is being written. Dropped before it is whole, it takes back what there is of it.
struct Unfinished<'a> {
    start: usize,
    bytes: &'a mut Vec<u8>,
}

impl<'a> Unfinished<'a> {
    fn new(bytes: &'a mut Vec<u8>) -> Self {
        Self { start: bytes.len(), bytes }
    }

    fn finish(mut self) {
        self.start = self.bytes.len();
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.bytes.truncate(self.start);
    }
}

#[inline(never)]
fn put_headers(out: &mut Vec<u8>, headers: Headers<'_>) {
    put_varint(out, signed(headers.iter().count()));
    for (name, value) in headers.iter() {
        put_field(out, Some(name));
        put_field(out, value);
    }
}

#[inline]
fn put_field(out: &mut Vec<u8>, field: Option<&[u8]>) {
    put_varint(out, field.map_or(-1, |field| signed(field.len())));
    out.extend_from_slice(field.unwrap_or_default());
}

/// A length in memory never exceeds what an `i64` holds.
fn signed(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// The most bytes that a number takes.
const LONGEST_VARINT: usize = 10;

#[inline]
fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out.push(low_bits(rest) | 0x80);
        rest >>= 7;
    }
    out.push(low_bits(rest));
}

#[inline]
fn put_room(out: &mut Vec<u8>, bytes: usize) {
    match bytes {
        2 => out.extend_from_slice(&[0; 2]),
        _ => out.resize(out.len() + bytes, 0),
    }
}

/// Puts a number in the place of `room` bytes at `at`, and says how many it takes. What stands
/// behind is moved where that is another number of bytes.
#[inline]
fn set_varint(out: &mut Vec<u8>, at: usize, room: usize, value: i64) -> usize {
    let rest = zigzag(value);
    match out.get_mut(at..).and_then(|behind| behind.first_chunk_mut()) {
        // As nearly all lengths are.
        Some(place) if room == 2 && (0x80..0x4000).contains(&rest) => {
            *place = [low_bits(rest) | 0x80, low_bits(rest >> 7)];
            2
        }
        _ => replace_by_varint(out, at, room, value),
    }
}

#[inline(never)]
fn replace_by_varint(out: &mut Vec<u8>, at: usize, room: usize, value: i64) -> usize {
    let mut bytes = Vec::with_capacity(LONGEST_VARINT);
    put_varint(&mut bytes, value);
    let count = bytes.len();
    out.splice(at..at + room, bytes);
    count
}

fn low_bits(value: u64) -> u8 {
    (value & 0x7f).to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::{Header, Headers, Offset};
    use crate::records;

    type Plain = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

    fn records() -> impl Strategy<Value = Vec<Plain>> {
        let bytes = || prop::option::of(prop::collection::vec(any::<u8>(), 0..200));
        let name = prop_oneof!["[a-c]{0,3}".prop_map(String::into_bytes), prop::collection::vec(any::<u8>(), 0..4)];
        let headers = prop::collection::vec((name, bytes()), 0..4);
        prop::collection::vec((0..i64::MAX / 2, bytes(), bytes(), headers), 1..40)
    }

    fn encoded(records: &[Plain], codec: Compression) -> Bytes {
        let mut builder = BatchBuilder::default();
        for (timestamp_ms, key, value, headers) in records {
            let headers: Vec<_> = headers
                .iter()
                .map(|(name, value)| Header { name: name.clone().into(), value: value.clone().map(Bytes::from) })
                .collect();
            let value = value.as_deref();
            let record = Outgoing { timestamp_ms: *timestamp_ms, key: key.as_deref(), value };
            builder.append(&record, Headers::List(&headers));
        }
        builder.finish(codec).unwrap()
    }

    fn decoded(batch: &Bytes) -> Vec<Plain> {
        let vec = |bytes: &[u8]| bytes.to_vec();
        let records = records::decoded(batch.clone());
        let plain = records.iter().map(|found| found.record).map(|record| {
            let headers = record.headers.iter().map(|(name, value)| (name.to_vec(), value.map(vec))).collect();
            (record.timestamp_ms, record.key.map(vec), record.value.map(vec), headers)
        });
        plain.collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn reads_what_it_writes_in_every_codec(records in records()) {
            for codec in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
                prop_assert_eq!(&decoded(&encoded(&records, codec)), &records);
            }
        }

        #[test]
        fn a_flipped_bit_under_the_checksum_is_found(records in records(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let mut bytes = encoded(&records, Compression::None).to_vec();
            let at = AFTER_CRC - 4 + at.index(bytes.len() - AFTER_CRC + 4);
            bytes[at] ^= 1 << bit;
            let bounds = records::Bounds { offsets: Offset(0)..Offset(i64::MAX), least_epoch: None, greatest_epoch: None };
            prop_assert!(records::Frames::new(bytes.into()).next().unwrap().sound(&bounds).is_err());
        }

        #[test]
        fn varints_are_the_same_wherever_they_are_written(value in any::<i64>(), room in 0..=LONGEST_VARINT) {
            let mut put = Vec::new();
            put_varint(&mut put, value);
            let mut set = b"before".to_vec();
            put_room(&mut set, room);
            set.extend_from_slice(b"behind");
            prop_assert_eq!(set_varint(&mut set, 6, room, value), put.len());
            prop_assert_eq!(set, [b"before", &put[..], b"behind"].concat());
        }
    }

    #[test]
    fn a_record_is_written_whole_or_not_at_all() {
        let plain = |value: &'static [u8]| Outgoing { timestamp_ms: 5, key: None, value: Some(value) };
        let mut builder = BatchBuilder::default();
        builder.append(&plain(b"first"), Headers::NONE);
        let mark = builder.mark();
        let write = std::panic::AssertUnwindSafe(|| {
            builder.append_with(&plain(b"-"), Headers::NONE, &mut |out| {
                out.extend_from_slice(b"half");
                panic!("on purpose");
            });
        });
        assert!(std::panic::catch_unwind(write).is_err());
        assert_eq!((builder.count(), builder.bytes()), (1, mark.bytes));
        builder.append(&plain(b"taken back"), Headers::NONE);
        builder.rewind(mark);
        builder.append_with(&plain(b"-"), Headers::NONE, &mut |out| out.extend_from_slice(&[7; 20_000]));
        let batch = builder.finish(Compression::None).unwrap();
        let values: Vec<_> = decoded(&batch).into_iter().map(|(_, _, value, _)| value.unwrap()).collect();
        assert_eq!(values, [b"first".to_vec(), vec![7; 20_000]]);
    }

    #[test]
    fn agrees_with_kafka_protocol() {
        use kafka_protocol::records::RecordBatchDecoder;
        let records = vec![
            (1_000, Some(b"k".to_vec()), Some(vec![7; 300]), vec![(b"h".to_vec(), None)]),
            (900, None, None, vec![]),
        ];
        let mut batch = encoded(&records, Compression::None);
        let set = RecordBatchDecoder::decode(&mut batch).unwrap();
        assert_eq!(set.records.len(), 2);
        assert_eq!(set.records[0].timestamp, 1_000);
        assert_eq!(set.records[1].timestamp, 900);
        assert_eq!(set.records[0].value.as_deref(), Some(&[7; 300][..]));
        assert_eq!(set.records[0].headers.len(), 1);
        assert_eq!(set.records[1].offset, 1);
        assert!(!set.records[0].transactional);
    }

    #[test]
    fn the_batch_of_a_transaction_says_so_and_whose_it_is() {
        use kafka_protocol::records::RecordBatchDecoder;
        let state = ProducerState { producer: ProducerId { id: 7, epoch: 3 }, sequence: 11, transactional: true };
        let mut builder = BatchBuilder::default();
        let record = Outgoing { timestamp_ms: 1, key: None, value: Some(b"v") };
        builder.append(&record, Headers::NONE);
        let mut batch = builder.finish_as(Compression::None, state).batch;
        let set = RecordBatchDecoder::decode(&mut batch).unwrap();
        let found = &set.records[0];
        assert!(found.transactional && !found.control);
        assert_eq!((found.producer_id, found.producer_epoch, found.sequence), (7, 3, 11));
        assert_eq!(found.value.as_deref(), Some(&b"v"[..]));
    }
}
