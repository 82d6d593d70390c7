//! Readers at a log that a disk has damaged, and at batches that unpack to much, on a real Apache Kafka
//! with the real program. One broker for all: it is stopped once, and bits are flipped in its files.

use std::ops::Range;
use std::process::Command;

use bytes::Bytes;
use kafka_client::clock::unix_ms;
use kafka_records::batch::{BatchBuilder, Outgoing};
use login_pipeline::config::Compression;
use login_pipeline::record::Headers;
use test_support::kafka::KafkaCluster;
use test_support::log_files::{self, StoredBatch};
use test_support::pipeline::program;
use test_support::records::RawRecord;
use test_support::topics::{Topics, drained, ended_in_order};
use test_support::wire;
use tokio::sync::OnceCell;

/// How many records are in a batch, and how large they are: seven batches make a segment.
const EACH: i64 = 100;
const PADDING: usize = 1_100;
const BATCHES: i64 = 27;
const MIB: usize = 1 << 20;
/// The least that a segment may have.
const SEGMENT: &str = "1048576";
const LARGE_BATCHES: &str = "4194304";

/// What is damaged in a source: which batch, and which bits of which byte of it.
struct Damage {
    name: &'static str,
    batch: fn(&[Vec<StoredBatch>]) -> &StoredBatch,
    byte: usize,
    mask: u8,
}

const RECORD_BYTE: usize = 101;
/// Of the base offset, a bit that says 2^40.
const BASE_OFFSET_BYTE: usize = 2;
/// Of the leader epoch, the highest byte.
const EPOCH_BYTE: usize = 12;

const DAMAGES: [Damage; 5] = [
    Damage { name: "bit", batch: last_of_a_segment, byte: RECORD_BYTE, mask: 1 },
    Damage { name: "base-last", batch: last_of_a_segment, byte: BASE_OFFSET_BYTE, mask: 1 },
    Damage { name: "base-middle", batch: |all| &all[1][3], byte: BASE_OFFSET_BYTE, mask: 1 },
    Damage { name: "base-first", batch: |all| &all[1][0], byte: BASE_OFFSET_BYTE, mask: 1 },
    Damage { name: "epoch", batch: |all| all.last().unwrap().last().unwrap(), byte: EPOCH_BYTE, mask: 0x10 },
];

fn last_of_a_segment(all: &[Vec<StoredBatch>]) -> &StoredBatch {
    all[0].last().unwrap()
}

/// The broker, and of each of [`DAMAGES`] the offsets of the damaged batch.
struct Ground {
    cluster: KafkaCluster,
    damaged: Vec<Range<i64>>,
}

async fn ground() -> &'static Ground {
    static GROUND: OnceCell<Ground> = OnceCell::const_new();
    GROUND
        .get_or_init(|| async {
            let cluster = KafkaCluster::start(1).await;
            for damage in &DAMAGES {
                cluster.create_topic(&source(damage.name), 1, &[("segment.bytes", SEGMENT)]).await;
                for batch in 0..BATCHES {
                    let events = (0..EACH).map(|n| event(batch * EACH + n, PADDING));
                    produce(&cluster, &source(damage.name), packed(events, Compression::None)).await;
                }
            }
            cluster.stop(1).await;
            let damaged = DAMAGES.iter().map(|damage| {
                let segments = log_files::segments(&cluster.data(1), &source(damage.name), 0);
                assert!(segments.len() >= 3, "{} segments", segments.len());
                let batch = (damage.batch)(&segments);
                batch.flip(damage.byte, damage.mask);
                batch.offsets.clone()
            });
            let damaged = damaged.collect();
            cluster.start_node(1).await;
            Ground { cluster, damaged }
        })
        .await
}

fn source(name: &str) -> String {
    format!("{name}-in")
}

