//! Limits how often a policy may send a position back: at once the first time, and then after pauses that grow. A
//! broker, a damaged log or a mistake that gives the same reason again and again would else have all
//! of it written again and again.

use std::time::Duration;

use tokio::time::Instant;

/// The pause before the second time ...
const FIRST: Duration = Duration::from_secs(10);
/// ... and the longest one.
const LONGEST: Duration = Duration::from_secs(3600);

/// The times that a position was sent back.
#[derive(Debug, Default)]
pub(super) struct Rewinds {
    last: Option<Instant>,
    pause: Duration,
}

impl Rewinds {
    /// The pause until it may be sent back again; `None` where it may be now.
    pub(super) fn wait(&mut self, now: Instant) -> Option<Duration> {
        let since = now.saturating_duration_since(self.last?);
        // What did not happen for long is forgotten.
        if since >= LONGEST.max(self.pause * 2) {
            *self = Self::default();
            return None;
        }
        self.pause.checked_sub(since).filter(|wait| !wait.is_zero())
    }

    /// Notes that it is sent back now.
    pub(super) fn note(&mut self, now: Instant) {
        self.last = Some(now);
        self.pause = (self.pause * 2).clamp(FIRST, LONGEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_time_it_waits_longer_until_it_is_forgotten() {
        let mut rewinds = Rewinds::default();
        assert_eq!(rewinds.wait(Instant::now()), None);
        for pause in [10, 20, 40, 80] {
            rewinds.note(Instant::now());
            let pause = Duration::from_secs(pause);
            assert_eq!(rewinds.wait(Instant::now()), Some(pause));
            tokio::time::advance(pause / 2).await;
            assert_eq!(rewinds.wait(Instant::now()), Some(pause / 2));
            tokio::time::advance(pause / 2).await;
            assert_eq!(rewinds.wait(Instant::now()), None);
        }
        for _ in 0..20 {
            rewinds.note(Instant::now());
        }
        assert_eq!(rewinds.wait(Instant::now()), Some(LONGEST));
        tokio::time::advance(LONGEST * 2).await;
        assert_eq!(rewinds.wait(Instant::now()), None);
        rewinds.note(Instant::now());
        assert_eq!(rewinds.wait(Instant::now()), Some(FIRST));
    }
}
