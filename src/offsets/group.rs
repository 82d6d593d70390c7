//! Offsets in the consumer group that everybody's tools look at: `OffsetCommit`, `OffsetFetch`.
//!
//! Checkpoints of all partitions that are due while a commit is under way go together into the
//! next one: one request in flight, so that none overtakes another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use kafka_protocol::ResponseError;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::{Checkpoint, OffsetStore, StoreError};
use crate::broker::Error;
use crate::broker::wire::{Coordinator, GroupOffset, Identity};
use crate::record::TopicId;
use crate::retry::ErrorClass;
use crate::tenure::Tenure;

/// Brokers forget the offsets of a group without members after `offsets.retention.minutes`, seven
/// days unless set otherwise, also those of a topic that is merely quiet.
const REFRESH_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Commits that wait for their turn; one a partition, so that this is never reached.
const QUEUE: usize = 1024;

/// As whom offsets are committed.
#[derive(Debug, Clone)]
pub enum Committer {
    /// As nobody: the coordinator takes that as long as the group has no members.
    Plain,
    /// As a member of the group.
    Member {
        /// Who this is at the moment; `None` while it is no member.
        identity: watch::Receiver<Option<Identity>>,
        /// Told where the coordinator no longer knows the member.
        doubt: Arc<Notify>,
    },
}

/// The group store. Dropped, it ends what is not sent yet.
#[derive(Debug)]
pub struct GroupStore {
    coordinator: Arc<Coordinator>,
    queue: mpsc::Sender<Commit>,
    refresh_interval: Option<Duration>,
}

/// One checkpoint on its way.
#[derive(Debug)]
struct Commit {
    checkpoint: Checkpoint,
    tenure: Tenure,
    done: oneshot::Sender<Result<(), StoreError>>,
}

impl GroupStore {
    /// Keeps offsets with this coordinator, on a connection that is the store's alone.
    pub fn new(coordinator: Coordinator, committer: Committer) -> Self {
        let coordinator = Arc::new(coordinator);
        let (queue, queued) = mpsc::channel(QUEUE);
        let refresh_interval = matches!(committer, Committer::Plain).then_some(REFRESH_INTERVAL);
        tokio::spawn(commit_queued(Arc::clone(&coordinator), committer, queued));
        Self { coordinator, queue, refresh_interval }
    }
}

impl GroupStore {
    /// The checkpoints of these partitions; those without one are left out.
    ///
    /// # Errors
    /// Where the coordinator does not tell them.
    pub async fn list(&self, topic: &str, partitions: &[i32]) -> Result<BTreeMap<i32, Checkpoint>, StoreError> {
        let found = self.coordinator.committed(topic, partitions).await?;
        Ok(found.iter().map(|(partition, found)| (*partition, checkpoint(topic, *partition, found))).collect())
    }
}

impl OffsetStore for GroupStore {
    fn load<'a>(&'a self, topic: &'a str, partition: i32) -> BoxFuture<'a, Result<Option<Checkpoint>, StoreError>> {
        async move {
            let found = self.coordinator.committed(topic, &[partition]).await?.remove(&partition);
            Ok(found.map(|found| checkpoint(topic, partition, &found)))
        }
        .boxed()
    }

    fn store<'a>(&'a self, checkpoint: &'a Checkpoint, tenure: &'a Tenure) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            let (done, outcome) = oneshot::channel();
            let commit = Commit { checkpoint: checkpoint.clone(), tenure: tenure.clone(), done };
            let not_held = || not_held(checkpoint);
            // Both fail only where a later commit of the same partition took this one's place.
            self.queue.send(commit).await.map_err(|_| not_held())?;
            outcome.await.unwrap_or_else(|_| Err(not_held()))
        }
        .boxed()
    }

    fn refresh_interval(&self) -> Option<Duration> {
        self.refresh_interval
    }
}

