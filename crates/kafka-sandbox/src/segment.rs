//! One file of a log: batches one behind the other, and an index that knows only some of them. Pure.
//!
//! ```text
//! file    [batch][batch][batch][batch]…         what fetches are answered from, damage and all
//! index       last offset 20 → 310, …           one entry for so many bytes, as it was when appended
//! written     0..10, 10..20, 20..30, …          what stands where in truth: for tests, never for fetches
//! ```
//!
//! Kafka finds a batch by the nearest entry of its index and, from there, by what the batches say of
//! their own offsets, which no checksum covers. What a damaged one says leads it astray, and so it
//! does here: see `FileRecords.searchForOffsetFromPosition` and `LogSegment.read`.

use std::ops::Range;

use bytes::Bytes;

use super::batch;
use super::batch_header;

/// Kafka's default of `index.interval.bytes`.
const INDEX_INTERVAL_BYTES: usize = 4096;
/// The least that the length field of a batch may say: a record of the oldest format.
const LEAST_LENGTH: usize = 14;

/// A batch's length field says less than any batch has: the broker answers `CORRUPT_MESSAGE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unframed;

/// A batch as it was appended.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub offsets: Range<i64>,
    pub max_timestamp: i64,
    /// Where it lies in the file.
    pub place: Range<usize>,
}

/// What a batch says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    position: usize,
    size: usize,
    base_offset: i64,
}

/// How much of a segment a fetch takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub max_bytes: usize,
    /// The first batch comes even where it is larger.
    pub at_least_one: bool,
    /// The last batch is left out where it would be cut short; Kafka cuts it.
    pub whole: bool,
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    /// The offset that its name would have.
    base: i64,
    file: Vec<u8>,
    written: Vec<Written>,
    index: Vec<(i64, usize)>,
    unindexed: usize,
}

impl Segment {
    pub(crate) fn new(base: i64) -> Self {
        Self { base, file: Vec::new(), written: Vec::new(), index: Vec::new(), unindexed: 0 }
    }

    pub(crate) fn base(&self) -> i64 {
        self.base
    }

    pub(crate) fn len(&self) -> usize {
        self.file.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.file.is_empty()
    }

    pub(crate) fn written(&self) -> &[Written] {
        &self.written
    }

    /// The bytes of a batch as they are now.
    pub(crate) fn bytes(&self, written: &Written) -> &[u8] {
        self.file.get(written.place.clone()).unwrap_or_default()
    }

    pub(crate) fn bytes_mut(&mut self, place: Range<usize>) -> &mut [u8] {
        self.file.get_mut(place).unwrap_or_default()
    }

    pub(crate) fn append(&mut self, offsets: Range<i64>, max_timestamp: i64, bytes: &[u8]) {
        let position = self.file.len();
        if self.unindexed > INDEX_INTERVAL_BYTES {
            self.index.push((offsets.end - 1, position));
            self.unindexed = 0;
        }
        self.unindexed += bytes.len();
        self.file.extend_from_slice(bytes);
        self.written.push(Written { offsets, max_timestamp, place: position..self.file.len() });
    }

    /// Takes the last batch away.
    pub(crate) fn pop(&mut self) -> Option<Written> {
        let last = self.written.pop()?;
        self.file.truncate(last.place.start);
        self.index.retain(|(_, position)| *position < last.place.start);
        Some(last)
    }

    /// Takes the batch away that begins there, as if the segment had been written without it.
    pub(crate) fn remove(&mut self, begin: i64) {
        let kept: Vec<_> = self.written.iter().filter(|written| written.offsets.start != begin).cloned().collect();
        let mut without = Self::new(self.base);
        kept.iter().for_each(|kept| without.append(kept.offsets.clone(), kept.max_timestamp, self.bytes(kept)));
        *self = without;
    }

    /// Where the batches that end at or before `limit` end.
    pub(crate) fn position_of(&self, limit: i64) -> usize {
        let behind = self.written.partition_point(|batch| batch.offsets.end <= limit);
        self.written.get(behind).map_or(self.file.len(), |batch| batch.place.start)
    }

    /// What a fetch of `from` gets of the bytes before `end`; `None` where the segment has nothing at
    /// or behind it.
    pub(crate) fn read(&self, from: i64, end: usize, limits: Limits) -> Result<Option<Bytes>, Unframed> {
        let Some(first) = self.find(from)? else { return Ok(None) };
        let least = if limits.at_least_one { first.size } else { 0 };
        let most = limits.max_bytes.max(least);
        if most < first.size {
            return Ok(Some(Bytes::new()));
        }
        let cut = end.saturating_sub(first.position).min(most);
        let cut = if limits.whole { self.whole_within(first.position, cut)? } else { cut };
        let found = self.file.get(first.position..first.position.saturating_add(cut));
        Ok(Some(Bytes::copy_from_slice(found.unwrap_or_default())))
    }

    /// The batch that a fetch of `target` begins with.
    fn find(&self, target: i64) -> Result<Option<Frame>, Unframed> {
        let entry = self.index.partition_point(|(last, _)| *last <= target).checked_sub(1);
        let mut position = entry.and_then(|entry| self.index.get(entry)).map_or(0, |(_, position)| *position);
        let mut before: Option<Frame> = None;
        while let Some(frame) = self.frame(position)? {
            if frame.base_offset == target {
                return Ok(Some(frame));
            }
            if frame.base_offset > target {
                return Ok(Some(before.filter(|before| self.last_offset(before) >= target).unwrap_or(frame)));
            }
            before = Some(frame);
            position = frame.position + frame.size;
        }
        Ok(before.filter(|before| self.last_offset(before) >= target))
    }

