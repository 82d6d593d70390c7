//! Offset stores and the `offsets` subcommand on a real Apache Kafka: the topic store through deaths
//! and takeovers, and all three stores as operators move them.

use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use kafka_client::{Cluster, Options};
use kafka_records::batch::{BatchBuilder, Outgoing};
use login_pipeline::config::{Compression, Config};
use login_pipeline::observe::Health;
use login_pipeline::offsets::{Checkpoint, Missing, OffsetStore, StoreError, TopicError, TopicSettings, TopicStore};
use login_pipeline::ownership::PartitionOwnership;
use login_pipeline::record::{Headers, Offset};
use serde_json::Value;
use test_support::kafka::KafkaCluster;
use test_support::pipeline::PipelineProcess;
use test_support::topics::{PATIENCE, Topics, drained, ended_in_order};
use test_support::{records::RawRecord, wire};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

/// One node for all of these tests, which compacts as soon as there is something to compact.
async fn shared() -> &'static KafkaCluster {
    static SHARED: OnceCell<KafkaCluster> = OnceCell::const_new();
    SHARED.get_or_init(|| KafkaCluster::start_with(1, &[("log.cleaner.backoff.ms", "200")])).await
}

const PARTITIONS: i32 = 3;
const CHECKPOINT: [&str; 2] = ["--offsets.checkpoint_interval", "200ms"];

/// The flags of a topic store of its own, made where it is missing.
fn topic_store(log: &str) -> [&str; 6] {
    ["--offsets.store", "topic", "--offsets.topic", log, "--topics.create", "missing"]
}

/// Runs `offsets` with these arguments on the topics of a test.
fn offsets(topics: &Topics, folder: &Path, args: &[&str]) -> Output {
    program(topics, folder, &[&["offsets"], args].concat())
}

fn program(topics: &Topics, folder: &Path, args: &[&str]) -> Output {
    let [source, output, dead] = &topics.names;
    let usual = PipelineProcess::usual_args(&topics.brokers, source, output, dead, &folder.join("offsets"));
    test_support::pipeline::command().args(args).args(usual).output().unwrap()
}

