//! What waits for a broker's pause, or behind another request, is looked at again before it leaves.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_client::Error;
use kafka_client::{Cluster, Options, Produced};
use kafka_sandbox::{Action, Api, Fault, NewBatch, NewRecord, Sandbox};
use login_pipeline::config::{Config, Kafka, OffsetStoreKind, ReaderKind};
use login_pipeline::ownership::{PartitionOwnership, SessionLease};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::pipeline::group::grouped;
use crate::pipeline::support::{OUTPUT, World};

const TOPIC: &str = "out";
const SECOND: Duration = Duration::from_secs(1);

fn batch(value: &'static str) -> Bytes {
    NewBatch::new(vec![NewRecord::new("k", value)]).to_bytes()
}

/// A cluster whose broker has asked for a pause of two seconds.
async fn throttled() -> (Sandbox, Arc<Cluster>) {
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.create_topic(TOPIC, 8).unwrap();
    let kafka = Kafka { brokers: vec![sandbox.bootstrap()], ..Config::default().kafka };
    let cluster = Arc::new(Cluster::new(Options::from(&kafka)));
    sandbox.fault(Fault::on(Api::Produce), Action::Throttle(2_000));
    cluster.produce(TOPIC, 7, batch("first"), SECOND).await.unwrap();
    (sandbox, cluster)
}

fn write(
    cluster: &Arc<Cluster>,
    ownership: &PartitionOwnership,
    partition: i32,
) -> JoinHandle<Result<Produced, Error>> {
    let (cluster, permit) = (Arc::clone(cluster), ownership.permit());
    tokio::spawn(
        async move { cluster.produce_under(&permit, None, &TOPIC.into(), partition, batch("late"), SECOND).await },
    )
}

/// What SIGSTOP for a session, and any pause longer than the lease, amount to.
#[tokio::test]
async fn nothing_is_sent_under_a_lease_that_has_run_out() {
    let (sandbox, cluster) = throttled().await;
    let lease = SessionLease::unlimited();
    lease.renew(lease.now(), SECOND);
    let ownership = PartitionOwnership::under(&lease);
    let error = write(&cluster, &ownership, 0).await.unwrap().unwrap_err();
    assert!(!ownership.holds());
    assert!(error.to_string().contains("membership in the group is in doubt"), "{error}");
    assert_eq!(sandbox.end_offset(TOPIC, 0).unwrap(), 0, "written after the lease had run out");
    // Its place is not taken by what was refused: another goes on by the same connection.
    write(&cluster, &PartitionOwnership::unlimited(), 0).await.unwrap().unwrap();
    assert_eq!(sandbox.end_offset(TOPIC, 0).unwrap(), 1);
}

/// One worker's batch goes out with another's, whose partition is lost and whose worker is gone.
#[tokio::test]
async fn a_worker_sends_no_batch_of_a_partition_that_was_lost() {
    let (sandbox, cluster) = throttled().await;
    let (kept, lost) = (PartitionOwnership::unlimited(), PartitionOwnership::unlimited());
    // Two turns, both taken: their requests wait for the pause, as does all that comes.
    let busy = [write(&cluster, &kept, 5), write(&cluster, &kept, 6)];
    sleep(SECOND / 10).await;
    sandbox.fault(Fault::on(Api::Produce).times(2), Action::Throttle(2_000));
    let (keeps, loses) = (write(&cluster, &kept, 0), write(&cluster, &lost, 1));
    sleep(SECOND).await;
    assert_eq!(sandbox.end_offset(TOPIC, 1).unwrap(), 0, "it waits");
    lost.end();
    loses.abort();
    keeps.await.unwrap().unwrap();
    for busy in busy {
        busy.await.unwrap().unwrap();
    }
    assert_eq!(sandbox.end_offset(TOPIC, 0).unwrap(), 1);
    assert_eq!(sandbox.end_offset(TOPIC, 1).unwrap(), 0, "written after the ownership had ended");
}

/// The second lies unread at the broker for as long as the pause lasts: it isn't lost, and nobody gives it up.
#[tokio::test]
async fn what_was_on_its_way_when_a_broker_paused_is_waited_for() {
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.create_topic(TOPIC, 2).unwrap();
    let kafka = Kafka { brokers: vec![sandbox.bootstrap()], request_timeout: SECOND / 2, ..Config::default().kafka };
    let cluster = Arc::new(Cluster::new(Options::from(&kafka)));
    write(&cluster, &PartitionOwnership::unlimited(), 0).await.unwrap().unwrap();
    sandbox.fault(Fault::on(Api::Produce), Action::Throttle(2_000));
    let both = [0, 1].map(|partition| write(&cluster, &PartitionOwnership::unlimited(), partition));
    for written in both {
        written.await.unwrap().unwrap();
    }
    assert_eq!((sandbox.end_offset(TOPIC, 0).unwrap(), sandbox.end_offset(TOPIC, 1).unwrap()), (2, 1));
}

