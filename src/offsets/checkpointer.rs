//! Writes one partition's progress, at most once an interval: flash wears out.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{Checkpoint, OffsetStore, StoreError};
use crate::kafka::Error;
use crate::ownership::PartitionOwnership;
use crate::record::{Offset, Position};

/// The time in which a broker may still carry out a request whose answer was given up: it lies in a queue, or
/// on the way. Carried out after its own repetition, it sets the stored offset back.
const LATE: Duration = Duration::from_secs(30);

/// The outcome of an attempt to store a checkpoint.
pub type Outcome<'a> = Result<&'a Checkpoint, &'a StoreError>;

/// The standing of the place where work began.
#[derive(Debug, Clone)]
pub enum Standing {
    /// Loaded, perhaps from a broker that had ceased to be the coordinator.
    Unconfirmed,
    /// Whoever takes the checkpoints had just that.
    Confirmed,
    /// It had another: nothing is stored, and the work is to begin anew there.
    Overtaken(Error),
}

/// The task that stores one partition's checkpoints, and the way to tell it of progress.
///
/// Dropped, it stores what it was last told and ends, with its ownership at the latest;
/// [`Checkpointer::finish`] waits for that.
#[derive(Debug)]
pub struct Checkpointer {
    progress: watch::Sender<Position>,
    standing: watch::Receiver<Standing>,
    task: JoinHandle<Result<(), StoreError>>,
}

