//! A source topic that grows, comes late, or is made anew while the pipeline runs, with partitions
//! by list and by a group.

use std::time::Duration;

use kafka_sandbox::{Action, Api, Fault};
use login_pipeline::config::ReaderKind::{Rskafka, Wire};
use login_pipeline::config::{CreateTopics, OffsetStoreKind, ReaderKind};
use rstest::rstest;
use tokio::time::sleep;

use crate::pipeline::group::grouped;
use crate::pipeline::support::{DLQ, OUTPUT, SOURCE, World};

/// The same world for each kind of assignment and offset store.
async fn worlds(reader: ReaderKind, partitions: i32) -> [World; 3] {
    let mut plain = World::new(reader, partitions).await;
    plain.config.offsets.store = OffsetStoreKind::Group;
    [World::new(reader, partitions).await, plain, grouped(World::new(reader, partitions).await)]
}

#[rstest]
#[tokio::test]
async fn new_partitions_are_taken_up(#[values(Rskafka, Wire)] reader: ReaderKind) {
    for world in worlds(reader, 2).await {
        let pipeline = world.start_alone("one").await;
        world.fill(50);
        world.until_done(&pipeline).await;
        world.sandbox.add_partitions(SOURCE, 5).unwrap();
        world.fill(50);
        world.finish(pipeline).await.0.assert_once();
    }
}

#[rstest]
#[tokio::test]
async fn new_partitions_are_shared_by_the_group(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = grouped(World::new(reader, 2).await);
    let (first, second) = (world.start_alone("first").await, world.start_alone("second").await);
    first.until("both have one", || first.owned().len() == 1 && second.owned().len() == 1).await;
    world.sandbox.add_partitions(SOURCE, 6).unwrap();
    world.fill(50);
    first.until("both have three", || first.owned().len() == 3 && second.owned().len() == 3).await;
    world.until_done(&first).await;
    second.stop().await;
    world.finish(first).await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn a_topic_that_comes_late_is_read(#[values(Rskafka, Wire)] reader: ReaderKind) {
    for (group, world) in
        [(false, World::without_topics(reader, 1).await), (true, grouped(World::without_topics(reader, 1).await))]
    {
        for topic in [OUTPUT, DLQ] {
            world.sandbox.create_topic(topic, 2).unwrap();
        }
        let pipeline = world.start_alone("one").await;
        sleep(Duration::from_millis(if group { 600 } else { 300 })).await;
        world.sandbox.create_topic(SOURCE, 2).unwrap();
        world.fill(50);
        world.finish(pipeline).await.0.assert_once();
    }
}

#[rstest]
#[tokio::test]
async fn a_topic_made_anew_is_begun_again_though_it_is_longer_than_before(#[values(Rskafka, Wire)] reader: ReaderKind) {
    for world in worlds(reader, 2).await {
        let pipeline = world.start_alone("one").await;
        world.fill(50);
        world.until_done(&pipeline).await;
        // It reads nothing before it is told of the new topic: what it read would be in disorder.
        let unread = world.sandbox.fault(Fault::on(Api::Fetch).topic(SOURCE).forever(), Action::Error(3));
        sleep(2 * world.config.source.max_wait).await;
        for topic in [SOURCE, OUTPUT, DLQ] {
            world.sandbox.delete_topic(topic).unwrap();
            world.sandbox.create_topic(topic, 2).unwrap();
        }
        world.forget(|_| true);
        world.fill(80);
        sleep(Duration::from_millis(600)).await;
        unread.remove();
        world.finish(pipeline).await.0.assert_once();
    }
}

/// Brokers without DescribeConfigs, as the sandbox is: whether the topic of the offsets is compacted can't be seen.
#[rstest]
#[tokio::test]
async fn offsets_are_kept_in_a_topic_whose_settings_nobody_tells(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut world = World::new(reader, 2).await;
    world.config.offsets.store = OffsetStoreKind::Topic;
    world.config.topics.create = CreateTopics::Missing;
    for _ in 0..2 {
        let pipeline = world.start_alone("one").await;
        world.fill(50);
        pipeline.until("all are through", || world.missing() == 0).await;
        pipeline.stop().await;
    }
    world.audit().assert_once();
}
