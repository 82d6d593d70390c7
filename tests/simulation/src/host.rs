//! A machine with one process: a runtime whose clock stands still but when it runs.
//!
//! Machines run one after the other, each for a step of the time that they have in common. What one sends another has
//! when that one's turn has come to the time at which it arrives.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use kafka_client::testing::{Clocks, set_clocks};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, advance, sleep};

/// The time of day at which every simulation begins: 2026-01-01, since the Unix epoch.
pub const DAWN: Duration = Duration::from_secs(1_767_225_600);

/// How long a machine has been up when a simulation begins.
const UPTIME: Duration = Duration::from_secs(86_400);

/// A machine, which runs while it is told to.
pub struct Host {
    runtime: Runtime,
    clock: Rc<Clock>,
    /// Dropped last: what ends with the runtime asks for the time.
    _clocks: UntilHere,
}

/// Takes a machine's clocks away when it is dropped.
struct UntilHere;

impl Drop for UntilHere {
    fn drop(&mut self) {
        set_clocks(None);
    }
}

/// It ends at the time that it has come to.
impl Drop for Host {
    fn drop(&mut self) {
        let now = self.run(async { self.clock.tell() });
        set_clocks(Some(Rc::new(move || now)));
    }
}

/// What its clocks say is reckoned from these.
struct Clock {
    /// Its runtime's clock when it was started, and the common time of that.
    begun: (Instant, Duration),
    /// How much of the common time its runtime has slept through, as the machine did.
    slept: Cell<Duration>,
    /// How far the clock of the day is ahead, in milliseconds.
    ahead_ms: Cell<i64>,
    /// How long the disk takes.
    disk: Cell<Duration>,
}

impl Clock {
    fn common(&self) -> Duration {
        self.begun.1 + self.begun.0.elapsed() + self.slept.get()
    }

    fn tell(&self) -> Clocks {
        let common = self.common();
        let ahead = Duration::from_millis(self.ahead_ms.get().unsigned_abs());
        let day = DAWN + common;
        let since_epoch = if self.ahead_ms.get() < 0 { day.saturating_sub(ahead) } else { day + ahead };
        Clocks { since_epoch, since_boot: UPTIME + common, common, disk: self.disk.get() }
    }
}

impl Host {
    /// A machine that is started at that time.
    ///
    /// # Panics
    /// Where there is no runtime to be had.
    pub fn start(at: Duration) -> Self {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        let now = runtime.block_on(async { Instant::now() });
        let clock =
            Clock { begun: (now, at), slept: Cell::default(), ahead_ms: Cell::default(), disk: Cell::default() };
        Self { runtime, clock: Rc::new(clock), _clocks: UntilHere }
    }

    /// Does something on it, which takes no time but what it waits for.
    pub fn run<T>(&self, work: impl Future<Output = T>) -> T {
        let clock = Rc::clone(&self.clock);
        set_clocks(Some(Rc::new(move || clock.tell())));
        let result = self.runtime.block_on(work);
        set_clocks(None);
        result
    }

    /// Lets it run until that time.
    pub fn run_until(&self, common: Duration) {
        self.run(async {
            let left = common.saturating_sub(self.clock.common());
            if !left.is_zero() {
                sleep(left).await;
            }
        });
    }

    /// Has it stand still until that time, as a process that is stopped: its clocks go on.
    pub fn stop_until(&self, common: Duration) {
        self.run(async {
            let left = common.saturating_sub(self.clock.common());
            if !left.is_zero() {
                advance(left).await;
            }
        });
    }

    /// Has it sleep until that time, as a machine that is suspended: its monotonic clock stands still.
    pub fn sleep_until(&self, common: Duration) {
        let left = self.run(async { common.saturating_sub(self.clock.common()) });
        self.clock.slept.set(self.clock.slept.get() + left);
    }

    /// Has its disk take so long for what it is asked from now on.
    pub fn slow_disk(&self, takes: Duration) {
        self.clock.disk.set(takes);
    }

    /// Moves its clock of the day by so many milliseconds.
    pub fn shift_day(&self, by_ms: i64) {
        self.clock.ahead_ms.set(self.clock.ahead_ms.get().saturating_add(by_ms));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use kafka_client::clock;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A task that counts seconds.
    fn counting(host: &Host) -> Arc<AtomicU32> {
        let count = Arc::new(AtomicU32::new(0));
        let counts = Arc::clone(&count);
        host.run(async {
            drop(tokio::spawn(async move {
                loop {
                    sleep(SECOND).await;
                    counts.fetch_add(1, Ordering::Relaxed);
                }
            }));
        });
        count
    }

    #[test]
    fn clocks_of_a_machine_that_stood_still_went_on_and_those_of_one_that_slept_did_not() {
        let at = Duration::from_millis(2_500);
        let (stopped, slept) = (Host::start(at), Host::start(at));
        let counts = [&stopped, &slept].map(counting);
        let until = at + SECOND * 10;
        stopped.stop_until(until);
        slept.sleep_until(until);
        for host in [&stopped, &slept] {
            host.run_until(until);
            assert_eq!(host.run(async { clock::since_boot() }), UPTIME + until);
            assert_eq!(host.run(async { clock::since_epoch() }), DAWN + until);
        }
        assert_eq!(counts[1].load(Ordering::Relaxed), 0);
        for host in [&stopped, &slept] {
            host.run_until(until + SECOND * 20 + SECOND / 2);
        }
        assert_eq!(counts[1].load(Ordering::Relaxed), 20);
        assert!(counts[0].load(Ordering::Relaxed) >= 20);
        stopped.shift_day(-5_000);
        assert_eq!(stopped.run(async { clock::since_epoch() }), DAWN + until + SECOND * 15 + SECOND / 2);
    }
}
