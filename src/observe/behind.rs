//! For how long a partition's oldest record has waited that is not done.
//!
//! ```text
//! idle        ──► the log ends where all is done: nothing waits, and what comes next waits from now on at most
//! a record    ──► it is not read yet: from then on
//! it is read  ──► its own time, or from then on if that is later: clocks of producers are wrong, and some records
//!                 are old when they are written
//! ```
//! The time of the record before says nothing of it: a topic may have been idle for hours.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::record::Offset;

/// In place of what is not known yet.
const UNKNOWN: i64 = -1;

/// Where it was never seen that all is done.
const NEVER: u64 = u64::MAX;

/// The lag of one partition as time. Times are milliseconds of the board's clock.
#[derive(Debug)]
pub(super) struct Behind {
    /// All before is done, stored or not.
    done: AtomicI64,
    /// When the oldest record was written that is worked on, or was last: milliseconds since the Unix epoch.
    oldest_ms: AtomicI64,
    /// When all was done that there was.
    caught_up: AtomicU64,
}

/// The end of the log, and when it was reported.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    pub(super) end: Offset,
    pub(super) at: u64,
}

impl Behind {
    pub(super) const fn new() -> Self {
        Self { done: AtomicI64::new(UNKNOWN), oldest_ms: AtomicI64::new(UNKNOWN), caught_up: AtomicU64::new(NEVER) }
    }

    /// Work begins on a record of this time, and on younger ones.
    pub(super) fn begin(&self, oldest_ms: i64) {
        self.oldest_ms.store(oldest_ms, Ordering::Relaxed);
    }

    /// All before this offset is done. Where that is less than before, old records wait again.
    pub(super) fn done(&self, next: Offset, log: Option<Told>) {
        if next.0 < self.done.swap(next.0, Ordering::Relaxed) {
            self.caught_up.store(NEVER, Ordering::Relaxed);
        }
        log.iter().for_each(|log| self.told(*log));
    }

    /// Notes where the log ended.
    pub(super) fn told(&self, log: Told) {
        if self.is_all_done(log.end) {
            self.caught_up.store(log.at, Ordering::Relaxed);
        }
    }

    /// For how many milliseconds something has waited at most, if the log ends there; `None` where nobody knows.
    pub(super) fn ms(&self, end: Offset, now: u64, unix_ms: u64) -> Option<u64> {
        if self.is_all_done(end) {
            return Some(0);
        }
        let oldest_ms = u64::try_from(self.oldest_ms.load(Ordering::Relaxed)).ok();
        // A producer's clock that is ahead tells nothing of how long a record has waited.
        let age = oldest_ms.and_then(|oldest_ms| unix_ms.checked_sub(oldest_ms));
        let caught_up = Some(self.caught_up.load(Ordering::Relaxed)).filter(|at| *at != NEVER);
        let waited = caught_up.map(|at| now.saturating_sub(at));
        age.into_iter().chain(waited).min()
    }

    fn is_all_done(&self, end: Offset) -> bool {
        let done = self.done.load(Ordering::Relaxed);
        done != UNKNOWN && done >= end.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    /// The time of day at which the board's clock begins.
    const BEGIN: u64 = 1_700_000_000_000;

    fn wrote(at: u64) -> i64 {
        i64::try_from(BEGIN + at).unwrap()
    }

    #[test]
    fn a_record_after_hours_of_nothing_has_just_come() {
        let behind = Behind::new();
        let ms = |end, now| behind.ms(Offset(end), now, BEGIN + now);
        assert_eq!(ms(1, 0), None, "nothing is known yet");
        behind.begin(wrote(0));
        behind.done(Offset(1), Some(Told { end: Offset(1), at: 10 }));
        assert_eq!(ms(1, 8 * HOUR), Some(0), "done, though no checkpoint says so yet");
        behind.told(Told { end: Offset(1), at: 8 * HOUR });
        behind.told(Told { end: Offset(2), at: 8 * HOUR + 500 });
        assert_eq!(ms(2, 8 * HOUR + 600), Some(600), "not read yet: since there was nothing");
        behind.begin(wrote(8 * HOUR + 300));
        assert_eq!(ms(2, 8 * HOUR + 600), Some(300), "read: since it was written");
        behind.begin(wrote(0));
        assert_eq!(ms(2, 8 * HOUR + 600), Some(600), "it was old when it came");
        behind.begin(wrote(9 * HOUR));
        assert_eq!(ms(2, 8 * HOUR + 600), Some(600), "by a clock that is ahead");
    }

    #[test]
    fn a_backlog_is_as_old_as_what_is_worked_on() {
        let behind = Behind::new();
        behind.done(Offset(0), Some(Told { end: Offset(100), at: 0 }));
        assert_eq!(behind.ms(Offset(100), 0, BEGIN), None);
        behind.begin(wrote(0) - 60_000);
        assert_eq!(behind.ms(Offset(100), 500, BEGIN + 500), Some(60_500));
        behind.done(Offset(90), Some(Told { end: Offset(100), at: 600 }));
        assert_eq!(behind.ms(Offset(100), 700, BEGIN + 700), Some(60_700));
        behind.done(Offset(100), Some(Told { end: Offset(100), at: 600 }));
        behind.done(Offset(20), None);
        assert_eq!(behind.ms(Offset(100), 700, BEGIN + 700), Some(60_700), "sent back: what it had done is done again");
    }
}
