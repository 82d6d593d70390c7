//! Record batches as they lie in a fetched buffer: taken apart one by one, so that one that can't
//! be decoded spoils none of its neighbours, in place, and a window at a time.
//!
//! ```text
//! answer ─► frames ─► RawBatch ─► SoundBatch (checksum, offsets) ─► OpenBatch ── read ─► Records
//!                        │                                             │       (one window of them)
//!                        └─ corrupt: a dead letter of all its bytes    └─ again, until it is done
//! ```
//! Of a batch that is not compressed the records lie in the answer; of another one in the window that they
//! were unpacked into. Everything is checked when a record is added; looking at it afterwards can't
//! fail.

mod open;

use std::ops::Range;

use bytes::Bytes;

use crate::batch::{AFTER_CRC, AFTER_LENGTH, HEADER_BYTES};
use crate::record::{Fields, Headers, Offset, RawHeaders, RecordView};
use crate::step::Step;

pub use open::{OpenBatch, Progress, Window};

const CODEC: i16 = 0b111;
const LOG_APPEND_TIME: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;

/// The type of the marker of a transaction that was given up; one that was committed has 1.
const ABORT: i16 = 0;

/// Records where they lie, and among them bytes that are none.
#[derive(Debug, Default)]
pub struct Records {
    /// What the records of each batch lie in.
    buffers: Vec<Bytes>,
    slots: Vec<Slot>,
    flaws: Vec<Flaw>,
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

/// The kinds of [`Flaw`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlawKind {
    /// The bytes can't be decoded as records.
    Corrupt,
    /// The record is larger than [`Window::max_record_bytes`]: its value is cut.
    TooLarge,
}

/// What keeps an entry from being processed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The entry's place among all.
    place: usize,
    /// Why, in a word.
    pub kind: FlawKind,
    /// Why, for people; without a word of its content.
    pub why: String,
    /// The size of its value in bytes, where what is here of it was cut.
    pub cut_from: Option<usize>,
}

impl Flaw {
    /// The flaw of an entry of which all is there.
    pub fn new(kind: FlawKind, why: impl Into<String>) -> Self {
        Self { place: 0, kind, why: why.into(), cut_from: None }
    }
}

/// An entry of a decoded batch: a record, or bytes that are no record, with the flaw that says why.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// The record; of bytes that are none, the bytes as its value.
    pub record: RecordView<'a>,
    /// The flaw that keeps it from being processed.
    pub flaw: Option<&'a Flaw>,
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
    const EMPTY: Self = Self { from: 0, to: 0 };

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

    /// The first bytes of it.
    fn cut(self, most: usize) -> Self {
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        Self { to: self.to.min(self.from.saturating_add(most)), ..self }
    }
}

impl Records {
    /// The number of entries.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Returns whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The bytes of their keys, values and headers.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The flaws of entries, in their order.
    pub fn flaws(&self) -> &[Flaw] {
        &self.flaws
    }

    /// An entry by its place, counted from 0 in the order of the log.
    pub fn get(&self, index: usize) -> Option<Entry<'_>> {
        let slot = self.slots.get(index)?;
        let buffer = self.buffers.get(usize::try_from(slot.buffer).ok()?)?;
        let record = RecordView {
            offset: slot.offset,
            timestamp_ms: slot.timestamp_ms,
            key: slot.key.of(buffer),
            value: slot.value.of(buffer),
            headers: Headers::Raw(RawHeaders::new(slot.headers.of(buffer).unwrap_or_default())),
        };
        let flaw = match self.flaws.is_empty() {
            true => None,
            false => self.flaws.binary_search_by_key(&index, |flaw| flaw.place).ok(),
        };
        Some(Entry { record, flaw: flaw.and_then(|at| self.flaws.get(at)) })
    }

    /// All entries, in the order of the log.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// Adds bytes that can't be decoded as one entry, as if it stood at `offset`.
    pub fn add_corrupt_batch(&mut self, offset: Offset, bytes: Bytes, why: String) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX - 1);
        let value = Span { from: 0, to: length };
        let slot = Slot { offset, timestamp_ms: -1, buffer: 0, key: Span::NULL, value, headers: Span::EMPTY };
        self.add_flawed(slot, bytes, Flaw { place: 0, kind: FlawKind::Corrupt, why, cut_from: None });
    }

    /// Adds an entry in a buffer of its own.
    fn add_flawed(&mut self, slot: Slot, buffer: Bytes, flaw: Flaw) {
        let Some(number) = self.next_buffer() else { return };
        self.flaws.push(Flaw { place: self.slots.len(), ..flaw });
        self.bytes += slot.bytes();
        self.slots.push(Slot { buffer: number, ..slot });
        self.buffers.push(buffer);
    }

    fn next_buffer(&self) -> Option<u32> {
        u32::try_from(self.buffers.len()).ok()
    }
}

