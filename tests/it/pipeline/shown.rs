//! That what is shown is true: lag, states, errors.

use std::time::Duration;

use kafka_sandbox::{Action, Api, Fault};
use login_pipeline::config::ReaderKind;
use login_pipeline::config::ReaderKind::{Rskafka, Wire};
use login_pipeline::observe::{PartitionReport, PartitionState};
use rstest::rstest;

use crate::pipeline::support::{OUTPUT, Pipeline, SOURCE, World, dead};

const NOT_LEADER: i16 = 6;
const NOT_ENOUGH_REPLICAS: i16 = 19;
const TOPIC_AUTHORIZATION_FAILED: i16 = 29;

fn report(pipeline: &Pipeline, partition: i32) -> Option<PartitionReport> {
    pipeline.observe.partitions.partitions().into_iter().find(|report| report.partition == partition)
}

fn state(pipeline: &Pipeline, partition: i32) -> Option<PartitionState> {
    report(pipeline, partition).map(|report| report.state)
}

/// What waits in a partition, by the sandbox's own books.
fn waiting(world: &World, partition: i32) -> u64 {
    let end = world.sandbox.end_offset(SOURCE, partition).unwrap();
    u64::try_from(end - world.stored(partition).unwrap_or(0)).unwrap()
}

/// Waits until page and metrics say how much waits.
async fn until_lag_is_true(world: &World, pipeline: &Pipeline, partition: i32) {
    let labels = format!("topic=\"{SOURCE}\",partition=\"{partition}\"");
    let is_true = || {
        let truth = waiting(world, partition);
        let told = report(pipeline, partition).and_then(|report| report.lag);
        told == Some(truth) && pipeline.metric("login_pipeline_source_lag_records{", &labels) == truth
    };
    pipeline.until(&format!("the lag of partition {partition}"), is_true).await;
}

#[rstest]
#[tokio::test]
async fn lag_of_a_blocked_partition_goes_on_growing(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::new(reader, 2).await;
    world.fill(20);
    let pipeline = world.start().await;
    world.until_done(&pipeline).await;
    for partition in [0, 1] {
        until_lag_is_true(&world, &pipeline, partition).await;
        assert_eq!(waiting(&world, partition), 0);
    }
    let refused = world
        .sandbox
        .fault(Fault::on(Api::Produce).topic(OUTPUT).partition(0).forever(), Action::Error(TOPIC_AUTHORIZATION_FAILED));
    world.send(0, 40);
    pipeline.until("it is blocked", || state(&pipeline, 0) == Some(PartitionState::Blocked)).await;
    // Nothing is fetched any more that would tell of these.
    world.send(0, 5_000);
    pipeline.until("lag", || report(&pipeline, 0).and_then(|report| report.lag).is_some_and(|lag| lag >= 5_000)).await;
    until_lag_is_true(&world, &pipeline, 0).await;
    assert_eq!(report(&pipeline, 1).and_then(|report| report.lag), Some(0), "the other has none");
    refused.remove();
    world.until_done(&pipeline).await;
    until_lag_is_true(&world, &pipeline, 0).await;
    world.finish(pipeline).await.0.assert_once();
}

