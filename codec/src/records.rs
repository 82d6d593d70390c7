//! Record batches as they lie in a fetched buffer: taken apart one by one, so that one that can't
//! be decoded spoils none of its neighbours, and in place.
//!
//! ```text
//! answer ─► batches ─► RawBatch (a slice of it) ─► checked, decompressed ─► Records
//!                                                   buffers: one a batch, the slice or what it unpacks to
//!                                                   slots:   one a record, where its fields lie
//! ```
//! Everything is checked when a batch is added; looking at a record afterwards can't fail.

use bytes::Bytes;

use crate::batch::{AFTER_CRC, AFTER_LENGTH, HEADER_BYTES};
use crate::compression;
use crate::record::{Fields, Headers, Offset, RawHeaders, RecordView};

/// The least bytes of a record: six fields of one byte behind its length.
const LEAST_RECORD_BYTES: usize = 7;

const CODEC: i16 = 0b111;
const LOG_APPEND_TIME: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;

/// The type of the marker of a transaction that was given up; one that was committed has 1.
const ABORT: i16 = 0;

/// Records where they lie.
#[derive(Debug, Default)]
pub struct Records {
    /// What the records of each batch lie in.
    buffers: Vec<Bytes>,
    slots: Vec<Slot>,
    bytes: usize,
}

/// A record as positions in its buffer.
#[derive(Debug, Clone, Copy)]
struct Slot {
    offset: Offset,
    timestamp_ms: i64,
    buffer: u32,
    key: Span,
    value: Span,
    headers: Span,
}

/// A field's place in a buffer.
#[derive(Debug, Clone, Copy)]
struct Span {
    from: u32,
    to: u32,
}

impl Span {
    /// Of a field that is null: no buffer is that long.
    const NULL: Self = Self { from: u32::MAX, to: u32::MAX };

    /// Of a field of so many bytes that ends there.
    fn ending(end: usize, length: usize) -> Option<Self> {
        Some(Self { from: u32::try_from(end.checked_sub(length)?).ok()?, to: u32::try_from(end).ok()? })
    }

    fn of(self, buffer: &[u8]) -> Option<&[u8]> {
        let index = |at: u32| usize::try_from(at).unwrap_or(usize::MAX);
        buffer.get(index(self.from)..index(self.to))
    }

    fn length(self) -> usize {
        usize::try_from(self.to - self.from).unwrap_or(usize::MAX)
    }
}

impl Records {
    /// How many.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The bytes of their keys, values and headers.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// One of them, counted from 0 in the order of the log.
    pub fn get(&self, index: usize) -> Option<RecordView<'_>> {
        let slot = self.slots.get(index)?;
        let buffer = self.buffers.get(usize::try_from(slot.buffer).ok()?)?;
        Some(RecordView {
            offset: slot.offset,
            timestamp_ms: slot.timestamp_ms,
            key: slot.key.of(buffer),
            value: slot.value.of(buffer),
            headers: Headers::Raw(RawHeaders::new(slot.headers.of(buffer).unwrap_or_default())),
        })
    }

    /// All of them, in the order of the log.
    pub fn iter(&self) -> impl Iterator<Item = RecordView<'_>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// Adds the records of a batch from `position` on, unpacked to at most `limit` bytes.
    ///
    /// # Errors
    /// What is wrong with the batch, without a word of its content; then nothing of it is added.
    pub fn add(&mut self, batch: &RawBatch, position: Offset, limit: usize) -> Result<(), String> {
        let buffer = batch.unpacked(limit)?;
        let count = batch.count(buffer.len(), limit)?;
        let before = self.slots.len();
        self.slots.reserve(count);
        let scanned = self.scan(batch, &buffer, count, position);
        if scanned.is_err() {
            self.slots.truncate(before);
        } else if self.slots.len() > before {
            let added = self.slots.get(before..).unwrap_or_default();
            let lengths = added.iter().map(|slot| slot.key.length() + slot.value.length() + slot.headers.length());
            self.bytes += lengths.sum::<usize>();
            self.buffers.push(buffer);
        }
        scanned
    }

    fn scan(&mut self, batch: &RawBatch, buffer: &[u8], count: usize, position: Offset) -> Result<(), String> {
        let number = u32::try_from(self.buffers.len()).map_err(|_| "there are too many batches".to_owned())?;
        let mut scan = Scan::new(batch, buffer, number);
        let mut least = batch.base_offset;
        for index in 0..count {
            let slot = scan.next().ok_or_else(|| format!("record {index} of {count} can't be decoded"))?;
            if slot.offset < least {
                return Err("its offsets don't ascend".to_owned());
            }
            least = slot.offset.next();
            if slot.offset >= position {
                self.slots.push(slot);
            }
        }
        match scan.fields.rest().len() {
            0 => Ok(()),
            rest => Err(format!("{rest} bytes stand behind its last record")),
        }
    }
}

/// A batch's records, one after another.
struct Scan<'a> {
    fields: Fields<'a>,
    length: usize,
    buffer: u32,
    base_offset: Offset,
    next_offset: Offset,
    base_timestamp: i64,
    appended: Option<i64>,
}

impl<'a> Scan<'a> {
    fn new(batch: &RawBatch, buffer: &'a [u8], number: u32) -> Self {
        let stamped = batch.attributes() & LOG_APPEND_TIME != 0;
        Self {
            fields: Fields::new(buffer),
            length: buffer.len(),
            buffer: number,
            base_offset: batch.base_offset,
            next_offset: batch.next_offset(),
            base_timestamp: batch.i64_at(27),
            appended: stamped.then(|| batch.i64_at(35)),
        }
    }

