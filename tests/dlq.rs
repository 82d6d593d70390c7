//! The `dlq` subcommand: on the sandbox what it says and writes, on a real Kafka what survives kills.
//! `CHAOS=long` (`make chaos`) is the long form of these.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use login_pipeline::broker::wire::batch::{BatchBuilder, Outgoing};
use login_pipeline::broker::wire::{Cluster, Options};
use login_pipeline::config::{Compression, Config};
use login_pipeline::record::Headers;
use login_pipeline::sandbox::{NewBatch, NewRecord, Sandbox, StoredRecord};
use serde_json::Value;
use support::chaos::is_long;
use support::kafka::KafkaCluster;
use support::pipeline::program;
use support::topics::PATIENCE;
use support::wire;
use tokio::time::{Instant, sleep};

const PREFIX: &str = "__dlq.errors.";
/// What a kill may double: `BATCH_RECORDS` of the replay.
const BATCH_RECORDS: usize = 1_000;

fn command(brokers: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.arg("dlq").args(args).args(["--kafka.brokers", brokers, "--dead_letter.topic", "dead"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn dlq(brokers: &str, args: &[&str]) -> Output {
    let mut command = command(brokers, args);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[track_caller]
fn told(output: Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}\n{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stdout).unwrap()
}

/// A dead letter from partition 1 of `in`.
fn dead(key: &str, value: &str, reason: &str, replays: &str) -> NewRecord {
    let record = NewRecord::new(key.to_owned(), value.to_owned()).timestamp(1_767_323_045_000);
    let record = record.header("own", Some(b"CANARY-header")).header("own", None);
    let marks = [
        ("topic", "in"),
        ("partition", "1"),
        ("offset", "7"),
        ("timestamp", "1767323045000"),
        ("reason", reason),
        ("field", "ip"),
        ("message", "ip is not right"),
        ("stage", "validate"),
        ("replay.count", replays),
    ];
    marks
        .into_iter()
        .fold(record, |record, (name, value)| record.header(&format!("{PREFIX}{name}"), Some(value.as_bytes())))
}

fn write(sandbox: &Sandbox, partition: i32, records: Vec<NewRecord>) {
    sandbox.append_batch("dead", partition, &NewBatch::new(records)).unwrap();
}

async fn sandbox() -> Sandbox {
    let sandbox = Sandbox::start().await.unwrap();
    for (topic, partitions) in [("in", 3), ("dead", 2), ("other", 1), ("quarantine", 1)] {
        sandbox.create_topic(topic, partitions).unwrap();
    }
    sandbox
}

fn counts(records: &[StoredRecord]) -> Vec<Option<&[u8]>> {
    let name = format!("{PREFIX}replay.count");
    records.iter().map(|record| record.headers.iter().find(|h| h.name == name).unwrap().value.as_deref()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_writes_what_came_and_goes_on_behind_it() {
    let sandbox = sandbox().await;
    let brokers = sandbox.bootstrap();
    let tombstone = NewRecord { value: None, ..dead("k4", "", "tombstone", "0") };
    let cut = dead("k5", "{", "too_large", "0").header(&format!("{PREFIX}truncated.from"), Some(b"999"));
    write(&sandbox, 0, vec![dead("k1", "v1", "wrong_type", "0"), dead("k2", "v2", "missing_field", "2"), cut]);
    write(&sandbox, 1, vec![dead("k3", "v3", "wrong_type", "3"), tombstone]);

    let refused = dlq(&brokers, &["replay"]).await;
    assert_eq!(refused.status.code(), Some(64), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--yes"));
    let dry = told(dlq(&brokers, &["replay", "--dry-run"]).await);
    for line in ["3 records are to be written to in", "truncated", "--quarantine-topic", "refused: malformed_json"] {
        assert!(dry.contains(line), "{line}: {dry}");
    }
    assert!(sandbox.read("in", 1).unwrap().is_empty(), "neither writes");

    let quarantine = ["replay", "--yes", "--quarantine-topic", "quarantine"];
    let done = told(dlq(&brokers, &quarantine).await);
    assert!(done.contains("3 records were written to in") && done.contains("1 records were written to quarantine"));
    let written = sandbox.read("in", 1).unwrap();
    assert_eq!(counts(&written), [Some(&b"1"[..]), Some(b"3"), Some(b"1")]);
    for (record, (key, value)) in written.iter().zip([("k1", Some("v1")), ("k2", Some("v2")), ("k4", None)]) {
        assert_eq!(record.key.as_deref(), Some(key.as_bytes()));
        assert_eq!(record.value.as_deref(), value.map(str::as_bytes));
        assert_eq!(record.timestamp_ms, 1_767_323_045_000);
        let own: Vec<_> = record.headers.iter().take(2).map(|h| (h.name.as_str(), h.value.as_deref())).collect();
        assert_eq!(own, [("own", Some(&b"CANARY-header"[..])), ("own", None)]);
        assert_eq!(record.headers.len(), 3);
    }
    let quarantined = sandbox.read("quarantine", 0).unwrap();
    assert_eq!(quarantined[0].headers, dead("k3", "v3", "wrong_type", "3").headers, "as it died");

    // Again: nothing is left. What comes later is replayed alone.
    assert!(told(dlq(&brokers, &quarantine).await).contains("0 records were written"));
    write(&sandbox, 0, vec![dead("k6", "v6", "wrong_type", "0")]);
    assert!(told(dlq(&brokers, &quarantine).await).contains("1 records were written to in"));
    assert_eq!(sandbox.read("in", 1).unwrap().len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_filter_passes_over_is_not_done() {
    let sandbox = sandbox().await;
    let brokers = sandbox.bootstrap();
    write(&sandbox, 0, vec![dead("k1", "v1", "wrong_type", "0"), dead("k2", "v2", "missing_field", "0")]);
    let only = ["replay", "--yes", "--only", "missing_field", "--to", "other"];
    let done = told(dlq(&brokers, &only).await);
    assert!(done.contains("1 records were written to other"), "{done}");
    assert!(done.contains("login-pipeline-dlq-replay:reason=missing_field"), "{done}");
    assert!(told(dlq(&brokers, &only).await).contains("0 records were written"));
    let all = told(dlq(&brokers, &["replay", "--yes", "--max", "1"]).await);
    assert!(all.contains("1 records were written to in"), "{all}");
    let all = told(dlq(&brokers, &["replay", "--yes"]).await);
    assert!(all.contains("1 records were written to in"), "{all}");
    let keys: Vec<_> = sandbox.read("in", 1).unwrap().into_iter().map(|record| record.key.unwrap()).collect();
    assert_eq!(keys, ["k1", "k2"], "each once, whatever another replay did");
    let grep = dlq(&brokers, &["replay", "--yes", "--grep", "v"]).await;
    assert_eq!(grep.status.code(), Some(64));
    let missing = dlq(&brokers, &["replay", "--yes", "--to", "nowhere", "--group", "g"]).await;
    assert!(!missing.status.success() && String::from_utf8_lossy(&missing.stderr).contains("nowhere"), "{missing:?}");
    let itself = dlq(&brokers, &["replay", "--yes", "--to", "dead"]).await;
    assert_eq!(itself.status.code(), Some(64));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_personal_is_shown_unless_revealed() {
    let sandbox = sandbox().await;
    let brokers = sandbox.bootstrap();
    for value in [
        r#"{"user_id":"CANARY","ip":"CANARY","device_id":"CANARY","locale":"CANARY","CANARY":"x"}"#,
        r#"{"ip":"CANARY"#,
        "CANARY",
        r#"["CANARY"]"#,
    ] {
        let foreign = NewRecord::new("CANARY", value).header("CANARY", Some(b"CANARY"));
        let foreign = foreign.header(&format!("{PREFIX}message"), Some(b"CANARY"));
        let foreign = foreign.header(&format!("{PREFIX}reason"), Some(b"CANARY"));
        write(&sandbox, 0, vec![dead("CANARY", value, "wrong_type", "0"), foreign]);
    }
    let offsets: Vec<_> = (0..8).map(|offset| format!("0:{offset}")).collect();
    let mut commands = vec![vec!["stats"], vec!["stats", "--table"], vec!["list"], vec!["list", "--grep", "CANARY"]];
    commands.extend(offsets.iter().map(|place| vec!["show", place.as_str()]));
    commands.push(vec!["replay", "--dry-run"]);
    for args in commands {
        let shown = dlq(&brokers, &args).await;
        assert!(shown.status.success(), "{args:?}: {shown:?}");
        let text = [shown.stdout, shown.stderr].concat();
        assert!(!String::from_utf8(text).unwrap().contains("CANARY"), "{args:?}");
    }
    let shown = dlq(&brokers, &["show", "0:0", "--reveal"]).await;
    assert!(String::from_utf8_lossy(&shown.stderr).contains("personal data"));
    assert!(told(shown).matches("CANARY").count() >= 5);
    let listed = told(dlq(&brokers, &["list", "--reason", "wrong_type", "--max", "3"]).await);
    assert_eq!(listed.lines().count(), 3, "{listed}");
    let stats: Value = serde_json::from_str(&told(dlq(&brokers, &["stats"]).await)).unwrap();
    assert_eq!((&stats["records"], &stats["reasons"]["wrong_type"]), (&8.into(), &4.into()), "{stats}");
    assert_eq!(stats["source_partitions"]["in/1"], 4, "{stats}");
    assert!(!dlq(&brokers, &["show", "0:99"]).await.status.success());
    assert!(!dlq(&brokers, &["list", "--partition", "2"]).await.status.success());
}

/// So many dead letters in partition 0, keyed by their number.
async fn produce(brokers: &str, records: usize) {
    let kafka = login_pipeline::config::Kafka { brokers: vec![brokers.to_owned()], ..Config::default().kafka };
    let cluster = Arc::new(Cluster::new(Options::from(&kafka)));
    let headers = [("topic", "in"), ("partition", "0"), ("reason", "wrong_type"), ("replay.count", "0")];
    let headers = headers.map(|(name, value)| (format!("{PREFIX}{name}"), value));
    let mut number = 0;
    while number < records {
        let mut batch = BatchBuilder::default();
        for _ in 0..700.min(records - number) {
            let key = number.to_string();
            let record = Outgoing { timestamp_ms: 1_767_323_045_000, key: Some(key.as_bytes()), value: Some(b"{}") };
            let headers = headers.each_ref().map(|(name, value)| (name.as_str(), Some(value.as_bytes())));
            batch.append(&record, Headers::Borrowed(&headers));
            number += 1;
        }
        let batch = batch.finish(Compression::None).unwrap();
        cluster.produce("dead", 0, batch, Duration::from_secs(30)).await.unwrap();
    }
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
    let records: usize = if is_long() { 100_000 } else { 20_000 };
    let kafka = KafkaCluster::shared().await;
    let brokers = kafka.bootstrap();
    for topic in ["dead", "in"] {
        kafka.create_topic(topic, 1, &[]).await;
    }
    produce(&brokers, records).await;
    let begun = Instant::now();
    let rate = (records / 10).to_string();
    for part in 1..=3 {
        let mut replay = command(&brokers, &["replay", "--yes", "--rate", &rate]);
        let mut replay = Replay(replay.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let until = Instant::now() + PATIENCE;
        let enough = i64::try_from(records * part / 5).unwrap();
        while wire::end(&brokers, "in", 0).await.unwrap() < enough {
            assert!(Instant::now() < until, "nothing is replayed");
            assert!(replay.0.try_wait().unwrap().is_none(), "it ended before it was killed");
            sleep(Duration::from_millis(5)).await;
        }
        replay.0.kill().unwrap();
        replay.0.wait().unwrap();
    }
    println!("{}", told(dlq(&brokers, &["replay", "--yes"]).await));
    let mut seen: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    wire::read_partition(&brokers, "in", 0, |record| *seen.entry(record.key.unwrap().to_vec()).or_default() += 1)
        .await
        .unwrap();
    let doubled = seen.values().sum::<usize>() - seen.len();
    println!("{} replayed, {doubled} doubled by three kills, in {:?}", seen.len(), begun.elapsed());
    assert_eq!(seen.len(), records, "some are lost");
    assert!(doubled <= 3 * BATCH_RECORDS, "{doubled} doubled");
    let again = told(dlq(&brokers, &["replay", "--yes"]).await);
    assert!(again.contains("0 records were written"), "{again}");
}
