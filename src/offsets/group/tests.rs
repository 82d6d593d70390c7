//! The rule: no offset is committed after its ownership has ended, none goes backwards, and none is
//! taken as done that the coordinator has not taken.

use std::collections::VecDeque;
use std::sync::Mutex;

use kafka_client::{Committed, Committing};
use proptest::prelude::*;

use super::super::{Checkpointer, Standing};
use super::keeper::Offsets;
use super::*;
use crate::ownership::SessionLease;
use crate::record::Offset;

/// What becomes of the next commit.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Taken,
    /// It has its effect, and nobody hears of it.
    AnswerLost,
    RequestLost,
    Refused(ResponseError),
    /// Taken, after so many milliseconds.
    Slow(u64),
    /// The coordinator is found after so many milliseconds.
    Hidden(u64),
    /// The answer leaves out what was asked.
    LeftOut,
}

/// A partition, its offset, by whom, and whether it was taken.
type Came = (i32, i64, Option<Identity>, bool);

/// A coordinator that does as it is told.
#[derive(Debug, Default)]
struct Script {
    fates: Mutex<VecDeque<Fate>>,
    came: Mutex<Vec<Came>>,
}

impl Script {
    fn of(fates: &[Fate]) -> Arc<Self> {
        Arc::new(Self { fates: Mutex::new(fates.iter().copied().collect()), ..Self::default() })
    }

    fn came(&self) -> Vec<(i32, i64)> {
        self.came.lock().unwrap().iter().map(|(partition, offset, ..)| (*partition, *offset)).collect()
    }

    fn committed(&self, partition: i32) -> Option<i64> {
        let came = self.came.lock().unwrap();
        came.iter().rev().find(|(of, _, _, taken)| *of == partition && *taken).map(|(_, offset, ..)| *offset)
    }
}

impl Script {
    /// Takes as long as it is told to.
    async fn find(&self) {
        let hidden = {
            let mut fates = self.fates.lock().unwrap();
            match fates.front().copied() {
                Some(Fate::Hidden(millis)) => {
                    fates.pop_front();
                    millis
                }
                _ => 0,
            }
        };
        tokio::time::sleep(Duration::from_millis(hidden)).await;
    }

    /// Has this offset from somewhere else.
    fn has(&self, partition: i32, offset: i64) {
        self.came.lock().unwrap().push((partition, offset, None, true));
    }
}

impl Group for Script {
    fn id(&self) -> &'static str {
        "g"
    }

    fn commit<'a>(
        &'a self,
        who: Committing<'a>,
        _: &'a str,
        offsets: &'a OffsetsHeld,
    ) -> BoxFuture<'a, Result<Committed, Error>> {
        async move {
            self.find().await;
            let identity = who()?;
            let held = offsets.iter().filter(|(_, (_, ownership))| ownership.holds());
            let held: BTreeMap<_, _> = held.map(|(partition, (offset, _))| (*partition, offset.offset.0)).collect();
            let failed = |cause| Error::new("commit offsets of group", "g".to_owned(), cause);
            if held.is_empty() {
                return Err(failed(Cause::NotHeld));
            }
            let fate = self.fates.lock().unwrap().pop_front().unwrap_or(Fate::Taken);
            let taken = !matches!(fate, Fate::Refused(_) | Fate::RequestLost | Fate::LeftOut);
            for (partition, offset) in &held {
                self.came.lock().unwrap().push((*partition, *offset, identity.clone(), taken));
            }
            let all = |outcome: Result<(), ResponseError>| held.keys().map(|p| (*p, outcome)).collect();
            match fate {
                Fate::Taken | Fate::Hidden(_) => Ok(all(Ok(()))),
                Fate::Slow(millis) => {
                    tokio::time::sleep(Duration::from_millis(millis)).await;
                    Ok(all(Ok(())))
                }
                Fate::Refused(code) => Ok(all(Err(code))),
                Fate::LeftOut => Ok(all(Err(ResponseError::UnknownServerError))),
                Fate::AnswerLost | Fate::RequestLost => Err(failed(Cause::Timeout(Duration::from_secs(1)))),
            }
        }
        .boxed()
    }

    fn commit_over<'a>(
        &'a self,
        who: Committing<'a>,
        topic: &'a str,
        offsets: &'a OffsetsHeld,
        before: &'a Before,
    ) -> BoxFuture<'a, Result<Result<Committed, Offsets>, Error>> {
        async move {
            let partitions: Vec<_> = before.keys().copied().collect();
            let found = Group::committed(self, topic, &partitions).await?;
            if before.iter().any(|(partition, before)| !had(&found, *partition, before)) {
                return Ok(Err(found));
            }
            self.commit(who, topic, offsets).await.map(Ok)
        }
        .boxed()
    }

    fn committed<'a>(&'a self, _: &'a str, partitions: &'a [i32]) -> BoxFuture<'a, Result<Offsets, Error>> {
        let found = partitions.iter().filter_map(|partition| {
            let offset = Offset(self.committed(*partition)?);
            Some((*partition, GroupOffset { offset, leader_epoch: None, metadata: String::new() }))
        });
        let found = found.collect();
        async move { Ok(found) }.boxed()
    }
}

