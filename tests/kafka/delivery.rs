//! The contract, on a real Apache Kafka, with the real program: every record accounted for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kafka_client::{Cluster, Options};
use kafka_records::batch::{BatchBuilder, Outgoing};
use login_pipeline::config::{Compression, Config};
use login_pipeline::record::{Header, Headers};
use test_support::kafka::KafkaCluster;
use test_support::pipeline::PipelineProcess;
use test_support::topics::{PATIENCE, Topics, drained, ended_in_order};
use test_support::wire;

#[tokio::test]
async fn every_one_of_200_000_events_is_accounted_for() {
    if KafkaCluster::left_out() {
        return;
    }
    let topics = Topics::create(KafkaCluster::shared().await, "all", 6).await;
    topics.assert_all_come_through(1, &[]).await;
}

#[tokio::test]
async fn five_kills_lose_nothing() {
    if KafkaCluster::left_out() {
        return;
    }
    let topics = Topics::create(KafkaCluster::shared().await, "kills", 6).await;
    let folder = tempfile::tempdir().unwrap();
    let interval = ["--offsets.checkpoint_interval", "200ms"];
    // As they come: of a source that is full already, a fast life would write all before it dies.
    let is_over = AtomicBool::new(false);
    let (records, ()) = tokio::join!(topics.generate_until(&is_over, 20_000.0, 200_000, 2), async {
        for _ in 0..5 {
            let mut pipeline = topics.pipeline(folder.path(), &interval);
            let begun = |it: &PipelineProcess| it.metric("login_pipeline_routed_records_total") >= 15_000.0;
            pipeline.wait_for("some records to be written", PATIENCE, begun).await;
            pipeline.sigkill();
            pipeline.wait(Duration::from_secs(10)).await;
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let mut pipeline = topics.pipeline(folder.path(), &interval);
    drained(&mut pipeline, records).await;
    ended_in_order(pipeline).await;
    let audit = topics.audit().await;
    // Each life ends after some 15,000 records, and may have stored none of those that it found there.
    audit.assert_doubled_at_most(5 * 40_000);
}

#[tokio::test]
async fn waits_for_its_broker_and_outlives_20_s_without_it() {
    if KafkaCluster::left_out() {
        return;
    }
    let cluster = KafkaCluster::start(1).await;
    let topics = Topics::create(&cluster, "outage", 6).await;
    topics.generate(200_000, 3).await;
    cluster.stop(1).await;

    let folder = tempfile::tempdir().unwrap();
    let mut pipeline = topics.pipeline(folder.path(), &["--kafka.request_timeout", "5s"]);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(pipeline.runs(), "{}", pipeline.log());
    assert_eq!(pipeline.get("/livez").unwrap().0, 200);
    cluster.start_node(1).await;

    let begun = |it: &PipelineProcess| it.metric("login_pipeline_routed_records_total") >= 20_000.0;
    pipeline.wait_for("some records to be written", PATIENCE, begun).await;
    cluster.kill(1).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(pipeline.runs(), "{}", pipeline.log());
    let (status, body) = pipeline.get("/readyz").unwrap();
    assert_eq!(status, 503, "{body}");
    cluster.start_node(1).await;

    drained(&mut pipeline, 200_000).await;
    ended_in_order(pipeline).await;
    let audit = topics.audit().await;
    // What the broker had written when it died unanswered is written again: one batch a partition.
    audit.assert_doubled_at_most(6 * 5_000);
}

#[tokio::test]
async fn a_transactional_topic_is_read_to_its_end() {
    if KafkaCluster::left_out() {
        return;
    }
    let cluster = KafkaCluster::shared().await;
    let topics = Topics::create(cluster, "transactions", 1).await;
    cluster.create_topic("transactions-plain", 1, &[]).await;
    let plain = Topics { names: topics.names.clone().map(|_| "transactions-plain".to_owned()), ..topics };
    plain.generate(5_000, 4).await;
    let topics =
        Topics { brokers: plain.brokers.clone(), names: ["in", "out", "dead"].map(|r| format!("transactions-{r}")) };
    let copier = [
        "org.apache.kafka.tools.TransactionalMessageCopier",
        "--broker-list",
        &topics.brokers,
        "--input-topic",
        "transactions-plain",
        "--input-partition",
        "0",
        "--output-topic",
        &topics.names[0],
        "--max-messages",
        "5000",
        "--consumer-group",
        "copier",
        "--transaction-size",
        "100",
        "--transactional-id",
        "copier",
    ];
    let copied = cluster.java(&copier).await;
    assert!(copied.status.success(), "{copied:?}");

    let folder = tempfile::tempdir().unwrap();
    let mut pipeline = topics.pipeline(folder.path(), &[]);
    let done = |it: &PipelineProcess| it.metric("login_pipeline_routed_records_total") >= 5_000.0;
    pipeline.wait_for("all records to be written", PATIENCE, done).await;
    drained(&mut pipeline, 5_050).await;
    ended_in_order(pipeline).await;
    topics.audit().await.assert_clean();
}

#[tokio::test]
async fn headers_of_any_name_null_and_repeated_come_through() {
    if KafkaCluster::left_out() {
        return;
    }
    let topics = Topics::create(KafkaCluster::shared().await, "poison", 1).await;
    let cluster = Cluster::new(Options::from(&config_for(&topics.brokers)));
    topics.generate(1_000, 5).await;
    let null = Header { name: "trace".into(), value: None };
    let twice = Header { name: "trace".into(), value: Some("x".into()) };
    let latin_1 = Header { name: bytes::Bytes::from_static(b"caf\xe9"), value: Some("y".into()) };
    let mut batch = BatchBuilder::default();
    let record = Outgoing { timestamp_ms: 1_700_000_000_000, key: None, value: Some(b"{}") };
    batch.append(&record, Headers::List(&[null, twice, latin_1]));
    let batch = batch.finish(Compression::Zstd).unwrap();
    cluster.produce(&topics.names[0], 0, batch, Duration::from_secs(10)).await.unwrap();
    topics.generate(1_000, 6).await;

    let folder = tempfile::tempdir().unwrap();
    let mut pipeline = topics.pipeline(folder.path(), &[]);
    drained(&mut pipeline, 2_001).await;
    ended_in_order(pipeline).await;
    let audit = topics.audit().await;
    audit.assert_clean();
    assert_eq!(audit.source, 2_001);
    let (mut null_headers, mut latin_1_names) = (0, 0);
    let count = |record: test_support::records::RawRecord| {
        null_headers += record.headers.iter().filter(|(name, value)| name == "trace" && value.is_none()).count();
        latin_1_names += record.headers.iter().filter(|(name, _)| **name == b"caf\xe9"[..]).count();
    };
    wire::read_partition(&topics.brokers, &topics.names[2], 0, count).await.unwrap();
    assert_eq!((null_headers, latin_1_names), (1, 1));
}

/// Kafka's default for timestamps ahead, an hour, on both sides, and dead letters in a compacted topic: either
/// held the partition for good.
#[tokio::test]
async fn what_a_topic_refuses_costs_that_record() {
    if KafkaCluster::left_out() {
        return;
    }
    let kafka = KafkaCluster::shared().await;
    let [source, output, dead] = ["refused-in", "refused-out", "refused-dead"];
    kafka.create_topic(source, 1, &[("message.timestamp.after.max.ms", "9223372036854775807")]).await;
    kafka.create_topic(output, 1, &[]).await;
    kafka.create_topic(dead, 1, &[("cleanup.policy", "compact")]).await;
    let topics = Topics { brokers: kafka.bootstrap(), names: [source, output, dead].map(str::to_owned) };
    let good = br#"{"user_id":"u","app_version":"2.3.0","ip":"10.0.0.1","locale":"RU","device_id":"d","timestamp":1694479551}"#;
    let (now, mut batch) = (kafka_client::clock::unix_ms(), BatchBuilder::default());
    for n in 0..500 {
        let timestamp_ms = if n == 250 { now + 3 * 3_600_000 } else { now };
        let (key, value) = if n == 300 { (None, &b"bad"[..]) } else { (Some(&b"key"[..]), &good[..]) };
        batch.append(&Outgoing { timestamp_ms, key, value: Some(value) }, Headers::NONE);
    }
    let batch = batch.finish(Compression::None).unwrap();
    let cluster = Cluster::new(Options::from(&config_for(&topics.brokers)));
    cluster.produce(source, 0, batch, Duration::from_secs(10)).await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let mut pipeline = topics.pipeline(folder.path(), &[]);
    drained(&mut pipeline, 500).await;
    ended_in_order(pipeline).await;
    let (mut written, mut letters) = (0, Vec::new());
    wire::read_partition(&topics.brokers, output, 0, |_| written += 1).await.unwrap();
    wire::read_partition(&topics.brokers, dead, 0, |record| letters.push(record)).await.unwrap();
    assert_eq!((written, letters.len()), (498, 2));
    let why = |letter: &test_support::records::RawRecord| letter.header("__dlq.errors.message").unwrap().to_owned();
    let untimely = letters.iter().filter(|letter| why(letter).contains("message.timestamp.after.max.ms"));
    assert_eq!(untimely.count(), 1, "{letters:?}");
    let places = letters.iter().filter(|letter| letter.key.as_deref() == Some(b"refused-in/0/300"));
    assert_eq!(places.count(), 1, "{letters:?}");

    let usual = PipelineProcess::usual_args(&topics.brokers, source, output, dead, folder.path());
    let check = test_support::pipeline::command().args(["check", "--connect"]).args(usual).output().unwrap();
    let said = String::from_utf8_lossy(&check.stdout) + String::from_utf8_lossy(&check.stderr);
    assert!(!check.status.success(), "{said}");
    assert!(
        said.contains("dead letters refused-dead: 1 partitions, Write is allowed, but cleanup.policy=compact"),
        "{said}"
    );
}

/// With the program of a release build (`LOGIN_PIPELINE_BIN`) this also holds the bound on memory;
/// a debug build is larger by itself.
#[tokio::test]
async fn a_stalled_dead_letter_broker_is_backpressure_in_bounded_memory() {
    if KafkaCluster::left_out() {
        return;
    }
    let cluster = KafkaCluster::start(3).await;
    let on = ["1,2,1,2,1,2", "2,1,2,1,2,1", "3,3,3,3,3,3"].map(|nodes| ["--replica-assignment", nodes]);
    let topics = Topics::create_with(&cluster, "stall", on.each_ref().map(|options| &options[..])).await;
    let count = if std::env::var_os("LOGIN_PIPELINE_BIN").is_some() { 1_000_000 } else { 100_000 };
    topics.generate(count, 7).await;

    let folder = tempfile::tempdir().unwrap();
    // Silence shows in readiness once a request has waited in vain.
    let mut pipeline = topics.pipeline(folder.path(), &["--kafka.request_timeout", "8s"]);
    let begun = |it: &PipelineProcess| it.metric("login_pipeline_routed_records_total") >= 5_000.0;
    pipeline.wait_for("some records to be written", PATIENCE, begun).await;
    cluster.pause(3);
    tokio::time::sleep(Duration::from_secs(30)).await;
    let (status, reasons) = pipeline.get("/readyz").unwrap();
    cluster.resume(3);
    assert_eq!(status, 503, "{reasons}");
    drained(&mut pipeline, count).await;
    let peak = pipeline.peak_rss_bytes() / 1024;
    println!("peak RSS {peak} KiB");
    if std::env::var_os("LOGIN_PIPELINE_BIN").is_some() {
        assert!(peak <= 32 * 1024, "{peak} KiB");
    }
    ended_in_order(pipeline).await;
    let audit = topics.audit().await;
    audit.assert_doubled_at_most(6 * 5_000);
}

fn config_for(brokers: &str) -> login_pipeline::config::Kafka {
    let brokers = brokers.split(',').map(str::to_owned).collect();
    login_pipeline::config::Kafka { brokers, ..Config::default().kafka }
}
