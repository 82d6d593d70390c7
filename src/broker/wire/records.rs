//! Record batches as they lie in a fetched buffer: taken apart one by one, so that one that can't
//! be decoded spoils none of its neighbours.

use std::ops::Range;

use bytes::{Buf, Bytes};

use super::batch::{AFTER_CRC, AFTER_LENGTH, HEADER_BYTES};
use super::compression;
use crate::record::{Header, Headers, Offset, RecordView};

/// For so many elements at most memory is reserved because they are announced.
const MOST_RESERVED: usize = 1024;

/// A record as slices of the buffer it was fetched in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp; the time of its append where the topic says so.
    pub timestamp_ms: i64,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
    /// Its headers, in order.
    pub headers: Vec<Header>,
}

impl Record {
    /// The record as the stages see it.
    pub fn view(&self) -> RecordView<'_> {
        RecordView {
            offset: self.offset,
            timestamp_ms: self.timestamp_ms,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: Headers::List(&self.headers),
        }
    }
}

/// One batch, framed but not yet looked into.
#[derive(Debug, Clone)]
pub struct RawBatch {
    /// The offset of its first record.
    pub base_offset: Offset,
    /// The whole of it, header included.
    pub bytes: Bytes,
}

/// What a batch holds.
#[derive(Debug)]
pub enum Decoded {
    /// Records.
    Records(Vec<Record>),
    /// The end of a transaction, which no application sees.
    Control,
}

/// The batches of a fetched buffer. A last one that is cut short, as brokers do to fit a limit,
/// ends the iteration; a first one that is, is an error.
pub fn batches(mut buffer: Bytes) -> impl Iterator<Item = Result<RawBatch, String>> {
    let mut first = true;
    std::iter::from_fn(move || {
        if buffer.is_empty() {
            return None;
        }
        let framed = frame(&mut buffer);
        if framed.is_none() {
            let left = std::mem::take(&mut buffer).len();
            return first.then(|| Err(format!("the first batch is cut short or misframed: {left} bytes")));
        }
        first = false;
        framed.map(Ok)
    })
}

fn frame(buffer: &mut Bytes) -> Option<RawBatch> {
    let base_offset = Offset(i64::from_be_bytes(*buffer.first_chunk()?));
    let length = i32::from_be_bytes(*buffer.get(8..)?.first_chunk()?);
    let length = AFTER_LENGTH + usize::try_from(length).ok()?;
    let whole = length >= HEADER_BYTES && length <= buffer.len() && base_offset >= Offset(0);
    whole.then(|| RawBatch { base_offset, bytes: buffer.split_to(length) })
}

impl RawBatch {
    /// The offset behind its last one, as its header says. Trust it only where the batch decodes:
    /// it lies under the checksum.
    pub fn next_offset(&self) -> Offset {
        Offset(self.base_offset.0.saturating_add(i64::from(self.i32_at(23))).saturating_add(1))
    }

    /// Its records, decompressed to at most `limit` bytes.
    ///
    /// # Errors
    /// What is wrong with it, without a word of its content.
    pub fn decode(&self, limit: usize) -> Result<Decoded, String> {
        let magic = self.bytes.get(16).copied();
        if magic != Some(2) {
            return Err(format!("format {magic:?} is not the one (2) that Kafka has written since 0.11"));
        }
        let stored = self.i32_at(AFTER_CRC - 4).cast_unsigned();
        if crc32c::crc32c(self.bytes.get(AFTER_CRC..).unwrap_or_default()) != stored {
            return Err("its checksum is wrong".to_owned());
        }
        let [high, low] = [self.bytes.get(21), self.bytes.get(22)].map(|byte| byte.copied().unwrap_or(0));
        let attributes = i16::from_be_bytes([high, low]);
        if attributes & (1 << 5) != 0 {
            return Ok(Decoded::Control);
        }
        let mut records = self.bytes.slice(HEADER_BYTES.min(self.bytes.len())..);
        if attributes & 0b111 != 0 {
            records = compression::decompress(attributes, &records, limit)?.into();
        }
        let times = Times { first: self.i64_at(27), appended: (attributes & (1 << 3) != 0).then(|| self.i64_at(35)) };
        let count = usize::try_from(self.i32_at(57)).map_err(|_| "it has a negative number of records".to_owned())?;
        let offsets = self.base_offset..self.next_offset();
        let mut decoded = Vec::with_capacity(count.min(MOST_RESERVED));
        let mut room = Room(limit);
        for index in 0..count {
            let record = decode_record(&mut records, &offsets, &times, &mut room);
            decoded.push(record.ok_or_else(|| match room {
                Room(0) => format!("its records would take more than {limit} bytes of memory"),
                Room(_) => format!("record {index} of {count} can't be decoded"),
            })?);
        }
        let ascending = decoded.windows(2).all(|pair| matches!(pair, [a, b] if a.offset < b.offset));
        if !ascending {
            return Err("its offsets don't ascend".to_owned());
        }
        Ok(Decoded::Records(decoded))
    }

