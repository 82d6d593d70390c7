//! Brokers that are away, silent, slow, in another place, or that break off.

use std::time::Duration;

use kafka_sandbox::{Action, Api, Fault};
use login_pipeline::config::ReaderKind;
use login_pipeline::config::ReaderKind::{Rskafka, Wire};
use rstest::rstest;

use crate::pipeline::group::grouped;
use crate::pipeline::support::{DLQ, OUTPUT, Pipeline, SOURCE, World};

/// Fills a world of two partitions, runs a pipeline, and fills it again once it works.
async fn running(reader: ReaderKind) -> (World, Pipeline) {
    running_on(reader, 1).await
}

async fn running_on(reader: ReaderKind, nodes: usize) -> (World, Pipeline) {
    let world = World::with_nodes(reader, nodes, 2).await;
    world.fill(20);
    let pipeline = world.start().await;
    world.until_done(&pipeline).await;
    (world, pipeline)
}

/// Runs with a fault, of which nothing may be doubled, armed when it works already.
async fn once_despite(reader: ReaderKind, fault: Fault, times: u64, action: Action) {
    let (world, pipeline) = running(reader).await;
    let armed = world.sandbox.fault(fault.times(times), action);
    // Batches that wait for a broker go out together, so that one filling may be one request.
    for _ in 0..times {
        let before = armed.fired();
        world.fill(40);
        pipeline.until("the fault fires", || armed.fired() > before || armed.fired() == times).await;
    }
    pipeline.until("the fault is spent", || armed.fired() == times).await;
    world.fill(20);
    world.finish(pipeline).await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn silence_on_fetch_ends_with_the_request_timeout(#[values(Rskafka, Wire)] reader: ReaderKind) {
    once_despite(reader, Fault::on(Api::Fetch).topic(SOURCE), 3, Action::Silence).await;
}

#[rstest]
#[tokio::test]
async fn silence_on_fetch_from_the_first_request_on(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::new(reader, 2).await;
    world.fill(50);
    let silence = world.sandbox.fault(Fault::on(Api::Fetch).times(4), Action::Silence);
    world.run_and_audit().await.0.assert_once();
    assert_eq!(silence.fired(), 4);
}

#[rstest]
#[tokio::test]
async fn silence_on_metadata_and_on_versions_and_on_offsets(#[values(Rskafka, Wire)] reader: ReaderKind) {
    for api in [Api::Metadata, Api::ApiVersions, Api::ListOffsets] {
        let world = World::new(reader, 2).await;
        world.fill(20);
        let silence = world.sandbox.fault(Fault::on(api).times(3), Action::Silence);
        world.run_and_audit().await.0.assert_once();
        assert!(silence.fired() >= 2, "{api:?}");
    }
}

#[rstest]
#[tokio::test]
async fn silence_on_produce_doubles_nothing(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::new(reader, 1).await;
    world.fill(20);
    let pipeline = world.start().await;
    world.until_done(&pipeline).await;
    let silence = world.sandbox.fault(Fault::on(Api::Produce).topic(OUTPUT).times(2), Action::Silence);
    world.fill(60);
    let (audit, _) = world.finish(pipeline).await;
    assert_eq!(silence.fired(), 2);
    audit.assert_once();
}

#[rstest]
#[tokio::test]
async fn an_answer_to_a_produce_that_never_comes_doubles_nothing(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let (world, pipeline) = running(reader).await;
    let lost = world.sandbox.fault(Fault::on(Api::Produce).topic(OUTPUT).partition(0), Action::SilenceAfter);
    world.append(0, (0..10).map(|_| world.good()).collect());
    lost.until_fired(1).await;
    pipeline.until("it is sent again", || pipeline.metric("login_pipeline_retries_total", "produce") > 0).await;
    let (audit, _) = world.finish(pipeline).await;
    assert_eq!(lost.fired(), 1);
    audit.assert_once();
}

#[rstest]
#[tokio::test]
async fn a_crashed_node_refuses_connections_and_comes_back(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let (world, pipeline) = running(reader).await;
    world.sandbox.crash(1).await.unwrap();
    world.fill(40);
    pipeline.until("it has noticed", || pipeline.metric("login_pipeline_retries_total", "fetch") > 3).await;
    world.sandbox.restart(1).await.unwrap();
    let (audit, _) = world.finish(pipeline).await;
    audit.assert_once();
}

#[rstest]
#[tokio::test]
async fn a_node_that_crashes_again_and_again_loses_nothing(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let (world, pipeline) = running(reader).await;
    for _ in 0..5 {
        let produced = world.sandbox.requests(Api::Produce);
        world.fill(20);
        pipeline.until("it writes", || world.sandbox.requests(Api::Produce) > produced).await;
        world.sandbox.crash(1).await.unwrap();
        world.sandbox.restart(1).await.unwrap();
    }
    world.finish(pipeline).await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn a_pipeline_may_start_before_the_broker(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::new(reader, 2).await;
    world.fill(30);
    world.sandbox.crash(1).await.unwrap();
    let pipeline = world.start().await;
    pipeline.until("it has tried", || pipeline.metric("login_pipeline_retries_total", "metadata") > 3).await;
    world.sandbox.restart(1).await.unwrap();
    world.finish(pipeline).await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn a_pipeline_may_start_while_a_partition_has_no_leader(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::with_nodes(reader, 2, 2).await;
    world.fill(30);
    let second = world.sandbox.leader(SOURCE, 1).unwrap();
    world.sandbox.crash(second).await.unwrap();
    let pipeline = world.start().await;
    pipeline.until("it has asked", || pipeline.metric("login_pipeline_retries_total", "fetch") > 3).await;
    world.sandbox.restart(second).await.unwrap();
    world.finish(pipeline).await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn one_node_of_two_is_enough_to_begin_with(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::with_nodes(reader, 2, 2).await;
    world.fill(30);
    for topic in [SOURCE, OUTPUT, DLQ] {
        for partition in 0..2 {
            world.sandbox.move_leader(topic, partition, 2).unwrap();
        }
    }
    world.sandbox.crash(1).await.unwrap();
    world.run_and_audit().await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn the_sources_leader_moves(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let (world, pipeline) = running_on(reader, 2).await;
    let (from, to) = (world.sandbox.leader(SOURCE, 0).unwrap(), world.sandbox.leader(SOURCE, 1).unwrap());
    world.sandbox.move_leader(SOURCE, 0, to).unwrap();
    world.fill(40);
    world.until_done(&pipeline).await;
    world.sandbox.move_leader(SOURCE, 0, from).unwrap();
    world.fill(40);
    let (audit, _) = world.finish(pipeline).await;
    assert_ne!(from, to);
    audit.assert_once();
}

#[rstest]
#[tokio::test]
async fn the_outputs_leader_moves(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let (world, pipeline) = running_on(reader, 2).await;
    for node in [2, 1, 2] {
        for topic in [OUTPUT, DLQ] {
            world.sandbox.move_leader(topic, 0, node).unwrap();
        }
        world.fill(30);
        world.until_done(&pipeline).await;
    }
    assert!(pipeline.metric("login_pipeline_retries_total", "produce") > 0);
    world.finish(pipeline).await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn a_leader_moves_because_its_node_crashed(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let (world, pipeline) = running_on(reader, 2).await;
    world.sandbox.crash(1).await.unwrap();
    world.fill(30);
    for topic in [SOURCE, OUTPUT, DLQ] {
        for partition in 0..2 {
            world.sandbox.move_leader(topic, partition, 2).unwrap();
        }
    }
    world.finish(pipeline).await.0.assert_once();
}

/// NOT_LEADER_OR_FOLLOWER, REQUEST_TIMED_OUT, NOT_ENOUGH_REPLICAS, KAFKA_STORAGE_ERROR,
/// UNKNOWN_TOPIC_OR_PARTITION, LEADER_NOT_AVAILABLE, UNKNOWN_SERVER_ERROR, CORRUPT_MESSAGE and
/// THROTTLING_QUOTA_EXCEEDED.
const PASSING: [i16; 9] = [6, 7, 19, 56, 3, 5, -1, 2, 89];

#[rstest]
#[tokio::test]
async fn passing_errors_on_produce_are_tried_again(#[values(Rskafka, Wire)] reader: ReaderKind) {
    for code in PASSING {
        once_despite(reader, Fault::on(Api::Produce), 5, Action::Error(code)).await;
    }
}

#[rstest]
#[tokio::test]
async fn passing_errors_on_fetch_are_tried_again(#[values(Rskafka, Wire)] reader: ReaderKind) {
    for code in PASSING {
        once_despite(reader, Fault::on(Api::Fetch), 5, Action::Error(code)).await;
    }
}

#[rstest]
#[tokio::test]
async fn passing_errors_on_metadata_are_tried_again(#[values(Rskafka, Wire)] reader: ReaderKind) {
    for code in [3, 5, -1] {
        let world = World::new(reader, 2).await;
        world.fill(20);
        let armed = world.sandbox.fault(Fault::on(Api::Metadata).topic(SOURCE).times(3), Action::Error(code));
        let output = world.sandbox.fault(Fault::on(Api::Metadata).topic(OUTPUT).times(3), Action::Error(code));
        world.run_and_audit().await.0.assert_once();
        assert_eq!((armed.fired(), output.fired()), (3, 3), "{code}");
    }
}

#[rstest]
#[tokio::test]
async fn a_throttled_produce_is_done_and_not_sent_again(#[values(Rskafka, Wire)] reader: ReaderKind) {
    once_despite(reader, Fault::on(Api::Produce), 4, Action::Throttle(50)).await;
}

#[rstest]
#[tokio::test]
async fn a_throttle_longer_than_the_request_timeout_is_sat_out(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let (world, pipeline) = running(reader).await;
    let throttle = world.sandbox.fault(Fault::on(Api::Produce).topic(OUTPUT).partition(0), Action::Throttle(900));
    world.fill(20);
    world.until_done(&pipeline).await;
    world.fill(20);
    let (audit, _) = world.finish(pipeline).await;
    assert_eq!(throttle.fired(), 1);
    audit.assert_once();
}

#[rstest]
#[tokio::test]
async fn a_throttled_fetch_comes_again(#[values(Rskafka, Wire)] reader: ReaderKind) {
    once_despite(reader, Fault::on(Api::Fetch), 4, Action::Throttle(50)).await;
}

#[rstest]
#[tokio::test]
async fn a_disconnect_before_a_produce_is_done_doubles_nothing_of_it(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::new(reader, 1).await;
    world.fill(20);
    let pipeline = world.start().await;
    world.until_done(&pipeline).await;
    let cut = world.sandbox.fault(Fault::on(Api::Produce).topic(OUTPUT).times(2), Action::DisconnectBefore);
    world.append(0, (0..30).map(|_| world.good()).collect());
    let (audit, _) = world.finish(pipeline).await;
    assert_eq!(cut.fired(), 2);
    audit.assert_once();
}

#[rstest]
#[tokio::test]
async fn a_disconnect_after_a_produce_is_done_doubles_nothing(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let (world, pipeline) = running(reader).await;
    let cut = world.sandbox.fault(Fault::on(Api::Produce).topic(OUTPUT).partition(0), Action::DisconnectAfter);
    world.append(0, (0..15).map(|_| world.good()).collect());
    let (audit, _) = world.finish(pipeline).await;
    assert_eq!(cut.fired(), 1);
    audit.assert_once();
}

#[rstest]
#[tokio::test]
async fn disconnects_of_fetches_double_nothing(#[values(Rskafka, Wire)] reader: ReaderKind) {
    for action in [Action::DisconnectBefore, Action::DisconnectAfter, Action::TruncatedFrame] {
        once_despite(reader, Fault::on(Api::Fetch), 4, action).await;
    }
}

#[rstest]
#[tokio::test]
async fn half_an_answer_to_a_produce_doubles_nothing(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let (world, pipeline) = running(reader).await;
    let cut = world.sandbox.fault(Fault::on(Api::Produce).topic(OUTPUT).partition(0), Action::TruncatedFrame);
    world.append(0, (0..15).map(|_| world.good()).collect());
    let (audit, _) = world.finish(pipeline).await;
    assert_eq!(cut.fired(), 1);
    audit.assert_once();
}

#[rstest]
#[tokio::test]
async fn half_an_answer_to_anything_else_does_no_harm(#[values(Rskafka, Wire)] reader: ReaderKind) {
    for api in [Api::Metadata, Api::ApiVersions, Api::ListOffsets] {
        let world = World::new(reader, 2).await;
        world.fill(20);
        let cut = world.sandbox.fault(Fault::on(api).times(3), Action::TruncatedFrame);
        world.run_and_audit().await.0.assert_once();
        assert!(cut.fired() >= 2, "{api:?}");
    }
}

#[rstest]
#[tokio::test]
async fn a_slow_broker_is_waited_for(#[values(Rskafka, Wire)] reader: ReaderKind) {
    once_despite(reader, Fault::on(Api::Produce), 4, Action::Delay(Duration::from_millis(50))).await;
}

#[rstest]
#[tokio::test]
async fn an_answer_larger_than_allowed_names_the_key_and_goes_on_when_it_passes(
    #[values(Rskafka, Wire)] reader: ReaderKind,
) {
    let mut world = World::new(reader, 1).await;
    world.config.kafka.max_frame_bytes = "256KiB".parse().unwrap();
    world.config.kafka.request_timeout = Duration::from_secs(5);
    world.fill(20);
    let pipeline = world.start().await;
    world.until_done(&pipeline).await;
    for api in [Api::Fetch, Api::Metadata] {
        let huge = world.sandbox.fault(Fault::on(api).forever(), Action::Oversize(300 * 1024));
        world.fill(20);
        pipeline.until_unready("kafka.max_frame_bytes allows 262144: raise it").await;
        assert!(huge.fired() > 0);
        huge.remove();
        pipeline.until_ready().await;
        world.until_done(&pipeline).await;
    }
    world.finish(pipeline).await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn a_cluster_of_many_topics_whose_list_rskafka_can_not_take_is_read_by_the_wire(
    #[values(Rskafka, Wire)] reader: ReaderKind,
) {
    let mut world = World::new(reader, 1).await;
    for number in 0..400 {
        world.sandbox.create_topic(&format!("{number:03}-{}", "x".repeat(200)), 1).unwrap();
    }
    world.config.source.reader = ReaderKind::Rskafka; // asks for all topics when it connects
    world.config.kafka.max_frame_bytes = "64KiB".parse().unwrap();
    world.config.source.max_fetch_bytes = "32KiB".parse().unwrap();
    world.fill(20);
    world.run_and_audit().await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn an_answer_to_a_produce_that_is_too_large_doubles_nothing(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let (world, pipeline) = running(reader).await;
    let huge = Action::Oversize(17 << 20);
    let huge = world.sandbox.fault(Fault::on(Api::Produce).topic(OUTPUT).partition(0), huge);
    world.append(0, (0..15).map(|_| world.good()).collect());
    let (audit, _) = world.finish(pipeline).await;
    assert_eq!(huge.fired(), 1);
    audit.assert_once();
}

/// OUT_OF_ORDER_SEQUENCE_NUMBER, UNKNOWN_PRODUCER_ID, INVALID_PRODUCER_EPOCH, PRODUCER_FENCED and
/// INVALID_PRODUCER_ID_MAPPING.
const UNKNOWN_PRODUCER: [i16; 5] = [45, 59, 47, 90, 49];

#[rstest]
#[tokio::test]
async fn a_producer_that_brokers_no_longer_know_goes_on_under_another_id(#[values(Rskafka, Wire)] reader: ReaderKind) {
    for code in UNKNOWN_PRODUCER {
        let (world, pipeline) = running(reader).await;
        let ids = world.sandbox.requests(Api::InitProducerId);
        let unknown = world.sandbox.fault(Fault::on(Api::Produce).topic(OUTPUT).partition(0), Action::Error(code));
        world.fill(40);
        pipeline.until("it is unknown", || unknown.fired() == 1).await;
        world.fill(40);
        let (audit, _) = world.finish(pipeline).await;
        assert_eq!(world.sandbox.requests(Api::InitProducerId), ids + 1, "{code}");
        audit.assert_once();
    }
}

#[rstest]
#[tokio::test]
async fn without_leave_for_idempotence_it_goes_on_without(#[values(Rskafka, Wire)] reader: ReaderKind) {
    const CLUSTER_AUTHORIZATION_FAILED: i16 = 31;
    let world = World::new(reader, 2).await;
    let refused =
        world.sandbox.fault(Fault::on(Api::InitProducerId).forever(), Action::Error(CLUSTER_AUTHORIZATION_FAILED));
    world.fill(40);
    let pipeline = world.start().await;
    world.until_done(&pipeline).await;
    // One answer for each worker: none asks again.
    assert_eq!(refused.fired(), 2);
    let cut = world.sandbox.fault(Fault::on(Api::Produce).topic(OUTPUT).partition(0), Action::DisconnectAfter);
    world.append(0, (0..15).map(|_| world.good()).collect());
    let (audit, _) = world.finish(pipeline).await;
    assert_eq!((cut.fired(), audit.doubled), (1, 15), "a lost answer means a copy then");
}

#[rstest]
#[tokio::test]
async fn a_producer_id_that_is_not_given_yet_is_waited_for(#[values(Rskafka, Wire)] reader: ReaderKind) {
    const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
    let world = World::new(reader, 2).await;
    let later = Action::Error(COORDINATOR_LOAD_IN_PROGRESS);
    let later = world.sandbox.fault(Fault::on(Api::InitProducerId).times(3), later);
    world.fill(40);
    world.run_and_audit().await.0.assert_once();
    assert_eq!(later.fired(), 3);
}

#[rstest]
#[tokio::test]
async fn a_partition_that_is_stuck_holds_no_other_up(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let (world, pipeline) = running(reader).await;
    for fault in [Fault::on(Api::Fetch).topic(SOURCE).partition(0), Fault::on(Api::Produce).topic(OUTPUT).partition(0)]
    {
        let stuck = world.sandbox.fault(fault.forever(), Action::Error(56));
        // A fetch that waited already still brings this one.
        world.append(0, vec![world.good()]);
        pipeline.until("it is stuck", || stuck.fired() > 0).await;
        let end = world.sandbox.end_offset(SOURCE, 1).unwrap() + 40;
        world.fill(40);
        pipeline.until("the other goes on", || world.stored(1) == Some(end)).await;
        pipeline.until("it is tried again", || stuck.fired() > 2).await;
        assert!(world.missing() > 0);
        stuck.remove();
        world.until_done(&pipeline).await;
    }
    world.finish(pipeline).await.0.assert_once();
}

/// As some services send them, and Kafka's own clients ignore them.
#[rstest]
#[tokio::test]
async fn bytes_behind_the_last_field_of_an_answer_are_ignored(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = grouped(World::new(reader, 2).await);
    let trailing = world.sandbox.fault(Fault::any().forever(), Action::Trailing(3));
    world.fill(50);
    world.run_and_audit().await.0.assert_once();
    assert!(trailing.fired() > 20, "{}", trailing.fired());
}
