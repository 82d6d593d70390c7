//! Consumer groups on a real Apache Kafka: instances come, go, die and hang, and every record is
//! accounted for. `CHAOS=long` (`make chaos`) is the long form; `CHAOS_SEED` repeats a run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use test_support::chaos::{is_long, random};
use test_support::kafka::{KafkaCluster, SHORT_WAITS};
use test_support::pipeline::PipelineProcess;
use test_support::topics::{Topics, drained_together, ended_in_order, wait_for_all};
use test_support::wire;
use tokio::time::sleep;

const PARTITIONS: i32 = 12;
const SESSION: &str = "6s";
/// Checkpoints are stored this often here.
const CHECKPOINT: &str = "500ms";

const CONSUMER: &[&str] = &["--group.protocol", "consumer"];
const COOPERATIVE: &[&str] = &["--group.protocol", "classic"];
const RANGE: &[&str] = &["--group.protocol", "classic", "--group.assignors", "range"];

/// Instances of one group, some of them gone.
struct Group<'a> {
    topics: &'a Topics,
    folder: &'a Path,
    args: Vec<&'a str>,
    members: Vec<PipelineProcess>,
}

impl<'a> Group<'a> {
    fn new(topics: &'a Topics, folder: &'a Path, id: &'a str, more: &[&'a str]) -> Self {
        let mut args = vec![
            "--assignment.mode",
            "group",
            "--group.id",
            id,
            "--group.session_timeout",
            SESSION,
            "--group.heartbeat_interval",
            "500ms",
            "--offsets.checkpoint_interval",
            CHECKPOINT,
            "--assignment.discovery_interval",
            "2s",
        ];
        args.extend(more);
        Self { topics, folder, args, members: Vec::new() }
    }

    fn join(&mut self) {
        self.members.push(self.topics.pipeline(self.folder, &self.args));
    }

    fn join_as(&mut self, instance: &str) -> PipelineProcess {
        let args = [&self.args[..], &["--group.instance_id", instance]].concat();
        self.topics.pipeline(self.folder, &args)
    }

    /// Waits until every partition is someone's, and no one's twice.
    async fn wait_assigned(&mut self) {
        wait_for_all(&mut self.members, "an assignment", |members| {
            let mut all: Vec<i32> = members.iter().flat_map(assigned).collect();
            all.sort_unstable();
            all.len() == usize::try_from(PARTITIONS).unwrap() && all.windows(2).all(|pair| pair[0] != pair[1])
        })
        .await;
    }

    /// Waits until the members together have read so much and written it all.
    async fn wait_drained(&mut self, records: u64) {
        drained_together(&mut self.members, records).await;
    }

    async fn end(self) {
        for member in self.members {
            ended_in_order(member).await;
        }
    }
}

fn group_status(member: &PipelineProcess) -> Value {
    let status: Value =
        member.get("/status").ok().and_then(|(_, body)| serde_json::from_str(&body).ok()).unwrap_or_default();
    status["group"].clone()
}

fn assigned(member: &PipelineProcess) -> BTreeSet<i32> {
    let status = group_status(member);
    let partitions = status["partitions"].as_array().into_iter().flatten();
    partitions.filter_map(Value::as_i64).map(|partition| i32::try_from(partition).unwrap()).collect()
}

/// What happens to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upset {
    Join,
    Leave,
    Die,
}

