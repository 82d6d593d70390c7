//! The log of one partition: segments, and in them whole batches in the order of their offsets. Pure.
//!
//! ```text
//!       start                      last stable         high watermark    end
//!         │                             │                      │          │
//!  (deleted) [batch][batch] │ (hole)  [batch][open transaction…] (unseen)
//!            └─ a segment ─┘└─ the active one ─…
//! ```
//!
//! One replica has all there is, so the high watermark is the end, unless a test pins it. The last
//! stable offset is where the oldest open transaction begins, unless a test pins that. A fetch is
//! answered from one segment: at its end comes what is left in it, however much may.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::batch;
use super::batch_header;
use super::batch_header::{BatchError, BatchHeader};
use super::damage::Damage;
use super::error_codes;
use super::record::StoredRecord;
use super::segment::{Limits, Segment, Unframed, Written};

/// Kafka's default of `segment.bytes`.
const SEGMENT_BYTES: usize = 1 << 30;
/// Where a partition keeps so many bytes only, it drops them in so many parts.
const KEPT_SEGMENTS: usize = 8;

/// An offset outside what the log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OutOfRange;

/// Why a fetch gets nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    OutOfRange,
    /// A batch on the way says that it is smaller than any.
    Unframed,
}

impl Unreadable {
    /// The error code of the answer.
    pub(crate) fn code(self) -> i16 {
        match self {
            Self::OutOfRange => error_codes::OFFSET_OUT_OF_RANGE,
            Self::Unframed => error_codes::CORRUPT_MESSAGE,
        }
    }
}

impl From<Unframed> for Unreadable {
    fn from(Unframed: Unframed) -> Self {
        Self::Unframed
    }
}

/// A transaction that was given up; its records are in the log and nobody should see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Aborted {
    pub producer_id: i64,
    pub first_offset: i64,
    /// The offset of the marker that ended it.
    pub last_offset: i64,
}

/// See the module. A copy shares the segments with the original until one of them writes.
#[derive(Debug, Clone)]
pub(super) struct PartitionLog {
    /// At least one.
    segments: VecDeque<Arc<Segment>>,
    start: i64,
    end: i64,
    segment_bytes: usize,
    retention_bytes: Option<usize>,
    pinned_high_watermark: Option<i64>,
    pinned_last_stable: Option<i64>,
    open_transactions: BTreeMap<i64, i64>,
    aborted: Vec<Aborted>,
}

impl Default for PartitionLog {
    fn default() -> Self {
        Self::new(None, None)
    }
}

impl PartitionLog {
    /// Segments of so many bytes; unless that is said, of Kafka's default, or of a part of what is kept.
    pub(crate) fn new(segment_bytes: Option<usize>, retention_bytes: Option<usize>) -> Self {
        let part = retention_bytes.map_or(SEGMENT_BYTES, |kept| kept / KEPT_SEGMENTS);
        Self {
            segments: VecDeque::from([Arc::new(Segment::new(0))]),
            start: 0,
            end: 0,
            segment_bytes: segment_bytes.unwrap_or(part),
            retention_bytes,
            pinned_high_watermark: None,
            pinned_last_stable: None,
            open_transactions: BTreeMap::new(),
            aborted: Vec::new(),
        }
    }

    pub(crate) fn start(&self) -> i64 {
        self.start
    }

    pub(crate) fn end(&self) -> i64 {
        self.end
    }

    /// Where each segment begins.
    pub(crate) fn segments(&self) -> Vec<i64> {
        self.segments.iter().map(|segment| segment.base()).collect()
    }

    pub(crate) fn high_watermark(&self) -> i64 {
        self.pinned_high_watermark.unwrap_or(self.end).min(self.end)
    }

    pub(crate) fn last_stable(&self) -> i64 {
        let oldest_open = self.open_transactions.values().min().copied();
        let end = self.high_watermark();
        self.pinned_last_stable.or(oldest_open).unwrap_or(end).min(end)
    }

    /// Whether a producer has written within a transaction that has not ended here.
    pub(crate) fn has_open_transaction(&self, producer_id: i64) -> bool {
        self.open_transactions.contains_key(&producer_id)
    }

    pub(crate) fn pin_high_watermark(&mut self, offset: Option<i64>) {
        self.pinned_high_watermark = offset;
    }

