//! Partition ownership: whether this instance may still write for a partition.
//!
//! Given with each partition that is assigned, and checked last, when the bytes of a produce or a commit are
//! about to leave: once it has ended, nothing is written for the partition and no offset of it is stored any
//! more.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kafka_client::{Permit, clock};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Interval for checking again a lease that has run out: that is rare, and it is soon renewed or ended.
const LEASE_POLL: Duration = Duration::from_millis(50);

/// One partition's ownership. Clones are the same.
#[derive(Debug, Clone)]
pub struct PartitionOwnership(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ended: CancellationToken,
    lease: SessionLease,
}

impl Permit for Inner {
    fn holds(&self) -> bool {
        !self.ended.is_cancelled() && self.lease.holds()
    }
}

impl PartitionOwnership {
    /// An ownership under a lease.
    pub fn under(lease: &SessionLease) -> Self {
        Self(Arc::new(Inner { ended: CancellationToken::new(), lease: lease.clone() }))
    }

    /// One that lasts until it is ended.
    pub fn unlimited() -> Self {
        Self::under(&SessionLease::unlimited())
    }

    /// One within this: it ends with it at the latest, and alone before. What a worker leaves behind that
    /// died ends with the worker's.
    pub fn part(&self) -> Self {
        Self(Arc::new(Inner { ended: self.0.ended.child_token(), lease: self.0.lease.clone() }))
    }

    /// Ends it for ever.
    pub fn end(&self) {
        self.0.ended.cancel();
    }

    /// Returns whether it has not ended and its lease has not run out.
    pub fn holds(&self) -> bool {
        self.0.holds()
    }

    /// What the client looks at before it writes.
    pub fn permit(&self) -> Arc<dyn Permit> {
        Arc::clone(&self.0) as Arc<dyn Permit>
    }

    /// Returns whether it has ended for ever; a lease that ran out is not an end.
    pub fn has_ended(&self) -> bool {
        self.0.ended.is_cancelled()
    }

    /// Returns at once while it holds, else when its lease is renewed; never once it has ended.
    pub async fn held(&self) {
        while !self.holds() {
            sleep(LEASE_POLL).await;
        }
    }

    /// Waits for its end. A lease that ran out is no end: it may be renewed.
    pub async fn ended(&self) {
        self.0.ended.cancelled().await;
    }
}

/// The time for which a group's coordinator is known to count this member in: each answer renews
/// it. A process that was stopped and wakes finds it run out before it asks anybody. Clones are the
/// same.
///
/// It counts by every clock there is, and the one that has gone the furthest is right ([`Moment`]): the
/// coordinator's time goes on while this machine sleeps.
#[derive(Debug, Clone)]
pub struct SessionLease {
    clock: Clock,
    granted: Arc<Mutex<Option<Granted>>>,
}

/// So long, from then on.
#[derive(Debug, Clone, Copy)]
struct Granted {
    since: Moment,
    length: Duration,
}

impl SessionLease {
    /// A lease that never runs out until it is renewed.
    pub fn unlimited() -> Self {
        Self::by(Clock::default())
    }

    /// The same, by a clock of the caller's.
    pub fn by(clock: Clock) -> Self {
        Self { clock, granted: Arc::default() }
    }

    /// Now. To be asked before the request is sent whose answer renews the lease.
    pub fn now(&self) -> Moment {
        self.clock.now()
    }

    /// Runs out so long after `since`, from now on.
    pub fn renew(&self, since: Moment, length: Duration) {
        *self.lock() = Some(Granted { since, length });
    }