/// Instances join, leave and, where they may, die, while records flow.
async fn chaos(name: &'static str, protocol: &[&'static str], upsets: &[Upset]) {
    if KafkaCluster::left_out() {
        return;
    }
    let (seed, mut random) = random(name);
    let (changes, records, rate) = if is_long() { (20, 1_000_000, 15_000.0) } else { (6, 150_000, 8_000.0) };
    let topics = Topics::create(KafkaCluster::shared_with_short_waits().await, name, PARTITIONS).await;
    let folder = tempfile::tempdir().unwrap();
    let mut group = Group::new(&topics, folder.path(), name, protocol);
    (0..3).for_each(|_| group.join());
    let mut deaths = 0;
    tokio::join!(topics.generate_at(Some(rate), records, seed), async {
        for change in 0..changes {
            sleep(Duration::from_millis(random.u64(1_000..3_000))).await;
            let possible: Vec<_> = upsets
                .iter()
                .filter(|upset| if **upset == Upset::Join { group.members.len() < 5 } else { group.members.len() > 1 })
                .collect();
            let upset = **random.choice(&possible).unwrap();
            println!("{name}: change {change}: {upset:?} with {} instances", group.members.len());
            if upset == Upset::Join {
                group.join();
                continue;
            }
            let mut member = group.members.swap_remove(random.usize(..group.members.len()));
            if upset == Upset::Leave {
                ended_in_order(member).await;
            } else {
                deaths += 1;
                member.sigkill();
                member.wait(Duration::from_secs(10)).await;
            }
        }
    });
    group.wait_drained(records).await;
    group.wait_assigned().await;
    group.end().await;
    let audit = topics.audit().await;
    println!("{name}: {deaths} deaths, doubled {}, longest {} ms", audit.doubled, audit.longest_repeat_ms);
    // A death repeats what its partitions wrote since their last checkpoint: at the pace of a
    // backlog that may be all that one instance can do in an interval.
    audit.assert_doubled_at_most(deaths * 40_000);
}

const ALL: &[Upset] = &[Upset::Join, Upset::Leave, Upset::Die];
const IN_ORDER: &[Upset] = &[Upset::Join, Upset::Leave];

#[tokio::test]
async fn chaos_by_the_consumer_protocol() {
    chaos("chaos-consumer", CONSUMER, ALL).await;
}

#[tokio::test]
async fn chaos_by_the_cooperative_assignor() {
    chaos("chaos-cooperative", COOPERATIVE, ALL).await;
}

#[tokio::test]
async fn chaos_by_the_range_assignor() {
    chaos("chaos-range", RANGE, ALL).await;
}

#[tokio::test]
async fn who_joins_and_leaves_in_order_doubles_nothing() {
    chaos("order-consumer", CONSUMER, IN_ORDER).await;
    chaos("order-cooperative", COOPERATIVE, IN_ORDER).await;
    chaos("order-range", RANGE, IN_ORDER).await;
}

/// Two instances of the same configuration, which says no more than where brokers and topics are.
#[tokio::test]
async fn two_default_instances_lose_nothing_when_one_is_killed() {
    if KafkaCluster::left_out() {
        return;
    }
    const RECORDS: u64 = 100_000;
    const RATE: f64 = 6_000.0;
    let name = "two-defaults";
    let topics = Topics::create(KafkaCluster::shared_with_short_waits().await, name, PARTITIONS).await;
    let folder = tempfile::tempdir().unwrap();
    // The tests' usual mode is static: the default is said again.
    let args = vec!["--assignment.mode", "group", "--group.id", name];
    let mut group = Group { topics: &topics, folder: folder.path(), args, members: Vec::new() };
    (0..2).for_each(|_| group.join());
    group.wait_assigned().await;
    tokio::join!(topics.generate_at(Some(RATE), RECORDS, 7), async {
        sleep(Duration::from_secs(8)).await;
        let mut killed = group.members.swap_remove(0);
        assert!(!assigned(&killed).is_empty(), "it had its share");
        killed.sigkill();
        killed.wait(Duration::from_secs(10)).await;
    });
    group.wait_drained(RECORDS).await;
    group.end().await;
    let audit = topics.audit().await;
    println!("{name}: duplicated {}, longest {} ms", audit.doubled, audit.longest_repeat_ms);
    assert_eq!(audit.source, RECORDS);
    // A checkpoint a second of half the records, and as much for a machine that is busy.
    audit.assert_doubled_at_most(6_000);
}

