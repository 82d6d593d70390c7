//! Topics that come late, grow, or are deleted and made anew while the pipeline runs, in every mode,
//! on a real Apache Kafka.

use std::time::Duration;

use kafka_records::record::NO_TIMESTAMP;
use test_support::kafka::KafkaCluster;
use test_support::pipeline::PipelineProcess;
use test_support::records::RawRecord;
use test_support::topics::{Topics, delete, drained_together, ended_in_order, grow, sum, wait_for_all};
use test_support::wire;
use tokio::time::sleep;

const ROUTED: &str = "login_pipeline_routed_records_total";

const STATIC: &[&str] = &[];
const CONSUMER: &[&str] = &["--assignment.mode", "group", "--group.protocol", "consumer"];
const CLASSIC: &[&str] = &["--assignment.mode", "group", "--group.protocol", "classic"];
const RANGE: &[&str] = &["--assignment.mode", "group", "--group.protocol", "classic", "--group.assignors", "range"];

fn named(brokers: String, test: &str) -> Topics {
    Topics { brokers, names: ["in", "out", "dead"].map(|role| format!("{test}-{role}")) }
}

/// Of a group two members, of which one does not lead.
fn start(topics: &Topics, folder: &std::path::Path, test: &str, mode: &[&str]) -> Vec<PipelineProcess> {
    let args = ["--assignment.discovery_interval", "1s", "--group.id", test, "--kafka.unknown_topic_grace", "2s"];
    let instances = if mode.contains(&"group") { 2 } else { 1 };
    (0..instances).map(|_| topics.pipeline(folder, &[&args, mode].concat())).collect()
}

async fn end(pipelines: Vec<PipelineProcess>) {
    for pipeline in pipelines {
        ended_in_order(pipeline).await;
    }
}

