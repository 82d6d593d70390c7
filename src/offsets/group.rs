//! Offsets in the consumer group that everybody's tools look at: `OffsetCommit`, `OffsetFetch`.
//!
//! Checkpoints of all partitions that are due while a commit is under way go together into the
//! next one: one request in flight, so that none overtakes another.

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

pub use self::rivals::Watched;
use self::rivals::{Expected, Rivals};
use super::{Checkpoint, OffsetStore, StoreError};
use crate::broker::wire::{Committed, Coordinator, GroupOffset, Identity};
use crate::broker::{Cause, Error};
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

impl Committer {
    /// As whom to commit to `group` now.
    ///
    /// # Errors
    /// While this is no member: what the coordinator would most likely say.
    pub fn identity(&self, group: &str) -> Result<Option<Identity>, Error> {
        match self {
            Self::Plain => Ok(None),
            Self::Member { identity, .. } => identity.borrow().clone().map(Some).ok_or_else(|| no_member(group)),
        }
    }

    /// Why a commit was refused. To who is no member, a coordinator says that it doesn't know the member where it means
    /// that there are others.
    fn cause(&self, group: &str, code: ResponseError) -> Cause {
        match (self, code) {
            (Self::Plain, ResponseError::UnknownMemberId) => Cause::GroupHasMembers(group.to_owned()),
            (_, code) => Cause::Code(code),
        }
    }

    /// A commit was refused. Where that says that the member is none any more, its membership is
    /// told.
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

/// Offsets of one topic, by partition.
type Offsets = BTreeMap<i32, GroupOffset>;

/// Where a group's offsets are kept: with its coordinator, or a test's script.
trait Group: std::fmt::Debug + Send + Sync {
    fn id(&self) -> &str;

    /// Looks up who keeps the group, where that is not known.
    fn reach(&self) -> BoxFuture<'_, Result<(), Error>>;

    fn commit<'a>(
        &'a self,
        identity: Option<&'a Identity>,
        topic: &'a str,
        offsets: &'a Offsets,
    ) -> BoxFuture<'a, Result<Committed, Error>>;

    fn committed<'a>(&'a self, topic: &'a str, partitions: &'a [i32]) -> BoxFuture<'a, Result<Offsets, Error>>;
}

impl Group for Coordinator {
    fn id(&self) -> &str {
        self.group()
    }

    fn reach(&self) -> BoxFuture<'_, Result<(), Error>> {
        async { self.connection().await.map(drop) }.boxed()
    }

    fn commit<'a>(
        &'a self,
        identity: Option<&'a Identity>,
        topic: &'a str,
        offsets: &'a Offsets,
    ) -> BoxFuture<'a, Result<Committed, Error>> {
        Coordinator::commit(self, identity, topic, offsets).boxed()
    }

    fn committed<'a>(&'a self, topic: &'a str, partitions: &'a [i32]) -> BoxFuture<'a, Result<Offsets, Error>> {
        Coordinator::committed(self, topic, partitions).boxed()
    }
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
        Self::with(Arc::new(coordinator), committer, None)
    }

    /// The same, and looks whether another process commits these offsets too, where no membership keeps it from that.
    pub fn watching(coordinator: Coordinator, committer: Committer, watched: Watched) -> Self {
        let watched = matches!(committer, Committer::Plain).then_some(watched);
        Self::with(Arc::new(coordinator), committer, watched)
    }

    fn with(group: Arc<dyn Group>, committer: Committer, watched: Option<Watched>) -> Self {
        let (queue, queued) = mpsc::channel(QUEUE);
        let refresh_interval = matches!(committer, Committer::Plain).then_some(REFRESH_INTERVAL);
        let expected = Expected::default();
        let rivals = Rivals::new(watched, expected.clone());
        tokio::spawn(commit_queued(Arc::clone(&group), committer, rivals, queued).boxed());
        Self { group, queue, refresh_interval, expected }
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
    committer: Committer,
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
            // What an earlier tenure left behind never takes the place of a later one's.
            if commit.tenure.has_ended() {
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
    committer: &Committer,
    rivals: &mut Rivals,
    topic: &str,
    mut commits: BTreeMap<i32, Commit>,
) {
    // Whose each partition is, and who this is, is asked as late as can be: finding the coordinator
    // may take until both have changed.
    let reached = group.reach().await;
    if reached.is_ok() {
        rivals.look(group).await;
    }
    let gone: Vec<_> = commits.extract_if(.., |_, commit| !commit.tenure.holds()).collect();
    for (_, commit) in gone {
        // A lease that ran out may be renewed: then it is tried again.
        let ended = commit.tenure.has_ended();
        let error = if ended { not_held(&commit.checkpoint) } else { no_member(group.id()).into() };
        commit.end(Err(error));
    }
    if commits.is_empty() {
        return;
    }
    let offsets =
        commits.iter().map(|(partition, commit)| (*partition, rivals.signed(group_offset(&commit.checkpoint))));
    let offsets = offsets.collect();
    let committed = match reached.and_then(|()| committer.identity(group.id())) {
        Ok(identity) => group.commit(identity.as_ref(), topic, &offsets).await,
        Err(error) => Err(error),
    };
    for (partition, commit) in commits {
        let outcome = match &committed {
            Ok(outcomes) => outcomes.get(&partition).copied().unwrap_or(Err(ResponseError::UnknownServerError)),
            Err(error) => {
                commit.end(Err(error.clone().into()));
                continue;
            }
        };
        match outcome {
            Ok(()) => rivals.committed(topic, partition),
            Err(code) => committer.refused(code),
        }
        let outcome = outcome.map_err(|code| {
            let on = format!("{} for {topic}/{partition}", group.id());
            StoreError::from(Error { doing: "commit offsets of group", on, cause: committer.cause(group.id(), code) })
        });
        commit.end(outcome);
    }
}

impl Commit {
    /// Says what became of it.
    fn end(self, outcome: Result<(), StoreError>) {
        let _ = self.done.send(outcome); // whoever asked may have ended with its tenure
    }
}

/// Whether a code says that the coordinator no longer knows the member.
fn is_expelled(code: ResponseError) -> bool {
    use ResponseError as Code;
    matches!(code, Code::UnknownMemberId | Code::IllegalGeneration | Code::FencedInstanceId | Code::FencedMemberEpoch)
}

/// What the coordinator would most likely say to a commit now.
fn no_member(group: &str) -> Error {
    Error::code("commit offsets of group", group, ResponseError::RebalanceInProgress)
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

fn checkpoint(topic: &str, partition: i32, found: &GroupOffset) -> Checkpoint {
    let topic_id = found.metadata.split(' ').find_map(|word| word.strip_prefix(TOPIC_ID)?.parse::<TopicId>().ok());
    Checkpoint {
        topic: topic.to_owned(),
        topic_id,
        partition,
        next_offset: found.offset,
        leader_epoch: found.leader_epoch,
    }
}
