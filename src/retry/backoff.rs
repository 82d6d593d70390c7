//! The pauses between attempts: the one policy of the program, and the only user of the backoff crate.
//!
//! Errors say their [`ErrorClass`]; loops ask [`Pauses`] how long to wait. Waiting for ever is
//! allowed, since a broker that is down comes back and a missing permission gets granted, but the
//! caller shows each failure in metrics and readiness.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;

use super::class::ErrorClass;
use crate::config;

/// The growth of pauses: exponential, with jitter, up to a longest one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    initial: Duration,
    max: Duration,
}

impl Policy {
    /// The policy that the configuration asks for.
    pub fn new(retry: &config::Retry) -> Self {
        Self { initial: retry.initial, max: retry.max }
    }

    /// The pauses of one operation, from the shortest.
    pub fn pauses(&self) -> Pauses {
        let backoff = ExponentialBackoff {
            current_interval: self.initial,
            initial_interval: self.initial,
            // Drawn below, by what a simulation can seed.
            randomization_factor: 0.0,
            multiplier: 2.0,
            max_interval: self.max,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        Pauses { backoff, max: self.max, attempts: 0 }
    }
}

/// The pauses between the attempts of one operation.
#[derive(Debug)]
pub struct Pauses {
    backoff: ExponentialBackoff,
    max: Duration,
    attempts: u32,
}

impl Pauses {
    /// The pause after a failure of this class. What lasts until someone fixes it is asked
    /// at the slowest pace from the first time on.
    pub fn after(&mut self, class: ErrorClass) -> Duration {
        self.attempts = self.attempts.saturating_add(1);
        match class {
            ErrorClass::Fatal => self.max,
            _ => {
                let pause = self.backoff.next_backoff().unwrap_or(self.max);
                pause.mul_f64(0.5 + fastrand::f64()).min(self.max)
            }
        }
    }

    /// The number of failures in a row.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Begins again with the shortest pause, after a success.
    pub fn reset(&mut self) {
        self.attempts = 0;
        self.backoff.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy { initial: Duration::from_millis(100), max: Duration::from_secs(10) }
    }

    #[test]
    fn pauses_grow_to_the_longest_and_stay_there() {
        let mut pauses = policy().pauses();
        let taken: Vec<_> = (0..40).map(|_| pauses.after(ErrorClass::Transient)).collect();
        assert!(taken[0] >= Duration::from_millis(50) && taken[0] <= Duration::from_millis(150));
        assert!(taken.iter().all(|pause| *pause <= Duration::from_secs(10)));
        assert!(taken[39] >= Duration::from_secs(5), "jitter takes at most half");
        assert_eq!(pauses.attempts(), 40);
    }

    #[test]
    fn success_begins_anew() {
        let mut pauses = policy().pauses();
        for _ in 0..20 {
            let _ = pauses.after(ErrorClass::Ambiguous);
        }
        pauses.reset();
        assert!(pauses.after(ErrorClass::Transient) <= Duration::from_millis(150));
        assert_eq!(pauses.attempts(), 1);
    }

    #[test]
    fn what_someone_must_mend_is_asked_slowly() {
        assert_eq!(policy().pauses().after(ErrorClass::Fatal), Duration::from_secs(10));
    }
}
