//! Exactly once on a real Apache Kafka: pipelines and brokers die, hang and are replaced, and who
//! reads what is committed finds every record once. `CHAOS=long` (`make chaos`) is the long form;
//! `CHAOS_SEED` repeats a run.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use login_pipeline::broker::wire::{At, Cluster, Coordinator, Options};
use login_pipeline::config::Config;
use support::kafka::KafkaCluster;
use support::pipeline::PipelineProcess;
use support::topics::{PATIENCE, Topics, drained, drained_together, ended_in_order, wait_for_all};
use tokio::sync::OnceCell;
use tokio::time::sleep;

const PARTITIONS: i32 = 6;
const EXACTLY_ONCE: [&str; 4] = ["--delivery.guarantee", "exactly_once", "--offsets.store", "group"];

/// Lets sessions end as soon as a test can wait.
const SHORT_SESSIONS: [(&str, &str); 5] = [
    ("group.consumer.min.session.timeout.ms", "1000"),
    ("group.consumer.session.timeout.ms", "6000"),
    ("group.consumer.min.heartbeat.interval.ms", "500"),
    ("group.consumer.heartbeat.interval.ms", "1000"),
    ("group.min.session.timeout.ms", "1000"),
];

/// One node for all tests that don't harm it.
async fn shared() -> &'static KafkaCluster {
    static SHARED: OnceCell<KafkaCluster> = OnceCell::const_new();
    SHARED.get_or_init(|| KafkaCluster::start_with(1, &SHORT_SESSIONS)).await
}

fn is_long() -> bool {
    std::env::var("CHAOS").is_ok_and(|chaos| chaos == "long")
}

/// Every record is there once, in order, and the offsets that `group` has are the source's ends.
async fn assert_exactly_once(topics: &Topics, group: &str) {
    let audit = topics.audit().await;
    audit.assert_clean();
    let brokers = topics.brokers.split(',').map(str::to_owned).collect();
    let kafka = login_pipeline::config::Kafka { brokers, ..Config::default().kafka };
    let cluster = Arc::new(Cluster::new(Options::from(&kafka)));
    let (source, partitions) = (&topics.names[0], (0..PARTITIONS).collect::<Vec<_>>());
    let committed = Coordinator::new(Arc::clone(&cluster), group).committed(source, &partitions).await.unwrap();
    let mut sum = 0;
    for partition in partitions {
        let end = cluster.offset_at(source, partition, At::Latest).await.unwrap();
        assert_eq!(committed.get(&partition).map(|found| found.offset), end, "partition {partition}");
        sum += end.unwrap().0;
    }
    // The generator may have written a batch again when its broker died: the source has it twice.
    assert_eq!(u64::try_from(sum).unwrap(), audit.source);
}

