//! Without faults: everything arrives, where it must and as it must.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka_client::{Cluster, Options};
use kafka_records::batch::{BatchBuilder, Outgoing};
use kafka_sandbox::{Api, NewRecord};
use login_pipeline::config::ReaderKind::{Rskafka, Wire};
use login_pipeline::config::{
    AssignmentMode, Compression, Condition, CreateTopics, Kafka, Partitioner, ReaderKind, RouteAction, RouteRule,
    StartAt, Test,
};
use login_pipeline::record::Headers;
use rstest::rstest;

use crate::pipeline::support::{DLQ, Fate, GOOD, OUTPUT, SOURCE, Sent, World, dead};

const ABROAD: &str = "user-login-abroad";

#[rstest]
#[tokio::test]
async fn good_and_bad_records_of_all_partitions_arrive_once(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::new(reader, 6).await;
    world.fill(200);
    let pipeline = world.start().await;
    world.until_done(&pipeline).await;
    world.fill(50);
    let (audit, summary) = world.finish(pipeline).await;
    audit.assert_once();
    assert_eq!(audit.good + audit.dead, 6 * 250);
    assert!(audit.dead > 200, "{audit:?}");
    let totals = summary.counted.totals;
    assert_eq!(totals.records_in, 6 * 250);
    assert_eq!((totals.records_out, totals.records_dead), (audit.good as u64, audit.dead as u64));
    assert_eq!(summary.counted.errors.values().sum::<u64>(), audit.dead as u64);
    for partition in 0..6 {
        assert_eq!(world.stored(partition), Some(250), "what was acknowledged is stored");
    }
}

