//! On a real Kafka: what is killed goes on, and what is exported comes back.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use kafka_client::{Cluster, Options};
use kafka_records::batch::{BatchBuilder, Outgoing};
use login_pipeline::config::{Compression, Config};
use login_pipeline::record::Headers;
use tokio::time::{Instant, sleep};

use test_support::chaos::is_long;
use test_support::dead_letters::login;
use test_support::dead_letters::{PREFIX, command, dlq, told};
use test_support::kafka::KafkaCluster;
use test_support::topics::PATIENCE;
use test_support::wire;

/// The records are of long ago: where a test takes longer than retention's first look, nothing would be left of them.
const FOR_GOOD: &[(&str, &str)] = &[("retention.ms", "-1")];

/// What a kill may double: `BATCH_RECORDS` of the replay.
const BATCH_RECORDS: usize = 1_000;

/// So many dead letters in partition 0 of a topic, of records of `source`, keyed by their number.
async fn produce(brokers: &str, topic: &str, source: &str, records: usize, value: impl Fn(usize) -> String) {
    let headers = [("topic", source), ("partition", "0"), ("reason", "wrong_type"), ("replay.count", "0")];
    let headers = headers.map(|(name, value)| (format!("{PREFIX}{name}"), value));
    let cluster = cluster(brokers);
    let mut number = 0;
    while number < records {
        let mut batch = BatchBuilder::default();
        for _ in 0..700.min(records - number) {
            let key = number.to_string();
            let value = value(number);
            let (key, value) = (Some(key.as_bytes()), Some(value.as_bytes()));
            let record = Outgoing { timestamp_ms: 1_767_323_045_000, key, value };
            let headers = headers.each_ref().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())));
            batch.append(&record, Headers::Borrowed(&headers));
            number += 1;
        }
        let batch = batch.finish(Compression::None).unwrap();
        cluster.produce(topic, 0, batch, Duration::from_secs(30)).await.unwrap();
    }
}

fn cluster(brokers: &str) -> Cluster {
    let kafka = login_pipeline::config::Kafka { brokers: vec![brokers.to_owned()], ..Config::default().kafka };
    Cluster::new(Options::from(&kafka))
}

/// A replay at work. Dropped, it is killed.
struct Replay(Child);