impl Slot {
    fn bytes(&self) -> usize {
        self.key.length() + self.value.length() + self.headers.length()
    }
}

/// One batch, framed but not yet looked into: nothing that its header says is to be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawBatch {
    /// The offset that it claims to begin at. No checksum covers it.
    pub claimed_base: Offset,
    /// The whole of it, header included.
    pub bytes: Bytes,
}

/// A batch of which checksum and place are right: its offsets can be gone by.
#[derive(Debug, Clone)]
pub struct SoundBatch {
    raw: RawBatch,
    leader_epoch: Option<i32>,
}

/// What a batch is held against: what was asked for and what the broker says of the log, since no
/// checksum covers where it begins and in which epoch it was written.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// The offsets that it may have: it begins and ends within them.
    pub offsets: Range<Offset>,
    /// The epoch of the last batch before it, where that is known.
    pub least_epoch: Option<i32>,
    /// The epoch in which the leader leads, where that is known.
    pub greatest_epoch: Option<i32>,
}

/// The batches of a fetched buffer. What is left behind the last whole one is in [`Frames::rest`].
#[derive(Debug, Clone)]
pub struct Frames(Bytes);

impl Frames {
    /// Takes apart what a fetch brought.
    pub fn new(buffer: Bytes) -> Self {
        Self(buffer)
    }

    /// The bytes that are not taken yet.
    pub fn rest(&self) -> &Bytes {
        &self.0
    }

    /// The offset that the next batch claims to begin at, be it whole or not.
    pub fn next_claim(&self) -> Option<Offset> {
        self.0.first_chunk().map(|bytes| Offset(i64::from_be_bytes(*bytes)))
    }
}

/// Ends before a batch that is cut short, as brokers do to fit a limit, or is not framed as one.
impl Iterator for Frames {
    type Item = RawBatch;

    fn next(&mut self) -> Option<RawBatch> {
        let claimed_base = self.next_claim()?;
        let length = i32::from_be_bytes(*self.0.get(8..)?.first_chunk()?);
        let length = AFTER_LENGTH.checked_add(usize::try_from(length).ok()?)?;
        let whole = length >= HEADER_BYTES && length <= self.0.len();
        whole.then(|| RawBatch { claimed_base, bytes: self.0.split_to(length) })
    }
}

impl RawBatch {
    /// Makes sure that these are the bytes that were written, and that they can stand where they say.
    ///
    /// # Errors
    /// What is wrong: an old format, the checksum, its place.
    pub fn sound(self, bounds: &Bounds) -> Result<SoundBatch, String> {
        let magic = self.bytes.get(16).copied();
        if magic != Some(2) {
            return Err(format!("format {magic:?} is not the one (2) that Kafka has written since 0.11"));
        }
        let stored = self.i32_at(AFTER_CRC - 4).cast_unsigned();
        if crc32c::crc32c(self.bytes.get(AFTER_CRC..).unwrap_or_default()) != stored {
            return Err("its checksum is wrong".to_owned());
        }
        let (begin, end) = (self.claimed_base, self.claimed_end());
        let Some(end) = end.filter(|end| *end > begin && begin >= Offset(0)) else {
            return Err(format!("it claims to begin at {begin} and to have no offset"));
        };
        if begin < bounds.offsets.start {
            return Err(format!(
                "it claims to begin at {begin}, but what comes before it ends at {}",
                bounds.offsets.start
            ));
        }
        if end > bounds.offsets.end {
            return Err(format!("it claims to end at {end}, but the log ends at {}", bounds.offsets.end));
        }
        // Brokers write the epoch: one that can't be is not believed, and says nothing of the records.
        let epoch = Some(self.i32_at(AFTER_LENGTH)).filter(|epoch| {
            *epoch >= bounds.least_epoch.unwrap_or(0) && bounds.greatest_epoch.is_none_or(|greatest| *epoch <= greatest)
        });
        Ok(SoundBatch { raw: self, leader_epoch: epoch })
    }

