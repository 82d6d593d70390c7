//! What becomes of every event, by what the broker is given: each has a number in a header, which outputs and dead
//! letters keep.
//!
//! ```text
//! generator ─► source       number 7 waits, at partition 2, offset 5
//! pipeline  ─► any other    number 7 waits no more; if it did not, it was written twice
//! the end:  still waiting below the offset that the group has committed ─► lost, or dropped by a rule
//!           still waiting from there on                                ─► not yet read
//! ```

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::generator;
use kafka_sandbox::StoredRecord;

/// The books of a demo.
#[derive(Debug)]
pub struct Audit {
    source: String,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    written: u64,
    twice: u64,
    /// Events of which nothing has come yet, and where they are: partition and offset.
    waiting: HashMap<u64, (i32, i64)>,
}

/// What an audit has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Events of which nothing came, though their offset is committed: lost, or dropped by a rule.
    pub lost: u64,
    /// How many rules have dropped, where there are any that do; one that was killed may have counted some twice.
    pub dropped: Option<u64>,
    /// Outputs and dead letters of an event that had one.
    pub twice: u64,
    /// Events that nobody has committed.
    pub unread: u64,
}

impl Audit {
    /// Of a source topic to which nothing has been written.
    pub fn new(source: &str) -> Self {
        Self { source: source.to_owned(), book: Mutex::default() }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what was appended to a partition.
    pub fn appended(&self, topic: &str, partition: i32, records: &[StoredRecord]) {
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

    /// How many events were written to the source.
    pub fn written(&self) -> u64 {
        self.book().written
    }

    /// How many events nothing has come of yet.
    pub fn waiting(&self) -> usize {
        self.book().waiting.len()
    }

    /// Closes the books: `committed` tells the offset of a partition, `dropped` how many events rules have dropped, where
    /// there are rules that do.
    pub fn close(&self, committed: impl Fn(i32) -> i64, dropped: Option<u64>) -> Found {
        let book = self.book();
        let mut of_partition = HashMap::new();
        let mut gone = 0;
        for (partition, offset) in book.waiting.values() {
            let committed = *of_partition.entry(*partition).or_insert_with(|| committed(*partition));
            gone += u64::from(*offset < committed);
        }
        let waiting = u64::try_from(book.waiting.len()).unwrap_or(u64::MAX);
        Found { lost: gone, dropped, twice: book.twice, unread: waiting - gone }
    }
}

fn number(record: &StoredRecord) -> Option<u64> {
    let header = record.headers.iter().find(|header| header.name == generator::NUMBER.as_bytes())?;
    std::str::from_utf8(header.value.as_ref()?).ok()?.parse().ok()
}

impl Found {
    /// In words, with the reason that some may have been written twice.
    pub fn say(self, kills: u32) -> impl fmt::Display {
        let Self { lost, dropped, twice, unread } = self;
        let lost = match dropped {
            None => format!("lost {lost}"),
            Some(dropped) => format!("lost or dropped {lost} (rules dropped {dropped})"),
        };
        let why = match kills {
            0 => String::new(),
            1 => " (by 1 kill)".to_owned(),
            _ => format!(" (by {kills} kills)"),
        };
        format!("{lost}, written twice {twice}{why}, not yet read {unread}")
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
        let found = audit.close(|partition| [2, 1][usize::try_from(partition).unwrap()], None);
        assert_eq!(found, Found { lost: 0, dropped: None, twice: 0, unread: 2 });
        audit.appended("out", 0, &[numbered(2, 1)]);
        let found = audit.close(|_| 3, None);
        assert_eq!(found, Found { lost: 2, dropped: None, twice: 1, unread: 0 });
        assert_eq!(found.say(0).to_string(), "lost 2, written twice 1, not yet read 0");
        assert_eq!(found.say(2).to_string(), "lost 2, written twice 1 (by 2 kills), not yet read 0");
        let told = audit.close(|_| 3, Some(2)).say(0).to_string();
        assert_eq!(told, "lost or dropped 2 (rules dropped 2), written twice 1, not yet read 0");
    }
}
