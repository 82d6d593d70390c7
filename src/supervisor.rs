//! Turns the assignment into running workers: starts those of new partitions, restarts what died,
//! drains what is revoked, drops what is lost, and drains all of them at the end.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use futures::FutureExt;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::assignment::{Assigned, AssignmentError, Change, Changes};
use crate::offsets::StoreError;
use crate::ownership::PartitionOwnership;
use crate::worker::WorkerFactory;

/// The pause before a worker that died is restarted.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// The time that leaving a group may take once all workers have ended.
const LEAVE_GRACE: Duration = Duration::from_secs(2);

/// Keeps the workers of one source topic.
pub struct Supervisor {
    factory: WorkerFactory,
    workers: JoinSet<Result<(), StoreError>>,
    /// The partition of each task.
    tasks: HashMap<Id, i32>,
    partitions: BTreeMap<i32, Partition>,
    /// Set once all is to be given up.
    draining: bool,
}

/// A partition that is this instance's, and its worker.
struct Partition {
    assigned: Assigned,
    /// The worker's own part of the partition's ownership: what it leaves behind where it dies ends with it.
    ownership: PartitionOwnership,
    stop: CancellationToken,
    task: AbortHandle,
    /// Set once it is to be given up.
    revoked: bool,
}

/// The outcome of draining.
#[derive(Debug, Default)]
pub struct Drained {
    /// Workers that did not finish, be it that there was no time or that their partition was lost meanwhile: their
    /// last checkpoint is not stored.
    pub unfinished: usize,
    /// Checkpoints that could not be stored at the end.
    pub unstored: Vec<StoreError>,
    /// The reason why there will be no assignment any more, where that came before the stop.
    pub failed: Option<AssignmentError>,
}

impl Supervisor {
    /// Begins without workers.
    pub fn new(factory: WorkerFactory) -> Self {
        Self { factory, workers: JoinSet::new(), tasks: HashMap::new(), partitions: BTreeMap::new(), draining: false }
    }

    /// Runs workers for what is assigned until `stop`, then drains them within `timeout`. Ends
    /// before only where the assignment does.
    pub async fn run(mut self, mut changes: Changes, stop: &CancellationToken, timeout: Duration) -> Drained {
        let mut drained = Drained::default();
        let ended_by_itself = stop.run_until_cancelled(self.follow(&mut changes, &mut drained)).await.is_some();
        changes.leave();
        self.draining = true;
        let deadline = sleep_until(Instant::now() + timeout);
        tokio::select! {
            () = self.follow(&mut changes, &mut drained) => {}
            () = deadline => {
                drained.unfinished += self.partitions.len();
                self.workers.shutdown().await;
                changes.released(std::mem::take(&mut self.partitions).into_keys().collect());
                // The rest is the group's, which would else wait for this member's session to end.
                let _ = tokio::time::timeout(LEAVE_GRACE, async { while changes.next().await.is_some() {} }).await;
            }
        }
        let ended = tokio::time::timeout(LEAVE_GRACE, changes.ended()).await.unwrap_or(Ok(()));
        drained.failed = ended.err().filter(|_| ended_by_itself);
        drained
    }

    /// Follows the assignment until it ends, and all workers with it.
    async fn follow(&mut self, changes: &mut Changes, drained: &mut Drained) {
        let mut open = true;
        while open || !self.workers.is_empty() {
            tokio::select! {
                change = changes.next(), if open => match change {
                    Some(Change::Assigned(partitions)) => self.assign(partitions),
                    Some(Change::Revoked(partitions)) => self.revoke(&partitions, changes),
                    Some(Change::Lost(partitions)) => self.lose(&partitions, drained),
                    None => {
                        open = false;
                        let all = self.partitions.keys().copied().collect();
                        self.revoke(&all, changes);
                    }
                },
                Some(ended) = self.workers.join_next_with_id(), if !self.workers.is_empty() => {
                    self.note_ended(ended, changes, drained);
                }
            }
        }
    }

    fn assign(&mut self, partitions: BTreeMap<i32, Assigned>) {
        for (partition, assigned) in partitions {
            info!(partition, "partition assigned");
            self.start(partition, assigned, None);
        }
    }

    /// Starts a partition's worker, at once or, where one `before` it has died, after a pause: by then that
    /// one's checkpointer has stored what was done, or never will.
    fn start(&mut self, partition: i32, assigned: Assigned, before: Option<PartitionOwnership>) {
        let stop = CancellationToken::new();
        let ownership = assigned.ownership.part();
        let worker = self.factory.make(partition, ownership.clone(), assigned.topic_id, assigned.is_new);
        let stopped = stop.clone();
        let task = self.workers.spawn(
            async move {
                if let Some(before) = before {
                    let paused = stopped.run_until_cancelled(sleep(RESTART_PAUSE)).await;
                    before.end();
                    if paused.is_none() {
                        return Ok(());
                    }
                }
                // In a box of its own: the layout of all that it awaits ends here for the compiler.
                Box::pin(worker.run(stopped)).await
            }
            .boxed(),
        );
        self.tasks.insert(task.id(), partition);
        self.partitions.insert(partition, Partition { assigned, ownership, stop, task, revoked: false });
    }

    fn revoke(&mut self, partitions: &BTreeSet<i32>, changes: &Changes) {
        let (ours, others): (BTreeSet<i32>, BTreeSet<i32>) =
            partitions.iter().partition(|partition| self.partitions.contains_key(partition));
        for partition in &ours {
            if let Some(found) = self.partitions.get_mut(partition) {
                found.revoked = true;
                found.stop.cancel();
            }
        }
        if !ours.is_empty() {
            info!(partitions = ?ours, "partitions revoked: finishing what is in flight");
        }
        // Without a worker there is nothing to finish.
        if !others.is_empty() {
            changes.released(others);
        }
    }

    /// The ownerships have ended, and the workers with them; what they had in flight is dropped here.
    fn lose(&mut self, partitions: &BTreeSet<i32>, drained: &mut Drained) {
        if partitions.is_empty() {
            return;
        }
        warn!(?partitions, "partitions lost: what is in flight will be read again");
        if self.draining {
            drained.unfinished += partitions.iter().filter(|lost| self.partitions.contains_key(lost)).count();
        }
        for lost in partitions.iter().filter_map(|partition| self.partitions.remove(partition)) {
            lost.assigned.ownership.end();
            lost.task.abort();
        }
    }

    fn note_ended(
        &mut self,
        ended: Result<(Id, Result<(), StoreError>), JoinError>,
        changes: &Changes,
        drained: &mut Drained,
    ) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let Some(partition) = self.tasks.remove(&id) else { return };
        // Lost meanwhile, perhaps assigned again to another task.
        if self.partitions.get(&partition).is_none_or(|found| found.task.id() != id) {
            return;
        }
        let Some(Partition { assigned, ownership, revoked, .. }) = self.partitions.remove(&partition) else { return };
        // Lost, which is about to be told: nothing is to be started again or given up.
        if assigned.ownership.has_ended() {
            drained.unfinished += usize::from(self.draining);
            return;
        }
        if !revoked {
            error!(partition, "the partition's worker ended unexpectedly: restarting it");
            self.start(partition, assigned, Some(ownership));
            return;
        }
        match ended {
            Ok((_, Ok(()))) => {}
            Ok((_, Err(error))) => {
                warn!(partition, %error, "the last checkpoint was not stored: what came after the one before will be read again");
                drained.unstored.push(error);
            }
            Err(_) => drained.unfinished += 1,
        }
        assigned.ownership.end();
        info!(partition, "partition released");
        changes.released(BTreeSet::from([partition]));
    }
}