    pub(crate) fn pin_last_stable(&mut self, offset: Option<i64>) {
        self.pinned_last_stable = offset;
    }

    /// Appends one checked batch at the end and returns its base offset.
    pub(crate) fn append(&mut self, header: &BatchHeader, bytes: &[u8], leader_epoch: i32) -> i64 {
        let base = self.end;
        let next = base.saturating_add(i64::from(header.last_offset_delta.max(0))).saturating_add(1);
        if header.is_transactional() {
            self.note_transaction(header, bytes, base);
        }
        self.push(base..next, header.max_timestamp, &batch::placed(bytes, base, leader_epoch));
        base
    }

    /// Appends any bytes as if they were a batch with those offsets.
    pub(crate) fn append_raw(&mut self, offsets: Range<i64>, bytes: &[u8]) -> Result<(), OutOfRange> {
        if offsets.start < self.end || offsets.end <= offsets.start {
            return Err(OutOfRange);
        }
        let max_timestamp = BatchHeader::read(bytes).map_or(-1, |header| header.max_timestamp);
        self.push(offsets, max_timestamp, bytes);
        Ok(())
    }

    /// Lets `offsets` offsets pass without a record, as compaction leaves them.
    pub(crate) fn append_hole(&mut self, offsets: u32) {
        self.end = self.end.saturating_add(i64::from(offsets));
    }

    /// Lets the next batch begin a segment, if the active one has any.
    pub(crate) fn roll(&mut self) {
        if self.segments.back().is_some_and(|active| !active.is_empty()) {
            self.segments.push_back(Arc::new(Segment::new(self.end)));
        }
    }

    /// Takes a batch away, as compaction does: its offsets are a hole.
    pub(crate) fn compact(&mut self, offset: i64) -> Result<(), OutOfRange> {
        let (segment, written) = self.holder(offset)?;
        let segment = self.segments.get_mut(segment).ok_or(OutOfRange)?;
        Arc::make_mut(segment).remove(written.offsets.start);
        Ok(())
    }

    /// What a fetch of `from` gets of what ends at or before `limit`.
    pub(crate) fn read(&self, from: i64, limit: i64, limits: Limits) -> Result<Bytes, Unreadable> {
        if from < self.start || from > self.end {
            return Err(Unreadable::OutOfRange);
        }
        if from >= limit {
            return Ok(Bytes::new());
        }
        let floor = self.segments.partition_point(|segment| segment.base() <= from).saturating_sub(1);
        for segment in self.segments.range(floor..) {
            if let Some(found) = segment.read(from, segment.position_of(limit), limits)? {
                return Ok(found);
            }
        }
        Ok(Bytes::new())
    }

    /// The transactions given up that reach past `from`.
    pub(crate) fn aborted_since(&self, from: i64) -> impl Iterator<Item = &Aborted> {
        self.aborted.iter().filter(move |a| a.last_offset >= from)
    }

    /// Every record, markers left out; or what is wrong with the batch at an offset.
    pub(crate) fn records(&self) -> Result<Vec<StoredRecord>, (i64, BatchError)> {
        let mut all = Vec::new();
        for (segment, written) in self.written() {
            let bytes = Bytes::copy_from_slice(segment.bytes(written));
            let records = batch::records_of(&bytes).map_err(|error| (written.offsets.start, error))?;
            all.extend(records.into_iter().filter(|r| r.offset >= self.start));
        }
        Ok(all)
    }

    /// Offset and timestamp of the first record that is not older than `timestamp`.
    pub(crate) fn first_since(&self, timestamp: i64) -> Option<(i64, i64)> {
        let mut kept = self.written().filter(|(_, written)| written.offsets.end > self.start);
        let (segment, written) = kept.find(|(_, written)| written.max_timestamp >= timestamp)?;
        let records = batch::records_of(&Bytes::copy_from_slice(segment.bytes(written)));
        let found = records.ok().and_then(|records| {
            records
                .iter()
                .find(|r| r.timestamp_ms >= timestamp && r.offset >= self.start)
                .map(|r| (r.offset, r.timestamp_ms))
        });
        Some(found.unwrap_or((written.offsets.start, written.max_timestamp)))
    }