#[track_caller]
fn told(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn refused(output: Output) -> String {
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

/// Next offset, end offset and lag of each partition, as `show --json` tells them.
fn shown(topics: &Topics, folder: &Path, store: &[&str]) -> Vec<[Option<i64>; 3]> {
    let rows: Value =
        serde_json::from_str(&told(offsets(topics, folder, &[&["show", "--json"], store].concat()))).unwrap();
    let row = |row: &Value| ["next_offset", "end_offset", "lag"].map(|field| row[field].as_i64());
    rows.as_array().unwrap().iter().map(row).collect()
}

fn cluster(brokers: &str) -> Arc<Cluster> {
    let brokers = brokers.split(',').map(str::to_owned).collect();
    Arc::new(Cluster::new(Options::from(&login_pipeline::config::Kafka { brokers, ..Config::default().kafka })))
}

/// Written as anybody might, not by the store.
async fn produce(brokers: &str, topic: &str, timestamp_ms: i64, key: Option<&[u8]>, value: Option<&[u8]>) {
    let mut batch = BatchBuilder::default();
    batch.append(&Outgoing { timestamp_ms, key, value }, Headers::NONE);
    let batch = batch.finish(Compression::None).unwrap();
    cluster(brokers).produce(topic, 0, batch, Duration::from_secs(10)).await.unwrap();
}

#[tokio::test]
async fn the_topic_store_outlives_kills_and_is_compacted() {
    if KafkaCluster::left_out() {
        return;
    }
    let topics = Topics::create(shared().await, "topic", PARTITIONS).await;
    let folder = tempfile::tempdir().unwrap();
    let store = topic_store("topic-offsets");
    let args = [&store[..], &CHECKPOINT].concat();
    let mut pipeline = topics.pipeline(folder.path(), &args);
    tokio::join!(topics.generate_at(Some(6_000.0), 20_000, 21), async {
        for written in [3_000.0, 5_000.0] {
            let begun = |it: &PipelineProcess| it.metric("login_pipeline_routed_records_total") >= written;
            pipeline.wait_for("some records to be written", PATIENCE, begun).await;
            pipeline.sigkill();
            pipeline.wait(Duration::from_secs(10)).await;
            pipeline = topics.pipeline(folder.path(), &args);
        }
    });
    pipeline.sigkill();
    pipeline.wait(Duration::from_secs(10)).await;
    let policy = cluster(&topics.brokers).topic_setting("topic-offsets", "cleanup.policy").await.unwrap();
    assert_eq!(policy.as_deref(), Some("compact"));
    assert!(!folder.path().join("offsets").exists(), "nothing is kept on the disk");

    // Whoever died may still work as far as anybody knows.
    let set = ["set", "--partition", "all", "--to", "earliest"];
    let why = refused(offsets(&topics, folder.path(), &[&set, &store[..]].concat()));
    assert!(why.contains("not given up") && why.contains("--force"), "{why}");

    let mut pipeline = topics.pipeline(folder.path(), &args);
    drained(&mut pipeline, 20_000).await;
    ended_in_order(pipeline).await;
    // Each life may repeat what it wrote in its last interval. Without stored offsets the last one
    // alone would write everything again, on top of what the two before it wrote.
    topics.audit().await.assert_doubled_at_most(20_000);
    let rows = shown(&topics, folder.path(), &store);
    assert_eq!(rows.len(), usize::try_from(PARTITIONS).unwrap());
    assert!(rows.iter().all(|[next, end, lag]| next == end && *lag == Some(0)), "{rows:?}");
    assert_eq!(rows.iter().filter_map(|[next, ..]| *next).sum::<i64>(), 20_000);
    // Ended in order, it has given everything up.
    let line = told(offsets(&topics, folder.path(), &[&["set", "--dry-run"], &set[1..], &store[..]].concat()));
    assert!(line.contains("dry run"), "{line}");
    let checked = told(program(&topics, folder.path(), &[&["check", "--connect"], &store[..]].concat()));
    assert_eq!(checked.matches("offsets topic-offsets: 1 partitions").count(), 2, "{checked}");
}

#[tokio::test]
async fn an_instance_that_hangs_is_replaced_and_fenced() {
    if KafkaCluster::left_out() {
        return;
    }
    let topics = Topics::create(shared().await, "fenced", PARTITIONS).await;
    let folder = tempfile::tempdir().unwrap();
    let store = topic_store("fenced-offsets");
    let args = [&store[..], &CHECKPOINT].concat();
    let mut first = topics.pipeline(folder.path(), &args);
    let mut second = None;
    tokio::join!(topics.generate_at(Some(3_000.0), 15_000, 22), async {
        let begun = |it: &PipelineProcess| it.metric("login_pipeline_routed_records_total") >= 3_000.0;
        first.wait_for("some records to be written", PATIENCE, begun).await;
        first.pause();
        let mut other = topics.pipeline(folder.path(), &args);
        let begun = |it: &PipelineProcess| it.metric("login_pipeline_routed_records_total") >= 2_000.0;
        other.wait_for("the second to take over", PATIENCE, begun).await;
        first.resume();
        let fenced = |it: &PipelineProcess| {
            it.get("/readyz").is_ok_and(|(status, body)| {
                status == 503 && body.contains("3 partitions: ") && body.contains("another instance has taken over")
            })
        };
        first.wait_for("the first to be fenced", PATIENCE, fenced).await;
        second = Some(other);
    });
    let mut second = second.unwrap();
    drained(&mut second, 15_000).await;
    second.wait_ready(PATIENCE).await;
    // Fenced, it neither reads nor writes: what came meanwhile is the other's alone.
    let written = first.metric("login_pipeline_routed_records_total");
    topics.generate(2_000, 23).await;
    drained(&mut second, 17_000).await;
    assert_eq!(first.metric("login_pipeline_routed_records_total"), written);
    ended_in_order(first).await;
    ended_in_order(second).await;
    assert!(shown(&topics, folder.path(), &store).iter().all(|row| row[2] == Some(0)));
    let audit = topics.audit().await;
    // What the first had written since its last checkpoints, and when it woke, before it looked.
    audit.assert_doubled_at_most(12_000);

    // Set by force while an instance works: that one is fenced, and the next goes on from there.
    let mut running = topics.pipeline(folder.path(), &args);
    running.wait_ready(PATIENCE).await;
    let set = [&["set", "--partition", "1", "--to", "5"], &store[..]].concat();
    let held = |it: &PipelineProcess| it.log().matches("its offsets are this instance's").count() >= 3;
    running.wait_for("it to own its partitions", PATIENCE, held).await;
    assert!(refused(offsets(&topics, folder.path(), &set)).contains("fenced-in/1"));
    let line = told(offsets(&topics, folder.path(), &[&set[..], &["--force"]].concat()));
    assert!(line.starts_with("fenced-in/1: ") && line.ends_with(" -> 5\n"), "{line}");
    topics.generate(300, 24).await;
    let fenced = |it: &PipelineProcess| it.get("/readyz").is_ok_and(|(_, body)| body.contains("fenced-in/1"));
    running.wait_for("it to be fenced", PATIENCE, fenced).await;
    assert_eq!(shown(&topics, folder.path(), &store)[1][0], Some(5), "its late offsets count for nothing");
    ended_in_order(running).await;
}

/// Another life of an instance that keeps its offsets in `topic`.
fn open(brokers: &str, topic: &str) -> TopicStore {
    let (topic, group) = (topic.to_owned(), "g".to_owned());
    let settings = TopicSettings { topic, group, missing: Missing::Error, timeout: Duration::from_secs(10) };
    TopicStore::new(cluster(brokers), &settings, Health::new(Duration::from_secs(10)))
}

fn checkpoint(next_offset: i64) -> Checkpoint {
    let topic = "in".to_owned();
    Checkpoint { topic, topic_id: None, partition: 0, next_offset: Offset(next_offset), leader_epoch: None }
}

async fn records(brokers: &str, topic: &str) -> Vec<RawRecord> {
    let mut found = Vec::new();
    wire::read_partition(brokers, topic, 0, |record| found.push(record)).await.unwrap();
    found
}

#[tokio::test]
async fn compaction_takes_no_owners_offset() {
    if KafkaCluster::left_out() {
        return;
    }
    let (brokers, log) = (shared().await.bootstrap(), "compacted-offsets");
    let eager = [("min.cleanable.dirty.ratio", "0.01"), ("segment.ms", "100"), ("delete.retention.ms", "0")];
    shared().await.create_topic(log, 1, &[&[("cleanup.policy", "compact")], &eager[..]].concat()).await;
    let ownership = PartitionOwnership::unlimited();
    let first = open(&brokers, log);
    first.load("in", 0).await.unwrap();
    for next_offset in 1..=20 {
        first.store(&checkpoint(next_offset), &ownership).await.unwrap();
    }
    let late = records(&brokers, log).await.pop().unwrap();
    let second = open(&brokers, log);
    assert_eq!(second.load("in", 0).await.unwrap(), Some(checkpoint(20)));
    second.store(&checkpoint(30), &ownership).await.unwrap();
    // The first stood still between looking and writing.
    let now = || i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    produce(&brokers, log, now(), late.key.as_deref(), late.value.as_deref()).await;

    // Another group's records close the segments, so that what lies before can be compacted.
    let until = Instant::now() + PATIENCE;
    while records(&brokers, log).await.len() > 8 {
        assert!(Instant::now() < until, "nothing is compacted");
        sleep(Duration::from_millis(300)).await;
        produce(&brokers, log, now(), Some(b"other/in/0/1/0000000000000001"), Some(b"x")).await;
    }
    let left = records(&brokers, log).await;
    println!("compacted to {:?}", left.iter().map(|record| record.offset).collect::<Vec<_>>());
    let late = left.iter().rfind(|record| record.key == late.key && record.value == late.value);
    assert!(late.is_some(), "the late record is there, and counts for nothing");
    assert_eq!(open(&brokers, log).load("in", 0).await.unwrap(), Some(checkpoint(30)));
}

#[tokio::test]
async fn the_topic_store_refuses_what_it_can_not_trust() {
    if KafkaCluster::left_out() {
        return;
    }
    let kafka = shared().await;
    let brokers = kafka.bootstrap();
    let open = |topic| open(&brokers, topic);
    let error = open("refused-missing").load("in", 0).await.unwrap_err().to_string();
    assert!(error.contains("topics.create"), "{error}");
    kafka.create_topic("refused-deleting", 1, &[("cleanup.policy", "delete")]).await;
    let error = open("refused-deleting").load("in", 0).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Topic(TopicError::NotCompacted { policy, .. }) if policy == "delete"),
        "{error}"
    );

    let log = "refused-offsets";
    kafka.create_topic(log, 1, &[("cleanup.policy", "compact")]).await;
    let (store, ownership) = (open(log), PartitionOwnership::unlimited());
    assert_eq!(store.load("in", 0).await.unwrap(), None);
    store.store(&checkpoint(7), &ownership).await.unwrap();
    let found = records(&brokers, log).await;
    let last = found.last().unwrap();
    let (key, value) = (last.key.clone().unwrap(), last.value.clone().unwrap());

    // Of the owner's own records a damaged one counts as much as a whole one: it is refused.
    produce(&brokers, log, 0, Some(&key), Some(&value[..value.len() - 1])).await;
    let error = open(log).load("in", 0).await.unwrap_err();
    assert!(matches!(error, StoreError::Topic(TopicError::Damaged { at: Offset(2), .. })), "{error}");
    produce(&brokers, log, 0, Some(&key), None).await;
    let error = open(log).load("in", 0).await.unwrap_err();
    assert!(matches!(error, StoreError::Topic(TopicError::Deleted { at: Offset(3), .. })), "{error}");
    // Whoever works writes over it.
    store.store(&checkpoint(8), &ownership).await.unwrap();
    produce(&brokers, log, 0, Some(b"junk"), Some(b"x")).await;
    let error = open(log).load("in", 0).await.unwrap_err();
    assert!(matches!(error, StoreError::Topic(TopicError::Stranger { at: Offset(5), .. })), "{error}");
    produce(&brokers, log, 0, Some(b"junk"), None).await;

    let second = open(log);
    assert_eq!(second.load("in", 0).await.unwrap(), Some(checkpoint(8)));
    let error = store.store(&checkpoint(9), &ownership).await.unwrap_err();
    assert!(matches!(error, StoreError::Topic(TopicError::Fenced { .. })), "{error}");
    assert!(!ownership.holds(), "its worker is to write no more");
    assert!(store.load("in", 0).await.is_err(), "it does not take over again");
    second.store(&checkpoint(9), &PartitionOwnership::unlimited()).await.unwrap();

    // Of two that start at once, one is told that it owns the partition.
    let (a, b) = (open(log), open(log));
    let (loaded_a, loaded_b) = tokio::join!(a.load("in", 0), b.load("in", 0));
    assert!(loaded_a.is_ok() || loaded_b.is_ok());
    let stored = [
        a.store(&checkpoint(10), &PartitionOwnership::unlimited()).await.is_ok(),
        b.store(&checkpoint(10), &PartitionOwnership::unlimited()).await.is_ok(),
    ];
    assert_eq!(stored.iter().filter(|stored| **stored).count(), 1);
}

