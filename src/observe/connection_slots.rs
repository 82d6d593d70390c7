//! The slots for the admin port's connections: so many, and a newcomer gets one.
//!
//! Whoever has gone the longest without a request gives its slot up, so that neither connections
//! that say nothing nor those that read nothing keep a probe out. Each has [`GRACE`] to ask for
//! something, which a probe does as soon as it is connected; meanwhile newcomers wait in the
//! kernel's backlog. A page's stream, which asks once, keeps its slot; of those there are
//! [`WATCHERS`](super::sse::WATCHERS) at most.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::lock::lock;

/// How long a connection has its slot for sure. With 256 slots a probe among 1,000 that come at once is
/// heard after 0.1 s, which is less than its patience.
const GRACE: Duration = Duration::from_millis(25);

/// All slots. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct ConnectionSlots {
    most: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    /// The next newcomer's number.
    next: u64,
    by: BTreeMap<u64, Holder>,
}

#[derive(Debug)]
struct Holder {
    /// When it last asked, or came.
    asked: Instant,
    keeps: bool,
    lost: CancellationToken,
}

/// A connection's slot, until it is dropped, or lost.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    number: u64,
    lost: CancellationToken,
    slots: ConnectionSlots,
}

/// There is no slot now.
#[derive(Debug, PartialEq, Eq)]
enum Full {
    /// Somebody's grace ends then.
    Until(Instant),
    /// They are all kept.
    Kept,
}

impl ConnectionSlots {
    pub(super) fn new(most: usize) -> Self {
        Self { most, taken: Arc::default() }
    }

    /// A slot: a free one, or that of whoever gives way, which takes a [`GRACE`] at most; `None`
    /// where all of them are kept.
    pub(super) async fn take(&self) -> Option<ConnectionSlot> {
        loop {
            match self.try_take(Instant::now()) {
                Ok(slot) => return Some(slot),
                Err(Full::Until(then)) => sleep_until(then).await,
                Err(Full::Kept) => return None,
            }
        }
    }

    fn try_take(&self, now: Instant) -> Result<ConnectionSlot, Full> {
        let mut taken = lock(&self.taken);
        if taken.by.len() >= self.most {
            let gives_way = taken.by.iter().filter(|(_, it)| !it.keeps).min_by_key(|(_, it)| it.asked);
            let (number, until) = gives_way.map(|(number, it)| (*number, it.asked + GRACE)).ok_or(Full::Kept)?;
            if now < until {
                return Err(Full::Until(until));
            }
            if let Some(holder) = taken.by.remove(&number) {
                holder.lost.cancel();
            }
        }
        let (number, lost) = (taken.next, CancellationToken::new());
        taken.next += 1;
        taken.by.insert(number, Holder { asked: now, keeps: false, lost: lost.clone() });
        Ok(ConnectionSlot { number, lost, slots: self.clone() })
    }
}

impl ConnectionSlot {
    /// It asks for something, and so is the last to give way; with `keeps` it does not until it
    /// asks again.
    pub(super) fn asks(&self, now: Instant, keeps: bool) {
        if let Some(holder) = lock(&self.slots.taken).by.get_mut(&self.number) {
            (holder.asked, holder.keeps) = (now, keeps);
        }
    }

    /// Cancelled when it is another's.
    pub(super) fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        lock(&self.slots.taken).by.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Millisecond by millisecond.
    fn clock() -> impl FnMut(u64) -> Instant {
        let mut now = Instant::now();
        move |milliseconds| {
            now += Duration::from_millis(milliseconds);
            now
        }
    }

    #[test]
    fn who_has_asked_nothing_for_longest_gives_way() {
        let (slots, mut after) = (ConnectionSlots::new(3), clock());
        let [first, second, third] = std::array::from_fn(|_| slots.try_take(after(1)).unwrap());
        first.asks(after(30), false);
        let fourth = slots.try_take(after(1)).unwrap();
        assert!(second.lost().is_cancelled() && !first.lost().is_cancelled() && !third.lost().is_cancelled());
        drop(second);
        let fifth = slots.try_take(after(1)).unwrap();
        assert!(third.lost().is_cancelled(), "what the second had is the fourth's");
        drop(fourth);
        let _sixth = slots.try_take(after(100)).unwrap();
        assert!(!first.lost().is_cancelled() && !fifth.lost().is_cancelled(), "there was a free one");
    }

    #[test]
    fn each_has_time_to_ask() {
        let (slots, mut after) = (ConnectionSlots::new(1), clock());
        let came = after(0);
        let first = slots.try_take(came).unwrap();
        assert_eq!(slots.try_take(after(10)).unwrap_err(), Full::Until(came + GRACE));
        let asked = after(5);
        first.asks(asked, false);
        assert_eq!(slots.try_take(after(10)).unwrap_err(), Full::Until(asked + GRACE));
        slots.try_take(after(15)).unwrap();
        assert!(first.lost().is_cancelled());
    }

    #[test]
    fn a_stream_keeps_its_place_until_it_asks_for_something_else() {
        let (slots, mut after) = (ConnectionSlots::new(2), clock());
        let [stream, other] = std::array::from_fn(|_| slots.try_take(after(1)).unwrap());
        stream.asks(after(1), true);
        other.asks(after(1), false);
        let newcomer = slots.try_take(after(100)).unwrap();
        assert!(other.lost().is_cancelled() && !stream.lost().is_cancelled());
        newcomer.asks(after(1), true);
        assert_eq!(slots.try_take(after(100)).unwrap_err(), Full::Kept);
        stream.asks(after(1), false);
        slots.try_take(after(100)).unwrap();
        assert!(stream.lost().is_cancelled());
    }
}