fn checkpoint_at(partition: i32, offset: i64) -> Checkpoint {
    let next_offset = Offset(offset);
    Checkpoint { topic: "t".to_owned(), topic_id: None, partition, next_offset, leader_epoch: None }
}

fn member(generation: i32) -> Option<Identity> {
    Some(Identity { member_id: "m".to_owned(), generation_or_epoch: generation, instance_id: None })
}

/// A store of a member, the way to change who it is, and where it says its doubts.
fn store_of(script: &Arc<Script>) -> (Arc<GroupStore>, watch::Sender<Option<Identity>>, Arc<Notify>) {
    let (identity, identities) = watch::channel(member(1));
    let doubt = Arc::new(Notify::new());
    let committer = CommitIdentity::Member { identity: identities, doubt: Arc::clone(&doubt) };
    let group: Arc<dyn Group> = script.clone();
    (Arc::new(GroupStore::with(group, committer, None)), identity, doubt)
}

fn checkpointer(store: &Arc<GroupStore>, partition: i32, ownership: &PartitionOwnership) -> Checkpointer {
    let interval = Duration::from_secs(1);
    let pause = Duration::from_millis(100);
    // As one whose offset was never stored: nothing is to be confirmed.
    Checkpointer::spawn(store.clone(), ownership.clone(), checkpoint_at(partition, 10), None, interval, move |_, _| {
        pause
    })
}

/// One that begins at an offset that was loaded.
fn loaded_at(store: &Arc<GroupStore>, offset: i64) -> Checkpointer {
    let (interval, pause) = (Duration::from_secs(1), Duration::from_millis(100));
    let loaded = Some(Offset(offset));
    let ownership = PartitionOwnership::unlimited();
    Checkpointer::spawn(store.clone(), ownership, checkpoint_at(0, offset), loaded, interval, move |_, _| pause)
}

/// As told by a broker that had ceased to be the coordinator.
#[tokio::test(start_paused = true)]
async fn who_began_at_an_old_offset_stores_nothing_and_hears_of_it_at_once() {
    let script = Script::of(&[]);
    script.has(0, 50);
    let (store, ..) = store_of(&script);
    let checkpointer = loaded_at(&store, 10);
    checkpointer.advance(Offset(20).into());
    tokio::time::timeout(Duration::from_millis(500), checkpointer.decided()).await.unwrap();
    let Standing::Overtaken(error) = checkpointer.standing() else { panic!("{:?}", checkpointer.standing()) };
    assert!(error.to_string().contains("offset is 50, but this began at 10"), "{error}");
    checkpointer.advance(Offset(60).into());
    seconds(60).await;
    let finished = checkpointer.finish().await;
    assert!(finished.is_err_and(|error| error.overtaken().is_some()));
    assert_eq!(script.came(), [(0, 50)], "nothing was committed");
}