    /// Gives up all records before `offset`; -1 is the end. Returns the new start. The segments that
    /// lie before it go, but for the active one.
    pub(crate) fn delete_before(&mut self, offset: i64) -> Result<i64, OutOfRange> {
        let offset = if offset == -1 { self.end } else { offset };
        if offset < 0 || offset > self.end {
            return Err(OutOfRange);
        }
        self.start = self.start.max(offset);
        while self.segments.get(1).is_some_and(|second| second.base() <= self.start) {
            self.segments.pop_front();
        }
        Ok(self.start)
    }

    /// Forgets the batches from the one that holds `offset` on; the log ends where that began.
    pub(crate) fn truncate(&mut self, offset: i64) -> Result<(), OutOfRange> {
        if offset < self.start || offset > self.end {
            return Err(OutOfRange);
        }
        while let Some(active) = self.segments.back_mut() {
            let active = Arc::make_mut(active);
            while active.written().last().is_some_and(|last| last.offsets.end > offset) {
                self.end = active.pop().map_or(self.end, |last| last.offsets.start);
            }
            if !active.is_empty() || self.segments.len() == 1 {
                break;
            }
            self.segments.pop_back();
        }
        // A batch that goes whole may begin before the log does.
        self.end = self.end.min(offset).max(self.start);
        Ok(())
    }

    /// Damages the stored batch that holds `offset`.
    pub(crate) fn damage(&mut self, offset: i64, damage: &Damage) -> Result<(), OutOfRange> {
        let (segment, written) = self.holder(offset)?;
        let segment = self.segments.get_mut(segment).ok_or(OutOfRange)?;
        damage.apply(Arc::make_mut(segment).bytes_mut(written.place)).ok_or(OutOfRange)
    }

    /// The bytes of the stored batch that holds `offset`.
    pub(crate) fn stored(&self, offset: i64) -> Result<Bytes, OutOfRange> {
        let (segment, written) = self.holder(offset)?;
        let segment = self.segments.get(segment).ok_or(OutOfRange)?;
        Ok(Bytes::copy_from_slice(segment.bytes(&written)))
    }

    fn holder(&self, offset: i64) -> Result<(usize, Written), OutOfRange> {
        let found = self.segments.iter().enumerate().find_map(|(index, segment)| {
            let written = segment.written().iter().find(|written| written.offsets.contains(&offset))?;
            Some((index, written.clone()))
        });
        found.ok_or(OutOfRange)
    }

    fn written(&self) -> impl Iterator<Item = (&Segment, &Written)> {
        self.segments.iter().flat_map(|segment| segment.written().iter().map(move |written| (&**segment, written)))
    }

    fn bytes(&self) -> usize {
        self.segments.iter().map(|segment| segment.len()).sum()
    }

    fn push(&mut self, offsets: Range<i64>, max_timestamp: i64, bytes: &[u8]) {
        debug_assert!(self.end <= offsets.start, "offsets only rise");
        let room = self.segment_bytes.saturating_sub(bytes.len());
        if self.segments.back().is_some_and(|active| active.len() > room) {
            self.roll();
        }
        self.end = offsets.end;
        if let Some(active) = self.segments.back_mut() {
            Arc::make_mut(active).append(offsets, max_timestamp, bytes);
        }
        self.retain();
    }

    /// Drops the oldest segments as long as enough is left without them.
    fn retain(&mut self) {
        let Some(kept) = self.retention_bytes else { return };
        let mut bytes = self.bytes();
        while let [oldest, next, ..] = self.segments.make_contiguous() {
            let left = bytes - oldest.len();
            if left < kept {
                break;
            }
            (bytes, self.start) = (left, next.base().max(self.start));
            self.segments.pop_front();
        }
        let start = self.start;
        self.aborted.retain(|aborted| aborted.last_offset >= start);
    }

