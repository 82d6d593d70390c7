//! The harness itself: a real Kafka that starts, dies and comes back, the generator against it,
//! and an audit that finds what it is there to find.

use std::collections::HashSet;
use std::time::Duration;

use login_pipeline::generator::{GenerateOptions, Summary, run};
use test_support::audit::AuditPlan;
use test_support::kafka::KafkaCluster;
use test_support::pipeline::PipelineProcess;
use test_support::wire;
use tokio_util::sync::CancellationToken;

fn options(cluster: &KafkaCluster, topic: &str, count: u64) -> GenerateOptions {
    GenerateOptions {
        brokers: cluster.brokers(),
        client_id: "generator".to_owned(),
        security: Default::default(),
        topic: topic.to_owned(),
        rate: None,
        count: Some(count),
        bad: 0.0,
        seed: 1,
        keyed: false,
        partitions: None,
        replication: -1,
        patience: Duration::from_secs(20),
        numbered: false,
    }
}

async fn generate(options: GenerateOptions) -> Summary {
    run(options, CancellationToken::new(), |_| {}).await.unwrap_or_else(|error| panic!("{error}"))
}

#[tokio::test]
async fn generated_records_are_all_there() {
    if KafkaCluster::left_out() {
        return;
    }
    let cluster = KafkaCluster::shared().await;
    cluster.create_topic("plain", 6, &[]).await;
    let summary = generate(GenerateOptions { bad: 0.05, ..options(cluster, "plain", 10_000) }).await;
    assert_eq!(summary.records, 10_000);
    assert!((300..700).contains(&summary.bad), "{summary:?}");

    let mut read = Vec::new();
    for partition in wire::partitions(&cluster.bootstrap(), "plain").await.unwrap() {
        let before = read.len();
        wire::read_partition(&cluster.bootstrap(), "plain", partition, |record| read.push(record)).await.unwrap();
        assert!((1_500..1_800).contains(&(read.len() - before)), "an even share for partition {partition}");
    }
    assert_eq!(read.len(), 10_000);
    let good = read.iter().filter(|record| test_support::oracle::judge(record.value.as_deref()).is_ok()).count();
    assert_eq!(u64::try_from(good).unwrap(), 10_000 - summary.bad, "good and bad as the generator says");
}

#[tokio::test]
async fn a_keyed_user_stays_in_one_partition_of_a_topic_made_on_the_way() {
    if KafkaCluster::left_out() {
        return;
    }
    let cluster = KafkaCluster::shared().await;
    let wanted = GenerateOptions { keyed: true, partitions: Some(4), ..options(cluster, "keyed", 2_000) };
    generate(wanted).await;
    let mut seen = HashSet::new();
    for partition in 0..4 {
        let mut here = HashSet::new();
        let visit = |record: test_support::records::RawRecord| here.extend(record.key);
        wire::read_partition(&cluster.bootstrap(), "keyed", partition, visit).await.unwrap();
        assert!(!here.is_empty(), "partition {partition} has none");
        assert!(seen.is_disjoint(&here), "a user is in two partitions");
        seen.extend(here);
    }
}

#[tokio::test]
async fn a_missing_topic_and_a_steady_rate() {
    if KafkaCluster::left_out() {
        return;
    }
    let cluster = KafkaCluster::shared().await;
    let error = run(options(cluster, "missing", 1), CancellationToken::new(), |_| {}).await.unwrap_err();
    assert!(error.to_string().starts_with("there is no topic \"missing\""), "{error}");

    let shutdown = CancellationToken::new();
    let paced =
        GenerateOptions { rate: Some(2_000.0), count: None, partitions: Some(2), ..options(cluster, "paced", 0) };
    let stopping = shutdown.clone();
    let stop = async move {
        tokio::time::sleep(Duration::from_secs(3)).await;
        stopping.cancel();
    };
    let mut told = 0;
    let (summary, ()) = tokio::join!(run(paced, shutdown, |_| told += 1), stop);
    let records = summary.unwrap().records;
    assert!((4_000..7_000).contains(&records), "{records} records in 3 s at 2000 a second");
    assert!(told >= 1, "progress was told {told} times");
}

#[tokio::test]
async fn nodes_die_and_come_back_with_their_data() {
    if KafkaCluster::left_out() {
        return;
    }
    let cluster = KafkaCluster::start(3).await;
    cluster.create_topic("replicated", 3, &[("max.message.bytes", "200000")]).await;
    generate(options(&cluster, "replicated", 3_000)).await;

    let leader = cluster.leader("replicated", 0).await.unwrap();
    cluster.kill(leader).await;
    generate(GenerateOptions { seed: 2, ..options(&cluster, "replicated", 3_000) }).await;
    cluster.start_node(leader).await;
    cluster.wait_in_sync("replicated").await;

    let other = leader % 3 + 1;
    cluster.pause(other);
    tokio::time::sleep(Duration::from_millis(500)).await;
    cluster.resume(other);
    cluster.stop(other).await;
    let mut read = 0;
    for partition in 0..3 {
        wire::read_partition(&cluster.bootstrap(), "replicated", partition, |_| read += 1).await.unwrap();
    }
    assert!(read >= 6_000, "{read} records after a broker's death");
}

#[tokio::test]
async fn the_program_and_the_audit_agree_on_a_real_kafka() {
    if KafkaCluster::left_out() {
        return;
    }
    let cluster = KafkaCluster::shared().await;
    for topic in ["whole-in", "whole-out", "whole-dead"] {
        cluster.create_topic(topic, 3, &[]).await;
    }
    generate(GenerateOptions { bad: 0.1, keyed: true, ..options(cluster, "whole-in", 20_000) }).await;

    let folder = tempfile::tempdir().unwrap();
    let brokers = cluster.bootstrap();
    let args =
        PipelineProcess::usual_args(&brokers, "whole-in", "whole-out", "whole-dead", &folder.path().join("offsets"));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut pipeline = PipelineProcess::start(folder.path(), &args);
    pipeline.wait_ready(Duration::from_secs(30)).await;
    let done = |it: &PipelineProcess| it.metric("login_pipeline_routed_records_total") >= 20_000.0;
    pipeline.wait_for("all records to be routed", Duration::from_secs(60), done).await;
    assert!(pipeline.peak_rss_bytes() > 1 << 20 && pipeline.cpu() > Duration::ZERO);
    pipeline.sigterm();
    assert!(pipeline.wait(Duration::from_secs(20)).await.success(), "{}", pipeline.log());

    let audit = AuditPlan::new(&brokers, "whole-in", "whole-out", "whole-dead").run().await.unwrap();
    audit.assert_clean();
    assert_eq!((audit.source, audit.output + audit.dead), (20_000, 20_000), "{audit}");
}
