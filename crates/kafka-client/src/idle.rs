//! Since when nothing has gone over a connection.
//!
//! Routers, firewalls and load balancers forget a connection that is silent for some minutes, most without a word to
//! either side: what is asked on it afterwards is never answered, and costs the deadline of a request. So a connection that
//! was idle takes no further request, and its successor is opened first.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock;

/// The last use of a connection, by a clock that goes on while the machine sleeps: the routers do not.
#[derive(Debug)]
pub struct LastUse(AtomicU64);

impl LastUse {
    /// Begins with a use now.
    pub fn now() -> Self {
        Self(AtomicU64::new(clock_ms()))
    }

    /// Notes that a request goes, or an answer has come.
    pub fn note(&self) {
        self.0.store(clock_ms(), Ordering::Relaxed);
    }

    /// Returns whether the last use was longer ago than this.
    pub fn is_longer_ago_than(&self, idle: Duration) -> bool {
        let since = clock_ms().saturating_sub(self.0.load(Ordering::Relaxed));
        u128::from(since) > idle.as_millis()
    }
}

fn clock_ms() -> u64 {
    u64::try_from(clock::since_boot().as_millis()).unwrap_or(u64::MAX)
}