/// Kills the pipeline again and again while records flow.
#[tokio::test]
async fn kills_lose_nothing_and_double_nothing() {
    if KafkaCluster::left_out() {
        return;
    }
    let seed = std::env::var("CHAOS_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("kills: CHAOS_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (kills, records, rate) = if is_long() { (60, 500_000, 6_000.0) } else { (8, 50_000, 5_000.0) };
    let topics = Topics::create(shared().await, "once-kills", PARTITIONS).await;
    let folder = tempfile::tempdir().unwrap();
    let args = [&EXACTLY_ONCE[..], &["--group.id", "once-kills"]].concat();
    let mut written = Vec::new();
    tokio::join!(topics.generate_at(Some(rate), records, seed), async {
        for _ in 0..kills {
            let mut pipeline = topics.pipeline(folder.path(), &args);
            sleep(Duration::from_millis(random.u64(400..1_800))).await;
            written.push(pipeline.metric("login_pipeline_routed_records_total"));
            pipeline.sigkill();
            pipeline.wait(Duration::from_secs(10)).await;
        }
    });
    println!("kills: written before each, committed or not: {written:?}");
    assert!(
        written.iter().filter(|records| **records > 0.0).count() >= kills / 2,
        "the kills hit nothing: {written:?}"
    );
    let mut pipeline = topics.pipeline(folder.path(), &args);
    #[expect(clippy::cast_precision_loss, reason = "a count of records")]
    drained(&mut pipeline, records as f64).await;
    ended_in_order(pipeline).await;
    assert_exactly_once(&topics, "once-kills").await;
}

/// A member stands still for longer than its session, and wakes when its partitions are another's.
async fn hangs(name: &'static str, protocol: &str) {
    if KafkaCluster::left_out() {
        return;
    }
    let topics = Topics::create(shared().await, name, PARTITIONS).await;
    let folder = tempfile::tempdir().unwrap();
    let more = [
        "--assignment.mode",
        "group",
        "--group.id",
        name,
        "--group.protocol",
        protocol,
        "--group.session_timeout",
        "6s",
        "--group.heartbeat_interval",
        "500ms",
    ];
    let args = [&EXACTLY_ONCE[..], &more].concat();
    let mut members = vec![topics.pipeline(folder.path(), &args), topics.pipeline(folder.path(), &args)];
    let working = |it: &PipelineProcess| it.metric("login_pipeline_routed_records_total") > 0.0;
    let records = 60_000;
    tokio::join!(topics.generate_at(Some(4_000.0), records, 21), async {
        wait_for_all(&mut members, "both to work", |all| all.iter().all(working)).await;
        members[0].pause();
        sleep(Duration::from_secs(9)).await;
        members[0].resume();
    });
    #[expect(clippy::cast_precision_loss, reason = "a count of records")]
    drained_together(&mut members, records as f64).await;
    for member in members {
        ended_in_order(member).await;
    }
    assert_exactly_once(&topics, name).await;
}

#[tokio::test]
async fn a_member_that_hangs_doubles_nothing_consumer() {
    hangs("once-hangs-consumer", "consumer").await;
}

#[tokio::test]
async fn a_member_that_hangs_doubles_nothing_classic() {
    hangs("once-hangs-classic", "classic").await;
}

/// Without a group, nobody says whose a partition is: the one that began last writes.
#[tokio::test]
async fn a_zombie_is_fenced_where_no_group_says_who_writes() {
    if KafkaCluster::left_out() {
        return;
    }
    let topics = Topics::create(shared().await, "once-zombie", PARTITIONS).await;
    let folder = tempfile::tempdir().unwrap();
    let args = [&EXACTLY_ONCE[..], &["--group.id", "once-zombie"]].concat();
    let mut zombie = topics.pipeline(folder.path(), &args);
    let records = 30_000;
    let (_, next) = tokio::join!(topics.generate_at(Some(4_000.0), records, 22), async {
        let working = |it: &PipelineProcess| it.metric("login_pipeline_routed_records_total") > 2_000.0;
        zombie.wait_for("it to work", PATIENCE, working).await;
        zombie.pause();
        let mut next = topics.pipeline(folder.path(), &args);
        next.wait_for("the next to work", PATIENCE, working).await;
        zombie.resume();
        let fenced = |it: &PipelineProcess| it.log().contains("another instance writes by this transactional id");
        zombie.wait_for("it to be fenced", PATIENCE, fenced).await;
        let ready = zombie.get("/readyz").unwrap();
        assert_eq!(ready.0, 503, "{}", ready.1);
        zombie.sigkill();
        next
    });
    let mut next = next;
    #[expect(clippy::cast_precision_loss, reason = "a count of records")]
    drained(&mut next, records as f64).await;
    ended_in_order(next).await;
    assert_exactly_once(&topics, "once-zombie").await;
}

/// Java's hash of a text, by which transactional ids are spread over the coordinators.
fn java_hash(text: &str) -> u32 {
    text.bytes().fold(0, |hash: u32, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte))) & 0x7fff_ffff
}

/// The coordinator of a partition's transactions dies, and the leader of an output.
#[tokio::test]
async fn brokers_that_die_double_nothing() {
    if KafkaCluster::left_out() {
        return;
    }
    let cluster = KafkaCluster::start_with(3, &SHORT_SESSIONS).await;
    let topics = Topics::create(&cluster, "once-brokers", PARTITIONS).await;
    let folder = tempfile::tempdir().unwrap();
    let args = [&EXACTLY_ONCE[..], &["--group.id", "once-brokers", "--kafka.request_timeout", "5s"]].concat();
    let mut pipeline = topics.pipeline(folder.path(), &args);
    let (records, rounds) = if is_long() { (300_000, 6) } else { (40_000, 2) };
    tokio::join!(topics.generate_at(Some(3_000.0), records, 23), async {
        let working = |it: &PipelineProcess| it.metric("login_pipeline_routed_records_total") > 2_000.0;
        pipeline.wait_for("it to work", PATIENCE, working).await;
        for round in 0..rounds {
            let node = if round % 2 == 0 {
                let id = format!("once-brokers-{}-0", topics.names[0]);
                cluster.leader("__transaction_state", usize::try_from(java_hash(&id) % 4).unwrap()).await
            } else {
                cluster.leader(&topics.names[1], 1).await
            };
            let node = node.unwrap();
            println!("brokers: node {node} dies");
            cluster.kill(node).await;
            sleep(Duration::from_secs(2)).await;
            cluster.start_node(node).await;
            cluster.wait_in_sync("__transaction_state").await;
            cluster.wait_in_sync(&topics.names[1]).await;
        }
    });
    #[expect(clippy::cast_precision_loss, reason = "a count of records")]
    drained(&mut pipeline, records as f64).await;
    ended_in_order(pipeline).await;
    assert_exactly_once(&topics, "once-brokers").await;
}
