//! The wire reader, on a real Apache Kafka, with the real program: every record accounted for.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use login_pipeline::broker::wire::batch::{BatchBuilder, Outgoing};
use login_pipeline::config::Compression;
use login_pipeline::generator::{EventGenerator, GeneratorConfig};
use login_pipeline::record::Headers;
use support::kafka::KafkaCluster;
use support::pipeline::PipelineProcess;
use support::topics::{PATIENCE, Topics, drained, ended_in_order};
use support::transactions::Transactions;

const WIRE: [&str; 2] = ["--source.reader", "wire"];
const COMMITTED: [&str; 4] = ["--source.reader", "wire", "--source.isolation", "read_committed"];

#[tokio::test]
async fn every_one_of_200_000_events_is_accounted_for_by_the_wire() {
    if KafkaCluster::left_out() {
        return;
    }
    let topics = Topics::create(KafkaCluster::shared().await, "wire", 6).await;
    topics.generate(200_000, 11).await;
    let folder = tempfile::tempdir().unwrap();
    let mut pipeline = topics.pipeline(folder.path(), &WIRE);
    drained(&mut pipeline, 200_000.0).await;
    ended_in_order(pipeline).await;
    let audit = topics.audit().await;
    audit.assert_clean();
    assert_eq!((audit.source, audit.output + audit.dead), (200_000, 200_000));
}

#[tokio::test]
async fn leaders_that_move_are_followed_by_the_wire() {
    if KafkaCluster::left_out() {
        return;
    }
    let cluster = KafkaCluster::start(3).await;
    let names = ["in", "out", "dead"].map(|role| format!("moves-{role}"));
    for name in &names {
        let create = ["--create", "--topic", name, "--partitions", "6", "--replication-factor", "3"];
        let created = cluster.cli("org.apache.kafka.tools.TopicCommand", &create).await;
        assert!(created.status.success(), "{created:?}");
    }
    let topics = Topics { brokers: cluster.bootstrap(), names };
    topics.generate(60_000, 12).await;
    let folder = tempfile::tempdir().unwrap();
    let mut pipeline = topics.pipeline(folder.path(), &[&WIRE[..], &["--kafka.request_timeout", "5s"]].concat());
    let begun = |it: &PipelineProcess| it.metric("login_pipeline_routed_records_total") >= 5_000.0;
    pipeline.wait_for("some records to be written", PATIENCE, begun).await;
    for node in [1, 2] {
        cluster.kill(node).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        cluster.start_node(node).await;
        cluster.wait_in_sync(&topics.names[0]).await;
    }
    topics.generate(20_000, 13).await;
    drained(&mut pipeline, 80_000.0).await;
    ended_in_order(pipeline).await;
    topics.audit().await.assert_clean();
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
    drained(&mut pipeline, 5_200.0).await;
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
        batch.append(&record, Headers::NONE.iter());
    }
    (batch.finish(Compression::Lz4).unwrap(), count)
}
