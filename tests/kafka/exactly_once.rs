//! Exactly once on a real Apache Kafka: pipelines and brokers die, hang and are replaced, and who
//! reads what is committed finds every record once. `CHAOS=long` (`make chaos`) is the long form;
//! `CHAOS_SEED` repeats a run.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::{ApiKey, CreateAclsRequest};
use kafka_protocol::protocol::StrBytes;
use serde_json::Value;
use test_support::chaos::{self, is_long};
use test_support::kafka::{KafkaCluster, SHORT_WAITS, TRANSACTIONS_1};
use test_support::network::Network;
use test_support::pipeline::PipelineProcess;
use test_support::topics::{PATIENCE, Topics, drained, drained_together, ended_in_order, wait_for_all};
use test_support::wire;
use tokio::time::{Instant, sleep};

const PARTITIONS: i32 = 6;
const EXACTLY_ONCE: [&str; 4] = ["--delivery.guarantee", "exactly_once", "--offsets.store", "group"];

/// The flags for transactions of this version, which a new cluster has.
fn by_version(version: i16, group: &str) -> Vec<&str> {
    let latest: &[_] = if version == 2 { &["--delivery.transaction_version", "auto"] } else { &[] };
    [&EXACTLY_ONCE[..], &["--group.id", group], latest].concat()
}

/// Kills the pipeline again and again while records flow.
async fn kills(name: &'static str, version: i16) {
    if KafkaCluster::left_out() {
        return;
    }
    let (seed, mut random) = chaos::random(name);
    let (kills, records, rate) = if is_long() { (60, 500_000, 6_000.0) } else { (8, 50_000, 5_000.0) };
    let topics = Topics::create(KafkaCluster::shared_with_short_waits().await, name, PARTITIONS).await;
    let folder = tempfile::tempdir().unwrap();
    let args = by_version(version, name);
    let (mut written, is_over) = (Vec::new(), AtomicBool::new(false));
    let (records, ()) = tokio::join!(topics.generate_until(&is_over, rate, records, seed), async {
        for kill in 0..kills {
            let mut pipeline = topics.pipeline(folder.path(), &args);
            // Every other one dies at work, the rest wherever it is: on a busy machine that is early.
            if kill % 2 == 0 {
                let at_work = |it: &PipelineProcess| it.metric("login_pipeline_routed_records_total") > 0.0;
                pipeline.wait_for("it to write", PATIENCE, at_work).await;
            }
            sleep(Duration::from_millis(random.u64(400..1_800))).await;
            written.push(pipeline.metric("login_pipeline_routed_records_total"));
            pipeline.sigkill();
            pipeline.wait(Duration::from_secs(10)).await;
        }
        is_over.store(true, Ordering::Relaxed);
    });
    println!("{name}: written before each, committed or not: {written:?}");
    let mut pipeline = topics.pipeline(folder.path(), &args);
    drained(&mut pipeline, records).await;
    let log = pipeline.log();
    let told = format!("by transactions of this version (transaction.version) version={version}");
    assert_eq!(log.matches(&told).count(), 1, "said once: {log}");
    ended_in_order(pipeline).await;
    topics.assert_exactly_once(name).await;
}

#[tokio::test]
async fn kills_lose_nothing_and_double_nothing_in_version_2() {
    kills("once-kills", 2).await;
}

#[tokio::test]
async fn kills_lose_nothing_and_double_nothing() {
    kills("once-kills-1", 1).await;
}

