//! The clocks that tokio does not have: the time of day, and the time since the machine was started.
//!
//! All that is done by the clock of the day goes through here, so that a simulation of several machines gives each its
//! own. What only waits or measures uses tokio's clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// The time of day, since the Unix epoch; zero on a machine that believes to be before it.
pub fn since_epoch() -> Duration {
    #[cfg(any(test, feature = "testing"))]
    if let Some(simulated) = crate::testing::clocks() {
        return simulated.since_epoch;
    }
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The time of day in milliseconds, as records have it.
pub fn unix_ms() -> i64 {
    i64::try_from(since_epoch().as_millis()).unwrap_or(i64::MAX)
}

/// The time since the machine was started, the time that it slept included; without that where the system does not tell
/// it, which is all but Linux.
pub fn since_boot() -> Duration {
    #[cfg(any(test, feature = "testing"))]
    if let Some(simulated) = crate::testing::clocks() {
        return simulated.since_boot;
    }
    #[cfg(target_os = "linux")]
    let clock = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::Monotonic;
    let now = clock_gettime(clock);
    let seconds = Duration::from_secs(u64::try_from(now.tv_sec).unwrap_or_default());
    seconds + Duration::from_nanos(u64::try_from(now.tv_nsec).unwrap_or_default())
}
