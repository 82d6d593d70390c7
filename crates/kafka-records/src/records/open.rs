//! A batch whose records are handed out a window at a time.
//!
//! ```text
//!  not compressed            compressed
//!  answer: [r][r][r][r]      Unpacker ─► window: [r][r][r][ra│       (a record that was cut
//!            ▲               Unpacker ─► window:          [ra│cord][r]…  begins the next one)
//!            └ where it is
//! ```
//! A record pays for itself alone: one that can't be decoded, or is larger than allowed, is an entry with
//! a flaw, and the one behind it is found by its length. Only where a length itself is wrong, or the
//! codec fails, is the rest of the batch one entry.

use std::ops::Range;

use bytes::Bytes;

use super::{Flaw, FlawKind, LOG_APPEND_TIME, Records, Slot, SoundBatch, Span};
use crate::batch::HEADER_BYTES;
use crate::record::{Fields, Offset, RawHeaders};
use crate::unpack::{UnpackError, Unpacker};

/// The least bytes of a record: six fields of one byte behind its length.
const LEAST_RECORD_BYTES: usize = 7;
/// The most bytes of a record's length.
const LONGEST_LENGTH: usize = 10;

/// How much of a record that is too large is kept: what stands before its value, the beginning of that,
/// and, apart, what stands behind it.
const KEPT: usize = 64 * 1024;

/// How many bytes are passed over in one call, at most.
const PASSED_AT_ONCE: usize = 4 * 1024 * 1024;

/// Room for records: what one call may add.
#[derive(Debug, Clone)]
pub struct Window {
    /// Bytes of whole records as they lie in a batch; less one that is larger.
    pub bytes: usize,
    /// Records.
    pub records: usize,
    /// The most bytes of one record.
    pub max_record_bytes: usize,
    /// The memory that the caller has found beyond `bytes`, in bytes: a record that needs no more is unpacked.
    pub granted: usize,
}

impl Window {
    /// Returns whether there is no room left.
    pub fn is_full(&self) -> bool {
        self.bytes == 0 || self.records == 0
    }

    /// Room for whatever comes.
    pub fn unlimited() -> Self {
        let most = usize::try_from(i32::MAX).unwrap_or(usize::MAX);
        Self { bytes: most, records: most, max_record_bytes: most, granted: most }
    }
}

/// How far a call has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// All records of the batch are handed out.
    Done,
    /// The window is full, or enough has been passed over for one call.
    Full,
    /// The next record has so many bytes, which the window has not: grant them.
    Needs(usize),
}

/// See the module.
#[derive(Debug)]
pub struct OpenBatch {
    batch: SoundBatch,
    layout: Layout,
    source: Source,
}

/// Where the records of a batch are taken from.
#[derive(Debug)]
enum Source {
    /// From these bytes, from a place on.
    Plain(Bytes, usize),
    Packed(Box<Packed>),
    /// Its codec can't be read, and why.
    Unreadable(UnpackError),
}

/// Records that come out of a codec.
#[derive(Debug)]
struct Packed {
    unpacker: Unpacker,
    /// Whether nothing more comes out of it.
    ended: bool,
    /// Why it ended, where that is not the end.
    failed: Option<UnpackError>,
    /// What came out and is not handed out yet: it begins with a record.
    tail: Vec<u8>,
    /// How many bytes the record at its beginning has, where it needs more than a window.
    wanted: Option<usize>,
    /// A record that is too large, and is passed over.
    skipped: Option<Box<Skipped>>,
}

impl OpenBatch {
    /// Of a batch of records, those from `position` on.
    ///
    /// # Errors
    /// [`UnpackError::NoMemory`] where there is none for the state of its codec.
    pub fn new(batch: SoundBatch, position: Offset) -> Result<Self, UnpackError> {
        let records = batch.bytes().slice(HEADER_BYTES..);
        let source = match batch.is_compressed() {
            false => Source::Plain(records, 0),
            true => match Unpacker::new(batch.raw.attributes(), records) {
                Ok(unpacker) => Source::Packed(Box::new(Packed::of(unpacker))),
                Err(UnpackError::NoMemory) => return Err(UnpackError::NoMemory),
                Err(error) => Source::Unreadable(error),
            },
        };
        Ok(Self { layout: Layout::of(&batch, position), batch, source })
    }

    /// The batch.
    pub fn batch(&self) -> &SoundBatch {
        &self.batch
    }

