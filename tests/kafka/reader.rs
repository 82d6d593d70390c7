//! The wire reader, on a real Apache Kafka, with the real program: every record accounted for.

use std::time::Duration;

use kafka_records::batch::{BatchBuilder, Outgoing};
use login_pipeline::config::Compression;
use login_pipeline::generator::{EventGenerator, GeneratorConfig};
use login_pipeline::record::Headers;
use test_support::kafka::KafkaCluster;
use test_support::pipeline::PipelineProcess;
use test_support::topics::{PATIENCE, Topics, drained, ended_in_order};
use test_support::transactions::Transactions;
use tokio::time::{Instant, sleep};

const WIRE: [&str; 2] = ["--source.reader", "wire"];
const COMMITTED: [&str; 4] = ["--source.reader", "wire", "--source.isolation", "read_committed"];

#[tokio::test]
async fn every_one_of_200_000_events_is_accounted_for_by_the_wire() {
    if KafkaCluster::left_out() {
        return;
    }
    let topics = Topics::create(KafkaCluster::shared().await, "wire", 6).await;
    topics.assert_all_come_through(11, &WIRE).await;
}

#[tokio::test]
async fn leaders_that_move_are_followed_by_the_wire() {
    if KafkaCluster::left_out() {
        return;
    }
    let cluster = KafkaCluster::start(3).await;
    let replicated = ["--partitions", "6", "--replication-factor", "3"];
    let topics = Topics::create_with(&cluster, "moves", [&replicated; 3]).await;
    topics.generate(60_000, 12).await;
    let folder = tempfile::tempdir().unwrap();
    let mut pipeline = topics.pipeline(folder.path(), &[&WIRE[..], &["--kafka.request_timeout", "5s"]].concat());
    let begun = |it: &PipelineProcess| it.metric("login_pipeline_routed_records_total") >= 5_000.0;
    pipeline.wait_for("some records to be written", PATIENCE, begun).await;
    for node in [1, 2] {
        cluster.kill(node).await;
        sleep(Duration::from_secs(5)).await;
        cluster.start_node(node).await;
        cluster.wait_in_sync(&topics.names[0]).await;
    }
    topics.generate(20_000, 13).await;
    drained(&mut pipeline, 80_000).await;
    ended_in_order(pipeline).await;
    topics.audit().await.assert_clean();
}

/// Three nodes, and a source with replicas on the first two, which may be led uncleanly.
async fn with_unclean_source(test: &str) -> (KafkaCluster, Topics) {
    let cluster = KafkaCluster::start(3).await;
    let unclean = ["unclean.leader.election.enable=true", "min.insync.replicas=1"];
    let source = ["--replica-assignment", "1:2", "--config", unclean[0], "--config", unclean[1]];
    let other = ["--replica-assignment", "3:2:1"];
    let topics = Topics::create_with(&cluster, test, [&source, &other, &other]).await;
    (cluster, topics)
}

/// The first node dies, and the second, which has missed what came since it died itself, leads.
async fn elect_uncleanly(cluster: &KafkaCluster, topic: &str) {
    cluster.kill(1).await;
    cluster.start_node(2).await;
    let until = Instant::now() + PATIENCE;
    while cluster.leader(topic, 0).await != Some(2) {
        assert!(Instant::now() < until, "node 2 does not lead");
        sleep(Duration::from_millis(200)).await;
    }
}

fn truncations(pipeline: &PipelineProcess) -> f64 {
    pipeline.metric("login_pipeline_source_log_truncations_total")
}

/// What was lost has its outputs still; all that is there now has them, too, and once.
async fn assert_read_on(topics: &Topics) {
    let audit = topics.audit().await;
    assert_eq!((audit.source, audit.lost, audit.wrong_fields), (18_000, 0, 0));
    assert_eq!(audit.output + audit.dead, 23_000);
}

#[tokio::test]
async fn what_an_unclean_election_took_is_told_and_what_came_instead_is_read() {
    if KafkaCluster::left_out() {
        return;
    }
    let (cluster, topics) = with_unclean_source("unclean").await;
    let folder = tempfile::tempdir().unwrap();
    let mut pipeline = topics.pipeline(folder.path(), &[&WIRE[..], &["--kafka.request_timeout", "5s"]].concat());
    topics.generate(10_000, 15).await;
    drained(&mut pipeline, 10_000).await;
    cluster.kill(2).await;
    topics.generate(5_000, 16).await;
    drained(&mut pipeline, 15_000).await;
    elect_uncleanly(&cluster, &topics.names[0]).await;
    topics.generate(8_000, 17).await;
    drained(&mut pipeline, 18_000).await;
    assert!(truncations(&pipeline) == 1.0, "{}", pipeline.metrics());
    let log = pipeline.log();
    assert_eq!(log.matches("the log was truncated").count(), 1, "{log}");
    ended_in_order(pipeline).await;
    let checkpoint = std::fs::read_to_string(folder.path().join("offsets").join(&topics.names[0]).join("0")).unwrap();
    assert!(checkpoint.contains("next_offset 18000\n") && !checkpoint.contains("leader_epoch -"), "{checkpoint}");
    assert_read_on(&topics).await;
}

