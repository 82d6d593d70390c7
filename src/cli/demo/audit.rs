//! What becomes of every event, by what the broker is given: each has a number in a header, which outputs and dead
//! letters keep.
//!
//! ```text
//! generator ─► source       number 7 waits, at partition 2, offset 5
//! pipeline  ─► any other    number 7 waits no more; if it did not, it was written twice
//! a while after the group has committed an offset behind number 7, or at the end:
//!           it still waits                      ─► lost, or dropped by a rule
//! the end:  it still waits, and is not committed ─► not yet read
//! ```
//!
//! What is settled is counted and forgotten: no more is kept than the source topic holds, however long a demo runs.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kafka_sandbox::StoredRecord;

use crate::generator;

/// The books of a demo.
#[derive(Debug)]
pub(super) struct Audit {
    source: String,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    written: u64,
    twice: u64,
    /// Events of which nothing has come yet, and where they are: partition and offset.
    waiting: HashMap<u64, (i32, i64)>,
    /// How far each partition was when that was looked at last: what comes of an event comes before its offset is committed.
    reached: BTreeMap<i32, Reached>,
    gone: u64,
    expired: u64,
}

/// The progress of one partition of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reached {
    /// The offset that the group has committed.
    pub committed: i64,
    /// The oldest offset that is kept.
    pub log_start: i64,
}

impl Book {
    /// Counts and forgets what nothing comes of any more, by how far the partitions are.
    fn settle(&mut self, reached: &BTreeMap<i32, Reached>) {
        let (gone, expired) = (&mut self.gone, &mut self.expired);
        self.waiting.retain(|_, (partition, offset)| match reached.get(partition) {
            Some(reached) if *offset < reached.committed => {
                *gone += 1;
                false
            }
            Some(reached) if *offset < reached.log_start => {
                *expired += 1;
                false
            }
            Some(_) | None => true,
        });
    }
}

/// The findings of an audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// Events of which nothing came, though their offset is committed: lost, or dropped by a rule.
    pub lost: u64,
    /// How many rules have dropped, where there are any that do; one that was killed may have counted some twice.
    pub dropped: Option<u64>,
    /// Outputs and dead letters of an event that had one.
    pub twice: u64,
    /// Events that the broker deleted before anybody committed them.
    pub expired: u64,
    /// Events that nobody has committed.
    pub unread: u64,
}

