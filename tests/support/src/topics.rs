//! The topics of one test, what is in them, and the pipelines that work on them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::{CreatePartitionsRequest, DeleteTopicsRequest};
use login_pipeline::generator::{GenerateOptions, run};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::audit::{Audit, AuditPlan};
use super::kafka::KafkaCluster;
use super::pipeline::PipelineProcess;
use super::wire;

/// Whatever a test waits for comes within this time, or never.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// A source, an output and a dead-letter topic of one test.
pub struct Topics {
    pub brokers: String,
    /// Source, output, dead letters.
    pub names: [String; 3],
}

impl Topics {
    pub async fn create(cluster: &KafkaCluster, test: &str, partitions: i32) -> Self {
        let names = ["in", "out", "dead"].map(|role| format!("{test}-{role}"));
        for name in &names {
            cluster.create_topic(name, partitions, &[]).await;
        }
        Self { brokers: cluster.bootstrap(), names }
    }

    /// Source, output and dead letters each as Kafka's own tool makes it with such options.
    pub async fn create_with(cluster: &KafkaCluster, test: &str, options: [&[&str]; 3]) -> Self {
        let names = ["in", "out", "dead"].map(|role| format!("{test}-{role}"));
        for (name, options) in names.iter().zip(options) {
            let create = [&["--create", "--topic", name], options].concat();
            let created = cluster.cli("org.apache.kafka.tools.TopicCommand", &create).await;
            assert!(created.status.success(), "{created:?}");
        }
        Self { brokers: cluster.bootstrap(), names }
    }

    /// Records of this seed go through a pipeline with these arguments: all, once, and in order.
    pub async fn assert_all_come_through(&self, seed: u64, args: &[&str]) {
        self.generate(200_000, seed).await;
        let folder = tempfile::tempdir().unwrap();
        let mut pipeline = self.pipeline(folder.path(), args);
        drained(&mut pipeline, 200_000).await;
        ended_in_order(pipeline).await;
        let audit = self.audit().await;
        audit.assert_clean();
        assert_eq!((audit.source, audit.output + audit.dead), (200_000, 200_000));
    }

    pub async fn generate(&self, count: u64, seed: u64) {
        self.generate_at(None, count, seed).await;
    }

    /// At so many records a second.
    pub async fn generate_at(&self, rate: Option<f64>, count: u64, seed: u64) {
        let options = GenerateOptions {
            brokers: self.brokers.split(',').map(str::to_owned).collect(),
            client_id: "generator".to_owned(),
            security: Default::default(),
            topic: self.names[0].clone(),
            rate,
            count: Some(count),
            bad: 0.02,
            seed,
            keyed: true,
            partitions: None,
            replication: -1,
            patience: Duration::from_secs(20),
            numbered: false,
        };
        let mut outcome = run(options.clone(), CancellationToken::new(), |_| ()).await;
        // Where a broker has just died, rskafka may stay with what it knew for longer than it has patience.
        // Nothing is written before all partitions are reached.
        for _ in 0..3 {
            if outcome.as_ref().is_err_and(|error| error.to_string().contains("connecting to partition")) {
                outcome = run(options.clone(), CancellationToken::new(), |_| ()).await;
            }
        }
        // A topic that has just been created is not known to each broker at once.
        for _ in 0..20 {
            if outcome.as_ref().is_err_and(|error| format!("{error:?}").contains("NoTopic")) {
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
                outcome = run(options.clone(), CancellationToken::new(), |_| ()).await;
            }
        }
        outcome.unwrap();
    }

    /// At so many records a second, so many and more until it is over. How many.
    pub async fn generate_until(&self, is_over: &AtomicBool, rate: f64, least: u64, seed: u64) -> u64 {
        let part = least / 20;
        let mut count = 0;
        while count < least || !is_over.load(Ordering::Relaxed) {
            self.generate_at(Some(rate), part, seed.wrapping_add(count)).await;
            count += part;
        }
        count
    }

    pub fn pipeline(&self, folder: &Path, more: &[&str]) -> PipelineProcess {
        let [source, output, dead] = &self.names;
        let usual = PipelineProcess::usual_args(&self.brokers, source, output, dead, &folder.join("offsets"));
        let args: Vec<&str> = usual.iter().map(String::as_str).chain(more.iter().copied()).collect();
        PipelineProcess::start(folder, &args)
    }