impl Checkpointer {
    /// Starts the task, which ends with `ownership` at the latest. `stored` holds the partition's names
    /// and where its work begins, which is taken as stored already, though unconfirmed where the store
    /// `loaded` it and [looks back](OffsetStore::looks_back); `report` hears of every attempt,
    /// how long it took, and says how long to wait after one that failed.
    pub fn spawn(
        store: Arc<dyn OffsetStore>,
        ownership: PartitionOwnership,
        stored: Checkpoint,
        loaded: Option<Offset>,
        interval: Duration,
        report: impl FnMut(Outcome<'_>, Duration) -> Duration + Send + 'static,
    ) -> Self {
        let (progress, watched) = watch::channel(stored.position());
        let unconfirmed = loaded.is_some() && store.looks_back();
        let standing = if unconfirmed { Standing::Unconfirmed } else { Standing::Confirmed };
        let (told, standing) = watch::channel(standing);
        let keeper = Keeper {
            store,
            ownership,
            stored,
            stored_at: Instant::now(),
            before: if unconfirmed { expected(loaded) } else { Vec::new() },
            standing: told,
            in_doubt_until: None,
            interval,
            report,
        };
        Self { progress, standing, task: tokio::spawn(keeper.run(watched).boxed()) }
    }

    /// The standing of the place where work began.
    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Returns once the place where work began is confirmed or overtaken; perhaps never.
    pub async fn decided(&self) {
        let mut standing = self.standing.clone();
        if standing.wait_for(|standing| !matches!(standing, Standing::Unconfirmed)).await.is_err() {
            std::future::pending().await
        }
    }

    /// Returns once it turns out that the store has another offset; perhaps never.
    pub async fn overtaken(&self) -> Error {
        let mut standing = self.standing.clone();
        loop {
            if let Standing::Overtaken(error) = &*standing.borrow_and_update() {
                return error.clone();
            }
            if standing.changed().await.is_err() {
                std::future::pending().await
            }
        }
    }

    /// Notes that every record before `next` is done. Steps back are ignored.
    pub fn advance(&self, next: Position) {
        self.progress.send_if_modified(|done| {
            let ahead = next.offset > done.offset;
            if ahead {
                *done = next;
            }
            ahead
        });
    }

    /// Begins anew at a place that may lie before what is stored: the log has changed.
    pub fn restart_at(&self, position: Position) {
        self.progress.send_replace(position);
    }

    /// Stores what is not stored yet, now; tried again for as long as the failure is a broker's and
    /// passing.
    ///
    /// # Errors
    /// Where that fails; what was stored before stays.
    pub async fn finish(self) -> Result<(), StoreError> {
        drop(self.progress);
        self.task.await.unwrap_or_else(|error| {
            let source = std::io::Error::other(error);
            Err(StoreError::Io { doing: "store the last checkpoint in", path: "the offset store".into(), source })
        })
    }
}

struct Keeper<R> {
    store: Arc<dyn OffsetStore>,
    ownership: PartitionOwnership,
    stored: Checkpoint,
    stored_at: Instant,
    /// Until the place where work began is confirmed: what the store may have.
    before: Vec<Option<Offset>>,
    standing: watch::Sender<Standing>,
    /// Until then what is stored may be overtaken by an earlier attempt, and is stored again.
    in_doubt_until: Option<Instant>,
    interval: Duration,
    report: R,
}

impl<R: FnMut(Outcome<'_>, Duration) -> Duration> Keeper<R> {
    async fn run(mut self, mut progress: watch::Receiver<Position>) -> Result<(), StoreError> {
        let ownership = self.ownership.clone();
        tokio::select! {
            biased;
            () = ownership.ended() => Err(self.not_held()),
            result = self.keep_up(&mut progress) => result,
        }
    }

    async fn keep_up(&mut self, progress: &mut watch::Receiver<Position>) -> Result<(), StoreError> {
        // What is unconfirmed is stored at once, as it is: there is nothing to wait for.
        let mut failed = !self.before.is_empty();
        let mut due = if failed { Instant::now() } else { Instant::now() + self.interval };
        loop {
            let open = self.wait(progress, due, failed).await;
            let next = *progress.borrow_and_update();
            match self.keep(next, open).await {
                Err((error, _)) if error.overtaken().is_some() => return Err(error),
                Ok(()) if open => {
                    failed = false;
                    due = Instant::now() + self.interval;
                }
                // Tried again with the progress made meanwhile.
                Err((_, pause)) if open => {
                    failed = true;
                    due = Instant::now() + pause.max(self.interval);
                }
                Err((error, pause)) if error.passes() => {
                    failed = true;
                    sleep(pause).await;
                }
                last => return last.map_err(|(error, _)| error),
            }
        }
    }

    /// Waits until something is to be stored, and not before `due`. False as soon as nobody can
    /// tell of progress any more: what is stored then is the last.
    async fn wait(&mut self, progress: &mut watch::Receiver<Position>, due: Instant, failed: bool) -> bool {
        if !failed {
            let told = match self.refresh_interval() {
                Some(interval) => timeout(interval, progress.changed()).await.unwrap_or(Ok(())),
                None => progress.changed().await,
            };
            if told.is_err() {
                return false;
            }
        }
        tokio::select! {
            biased;
            () = closed(progress) => false,
            () = sleep_until(due) => true,
        }
    }

    /// Stores a place that is not stored yet, or not confirmed, or whose store will forget it soon. At the
    /// end only what is not stored.
    async fn keep(&mut self, next: Position, open: bool) -> Result<(), (StoreError, Duration)> {
        let in_doubt = self.is_in_doubt();
        let is_stored = next == self.stored.position();
        let stale = self.refresh_interval().is_some_and(|interval| self.stored_at.elapsed() >= interval);
        let wanted = if open { stale || !self.before.is_empty() } else { stale && in_doubt };
        if is_stored && !wanted {
            return Ok(());
        }
        // What is merely refreshed may have been set by others meanwhile.
        if is_stored && self.before.is_empty() && !in_doubt {
            self.before = expected(Some(next.offset));
        }
        let checkpoint = self.stored.clone().at(next);
        self.ownership.held().await; // a lease that ran out may be renewed
        let begun = Instant::now();
        let result = match &self.before[..] {
            [] => self.store.store(&checkpoint, &self.ownership).await,
            before => self.store.store_over(&checkpoint, before, &self.ownership).await,
        };
        if let Some(overtaken) = result.as_ref().err().and_then(StoreError::overtaken) {
            self.standing.send_replace(Standing::Overtaken(overtaken.clone()));
            return result.map_err(|error| (error, Duration::ZERO));
        }
        let pause = (self.report)(result.as_ref().map(|()| &checkpoint), begun.elapsed());
        if let Err(error) = result {
            if error.leaves_doubt() {
                self.in_doubt_until = Some(Instant::now() + LATE);
                if !self.before.is_empty() {
                    self.before.push(Some(checkpoint.next_offset));
                }
            }
            return Err((error, pause));
        }
        self.before.clear();
        self.standing.send_if_modified(|standing| {
            let news = matches!(standing, Standing::Unconfirmed);
            *standing = Standing::Confirmed;
            news
        });
        self.stored = checkpoint;
        self.stored_at = Instant::now();
        Ok(())
    }

    fn is_in_doubt(&self) -> bool {
        self.in_doubt_until.is_some_and(|until| Instant::now() < until)
    }

    /// The time after which what is stored already is stored again.
    fn refresh_interval(&self) -> Option<Duration> {
        if self.is_in_doubt() { Some(self.interval) } else { self.store.refresh_interval() }
    }

    fn not_held(&self) -> StoreError {
        StoreError::NotHeld { topic: self.stored.topic.clone(), partition: self.stored.partition }
    }
}

/// The offsets that a store that told this one may have. One that has none by now has forgotten it: that is no reason
/// to begin elsewhere.
fn expected(told: Option<Offset>) -> Vec<Option<Offset>> {
    vec![told, None]
}

/// Waits until nobody can tell of progress any more, whatever is told before.
async fn closed(progress: &mut watch::Receiver<Position>) {
    while progress.changed().await.is_ok() {}
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;

    use futures::FutureExt;
    use futures::future::BoxFuture;

    use super::*;
    use crate::kafka::{Cause, Error};
    use crate::record::Offset;

    /// Keeps what it is given, and fails as often as it is told to.
    #[derive(Default)]
    struct Memory {
        stored: Mutex<Vec<i64>>,
        failures: Mutex<u32>,
        /// Answers that are lost.
        unanswered: Mutex<u32>,
    }

    impl OffsetStore for Memory {
        fn load<'a>(&'a self, _: &'a str, _: i32) -> BoxFuture<'a, Result<Option<Checkpoint>, StoreError>> {
            async { Ok(None) }.boxed()
        }

        fn store<'a>(
            &'a self,
            checkpoint: &'a Checkpoint,
            _: &'a PartitionOwnership,
        ) -> BoxFuture<'a, Result<(), StoreError>> {
            let (mut failures, mut unanswered) = (self.failures.lock().unwrap(), self.unanswered.lock().unwrap());
            let result = if *unanswered > 0 {
                *unanswered -= 1;
                let cause = Cause::Timeout(Duration::from_secs(1));
                Err(Error::new("commit offsets of group", "g", cause).into())
            } else if *failures > 0 {
                *failures -= 1;
                Err(StoreError::Io { doing: "write", path: "x".into(), source: io::ErrorKind::StorageFull.into() })
            } else {
                self.stored.lock().unwrap().push(checkpoint.next_offset.0);
                Ok(())
            };
            async { result }.boxed()
        }
    }

    fn spawn(store: &Arc<Memory>) -> Checkpointer {
        spawn_under(store, PartitionOwnership::unlimited())
    }

    fn spawn_under(store: &Arc<Memory>, ownership: PartitionOwnership) -> Checkpointer {
        let first =
            Checkpoint { topic: "t".into(), topic_id: None, partition: 0, next_offset: Offset(10), leader_epoch: None };
        let interval = Duration::from_secs(1);
        let loaded = Some(first.next_offset);
        Checkpointer::spawn(store.clone(), ownership, first, loaded, interval, |_, _| Duration::from_millis(100))
    }

    fn stored(store: &Memory) -> Vec<i64> {
        store.stored.lock().unwrap().clone()
    }

    #[tokio::test(start_paused = true)]
    async fn stores_the_latest_once_an_interval() {
        let store = Arc::new(Memory::default());
        let checkpointer = spawn(&store);
        for offset in 11..=20 {
            checkpointer.advance(Offset(offset).into());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(stored(&store).is_empty());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(stored(&store), [20]);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(stored(&store), [20], "nothing new, nothing written");
        checkpointer.advance(Offset(15).into());
        checkpointer.finish().await.unwrap();
        assert_eq!(stored(&store), [20], "never a step back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_may_step_back() {
        let store = Arc::new(Memory::default());
        let checkpointer = spawn(&store);
        checkpointer.restart_at(Offset(3).into());
        checkpointer.finish().await.unwrap();
        assert_eq!(stored(&store), [3]);
    }

    #[tokio::test(start_paused = true)]
    async fn finishing_stores_at_once() {
        let store = Arc::new(Memory::default());
        let checkpointer = spawn(&store);
        checkpointer.advance(Offset(11).into());
        tokio::task::yield_now().await;
        checkpointer.advance(Offset(12).into());
        let before = Instant::now();
        checkpointer.finish().await.unwrap();
        assert_eq!(stored(&store), [12]);
        assert!(before.elapsed() < Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_tried_again_and_the_last_is_told() {
        let store = Arc::new(Memory::default());
        let checkpointer = spawn(&store);
        *store.failures.lock().unwrap() = 3;
        checkpointer.advance(Offset(11).into());
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(stored(&store), [11]);
        *store.failures.lock().unwrap() = 1;
        checkpointer.advance(Offset(12).into());
        assert!(checkpointer.finish().await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_earlier_attempt_may_overtake_is_stored_again() {
        let store = Arc::new(Memory::default());
        let checkpointer = spawn(&store);
        *store.unanswered.lock().unwrap() = 1;
        checkpointer.advance(Offset(11).into());
        tokio::time::sleep(LATE + Duration::from_secs(5)).await;
        let again = stored(&store);
        assert!(again.len() > 5 && again.iter().all(|offset| *offset == 11), "{again:?}");
        tokio::time::sleep(LATE).await;
        assert_eq!(stored(&store), again, "by then it is certain");
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_of_an_ownership_that_ended_leaves_no_checkpointer_behind() {
        let store = Arc::new(Memory::default());
        let partition = PartitionOwnership::unlimited();
        let (died, next) = (partition.part(), partition.part());
        let left = spawn_under(&store, died.clone());
        *store.failures.lock().unwrap() = u32::MAX;
        left.advance(Offset(11).into());
        drop(left);
        tokio::time::sleep(Duration::from_secs(5)).await;
        died.end();
        *store.failures.lock().unwrap() = 0;
        let checkpointer = spawn_under(&store, next);
        checkpointer.advance(Offset(12).into());
        checkpointer.finish().await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(stored(&store), [12], "nothing of the one that died comes after it");
    }

    #[tokio::test(start_paused = true)]
    async fn stores_nothing_after_its_ownership() {
        let store = Arc::new(Memory::default());
        let ownership = PartitionOwnership::unlimited();
        let checkpointer = spawn_under(&store, ownership.clone());
        checkpointer.advance(Offset(11).into());
        ownership.end();
        assert!(matches!(checkpointer.finish().await, Err(StoreError::NotHeld { .. })));
        assert!(stored(&store).is_empty());
    }
}