/// Else the second would be out of reach while the broker pauses, whoever its partition belongs to by then.
#[tokio::test]
async fn a_broker_that_pauses_gets_one_request_at_a_time() {
    let (sandbox, cluster) = throttled().await;
    sandbox.fault(Fault::on(Api::Produce).forever(), Action::Throttle(1_000));
    let (kept, lost) = (PartitionOwnership::unlimited(), PartitionOwnership::unlimited());
    // Of one partition, so that they can't go together.
    let (keeps, loses) = (write(&cluster, &kept, 0), write(&cluster, &lost, 0));
    keeps.await.unwrap().unwrap();
    lost.end();
    loses.await.unwrap().unwrap_err();
    assert_eq!(sandbox.end_offset(TOPIC, 0).unwrap(), 1, "written after the ownership had ended");
}

#[tokio::test]
async fn a_throttled_member_doubles_nothing_of_what_was_taken_from_it() {
    const PAUSE: i32 = 3_000;
    let world = grouped(World::with_nodes(ReaderKind::Rskafka, 1, 8).await);
    let first = world.start_alone("first").await;
    first.until("all", || first.owned().len() == 8).await;
    world.fill(10);
    world.until_done(&first).await;
    // Every answer asks for a pause, as from a broker whose quota is used up.
    let client = world.client("first");
    let asked = Fault::on(Api::Produce).client(&client).topic(OUTPUT).forever();
    let throttle = world.sandbox.fault(asked, Action::Throttle(PAUSE));
    for partition in 0..8 {
        world.append(partition, (0..5).map(|_| world.good()).collect());
    }
    // What came first is written, and all that comes then waits for the pause.
    for _ in 0..(PAUSE / 50 + 20) {
        sleep(Duration::from_millis(50)).await;
        for partition in 0..8 {
            world.append(partition, vec![world.good()]);
        }
    }
    assert!(throttle.fired() > 0, "else nothing waits");
    let second = world.start_alone("second").await;
    second.until("its share", || second.owned().len() == 4).await;
    sleep(Duration::from_millis(2 * u64::try_from(PAUSE).unwrap())).await;
    throttle.remove();
    world.until_done(&first).await;
    second.stop().await;
    let (audit, _) = world.finish(first).await;
    audit.assert_once();
}

/// At least once, without a group that says who writes: the offset that this began at is another by the time
/// that the coordinator takes its first commit. It has written nothing by then, and repeats nothing.
#[tokio::test]
async fn who_began_at_an_old_offset_stores_nothing_and_begins_anew() {
    const NOT_COORDINATOR: i16 = 16;
    const NOT_ENOUGH_REPLICAS: i16 = 19;
    let mut world = World::new(ReaderKind::Rskafka, 1).await;
    world.config.offsets.store = OffsetStoreKind::Group;
    world.send(0, 20);
    let first = world.start().await;
    world.finish(first).await;

    let client = world.client("sleeper");
    let commits = Fault::on(Api::OffsetCommit).client(&client).forever();
    let commits = world.sandbox.fault(commits, Action::Error(NOT_COORDINATOR));
    let writes = Fault::on(Api::Produce).client(&client).forever();
    let writes = world.sandbox.fault(writes, Action::Error(NOT_ENOUGH_REPLICAS));
    let sleeper = world.start_alone("sleeper").await;
    sleeper.until("its first commit", || commits.fired() > 0).await;
    world.send(0, 10);
    sleeper.until("it would write", || writes.fired() > 0).await;
    let other = world.start_alone("other").await;
    world.until_done(&other).await;
    other.stop().await;
    assert_eq!(world.stored(0), Some(30));

    commits.remove();
    let begun_at = || sleeper.observe.status().partitions.first().and_then(|it| it.committed).map(|offset| offset.0);
    sleeper.until("it begins anew", || begun_at() == Some(30)).await;
    assert_eq!(world.stored(0), Some(30), "set back");
    writes.remove();
    world.send(0, 5);
    let (audit, _) = world.finish(sleeper).await;
    audit.assert_once();
    assert_eq!(world.stored(0), Some(35));
}