    /// Returns whether it has not run out.
    pub fn holds(&self) -> bool {
        let granted = *self.lock();
        granted.is_none_or(|Granted { since, length }| self.clock.now().since(&since).is_some_and(|gone| gone < length))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Granted>> {
        self.granted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Limit for setting the clock of the day back, beyond which it is no longer believed. Smaller corrections make the clock
/// slower, which the others follow.
const SET_BACK: Duration = Duration::from_secs(1);

/// A moment, by all clocks.
///
/// The monotonic one stands still while the machine sleeps; the one since the boot doesn't. Both stand
/// still while a virtual machine is suspended, or go back with it to the time of a snapshot; then the clock
/// of the day, once it is set right again, leaps.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// The runtime's, which tests can stop.
    pub monotonic: Instant,
    /// Since the boot, sleep included.
    pub boot: Duration,
    /// Since the Unix epoch.
    pub real: Duration,
}

impl Moment {
    /// The time that has gone by since, by the clock that says the most; `None` where that can't be
    /// told: the clock of the day was set back, which may hide a leap.
    fn since(&self, before: &Self) -> Option<Duration> {
        let awake = self.monotonic.saturating_duration_since(before.monotonic);
        let since_boot = self.boot.saturating_sub(before.boot);
        let was_set_back = self.real + SET_BACK < before.real + since_boot;
        (!was_set_back).then(|| awake.max(since_boot).max(self.real.saturating_sub(before.real)))
    }
}

/// Tells moments. Clones are the same.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Moment + Send + Sync>);

impl Clock {
    /// One that says what it is told to.
    pub fn from_fn(now: impl Fn() -> Moment + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    fn now(&self) -> Moment {
        (self.0)()
    }
}

/// The machine's.
impl Default for Clock {
    fn default() -> Self {
        Self::from_fn(|| Moment { monotonic: Instant::now(), boot: clock::since_boot(), real: clock::since_epoch() })
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renew(lease: &SessionLease, seconds: u64) {
        lease.renew(lease.now(), Duration::from_secs(seconds));
    }

    #[tokio::test(start_paused = true)]
    async fn holds_while_the_lease_is_renewed() {
        let lease = SessionLease::unlimited();
        let ownership = PartitionOwnership::under(&lease);
        assert!(ownership.holds());
        renew(&lease, 100);
        tokio::time::advance(Duration::from_secs(99)).await;
        assert!(ownership.holds());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!ownership.holds() && !ownership.has_ended());
        renew(&lease, 100);
        assert!(ownership.holds(), "nobody ended it meanwhile");
    }

    /// A lease of ten seconds, and what the clocks say: monotonic, since the boot, of the day.
    fn leased() -> (SessionLease, impl Fn(f64, f64, f64)) {
        let begun = Instant::now();
        let at = move |monotonic: f64, boot: f64, real: f64| Moment {
            monotonic: begun + Duration::from_secs_f64(monotonic),
            boot: Duration::from_secs_f64(1_000.0 + boot),
            real: Duration::from_secs_f64(1_700_000_000.0 + real),
        };
        let told = Arc::new(Mutex::new(at(0.0, 0.0, 0.0)));
        let tell = Arc::clone(&told);
        let lease = SessionLease::by(Clock::from_fn(move || *told.lock().unwrap()));
        renew(&lease, 10);
        (lease, move |monotonic, boot, real| *tell.lock().unwrap() = at(monotonic, boot, real))
    }

    #[test]
    fn a_lease_runs_out_while_the_machine_sleeps() {
        let (lease, tell) = leased();
        tell(1.0, 9.0, 9.0);
        assert!(lease.holds());
        tell(1.0, 3_601.0, 3_601.0);
        assert!(!lease.holds(), "the monotonic clock has slept");
        renew(&lease, 10);
        tell(2.0, 3_602.0, 3_602.0);
        assert!(lease.holds());
    }

    #[test]
    fn a_lease_runs_out_while_a_virtual_machine_is_suspended() {
        let (lease, tell) = leased();
        tell(1.0, 1.0, 8.0);
        assert!(lease.holds(), "that much is left");
        tell(1.0, 1.0, 11.0);
        assert!(!lease.holds(), "neither clock has counted it, but for that of the day");
    }

    #[test]
    fn a_clock_that_was_set_back_hides_nothing() {
        let (lease, tell) = leased();
        tell(2.0, 2.0, 1.5);
        assert!(lease.holds(), "it goes a little slower");
        tell(2.0, 2.0, -3_600.0);
        assert!(!lease.holds());
        renew(&lease, 10);
        assert!(lease.holds(), "until the next answer");
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_is_final_and_for_all_clones() {
        let lease = SessionLease::unlimited();
        let (ownership, other) = (PartitionOwnership::under(&lease), PartitionOwnership::under(&lease));
        let clone = ownership.clone();
        ownership.end();
        clone.ended().await;
        assert!(clone.has_ended() && !clone.holds() && other.holds());
    }

    #[tokio::test]
    async fn a_part_ends_alone_and_with_the_whole() {
        let whole = PartitionOwnership::unlimited();
        let (first, second) = (whole.part(), whole.part());
        first.end();
        assert!(!first.holds() && whole.holds() && second.holds());
        whole.end();
        second.ended().await;
        assert!(second.has_ended());
    }
}
