//! Logs that an unclean leader election cut behind our back (KIP-320).

use std::time::Duration;

use kafka_sandbox::{Api, NewBatch};
use login_pipeline::config::{OffsetStoreKind, OutOfRange, ReaderKind};
use login_pipeline::offsets::{Checkpoint, FileStore, OffsetStore};
use login_pipeline::ownership::PartitionOwnership;
use login_pipeline::record::Header;

use crate::pipeline::support::{ID, OUTPUT, Pipeline, SOURCE, World};

const POLICIES: [OutOfRange; 2] = [OutOfRange::Earliest, OutOfRange::Latest];

async fn world(policy: OutOfRange) -> World {
    let mut world = World::with_nodes(ReaderKind::Wire, 2, 1).await;
    world.config.source.on_offset_out_of_range = policy;
    world
}

/// Appends so many good records, in batches of five, and returns their ids.
fn append(world: &World, count: usize) -> Vec<Vec<u8>> {
    let records: Vec<_> = (0..count).map(|_| world.good().0).collect();
    for batch in records.chunks(5) {
        world.sandbox.append_batch(SOURCE, 0, &NewBatch::new(batch.to_vec())).unwrap();
    }
    records.iter().map(|record| id(&record.headers)).collect()
}

fn id(headers: &[Header]) -> Vec<u8> {
    headers.iter().find(|header| header.name == ID).unwrap().value.clone().unwrap().to_vec()
}

/// The ids of what came out, in its order.
fn delivered(world: &World) -> Vec<Vec<u8>> {
    world.sandbox.read(OUTPUT, 0).unwrap().iter().map(|record| id(&record.headers)).collect()
}

fn truncations(pipeline: &Pipeline) -> u64 {
    pipeline.metric("login_pipeline_source_log_truncations_total", "")
}

async fn until_stored(world: &World, pipeline: &Pipeline, offset: i64) {
    pipeline.until(&format!("{offset} is stored"), || world.stored(0) == Some(offset)).await;
}

/// Delivers 30 records and stops. Then the last ten are lost, and 15 come in their place and after.
/// Returns the ids of all 45.
async fn truncated_while_nothing_runs(world: &World) -> Vec<Vec<u8>> {
    let mut ids = append(world, 30);
    let pipeline = world.start().await;
    until_stored(world, &pipeline, 30).await;
    pipeline.stop().await;
    world.sandbox.elect_uncleanly(SOURCE, 0, 2, 20).unwrap();
    ids.extend(append(world, 15));
    ids
}

#[tokio::test]
async fn what_came_in_place_of_what_was_lost_is_read() {
    for policy in POLICIES {
        let world = world(policy).await;
        let ids = truncated_while_nothing_runs(&world).await;
        let pipeline = world.start().await;
        until_stored(&world, &pipeline, 35).await;
        assert_eq!((delivered(&world), truncations(&pipeline)), (ids, 1), "{policy:?}");
        pipeline.stop().await;
        let stored = FileStore::peek(world.offsets()).read(SOURCE, 0).unwrap().unwrap();
        assert_eq!(stored.leader_epoch, Some(1));
    }
}

#[tokio::test]
async fn a_groups_offset_tells_of_it_too() {
    let mut world = world(OutOfRange::Latest).await;
    world.config.offsets.store = OffsetStoreKind::Group;
    let ids = truncated_while_nothing_runs(&world).await;
    let pipeline = world.start().await;
    until_stored(&world, &pipeline, 35).await;
    assert_eq!((delivered(&world), truncations(&pipeline)), (ids, 1));
    pipeline.stop().await;
}

#[tokio::test]
async fn it_is_seen_while_the_pipeline_runs() {
    for policy in POLICIES {
        let world = world(policy).await;
        let mut ids = append(&world, 30);
        let pipeline = world.start().await;
        until_stored(&world, &pipeline, 30).await;
        // Back at where it diverged nothing has come yet: the place is stored, or a crash would ask again.
        world.sandbox.elect_uncleanly(SOURCE, 0, 2, 20).unwrap();
        until_stored(&world, &pipeline, 20).await;
        ids.extend(append(&world, 15));
        until_stored(&world, &pipeline, 35).await;
        assert_eq!((delivered(&world), truncations(&pipeline)), (ids, 1), "{policy:?}");
        assert_eq!(pipeline.unready(), "");
        pipeline.stop().await;
    }
}