impl Drop for Replay {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_is_killed_loses_nothing() {
    if KafkaCluster::left_out() {
        return;
    }
    killed("killed", None, "replay").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_that_is_killed_loses_nothing_and_leaves_open_what_fails() {
    if KafkaCluster::left_out() {
        return;
    }
    killed("killed-retry", None, "retry").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_of_a_file_that_is_killed_loses_nothing() {
    if KafkaCluster::left_out() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    killed("killed-file", Some(&folder.path().join("dead.ndjson")), "replay").await;
}

/// One in so many fails still, where they are retried.
const ONE_FAILS: usize = 8;

async fn killed(test: &str, file: Option<&Path>, command_name: &str) {
    let records: usize = if is_long() { 100_000 } else { 20_000 };
    let kafka = KafkaCluster::shared().await;
    let brokers = kafka.bootstrap();
    let [topic, source, output] = ["dead", "in", "out"].map(|role| format!("{test}-{role}"));
    for topic in [&topic, &source, &output] {
        kafka.create_topic(topic, 1, FOR_GOOD).await;
    }
    let fails = |number: usize| (number / 100).is_multiple_of(ONE_FAILS);
    let value = |number| if fails(number) { "{}".to_owned() } else { login("10.0.0.1", "u", "RU") };
    produce(&brokers, &topic, &source, records, value).await;
    let (to, due) = match command_name {
        "retry" => (&output, (0..records).filter(|number| !fails(*number)).count()),
        _ => (&source, records),
    };
    let places = ["--dead_letter.topic", &topic, "--source.topic", &source, "--output.topic", &output];
    let mut args = [&[command_name, "--yes"][..], &places].concat();
    if let Some(file) = file.map(|file| file.to_str().unwrap()) {
        told(dlq(&brokers, &["export", "--output", file, "--dead_letter.topic", &topic]).await);
        args.extend(["--from-file", file]);
    }
    let begun = Instant::now();
    let rate = (due / 10).to_string();
    for part in 1..=3 {
        let mut work = command(&brokers, &[&args[..], &["--rate", &rate]].concat());
        let mut work = Replay(work.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let until = Instant::now() + PATIENCE;
        let enough = i64::try_from(due * part / 5).unwrap();
        while wire::end(&brokers, to, 0).await.unwrap() < enough {
            assert!(Instant::now() < until, "nothing is written");
            assert!(work.0.try_wait().unwrap().is_none(), "it ended before it was killed");
            sleep(Duration::from_millis(5)).await;
        }
        work.0.kill().unwrap();
        work.0.wait().unwrap();
    }
    println!("{}", told(dlq(&brokers, &args).await));
    let mut seen: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    wire::read_partition(&brokers, to, 0, |record| *seen.entry(record.key.unwrap().to_vec()).or_default() += 1)
        .await
        .unwrap();
    let duplicated = seen.values().sum::<usize>() - seen.len();
    println!("{test}: {} written, {duplicated} duplicated by three kills, in {:?}", seen.len(), begun.elapsed());
    assert_eq!(seen.len(), due, "some are lost");
    assert!(duplicated <= 3 * BATCH_RECORDS, "{duplicated} duplicated");
    let again = told(dlq(&brokers, &args).await);
    assert!(again.contains("0 records were written"), "{again}");
    if command_name == "retry" {
        assert_eq!(wire::end(&brokers, &source, 0).await.unwrap(), 0, "nothing goes to the source");
        let stats = told(dlq(&brokers, &[&["stats"][..], &places].concat()).await);
        let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
        assert_eq!((&stats["state"]["open"], &stats["state"]["replayed"]), (&(records - due).into(), &due.into()));
        // Those alone are left to a replay.
        let replay = told(dlq(&brokers, &[&["replay", "--yes"][..], &places].concat()).await);
        assert!(replay.contains(&format!("{} records were written to {source}", records - due)), "{replay}");
    }
}

type Field = Option<&'static [u8]>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_exported_comes_back_byte_for_byte() {
    if KafkaCluster::left_out() {
        return;
    }
    let kafka = KafkaCluster::shared().await;
    let brokers = kafka.bootstrap();
    for topic in ["bytes-dead", "bytes-in"] {
        kafka.create_topic(topic, 3, FOR_GOOD).await;
    }
    // Every key with every value, and headers of all kinds.
    let fields: [Field; 6] = [
        None,
        Some(b""),
        Some(b"text"),
        Some(b"\xff\x00\xfe"),
        Some("é\u{2028}\u{9b}\"\\\n".as_bytes()),
        Some(b"\0\r\n"),
    ];
    let own: Vec<(&[u8], Field)> = [&b"a"[..], b"", b"caf\xe9", "é".as_bytes(), b"a"]
        .into_iter()
        .zip([None, Some(&b""[..]), Some(b"\xff"), Some("é".as_bytes()), None])
        .collect();
    let cluster = cluster(&brokers);
    let mut expected: BTreeMap<i32, Vec<_>> = BTreeMap::new();
    for partition in 0..3 {
        let mut batch = BatchBuilder::default();
        for (at, key) in fields.into_iter().enumerate() {
            for value in fields {
                let own = own.get(..at.min(own.len())).unwrap();
                let from = partition.to_string();
                let marks =
                    [("topic", "bytes-in"), ("partition", &from), ("reason", "invalid_utf8"), ("replay.count", "0")];
                let marks = marks.map(|(name, value)| (format!("{PREFIX}{name}"), value.to_owned()));
                let marks = marks.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())));
                let timestamp_ms = 1_767_323_045_000 + i64::from(partition);
                let headers: Vec<_> = own.iter().copied().chain(marks).collect();
                batch.append(&Outgoing { timestamp_ms, key, value }, Headers::Borrowed(&headers));
                let count = (format!("{PREFIX}replay.count").into_bytes(), Some(b"1".to_vec()));
                let own = own.iter().map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec)));
                let headers: Vec<_> = own.chain([count]).collect();
                let record = (timestamp_ms, key.map(<[u8]>::to_vec), value.map(<[u8]>::to_vec), headers);
                expected.entry(partition).or_default().push(record);
            }
        }
        let batch = batch.finish(Compression::Zstd).unwrap();
        cluster.produce("bytes-dead", partition, batch, Duration::from_secs(30)).await.unwrap();
    }

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dead.ndjson");
    let (topic, file) = (["--dead_letter.topic", "bytes-dead", "--source.topic", "bytes-in"], path.to_str().unwrap());
    told(dlq(&brokers, &[&["export", "--output", file], &topic[..]].concat()).await);
    let printed = dlq(&brokers, &[&["export"], &topic[..]].concat()).await;
    assert_eq!(printed.stdout, std::fs::read(&path).unwrap(), "to standard output the same");
    let done = told(dlq(&brokers, &[&["replay", "--yes", "--from-file", file], &topic[..]].concat()).await);
    assert!(done.contains("108 records were written to bytes-in"), "{done}");
    for (partition, expected) in expected {
        let mut found = Vec::new();
        wire::read_partition(&brokers, "bytes-in", partition, |record| {
            let vec = |field: Option<bytes::Bytes>| field.map(|bytes| bytes.to_vec());
            let headers = record.headers.into_iter().map(|(name, value)| (name.to_vec(), vec(value)));
            found.push((record.timestamp_ms, vec(record.key), vec(record.value), headers.collect::<Vec<_>>()));
        })
        .await
        .unwrap();
        assert_eq!(found, expected, "partition {partition}");
    }
}