async fn comes_late_and_grows(test: &str, mode: &[&str]) {
    if KafkaCluster::left_out() {
        return;
    }
    let cluster = KafkaCluster::shared().await;
    let topics = named(cluster.bootstrap(), test);
    let [source, output, dead] = &topics.names;
    cluster.create_topic(output, 4, &[]).await;
    cluster.create_topic(dead, 1, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let mut pipelines = start(&topics, folder.path(), test, mode);
    let unready = |it: &PipelineProcess| it.get("/readyz").is_ok_and(|(code, why)| code == 503 && why.contains(source));
    wait_for_all(&mut pipelines, "the missing topic to show in readiness", |all| all.iter().all(unready)).await;
    cluster.create_topic(source, 2, &[]).await;
    topics.generate(3_000, 31).await;
    drained_together(&mut pipelines, 3_000).await;
    wait_for_all(&mut pipelines, "readiness", |all| {
        all.iter().all(|it| it.get("/readyz").is_ok_and(|(code, _)| code == 200))
    })
    .await;
    grow(&topics.brokers, source, 4).await;
    topics.generate(5_000, 32).await;
    drained_together(&mut pipelines, 8_000).await;
    end(pipelines).await;
    topics.audit().await.assert_clean();
}

#[tokio::test]
async fn a_source_comes_late_and_grows_static() {
    comes_late_and_grows("late-static", STATIC).await;
}

#[tokio::test]
async fn a_source_comes_late_and_grows_consumer() {
    comes_late_and_grows("late-consumer", CONSUMER).await;
}

#[tokio::test]
async fn a_source_comes_late_and_grows_classic() {
    comes_late_and_grows("late-classic", CLASSIC).await;
    comes_late_and_grows("late-range", RANGE).await;
}

/// With `source.start = "latest"`, which is for what was there before.
async fn what_comes_is_read_whole(test: &str, mode: &[&str]) {
    if KafkaCluster::left_out() {
        return;
    }
    let topics = Topics::create(KafkaCluster::shared().await, test, 2).await;
    let folder = tempfile::tempdir().unwrap();
    let mut pipelines = start(&topics, folder.path(), test, &[mode, &["--source.start", "latest"]].concat());
    let reading =
        |all: &[PipelineProcess]| all.iter().map(|it| it.log().matches("reading").count()).sum::<usize>() >= 2;
    wait_for_all(&mut pipelines, "both partitions to be read", reading).await;
    topics.generate(2_000, 35).await;
    grow(&topics.brokers, &topics.names[0], 4).await;
    topics.generate(4_000, 36).await;
    wait_for_all(&mut pipelines, "all to be written", |all| sum(all, ROUTED) >= 6_000.0).await;
    end(pipelines).await;
    topics.audit().await.assert_clean();
}

#[tokio::test]
async fn partitions_that_come_later_are_read_from_their_beginning() {
    what_comes_is_read_whole("whole-static", STATIC).await;
    what_comes_is_read_whole("whole-consumer", CONSUMER).await;
    what_comes_is_read_whole("whole-classic", CLASSIC).await;
}

async fn made_anew(test: &str, mode: &[&str]) {
    if KafkaCluster::left_out() {
        return;
    }
    let cluster = KafkaCluster::shared().await;
    let topics = Topics::create(cluster, test, 4).await;
    let folder = tempfile::tempdir().unwrap();
    let mut pipelines = start(&topics, folder.path(), test, mode);
    topics.generate(2_000, 33).await;
    drained_together(&mut pipelines, 2_000).await;
    // What was written goes with its topic: the audit is of what came after.
    for topic in &topics.names {
        delete(&topics.brokers, topic).await;
    }
    sleep(Duration::from_secs(1)).await;
    let [source, output, dead] = &topics.names;
    cluster.create_topic(output, 2, &[]).await;
    cluster.create_topic(dead, 2, &[]).await;
    cluster.create_topic(source, 4, &[]).await;
    // More than before, so that the old positions lie within the new log.
    let before = sum(&pipelines, ROUTED);
    topics.generate(6_000, 34).await;
    wait_for_all(&mut pipelines, "the new topic to be read", |all| sum(all, ROUTED) - before >= 6_000.0).await;
    drained_together(&mut pipelines, 6_000).await;
    end(pipelines).await;
    topics.audit().await.assert_clean();
}

#[tokio::test]
async fn topics_are_made_anew_static() {
    made_anew("anew-static", STATIC).await;
}

#[tokio::test]
async fn topics_are_made_anew_consumer() {
    made_anew("anew-consumer", CONSUMER).await;
}

#[tokio::test]
async fn topics_are_made_anew_classic() {
    made_anew("anew-classic", CLASSIC).await;
    made_anew("anew-range", RANGE).await;
}

#[tokio::test]
async fn topics_are_created_with_the_brokers_number_of_replicas() {
    if KafkaCluster::left_out() {
        return;
    }
    let cluster = KafkaCluster::shared().await;
    let topics = named(cluster.bootstrap(), "created");
    let folder = tempfile::tempdir().unwrap();
    let create = ["--topics.create", "missing", "--topics.partitions", "2"];
    let connect = |topics: &Topics, args: &[&str]| {
        let [source, output, dead] = &topics.names;
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_login-pipeline"));
        command.args(["check", "--connect", "--kafka.brokers", &topics.brokers, "--source.topic", source]);
        command.args(["--output.topic", output, "--dead_letter.topic", dead]).args(args);
        let output = command.output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let checked = connect(&topics, &create);
    let [source, output, _] = &topics.names;
    assert!(
        checked.contains(&format!("ok    source {source}: missing, run will create it with 2 partitions")),
        "{checked}"
    );
    assert!(
        checked.contains(&format!("ok    output {output}: missing, run will create it with 2 partitions")),
        "{checked}"
    );
    let checked = connect(&topics, &[&create[..], &["--topics.replication", "1000"]].concat());
    assert!(checked.contains("run can't create it: InvalidReplicationFactor (code 38)"), "{checked}");
    assert!(connect(&topics, &[]).contains("create the topic, or set topics.create"));

    let mut pipelines = start(&topics, folder.path(), "created", &create);
    wait_for_all(&mut pipelines, "readiness", |all| {
        all.iter().all(|it| it.get("/readyz").is_ok_and(|(code, _)| code == 200))
    })
    .await;
    topics.generate(500, 37).await;
    drained_together(&mut pipelines, 500).await;
    assert!(pipelines[0].log().contains("created"), "{}", pipelines[0].log());
    end(pipelines).await;
    let checked = connect(&topics, &create);
    assert!(checked.contains(&format!("ok    output {output}: 2 partitions")), "{checked}");
}

#[tokio::test]
async fn a_topic_with_fewer_replicas_than_must_be_in_sync_is_said_beforehand() {
    if KafkaCluster::left_out() {
        return;
    }
    let cluster = KafkaCluster::shared().await;
    let topics = named(cluster.bootstrap(), "insync");
    let [source, output, dead] = &topics.names;
    cluster.create_topic(source, 1, &[]).await;
    cluster.create_topic(output, 1, &[("min.insync.replicas", "9")]).await;
    cluster.create_topic(dead, 1, &[]).await;
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_login-pipeline"));
    command.args(["check", "--connect", "--kafka.brokers", &topics.brokers, "--source.topic", source]);
    command.args(["--output.topic", output, "--dead_letter.topic", dead]);
    let checked = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let said: Vec<_> = checked.lines().filter(|line| line.contains("min.insync.replicas")).collect();
    assert_eq!(said.len(), 1, "{checked}");
    assert!(said[0].contains(&format!("output {output}: min.insync.replicas is 9 and it has")), "{checked}");
    // Kafka 3.7 and later asks for no more replicas in sync than there are.
    assert!(
        said[0].starts_with("# ok ") && said[0].contains("what is acknowledged is on no more than that"),
        "{checked}"
    );
}

/// A clock that is wrong, by a topic that takes no record which is a millisecond old. A record without a time is judged by
/// no broker.
#[tokio::test]
async fn a_dead_letter_whose_time_is_refused_is_written_without_one() {
    if KafkaCluster::left_out() {
        return;
    }
    let cluster = KafkaCluster::shared().await;
    let topics = named(cluster.bootstrap(), "undated");
    let [source, output, dead] = &topics.names;
    cluster.create_topic(source, 2, &[]).await;
    cluster.create_topic(output, 2, &[]).await;
    cluster.create_topic(dead, 2, &[("message.timestamp.before.max.ms", "0")]).await;
    let folder = tempfile::tempdir().unwrap();
    let mut pipelines = start(&topics, folder.path(), "undated", STATIC);
    topics.generate(400, 37).await;
    drained_together(&mut pipelines, 400).await;
    end(pipelines).await;
    topics.audit().await.assert_clean();
    let mut undated = 0;
    for partition in 0..2 {
        let visit = |record: RawRecord| undated += usize::from(record.timestamp_ms == NO_TIMESTAMP);
        wire::read_partition(&topics.brokers, dead, partition, visit).await.unwrap();
    }
    assert!(undated > 0, "none was refused for its time");
}