/// A good event that has a number, and so many bytes more.
fn event(number: i64, padding: usize) -> Vec<u8> {
    let pad = "x".repeat(padding);
    let rest = r#""app_version":"2.3.0","ip":"199.172.111.135","locale":"RU","device_id":"593-47-5928","timestamp":1694479551,"device_type":"android""#;
    format!(r#"{{"user_id":"424cdd21-063a-43a7-b91b-{number:012}",{rest},"pad":"{pad}","n":{number}}}"#).into_bytes()
}

fn number(record: &RawRecord) -> i64 {
    let event: serde_json::Value = serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
    event["n"].as_i64().unwrap()
}

fn packed(values: impl Iterator<Item = Vec<u8>>, codec: Compression) -> Bytes {
    let mut batch = BatchBuilder::default();
    // Now: of older ones retention would take the segments while a test runs.
    let timestamp_ms = unix_ms();
    for value in values {
        let record = Outgoing { timestamp_ms, key: None, value: Some(&value) };
        batch.append(&record, Headers::NONE);
    }
    batch.finish(codec).unwrap()
}

async fn produce(cluster: &KafkaCluster, topic: &str, batch: Bytes) {
    wire::produce(&cluster.bootstrap(), topic, 0, batch).await.unwrap();
}

/// Each reader that this program has.
fn readers() -> Vec<&'static str> {
    let has = |reader: &&str| {
        let check = Command::new(program()).args(["check", "--source.reader", reader]).output().unwrap();
        check.status.success()
    };
    ["rskafka", "wire", "auto"].into_iter().filter(has).collect()
}

/// What came of a source.
struct Outcome {
    /// How often each number is out.
    copies: Vec<usize>,
    dead: Vec<RawRecord>,
    peak_mib: u64,
}

/// Runs a pipeline over a source, with outputs of its own, so many times to its end.
async fn run(cluster: &KafkaCluster, name: &str, test: &str, args: &[&str], times: usize) -> Outcome {
    let names = [source(name), format!("{name}-{test}-out"), format!("{name}-{test}-dead")];
    for name in &names[1..] {
        cluster.create_topic(name, 1, &[("max.message.bytes", LARGE_BATCHES)]).await;
    }
    let topics = Topics { brokers: cluster.bootstrap(), names };
    let end = wire::end(&topics.brokers, &topics.names[0], 0).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut peak_mib = 0;
    for _ in 0..times {
        let mut pipeline = topics.pipeline(folder.path(), args);
        drained(&mut pipeline, u64::try_from(end).unwrap()).await;
        peak_mib = peak_mib.max(pipeline.peak_rss_bytes() >> 20);
        ended_in_order(pipeline).await;
    }
    let mut copies = vec![0; usize::try_from(end).unwrap()];
    let count = |record: RawRecord| copies[usize::try_from(number(&record)).unwrap()] += 1;
    wire::read_partition(&topics.brokers, &topics.names[1], 0, count).await.unwrap();
    let mut dead = Vec::new();
    wire::read_partition(&topics.brokers, &topics.names[2], 0, |record| dead.push(record)).await.unwrap();
    println!("{name}, {test}: peak RSS {peak_mib} MiB");
    Outcome { copies, dead, peak_mib }
}

impl Outcome {
    /// The numbers that are not out once, but for these.
    fn wrong_but_for(&self, spared: &Range<i64>) -> Vec<(i64, usize)> {
        let all = (0..).zip(self.copies.iter().copied());
        all.filter(|(number, copies)| *copies != 1 && !spared.contains(number)).take(20).collect()
    }

    /// How many of these numbers are out.
    fn out(&self, numbers: &Range<i64>) -> usize {
        numbers.clone().map(|number| self.copies[usize::try_from(number).unwrap()]).sum()
    }
}

/// Each reader, at both guarantees, gets out all but the damaged batch, which is one dead letter.
async fn assert_costs_the_batch_alone(name: &str) {
    if KafkaCluster::left_out() {
        return;
    }
    let ground = ground().await;
    let at = DAMAGES.iter().position(|damage| damage.name == name).unwrap();
    let damaged = &ground.damaged[at];
    for reader in readers() {
        for guarantee in ["at_least_once", "exactly_once"] {
            let test = format!("{reader}-{guarantee}");
            let group = format!("{name}-{test}");
            let mut args = vec!["--source.reader", reader, "--delivery.guarantee", guarantee];
            if guarantee == "exactly_once" {
                args.extend(["--offsets.store", "group", "--group.id", &group]);
            }
            let outcome = run(&ground.cluster, name, &test, &args, 1).await;
            assert_eq!(outcome.wrong_but_for(damaged), [], "{test}: number, and how often it is out");
            assert_eq!((outcome.dead.len(), outcome.out(damaged)), (1, 0), "{test}");
            let offset: i64 = outcome.dead[0].header("__dlq.errors.offset").unwrap().parse().unwrap();
            assert!(damaged.contains(&offset), "{test}: {offset} is not in {damaged:?}");
        }
    }
}

