//! Memory for what is larger than a partition's share of all that may be in flight: taken by whoever
//! needs it, given back when the bytes are gone, and waited for where others have it.
//!
//! ```text
//! an answer with a batch that is larger than the share ─► answers ─┐
//! a codec with a window of megabytes ──────────────────► codecs    ├─ each as much as all shares together
//! one record that is larger than a window ─────────────► records ──┘
//! ```
//! A worker may hold an answer while it waits for its codec, and both while it waits for a record, never
//! the other way round: so nobody waits in a circle. What alone is larger than there is gets all
//! of it, and is then alone. Who looks closely at a damaged log compares answers, and holds one while it asks for
//! others: one partition at a time does that, and its other answers wait for nobody.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Why nothing is taken.
pub const KEPT: &str = "other partitions hold the memory for what is large, and have not gone on for a minute";

/// What is counted at once.
const UNIT: usize = 1024;

/// A partition that waits for an operator or for a topic may hold memory for as long as that takes: whoever
/// else needs it says so then, and asks again.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a large record takes: the window that it is in, what becomes of it, and that compressed.
const COPIES: usize = 3;

/// Memory that is taken; dropping it gives it back.
pub type Taken = OwnedSemaphorePermit;

/// See the module. Clones are the same.
#[derive(Debug, Clone)]
pub struct Reserve {
    answers: Arc<Semaphore>,
    codecs: Arc<Semaphore>,
    records: Arc<Semaphore>,
    survey: Arc<Semaphore>,
    units: u32,
}

impl Reserve {
    /// So many bytes of each kind.
    pub fn new(bytes: usize) -> Self {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).clamp(1, 1 << 28);
        let kind = || Arc::new(Semaphore::new(usize::try_from(units).unwrap_or(1)));
        Self { answers: kind(), codecs: kind(), records: kind(), survey: Arc::new(Semaphore::new(1)), units }
    }

    /// For an answer. `None` where others kept it for too long.
    async fn answer(&self, bytes: usize) -> Option<Taken> {
        self.take(&self.answers, bytes).await
    }

    /// For the state of a codec. `None` where others kept it for too long.
    pub async fn codec(&self, bytes: usize) -> Option<Taken> {
        self.take(&self.codecs, bytes).await
    }

    /// Takes memory where it can be had at once.
    pub fn codec_now(&self, bytes: usize) -> Option<Taken> {
        Arc::clone(&self.codecs).try_acquire_many_owned(self.units_of(bytes)).ok()
    }

    /// For one record, and what becomes of it. `None` where others kept it for too long.
    pub async fn record(&self, bytes: usize) -> Option<Taken> {
        self.take(&self.records, bytes.saturating_mul(COPIES)).await
    }

    /// For a close look at a log, which one partition has at a time. `None` where others kept it for too long.
    pub async fn survey(&self) -> Option<Taken> {
        timeout(PATIENCE, Arc::clone(&self.survey).acquire_owned()).await.ok()?.ok()
    }

    async fn take(&self, from: &Arc<Semaphore>, bytes: usize) -> Option<Taken> {
        // The semaphores are never closed.
        timeout(PATIENCE, Arc::clone(from).acquire_many_owned(self.units_of(bytes))).await.ok()?.ok()
    }

    fn units_of(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.units)
    }
}

/// Lets the answers of one partition's fetches in: those within its share at once, a larger one when
/// there is memory for it.
#[derive(Debug)]
pub struct Admission {
    reserve: Reserve,
    share: AtomicUsize,
    waits: AtomicBool,
    /// Set while no answer waits.
    is_open: AtomicBool,
}

/// As long as it lives, the answers of a partition wait for nobody.
#[derive(Debug)]
pub struct Opened(Arc<Admission>);

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.is_open.store(false, Ordering::Relaxed);
    }
}

impl Admission {
    /// An admission with a share of nothing yet.
    pub fn new(reserve: Reserve) -> Self {
        Self { reserve, share: AtomicUsize::new(0), waits: AtomicBool::new(false), is_open: AtomicBool::new(false) }
    }

    /// The bytes of answers that need not wait from now on.
    pub fn set_share(&self, bytes: usize) {
        self.share.store(bytes, Ordering::Relaxed);
    }

    /// Lets all answers in from now on.
    pub(crate) fn open(self: &Arc<Self>) -> Opened {
        self.is_open.store(true, Ordering::Relaxed);
        Opened(Arc::clone(self))
    }

    /// Returns whether so many bytes are within the share.
    pub fn is_within(&self, bytes: usize) -> bool {
        // What surrounds the batches is small.
        bytes <= self.share.load(Ordering::Relaxed).saturating_add(4 * UNIT)
    }

    /// Returns once there is memory for an answer of so many bytes; nothing is taken for one within the
    /// share.
    ///
    /// # Errors
    /// Where others kept it for too long.
    pub async fn admit(&self, bytes: usize) -> io::Result<Option<Taken>> {
        if self.is_within(bytes) || self.is_open.load(Ordering::Relaxed) {
            return Ok(None);
        }
        self.waits.store(true, Ordering::Release);
        let taken = self.reserve.answer(bytes).await;
        self.waits.store(false, Ordering::Release);
        taken.map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::OutOfMemory, KEPT))
    }

    /// Returns whether an answer has come and waits for memory: that is no silence of the broker's.
    pub fn waits(&self) -> bool {
        self.waits.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn what_is_larger_than_all_gets_all_of_it_alone() {
        let reserve = Reserve::new(10 * UNIT);
        let all = reserve.answer(1 << 40).await;
        assert!(reserve.answer(1).now_or_never().is_none());
        assert!(reserve.codec(5 * UNIT).now_or_never().is_some(), "of another kind");
        drop(all);
        assert!(reserve.answer(1).now_or_never().is_some());
    }

    #[tokio::test]
    async fn an_answer_within_the_share_waits_for_nobody() {
        let reserve = Reserve::new(10 * UNIT);
        let admission = Admission::new(reserve.clone());
        admission.set_share(100 * UNIT);
        let all = reserve.answer(1 << 40).await;
        assert!(matches!(admission.admit(100 * UNIT).now_or_never(), Some(Ok(None))));
        assert!(admission.admit(200 * UNIT).now_or_never().is_none());
        drop(all);
        assert!(matches!(admission.admit(200 * UNIT).now_or_never(), Some(Ok(Some(_)))));
        assert!(!admission.waits());
    }

    #[tokio::test]
    async fn who_has_an_answer_asks_for_others_to_compare_while_nobody_else_does() {
        let reserve = Reserve::new(10 * UNIT);
        let admission = Arc::new(Admission::new(reserve.clone()));
        let alone = reserve.survey().await;
        let first = admission.admit(8 * UNIT).await.unwrap();
        assert!(admission.admit(8 * UNIT).now_or_never().is_none(), "it would wait for itself");
        let opened = admission.open();
        assert!(matches!(admission.admit(8 * UNIT).now_or_never(), Some(Ok(None))));
        assert!(reserve.survey().now_or_never().is_none());
        drop((opened, alone));
        assert!(admission.admit(8 * UNIT).now_or_never().is_none());
        assert!(reserve.survey().now_or_never().is_some());
        drop(first);
    }
}
