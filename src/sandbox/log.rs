//! The log of one partition: whole batches in the order of their offsets. Pure.
//!
//! ```text
//!       start                      last stable                end = high watermark
//!         │                             │                      │
//!  (deleted) [batch][batch]  (hole)  [batch][open transaction…]
//! ```
//!
//! One replica has all there is, so the high watermark is the end. The last stable offset is where
//! the oldest open transaction begins, unless a test pins it.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::batch::{self, BatchError, BatchHeader};
use super::record::StoredRecord;

/// An offset outside what the log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OutOfRange;

/// A transaction that was given up; its records are in the log and nobody should see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Aborted {
    pub producer_id: i64,
    pub first_offset: i64,
    /// The offset of the marker that ended it.
    pub last_offset: i64,
}

#[derive(Debug)]
struct StoredBatch {
    offsets: Range<i64>,
    max_timestamp: i64,
    bytes: Bytes,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct PartitionLog {
    batches: VecDeque<StoredBatch>,
    start: i64,
    end: i64,
    bytes: usize,
    retention_bytes: Option<usize>,
    pinned_last_stable: Option<i64>,
    open_transactions: BTreeMap<i64, i64>,
    aborted: Vec<Aborted>,
}

impl PartitionLog {
    pub fn new(retention_bytes: Option<usize>) -> Self {
        Self { retention_bytes, ..Self::default() }
    }

    pub fn start(&self) -> i64 {
        self.start
    }

    pub fn end(&self) -> i64 {
        self.end
    }

    pub fn last_stable(&self) -> i64 {
        let oldest_open = self.open_transactions.values().min().copied();
        self.pinned_last_stable.or(oldest_open).unwrap_or(self.end).min(self.end)
    }

    pub fn pin_last_stable(&mut self, offset: Option<i64>) {
        self.pinned_last_stable = offset;
    }

    /// Appends one checked batch at the end and returns its base offset.
    pub fn append(&mut self, header: &BatchHeader, bytes: &[u8], leader_epoch: i32) -> i64 {
        let base = self.end;
        let next = base.saturating_add(i64::from(header.last_offset_delta.max(0))).saturating_add(1);
        if header.is_transactional() {
            self.note_transaction(header, bytes, base);
        }
        self.push(StoredBatch {
            offsets: base..next,
            max_timestamp: header.max_timestamp,
            bytes: batch::placed(bytes, base, leader_epoch),
        });
        base
    }

    /// Appends any bytes as if they were a batch with those offsets.
    pub fn append_raw(&mut self, offsets: Range<i64>, bytes: Bytes) -> Result<(), OutOfRange> {
        if offsets.start < self.end || offsets.end <= offsets.start {
            return Err(OutOfRange);
        }
        let max_timestamp = BatchHeader::read(&bytes).map_or(-1, |header| header.max_timestamp);
        self.push(StoredBatch { offsets, max_timestamp, bytes });
        Ok(())
    }

    /// Lets `offsets` offsets pass without a record, as compaction leaves them.
    pub fn append_hole(&mut self, offsets: u32) {
        self.end = self.end.saturating_add(i64::from(offsets));
    }

    /// Whole batches from the one that holds `from`, or the next after it, below `limit`: as many as
    /// fit into `max_bytes`, and one whatever its size if `at_least_one`.
    pub fn read(&self, from: i64, limit: i64, max_bytes: usize, at_least_one: bool) -> Result<Bytes, OutOfRange> {
        if from < self.start || from > self.end {
            return Err(OutOfRange);
        }
        let mut size = 0;
        let chosen: Vec<&Bytes> = self
            .from(from)
            .take_while(|batch| batch.offsets.end <= limit)
            .map(|batch| &batch.bytes)
            .take_while(|bytes| {
                let first = size == 0;
                size += bytes.len();
                size <= max_bytes || (first && at_least_one)
            })
            .collect();
        if let [one] = chosen.as_slice() {
            return Ok((*one).clone());
        }
        let mut joined = BytesMut::with_capacity(chosen.iter().map(|b| b.len()).sum());
        chosen.iter().for_each(|bytes| joined.extend_from_slice(bytes));
        Ok(joined.freeze())
    }

    /// The transactions given up that reach past `from`.
    pub fn aborted_since(&self, from: i64) -> impl Iterator<Item = &Aborted> {
        self.aborted.iter().filter(move |a| a.last_offset >= from)
    }

    /// Every record, markers left out; or what is wrong with the batch at an offset.
    pub fn records(&self) -> Result<Vec<StoredRecord>, (i64, BatchError)> {
        let mut all = Vec::new();
        for stored in &self.batches {
            let records = batch::records(&stored.bytes).map_err(|error| (stored.offsets.start, error))?;
            all.extend(records.into_iter().filter(|r| r.offset >= self.start));
        }
        Ok(all)
    }