#[tokio::test]
async fn a_flipped_bit_in_the_last_batch_of_an_inactive_segment() {
    assert_costs_the_batch_alone("bit").await;
}

#[tokio::test]
async fn a_flipped_bit_in_the_base_offset_of_the_last_batch_of_a_segment() {
    assert_costs_the_batch_alone("base-last").await;
}

#[tokio::test]
async fn a_flipped_bit_in_the_base_offset_of_a_batch_in_the_middle_of_a_segment() {
    assert_costs_the_batch_alone("base-middle").await;
}

#[tokio::test]
async fn a_flipped_bit_in_the_base_offset_of_the_first_batch_of_a_segment() {
    assert_costs_the_batch_alone("base-first").await;
}

#[tokio::test]
async fn a_flipped_bit_in_the_leader_epoch_of_the_last_batch_repeats_nothing() {
    if KafkaCluster::left_out() {
        return;
    }
    let ground = ground().await;
    let damaged = ground.damaged.last().unwrap();
    for reader in readers() {
        let outcome = run(&ground.cluster, "epoch", reader, &["--source.reader", reader], 2).await;
        assert_eq!(outcome.wrong_but_for(damaged), [], "{reader}: number, and how often it is out");
        let either = outcome.out(damaged) / 100 + outcome.dead.len();
        assert_eq!(either, 1, "{reader}: the batch is out, or it is a dead letter");
    }
}

/// Of a release build (`LOGIN_PIPELINE_BIN`); a debug build is larger by itself.
fn limit_mib() -> u64 {
    if std::env::var_os("LOGIN_PIPELINE_BIN").is_some() { 64 } else { 112 }
}

/// More than four times the largest frame, packed to a few hundred kB.
#[tokio::test]
async fn a_valid_batch_of_65_mib_at_the_end_of_its_segment_comes_out_whole() {
    if KafkaCluster::left_out() {
        return;
    }
    let cluster = &ground().await.cluster;
    let (before, large) = (40, 1_100);
    let topic = source("large");
    cluster.create_topic(&topic, 1, &[("segment.bytes", SEGMENT), ("max.message.bytes", LARGE_BATCHES)]).await;
    produce(cluster, &topic, packed((0..before).map(|n| event(n, 100)), Compression::None)).await;
    let batch = packed((before..before + large).map(|n| event(n, 64_000)), Compression::Zstd);
    produce(cluster, &topic, batch).await;
    let behind = (before + large..before + large + 14).map(|n| event(n, 70_000));
    produce(cluster, &topic, packed(behind, Compression::None)).await;
    for reader in readers() {
        let outcome = run(cluster, "large", reader, &["--source.reader", reader], 1).await;
        assert_eq!(outcome.wrong_but_for(&(0..0)), [], "{reader}: number, and how often it is out");
        assert_eq!(outcome.dead.len(), 0, "{reader}");
    }
}

#[tokio::test]
async fn bombs_take_no_more_memory_than_their_share() {
    if KafkaCluster::left_out() {
        return;
    }
    let cluster = &ground().await.cluster;
    let zeros = || packed((0..60).map(|_| vec![0; MIB]), Compression::Zstd);
    let bombs = [("zeros-1", 1), ("zeros-4", 4)];
    for (name, batches) in bombs {
        cluster.create_topic(&source(name), 1, &[("max.message.bytes", LARGE_BATCHES)]).await;
        for _ in 0..batches {
            produce(cluster, &source(name), zeros()).await;
        }
        for reader in readers() {
            let outcome = run(cluster, name, reader, &["--source.reader", reader], 1).await;
            assert_eq!(outcome.dead.len(), batches * 60, "{name}, {reader}");
            assert!(outcome.peak_mib <= limit_mib(), "{name}, {reader}: {} MiB", outcome.peak_mib);
        }
    }
    let topic = source("events");
    cluster.create_topic(&topic, 1, &[("max.message.bytes", LARGE_BATCHES)]).await;
    for batch in 0..5 {
        let events = packed((0..1_000).map(|n| event(batch * 1_000 + n, 10_000)), Compression::Zstd);
        produce(cluster, &topic, events).await;
    }
    for reader in readers() {
        let outcome = run(cluster, "events", reader, &["--source.reader", reader], 1).await;
        assert_eq!(outcome.wrong_but_for(&(0..0)), [], "{reader}: number, and how often it is out");
        assert!(outcome.peak_mib <= limit_mib(), "events, {reader}: {} MiB", outcome.peak_mib);
    }
}