    fn note_transaction(&mut self, header: &BatchHeader, bytes: &[u8], base: i64) {
        let producer_id = header.producer_id;
        if !header.is_control() {
            self.open_transactions.entry(producer_id).or_insert(base);
            return;
        }
        let Some(first_offset) = self.open_transactions.remove(&producer_id) else {
            return;
        };
        // The marker's key ends in its type: 0 abort, 1 commit. Five bytes of record come before it.
        let abort = bytes.get(batch_header::HEADER_BYTES + 8) == Some(&0);
        if abort {
            self.aborted.push(Aborted { producer_id, first_offset, last_offset: base });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::NewBatch;
    use super::super::record::NewRecord;
    use super::*;

    const ALL: Limits = Limits { max_bytes: 10_000, at_least_one: true, whole: false };

    fn append(log: &mut PartitionLog, batch: &NewBatch) -> i64 {
        let bytes = batch.to_bytes();
        log.append(&BatchHeader::read(&bytes).unwrap(), &bytes, 0)
    }

    fn batch_of(records: i64) -> NewBatch {
        let record = |n: i64| NewRecord::new(format!("k{n}"), "v").timestamp(n * 10);
        NewBatch::new((0..records).map(record).collect())
    }

    fn bases(bytes: &[u8]) -> Vec<i64> {
        let (mut at, mut bases) = (bytes, Vec::new());
        while !at.is_empty() {
            let header = BatchHeader::read(at).unwrap();
            bases.push(header.base_offset);
            at = &at[header.size..];
        }
        bases
    }

    #[test]
    fn reads_whole_batches_from_the_one_that_holds_the_offset() {
        let mut log = PartitionLog::default();
        assert_eq!(append(&mut log, &batch_of(3)), 0);
        assert_eq!(append(&mut log, &batch_of(2)), 3);
        assert_eq!(append(&mut log, &batch_of(1)), 5);
        assert_eq!(bases(&log.read(4, 6, ALL).unwrap()), [3, 5]);
        assert!(log.read(6, 6, ALL).unwrap().is_empty());
        assert_eq!(log.read(7, 6, ALL), Err(Unreadable::OutOfRange));
    }

    #[test]
    fn one_batch_is_read_whatever_its_size() {
        let mut log = PartitionLog::default();
        append(&mut log, &batch_of(3));
        append(&mut log, &batch_of(3));
        assert_eq!(bases(&log.read(0, 6, Limits { max_bytes: 1, ..ALL }).unwrap()), [0]);
        assert!(log.read(0, 6, Limits { max_bytes: 1, at_least_one: false, ..ALL }).unwrap().is_empty());
    }

    #[test]
    fn a_hole_is_stepped_over() {
        let mut log = PartitionLog::default();
        append(&mut log, &batch_of(1).last_offset_delta(4));
        log.append_hole(10);
        assert_eq!(append(&mut log, &batch_of(1)), 15);
        assert_eq!(bases(&log.read(7, 16, ALL).unwrap()), [15]);
        assert_eq!(bases(&log.read(3, 16, ALL).unwrap()), [0, 15]);
    }

    #[test]
    fn deleting_moves_the_start_and_keeps_what_is_after_it() {
        let mut log = PartitionLog::default();
        append(&mut log, &batch_of(3));
        append(&mut log, &batch_of(3));
        assert_eq!(log.delete_before(4), Ok(4));
        assert_eq!(log.read(3, 6, ALL), Err(Unreadable::OutOfRange));
        assert_eq!(log.records().unwrap()[0].offset, 4);
        assert_eq!(log.delete_before(7), Err(OutOfRange));
        assert_eq!(log.delete_before(-1), Ok(6));
        assert!(log.records().unwrap().is_empty());
    }

    #[test]
    fn retention_drops_the_oldest_batches() {
        let size = batch_of(1).to_bytes().len();
        let mut log = PartitionLog::new(None, Some(size * 2));
        (0..5).for_each(|_| {
            append(&mut log, &batch_of(1));
        });
        assert_eq!((log.start(), log.end(), log.bytes()), (3, 5, size * 2));
    }

    #[test]
    fn retention_and_deletion_drop_whole_segments() {
        let size = batch_of(1).to_bytes().len();
        let mut log = PartitionLog::new(Some(size * 3), Some(size * 4));
        (0..9).for_each(|_| {
            append(&mut log, &batch_of(1));
        });
        assert_eq!((log.start(), log.segments()), (3, vec![3, 6]));
        assert_eq!(log.delete_before(5), Ok(5));
        assert_eq!((log.read(4, 9, ALL), log.segments()), (Err(Unreadable::OutOfRange), vec![3, 6]));
        assert_eq!(bases(&log.read(5, 9, ALL).unwrap()), [5]);
        assert_eq!((log.delete_before(6), log.segments()), (Ok(6), vec![6]));
    }

    #[test]
    fn a_fetch_stops_at_the_end_of_a_segment() {
        let mut log = PartitionLog::default();
        append(&mut log, &batch_of(2));
        append(&mut log, &batch_of(2));
        log.roll();
        log.roll();
        append(&mut log, &batch_of(2));
        assert_eq!(log.segments(), [0, 4]);
        assert_eq!([0, 3, 4].map(|from| bases(&log.read(from, 6, ALL).unwrap())), [vec![0, 2], vec![2], vec![4]]);
        log.append_hole(5);
        log.roll();
        append(&mut log, &batch_of(1));
        assert_eq!(log.segments(), [0, 4, 11]);
        assert_eq!(bases(&log.read(7, 12, ALL).unwrap()), [11], "a segment that has nothing behind it is passed");
    }

    #[test]
    fn what_is_compacted_is_a_hole() {
        let mut log = PartitionLog::default();
        (0..3).for_each(|_| {
            append(&mut log, &batch_of(2));
        });
        log.compact(3).unwrap();
        assert_eq!((log.compact(3), log.end()), (Err(OutOfRange), 6));
        assert_eq!([0, 2, 3].map(|from| bases(&log.read(from, 6, ALL).unwrap())), [vec![0, 4], vec![4], vec![4]]);
    }

    #[test]
    fn truncation_takes_segments_too() {
        let mut log = PartitionLog::default();
        for _ in 0..3 {
            append(&mut log, &batch_of(2));
            log.roll();
        }
        log.truncate(3).unwrap();
        assert_eq!((log.end(), log.segments()), (2, vec![0]));
        append(&mut log, &batch_of(2));
        assert_eq!(bases(&log.read(0, 4, ALL).unwrap()), [0, 2]);
    }

    #[test]
    fn what_is_above_the_high_watermark_is_not_read() {
        let mut log = PartitionLog::default();
        append(&mut log, &batch_of(2));
        append(&mut log, &batch_of(2));
        log.pin_high_watermark(Some(2));
        assert_eq!((log.high_watermark(), log.last_stable(), log.end()), (2, 2, 4));
        let read = |log: &PartitionLog, from| log.read(from, log.high_watermark(), ALL).map(|read| bases(&read));
        assert_eq!((read(&log, 0), read(&log, 3)), (Ok(vec![0]), Ok(vec![])));
        log.pin_high_watermark(None);
        assert_eq!(read(&log, 3), Ok(vec![2]));
    }

    #[test]
    fn a_copy_stays_as_it_was() {
        let mut log = PartitionLog::default();
        append(&mut log, &batch_of(2));
        let before = log.clone();
        append(&mut log, &batch_of(2));
        assert_eq!((before.end(), bases(&before.read(0, 2, ALL).unwrap())), (2, vec![0]));
        assert_eq!(bases(&log.read(0, 4, ALL).unwrap()), [0, 2]);
    }

    #[test]
    fn an_open_transaction_holds_the_last_stable_offset_back() {
        let mut log = PartitionLog::default();
        append(&mut log, &batch_of(2));
        append(&mut log, &batch_of(1).in_transaction(7));
        assert_eq!((log.last_stable(), log.end()), (2, 3));
        append(&mut log, &NewBatch::control(7, false, 0));
        assert_eq!(log.last_stable(), 4);
        let aborted: Vec<_> = log.aborted_since(0).copied().collect();
        let expected = Aborted { producer_id: 7, first_offset: 2, last_offset: 3 };
        assert_eq!(aborted, [expected]);
        append(&mut log, &batch_of(1).in_transaction(7));
        append(&mut log, &NewBatch::control(7, true, 0));
        assert_eq!(log.aborted_since(0).count(), 1);
    }

    #[test]
    fn a_pinned_last_stable_offset_wins() {
        let mut log = PartitionLog::default();
        append(&mut log, &batch_of(2));
        log.pin_last_stable(Some(0));
        assert_eq!(log.last_stable(), 0);
        log.pin_last_stable(None);
        assert_eq!(log.last_stable(), 2);
    }

    #[test]
    fn a_timestamp_finds_the_first_record_that_is_not_older() {
        let mut log = PartitionLog::default();
        append(&mut log, &batch_of(3));
        assert_eq!(log.first_since(11), Some((2, 20)));
        assert_eq!(log.first_since(21), None);
    }
}
