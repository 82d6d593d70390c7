//! Exactly once: what is written counts together with the offset, whoever dies, hangs or is not heard of.

use std::time::Duration;

use kafka_sandbox::{Action, Api, Fault};
use login_pipeline::config::ReaderKind::{Rskafka, Wire};
use login_pipeline::config::TransactionVersions::{Auto, V1};
use login_pipeline::config::{Guarantee, OffsetStoreKind, ReaderKind, TransactionVersions};
use rstest::rstest;
use tokio::time::sleep;

use crate::pipeline::group::grouped;
use crate::pipeline::support::{DLQ, OUTPUT, Pipeline, SOURCE, World};

const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
const NOT_COORDINATOR: i16 = 16;
const CONCURRENT_TRANSACTIONS: i16 = 51;

/// Of transactions that stay open for as long as a test wants.
const LONG: Duration = Duration::from_secs(30);

fn exactly_once(mut world: World, version: TransactionVersions) -> World {
    let config = &mut world.config;
    config.delivery.guarantee = Guarantee::ExactlyOnce;
    config.delivery.transaction_version = version;
    config.delivery.transaction_interval = Duration::from_millis(50);
    config.offsets.store = OffsetStoreKind::Group;
    world
}

async fn world(reader: ReaderKind, version: TransactionVersions) -> World {
    exactly_once(World::with_nodes(reader, 2, 2).await, version)
}

fn transactional_id(world: &World, partition: i32) -> String {
    format!("{}-{SOURCE}-{partition}", world.config.transactional_id_prefix())
}

fn state(world: &World, partition: i32) -> &'static str {
    world.sandbox.transaction(&transactional_id(world, partition)).map_or("none", |described| described.state)
}

/// How many records were written, and how many of them count.
fn written(world: &World) -> (usize, usize) {
    let mut written = (0, 0);
    for topic in [OUTPUT, DLQ] {
        for partition in 0..world.sandbox.partitions(topic) {
            written.0 += world.sandbox.read(topic, partition).unwrap().len();
            written.1 += world.sandbox.read_committed(topic, partition).unwrap().len();
        }
    }
    written
}

/// Starts one whose transactions stay open, until it has written within one. Who starts next has the usual interval.
async fn start_and_stay_open(world: &mut World) -> Pipeline {
    let interval = std::mem::replace(&mut world.config.delivery.transaction_interval, LONG);
    world.fill(60);
    let first = world.start_alone("first").await;
    world.config.delivery.transaction_interval = interval;
    let is_open = || {
        let (written, counting) = written(world);
        state(world, 0) == "Ongoing" && written > counting
    };
    first.until("it writes within a transaction", is_open).await;
    first
}

#[rstest]
#[tokio::test]
async fn what_is_written_counts_with_its_offset(
    #[values(Rskafka, Wire)] reader: ReaderKind,
    #[values(V1, Auto)] version: TransactionVersions,
) {
    let world = world(reader, version).await;
    world.fill(60);
    let pipeline = world.start().await;
    world.until_done(&pipeline).await;
    world.fill(60);
    world.finish(pipeline).await.0.assert_once();
    let (written, counting) = written(&world);
    assert_eq!(written, counting, "nothing was given up");
    assert_eq!(state(&world, 0), "CompleteCommit");
    let requests = |api| world.sandbox.requests(api) > 0;
    assert!(requests(Api::EndTxn) && requests(Api::TxnOffsetCommit));
    let adds = version == V1;
    assert_eq!((requests(Api::AddPartitionsToTxn), requests(Api::AddOffsetsToTxn)), (adds, adds));
}

#[rstest]
#[tokio::test]
async fn what_one_that_is_killed_has_not_committed_does_not_count(
    #[values(Rskafka, Wire)] reader: ReaderKind,
    #[values(V1, Auto)] version: TransactionVersions,
) {
    let mut world = world(reader, version).await;
    let first = start_and_stay_open(&mut world).await;
    first.kill();
    world.run_and_audit().await.0.assert_once();
    let (written, counting) = written(&world);
    assert!(written > counting, "{written} were written, {counting} count");
}

