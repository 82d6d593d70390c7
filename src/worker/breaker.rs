//! A limit on dead letters: a bad deploy or a schema changed upstream must not drain a topic into
//! them. Judges a batch that is staged, before anything of it is written.
//!
//! ```text
//! armed ── a batch passes a limit ──► the batch waits
//!   ▲                                    │ an operator resumes
//!   └── a window within the limits ── letting through
//! ```
//! Pure: told the time, it asks nobody. The first batch of a process is judged as any other, so that
//! starting again resumes nothing.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::{DeadLetterLimits, OnLimit};
use crate::stages::Counts;

/// The number of parts that the window moves on by.
const STEPS: u32 = 16;

/// Watches the dead letters of one partition.
#[derive(Debug)]
pub(super) struct Breaker {
    limits: DeadLetterLimits,
    now: Judged,
    /// The state that counts for good: what was aborted is judged again, from here.
    settled: Judged,
}

/// What was let through up to a record.
#[derive(Debug, Clone, Default)]
struct Judged {
    /// The oldest first.
    steps: VecDeque<Step>,
    /// Dead letters in a row.
    run: u64,
    /// Since when everything is let through.
    resumed: Option<Instant>,
}

/// A part of the window.
#[derive(Debug, Clone, Copy)]
struct Step {
    since: Instant,
    seen: Seen,
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    records: u64,
    dead: u64,
}

/// A limit that a batch would pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passed {
    /// `dead_letter.max_ratio`.
    Ratio {
        /// Dead letters within the window, the batch's included.
        dead: u64,
        /// Of so many records.
        records: u64,
        /// The window.
        within: Duration,
    },
    /// `dead_letter.max_consecutive`: so many in a row.
    Consecutive(u64),
}

impl Passed {
    /// The key that sets it, without its section.
    pub(super) fn limit(&self) -> &'static str {
        match self {
            Self::Ratio { .. } => "max_ratio",
            Self::Consecutive(_) => "max_consecutive",
        }
    }
}

impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ratio { dead, records, within } => {
                let within = humantime::format_duration(*within);
                write!(f, "{dead} of {records} records within {within} would be dead letters (dead_letter.max_ratio)")
            }
            Self::Consecutive(run) => {
                write!(f, "{run} records in a row would be dead letters (dead_letter.max_consecutive)")
            }
        }
    }
}

impl Breaker {
    /// Armed; `None` where there are no limits.
    pub(super) fn new(limits: &DeadLetterLimits) -> Option<Self> {
        let new = || Self { limits: limits.clone(), now: Judged::default(), settled: Judged::default() };
        limits.are_set().then(new)
    }

    /// Counts that go on where the last batch ended, for the stages to count the next one in.
    pub(super) fn counts(&self) -> Counts {
        Counts { dead_run: self.now.run, ..Counts::default() }
    }

    /// Judges whether a batch of so many records, staged to these counts, may be written. Then it is
    /// counted, or else nothing is.
    ///
    /// # Errors
    /// The limit that it would pass.
    pub(super) fn judge(&mut self, records: u64, counts: &Counts, now: Instant) -> Result<(), Passed> {
        self.expire(now);
        let batch = Seen { records, dead: counts.all_dead() };
        let verdict = self.verdict(batch, counts.longest_dead_run);
        if let Some(resumed) = self.now.resumed {
            if verdict.is_ok() && now.duration_since(resumed) >= self.limits.window {
                self.now.resumed = None;
            }
        } else {
            verdict?;
        }
        self.now.run = counts.dead_run;
        self.add(batch, now);
        Ok(())
    }

    /// Counts dead letters that came of a batch after it was judged: its topic refused them.
    pub(super) fn refused(&mut self, dead: u64, now: Instant) {
        self.add(Seen { records: 0, dead }, now);
    }

    /// The policy where a limit is passed.
    pub(super) fn on_limit(&self) -> OnLimit {
        self.limits.on_limit
    }