/// The page shows the newest dead letters by their place and shape; nothing of them is a record's.
#[rstest]
#[tokio::test]
async fn dead_letters_are_shown_masked(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::new(reader, 1).await;
    let canary = br#"{"ip":"CANARY""#.to_vec();
    let garbage = || (world.named(None, Some(canary.clone())), dead("validate", "malformed_json"));
    world.append(0, (0..30).map(|_| garbage()).collect());
    let pipeline = world.start().await;
    world.until_done(&pipeline).await;
    let shown = || pipeline.observe.examples.newest().get("malformed_json").and_then(|newest| newest.first().cloned());
    pipeline.until("an example", || shown().is_some()).await;
    let example = shown().unwrap();
    assert_eq!((example.partition, example.stage, example.field), (0, "validate", None));
    assert_eq!(example.shape, "<14 bytes, no JSON object>");
    assert!((0..30).contains(&example.offset), "{example:?}");
    let page = pipeline.ask("GET / HTTP/1.1\r\naccept: text/html\r\n").await;
    assert!(page.contains("&lt;14 bytes, no JSON object&gt;") && !page.contains("CANARY"), "{page}");
    world.finish(pipeline).await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn what_is_done_and_not_stored_yet_waits_no_longer(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut world = World::new(reader, 1).await;
    world.config.offsets.checkpoint_interval = Duration::from_secs(3_600);
    world.append(0, (0..10).map(|_| world.good()).collect());
    let pipeline = world.start().await;
    pipeline
        .until("all is done", || report(&pipeline, 0).is_some_and(|it| (it.lag, it.lag_ms) == (Some(10), Some(0))))
        .await;
    pipeline.stop().await;
    world.audit().assert_once();
}

#[rstest]
#[tokio::test]
async fn lag_of_a_paused_partition_is_told(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut world = World::new(reader, 1).await;
    world.config.dead_letter.limits.max_consecutive = Some(10);
    world.append(0, (0..10).map(|_| world.good()).collect());
    let pipeline = world.start().await;
    world.until_done(&pipeline).await;
    let garbage = || (world.named(None, Some(b"bad".to_vec())), dead("validate", "malformed_json"));
    world.append(0, (0..100).map(|_| garbage()).collect());
    pipeline.until("it is paused", || state(&pipeline, 0) == Some(PartitionState::Paused)).await;
    world.send(0, 3_000);
    pipeline.until("lag", || report(&pipeline, 0).and_then(|report| report.lag) == Some(3_100)).await;
    let lag_ms = || report(&pipeline, 0).and_then(|report| report.lag_ms);
    let before = lag_ms().unwrap();
    pipeline.until("what waits becomes older", || lag_ms() > Some(before)).await;
    until_lag_is_true(&world, &pipeline, 0).await;
    pipeline.stop().await;
}

#[rstest]
#[tokio::test]
async fn lag_that_nobody_tells_is_unknown_and_not_0(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::new(reader, 1).await;
    world.fill(20);
    let pipeline = world.start().await;
    world.until_done(&pipeline).await;
    until_lag_is_true(&world, &pipeline, 0).await;
    for api in [Api::ListOffsets, Api::Fetch] {
        world.sandbox.fault(Fault::on(api).forever(), Action::Error(NOT_LEADER));
    }
    pipeline.until("it is unknown", || report(&pipeline, 0).is_some_and(|report| report.lag.is_none())).await;
    let metrics = pipeline.page("/metrics").await;
    assert!(!metrics.contains("login_pipeline_source_lag_records{"), "{metrics}");
    assert!(pipeline.page("/status").await.contains("\"lag\":null"));
    world.sandbox.clear_faults();
    until_lag_is_true(&world, &pipeline, 0).await;
    pipeline.stop().await;
}

#[rstest]
#[tokio::test]
async fn a_leader_that_does_not_tell_hides_no_other_partitions_lag(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::with_nodes(reader, 2, 8).await;
    let leader = |partition| world.sandbox.leader(SOURCE, partition).unwrap();
    let silent = leader(0);
    let other = (0..8).find(|partition| leader(*partition) != silent).unwrap();
    world.sandbox.fault(Fault::on(Api::Produce).topic(OUTPUT).forever(), Action::Error(TOPIC_AUTHORIZATION_FAILED));
    world.fill(20);
    let pipeline = world.start().await;
    pipeline.until("all are blocked", || (0..8).all(|it| state(&pipeline, it) == Some(PartitionState::Blocked))).await;
    // One batch is fetched ahead, and then nothing more that would tell it.
    world.fill(20);
    let has_read = |partition| report(&pipeline, partition).and_then(|it| it.position).is_some_and(|at| at.0 > 20);
    pipeline.until("more is read", || (0..8).all(has_read)).await;
    world.sandbox.fault(Fault::on(Api::ListOffsets).node(silent).forever(), Action::Silence);
    let is_known = |partition| report(&pipeline, partition).is_some_and(|report| report.lag.is_some());
    pipeline.until("it is unknown", || !is_known(0)).await;
    for more in 1..=3 {
        world.send(other, 100);
        let lag = Some(40 + 100 * more);
        pipeline.until("the others' is known", || report(&pipeline, other).and_then(|it| it.lag) == lag).await;
    }
    world.sandbox.clear_faults();
    world.finish(pipeline).await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn a_leader_is_asked_once_for_all_its_partitions(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::new(reader, 40).await;
    let pipeline = world.start().await;
    let all_known = || {
        let reports = pipeline.observe.partitions.partitions();
        reports.len() == 40 && reports.iter().all(|report| report.lag == Some(0))
    };
    pipeline.until("all lags", all_known).await;
    // The one takes its partition out of a request, and the other fires for what else is in it.
    let last = Fault::on(Api::ListOffsets).topic(SOURCE).partition(39).forever();
    let last = world.sandbox.fault(last, Action::Delay(Duration::ZERO));
    let others =
        world.sandbox.fault(Fault::on(Api::ListOffsets).topic(SOURCE).forever(), Action::Delay(Duration::ZERO));
    let requests = last.until_fired(5).await;
    assert!(others.fired().abs_diff(requests) <= 1, "{requests} requests for one, {} for 39", others.fired());
    pipeline.stop().await;
}

#[rstest]
#[tokio::test]
async fn a_partition_says_what_holds_it_up(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::new(reader, 2).await;
    world.fill(20);
    let pipeline = world.start().await;
    world.until_done(&pipeline).await;
    pipeline.until("it runs", || state(&pipeline, 0) == Some(PartitionState::Running)).await;

    // Its source, for a while.
    let unread = world.sandbox.fault(Fault::on(Api::Fetch).partition(0).forever(), Action::Error(NOT_LEADER));
    pipeline.until("it is tried again", || state(&pipeline, 0) == Some(PartitionState::Retrying)).await;
    assert_eq!(state(&pipeline, 1), Some(PartitionState::Running));
    unread.remove();
    pipeline.until("it runs", || state(&pipeline, 0) == Some(PartitionState::Running)).await;

    // Its output, which is told at the source's partition.
    let unwritten = world
        .sandbox
        .fault(Fault::on(Api::Produce).topic(OUTPUT).partition(1).forever(), Action::Error(NOT_ENOUGH_REPLICAS));
    world.fill(20);
    pipeline.until("it is tried again", || state(&pipeline, 1) == Some(PartitionState::Retrying)).await;
    let error = report(&pipeline, 1).and_then(|report| report.last_error).unwrap();
    assert_eq!(error.class, "transient");
    assert!(error.message.contains(OUTPUT) && error.message.contains("min.insync.replicas"), "{error:?}");
    let page = pipeline.page("/status").await;
    assert!(page.contains("\"state\":\"retrying\"") && page.contains("min.insync.replicas"), "{page}");
    unwritten.remove();
    world.until_done(&pipeline).await;
    pipeline.until("it runs", || state(&pipeline, 1) == Some(PartitionState::Running)).await;
    let error = report(&pipeline, 1).and_then(|report| report.last_error);
    assert!(error.is_some(), "what went wrong last stays");

    // A stop that waits for an output.
    world.sandbox.fault(Fault::on(Api::Produce).topic(OUTPUT).partition(0).forever(), Action::Error(NOT_LEADER));
    world.send(0, 20);
    pipeline.until("it is tried again", || state(&pipeline, 0) == Some(PartitionState::Retrying)).await;
    let observe = pipeline.observe.clone();
    let stopping = tokio::spawn(pipeline.stop());
    let draining = async {
        while !observe.partitions.partitions().iter().any(|report| report.state == PartitionState::Draining) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), draining).await.expect("it drains");
    world.sandbox.clear_faults();
    stopping.await.unwrap();
}

#[rstest]
#[tokio::test]
async fn a_throttled_reader_is_ready(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::new(reader, 1).await;
    world.fill(20);
    let pipeline = world.start().await;
    world.until_done(&pipeline).await;
    world.sandbox.fault(Fault::on(Api::Fetch).times(2), Action::Throttle(50));
    world.send(0, 200);
    world.until_done(&pipeline).await;
    assert_eq!(pipeline.metric("login_pipeline_retries_total", "operation=\"fetch\""), 0);
    assert_eq!(state(&pipeline, 0), Some(PartitionState::Running));
    assert_eq!(report(&pipeline, 0).and_then(|report| report.last_error), None);
    assert_eq!(pipeline.unready(), "");
    // rskafka does not tell how long it was asked to wait.
    if reader == ReaderKind::Wire {
        let metrics = pipeline.page("/metrics").await;
        let throttled = metrics.lines().find_map(|line| line.strip_prefix("login_pipeline_throttled_seconds_total "));
        let seconds: f64 = throttled.unwrap().trim().parse().unwrap();
        assert!((0.049..=0.101).contains(&seconds), "{seconds}");
    }
    world.finish(pipeline).await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn a_record_without_a_time_is_no_latency_of_55_years(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::new(reader, 1).await;
    let from = |timestamp_ms| {
        let (mut record, fate) = world.good();
        record.timestamp_ms = timestamp_ms;
        (record, fate)
    };
    for timestamp_ms in [1, 0, -1] {
        world.append(0, vec![from(timestamp_ms)]);
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let now = i64::try_from(now).unwrap();
    // Both before and behind one that has a time, and one of the future.
    world.append(0, vec![from(0), from(now), from(-1), from(now + 3_600_000)]);
    let pipeline = world.start().await;
    world.until_done(&pipeline).await;
    let seconds = |name: &str| -> f64 {
        let encoded = pipeline.observe.metrics.encode();
        let line = encoded.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    pipeline.until("it is observed", || seconds("login_pipeline_end_to_end_latency_seconds_count") > 0.0).await;
    let sum = seconds("login_pipeline_end_to_end_latency_seconds_sum");
    assert!((0.0..240.0).contains(&sum), "{sum}");
    world.finish(pipeline).await.0.assert_once();
}