/// A member stands still for longer than its session, and wakes when its partitions are others'.
async fn hangs(name: &'static str, protocol: &[&'static str]) {
    if KafkaCluster::left_out() {
        return;
    }
    let topics = Topics::create(KafkaCluster::shared_with_short_waits().await, name, PARTITIONS).await;
    let folder = tempfile::tempdir().unwrap();
    let mut group = Group::new(&topics, folder.path(), name, protocol);
    (0..2).for_each(|_| group.join());
    group.wait_assigned().await;
    let records = 120_000;
    tokio::join!(topics.generate_at(Some(5_000.0), records, 11), async {
        sleep(Duration::from_secs(4)).await;
        group.members[0].pause();
        sleep(Duration::from_secs(12)).await;
        let others = assigned(&group.members[1]);
        assert_eq!(others.len(), usize::try_from(PARTITIONS).unwrap(), "the session has ended: {others:?}");
        group.members[0].resume();
    });
    group.wait_drained(records).await;
    group.wait_assigned().await;
    let rebalances = group_status(&group.members[0])["rebalances"].clone();
    println!("{name}: the one that hung: {rebalances}");
    let woke = rebalances["expired"].as_u64().unwrap_or(0) + rebalances["expelled"].as_u64().unwrap_or(0);
    assert!(woke >= 1, "{rebalances}");
    group.end().await;
    let audit = topics.audit().await;
    println!("{name}: doubled {}", audit.doubled);
    // What it had written since its last checkpoints, and what was on its way to the brokers.
    audit.assert_doubled_at_most(10_000);
}

#[tokio::test]
async fn a_member_that_hangs_is_replaced_consumer() {
    hangs("hangs-consumer", CONSUMER).await;
}

#[tokio::test]
async fn a_member_that_hangs_is_replaced_classic() {
    hangs("hangs-classic", COOPERATIVE).await;
}

/// A time by the clock that pipelines stamp records with.
type Clock = std::time::SystemTime;

/// The longest time that a partition of the output stood still, by `processed_at`; what overlaps
/// with one of the partition's `excused` times is left out.
async fn longest_gaps(topics: &Topics, excused: &[(BTreeSet<i32>, Clock, Clock)]) -> BTreeMap<i32, Duration> {
    let mut gaps = BTreeMap::new();
    for partition in 0..PARTITIONS {
        let mut times = Vec::new();
        let visit = |record: test_support::records::RawRecord| {
            let value: Value = serde_json::from_slice(&record.value.unwrap()).unwrap();
            times.push(humantime::parse_rfc3339(value["processed_at"].as_str().unwrap()).unwrap());
        };
        wire::read_partition(&topics.brokers, &topics.names[1], partition, visit).await.unwrap();
        let own: Vec<_> = excused.iter().filter(|(partitions, ..)| partitions.contains(&partition)).collect();
        let counts = |pair: &&[Clock]| own.iter().all(|(_, from, to)| pair[1] < *from || pair[0] > *to);
        let gap = times.windows(2).filter(counts).map(|pair| pair[1].duration_since(pair[0]).unwrap_or_default());
        gaps.insert(partition, gap.max().unwrap_or_default());
    }
    gaps
}

async fn rolling_restart(name: &'static str, protocol: &[&'static str]) {
    if KafkaCluster::left_out() {
        return;
    }
    let topics = Topics::create(KafkaCluster::shared_with_short_waits().await, name, PARTITIONS).await;
    let folder = tempfile::tempdir().unwrap();
    let mut group = Group::new(&topics, folder.path(), name, protocol);
    let names = ["pod-0", "pod-1", "pod-2"];
    for instance in names {
        let member = group.join_as(instance);
        group.members.push(member);
    }
    group.wait_assigned().await;
    sleep(Duration::from_secs(3)).await;
    let before: Vec<_> = group.members.iter().map(assigned).collect();
    let records = 60_000;
    let mut restarts = Vec::new();
    tokio::join!(topics.generate_at(Some(4_000.0), records, 12), async {
        for (at, instance) in names.into_iter().enumerate() {
            sleep(Duration::from_secs(2)).await;
            let begun = Clock::now();
            let next = group.join_as_after(at, instance).await;
            group.members[at] = next;
            group.wait_assigned().await;
            restarts.push((before[at].clone(), begun, Clock::now()));
        }
    });
    group.wait_drained(records).await;
    let after: Vec<_> = group.members.iter().map(assigned).collect();
    assert_eq!(before, after, "no partition moves");
    group.end().await;
    topics.audit().await.assert_clean();
    println!("{name}: longest gaps, a partition's own restart aside {:?}", longest_gaps(&topics, &restarts).await);
    println!("{name}: longest gaps, its own restart included {:?}", longest_gaps(&topics, &[]).await);
}

