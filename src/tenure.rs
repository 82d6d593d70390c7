//! How long a partition is this instance's to write for.
//!
//! Given with each partition that is assigned, asked before each write and each stored offset: once
//! it has ended, nothing is written for the partition and no offset of it is stored any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// How often a lease that has run out is looked at again: rare, and soon decided otherwise.
const LEASE_POLL: Duration = Duration::from_millis(50);

/// One partition's tenure. Clones are the same.
#[derive(Debug, Clone)]
pub struct Tenure {
    ended: CancellationToken,
    lease: Lease,
}

impl Tenure {
    /// A tenure under a lease.
    pub fn under(lease: &Lease) -> Self {
        Self { ended: CancellationToken::new(), lease: lease.clone() }
    }

    /// One that lasts until it is ended.
    pub fn unlimited() -> Self {
        Self::under(&Lease::unlimited())
    }

    /// Ends it for ever.
    pub fn end(&self) {
        self.ended.cancel();
    }

    /// Whether it has not ended and its lease has not run out.
    pub fn holds(&self) -> bool {
        !self.ended.is_cancelled() && self.lease.holds()
    }

    /// Whether it has ended for ever; a lease that ran out is no end.
    pub fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Returns at once while it holds, else when its lease is renewed; never once it has ended.
    pub async fn held(&self) {
        while !self.holds() {
            sleep(LEASE_POLL).await;
        }
    }

    /// Waits for its end. A lease that ran out is no end: it may be renewed.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

/// The time for which a group's coordinator is known to count this member in: each answer renews
/// it. A process that was stopped and wakes finds it run out before it asks anybody. Clones are the
/// same.
#[derive(Debug, Clone)]
pub struct Lease {
    since: Instant,
    /// Milliseconds from `since`.
    until: Arc<AtomicU64>,
}

impl Lease {
    /// A lease that never runs out.
    pub fn unlimited() -> Self {
        Self { since: Instant::now(), until: Arc::new(AtomicU64::new(u64::MAX)) }
    }

    /// Runs out at `until`, from now on.
    pub fn renew(&self, until: Instant) {
        self.until.store(millis(until.saturating_duration_since(self.since)), Ordering::Release);
    }

    /// Whether it has not run out.
    pub fn holds(&self) -> bool {
        millis(self.since.elapsed()) < self.until.load(Ordering::Acquire)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn holds_while_the_lease_is_renewed() {
        let lease = Lease::unlimited();
        let tenure = Tenure::under(&lease);
        assert!(tenure.holds());
        lease.renew(Instant::now() + Duration::from_secs(10));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(tenure.holds());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!tenure.holds() && !tenure.has_ended());
        lease.renew(Instant::now() + Duration::from_secs(10));
        assert!(tenure.holds(), "nobody ended it meanwhile");
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_is_final_and_for_all_clones() {
        let lease = Lease::unlimited();
        let (tenure, other) = (Tenure::under(&lease), Tenure::under(&lease));
        let clone = tenure.clone();
        tenure.end();
        clone.ended().await;
        assert!(clone.has_ended() && !clone.holds() && other.holds());
    }
}