    /// The batch, without its codec and what that holds.
    pub fn closed(self) -> SoundBatch {
        self.batch
    }

    /// The memory that its codec holds until it is done, in bytes.
    pub fn needs(&self) -> usize {
        match &self.source {
            Source::Plain(..) | Source::Unreadable(_) => 0,
            Source::Packed(packed) => packed.unpacker.needs(),
        }
    }

    /// Adds records until the window is full, and takes what they need from it.
    ///
    /// # Errors
    /// [`UnpackError::NoMemory`], after which it can be called again. Damage is an entry.
    pub fn read(&mut self, window: &mut Window, records: &mut Records) -> Result<Progress, UnpackError> {
        let read = match &mut self.source {
            Source::Plain(buffer, at) => plain(buffer, at, &mut self.layout, window, records),
            Source::Packed(packed) => packed.read(&mut self.layout, window, records),
            Source::Unreadable(error) => Err(error.clone()),
        };
        match read {
            Err(UnpackError::Corrupt(why)) => {
                // What is left of the batch is one entry, with all of its bytes.
                records.add_corrupt_batch(self.layout.next_expected(), self.batch.bytes().clone(), why);
                Ok(Progress::Done)
            }
            other => other,
        }
    }
}

fn plain(
    buffer: &Bytes,
    at: &mut usize,
    layout: &mut Layout,
    window: &mut Window,
    records: &mut Records,
) -> Result<Progress, UnpackError> {
    match layout.take(buffer, at, window, records) {
        Taken::All if *at == buffer.len() => Ok(Progress::Done),
        Taken::All => Err(layout.more(buffer.len() - *at)),
        Taken::Full => Ok(Progress::Full),
        Taken::Cut(_) | Taken::Misframed => Err(layout.missing()),
    }
}

impl Packed {
    fn of(unpacker: Unpacker) -> Self {
        Self { unpacker, ended: false, failed: None, tail: Vec::new(), wanted: None, skipped: None }
    }

    fn read(
        &mut self,
        layout: &mut Layout,
        window: &mut Window,
        records: &mut Records,
    ) -> Result<Progress, UnpackError> {
        if self.skipped.is_some() {
            return self.skip(layout, window, records);
        }
        if let Some(wanted) = self.wanted.filter(|wanted| *wanted > window.granted) {
            return Ok(Progress::Needs(wanted));
        }
        let size = self.wanted.take().unwrap_or(0).max(window.bytes).max(KEPT);
        let mut buffer = std::mem::take(&mut self.tail);
        if let Err(error) = self.fill(&mut buffer, size) {
            self.tail = buffer;
            return Err(error);
        }
        let (buffer, mut at) = (Bytes::from(buffer), 0);
        let taken = layout.take(&buffer, &mut at, window, records);
        let rest = buffer.get(at..).unwrap_or_default();
        match taken {
            Taken::All => self.end(layout, rest.len()),
            Taken::Misframed => Err(layout.missing()),
            // What came out before it failed is handed out.
            Taken::Cut(_) if self.ended => Err(self.failed.take().unwrap_or_else(|| layout.missing())),
            Taken::Cut(Some(length)) if at == 0 && length > window.max_record_bytes => {
                self.skipped = Some(Box::new(Skipped::new(rest, length)));
                Ok(Progress::Full)
            }
            taken => {
                if let Taken::Cut(length) = taken
                    && at == 0
                {
                    self.wanted = length;
                }
                self.tail.try_reserve_exact(rest.len()).map_err(|_| UnpackError::NoMemory)?;
                self.tail.extend_from_slice(rest);
                Ok(Progress::Full)
            }
        }
    }

    /// Unpacks until the buffer has so many bytes, or nothing more comes.
    ///
    /// # Errors
    /// [`UnpackError::NoMemory`] only: damage ends what comes, and is kept.
    fn fill(&mut self, buffer: &mut Vec<u8>, size: usize) -> Result<(), UnpackError> {
        let missing = size.saturating_sub(buffer.len());
        if missing == 0 || self.ended {
            return Ok(());
        }
        match self.unpacker.unpack(buffer, missing) {
            Ok(ended) => self.ended = ended,
            Err(UnpackError::NoMemory) => return Err(UnpackError::NoMemory),
            Err(error) => {
                self.ended = true;
                self.failed = Some(UnpackError::Corrupt(format!("decompression failed: {error}")));
            }
        }
        Ok(())
    }