    #[inline]
    fn next(&mut self) -> Option<Slot> {
        let length = self.fields.length()??;
        let mut record = Fields::new(self.fields.take(length)?);
        let end = self.length - self.fields.rest().len();
        record.take(1)?; // attributes: none are defined
        let created = self.base_timestamp.checked_add(record.varint()?)?;
        let offset = Offset(self.base_offset.0.checked_add(record.varint()?)?);
        if !(self.base_offset..self.next_offset).contains(&offset) {
            return None;
        }
        let mut field = || match record.field()? {
            Some(field) => Span::ending(end - record.rest().len(), field.len()),
            None => Some(Span::NULL),
        };
        let (key, value) = (field()?, field()?);
        let count = record.length()??;
        if !RawHeaders::are(record.rest(), count) {
            return None;
        }
        let headers = Span::ending(end, record.rest().len())?;
        let timestamp_ms = self.appended.unwrap_or(created);
        Some(Slot { offset, timestamp_ms, buffer: self.buffer, key, value, headers })
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

/// What its header says is to be trusted only of a batch that passes [`RawBatch::check`].
impl RawBatch {
    /// Makes sure that these are the bytes that were written.
    ///
    /// # Errors
    /// Where it is of an old format, or its checksum is wrong.
    pub fn check(&self) -> Result<(), String> {
        let magic = self.bytes.get(16).copied();
        if magic != Some(2) {
            return Err(format!("format {magic:?} is not the one (2) that Kafka has written since 0.11"));
        }
        let stored = self.i32_at(AFTER_CRC - 4).cast_unsigned();
        if crc32c::crc32c(self.bytes.get(AFTER_CRC..).unwrap_or_default()) != stored {
            return Err("its checksum is wrong".to_owned());
        }
        Ok(())
    }

    /// The offset behind its last one.
    pub fn next_offset(&self) -> Offset {
        Offset(self.base_offset.0.saturating_add(i64::from(self.i32_at(23))).saturating_add(1))
    }

    /// The epoch of the leader that wrote it into the log; `None` where that is unknown. No checksum
    /// covers it, since brokers write it.
    pub fn leader_epoch(&self) -> Option<i32> {
        Some(self.i32_at(AFTER_LENGTH)).filter(|epoch| *epoch >= 0)
    }

    /// The end of a transaction, or another note of the brokers' that no application sees.
    pub fn is_control(&self) -> bool {
        self.attributes() & CONTROL != 0
    }

    /// Whether it was written in a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes() & TRANSACTIONAL != 0
    }

    /// Who wrote it; -1 where nobody in particular.
    pub fn producer_id(&self) -> i64 {
        self.i64_at(43)
    }

    /// Of a control batch: whether it says that its producer's transaction was given up.
    ///
    /// # Errors
    /// Where it says nothing.
    pub fn is_abort_marker(&self) -> Result<bool, String> {
        let marker = self.marker().ok_or_else(|| "it is a control batch that does not say of what".to_owned())?;
        Ok(marker == ABORT)
    }

    /// The type in the key of a control batch's one record, behind the key's version.
    fn marker(&self) -> Option<i16> {
        let mut fields = Fields::new(self.bytes.get(HEADER_BYTES..)?);
        fields.length()??;
        fields.take(1)?; // attributes
        fields.varint()?; // timestamp
        fields.varint()?; // offset
        let key = fields.field()??;
        key.get(2..)?.first_chunk().map(|bytes| i16::from_be_bytes(*bytes))
    }

    fn attributes(&self) -> i16 {
        self.bytes.get(21..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| i16::from_be_bytes(*bytes))
    }

    /// What its records lie in: a part of itself, or what that unpacks to.
    fn unpacked(&self, limit: usize) -> Result<Bytes, String> {
        let records = self.bytes.slice(HEADER_BYTES.min(self.bytes.len())..);
        let records = match self.attributes() & CODEC {
            0 => records,
            _ => compression::decompress(self.attributes(), &records, limit)?.into(),
        };
        // Places in it are 32 bits wide, the last of which means null.
        if u32::try_from(records.len()).is_ok_and(|length| length < u32::MAX) {
            return Ok(records);
        }
        Err("its records take more than 4 GiB".to_owned())
    }

    /// How many records it has, in so many bytes: no more than these can hold, and than `limit`
    /// bytes of memory are enough to find again.
    fn count(&self, bytes: usize, limit: usize) -> Result<usize, String> {
        let count = usize::try_from(self.i32_at(57)).map_err(|_| "it has a negative number of records".to_owned())?;
        if count.saturating_mul(LEAST_RECORD_BYTES) > bytes {
            return Err(format!("{bytes} bytes can't be the {count} records that it claims"));
        }
        if count.saturating_mul(size_of::<Slot>()) > limit {
            return Err(format!("its records would take more than {limit} bytes of memory"));
        }
        Ok(count)
    }

    fn i32_at(&self, at: usize) -> i32 {
        self.bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| i32::from_be_bytes(*bytes))
    }

    fn i64_at(&self, at: usize) -> i64 {
        self.bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| i64::from_be_bytes(*bytes))
    }
}

/// The records of one batch that is whole.
#[cfg(test)]
pub fn decoded(batch: Bytes) -> Records {
    let mut batches = batches(batch);
    let batch = batches.next().unwrap().unwrap();
    assert!(batches.next().is_none(), "one batch");
    assert!(!batch.is_control(), "a control batch");
    batch.check().unwrap();
    let mut records = Records::default();
    records.add(&batch, Offset(0), 1 << 20).unwrap();
    records
}

#[cfg(test)]
mod tests;
