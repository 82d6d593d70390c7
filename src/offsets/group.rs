//! Offsets in the consumer group that everybody's tools look at: `OffsetCommit`, `OffsetFetch`.
//!
//! Checkpoints of all partitions that are due while a commit is under way go together into the
//! next one: one request in flight, so that none overtakes another.

mod keeper;
mod rivals;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use kafka_protocol::ResponseError;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use self::keeper::{Before, Group, had};
pub use self::rivals::Watched;
use self::rivals::{Expected, Rivals};
use super::{Checkpoint, OffsetStore, StoreError};
use crate::kafka::{Cause, Error};
use crate::ownership::PartitionOwnership;
use crate::record::Offset;
use crate::retry::ErrorClass;
use crate::topic::TopicId;
use kafka_client::{Coordinator, GroupOffset, Identity, OffsetsHeld};

/// Brokers forget the offsets of a group without members after `offsets.retention.minutes`, seven
/// days unless set otherwise, also those of a topic that is merely quiet.
const REFRESH_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Commits that wait for their turn; one a partition, so that this is never reached.
const QUEUE: usize = 1024;

/// Identity that offsets are committed with.
#[derive(Debug, Clone)]
pub enum CommitIdentity {
    /// None: the coordinator takes that as long as the group has no members.
    Plain,
    /// A member's of the group.
    Member {
        /// The member at the moment; `None` while there is none.
        identity: watch::Receiver<Option<Identity>>,
        /// Notified where the coordinator no longer knows the member.
        doubt: Arc<Notify>,
    },
}

impl CommitIdentity {
    /// Returns the identity to commit to `group` with now.
    ///
    /// # Errors
    /// This is no member now: the error is what the coordinator would most likely say.
    pub fn identity(&self, group: &str) -> Result<Option<Identity>, Error> {
        match self {
            Self::Plain => Ok(None),
            Self::Member { identity, .. } => identity.borrow().clone().map(Some).ok_or_else(|| no_member(group)),
        }
    }

    /// Returns why a commit was refused. A coordinator says that it doesn't know the member also to who is none, where it
    /// means that there are others.
    fn cause(&self, group: &str, code: ResponseError) -> Cause {
        match (self, code) {
            (Self::Plain, ResponseError::UnknownMemberId) => Cause::GroupHasMembers(group.to_owned()),
            (_, code) => Cause::Code(code),
        }
    }

    /// Notes that a commit was refused. Where that says that the member is none any more, its membership hears of it.
    pub fn refused(&self, code: ResponseError) {
        if let Self::Member { doubt, .. } = self
            && is_expelled(code)
        {
            doubt.notify_one();
        }
    }
}

/// The group store. Dropped, it ends what is not sent yet.
#[derive(Debug)]
pub struct GroupStore {
    group: Arc<dyn Group>,
    queue: mpsc::Sender<Commit>,
    refresh_interval: Option<Duration>,
    expected: Expected,
}

/// One checkpoint on its way.
#[derive(Debug)]
struct Commit {
    checkpoint: Checkpoint,
    /// The offsets that it may take the place of, where that is to be confirmed.
    before: Option<Vec<Option<Offset>>>,
    ownership: PartitionOwnership,
    done: oneshot::Sender<Result<(), StoreError>>,
}

impl GroupStore {
    /// Keeps offsets with this coordinator.
    pub fn new(coordinator: impl Into<Arc<Coordinator>>, committer: CommitIdentity) -> Self {
        Self::with(coordinator.into(), committer, None)
    }

    /// Like [`GroupStore::new`], and looks whether another process commits these offsets too, where no membership keeps it from that.
    pub fn watching(coordinator: impl Into<Arc<Coordinator>>, committer: CommitIdentity, watched: Watched) -> Self {
        let watched = matches!(committer, CommitIdentity::Plain).then_some(watched);
        Self::with(coordinator.into(), committer, watched)
    }

    fn with(group: Arc<dyn Group>, committer: CommitIdentity, watched: Option<Watched>) -> Self {
        let (queue, queued) = mpsc::channel(QUEUE);
        let refresh_interval = matches!(committer, CommitIdentity::Plain).then_some(REFRESH_INTERVAL);
        let expected = Expected::default();
        let rivals = Rivals::new(watched, expected.clone());
        tokio::spawn(commit_queued(Arc::clone(&group), committer, rivals, queued).boxed());
        Self { group, queue, refresh_interval, expected }
    }