    pub async fn audit(&self) -> Audit {
        let [source, output, dead] = &self.names;
        let audit = AuditPlan::new(&self.brokers, source, output, dead).run().await.unwrap();
        println!("{audit}");
        audit
    }

    /// Every record is there once, in order, and the offsets that `group` has are the source's ends.
    pub async fn assert_exactly_once(&self, group: &str) {
        let audit = self.audit().await;
        audit.assert_clean();
        let source = &self.names[0];
        let committed = wire::committed(&self.brokers, group, source).await.unwrap();
        let mut ends = BTreeMap::new();
        for partition in wire::partitions(&self.brokers, source).await.unwrap() {
            ends.insert(partition, wire::end(&self.brokers, source, partition).await.unwrap());
        }
        assert_eq!(committed, ends, "the group's offsets, and the source's ends");
        let sum: i64 = ends.values().sum();
        // The generator may have written a batch again when its broker died: the source has it twice.
        assert_eq!(u64::try_from(sum).unwrap(), audit.source);
    }
}

/// Deletes a topic, and waits until it is gone.
pub async fn delete(brokers: &str, topic: &str) {
    let named = DeleteTopicState::default().with_name(Some(wire::topic_name(topic)));
    let request = DeleteTopicsRequest::default().with_topics(vec![named]).with_timeout_ms(15_000);
    let mut connection = wire::Connection::any(brokers).await.unwrap();
    let answer = connection.call(&request, 6).await.unwrap();
    assert!(answer.responses.iter().all(|deleted| deleted.error_code == 0), "{answer:?}");
    let until = Instant::now() + PATIENCE;
    while wire::partitions(brokers, topic).await.is_ok() {
        assert!(Instant::now() < until, "{topic} is still there");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Gives a topic more partitions, and waits until they have leaders.
pub async fn grow(brokers: &str, topic: &str, partitions: i32) {
    let grown = CreatePartitionsTopic::default()
        .with_name(wire::topic_name(topic))
        .with_count(partitions)
        .with_assignments(None);
    let request = CreatePartitionsRequest::default().with_topics(vec![grown]).with_timeout_ms(15_000);
    let mut connection = wire::Connection::any(brokers).await.unwrap();
    let answer = connection.call(&request, 3).await.unwrap();
    assert!(answer.results.iter().all(|grown| grown.error_code == 0), "{answer:?}");
    let until = Instant::now() + PATIENCE;
    while wire::partitions(brokers, topic).await.unwrap().len() < usize::try_from(partitions).unwrap() {
        assert!(Instant::now() < until, "{topic} does not grow");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until the pipeline has read up to `position`, over all partitions, and written it all.
pub async fn drained(pipeline: &mut PipelineProcess, position: u64) {
    drained_together(std::slice::from_mut(pipeline), position).await;
}

/// The same of several pipelines that share the partitions.
pub async fn drained_together(pipelines: &mut [PipelineProcess], position: u64) {
    #[expect(clippy::cast_precision_loss, reason = "a count of records")]
    let position = position as f64;
    wait_for_all(pipelines, "everything to be written", |all| {
        sum(all, "login_pipeline_source_next_offset") >= position
            && sum(all, "login_pipeline_source_lag_records") == 0.0
            && sum(all, "login_pipeline_in_flight_bytes") == 0.0
    })
    .await;
}

/// A metric over all pipelines.
pub fn sum(pipelines: &[PipelineProcess], name: &str) -> f64 {
    pipelines.iter().map(|pipeline| pipeline.metric(name)).sum()
}

/// Waits until `done`, while all of them run.
pub async fn wait_for_all(pipelines: &mut [PipelineProcess], what: &str, done: impl Fn(&[PipelineProcess]) -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done(pipelines) {
        for pipeline in &mut *pipelines {
            assert!(pipeline.runs(), "one ended while waiting for {what}:\n{}", pipeline.log());
        }
        if Instant::now() >= until {
            let logs: Vec<_> = pipelines.iter().map(PipelineProcess::log).collect();
            panic!("{what} does not come:\n{}", logs.join("\n---\n"));
        }
        sleep(Duration::from_millis(100)).await;
    }
}

pub async fn ended_in_order(mut pipeline: PipelineProcess) {
    pipeline.sigterm();
    assert!(pipeline.wait(Duration::from_secs(40)).await.success(), "{}", pipeline.log());
}