    /// Offset and timestamp of the first record that is not older than `timestamp`.
    pub fn first_since(&self, timestamp: i64) -> Option<(i64, i64)> {
        let batch = self.from(self.start).find(|b| b.max_timestamp >= timestamp)?;
        let found = batch::records(&batch.bytes).ok().and_then(|records| {
            records
                .iter()
                .find(|r| r.timestamp_ms >= timestamp && r.offset >= self.start)
                .map(|r| (r.offset, r.timestamp_ms))
        });
        Some(found.unwrap_or((batch.offsets.start, batch.max_timestamp)))
    }

    /// Gives up all records before `offset`; -1 is the end. Returns the new start.
    pub fn delete_before(&mut self, offset: i64) -> Result<i64, OutOfRange> {
        let offset = if offset == -1 { self.end } else { offset };
        if offset < 0 || offset > self.end {
            return Err(OutOfRange);
        }
        self.start = self.start.max(offset);
        while self.batches.front().is_some_and(|batch| batch.offsets.end <= self.start) {
            self.drop_oldest();
        }
        Ok(self.start)
    }

    /// Forgets the batches from the one that holds `offset` on; the log ends where that began.
    pub fn truncate(&mut self, offset: i64) -> Result<(), OutOfRange> {
        if offset < self.start || offset > self.end {
            return Err(OutOfRange);
        }
        while let Some(last) = self.batches.pop_back_if(|batch| batch.offsets.end > offset) {
            self.bytes -= last.bytes.len();
            self.end = last.offsets.start;
        }
        self.end = self.end.min(offset);
        Ok(())
    }

    /// Flips a byte of the stored batch that holds `offset`.
    pub fn corrupt(&mut self, offset: i64) -> Result<(), OutOfRange> {
        let holder = self.batches.iter_mut().find(|batch| batch.offsets.contains(&offset)).ok_or(OutOfRange)?;
        holder.bytes = batch::corrupted(&holder.bytes);
        Ok(())
    }

    fn from(&self, offset: i64) -> impl Iterator<Item = &StoredBatch> {
        let first = self.batches.partition_point(|b| b.offsets.end <= offset);
        self.batches.range(first..)
    }

    fn push(&mut self, batch: StoredBatch) {
        debug_assert!(self.end <= batch.offsets.start, "offsets only rise");
        self.end = batch.offsets.end;
        self.bytes += batch.bytes.len();
        self.batches.push_back(batch);
        while self.batches.len() > 1 && self.retention_bytes.is_some_and(|max| self.bytes > max) {
            self.drop_oldest();
            self.start = self.batches.front().map_or(self.end, |b| b.offsets.start);
        }
        let start = self.start;
        self.aborted.retain(|aborted| aborted.last_offset >= start);
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.batches.pop_front() {
            self.bytes -= oldest.bytes.len();
        }
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
        let abort = bytes.get(batch::HEADER_BYTES + 8) == Some(&0);
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
        assert_eq!(bases(&log.read(4, 6, 10_000, true).unwrap()), [3, 5]);
        assert!(log.read(6, 6, 10_000, true).unwrap().is_empty());
        assert_eq!(log.read(7, 6, 10_000, true), Err(OutOfRange));
    }

    #[test]
    fn one_batch_is_read_whatever_its_size() {
        let mut log = PartitionLog::default();
        append(&mut log, &batch_of(3));
        append(&mut log, &batch_of(3));
        assert_eq!(bases(&log.read(0, 6, 1, true).unwrap()), [0]);
        assert!(log.read(0, 6, 1, false).unwrap().is_empty());
    }

    #[test]
    fn a_hole_is_stepped_over() {
        let mut log = PartitionLog::default();
        append(&mut log, &batch_of(1).last_offset_delta(4));
        log.append_hole(10);
        assert_eq!(append(&mut log, &batch_of(1)), 15);
        assert_eq!(bases(&log.read(7, 16, 10_000, true).unwrap()), [15]);
        assert_eq!(bases(&log.read(3, 16, 10_000, true).unwrap()), [0, 15]);
    }

    #[test]
    fn deleting_moves_the_start_and_keeps_what_is_after_it() {
        let mut log = PartitionLog::default();
        append(&mut log, &batch_of(3));
        append(&mut log, &batch_of(3));
        assert_eq!(log.delete_before(4), Ok(4));
        assert_eq!(log.read(3, 6, 10_000, true), Err(OutOfRange));
        assert_eq!(log.records().unwrap()[0].offset, 4);
        assert_eq!(log.delete_before(7), Err(OutOfRange));
        assert_eq!(log.delete_before(-1), Ok(6));
        assert_eq!(log.bytes, 0);
    }

    #[test]
    fn retention_drops_the_oldest_batches() {
        let size = batch_of(1).to_bytes().len();
        let mut log = PartitionLog::new(Some(size * 2));
        (0..5).for_each(|_| {
            append(&mut log, &batch_of(1));
        });
        assert_eq!((log.start(), log.end(), log.bytes), (3, 5, size * 2));
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
