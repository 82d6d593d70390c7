//! The topics of one test, what is in them, and the pipelines that work on them.

use std::path::Path;
use std::time::Duration;

use login_pipeline::generator::{GenerateOptions, run};
use tokio_util::sync::CancellationToken;

use super::audit::{Audit, AuditPlan};
use super::kafka::KafkaCluster;
use super::pipeline::PipelineProcess;

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

    pub async fn generate(&self, count: u64, seed: u64) {
        self.generate_at(None, count, seed).await;
    }

    /// At so many records a second.
    pub async fn generate_at(&self, rate: Option<f64>, count: u64, seed: u64) {
        let options = GenerateOptions {
            brokers: self.brokers.split(',').map(str::to_owned).collect(),
            client_id: "generator".to_owned(),
            topic: self.names[0].clone(),
            rate,
            count: Some(count),
            bad: 0.02,
            seed,
            keyed: true,
            partitions: None,
        };
        run(options, CancellationToken::new(), |_| ()).await.unwrap();
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
}

/// Waits until the pipeline has read up to `position`, over all partitions, and written it all.
pub async fn drained(pipeline: &mut PipelineProcess, position: f64) {
    let done = |it: &PipelineProcess| {
        it.metric("login_pipeline_source_next_offset") >= position
            && it.metric("login_pipeline_source_lag_records") == 0.0
            && it.metric("login_pipeline_in_flight_bytes") == 0.0
    };
    pipeline.wait_for("everything to be written", PATIENCE, done).await;
}

pub async fn ended_in_order(mut pipeline: PipelineProcess) {
    pipeline.sigterm();
    assert!(pipeline.wait(Duration::from_secs(40)).await.success(), "{}", pipeline.log());
}