    fn i32_at(&self, at: usize) -> i32 {
        self.bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| i32::from_be_bytes(*bytes))
    }

    fn i64_at(&self, at: usize) -> i64 {
        self.bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| i64::from_be_bytes(*bytes))
    }
}

struct Times {
    first: i64,
    appended: Option<i64>,
}

/// The memory that a batch's records may still take, besides their bytes: the smallest record has 7
/// bytes and takes twenty times as many, the smallest header 2.
struct Room(usize);

impl Room {
    /// None left once something did not fit.
    fn take<T>(&mut self) -> Option<()> {
        let left = self.0.checked_sub(size_of::<T>());
        self.0 = left.unwrap_or(0);
        left.map(drop)
    }
}

fn decode_record(buffer: &mut Bytes, offsets: &Range<Offset>, times: &Times, room: &mut Room) -> Option<Record> {
    room.take::<Record>()?;
    let length = take_length(buffer)??;
    let mut record = take(buffer, length)?;
    take(&mut record, 1)?; // attributes: none are defined
    let created = times.first.checked_add(take_varint(&mut record)?)?;
    let offset = Offset(offsets.start.0.checked_add(take_varint(&mut record)?)?);
    if !offsets.contains(&offset) {
        return None;
    }
    let key = take_field(&mut record)?;
    let value = take_field(&mut record)?;
    let count = take_length(&mut record)??;
    let mut headers = Vec::with_capacity(count.min(MOST_RESERVED));
    for _ in 0..count {
        room.take::<Header>()?;
        let name = take_field(&mut record)??;
        let name = std::str::from_utf8(&name).ok()?.to_owned();
        headers.push(Header { name, value: take_field(&mut record)? });
    }
    record.is_empty().then_some(Record { offset, timestamp_ms: times.appended.unwrap_or(created), key, value, headers })
}

/// A field behind its length; `Some(None)` where it is null.
fn take_field(buffer: &mut Bytes) -> Option<Option<Bytes>> {
    match take_length(buffer)? {
        None => Some(None),
        Some(length) => take(buffer, length).map(Some),
    }
}

fn take(buffer: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= buffer.len()).then(|| buffer.split_to(length))
}

/// A length; `Some(None)` where it is -1.
fn take_length(buffer: &mut Bytes) -> Option<Option<usize>> {
    match take_varint(buffer)? {
        -1 => Some(None),
        length => usize::try_from(length).ok().map(Some),
    }
}

fn take_varint(buffer: &mut Bytes) -> Option<i64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *buffer.first()?;
        buffer.advance(1);
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_framed_and_decoded_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), length in 0..200_u8) {
            let mut bytes = bytes;
            if bytes.len() > 17 {
                bytes[..12].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, length]);
                bytes[16] = 2;
                if bytes.len() > AFTER_CRC {
                    let end = bytes.len().min(12 + usize::from(length)).max(AFTER_CRC);
                    let crc = crc32c::crc32c(&bytes[AFTER_CRC..end]);
                    bytes[AFTER_CRC - 4..AFTER_CRC].copy_from_slice(&crc.to_be_bytes());
                }
            }
            for batch in batches(bytes.into()).flatten() {
                let _ = batch.decode(1 << 16);
            }
        }
    }

    #[test]
    fn tiny_records_do_not_fill_the_memory() {
        let header = Header { name: String::new(), value: None };
        let many = vec![header; 1000];
        for (records, headers) in [(1000, &[][..]), (1, &many[..])] {
            let mut builder = super::super::batch::BatchBuilder::default();
            for _ in 0..records {
                let record = super::super::batch::Outgoing { timestamp_ms: 5, key: None, value: None };
                builder.append(&record, Headers::List(headers).iter());
            }
            let batch = batches(builder.finish(crate::config::Compression::Zstd).unwrap()).next().unwrap().unwrap();
            assert!(batch.decode(1 << 20).is_ok());
            let error = batch.decode(16 << 10).unwrap_err();
            assert_eq!(error, "its records would take more than 16384 bytes of memory");
        }
    }

    #[test]
    fn a_cut_batch_at_the_end_is_left_for_the_next_fetch() {
        let mut builder = super::super::batch::BatchBuilder::default();
        let record = super::super::batch::Outgoing { timestamp_ms: 5, key: None, value: None };
        builder.append(&record, Headers::NONE.iter());
        let whole = builder.finish(crate::config::Compression::None).unwrap();
        let mut two = whole.to_vec();
        two.extend_from_slice(&whole[..whole.len() - 1]);
        assert_eq!(batches(two.into()).map(|batch| batch.unwrap().base_offset).collect::<Vec<_>>(), [Offset(0)]);
        assert!(batches(whole.slice(..40)).next().unwrap().is_err());
    }
}
