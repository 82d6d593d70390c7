//! How long a broker may make us wait.

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

/// The longest wait that is heeded. A broker reckons with its quotas' windows, which are seconds;
/// the largest number that an answer can hold would keep us silent for 24 days.
const LONGEST: Duration = Duration::from_secs(60);

/// Until when nothing is sent to the broker at `address`, which asked for `pause`. What it asked for
/// before is not cut short.
pub(super) fn until(now: Instant, before: Option<Instant>, pause: Duration, address: &str) -> Instant {
    if pause > LONGEST {
        let (asked, heeded) = (humantime::format_duration(pause), humantime::format_duration(LONGEST));
        warn!(broker = address, %asked, %heeded, "asks for a pause that is longer than any quota gives");
    }
    let until = now + pause.min(LONGEST);
    before.map_or(until, |before| before.max(until))
}

/// Until when a pause explains that a request of `since` has no answer: one pause's length, however often
/// the broker asks for another.
pub(super) fn at_most(since: Instant, until: Instant) -> Instant {
    until.clamp(since, since + LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_of_weeks_is_a_minute() {
        let now = Instant::now();
        let asked = Duration::from_millis(u64::try_from(i32::MAX).unwrap());
        assert_eq!(until(now, None, asked, "broker:9092"), now + LONGEST);
        assert_eq!(until(now, None, Duration::from_millis(5), "broker:9092"), now + Duration::from_millis(5));
    }

    #[test]
    fn a_short_pause_does_not_end_a_longer_one() {
        let now = Instant::now();
        let longer = Some(now + Duration::from_secs(3));
        assert_eq!(until(now, longer, Duration::from_secs(1), "broker:9092"), now + Duration::from_secs(3));
        assert_eq!(until(now, longer, Duration::from_secs(9), "broker:9092"), now + Duration::from_secs(9));
    }
}