    /// All records are there: nothing may come behind them.
    fn end(&mut self, layout: &Layout, rest: usize) -> Result<Progress, UnpackError> {
        let mut more = Vec::new();
        self.fill(&mut more, 1)?;
        match (self.failed.take(), rest + more.len()) {
            (Some(failed), _) => Err(failed),
            (None, 0) => Ok(Progress::Done),
            (None, more) => Err(layout.more(more)),
        }
    }

    /// Passes over a record that is too large; when that is done, what is kept of it is an entry.
    fn skip(
        &mut self,
        layout: &mut Layout,
        window: &mut Window,
        records: &mut Records,
    ) -> Result<Progress, UnpackError> {
        let mut passed = Vec::new();
        for _ in 0..PASSED_AT_ONCE / KEPT {
            passed.clear();
            let left = self.skipped.as_ref().map_or(0, |skipped| skipped.left);
            self.fill(&mut passed, left.min(KEPT))?;
            // A codec may give a little more than it was asked for.
            let beyond = passed.split_off(passed.len().min(left));
            self.tail.extend_from_slice(&beyond);
            self.skipped.iter_mut().for_each(|skipped| skipped.pass(&passed));
            if left == 0 {
                break;
            }
        }
        match self.skipped.take() {
            Some(skipped) if skipped.left == 0 => layout.add_skipped(&skipped, window, records),
            _ if self.ended => return Err(self.failed.take().unwrap_or_else(|| layout.missing())),
            skipped => self.skipped = skipped,
        }
        Ok(Progress::Full)
    }
}

/// What a batch says of all its records, and which of them comes next.
#[derive(Debug)]
struct Layout {
    /// Records before this one are not wanted.
    position: Offset,
    /// The least offset that the next record can have.
    least: Offset,
    base_offset: Offset,
    next_offset: Offset,
    /// The offset that the next record is below: those behind it need one each.
    bound: Offset,
    base_timestamp: i64,
    appended: Option<i64>,
    /// How many records there are, as the batch says, and how many of them have been taken.
    count: usize,
    taken: usize,
}

/// Why no more records are taken from a buffer.
enum Taken {
    /// There are no more in the batch.
    All,
    /// The window is full.
    Full,
    /// The next one goes on behind the buffer; it has so many bytes, where they can be told.
    Cut(Option<usize>),
    /// The next one's length is none.
    Misframed,
}

impl Layout {
    fn of(batch: &SoundBatch, position: Offset) -> Self {
        let stamped = batch.raw.attributes() & LOG_APPEND_TIME != 0;
        let (base_offset, next_offset) = (batch.base_offset(), batch.next_offset());
        // A negative number is fewer than stand there.
        let count = usize::try_from(batch.raw.i32_at(57)).unwrap_or(0);
        // Of more records than there are offsets none is told apart.
        let fit = i64::try_from(count).ok().filter(|count| *count <= next_offset.0 - base_offset.0);
        Self {
            position,
            least: base_offset,
            base_offset,
            next_offset,
            bound: fit.map_or(next_offset, |count| Offset(next_offset.0 - count)),
            base_timestamp: batch.raw.i64_at(27),
            appended: stamped.then(|| batch.raw.i64_at(35)),
            count,
            taken: 0,
        }
    }

    /// Takes whole records from the buffer, from `at` on.
    fn take(&mut self, buffer: &Bytes, at: &mut usize, window: &mut Window, records: &mut Records) -> Taken {
        let begin = *at;
        let mut fields = Fields::new(buffer.get(begin..).unwrap_or_default());
        let mut number = None;
        let likely = (self.count - self.taken).min(window.records).min(fields.rest().len() / LEAST_RECORD_BYTES);
        let ends = loop {
            *at = buffer.len() - fields.rest().len();
            if self.taken == self.count {
                break Taken::All;
            }
            // However small the window is, it takes a record.
            if window.records == 0 || (*at > begin && *at - begin >= window.bytes) {
                break Taken::Full;
            }
            let body = match framed(&mut fields) {
                Ok(body) => body,
                Err(ends) => break ends,
            };
            self.count_taken();
            let end = buffer.len() - fields.rest().len();
            let Some(slot) = self.slot(body, end) else {
                self.add_undecodable(buffer, end - body.len()..end, window, records);
                continue;
            };
            self.least = slot.offset.next();
            if slot.offset < self.position {
                continue;
            }
            window.records -= 1;
            if body.len() > window.max_record_bytes {
                let flaw = too_large(body.len(), slot.value.length(), window);
                records.add_flawed(Slot { value: slot.value.cut(KEPT), ..slot }, buffer.clone(), flaw);
                continue;
            }
            let buffer_number = match number {
                Some((number, buffers)) if buffers == records.buffers.len() => number,
                _ => {
                    let Some(next) = records.next_buffer() else { break Taken::Full };
                    records.buffers.push(buffer.clone());
                    records.slots.reserve(likely);
                    number = Some((next, records.buffers.len()));
                    next
                }
            };
            records.bytes += slot.bytes();
            records.slots.push(Slot { buffer: buffer_number, ..slot });
        };
        window.bytes = window.bytes.saturating_sub(*at - begin);
        ends
    }