    /// The offset behind its last one, as it claims.
    pub fn claimed_end(&self) -> Option<Offset> {
        let last = i64::from(self.i32_at(23));
        self.claimed_base.0.checked_add(last)?.checked_add(1).map(Offset)
    }

    fn attributes(&self) -> i16 {
        self.bytes.get(21..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| i16::from_be_bytes(*bytes))
    }

    fn i32_at(&self, at: usize) -> i32 {
        self.bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| i32::from_be_bytes(*bytes))
    }

    fn i64_at(&self, at: usize) -> i64 {
        self.bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| i64::from_be_bytes(*bytes))
    }
}

impl SoundBatch {
    /// The offset of its first record.
    pub fn base_offset(&self) -> Offset {
        self.raw.claimed_base
    }

    /// The offset behind its last one.
    pub fn next_offset(&self) -> Offset {
        self.raw.claimed_end().unwrap_or(self.raw.claimed_base)
    }

    /// To where it begins.
    pub fn begin(&self) -> Step {
        // What lies before it has another epoch, perhaps.
        Step::named(self.base_offset(), None)
    }

    /// To where it ends.
    pub fn end(&self) -> Step {
        Step::named(self.next_offset(), self.leader_epoch)
    }

    /// The epoch of the leader that wrote it into the log; `None` where that is unknown.
    pub fn leader_epoch(&self) -> Option<i32> {
        self.leader_epoch
    }

    /// All its bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.raw.bytes
    }

    /// Returns whether its records are packed by a codec.
    pub fn is_compressed(&self) -> bool {
        self.raw.attributes() & CODEC != 0
    }

    /// The end of a transaction, or another note of the brokers' that no application sees.
    pub fn is_control(&self) -> bool {
        self.raw.attributes() & CONTROL != 0
    }

    /// Returns whether it was written in a transaction.
    pub fn is_transactional(&self) -> bool {
        self.raw.attributes() & TRANSACTIONAL != 0
    }

    /// The id of the producer that wrote it; -1 where it has none.
    pub fn producer_id(&self) -> i64 {
        self.raw.i64_at(43)
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
        let mut fields = Fields::new(self.raw.bytes.get(HEADER_BYTES..)?);
        fields.length()??;
        fields.take(1)?; // attributes
        fields.varint()?; // timestamp
        fields.varint()?; // offset
        let key = fields.field()??;
        key.get(2..)?.first_chunk().map(|bytes| i16::from_be_bytes(*bytes))
    }
}

/// The records of one batch that is whole.
#[cfg(test)]
pub fn decoded(batch: Bytes) -> Records {
    let mut frames = Frames::new(batch);
    let batch = frames.next().unwrap();
    assert!(frames.rest().is_empty(), "one batch");
    let bounds = Bounds { offsets: Offset(0)..Offset(i64::MAX), least_epoch: None, greatest_epoch: None };
    let batch = batch.sound(&bounds).unwrap();
    assert!(!batch.is_control(), "a control batch");
    let mut records = Records::default();
    let mut open = OpenBatch::new(batch, Offset(0)).unwrap();
    while open.read(&mut Window::unlimited(), &mut records).unwrap() != Progress::Done {}
    records
}

#[cfg(test)]
mod tests;