/// The epoch that a transaction committed with the offset tells it, too, though the log is longer by
/// then than it was.
#[tokio::test]
async fn a_committed_offset_tells_of_an_unclean_election_that_nobody_saw() {
    if KafkaCluster::left_out() {
        return;
    }
    let (cluster, topics) = with_unclean_source("unseen").await;
    let folder = tempfile::tempdir().unwrap();
    let once = ["--delivery.guarantee", "exactly_once", "--offsets.store", "group", "--group.id", "unseen"];
    let args = [&WIRE[..], &once, &["--kafka.request_timeout", "5s"]].concat();
    let mut pipeline = topics.pipeline(folder.path(), &args);
    topics.generate(10_000, 18).await;
    drained(&mut pipeline, 10_000).await;
    cluster.kill(2).await;
    topics.generate(5_000, 19).await;
    drained(&mut pipeline, 15_000).await;
    ended_in_order(pipeline).await;
    elect_uncleanly(&cluster, &topics.names[0]).await;
    topics.generate(8_000, 20).await;
    let mut pipeline = topics.pipeline(folder.path(), &args);
    drained(&mut pipeline, 18_000).await;
    assert!(truncations(&pipeline) == 1.0, "{}", pipeline.metrics());
    ended_in_order(pipeline).await;
    assert_read_on(&topics).await;
}

#[tokio::test]
async fn nothing_of_aborted_transactions_comes_out_and_all_else_does_once() {
    if KafkaCluster::left_out() {
        return;
    }
    let cluster = KafkaCluster::shared().await;
    let topics = Topics::create(cluster, "aborted", 1).await;
    let config = GeneratorConfig { seed: 14, bad: 0.02, keyed: true, ..GeneratorConfig::default() };
    let mut events = EventGenerator::new(config).unwrap();
    let mut producers = Vec::new();
    for id in ["aborted-a", "aborted-b"] {
        producers.push(Transactions::new(&topics.brokers, id, &topics.names[0], 0).await.unwrap());
    }
    // Two producers take turns; of ten transactions three are given up.
    let (mut committed, mut aborted) = (0, 0);
    for round in 0..100 {
        for part in 0..2 {
            for producer in &mut producers {
                let (batch, records) = batch(&mut events, if part == 0 { 20 } else { 5 });
                producer.write(batch, records).await.unwrap();
            }
        }
        for (producer, which) in producers.iter_mut().zip(0..) {
            let commit = (round + which) % 10 >= 3;
            producer.end(commit).await.unwrap();
            *(if commit { &mut committed } else { &mut aborted }) += 25_u64;
        }
    }
    assert_eq!((committed, aborted), (3_500, 1_500));

    let folder = tempfile::tempdir().unwrap();
    let mut pipeline =
        topics.pipeline(folder.path(), &[&COMMITTED[..], &["--source.max_fetch_bytes", "8KiB"]].concat());
    #[expect(clippy::cast_precision_loss, reason = "a count of records")]
    let all = committed as f64;
    let done = |it: &PipelineProcess| it.metric("login_pipeline_routed_records_total") >= all;
    pipeline.wait_for("all that is committed to be written", PATIENCE, done).await;
    drained(&mut pipeline, 5_200).await;
    ended_in_order(pipeline).await;
    // The audit reads the source as a consumer does that reads what is committed.
    let audit = topics.audit().await;
    audit.assert_clean();
    assert_eq!((audit.source, audit.output + audit.dead), (committed, committed));
}

/// So many events as one batch.
fn batch(events: &mut EventGenerator, count: i32) -> (bytes::Bytes, i32) {
    let mut batch = BatchBuilder::default();
    for _ in 0..count {
        let event = events.next_record();
        let record =
            Outgoing { timestamp_ms: 1_700_000_000_000, key: event.key.as_deref(), value: event.value.as_deref() };
        batch.append(&record, Headers::NONE);
    }
    (batch.finish(Compression::Lz4).unwrap(), count)
}