#[tokio::test]
async fn fail_waits_and_says_so_once() {
    let mut world = world(OutOfRange::Fail).await;
    let ids = truncated_while_nothing_runs(&world).await;
    let asks = world.sandbox.requests(Api::OffsetForLeaderEpoch);
    let pipeline = world.start().await;
    pipeline.until_unready("source.on_offset_out_of_range").await;
    let said = "the log was truncated: it was read up to offset 30 in leader epoch 0, but differs from offset 20 \
                (leader epoch 0) on";
    assert!(pipeline.unready().contains(said), "{}", pipeline.unready());
    pipeline.until("it asks again", || world.sandbox.requests(Api::OffsetForLeaderEpoch) >= asks + 3).await;
    assert_eq!((world.stored(0), truncations(&pipeline)), (Some(30), 1));
    assert_eq!(delivered(&world), ids[..30], "nothing is passed over");
    pipeline.stop().await;
    world.config.source.on_offset_out_of_range = OutOfRange::Earliest;
    let pipeline = world.start().await;
    until_stored(&world, &pipeline, 35).await;
    assert_eq!(delivered(&world), ids);
    pipeline.stop().await;
}

#[tokio::test]
async fn where_the_leader_does_not_know_the_epoch_the_policy_says_where() {
    for (policy, again) in [(OutOfRange::Earliest, 30), (OutOfRange::Latest, 0)] {
        let world = world(policy).await;
        let ids = append(&world, 30);
        let pipeline = world.start().await;
        until_stored(&world, &pipeline, 30).await;
        pipeline.stop().await;
        let store = FileStore::open(world.offsets()).unwrap();
        let stored = store.load(SOURCE, 0).await.unwrap().unwrap();
        let of_another_log = Checkpoint { leader_epoch: Some(9), ..stored };
        store.store(&of_another_log, &PartitionOwnership::unlimited()).await.unwrap();
        drop(store);
        let pipeline = world.start().await;
        // At first the leader is doubted. What waits for answers meanwhile asks again.
        pipeline.until_unready("UnknownLeaderEpoch").await;
        assert_eq!((truncations(&pipeline), delivered(&world).len()), (0, 30));
        let fetches = world.sandbox.requests(Api::Fetch);
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(30)).await;
        tokio::time::resume();
        pipeline.until("it has noticed", || truncations(&pipeline) == 1).await;
        // Before it reads on, "latest" is not yet known: what comes would be before it.
        pipeline.until("it reads on", || world.sandbox.requests(Api::Fetch) > fetches).await;
        pipeline.until("the policy is followed", || delivered(&world).len() == 30 + again).await;
        let new = append(&world, 5);
        until_stored(&world, &pipeline, 35).await;
        assert_eq!(delivered(&world), [&ids[..], &ids[..again], &new[..]].concat(), "{policy:?}");
        pipeline.stop().await;
    }
}

#[tokio::test]
async fn a_log_that_holds_everything_is_read_on_without_a_word() {
    let world = world(OutOfRange::Fail).await;
    let mut ids = append(&world, 30);
    let pipeline = world.start().await;
    until_stored(&world, &pipeline, 30).await;
    for (node, end) in [(2, 40), (1, 50), (2, 60)] {
        world.sandbox.move_leader(SOURCE, 0, node).unwrap();
        ids.extend(append(&world, 10));
        until_stored(&world, &pipeline, end).await;
    }
    assert!(world.sandbox.requests(Api::OffsetForLeaderEpoch) >= 3);
    assert_eq!((delivered(&world), truncations(&pipeline)), (ids, 0));
    pipeline.stop().await;
}

#[tokio::test]
async fn rskafka_in_its_place_is_told_at_the_start() {
    let mut world = world(OutOfRange::Earliest).await;
    let ids = truncated_while_nothing_runs(&world).await;
    world.config.source.reader = ReaderKind::Rskafka;
    let pipeline = world.start().await;
    until_stored(&world, &pipeline, 35).await;
    assert_eq!((delivered(&world), truncations(&pipeline)), (ids, 1));
    pipeline.stop().await;
}