    async fn enqueue(
        &self,
        checkpoint: &Checkpoint,
        before: Option<Vec<Option<Offset>>>,
        ownership: &PartitionOwnership,
    ) -> Result<(), StoreError> {
        let (done, outcome) = oneshot::channel();
        let commit = Commit { checkpoint: checkpoint.clone(), before, ownership: ownership.clone(), done };
        let not_held = || not_held(checkpoint);
        // Both fail only where a later commit of the same partition took this one's place.
        self.queue.send(commit).await.map_err(|_| not_held())?;
        outcome.await.unwrap_or_else(|_| Err(not_held()))
    }

    /// The checkpoints of these partitions; those without one are left out.
    ///
    /// # Errors
    /// Where the coordinator does not tell them.
    pub async fn list(&self, topic: &str, partitions: &[i32]) -> Result<BTreeMap<i32, Checkpoint>, StoreError> {
        let found = self.group.committed(topic, partitions).await?;
        Ok(found.iter().map(|(partition, found)| (*partition, checkpoint(topic, *partition, found))).collect())
    }
}

impl OffsetStore for GroupStore {
    fn load<'a>(&'a self, topic: &'a str, partition: i32) -> BoxFuture<'a, Result<Option<Checkpoint>, StoreError>> {
        async move {
            let found = self.group.committed(topic, &[partition]).await?;
            self.expected.loaded(topic, partition, found.get(&partition));
            Ok(found.get(&partition).map(|found| checkpoint(topic, partition, found)))
        }
        .boxed()
    }

    fn store<'a>(
        &'a self,
        checkpoint: &'a Checkpoint,
        ownership: &'a PartitionOwnership,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.enqueue(checkpoint, None, ownership).boxed()
    }

    /// A broker that slept through the election of another coordinator tells offsets of before, and can't
    /// write one down. So what the connection says that then takes the commit is what counts.
    fn store_over<'a>(
        &'a self,
        checkpoint: &'a Checkpoint,
        before: &'a [Option<Offset>],
        ownership: &'a PartitionOwnership,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.enqueue(checkpoint, Some(before.to_vec()), ownership).boxed()
    }

    fn looks_back(&self) -> bool {
        true
    }

    fn refresh_interval(&self) -> Option<Duration> {
        self.refresh_interval
    }
}

/// The meaning of a failed commit for trying again. Membership is renewed, or ends the ownership.
pub(super) fn class_of(error: &Error) -> ErrorClass {
    use ResponseError as Code;
    match error.cause {
        Cause::Code(
            Code::RebalanceInProgress
            | Code::UnknownMemberId
            | Code::IllegalGeneration
            | Code::StaleMemberEpoch
            | Code::FencedMemberEpoch,
        ) => ErrorClass::Transient,
        _ => error.class(),
    }
}

/// Sends what is queued, one request after another.
async fn commit_queued(
    group: Arc<dyn Group>,
    committer: CommitIdentity,
    mut rivals: Rivals,
    mut queued: mpsc::Receiver<Commit>,
) {
    loop {
        let first = tokio::select! {
            biased;
            first = queued.recv() => first,
            () = rivals.due() => {
                rivals.look(&*group).await;
                continue;
            }
        };
        let Some(first) = first else { return };
        // Topics first: there is one, but nothing here depends on that.
        let mut due: BTreeMap<String, BTreeMap<i32, Commit>> = BTreeMap::new();
        let mut next = Some(first);
        while let Some(commit) = next {
            let topic = due.entry(commit.checkpoint.topic.clone()).or_default();
            // What an earlier ownership left behind never takes the place of a later one's.
            if commit.ownership.has_ended() {
                let error = not_held(&commit.checkpoint);
                commit.end(Err(error));
            } else {
                topic.insert(commit.checkpoint.partition, commit);
            }
            next = queued.try_recv().ok();
        }
        for (topic, commits) in due {
            commit_together(&*group, &committer, &mut rivals, &topic, commits).await;
        }
    }
}