    /// Counts the record that comes next as taken.
    #[inline]
    fn count_taken(&mut self) {
        self.taken += 1;
        self.bound = self.bound.next().min(self.next_offset);
    }

    /// A record, which ends there in its buffer. `None` where it can't be decoded, or has an offset
    /// that can't be.
    #[inline]
    fn slot(&self, body: &[u8], end: usize) -> Option<Slot> {
        let mut record = Fields::new(body);
        record.take(1)?; // attributes: none are defined
        let created = self.base_timestamp.checked_add(record.varint()?)?;
        let offset = Offset(self.base_offset.0.checked_add(record.varint()?)?);
        if !(self.least..self.bound).contains(&offset) {
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
        Some(Slot { offset, timestamp_ms, buffer: 0, key, value, headers })
    }

    /// A record that can't be decoded stands at the least offset that it can have.
    fn add_undecodable(&mut self, buffer: &Bytes, at: Range<usize>, window: &mut Window, records: &mut Records) {
        let (offset, whole) = (self.next_expected(), at.len());
        let is_wanted = self.least >= self.position;
        self.least = self.least.next().min(self.next_offset);
        if !is_wanted {
            return;
        }
        let kept = at.start..at.end.min(at.start + window.max_record_bytes);
        let cut_from = (kept.len() < whole).then_some(whole);
        records.add_corrupt_batch(
            offset,
            buffer.slice(kept),
            format!("record {} of {} can't be decoded", self.taken, self.count),
        );
        if let Some(flaw) = records.flaws.last_mut() {
            flaw.cut_from = cut_from;
        }
        window.records -= 1;
    }

    /// What is kept of a record that was passed over.
    fn add_skipped(&mut self, skipped: &Skipped, window: &mut Window, records: &mut Records) {
        self.count_taken();
        let (bytes, fields) = skipped.kept();
        let offset = fields.offset_delta.and_then(|delta| self.base_offset.0.checked_add(delta)).map(Offset);
        let offset = offset.filter(|offset| (self.least..self.bound).contains(offset));
        let offset = offset.unwrap_or_else(|| self.next_expected());
        self.least = offset.next().min(self.next_offset);
        if offset < self.position {
            return;
        }
        let created = fields.timestamp_delta.and_then(|delta| self.base_timestamp.checked_add(delta));
        let timestamp_ms = self.appended.or(created).unwrap_or(-1);
        let Kept { key, value, headers, .. } = fields;
        let slot = Slot { offset, timestamp_ms, buffer: 0, key, value, headers };
        let flaw = too_large(skipped.length, skipped.value_length().unwrap_or(skipped.length), window);
        records.add_flawed(slot, bytes, flaw);
        window.records = window.records.saturating_sub(1);
        window.bytes = window.bytes.saturating_sub(KEPT);
    }

    /// Where an entry stands that does not say so itself.
    fn next_expected(&self) -> Offset {
        let last = Offset(self.next_offset.0.saturating_sub(1));
        self.least.max(self.position).min(last)
    }

    fn missing(&self) -> UnpackError {
        UnpackError::Corrupt(format!("record {} of {} can't be found", self.taken + 1, self.count))
    }

    fn more(&self, bytes: usize) -> UnpackError {
        UnpackError::Corrupt(format!("{bytes} bytes or more stand behind its last record, of {}", self.count))
    }
}

/// The bytes of the next record, without its length.
#[inline]
fn framed<'b>(fields: &mut Fields<'b>) -> Result<&'b [u8], Taken> {
    let before = fields.rest().len();
    let Some(length) = fields.varint() else {
        return Err(if before < LONGEST_LENGTH { Taken::Cut(None) } else { Taken::Misframed });
    };
    let length = i32::try_from(length).ok().and_then(|length| usize::try_from(length).ok()).ok_or(Taken::Misframed)?;
    let head = before - fields.rest().len();
    fields.take(length).ok_or(Taken::Cut(Some(head + length)))
}

