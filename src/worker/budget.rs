//! The budget of bytes of source records that the process may hold, shared out between its workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The bound on the bytes in flight.
///
/// Half of it is shared out evenly: each worker may always fetch that much, so that none starves.
/// The other half is for fetching ahead, on first come, first served.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: usize,
    max_fetch: usize,
    workers: AtomicUsize,
    held: AtomicUsize,
}

/// The smallest fetch: many partitions on a small budget still make progress.
const MIN_FETCH: usize = 4 * 1024;

impl Budget {
    /// At most `limit` bytes in all, and `max_fetch` in one fetch.
    pub fn new(limit: usize, max_fetch: usize) -> Self {
        Self(Arc::new(Inner { limit, max_fetch, workers: AtomicUsize::new(0), held: AtomicUsize::new(0) }))
    }

    /// A worker's part, for as long as it is kept.
    pub fn join(&self) -> Share {
        self.0.workers.fetch_add(1, Ordering::Relaxed);
        Share { budget: self.clone(), held: 0 }
    }

    /// Bytes held now.
    pub fn held(&self) -> usize {
        self.0.held.load(Ordering::Relaxed)
    }
}

/// One worker's part of the budget.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    held: usize,
}

impl Share {
    /// The bytes of records that may be fetched, and that a fetch asks for: what is compressed is
    /// unpacked so many bytes at a time.
    pub fn room(&self) -> usize {
        self.bytes().max(MIN_FETCH)
    }

    /// Notes that so many bytes of records are held.
    pub fn take(&mut self, bytes: usize) {
        self.held += bytes;
        self.budget.0.held.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives back what is written.
    pub fn give_back(&mut self, bytes: usize) {
        let bytes = bytes.min(self.held);
        self.held -= bytes;
        self.budget.0.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Tells whether one more fetch fits, beside what is held.
    pub fn has_room_ahead(&self) -> bool {
        self.budget.held().saturating_add(self.bytes()) <= self.budget.0.limit
    }

    fn bytes(&self) -> usize {
        let workers = self.budget.0.workers.load(Ordering::Relaxed).max(1);
        (self.budget.0.limit / 2 / workers).min(self.budget.0.max_fetch)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back(self.held);
        self.budget.0.workers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;

    #[test]
    fn half_is_shared_out_and_half_is_for_the_first() {
        let budget = Budget::new(1024 * KIB, 512 * KIB);
        let mut first = budget.join();
        assert_eq!(first.room(), 512 * KIB);
        let shares: Vec<_> = (0..3).map(|_| budget.join()).collect();
        assert_eq!(first.room(), 128 * KIB);
        first.take(128 * KIB);
        assert!(shares[0].has_room_ahead());
        first.take(900 * KIB);
        assert!(!shares[0].has_room_ahead());
        assert!(shares[0].room() > 0, "but one fetch is always allowed");
        drop(first);
        assert_eq!(budget.held(), 0);
        assert!(shares[0].room() > 128 * KIB, "what a worker had goes to the others");
    }
}