async fn commit_together(
    group: &dyn Group,
    committer: &CommitIdentity,
    rivals: &mut Rivals,
    topic: &str,
    mut commits: BTreeMap<i32, Commit>,
) {
    rivals.look(group).await;
    // Whose each partition is, and who this is, is asked as late as can be: finding the coordinator,
    // and its pauses, may take until both have changed.
    let who = || committer.identity(group.id()).map_err(kafka_client::Error::from);
    let offsets = |commits: &BTreeMap<i32, Commit>| -> OffsetsHeld {
        let held = |commit: &Commit| (rivals.signed(group_offset(&commit.checkpoint)), commit.ownership.permit());
        commits.iter().map(|(partition, commit)| (*partition, held(commit))).collect()
    };
    let committed = loop {
        let before = |(partition, commit): (&i32, &Commit)| Some((*partition, commit.before.clone()?));
        let before: Before = commits.iter().filter_map(before).collect();
        if before.is_empty() {
            break group.commit(&who, topic, &offsets(&commits)).await;
        }
        let found = match group.commit_over(&who, topic, &offsets(&commits), &before).await {
            Ok(Ok(committed)) => break Ok(committed),
            Ok(Err(found)) => found,
            Err(error) => break Err(error),
        };
        // The others are committed without these.
        let is_overtaken = |partition: &i32, commit: &mut Commit| {
            commit.before.as_ref().is_some_and(|before| !had(&found, *partition, before))
        };
        for (partition, commit) in commits.extract_if(.., is_overtaken).collect::<Vec<_>>() {
            let begun_at = commit.before.as_ref().and_then(|before| before.first().copied().flatten());
            let found = found.get(&partition).map(|found| found.offset);
            let cause = Cause::Overtaken { begun_at, found };
            commit.end(Err(Error::new("commit", format!("{topic}/{partition}"), cause).into()));
        }
        if commits.is_empty() {
            return;
        }
    };
    for (partition, commit) in commits {
        let outcome = match &committed {
            Ok(outcomes) => match outcomes.get(&partition) {
                Some(outcome) => *outcome,
                // A lease that ran out may be renewed: then it is tried again.
                None if commit.ownership.has_ended() => {
                    let error = not_held(&commit.checkpoint);
                    commit.end(Err(error));
                    continue;
                }
                None => Err(ResponseError::RebalanceInProgress),
            },
            Err(error) => {
                let error = match error.cause {
                    Cause::NotHeld if commit.ownership.has_ended() => not_held(&commit.checkpoint),
                    Cause::NotHeld => no_member(group.id()).into(),
                    _ => error.clone().into(),
                };
                commit.end(Err(error));
                continue;
            }
        };
        match outcome {
            Ok(()) => rivals.committed(topic, partition),
            Err(code) => committer.refused(code),
        }
        let outcome = outcome.map_err(|code| {
            let on = format!("{} for {topic}/{partition}", group.id());
            StoreError::from(Error::new(DOING, on, committer.cause(group.id(), code)))
        });
        commit.end(outcome);
    }
}

const DOING: &str = "commit offsets of group";

impl Commit {
    /// Says what became of it.
    fn end(self, outcome: Result<(), StoreError>) {
        let _ = self.done.send(outcome); // whoever asked may have ended with its ownership
    }
}

/// Tells whether a code says that the coordinator no longer knows the member.
fn is_expelled(code: ResponseError) -> bool {
    use ResponseError as Code;
    matches!(code, Code::UnknownMemberId | Code::IllegalGeneration | Code::FencedInstanceId | Code::FencedMemberEpoch)
}

/// The error that the coordinator would most likely give for a commit now.
fn no_member(group: &str) -> Error {
    Error::code(DOING, group, ResponseError::RebalanceInProgress)
}

fn not_held(checkpoint: &Checkpoint) -> StoreError {
    StoreError::NotHeld { topic: checkpoint.topic.clone(), partition: checkpoint.partition }
}

/// The group keeps no topic ids: the note beside the offset does.
const TOPIC_ID: &str = "topic-id=";

/// A checkpoint as a group keeps it.
pub fn group_offset(checkpoint: &Checkpoint) -> GroupOffset {
    let metadata = checkpoint.topic_id.map_or_else(String::new, |id| format!("{TOPIC_ID}{id}"));
    GroupOffset { offset: checkpoint.next_offset, leader_epoch: checkpoint.leader_epoch, metadata }
}

/// The checkpoint that a group keeps as this.
pub fn checkpoint(topic: &str, partition: i32, found: &GroupOffset) -> Checkpoint {
    let topic_id = found.metadata.split(' ').find_map(|word| word.strip_prefix(TOPIC_ID)?.parse::<TopicId>().ok());
    Checkpoint {
        topic: topic.to_owned(),
        topic_id,
        partition,
        next_offset: found.offset,
        leader_epoch: found.leader_epoch,
    }
}
