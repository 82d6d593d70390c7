//! A SASL session that the broker ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The share of a SASL session, in percent, after which the next connection is opened, as Kafka's
/// own clients do ...
const SESSION_USED: u32 = 85;
/// ... and after which this one takes no further request, whether the next is there or not.
const SESSION_OVER: u32 = 95;

/// A session that ends, and when the next connection takes over.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) used_at: Instant,
    over_at: Instant,
    /// Whether a task has been told to open the next connection.
    succession: AtomicBool,
}

impl Session {
    /// A session that began then and lasts so long.
    pub(super) fn new(begun: Instant, lifetime: Duration) -> Self {
        let after = |percent| begun + lifetime * percent / 100;
        Self { used_at: after(SESSION_USED), over_at: after(SESSION_OVER), succession: AtomicBool::new(false) }
    }

    /// Whether another request is to go over it: false for all when it is as good as over, and for one caller a while before.
    pub(super) fn takes_request(&self, now: Instant) -> bool {
        now < self.used_at || (now < self.over_at && self.succession.swap(true, Ordering::AcqRel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_task_opens_the_next_connection_and_the_others_go_on() {
        let begun = Instant::now();
        let session = Session::new(begun, Duration::from_secs(100));
        let takes = |seconds| session.takes_request(begun + Duration::from_secs(seconds));
        assert!(takes(0) && takes(84));
        assert!(!takes(86));
        assert!(takes(86) && takes(94));
        assert!(!takes(95) && !takes(200));
    }
}