impl Group<'_> {
    /// Ends a static member in order and starts it again.
    async fn join_as_after(&mut self, at: usize, instance: &str) -> PipelineProcess {
        let member = &mut self.members[at];
        member.sigterm();
        assert!(member.wait(Duration::from_secs(40)).await.success(), "{}", member.log());
        self.join_as(instance)
    }
}

#[tokio::test]
async fn a_rolling_restart_of_static_members_moves_nothing_consumer() {
    rolling_restart("rolling-consumer", CONSUMER).await;
}

#[tokio::test]
async fn a_rolling_restart_of_static_members_moves_nothing_classic() {
    rolling_restart("rolling-classic", COOPERATIVE).await;
}

const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";

#[tokio::test]
async fn kafkas_own_tools_see_the_group_and_reset_it() {
    if KafkaCluster::left_out() {
        return;
    }
    let cluster = KafkaCluster::shared_with_short_waits().await;
    let topics = Topics::create(cluster, "tools", PARTITIONS).await;
    topics.generate(20_000, 13).await;
    let folder = tempfile::tempdir().unwrap();
    for protocol in [CONSUMER, COOPERATIVE] {
        let mut group = Group::new(&topics, folder.path(), "tools", protocol);
        (0..2).for_each(|_| group.join());
        group.wait_assigned().await;
        group.wait_drained(20_000).await;
        sleep(Duration::from_secs(2)).await;
        let told = cluster.cli(GROUPS, &["--describe", "--group", "tools"]).await;
        let told = String::from_utf8(told.stdout).unwrap();
        let lines: Vec<Vec<&str>> = told
            .lines()
            .map(|line| line.split_whitespace().collect())
            .filter(|line: &Vec<_>| line.contains(&"tools-in"))
            .collect();
        assert_eq!(lines.len(), 12, "{told}");
        assert!(lines.iter().all(|line| line[5] == "0"), "{told}");
        let members: BTreeSet<_> = lines.iter().map(|line| line[6]).collect();
        assert_eq!(members.len(), 2, "{told}");
        group.end().await;
        let args = ["--reset-offsets", "--group", "tools", "--topic", "tools-in", "--to-earliest", "--execute"];
        let reset = cluster.cli(GROUPS, &args).await;
        assert!(reset.status.success(), "{reset:?}");
    }
    let mut group = Group::new(&topics, folder.path(), "tools", CONSUMER);
    group.join();
    group.wait_assigned().await;
    group.wait_drained(20_000).await;
    group.end().await;
    let audit = topics.audit().await;
    audit.assert_doubled_at_most(40_000);
    assert_eq!(audit.doubled, 40_000, "each reset was obeyed");
}

#[tokio::test]
async fn the_coordinators_broker_dies() {
    if KafkaCluster::left_out() {
        return;
    }
    let cluster = KafkaCluster::start_with(3, &SHORT_WAITS).await;
    let topics = Topics::create(&cluster, "coordinator", PARTITIONS).await;
    let folder = tempfile::tempdir().unwrap();
    for (protocol, records, sofar) in [(CONSUMER, 60_000, 60_000), (COOPERATIVE, 60_000, 120_000)] {
        let id = if sofar == records { "coordinator" } else { "coordinator-classic" };
        let mut group = Group::new(&topics, folder.path(), id, protocol);
        if sofar > records {
            // A group of its own begins where this topic's records of before end.
            group.args.extend(["--source.start", "latest"]);
        }
        (0..3).for_each(|_| group.join());
        group.wait_assigned().await;
        let found = cluster.cli(GROUPS, &["--describe", "--state", "--group", id]).await;
        let found = String::from_utf8(found.stdout).unwrap();
        let node = found.rsplit_once('(').and_then(|(_, rest)| rest.split_once(')')).unwrap().0.parse().unwrap();
        tokio::join!(topics.generate_at(Some(4_000.0), records, sofar), async {
            sleep(Duration::from_secs(4)).await;
            println!("{id}: node {node} dies");
            cluster.kill(node).await;
        });
        group.wait_drained(sofar).await;
        group.wait_assigned().await;
        group.end().await;
        cluster.start_node(node).await;
        cluster.wait_in_sync("coordinator-in").await;
    }
    let audit = topics.audit().await;
    println!("coordinator: doubled {}", audit.doubled);
    // A batch whose acknowledgement died with its leader is written again.
    audit.assert_doubled_at_most(20_000);
}