#[tokio::test]
async fn offsets_are_shown_set_and_moved_between_all_stores() {
    if KafkaCluster::left_out() {
        return;
    }
    let topics = Topics::create(shared().await, "moved", PARTITIONS).await;
    topics.generate(3_000, 25).await;
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| offsets(&topics, folder.path(), args);
    let file = ["--offsets.store", "file"];
    let group = ["--offsets.store", "group", "--group.id", "moved"];
    let topic = topic_store("moved-offsets");

    assert!(told(run(&[&["show"], &file[..]].concat())).contains("no offsets of moved-in are stored"));
    let mut pipeline = topics.pipeline(folder.path(), &CHECKPOINT);
    drained(&mut pipeline, 3_000).await;
    let locked = refused(run(&["set", "--partition", "all", "--to", "earliest", "--force"]));
    assert!(locked.contains("in use by another process"), "{locked}");
    ended_in_order(pipeline).await;
    let all = shown(&topics, folder.path(), &file);
    assert!(all.iter().all(|[next, end, lag]| next == end && *lag == Some(0)), "{all:?}");
    let table = told(run(&["show"]));
    let second = table.lines().nth(2).unwrap().split_whitespace().collect::<Vec<_>>();
    let number = all[1][0].unwrap().to_string();
    assert_eq!(second[..5], ["moved-in", "1", number.as_str(), number.as_str(), "0"], "{table}");
    // Without brokers the file store is shown all the same.
    let offline = told(run(&["show", "--offline"]));
    assert_eq!(offline.lines().nth(2).unwrap().split_whitespace().nth(3), Some("-"), "{offline}");

    // From store to store, and back where it began.
    let exported = folder.path().join("exported.json").display().to_string();
    told(run(&["set", "--partition", "2", "--to", "17"]));
    let mut before: &[&str] = &file;
    for store in [&group[..], &topic, &file] {
        told(run(&[&["export", "--to", &exported], before].concat()));
        let lines = told(run(&[&["import", &exported, "--dry-run"], store].concat()));
        assert!(lines.contains("-> 17") && lines.contains("dry run"), "{lines}");
        told(run(&[&["import", &exported], store].concat()));
        let rows = shown(&topics, folder.path(), store);
        assert_eq!(rows[2], [Some(17), all[2][1], Some(all[2][1].unwrap() - 17)], "{store:?}");
        assert_eq!(rows[..2], all[..2], "{store:?}");
        told(run(&[&["set", "--partition", "all", "--to", "earliest"], before].concat()));
        before = store;
    }

    for store in [&group[..], &topic, &file] {
        let lines = told(run(&[&["set", "--partition", "all", "--to", "latest"], store].concat()));
        assert_eq!(lines.lines().count(), 3, "{lines}");
        assert_eq!(shown(&topics, folder.path(), store), all);
        let set = [&["set", "--partition", "0", "--to", "1000000"], store].concat();
        let why = refused(run(&set));
        assert!(why.contains(&format!("behind the log's end, {}", all[0][1].unwrap())), "{why}");
        told(run(&[&set[..], &["--dry-run", "--force"]].concat()));
        assert_eq!(shown(&topics, folder.path(), store), all, "a dry run stores nothing");
        told(run(&[&set[..], &["--force"]].concat()));
        assert_eq!(shown(&topics, folder.path(), store)[0][0], Some(1_000_000));
        assert!(refused(run(&[&["set", "--partition", "9", "--to", "0"], store].concat())).contains("moved-in/9"));
    }
    let other = std::fs::read_to_string(&exported).unwrap().replace("moved-in", "other-in");
    std::fs::write(&exported, other).unwrap();
    assert!(refused(run(&["import", &exported])).contains("other-in"));
}

