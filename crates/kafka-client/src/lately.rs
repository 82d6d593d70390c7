//! Who lately did not answer, and so is asked last: one that hangs costs its deadline once, not each time.

use std::fmt;
use std::sync::Mutex;

use tokio::time::Instant;

use crate::lock::lock;

/// The most that are remembered. There are as many as a cluster has brokers, or a name addresses.
const MOST: usize = 1024;

/// Peers that lately failed to answer, and when each did.
pub struct Lately<K>(Mutex<Vec<(K, Instant)>>);

/// A question that is asked. Dropped without an answer, whoever was asked counts as one that does not.
pub struct Attempt<'a, K: Eq> {
    lately: &'a Lately<K>,
    of: Option<K>,
}

impl<K> Lately<K> {
    /// All have answered.
    pub const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }
}

impl<K> Default for Lately<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Eq> Lately<K> {
    /// Sorts peers: those that failed last come last.
    pub fn sorted<T>(&self, mut peers: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
        let failures = lock(&self.0);
        let failed_at = |peer: &T| {
            let key = key(peer);
            failures.iter().find(|(failed, _)| *failed == key).map(|(_, at)| *at)
        };
        peers.sort_by_key(failed_at); // stable, and those that never failed come first
        drop(failures);
        peers
    }

    /// Begins a question to a peer.
    pub fn begin(&self, peer: K) -> Attempt<'_, K> {
        Attempt { lately: self, of: Some(peer) }
    }

    fn note(&self, peer: K, failed: bool) {
        let mut failures = lock(&self.0);
        failures.retain(|(other, _)| *other != peer);
        if failed {
            if failures.len() >= MOST {
                failures.remove(0); // the one that failed first
            }
            failures.push((peer, Instant::now()));
        }
    }
}

impl<K: Eq> Attempt<'_, K> {
    /// Ends the question: the peer has answered.
    pub fn answered(mut self) {
        if let Some(peer) = self.of.take() {
            self.lately.note(peer, false);
        }
    }
}

impl<K: Eq> Drop for Attempt<'_, K> {
    fn drop(&mut self) {
        if let Some(peer) = self.of.take() {
            self.lately.note(peer, true);
        }
    }
}

impl<K> fmt::Debug for Lately<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lately").field(&lock(&self.0).len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_hung_is_asked_last_until_it_answers() {
        let lately = Lately::new();
        let sorted = || lately.sorted(vec!["a", "b", "c"], |peer| *peer).concat();
        assert_eq!(sorted(), "abc");
        drop(lately.begin("a"));
        assert_eq!(sorted(), "bca");
        tokio::time::advance(Duration::from_secs(1)).await;
        drop(lately.begin("b"));
        assert_eq!(sorted(), "cab");
        lately.begin("a").answered();
        assert_eq!(sorted(), "acb");
    }

    #[test]
    fn memory_is_bounded() {
        let lately = Lately::new();
        for peer in 0..5_000 {
            drop(lately.begin(peer));
        }
        assert_eq!(lock(&lately.0).len(), MOST);
        assert_eq!(lately.sorted(vec![4_999, 0], |peer| *peer), [0, 4_999]);
    }
}