impl Audit {
    /// Begins an audit of a source topic to which nothing has been written.
    pub(super) fn new(source: &str) -> Self {
        Self { source: source.to_owned(), book: Mutex::default() }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what was appended to a partition.
    pub(super) fn appended(&self, topic: &str, partition: i32, records: &[StoredRecord]) {
        let mut book = self.book();
        for record in records {
            let Some(number) = number(record) else { continue };
            if topic == self.source {
                book.written += 1;
                book.waiting.insert(number, (partition, record.offset));
            } else if book.waiting.remove(&number).is_none() {
                book.twice += 1;
            }
        }
    }

    /// The number of events that were written to the source.
    pub(super) fn written(&self) -> u64 {
        self.book().written
    }

    /// The number of events that nothing has come of yet.
    pub(super) fn waiting(&self) -> usize {
        self.book().waiting.len()
    }

    /// Settles what was behind the partitions' offsets already when this was called before, and still waits.
    pub(super) fn settle(&self, reached: BTreeMap<i32, Reached>) {
        let mut book = self.book();
        let before = std::mem::replace(&mut book.reached, reached);
        book.settle(&before);
    }

    /// Closes the books: `reached` says how far the partitions are, `dropped` how many events rules have dropped, where
    /// there are rules that do.
    pub(super) fn close(&self, reached: &BTreeMap<i32, Reached>, dropped: Option<u64>) -> Found {
        let mut book = self.book();
        book.settle(reached);
        let unread = u64::try_from(book.waiting.len()).unwrap_or(u64::MAX);
        Found { lost: book.gone, dropped, twice: book.twice, expired: book.expired, unread }
    }
}

fn number(record: &StoredRecord) -> Option<u64> {
    let header = record.headers.iter().find(|header| header.name == generator::NUMBER.as_bytes())?;
    std::str::from_utf8(header.value.as_ref()?).ok()?.parse().ok()
}

impl Found {
    /// In words, with the reason that some may have been written twice.
    pub(super) fn say(self, kills: u32) -> impl fmt::Display {
        let Self { lost, dropped, twice, expired, unread } = self;
        let lost = match dropped {
            None => format!("lost {lost}"),
            Some(dropped) => format!("lost or dropped {lost} (rules dropped {dropped})"),
        };
        let why = match kills {
            0 => String::new(),
            1 => " (by 1 kill)".to_owned(),
            _ => format!(" (by {kills} kills)"),
        };
        let expired = match expired {
            0 => String::new(),
            _ => format!(", deleted by the demo's broker before they were read {expired}"),
        };
        format!("{lost}, written twice {twice}{why}{expired}, not yet read {unread}")
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use kafka_sandbox::NewRecord;

    fn numbered(offset: i64, number: u64) -> StoredRecord {
        let NewRecord { key, value, headers, .. } =
            NewRecord::new("k", "v").header(generator::NUMBER, Some(number.to_string().as_bytes()));
        StoredRecord { offset, timestamp_ms: 0, key, value, headers, producer_id: -1 }
    }

    #[test]
    fn each_event_is_accounted_for() {
        let audit = Audit::new("in");
        audit.appended("in", 0, &[numbered(0, 0), numbered(1, 1), numbered(2, 2)]);
        audit.appended("in", 1, &[numbered(0, 3), numbered(1, 4)]);
        let strange = StoredRecord { headers: Vec::new(), key: Some(Bytes::new()), ..numbered(0, 0) };
        audit.appended("out", 0, &[numbered(0, 1), numbered(1, 3), strange]);
        audit.appended("dead", 0, &[numbered(0, 0)]);
        assert_eq!((audit.written(), audit.waiting()), (5, 2));
        let found = audit.close(&reached(&[2, 1]), None);
        assert_eq!(found, Found { lost: 0, dropped: None, twice: 0, expired: 0, unread: 2 });
        audit.appended("out", 0, &[numbered(2, 1)]);
        let found = audit.close(&reached(&[3, 3]), None);
        assert_eq!(found, Found { lost: 2, dropped: None, twice: 1, expired: 0, unread: 0 });
        assert_eq!(found.say(0).to_string(), "lost 2, written twice 1, not yet read 0");
        assert_eq!(found.say(2).to_string(), "lost 2, written twice 1 (by 2 kills), not yet read 0");
        let told = audit.close(&reached(&[3, 3]), Some(2)).say(0).to_string();
        assert_eq!(told, "lost or dropped 2 (rules dropped 2), written twice 1, not yet read 0");
    }

    fn reached(committed: &[i64]) -> BTreeMap<i32, Reached> {
        let reached = committed.iter().map(|committed| Reached { committed: *committed, log_start: 0 });
        (0..).zip(reached).collect()
    }

    /// A demo may run for days with a rule that drops, or with a pipeline that stands still.
    #[test]
    fn no_more_is_kept_than_the_source_holds() {
        const ROUND: i64 = 1_000;
        let audit = Audit::new("in");
        let number = |offset: i64| numbered(offset, offset.unsigned_abs());
        for round in 0..100 {
            let all: Vec<_> = (round * ROUND..(round + 1) * ROUND).map(number).collect();
            audit.appended("in", 0, &all);
            // Every other one is dropped.
            let written: Vec<_> = all.into_iter().step_by(2).collect();
            audit.appended("out", 0, &written);
            audit.settle(reached(&[(round + 1) * ROUND]));
            assert!(audit.waiting() <= 1_000, "{}", audit.waiting());
        }
        for round in 100..200 {
            let all: Vec<_> = (round * ROUND..(round + 1) * ROUND).map(number).collect();
            audit.appended("in", 0, &all);
            let reached = Reached { committed: 100 * ROUND, log_start: round * ROUND };
            audit.settle([(0, reached)].into());
            assert!(audit.waiting() <= 3_000, "{}", audit.waiting());
        }
        let reached = Reached { committed: 100 * ROUND, log_start: 199 * ROUND };
        let found = audit.close(&[(0, reached)].into(), Some(50_000));
        assert_eq!(found, Found { lost: 50_000, dropped: Some(50_000), twice: 0, expired: 99_000, unread: 1_000 });
        let told = found.say(0).to_string();
        assert!(told.contains("deleted by the demo's broker before they were read 99000, not yet read 1000"), "{told}");
    }

    /// What comes of an event while its offset is being committed is no loss.
    #[test]
    fn what_comes_soon_after_a_commit_was_seen_is_not_lost() {
        let audit = Audit::new("in");
        audit.appended("in", 0, &[numbered(0, 0), numbered(1, 1)]);
        audit.settle(reached(&[2]));
        audit.appended("out", 0, &[numbered(0, 0), numbered(1, 1)]);
        audit.settle(reached(&[2]));
        let found = audit.close(&reached(&[2]), None);
        assert_eq!(found, Found { lost: 0, dropped: None, twice: 0, expired: 0, unread: 0 });
    }
}
