//! Record batches (magic 2) taken apart, every byte accounted for.
//!
//! Written from Kafka's documentation of the format, for the audit: it keeps what rskafka loses
//! (repeated header names, null header values) and checks every checksum.

use std::io::Read;

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, Bytes};

/// A record as it lies in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRecord {
    pub offset: i64,
    pub timestamp_ms: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

impl RawRecord {
    /// The value of the last header of this name, as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().rev().find(|(known, _)| known == name.as_bytes())?;
        std::str::from_utf8(found.1.as_ref()?).ok()
    }
}

/// The batches of a fetched stretch; the last one may be cut off and is then left out.
pub struct Batches {
    rest: Bytes,
}

impl Batches {
    pub fn new(fetched: Bytes) -> Self {
        Self { rest: fetched }
    }
}

impl Iterator for Batches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut head = self.rest.clone();
        if head.len() < 12 {
            return None;
        }
        let base_offset = head.get_i64();
        let length = usize::try_from(head.get_i32()).ok()?;
        if head.len() < length {
            return None;
        }
        self.rest.advance(12 + length);
        Some(Batch::parse(base_offset, head.split_to(length)))
    }
}

/// One batch, its records still packed.
#[derive(Debug)]
pub struct Batch {
    pub base_offset: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    last_offset_delta: i32,
    attributes: i16,
    base_timestamp: i64,
    max_timestamp: i64,
    count: i32,
    packed: Bytes,
}

impl Batch {
    fn parse(base_offset: i64, mut bytes: Bytes) -> Result<Self> {
        ensure!(bytes.len() >= 49, "a batch of {} bytes", bytes.len());
        let _leader_epoch = bytes.get_i32();
        let magic = bytes.get_i8();
        ensure!(magic == 2, "a batch of magic {magic}");
        let crc = bytes.get_u32();
        ensure!(crc == crc32c::crc32c(&bytes), "the checksum of the batch at {base_offset} is wrong");
        let attributes = bytes.get_i16();
        let last_offset_delta = bytes.get_i32();
        let base_timestamp = bytes.get_i64();
        let max_timestamp = bytes.get_i64();
        let producer_id = bytes.get_i64();
        let producer_epoch = bytes.get_i16();
        let _base_sequence = bytes.get_i32();
        let count = bytes.get_i32();
        Ok(Self {
            base_offset,
            producer_id,
            producer_epoch,
            last_offset_delta,
            attributes,
            base_timestamp,
            max_timestamp,
            count,
            packed: bytes,
        })
    }

    /// The offset that follows the batch, whatever compaction left of it.
    pub fn next_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta) + 1
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes & 0x10 != 0
    }

    pub fn is_control(&self) -> bool {
        self.attributes & 0x20 != 0
    }

    pub fn records(&self) -> Result<Vec<RawRecord>> {
        let mut bytes = self.unpack().with_context(|| format!("unpacking the batch at {}", self.base_offset))?;
        let records: Result<Vec<_>> = (0..self.count).map(|_| self.record(&mut bytes)).collect();
        let records = records.with_context(|| format!("in the batch at {}", self.base_offset))?;
        ensure!(bytes.is_empty(), "{} bytes left over in the batch at {}", bytes.len(), self.base_offset);
        Ok(records)
    }

    fn record(&self, bytes: &mut Bytes) -> Result<RawRecord> {
        let length = usize::try_from(varint(bytes)?)?;
        ensure!(bytes.len() >= length, "a record is cut off");
        let mut record = bytes.split_to(length);
        ensure!(record.has_remaining(), "a record of no bytes");
        let _attributes = record.get_i8();
        let timestamp_delta = varint(&mut record)?;
        let offset = self.base_offset + varint(&mut record)?;
        let key = nullable(&mut record)?;
        let value = nullable(&mut record)?;
        let headers = (0..varint(&mut record)?)
            .map(|_| Ok((nullable(&mut record)?.context("a header without a name")?, nullable(&mut record)?)))
            .collect::<Result<Vec<_>>>()?;
        ensure!(record.is_empty(), "bytes left over in the record at {offset}");
        let log_append_time = self.attributes & 0x08 != 0;
        let timestamp_ms = if log_append_time { self.max_timestamp } else { self.base_timestamp + timestamp_delta };
        Ok(RawRecord { offset, timestamp_ms, key, value, headers })
    }

    fn unpack(&self) -> Result<Bytes> {
        let mut out = Vec::new();
        match self.attributes & 0x07 {
            0 => return Ok(self.packed.clone()),
            1 => {
                flate2::read::GzDecoder::new(&self.packed[..]).read_to_end(&mut out)?;
            }
            2 => out = unpack_snappy(self.packed.clone())?,
            3 => {
                lz4::Decoder::new(&self.packed[..])?.read_to_end(&mut out)?;
            }
            4 => out = zstd::decode_all(&self.packed[..])?,
            codec => bail!("codec {codec}"),
        }
        Ok(Bytes::from(out))
    }
}

/// Bare, or in the blocks of xerial's Java library.
fn unpack_snappy(mut packed: Bytes) -> Result<Vec<u8>> {
    let mut decoder = snap::raw::Decoder::new();
    if !packed.starts_with(b"\x82SNAPPY\0") {
        return Ok(decoder.decompress_vec(&packed)?);
    }
    packed.advance(16);
    let mut out = Vec::new();
    while packed.len() >= 4 {
        let length = usize::try_from(packed.get_i32())?;
        ensure!(packed.len() >= length, "a block is cut off");
        out.extend(decoder.decompress_vec(&packed.split_to(length))?);
    }
    Ok(out)
}

/// A length and so many bytes; a negative length is null.
fn nullable(bytes: &mut Bytes) -> Result<Option<Bytes>> {
    let length = varint(bytes)?;
    if length < 0 {
        return Ok(None);
    }
    let length = usize::try_from(length)?;
    ensure!(bytes.len() >= length, "a field is cut off");
    Ok(Some(bytes.split_to(length)))
}

/// A zigzag number of seven bits a byte.
fn varint(bytes: &mut Bytes) -> Result<i64> {
    let mut bits: u64 = 0;
    for shift in (0..64).step_by(7) {
        ensure!(bytes.has_remaining(), "a number is cut off");
        let byte = bytes.get_u8();
        bits |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let magnitude = (bits >> 1).cast_signed();
            return Ok(if bits & 1 == 0 { magnitude } else { !magnitude });
        }
    }
    bail!("a number of more than ten bytes")
}
