//! Records as they stand inside a batch: varint lengths, deltas against the batch's base. Pure.
//!
//! Format: <https://kafka.apache.org/documentation/#record>.

use bytes::{Buf, Bytes};
use kafka_records::record::Header;

use super::batch_header::{BatchError, BatchHeader};

/// A record to be written straight into a log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewRecord {
    /// Its key, or null.
    pub key: Option<Bytes>,
    /// Its value; null is a tombstone.
    pub value: Option<Bytes>,
    /// Its headers, in this order; names may repeat and values may be null.
    pub headers: Vec<Header>,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
}

impl NewRecord {
    /// A record with a key and a value, no headers, timestamp 0.
    pub fn new(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self { key: Some(key.into()), value: Some(value.into()), ..Self::default() }
    }

    /// With a header; a null value, and a name that is not UTF-8, are legal in Kafka and fatal to rskafka 0.6.0.
    #[must_use]
    pub fn header(mut self, name: impl AsRef<[u8]>, value: Option<&[u8]>) -> Self {
        let name = Bytes::copy_from_slice(name.as_ref());
        self.headers.push(Header { name, value: value.map(Bytes::copy_from_slice) });
        self
    }

    /// With a timestamp, milliseconds since the Unix epoch.
    #[must_use]
    pub fn timestamp(mut self, timestamp_ms: i64) -> Self {
        self.timestamp_ms = timestamp_ms;
        self
    }
}

/// A record as it stands in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its offset in the partition.
    pub offset: i64,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// Its key, or null.
    pub key: Option<Bytes>,
    /// Its value; null is a tombstone.
    pub value: Option<Bytes>,
    /// Its headers, in the order of the log, repeated names and null values included.
    pub headers: Vec<Header>,
    /// The id of the producer that wrote it, or -1.
    pub producer_id: i64,
}

/// Takes the next record from the decompressed records of a batch.
pub(super) fn take(header: &BatchHeader, payload: &mut Bytes) -> Result<StoredRecord, BatchError> {
    let size = take_varint(payload)?;
    let mut at = take_bytes(payload, size)?;
    take_bytes(&mut at, 1)?; // attributes, unused by Kafka
    let timestamp = take_varint(&mut at)?;
    let delta = take_varint(&mut at)?;
    let key = take_nullable(&mut at)?;
    let value = take_nullable(&mut at)?;
    let mut headers = Vec::new();
    for _ in 0..take_varint(&mut at)? {
        let name = take_nullable(&mut at)?.ok_or(BatchError::Records("a header without a name"))?;
        let value = take_nullable(&mut at)?;
        headers.push(Header { name, value });
    }
    Ok(StoredRecord {
        offset: header.base_offset.saturating_add(delta),
        timestamp_ms: header.base_timestamp.saturating_add(timestamp),
        key,
        value,
        headers,
        producer_id: header.producer_id,
    })
}

/// Steps over the next record.
pub(super) fn skip(payload: &mut Bytes) -> Option<()> {
    let size = body(payload)?;
    (size <= payload.len()).then(|| payload.advance(size))
}

/// Takes the length of the next record, which follows.
pub(super) fn body(payload: &mut Bytes) -> Option<usize> {
    usize::try_from(take_varint(payload).ok()?).ok()
}

fn take_bytes(from: &mut Bytes, size: i64) -> Result<Bytes, BatchError> {
    let size = usize::try_from(size).map_err(|_| BatchError::Records("a negative length"))?;
    if size > from.len() {
        return Err(BatchError::Records("a length past the end"));
    }
    Ok(from.split_to(size))
}

fn take_nullable(from: &mut Bytes) -> Result<Option<Bytes>, BatchError> {
    match take_varint(from)? {
        -1 => Ok(None),
        size => take_bytes(from, size).map(Some),
    }
}

fn take_varint(from: &mut Bytes) -> Result<i64, BatchError> {
    let mut raw = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = from.try_get_u8().map_err(|_| BatchError::Records("a number past the end"))?;
        raw |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let magnitude = (raw >> 1).cast_signed();
            return Ok(if raw & 1 == 0 { magnitude } else { !magnitude });
        }
    }
    Err(BatchError::Records("a number of more than 64 bits"))
}

/// Appends a record as it stands in a batch.
pub(super) fn put(out: &mut Vec<u8>, offset_delta: i64, base_timestamp: i64, record: &NewRecord) {
    let mut body = vec![0];
    put_varint(&mut body, record.timestamp_ms.saturating_sub(base_timestamp));
    put_varint(&mut body, offset_delta);
    put_nullable(&mut body, record.key.as_deref());
    put_nullable(&mut body, record.value.as_deref());
    put_length(&mut body, record.headers.len());
    for header in &record.headers {
        put_nullable(&mut body, Some(&header.name));
        put_nullable(&mut body, header.value.as_deref());
    }
    put_length(out, body.len());
    out.extend_from_slice(&body);
}

fn put_nullable(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        None => put_varint(out, -1),
        Some(value) => {
            put_length(out, value.len());
            out.extend_from_slice(value);
        }
    }
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    put_varint(out, i64::try_from(length).unwrap_or(i64::MAX));
}

fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)).cast_unsigned();
    loop {
        let [low, ..] = raw.to_le_bytes();
        raw >>= 7;
        if raw == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_round_trip() {
        for value in [0, 1, -1, 63, -64, 64, i64::from(i32::MIN), i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(take_varint(&mut out.into()), Ok(value));
        }
    }
}