#[tokio::test(start_paused = true)]
async fn the_place_where_work_begins_is_confirmed_once_whatever_is_lost() {
    // The answer to the first commit is lost, and so what it may have stored is no surprise.
    let script = Script::of(&[Fate::AnswerLost, Fate::RequestLost]);
    script.has(0, 10);
    let (store, ..) = store_of(&script);
    let checkpointer = loaded_at(&store, 10);
    checkpointer.advance(Offset(20).into());
    seconds(10).await;
    assert!(matches!(checkpointer.standing(), Standing::Confirmed));
    checkpointer.advance(Offset(30).into());
    checkpointer.finish().await.unwrap();
    assert_eq!(script.committed(0), Some(30));
}

#[tokio::test(start_paused = true)]
async fn the_end_does_not_set_back_what_others_have_set() {
    let script = Script::of(&[]);
    script.has(0, 10);
    let store = Arc::new(GroupStore::with(script.clone(), CommitIdentity::Plain, None));
    let checkpointer = loaded_at(&store, 10);
    seconds(30).await;
    script.has(0, 70);
    seconds(3 * 60 * 60).await;
    assert!(matches!(checkpointer.standing(), Standing::Overtaken(_)), "the hourly refresh looks back, too");
    let came = script.came();
    let _ = checkpointer.finish().await;
    assert_eq!((script.came(), script.committed(0)), (came, Some(70)));
}