/// What a failed commit means for trying again. Membership mends itself, or ends the tenure.
pub(super) fn class_of(error: &Error) -> ErrorClass {
    use ResponseError as Code;
    match error.cause {
        crate::broker::Cause::Code(
            Code::RebalanceInProgress | Code::IllegalGeneration | Code::StaleMemberEpoch | Code::FencedMemberEpoch,
        ) => ErrorClass::Transient,
        _ => error.class(),
    }
}

/// Sends what is queued, one request after another.
async fn commit_queued(coordinator: Arc<Coordinator>, committer: Committer, mut queued: mpsc::Receiver<Commit>) {
    while let Some(first) = queued.recv().await {
        // Topics first: there is one, but nothing here depends on that.
        let mut due: BTreeMap<String, BTreeMap<i32, Commit>> = BTreeMap::new();
        let mut next = Some(first);
        while let Some(commit) = next {
            let topic = due.entry(commit.checkpoint.topic.clone()).or_default();
            topic.insert(commit.checkpoint.partition, commit);
            next = queued.try_recv().ok();
        }
        for (topic, commits) in due {
            commit_together(&coordinator, &committer, &topic, commits).await;
        }
    }
}

async fn commit_together(
    coordinator: &Coordinator,
    committer: &Committer,
    topic: &str,
    mut commits: BTreeMap<i32, Commit>,
) {
    let gone: Vec<_> = commits.extract_if(.., |_, commit| !commit.tenure.holds()).collect();
    for (_, commit) in gone {
        let error = not_held(&commit.checkpoint);
        let _ = commit.done.send(Err(error)); // the worker has most likely gone too
    }
    if commits.is_empty() {
        return;
    }
    let offsets = commits.iter().map(|(partition, commit)| (*partition, group_offset(&commit.checkpoint))).collect();
    let identity = match committer {
        Committer::Plain => Ok(None),
        Committer::Member { identity, .. } => identity.borrow().clone().map(Some).ok_or_else(|| {
            Error::code("commit offsets of group", coordinator.group(), ResponseError::RebalanceInProgress)
        }),
    };
    let committed = match identity {
        Ok(identity) => coordinator.commit(identity.as_ref(), topic, &offsets).await,
        Err(error) => Err(error),
    };
    for (partition, commit) in commits {
        let outcome = match &committed {
            Ok(outcomes) => outcomes.get(&partition).copied().unwrap_or(Ok(())),
            Err(error) => {
                let _ = commit.done.send(Err(error.clone().into())); // as above
                continue;
            }
        };
        if let (Err(code), Committer::Member { doubt, .. }) = (outcome, committer)
            && is_expelled(code)
        {
            doubt.notify_one();
        }
        let outcome = outcome.map_err(|code| {
            let on = format!("{} for {topic}/{partition}", coordinator.group());
            StoreError::from(Error::code("commit offsets of group", on, code))
        });
        let _ = commit.done.send(outcome); // as above
    }
}

/// Whether a code says that the coordinator no longer knows the member.
fn is_expelled(code: ResponseError) -> bool {
    use ResponseError as Code;
    matches!(code, Code::UnknownMemberId | Code::IllegalGeneration | Code::FencedInstanceId | Code::FencedMemberEpoch)
}

fn not_held(checkpoint: &Checkpoint) -> StoreError {
    StoreError::NotHeld { topic: checkpoint.topic.clone(), partition: checkpoint.partition }
}

/// The group keeps no topic ids: the note beside the offset does.
const TOPIC_ID: &str = "topic-id=";

fn group_offset(checkpoint: &Checkpoint) -> GroupOffset {
    let metadata = checkpoint.topic_id.map_or_else(String::new, |id| format!("{TOPIC_ID}{id}"));
    GroupOffset { offset: checkpoint.next_offset, leader_epoch: checkpoint.leader_epoch, metadata }
}

fn checkpoint(topic: &str, partition: i32, found: &GroupOffset) -> Checkpoint {
    let topic_id = found.metadata.strip_prefix(TOPIC_ID).and_then(|id| id.parse::<TopicId>().ok());
    Checkpoint {
        topic: topic.to_owned(),
        topic_id,
        partition,
        next_offset: found.offset,
        leader_epoch: found.leader_epoch,
    }
}