#[tokio::test]
async fn without_brokers_the_file_store_is_shown_and_set_by_force() {
    let brokers = format!("127.0.0.1:{}", test_support::free_ports(1)[0]);
    let topics = Topics { brokers, names: ["in", "out", "dead"].map(|role| format!("alone-{role}")) };
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| offsets(&topics, folder.path(), args);
    let set = ["set", "--partition", "0", "--to", "5"];
    let why = refused(run(&set));
    assert!(why.contains("can't check against the log") && why.contains("--force"), "{why}");
    assert_eq!(told(run(&[&set[..], &["--force"]].concat())), "alone-in/0: none -> 5\n");
    assert!(refused(run(&["set", "--partition", "0", "--to", "latest", "--force"])).contains("can't connect"));
    let shown = run(&["show"]);
    assert!(String::from_utf8_lossy(&shown.stderr).contains("end and lag are not known"));
    assert_eq!(told(shown).lines().nth(1).unwrap().split_whitespace().nth(2), Some("5"));
    let exported = told(run(&["export"]));
    assert_eq!(serde_json::from_str::<Value>(&exported).unwrap()["offsets"][0]["next_offset"], 5);
    let group = ["show", "--offline", "--offsets.store", "group"];
    assert!(refused(run(&group)).contains("only the file store"));
}