async fn seconds(count: u64) {
    tokio::time::sleep(Duration::from_secs(count)).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_is_made_up_for_by_the_next() {
    let script = Script::of(&[Fate::AnswerLost]);
    let (store, ..) = store_of(&script);
    let ownership = PartitionOwnership::unlimited();
    let checkpointer = checkpointer(&store, 0, &ownership);
    checkpointer.advance(Offset(11).into());
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    checkpointer.advance(Offset(12).into()); // while the first is to be sent again
    seconds(5).await;
    let came = script.came();
    assert_eq!(came[..2], [(0, 11), (0, 12)], "once more with what was done meanwhile");
    assert!(came[2..].iter().all(|later| *later == (0, 12)), "and never with less: {came:?}");
    checkpointer.finish().await.unwrap();
    assert_eq!(script.committed(0), Some(12));
}

#[tokio::test(start_paused = true)]
async fn a_static_assignment_under_a_group_with_members_says_so() {
    let script = Script::of(&[Fate::Refused(ResponseError::UnknownMemberId)]);
    let store = GroupStore::with(Arc::clone(&script) as Arc<dyn Group>, CommitIdentity::Plain, None);
    let error = store.store(&checkpoint_at(0, 11), &PartitionOwnership::unlimited()).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Fatal, "it lasts until someone fixes it: {error}");
    let said = error.to_string();
    assert!(said.contains("the group has active members") && said.contains("--group g"), "{said}");
    assert!(said.contains("group.id") && said.contains("assignment.mode"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn finishing_tries_again_until_it_is_taken() {
    use ResponseError as Code;
    let refused = [Code::RebalanceInProgress, Code::IllegalGeneration, Code::UnknownMemberId, Code::StaleMemberEpoch];
    let fates: Vec<_> =
        [Fate::RequestLost, Fate::AnswerLost, Fate::LeftOut].into_iter().chain(refused.map(Fate::Refused)).collect();
    let script = Script::of(&fates);
    let (store, ..) = store_of(&script);
    let ownership = PartitionOwnership::unlimited();
    let checkpointer = checkpointer(&store, 0, &ownership);
    checkpointer.advance(Offset(20).into());
    checkpointer.finish().await.unwrap();
    assert_eq!(script.came().len(), fates.len() + 1);
    assert_eq!(script.committed(0), Some(20));
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_or_left_out_is_not_done() {
    use ResponseError as Code;
    let codes =
        [Code::IllegalGeneration, Code::UnknownMemberId, Code::FencedInstanceId, Code::GroupAuthorizationFailed];
    for fate in codes.into_iter().map(Fate::Refused).chain([Fate::LeftOut]) {
        let script = Script::of(&[fate]);
        let (store, _identity, doubt) = store_of(&script);
        let outcome = store.store(&checkpoint_at(0, 11), &PartitionOwnership::unlimited()).await;
        assert!(matches!(outcome, Err(StoreError::Broker(_))), "{fate:?}: {outcome:?}");
        let doubted = doubt.notified().now_or_never().is_some();
        let expelled = matches!(fate, Fate::Refused(code) if code != Code::GroupAuthorizationFailed);
        assert_eq!(doubted, expelled, "{fate:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_is_no_member_commits_nothing() {
    let script = Script::of(&[]);
    let (store, identity, _) = store_of(&script);
    identity.send_replace(None);
    let outcome = store.store(&checkpoint_at(0, 11), &PartitionOwnership::unlimited()).await;
    assert_eq!(outcome.unwrap_err().class(), ErrorClass::Transient);
    assert_eq!(script.came(), []);
    identity.send_replace(member(7));
    store.store(&checkpoint_at(0, 11), &PartitionOwnership::unlimited()).await.unwrap();
    assert_eq!(script.came.lock().unwrap().last().unwrap().2, member(7), "by the identity of the moment");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_committed_that_was_lost_while_the_coordinator_was_looked_for() {
    let script = Script::of(&[Fate::Hidden(3_000)]);
    let (store, identity, _) = store_of(&script);
    let (lost, kept) = (PartitionOwnership::unlimited(), PartitionOwnership::unlimited());
    let (lost_at, kept_at) = (checkpoint_at(0, 11), checkpoint_at(1, 12));
    let stores = async { tokio::join!(store.store(&lost_at, &lost), store.store(&kept_at, &kept)) };
    let ((first, second), ()) = tokio::join!(stores, async {
        seconds(1).await;
        lost.end();
        identity.send_replace(member(2));
    });
    assert!(matches!(first, Err(StoreError::NotHeld { .. })), "{first:?}");
    second.unwrap();
    let came = script.came.lock().unwrap().clone();
    assert_eq!(came, [(1, 12, member(2), true)]);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_runs_out_while_the_coordinator_is_looked_for_is_a_passing_matter() {
    let script = Script::of(&[Fate::Hidden(3_000)]);
    let (store, ..) = store_of(&script);
    let lease = SessionLease::unlimited();
    lease.renew(lease.now(), Duration::from_secs(2));
    let outcome = store.store(&checkpoint_at(0, 11), &PartitionOwnership::under(&lease)).await;
    assert_eq!(outcome.unwrap_err().class(), ErrorClass::Transient, "nobody needs to fix it");
    assert_eq!(script.came(), []);
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_ownership_left_behind_does_not_take_a_later_ones_place() {
    let script = Script::of(&[Fate::Slow(1_000)]);
    let (store, ..) = store_of(&script);
    let (old, new) = (PartitionOwnership::unlimited(), PartitionOwnership::unlimited());
    let (busy, at, left) = (checkpoint_at(1, 5), checkpoint_at(0, 20), checkpoint_at(0, 30));
    let begun = tokio::time::Instant::now();
    let (first, second, third) = tokio::join!(store.store(&busy, &new), store.store(&at, &new), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        old.end();
        store.store(&left, &old).await
    });
    assert!(begun.elapsed() < Duration::from_secs(2));
    first.unwrap();
    second.unwrap();
    assert!(matches!(third, Err(StoreError::NotHeld { .. })));
    assert_eq!(script.committed(0), Some(20));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_ran_out_delays_a_commit_and_loses_none() {
    let script = Script::of(&[]);
    let (store, ..) = store_of(&script);
    let lease = SessionLease::unlimited();
    let ownership = PartitionOwnership::under(&lease);
    lease.renew(lease.now(), Duration::ZERO);
    let checkpointer = checkpointer(&store, 0, &ownership);
    checkpointer.advance(Offset(11).into());
    let (finished, ()) = tokio::join!(checkpointer.finish(), async {
        seconds(5).await;
        assert_eq!(script.came(), [], "nobody knows whether the partition is another's by now");
        lease.renew(lease.now(), Duration::from_secs(10));
    });
    finished.unwrap();
    assert_eq!(script.committed(0), Some(11));
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    use ResponseError as Code;
    let codes = vec![Code::RebalanceInProgress, Code::IllegalGeneration, Code::NotCoordinator, Code::UnknownMemberId];
    let one = prop_oneof![
        3 => Just(Fate::Taken),
        1 => Just(Fate::AnswerLost),
        1 => Just(Fate::RequestLost),
        1 => Just(Fate::LeftOut),
        1 => prop::sample::select(codes).prop_map(Fate::Refused),
        1 => (1..3_000u64).prop_map(Fate::Slow),
        1 => (1..3_000u64).prop_map(Fate::Hidden),
    ];
    prop::collection::vec(one, 0..20)
}

proptest! {
    /// Two partitions make progress, each for one ownership after another; at the end of each it is
    /// either finished or lost.
    #[test]
    fn offsets_only_go_forward_and_never_past_an_ownership(
        fates in fates(),
        ownerships in prop::collection::vec((0..2i32, 1..4_000u64, 1..4i64, any::<bool>()), 1..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let script = Script::of(&fates);
            let (store, ..) = store_of(&script);
            for (partition, millis, step, is_lost) in ownerships {
                let ownership = PartitionOwnership::unlimited();
                let checkpointer = checkpointer(&store, partition, &ownership);
                let mut offset = script.committed(partition).unwrap_or(10);
                checkpointer.restart_at(Offset(offset).into());
                let before = script.came.lock().unwrap().len();
                for _ in 0..4 {
                    offset += step;
                    checkpointer.advance(Offset(offset).into());
                    tokio::time::sleep(Duration::from_millis(millis)).await;
                }
                if is_lost {
                    ownership.end();
                    let came = script.came().len();
                    let finished = checkpointer.finish().await;
                    assert!(matches!(finished, Err(StoreError::NotHeld { .. })), "{finished:?}");
                    seconds(10).await;
                    assert_eq!(script.came().len(), came, "committed after it was lost");
                } else {
                    checkpointer.finish().await.unwrap();
                    assert_eq!(script.committed(partition), Some(offset), "taken as done");
                }
                let came: Vec<i64> = script.came()[before..].iter().filter(|(p, _)| *p == partition).map(|(_, o)| *o).collect();
                assert!(came.windows(2).all(|pair| pair[0] <= pair[1]), "a step back: {came:?}");
            }
        });
    }
}

/// A coordinator that takes whatever anybody commits.
#[derive(Debug, Default)]
struct Shared(Mutex<Offsets>);

impl Group for Shared {
    fn id(&self) -> &'static str {
        "g"
    }

    fn commit<'a>(
        &'a self,
        _: Committing<'a>,
        _: &'a str,
        offsets: &'a OffsetsHeld,
    ) -> BoxFuture<'a, Result<Committed, Error>> {
        self.0.lock().unwrap().extend(offsets.iter().map(|(partition, (offset, _))| (*partition, offset.clone())));
        async { Ok(offsets.keys().map(|partition| (*partition, Ok(()))).collect()) }.boxed()
    }

    fn commit_over<'a>(
        &'a self,
        who: Committing<'a>,
        topic: &'a str,
        offsets: &'a OffsetsHeld,
        _: &'a Before,
    ) -> BoxFuture<'a, Result<Result<Committed, Offsets>, Error>> {
        async move { self.commit(who, topic, offsets).await.map(Ok) }.boxed()
    }

    fn committed<'a>(&'a self, _: &'a str, _: &'a [i32]) -> BoxFuture<'a, Result<Offsets, Error>> {
        let found = self.0.lock().unwrap().clone();
        async move { Ok(found) }.boxed()
    }
}

/// An instance without membership on a group that others use as well, and what watches it.
fn alone_on(shared: &Arc<Shared>) -> (GroupStore, Watched) {
    let health = crate::observe::Health::new(Duration::from_secs(10));
    health.started();
    let watched = Watched { health, metrics: crate::observe::Metrics::new("0") };
    let group: Arc<dyn Group> = shared.clone();
    (GroupStore::with(group, CommitIdentity::Plain, Some(watched.clone())), watched)
}

#[tokio::test(start_paused = true)]
async fn two_static_instances_with_one_groups_store_are_noticed() {
    let shared = Arc::new(Shared::default());
    let ((first, of_first), (second, of_second)) = (alone_on(&shared), alone_on(&shared));
    let ownership = PartitionOwnership::unlimited();
    assert!(first.load("t", 0).await.unwrap().is_none());
    first.store(&checkpoint_at(0, 10), &ownership).await.unwrap();
    assert!(second.load("t", 0).await.unwrap().is_some());
    seconds(5).await;
    assert!(of_first.health.is_ready().is_ok() && of_second.health.is_ready().is_ok(), "nothing is processed yet");
    first.store(&checkpoint_at(0, 11), &ownership).await.unwrap();
    second.store(&checkpoint_at(0, 11), &ownership).await.unwrap();
    let told = of_second.health.is_ready().unwrap_err();
    assert!(told[0].reason.contains("commits the offset of t/0 to group g too"), "{told:?}");
    assert!(of_second.metrics.encode().contains("retries_total{operation=\"checkpoint\",class=\"fatal\"} 1"));
    assert!(of_first.health.is_ready().is_ok(), "it has not looked since");
    seconds(3).await;
    assert!(of_first.health.is_ready().is_err(), "the same offset, but another's");
    seconds(70).await;
    assert!(of_first.health.is_ready().is_ok() && of_second.health.is_ready().is_ok(), "nothing new has come of it");
}

#[tokio::test(start_paused = true)]
async fn an_offset_that_came_between_load_and_the_first_commit_is_another_instances() {
    let shared = Arc::new(Shared::default());
    let ((first, of_first), (second, of_second)) = (alone_on(&shared), alone_on(&shared));
    let ownership = PartitionOwnership::unlimited();
    assert!(first.load("t", 0).await.unwrap().is_none() && second.load("t", 0).await.unwrap().is_none());
    first.store(&checkpoint_at(0, 10), &ownership).await.unwrap();
    second.store(&checkpoint_at(0, 10), &ownership).await.unwrap();
    assert!(of_first.health.is_ready().is_ok() && of_second.health.is_ready().is_err());
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_starts_after_another_is_no_rival() {
    let shared = Arc::new(Shared::default());
    let ownership = PartitionOwnership::unlimited();
    let id = Some(TopicId([7; 16]));
    let (before, _) = alone_on(&shared);
    before.store(&Checkpoint { topic_id: id, ..checkpoint_at(0, 11) }, &ownership).await.unwrap();
    drop(before);
    let (after, watched) = alone_on(&shared);
    let found = after.load("t", 0).await.unwrap().unwrap();
    assert_eq!((found.next_offset, found.topic_id), (Offset(11), id), "the signature is no part of the id");
    for offset in 12..20 {
        after.store(&checkpoint_at(0, offset), &ownership).await.unwrap();
        seconds(3).await;
        assert!(watched.health.is_ready().is_ok());
    }
}