    fn frame(&self, position: usize) -> Result<Option<Frame>, Unframed> {
        let Some((base_offset, length)) = self.file.get(position..).and_then(batch::framed) else { return Ok(None) };
        let size = usize::try_from(length).ok().filter(|length| *length >= LEAST_LENGTH).ok_or(Unframed)?;
        let size = size + batch_header::LENGTH_OVERHEAD;
        let fits = position.saturating_add(size) <= self.file.len();
        Ok(fits.then_some(Frame { position, size, base_offset }))
    }

    fn last_offset(&self, frame: &Frame) -> i64 {
        let delta = self.file.get(frame.position..).and_then(batch::last_offset_delta);
        frame.base_offset.saturating_add(i64::from(delta.unwrap_or(0)))
    }

    fn whole_within(&self, first: usize, most: usize) -> Result<usize, Unframed> {
        let mut whole = 0;
        while let Some(frame) = self.frame(first + whole)?.filter(|frame| whole + frame.size <= most) {
            whole += frame.size;
        }
        Ok(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::NewBatch;
    use super::super::record::NewRecord;
    use super::*;

    const ALL: Limits = Limits { max_bytes: usize::MAX, at_least_one: true, whole: false };

    /// Batches of ten records of so many bytes, from offset 0 on.
    fn segment(batches: i64, value: usize) -> Segment {
        let mut segment = Segment::new(0);
        let record = NewRecord::new("k", vec![0; value]);
        let bytes = NewBatch::new(vec![record; 10]).to_bytes();
        for base in (0..batches).map(|n| n * 10) {
            segment.append(base..base + 10, 0, &batch::placed(&bytes, base, 0));
        }
        segment
    }

    fn set_base(segment: &mut Segment, which: usize, base: i64) {
        let place = segment.written[which].place.clone();
        segment.bytes_mut(place)[..8].copy_from_slice(&base.to_be_bytes());
    }

    fn first(segment: &Segment, from: i64) -> Option<i64> {
        let read = segment.read(from, segment.len(), ALL).unwrap()?;
        Some(batch::framed(&read).unwrap().0)
    }

    #[test]
    fn a_batch_is_found_by_what_it_says_and_by_the_index() {
        let mut segment = segment(4, 1);
        assert_eq!([0, 9, 10, 25, 39].map(|from| first(&segment, from)), [0, 0, 10, 20, 30].map(Some));
        assert_eq!(first(&segment, 40), None);
        // One that says more than what is behind it stands in the way of all that.
        set_base(&mut segment, 1, 1 << 40);
        assert_eq!([0, 10, 20, 35].map(|from| first(&segment, from)), [0, 1 << 40, 1 << 40, 1 << 40].map(Some));
        // One that says less is found for what it says.
        set_base(&mut segment, 1, 2);
        assert_eq!([9, 10, 11, 12, 20].map(|from| first(&segment, from)), [2, 2, 2, 20, 20].map(Some));
    }

    #[test]
    fn the_index_leads_past_damage() {
        let mut segment = segment(40, 50);
        assert!(segment.index.len() >= 4);
        set_base(&mut segment, 1, 1 << 40);
        assert_eq!((first(&segment, 15), first(&segment, 300)), (Some(1 << 40), Some(300)));
    }

    #[test]
    fn the_last_batch_is_cut_or_left_out() {
        let segment = segment(3, 1);
        let size = segment.len() / 3;
        let read = |limits| segment.read(5, segment.len(), limits).unwrap().unwrap().len();
        assert_eq!(read(Limits { max_bytes: size * 2 + 5, ..ALL }), size * 2 + 5);
        assert_eq!(read(Limits { max_bytes: size * 2 + 5, whole: true, ..ALL }), size * 2);
        assert_eq!(read(Limits { max_bytes: 5, ..ALL }), size);
        assert_eq!(read(Limits { max_bytes: 5, at_least_one: false, ..ALL }), 0);
        assert_eq!(segment.read(5, segment.position_of(15), ALL).unwrap().unwrap().len(), size);
    }

    #[test]
    fn a_length_that_no_batch_has_is_an_error_and_a_long_one_the_end() {
        let mut damaged = segment(3, 1);
        let place = damaged.written[1].place.clone();
        damaged.bytes_mut(place.clone())[8..12].copy_from_slice(&13_i32.to_be_bytes());
        assert_eq!(damaged.read(25, damaged.len(), ALL), Err(Unframed));
        damaged.bytes_mut(place)[8..12].copy_from_slice(&1_000_000_i32.to_be_bytes());
        assert_eq!((first(&damaged, 9), first(&damaged, 10), first(&damaged, 25)), (Some(0), None, None));
    }

    #[test]
    fn what_is_popped_is_gone() {
        let mut segment = segment(40, 50);
        let popped: Vec<_> = (0..39).filter_map(|_| segment.pop()).map(|written| written.offsets.start).collect();
        assert_eq!((popped.len(), popped.last()), (39, Some(&10)));
        assert_eq!((first(&segment, 0), first(&segment, 10)), (Some(0), None));
        assert!(segment.index.is_empty());
    }
}