    /// Lets everything through, until a window has been within the limits.
    pub(super) fn resume(&mut self, now: Instant) {
        for judged in [&mut self.now, &mut self.settled] {
            judged.steps.clear();
            judged.resumed = Some(now);
        }
    }

    /// Lets what was judged up to now count for good.
    pub(super) fn settle(&mut self) {
        self.settled.clone_from(&self.now);
    }

    /// Forgets what was judged since then: it was aborted, and comes again.
    pub(super) fn roll_back(&mut self) {
        self.now.clone_from(&self.settled);
    }

    fn verdict(&self, batch: Seen, longest_run: u64) -> Result<(), Passed> {
        if self.limits.max_consecutive.is_some_and(|most| longest_run > most) {
            return Err(Passed::Consecutive(longest_run));
        }
        let seen = self.now.steps.iter().fold(batch, |sum, step| sum.and(step.seen));
        let Seen { records, dead } = seen;
        let passed = self.limits.max_ratio.is_some_and(|most| most.is_passed_by(dead, records));
        if passed && records >= self.limits.min_records {
            return Err(Passed::Ratio { dead, records, within: self.limits.window });
        }
        Ok(())
    }

    fn add(&mut self, seen: Seen, now: Instant) {
        let length = self.limits.window / STEPS;
        match self.now.steps.back_mut() {
            Some(last) if now.duration_since(last.since) < length => last.seen = last.seen.and(seen),
            _ => self.now.steps.push_back(Step { since: now, seen }),
        }
    }

    fn expire(&mut self, now: Instant) {
        while self.now.steps.front().is_some_and(|step| now.duration_since(step.since) >= self.limits.window) {
            self.now.steps.pop_front();
        }
    }
}