#[rstest]
#[tokio::test]
async fn one_that_is_fenced_writes_nothing_that_counts(
    #[values(Rskafka, Wire)] reader: ReaderKind,
    #[values(V1, Auto)] version: TransactionVersions,
) {
    let mut world = world(reader, version).await;
    let first = start_and_stay_open(&mut world).await;
    let second = world.start_alone("second").await;
    world.until_done(&second).await;
    world.fill(60);
    first.until_unready("another instance writes by this transactional id").await;
    world.until_done(&second).await;
    first.kill();
    world.finish(second).await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn a_coordinator_that_refuses_for_a_while_doubles_nothing(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let codes = [COORDINATOR_LOAD_IN_PROGRESS, NOT_COORDINATOR, CONCURRENT_TRANSACTIONS];
    let apis = [
        Api::FindCoordinator,
        Api::InitProducerId,
        Api::AddPartitionsToTxn,
        Api::AddOffsetsToTxn,
        Api::TxnOffsetCommit,
        Api::EndTxn,
    ];
    for code in codes {
        let world = world(reader, V1).await;
        world.fill(20);
        let id = transactional_id(&world, 0);
        let asked = apis.into_iter().filter(|api| *api != Api::FindCoordinator || code == COORDINATOR_LOAD_IN_PROGRESS);
        let refused: Vec<_> = asked
            .map(|api| (api, world.sandbox.fault(Fault::on(api).transaction(&id).times(3), Action::Error(code))))
            .collect();
        world.run_and_audit().await.0.assert_once();
        for (api, fault) in refused {
            assert_eq!(fault.fired(), 3, "{api:?} with {code}");
        }
    }
}

#[rstest]
#[tokio::test]
async fn a_coordinator_that_moves_crashes_and_is_slow_doubles_nothing(
    #[values(Rskafka, Wire)] reader: ReaderKind,
    #[values(V1, Auto)] version: TransactionVersions,
) {
    let world = world(reader, version).await;
    let sandbox = &world.sandbox;
    let pipeline = world.start().await;
    world.fill(20);
    world.until_done(&pipeline).await;
    let ids: Vec<_> = (0..2).map(|partition| transactional_id(&world, partition)).collect();
    for id in &ids {
        sandbox.set_transactions_loading(id, true);
    }
    world.fill(20);
    sleep(Duration::from_millis(200)).await;
    for id in &ids {
        sandbox.set_transactions_loading(id, false);
    }
    world.until_done(&pipeline).await;
    for node in [1, 2, 1] {
        world.fill(20);
        for id in &ids {
            sandbox.move_transaction_coordinator(id, node).unwrap();
        }
        world.until_done(&pipeline).await;
    }
    world.fill(20);
    sandbox.crash(1).await.unwrap();
    sleep(Duration::from_millis(100)).await;
    sandbox.restart(1).await.unwrap();
    world.until_done(&pipeline).await;
    // Nobody hears of the end: nothing counts until they do.
    sandbox.hold_markers(true);
    world.fill(20);
    pipeline.until("an end is decided", || state(&world, 0) == "PrepareCommit").await;
    assert!(world.missing() > 0);
    sleep(Duration::from_millis(100)).await;
    sandbox.hold_markers(false);
    world.finish(pipeline).await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn a_transaction_that_is_open_for_too_long_is_given_up_and_done_again(
    #[values(Rskafka, Wire)] reader: ReaderKind,
    #[values(V1, Auto)] version: TransactionVersions,
) {
    let mut world = world(reader, version).await;
    world.config.delivery.transaction_timeout = Duration::from_millis(300);
    // The first transaction of a worker moves its offset only.
    let unheard = Fault::on(Api::EndTxn).transaction(transactional_id(&world, 0)).skip(1).forever();
    let unheard = world.sandbox.fault(unheard, Action::Silence);
    world.fill(20);
    let pipeline = world.start().await;
    pipeline.until("it is given up", || unheard.fired() > 0 && state(&world, 0) != "Ongoing").await;
    unheard.remove();
    world.finish(pipeline).await.0.assert_once();
    let (written, counting) = written(&world);
    assert!(written > counting, "{written} were written, {counting} count");
}

#[rstest]
#[tokio::test]
async fn an_end_whose_answer_is_lost_counts_once(
    #[values(Rskafka, Wire)] reader: ReaderKind,
    #[values(V1, Auto)] version: TransactionVersions,
) {
    for lost in [Action::SilenceAfter, Action::DisconnectAfter, Action::DisconnectBefore, Action::TruncatedFrame] {
        let world = world(reader, version).await;
        let lost = world.sandbox.fault(Fault::on(Api::EndTxn).skip(1).times(2), lost);
        let pipeline = world.start().await;
        for _ in 0..3 {
            world.fill(20);
            world.until_done(&pipeline).await;
        }
        world.finish(pipeline).await.0.assert_once();
        assert_eq!(lost.fired(), 2);
    }
}

#[rstest]
#[tokio::test]
async fn members_of_a_group_come_and_die(
    #[values(Rskafka, Wire)] reader: ReaderKind,
    #[values(V1, Auto)] version: TransactionVersions,
) {
    let world = grouped(exactly_once(World::with_nodes(reader, 2, 4).await, version));
    let first = world.start_alone("first").await;
    world.fill(40);
    first.until("it has all", || first.owned().len() == 4).await;
    let second = world.start_alone("second").await;
    world.fill(40);
    second.until("it has its share", || second.owned().len() == 2).await;
    world.fill(40);
    first.kill();
    second.until("it has all", || second.owned().len() == 4).await;
    world.fill(40);
    world.finish(second).await.0.assert_once();
}