#[tokio::test]
async fn offsets_are_set_to_a_time() {
    if KafkaCluster::left_out() {
        return;
    }
    let topics = Topics::create(shared().await, "time", 1).await;
    let folder = tempfile::tempdir().unwrap();
    for second in 0..10 {
        produce(&topics.brokers, "time-in", (1_767_323_045 + second) * 1000, None, Some(b"{}")).await;
    }
    for (to, offset) in [
        ("2026-01-02T03:04:05Z", 0),
        ("2026-01-02T03:04:09Z", 4),
        ("2026-01-02T03:04:08.001Z", 4),
        ("@1767323051", 6),
        ("@1767323055", 10),
        ("@0", 0),
        ("earliest", 0),
        ("latest", 10),
        ("7", 7),
    ] {
        let line = told(offsets(&topics, folder.path(), &["set", "--partition", "all", "--to", to]));
        assert!(line.ends_with(&format!(" -> {offset}\n")), "{to}: {line}");
    }
}

#[tokio::test]
async fn a_group_with_members_is_not_set() {
    if KafkaCluster::left_out() {
        return;
    }
    let topics = Topics::create(shared().await, "members", PARTITIONS).await;
    let folder = tempfile::tempdir().unwrap();
    for protocol in ["consumer", "classic"] {
        let group = ["--assignment.mode", "group", "--group.id", protocol, "--group.protocol", protocol];
        let set = [&["set", "--partition", "all", "--to", "earliest"], &group[..]].concat();
        let mut member = topics.pipeline(folder.path(), &group);
        let joined = |it: &PipelineProcess| it.log().contains("reading");
        member.wait_for("it to join", PATIENCE, joined).await;
        let why = refused(offsets(&topics, folder.path(), &set));
        assert!(why.contains("has 1 members"), "{why}");
        let why = refused(offsets(&topics, folder.path(), &[&set[..], &["--force"]].concat()));
        assert!(why.contains("--force can't change that") && why.contains("has members"), "{why}");
        ended_in_order(member).await;
        let mut left = offsets(&topics, folder.path(), &set);
        for _ in 0..50 {
            if left.status.success() {
                break;
            }
            sleep(Duration::from_millis(200)).await;
            left = offsets(&topics, folder.path(), &set);
        }
        told(left);
    }
}