impl Seen {
    fn and(self, other: Self) -> Self {
        Self { records: self.records + other.records, dead: self.dead + other.dead }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Ratio;
    use crate::dead_letter::Stage;
    use crate::event::Reason;
    use crate::stages::Died;

    const WINDOW: Duration = Duration::from_secs(60);

    fn limits(ratio: Option<f64>, max_consecutive: Option<u64>) -> DeadLetterLimits {
        let max_ratio = ratio.and_then(Ratio::new);
        DeadLetterLimits { max_ratio, window: WINDOW, min_records: 100, max_consecutive, on_limit: OnLimit::Pause }
    }

    /// Judges a batch of these records, dead where they are false.
    fn judge(breaker: &mut Breaker, batch: &[bool], now: Instant) -> Result<(), Passed> {
        let mut counts = breaker.counts();
        let died = Died { at: 0, stage: Stage::Validate, field: None };
        for good in batch {
            if *good { counts.passed() } else { counts.died(died, Reason::MalformedJson) }
        }
        breaker.judge(u64::try_from(batch.len()).unwrap(), &counts, now)
    }

    #[test]
    fn without_limits_there_is_none() {
        assert!(Breaker::new(&limits(None, None)).is_none());
    }

    #[test]
    fn a_row_is_counted_across_batches_and_ended_by_a_good_record() {
        let mut breaker = Breaker::new(&limits(None, Some(3))).unwrap();
        let now = Instant::now();
        assert_eq!(judge(&mut breaker, &[true, false, false], now), Ok(()));
        assert_eq!(judge(&mut breaker, &[false, true, false, false], now), Ok(()));
        assert_eq!(judge(&mut breaker, &[false, false, true], now), Err(Passed::Consecutive(4)));
        assert_eq!(judge(&mut breaker, &[false, true], now), Ok(()), "what is not let through is not counted");
    }

    #[test]
    fn the_ratio_is_that_of_the_window() {
        let mut breaker = Breaker::new(&limits(Some(0.2), None)).unwrap();
        let start = Instant::now();
        assert_eq!(judge(&mut breaker, &[false; 50], start), Ok(()), "too few to tell");
        assert_eq!(judge(&mut breaker, &[true; 200], start), Ok(()));
        let passed = Err(Passed::Ratio { dead: 51, records: 251, within: WINDOW });
        assert_eq!(judge(&mut breaker, &[false], start), passed);
        let later = start + WINDOW;
        assert_eq!(judge(&mut breaker, &[false; 20], later), Ok(()), "the window has moved on");
        assert_eq!(judge(&mut breaker, &[true; 80], later), Ok(()));
        let passed = Err(Passed::Ratio { dead: 21, records: 101, within: WINDOW });
        assert_eq!(judge(&mut breaker, &[false], later), passed);
    }

    #[test]
    fn a_refusal_after_writing_counts_for_the_next_batch() {
        let mut breaker = Breaker::new(&limits(Some(0.2), None)).unwrap();
        let now = Instant::now();
        assert_eq!(judge(&mut breaker, &[true; 100], now), Ok(()));
        breaker.refused(100, now);
        let passed = Err(Passed::Ratio { dead: 100, records: 101, within: WINDOW });
        assert_eq!(judge(&mut breaker, &[true], now), passed);
    }

    #[test]
    fn resumed_it_lets_through_until_a_window_was_within_the_limits() {
        let mut breaker = Breaker::new(&limits(Some(0.2), Some(10))).unwrap();
        let start = Instant::now();
        assert!(judge(&mut breaker, &[false; 100], start).is_err());
        breaker.resume(start);
        for second in 0..120 {
            let now = start + Duration::from_secs(second);
            assert_eq!(judge(&mut breaker, &[false; 100], now), Ok(()), "{second}");
        }
        let bad_until = start + Duration::from_secs(119);
        // Within the limits only once the bad ones have left the window.
        for second in 1..=61 {
            assert_eq!(judge(&mut breaker, &[true; 100], bad_until + Duration::from_secs(second)), Ok(()));
        }
        let armed = judge(&mut breaker, &[false; 11], bad_until + Duration::from_secs(61));
        assert_eq!(armed, Err(Passed::Consecutive(11)));
    }

    #[test]
    fn an_aborted_batch_is_counted_once() {
        let mut breaker = Breaker::new(&limits(Some(0.2), Some(3))).unwrap();
        let now = Instant::now();
        assert_eq!(judge(&mut breaker, &[true; 90], now), Ok(()));
        breaker.settle();
        for _ in 0..5 {
            assert_eq!(judge(&mut breaker, &[false; 3], now), Ok(()), "three in a row, however often they are judged");
            assert_eq!(judge(&mut breaker, &[true; 2], now), Ok(()), "3 of 95");
            breaker.roll_back();
        }
        assert_eq!(judge(&mut breaker, &[false; 3], now), Ok(()));
        breaker.settle();
        breaker.roll_back();
        assert_eq!(judge(&mut breaker, &[false], now), Err(Passed::Consecutive(4)), "what is committed counts");
        breaker.resume(now);
        breaker.roll_back();
        assert_eq!(judge(&mut breaker, &[false; 9], now), Ok(()), "an operator's word is not taken back");
    }

    #[test]
    fn what_it_keeps_is_bounded() {
        let mut breaker = Breaker::new(&limits(Some(0.2), None)).unwrap();
        let start = Instant::now();
        for step in 0..100_000 {
            assert_eq!(judge(&mut breaker, &[true], start + Duration::from_millis(step * 7)), Ok(()));
        }
        assert!(breaker.now.steps.len() <= usize::try_from(STEPS).unwrap() + 1, "{}", breaker.now.steps.len());
    }

    #[test]
    fn it_says_what_was_passed() {
        let ratio = Passed::Ratio { dead: 51, records: 251, within: WINDOW };
        let said = "51 of 251 records within 1m would be dead letters (dead_letter.max_ratio)";
        assert_eq!(ratio.to_string(), said);
        let said = "11 records in a row would be dead letters (dead_letter.max_consecutive)";
        assert_eq!(Passed::Consecutive(11).to_string(), said);
    }
}