fn too_large(length: usize, value: usize, window: &Window) -> Flaw {
    let why = format!("the record has {length} bytes, {} are allowed: its value is cut", window.max_record_bytes);
    Flaw { place: 0, kind: FlawKind::TooLarge, why, cut_from: Some(value) }
}

/// A record that is passed over, and what is kept of it.
#[derive(Debug)]
struct Skipped {
    /// How many bytes it has, its length included, and how many are still to come.
    length: usize,
    left: usize,
    /// Its beginning.
    head: Vec<u8>,
    /// Where its value lies, where the beginning tells.
    value: Option<Range<usize>>,
    /// What stands behind its value.
    behind: Vec<u8>,
}

/// The fields of what is kept.
struct Kept {
    timestamp_delta: Option<i64>,
    offset_delta: Option<i64>,
    key: Span,
    value: Span,
    headers: Span,
}

impl Skipped {
    /// Of a record of so many bytes that begins so.
    fn new(seen: &[u8], length: usize) -> Self {
        let head = seen.get(..KEPT).unwrap_or(seen).to_vec();
        let mut fields = Fields::new(&head);
        let mut value = || {
            fields.varint()?;
            fields.take(1)?;
            fields.varint()?; // its timestamp
            fields.varint()?; // its offset
            fields.field()?;
            let length = fields.length()?.unwrap_or(0);
            let from = head.len() - fields.rest().len();
            Some(from..from.checked_add(length)?)
        };
        let value = value();
        let mut skipped = Self { length, left: length, head, value, behind: Vec::new() };
        skipped.pass(seen);
        skipped
    }

    /// Passes over the next bytes of it.
    fn pass(&mut self, bytes: &[u8]) {
        let seen = self.length - self.left;
        self.left = self.left.saturating_sub(bytes.len());
        let Some(value) = &self.value else { return };
        let behind = bytes.get(value.end.saturating_sub(seen)..).unwrap_or_default();
        let room = KEPT.saturating_sub(self.behind.len());
        self.behind.extend_from_slice(behind.get(..room).unwrap_or(behind));
    }

    fn value_length(&self) -> Option<usize> {
        self.value.as_ref().map(Range::len)
    }

    /// Its beginning, and what stands behind its value where that is all there.
    fn kept(&self) -> (Bytes, Kept) {
        let mut fields = Fields::new(&self.head);
        let mut none = Kept {
            timestamp_delta: None,
            offset_delta: None,
            key: Span::NULL,
            value: Span::ending(self.head.len(), self.head.len()).unwrap_or(Span::NULL),
            headers: Span::EMPTY,
        };
        let mut read = || {
            fields.varint()?;
            fields.take(1)?;
            let deltas = (fields.varint()?, fields.varint()?);
            let key = fields.field()?;
            let end = self.head.len() - fields.rest().len();
            Some((deltas, key.map_or(Some(Span::NULL), |key| Span::ending(end, key.len()))?))
        };
        let (Some(((timestamp, offset), key)), Some(value)) = (read(), self.value.clone()) else {
            return (self.head.clone().into(), none);
        };
        (none.timestamp_delta, none.offset_delta, none.key) = (Some(timestamp), Some(offset), key);
        let end = value.end.min(self.head.len());
        none.value = Span::ending(end, end.saturating_sub(value.start)).unwrap_or(Span::NULL);
        let mut bytes = self.head.get(..end).unwrap_or_default().to_vec();
        let mut fields = Fields::new(&self.behind);
        let is_whole = value.end.saturating_add(self.behind.len()) == self.length;
        if let Some(Some(count)) = fields.length().filter(|_| is_whole)
            && RawHeaders::are(fields.rest(), count)
        {
            bytes.extend_from_slice(fields.rest());
            none.headers = Span::ending(bytes.len(), fields.rest().len()).unwrap_or(Span::EMPTY);
        }
        (bytes.into(), none)
    }
}