/// What goes to the brokers, and what lies in their logs, is of the version that is expected.
async fn speaks(name: &'static str, asked: i16, settings: &[(&str, &str)], version: i16) {
    if KafkaCluster::left_out() {
        return;
    }
    let (network, cluster) = Network::before_kafka(1, settings).await;
    let topics = Topics::create(&cluster, name, 1).await;
    let records = 20_000;
    let folder = tempfile::tempdir().unwrap();
    let behind = Topics { brokers: network.bootstrap().to_owned(), names: topics.names.clone() };
    // The generator writes, too: not by way of the network.
    // Several transactions, also where the machine is so busy that all the records are there at once.
    let args = [&by_version(asked, name)[..], &["--delivery.transaction_max_bytes", "256KiB"]].concat();
    let mut pipeline = behind.pipeline(folder.path(), &args);
    topics.generate_at(Some(8_000.0), records, 27).await;
    drained(&mut pipeline, records).await;
    let log = pipeline.log();
    assert!(!log.contains("ConcurrentTransactions"), "that the one before still ends is no failure: {log}");
    ended_in_order(pipeline).await;
    topics.assert_exactly_once(name).await;

    let spoken = |api| network.spoken(api);
    let (produce, end, offsets, added) = if version == 2 { (12, 5, 5, false) } else { (8, 3, 3, true) };
    assert_eq!(spoken(ApiKey::Produce), [produce]);
    assert_eq!(spoken(ApiKey::EndTxn), [end]);
    assert_eq!(spoken(ApiKey::TxnOffsetCommit), [offsets]);
    for api in [ApiKey::AddPartitionsToTxn, ApiKey::AddOffsetsToTxn] {
        assert_eq!(!spoken(api).is_empty(), added, "{api:?}");
    }
    // Of each transaction the epoch of its batches, and that of the marker behind them.
    let mut transactions = Vec::new();
    let mut open = None;
    for batch in wire::batches(&topics.brokers, &topics.names[1], 0).await.unwrap() {
        assert!(batch.is_transactional());
        let epoch = batch.producer_epoch;
        if batch.is_control() {
            transactions.extend(open.take().map(|written| (written, epoch)));
        } else {
            assert!(open.is_none_or(|open| open == epoch), "a transaction in two epochs");
            open = Some(epoch);
        }
    }
    println!("{name}: epochs of batches and markers: {transactions:?}");
    assert!(transactions.len() >= 5, "{transactions:?}");
    for pair in transactions.windows(2) {
        let ((before, marker), (after, _)) = (pair[0], pair[1]);
        match version {
            2 => assert!(before < marker && marker <= after, "{transactions:?}"),
            _ => assert!(before == marker && marker == after, "{transactions:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_cluster_hears_version_2_where_that_is_asked_for() {
    speaks("once-speaks-2", 2, &[], 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_cluster_hears_version_1() {
    speaks("once-speaks-1", 1, &[], 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_without_version_2_hears_version_1() {
    speaks("once-speaks-old", 2, &[TRANSACTIONS_1], 1).await;
}

/// Past a limit on dead letters nothing counts that was not written before.
#[tokio::test]
async fn a_pause_for_too_many_dead_letters_keeps_the_rest_for_later() {
    if KafkaCluster::left_out() {
        return;
    }
    let topics = Topics::create(KafkaCluster::shared_with_short_waits().await, "once-limits", PARTITIONS).await;
    topics.generate(20_000, 11).await;
    let folder = tempfile::tempdir().unwrap();
    let args = [&EXACTLY_ONCE[..], &["--group.id", "once-limits"]].concat();
    // One in fifty is bad: sooner or later two in a row.
    let mut pipeline = topics.pipeline(folder.path(), &[&args[..], &["--dead_letter.max_consecutive", "1"]].concat());
    let paused = |it: &PipelineProcess| {
        let unready = it.get("/readyz").unwrap_or_default().1;
        unready.contains("dead_letter.max_consecutive")
    };
    pipeline.wait_for("a pause", PATIENCE, paused).await;
    ended_in_order(pipeline).await;
    let mut pipeline = topics.pipeline(folder.path(), &args);
    drained(&mut pipeline, 20_000).await;
    ended_in_order(pipeline).await;
    topics.assert_exactly_once("once-limits").await;
}

/// The flags of a member of a group.
fn member<'a>(group: &'a str, protocol: &'a str) -> Vec<&'a str> {
    let more = [
        "--assignment.mode",
        "group",
        "--group.id",
        group,
        "--group.protocol",
        protocol,
        "--group.session_timeout",
        "6s",
        "--group.heartbeat_interval",
        "500ms",
    ];
    [&EXACTLY_ONCE[..], &more].concat()
}

/// Instances join, leave and die while records flow.
async fn come_and_go(name: &'static str, protocol: &str) {
    if KafkaCluster::left_out() {
        return;
    }
    let (seed, mut random) = chaos::random(name);
    let (changes, records) = if is_long() { (30, 400_000) } else { (5, 45_000) };
    let topics = Topics::create(KafkaCluster::shared_with_short_waits().await, name, PARTITIONS).await;
    let folder = tempfile::tempdir().unwrap();
    let args = member(name, protocol);
    let mut members: Vec<_> = (0..2).map(|_| topics.pipeline(folder.path(), &args)).collect();
    tokio::join!(topics.generate_at(Some(4_000.0), records, seed), async {
        for change in 0..changes {
            sleep(Duration::from_millis(random.u64(1_000..3_000))).await;
            // Each of the three comes about, whatever the seed.
            let upset = if members.len() < 2 { 0 } else { change % 3 };
            println!("{name}: change {change}: {} with {} instances", ["join", "leave", "die"][upset], members.len());
            if upset == 0 {
                members.push(topics.pipeline(folder.path(), &args));
                continue;
            }
            let mut gone = members.swap_remove(random.usize(..members.len()));
            if upset == 1 {
                ended_in_order(gone).await;
            } else {
                gone.sigkill();
                gone.wait(Duration::from_secs(10)).await;
            }
        }
    });
    drained_together(&mut members, records).await;
    for member in members {
        ended_in_order(member).await;
    }
    topics.assert_exactly_once(name).await;
}

#[tokio::test]
async fn instances_come_and_go_consumer() {
    come_and_go("once-come-and-go-consumer", "consumer").await;
}

#[tokio::test]
async fn instances_come_and_go_classic() {
    come_and_go("once-come-and-go-classic", "classic").await;
}

/// A member stands still for longer than its session, and wakes when its partitions are another's.
async fn hangs(name: &'static str, protocol: &str) {
    if KafkaCluster::left_out() {
        return;
    }
    let topics = Topics::create(KafkaCluster::shared_with_short_waits().await, name, PARTITIONS).await;
    let folder = tempfile::tempdir().unwrap();
    let args = member(name, protocol);
    let mut members = vec![topics.pipeline(folder.path(), &args), topics.pipeline(folder.path(), &args)];
    let working = |it: &PipelineProcess| it.metric("login_pipeline_routed_records_total") > 0.0;
    let records = 60_000;
    tokio::join!(topics.generate_at(Some(4_000.0), records, 21), async {
        wait_for_all(&mut members, "both to work", |all| all.iter().all(working)).await;
        members[0].pause();
        sleep(Duration::from_secs(9)).await;
        members[0].resume();
    });
    drained_together(&mut members, records).await;
    let rebalances = status(&members[0])["group"]["rebalances"].clone();
    let woke = rebalances["expired"].as_u64().unwrap_or(0) + rebalances["expelled"].as_u64().unwrap_or(0);
    assert!(woke >= 1, "its session has not ended: {rebalances}");
    for member in members {
        ended_in_order(member).await;
    }
    topics.assert_exactly_once(name).await;
}

fn status(pipeline: &PipelineProcess) -> Value {
    let (_, body) = pipeline.get("/status").unwrap();
    serde_json::from_str(&body).unwrap()
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
async fn zombie(name: &'static str, version: i16) {
    if KafkaCluster::left_out() {
        return;
    }
    let topics = Topics::create(KafkaCluster::shared_with_short_waits().await, name, PARTITIONS).await;
    let folder = tempfile::tempdir().unwrap();
    let args = by_version(version, name);
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
    drained(&mut next, records).await;
    ended_in_order(next).await;
    topics.assert_exactly_once(name).await;
}

#[tokio::test]
async fn a_zombie_is_fenced_where_no_group_says_who_writes_in_version_2() {
    zombie("once-zombie", 2).await;
}

#[tokio::test]
async fn a_zombie_is_fenced_where_no_group_says_who_writes() {
    zombie("once-zombie-1", 1).await;
}

/// Two that write by different transactional ids, and neither hears of the other: the one that began at
/// an offset that is another by now commits nothing from there. So it goes where a broker tells an old
/// offset because it does not know yet that it is the group's coordinator no longer.
async fn overtaken(name: &'static str, version: i16) {
    if KafkaCluster::left_out() {
        return;
    }
    let topics = Topics::create(KafkaCluster::shared_with_short_waits().await, name, PARTITIONS).await;
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let args = by_version(version, name);
    let other = [&args[..], &["--delivery.transactional_id_prefix", "another"]].concat();
    let records = 10_000;
    topics.generate_at(None, records, 41).await;
    let mut first = topics.pipeline(folders[0].path(), &args);
    drained(&mut first, records).await;
    ended_in_order(first).await;

    let mut sleeper = topics.pipeline(folders[0].path(), &args);
    let begun = |it: &PipelineProcess| it.log().matches("reading topic").count() == PARTITIONS.unsigned_abs() as usize;
    sleeper.wait_for("it to know where to begin", PATIENCE, begun).await;
    sleeper.pause();
    topics.generate_at(None, records, 42).await;
    let mut next = topics.pipeline(folders[1].path(), &other);
    drained(&mut next, 2 * records).await;
    ended_in_order(next).await;
    sleeper.resume();
    topics.generate_at(None, records, 43).await;
    // Its position is at the end before it begins anew; the group's offsets say when all of it counts.
    let until = Instant::now() + PATIENCE;
    let ends = i64::try_from(3 * records).unwrap();
    while wire::committed(&topics.brokers, name, &topics.names[0]).await.unwrap().values().sum::<i64>() < ends {
        assert!(Instant::now() < until && sleeper.runs(), "{}", sleeper.log());
        sleep(Duration::from_millis(100)).await;
    }
    let log = sleeper.log();
    let aborted = log.lines().filter(|line| line.contains("transaction aborted") && line.contains("this began at"));
    assert_eq!(aborted.count(), PARTITIONS.unsigned_abs() as usize, "{log}");
    ended_in_order(sleeper).await;
    topics.assert_exactly_once(name).await;
}

#[tokio::test]
async fn who_began_at_an_old_offset_commits_nothing_in_version_2() {
    overtaken("once-overtaken", 2).await;
}

#[tokio::test]
async fn who_began_at_an_old_offset_commits_nothing() {
    overtaken("once-overtaken-1", 1).await;
}

/// The coordinator throws away what is open for too long, and fences who was writing: that one goes
/// on by itself, and at once.
async fn late(name: &'static str, version: i16) {
    if KafkaCluster::left_out() {
        return;
    }
    let topics = Topics::create(KafkaCluster::shared_with_short_waits().await, name, PARTITIONS).await;
    let folder = tempfile::tempdir().unwrap();
    // The other reader goes back to the committed offset, too.
    let reader = ["--source.reader", "wire", "--source.isolation", "read_committed"];
    let args = [&by_version(version, name)[..], &reader, &["--delivery.transaction_timeout", "2s"]].concat();
    let mut pipeline = topics.pipeline(folder.path(), &args);
    let records = 40_000;
    tokio::join!(topics.generate_at(Some(4_000.0), records, 24), async {
        let working = |it: &PipelineProcess| it.metric("login_pipeline_routed_records_total") > 2_000.0;
        pipeline.wait_for("it to work", PATIENCE, working).await;
        pipeline.pause();
        sleep(Duration::from_secs(6)).await;
        pipeline.resume();
    });
    drained(&mut pipeline, records).await;
    let log = pipeline.log();
    assert!(log.contains("transaction aborted"), "{log}");
    assert!(!log.contains("ERROR"), "nobody has to mend anything: {log}");
    ended_in_order(pipeline).await;
    topics.assert_exactly_once(name).await;
}

#[tokio::test]
async fn a_transaction_that_was_open_for_too_long_is_done_again_in_version_2() {
    late("once-late", 2).await;
}

#[tokio::test]
async fn a_transaction_that_was_open_for_too_long_is_done_again() {
    late("once-late-1", 1).await;
}

/// What a topic refuses for its size is written in smaller batches, in the same transaction.
#[tokio::test]
async fn batches_that_the_output_refuses_are_split_within_the_transaction() {
    if KafkaCluster::left_out() {
        return;
    }
    let cluster = KafkaCluster::shared_with_short_waits().await;
    let topics =
        Topics { brokers: cluster.bootstrap(), names: ["in", "out", "dead"].map(|r| format!("once-split-{r}")) };
    for (name, settings) in topics.names.iter().zip([&[][..], &[("max.message.bytes", "3000")], &[]]) {
        cluster.create_topic(name, PARTITIONS, settings).await;
    }
    let records = 4_000;
    topics.generate(records, 25).await;
    let folder = tempfile::tempdir().unwrap();
    let args = [&EXACTLY_ONCE[..], &["--group.id", "once-split"]].concat();
    let mut pipeline = topics.pipeline(folder.path(), &args);
    drained(&mut pipeline, records).await;
    ended_in_order(pipeline).await;
    topics.assert_exactly_once("once-split").await;
}

const TOPIC: i8 = 2;
const GROUP: i8 = 3;
const TRANSACTIONAL_ID: i8 = 5;
const READ: i8 = 3;
const WRITE: i8 = 4;
const DESCRIBE: i8 = 8;

/// Grants these to the user `limited`: kind and name of the resource, or the beginning of a
/// transactional id's, and the operations.
async fn grant(brokers: &str, grants: &[(i8, &str, &[i8])]) {
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let grants = grants.iter().flat_map(|(kind, name, all)| all.iter().map(move |one| (*kind, *name, *one)));
    let creation = |(kind, name, operation): (i8, &str, i8)| {
        AclCreation::default()
            .with_resource_type(kind)
            .with_resource_name(text(name))
            .with_resource_pattern_type(if kind == TRANSACTIONAL_ID { 4 } else { 3 }) // prefixed, literal
            .with_principal(text("User:limited"))
            .with_host(text("*"))
            .with_operation(operation)
            .with_permission_type(3) // allow
    };
    let request = CreateAclsRequest::default().with_creations(grants.map(creation).collect());
    let answer = wire::Connection::any(brokers).await.unwrap().call(&request, 2).await.unwrap();
    assert!(answer.results.iter().all(|result| result.error_code == 0), "{answer:?}");
}

/// What docs/concepts/delivery.md says is needed is enough, and what is lacking of transactions is said.
#[tokio::test]
async fn needs_the_permissions_that_the_documentation_names() {
    if KafkaCluster::left_out() {
        return;
    }
    let settings = [
        ("listener.name.limited.sasl.enabled.mechanisms", "PLAIN"),
        (
            "listener.name.limited.plain.sasl.jaas.config",
            "org.apache.kafka.common.security.plain.PlainLoginModule required user_limited=\"secret\";",
        ),
        ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
        ("super.users", "User:ANONYMOUS"),
    ];
    let cluster = KafkaCluster::start_listening(1, &[("LIMITED", "SASL_PLAINTEXT")], &settings).await;
    let topics = Topics::create(&cluster, "once-limited", PARTITIONS).await;
    let records = 5_000;
    topics.generate(records, 26).await;
    let [source, output, dead] = &topics.names;
    let (reads, writes) = (&[READ, DESCRIBE][..], &[WRITE, DESCRIBE][..]);
    let grants = [
        (TOPIC, source.as_str(), reads),
        (TOPIC, output, writes),
        (TOPIC, dead, writes),
        (GROUP, "once-limited", reads),
    ];
    grant(&topics.brokers, &grants).await;

    let folder = tempfile::tempdir().unwrap();
    let offsets = folder.path().join("offsets");
    let mut args = PipelineProcess::usual_args(&cluster.listener("LIMITED"), source, output, dead, &offsets);
    args.extend(EXACTLY_ONCE.map(str::to_owned));
    let more = [
        ("--group.id", "once-limited"),
        ("--retry.max", "1s"),
        ("--kafka.security_protocol", "sasl_plaintext"),
        ("--kafka.sasl.mechanism", "PLAIN"),
        ("--kafka.sasl.username", "limited"),
        ("--kafka.sasl.allow_plaintext", "true"),
    ];
    args.extend(more.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value.to_owned()]));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let secret = [("LOGIN_PIPELINE__KAFKA__SASL__PASSWORD", "secret")];
    let mut pipeline = PipelineProcess::start_with(folder.path(), &args, &secret);
    let told = |it: &PipelineProcess| {
        let (status, reasons) = it.get("/readyz").unwrap_or_default();
        status == 503 && reasons.contains("grant this client Write and Describe on the transactional ids")
    };
    pipeline.wait_for("it to say what it lacks", PATIENCE, told).await;
    grant(&topics.brokers, &[(TRANSACTIONAL_ID, "once-limited-", writes)]).await;
    drained(&mut pipeline, records).await;
    ended_in_order(pipeline).await;
    topics.assert_exactly_once("once-limited").await;
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
    let cluster = KafkaCluster::start_with(3, &SHORT_WAITS).await;
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
    drained(&mut pipeline, records).await;
    ended_in_order(pipeline).await;
    topics.assert_exactly_once("once-brokers").await;
}