#[rstest]
#[tokio::test]
async fn fewer_output_partitions_than_source_partitions(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::without_topics(reader, 1).await;
    for (topic, partitions) in [(SOURCE, 5), (OUTPUT, 2), (DLQ, 1)] {
        world.sandbox.create_topic(topic, partitions).unwrap();
    }
    world.fill(60);
    world.run_and_audit().await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn keyed_records_of_one_key_stay_in_one_partition(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut world = World::new(reader, 3).await;
    world.config.output.partitioner = Partitioner::Key;
    world.fill(100);
    // Kafka's own test has the hash of this key: 479470107.
    let (mut record, fate) = world.good();
    record.key = Some("abc".into());
    world.append(0, vec![(record, fate)]);
    world.run_and_audit().await.0.assert_once();

    let mut places: BTreeMap<_, BTreeSet<i32>> = BTreeMap::new();
    for partition in 0..3 {
        for record in world.sandbox.read(OUTPUT, partition).unwrap() {
            places.entry(record.key).or_default().insert(partition);
        }
    }
    assert!(places.values().all(|places| places.len() == 1));
    assert_eq!(places.values().flatten().collect::<BTreeSet<_>>().len(), 3);
    assert_eq!(places[&Some("abc".into())], BTreeSet::from([479_470_107 % 3]));
}

#[rstest]
#[tokio::test]
async fn null_keys_tombstones_and_empty_values(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::new(reader, 1).await;
    let (mut unkeyed, fate) = world.good();
    unkeyed.key = None;
    let tombstone = || (world.named(Some(b"key".to_vec()), None), dead("validate", "tombstone"));
    let empty = (world.named(None, Some(Vec::new())), dead("validate", "tombstone"));
    world.append(0, vec![tombstone(), (unkeyed, fate), empty, tombstone(), world.good()]);
    let (audit, _) = world.run_and_audit().await;
    assert_eq!((audit.good, audit.dead, audit.doubled), (2, 3, 0));
}

#[rstest]
#[tokio::test]
async fn unknown_fields_and_old_enrichment_come_out_right(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::new(reader, 1).await;
    for (rest, fate) in [
        (r#""timestamp":"1694479551","device_type":"iOS""#, GOOD),
        (
            r#""timestamp":1694479551123,"processed_at":"old","latency_ms":-1,"x":{"y":[1.50,12345678901234567890]}"#,
            GOOD,
        ),
        (r#""timestamp":4102444800,"device_type":"""#, GOOD), // the future
        (r#""timestamp":1694479551,"device_type":null"#, GOOD),
        (r#""timestamp":1694479551,"a":1,"a":2"#, dead("validate", "duplicate_field")),
        (r#""timestamp":0"#, dead("validate", "invalid_value")),
    ] {
        let value = format!(
            r#"{{"user_id":"u","app_version":"2.3","ip":"::1","locale":"RU","device_id":"593-47-5928",{rest}}}"#
        );
        world.append(0, vec![(world.named(None, Some(value.into_bytes())), fate)]);
    }
    let (audit, _) = world.run_and_audit().await;
    assert_eq!((audit.good, audit.dead, audit.doubled), (4, 2, 0));
    let numbers = br#""x":{"y":[1.50,12345678901234567890]}"#;
    let written = world.sandbox.read(OUTPUT, 0).unwrap();
    assert!(written[1].value.as_ref().unwrap().windows(numbers.len()).any(|window| window == numbers));
}

#[rstest]
#[tokio::test]
async fn rules_route_to_a_topic_and_drop_counted(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut world = World::new(reader, 2).await;
    world.sandbox.create_topic(ABROAD, 2).unwrap();
    let rule = |locale: &str, action| {
        let when = Condition::field("locale", Test::Equals(locale.to_owned()));
        RouteRule { name: locale.to_owned(), when, action }
    };
    world.config.route = vec![rule("RU", RouteAction::Topic(ABROAD.to_owned())), rule("CA", RouteAction::Drop)];
    for partition in 0..2 {
        let records = (0..300).map(|_| {
            let (record, fate) = world.generated();
            let locale =
                record.value.as_ref().and_then(|value| serde_json::from_slice::<serde_json::Value>(value).ok());
            let locale = locale.and_then(|event| Some(event.get("locale")?.as_str()?.to_owned()));
            let fate = match (fate, locale.as_deref()) {
                (GOOD, Some("RU")) => Fate::Good(ABROAD),
                (GOOD, Some("CA")) => Fate::Dropped,
                (fate, _) => fate,
            };
            (record, fate)
        });
        world.append(partition, records.collect());
    }
    let pipeline = world.start().await;
    world.until_done(&pipeline).await;
    let counted = pipeline.metric("login_pipeline_routed_records_total", "\"dropped\"");
    let ruled = pipeline.metric("login_pipeline_rule_records_total", "\"CA\"");
    let (audit, summary) = world.finish(pipeline).await;
    audit.assert_once();
    assert!(audit.dropped > 0 && world.sandbox.end_offset(ABROAD, 0).unwrap() > 0);
    assert_eq!((counted, ruled), (audit.dropped as u64, audit.dropped as u64));
    let rules = summary.counted.distributions.iter().find(|counts| counts.name == "rule").unwrap();
    assert_eq!(
        rules.total,
        ruled + (0..2).map(|p| world.sandbox.end_offset(ABROAD, p).unwrap().cast_unsigned()).sum::<u64>()
    );
    assert_eq!(summary.counted.totals.records_dropped, audit.dropped as u64);
}

#[rstest]
#[tokio::test]
async fn a_topic_of_dropped_records_is_stored_to_its_end(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut world = World::new(reader, 1).await;
    let when = Condition::field("ip", Test::Matches(".".to_owned()));
    world.config.route = vec![RouteRule { name: "all".to_owned(), when, action: RouteAction::Drop }];
    let records = (0..50).map(|_| (world.good().0, Fate::Dropped)).collect();
    world.append(0, records);
    assert_eq!(world.run_and_audit().await.0.dropped, 50);
    assert_eq!(world.stored(0), Some(50));
}

#[rstest]
#[tokio::test]
async fn new_partitions_are_found_and_read_from_their_start(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::new(reader, 1).await;
    world.fill(20);
    let pipeline = world.start().await;
    world.until_done(&pipeline).await;
    world.sandbox.add_partitions(SOURCE, 3).unwrap();
    world.fill(20);
    let (audit, _) = world.finish(pipeline).await;
    audit.assert_once();
    assert!(world.stored(2).is_some());
}

#[rstest]
#[tokio::test]
async fn missing_topics_are_created_where_the_configuration_says_so(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut world = World::without_topics(reader, 1).await;
    world.config.topics.create = CreateTopics::Missing;
    world.config.topics.partitions = Some(3);
    let pipeline = world.start().await;
    pipeline.until("all topics are there", || world.sandbox.topics().len() == 3).await;
    assert_eq!([SOURCE, OUTPUT, DLQ].map(|topic| world.sandbox.partitions(topic)), [3, 3, 3]);
    world.fill(30);
    world.finish(pipeline).await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn missing_topics_are_not_created_otherwise(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::without_topics(reader, 1).await;
    let pipeline = world.start().await;
    pipeline.until("it has asked", || world.sandbox.requests(Api::Metadata) >= 3).await;
    assert!(world.sandbox.topics().is_empty());
    assert_eq!(world.sandbox.requests(Api::CreateTopics), 0);
    pipeline.stop().await;
}

#[rstest]
#[tokio::test]
async fn latest_begins_at_the_end_and_keeps_that_place(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut world = World::new(reader, 1).await;
    world.config.source.start = StartAt::Latest;
    world.fill(40);
    world.forget(|_| true);
    let pipeline = world.start().await;
    pipeline.until("where it begins is stored", || world.stored(0) == Some(40)).await;
    pipeline.stop().await;
    // Written while nothing runs: a later end must not be where it begins now.
    world.fill(25);
    let pipeline = world.start().await;
    world.until_done(&pipeline).await;
    world.fill(5);
    world.finish(pipeline).await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn instances_share_the_partitions_by_ordinal(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut world = World::new(reader, 5).await;
    world.fill(40);
    let folders: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut instances = Vec::new();
    for (ordinal, folder) in (0..3).zip(&folders) {
        world.config.assignment.mode = AssignmentMode::Ordinal { ordinal, replicas: 3 };
        world.config.offsets.path = folder.path().to_owned();
        instances.push(world.start().await);
    }
    instances[0].until("all is delivered", || world.missing() == 0).await;
    for instance in instances {
        assert!(instance.stop().await.counted.totals.records_in > 0);
    }
    world.audit().assert_once();
}

#[rstest]
#[tokio::test]
async fn only_the_listed_partitions_are_read(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut world = World::new(reader, 4).await;
    world.config.assignment.mode = AssignmentMode::Static { partitions: Some(vec![1, 3]) };
    world.fill(30);
    world.forget(|sent| sent.partition % 2 == 0);
    world.run_and_audit().await.0.assert_once();
    assert_eq!((world.stored(0), world.stored(2)), (None, None));
}

#[rstest]
#[tokio::test]
async fn many_partitions_share_a_small_budget(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut world = World::new(reader, 24).await;
    world.config.pipeline.max_in_flight_bytes = "16KiB".parse().unwrap();
    world.fill(60);
    world.run_and_audit().await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn every_codec_is_written(#[values(Rskafka, Wire)] reader: ReaderKind) {
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let mut world = World::new(reader, 1).await;
        world.config.output.compression = codec;
        world.fill(100);
        world.run_and_audit().await.0.assert_once();
    }
}

#[rstest]
#[tokio::test]
async fn every_codec_is_read(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::new(reader, 1).await;
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        send_compressed(&world, (0..60).map(|_| world.generated()).collect(), codec).await;
    }
    world.run_and_audit().await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn a_batch_that_decompresses_to_far_more_than_a_fetch_is_read(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut world = World::new(reader, 1).await;
    world.config.pipeline.max_in_flight_bytes = "64KiB".parse().unwrap();
    for codec in [Compression::Zstd, Compression::Gzip] {
        let long = |_| {
            let (mut record, fate) = world.good();
            let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
            record.value = Some(value.replacen('{', &format!("{{\"pad\":\"{}\",", "x".repeat(20_000)), 1).into());
            (record, fate)
        };
        send_compressed(&world, (0..100).map(long).collect(), codec).await;
    }
    world.send(0, 50);
    world.run_and_audit().await.0.assert_once();
}

/// Appends one compressed batch.
async fn send_compressed(world: &World, records: Vec<(NewRecord, Fate)>, codec: Compression) {
    let kafka = Kafka { brokers: vec![world.sandbox.bootstrap()], ..world.config.kafka.clone() };
    let mut batch = BatchBuilder::default();
    for (record, _) in &records {
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        let headers = record.headers.iter().map(|h| (&*h.name, h.value.as_deref())).collect::<Vec<_>>();
        batch.append(&Outgoing { timestamp_ms: record.timestamp_ms, key, value }, Headers::Borrowed(&headers));
    }
    let (batch, cluster) = (batch.finish(codec).unwrap(), Cluster::new(Options::from(&kafka)));
    let written = cluster.produce(SOURCE, 0, batch, Duration::from_secs(10)).await.unwrap();
    for ((record, fate), offset) in records.into_iter().zip(written.base_offset.0..) {
        world.enter(Sent { partition: 0, offset, record, fate });
    }
}
