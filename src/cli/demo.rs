//! `demo`: broker, generator and pipeline in one process, to see it work.

use std::process::ExitCode;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Demo, EXIT_FORCED, runtime};
use crate::app::{App, AppError, Summary};
use crate::config::Config;
use crate::generator::{self, GenerateOptions};
use crate::observe::{logs, stats};
use crate::sandbox::Sandbox;

/// How many partitions each topic of the demo has.
const PARTITIONS: i32 = 6;
/// How much of each partition the demo's broker keeps: it may run for days.
const RETENTION_BYTES: usize = 4 * 1024 * 1024;
/// How often the demo prints its running counts.
const STATS_INTERVAL: Duration = Duration::from_secs(5);

/// Runs the demo until a signal, or for as long as it was told to.
///
/// # Errors
/// Where the configuration is wrong, or a port is not to be had.
pub fn run(args: &Demo) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut config = args.settings.load()?;
    logs::init(config.log.format, &config.log.level)?;
    config.stats.interval = config.stats.interval.min(STATS_INTERVAL);
    let ended = runtime::run(config.pipeline.worker_threads, |stop| demo(args, config, stop))?;
    match ended {
        runtime::Ended::InOrder(summary) => {
            println!("\n{}", stats::summary(&summary?.counted));
            Ok(ExitCode::SUCCESS)
        }
        runtime::Ended::Forced => Ok(ExitCode::from(EXIT_FORCED)),
    }
}

async fn demo(args: &Demo, mut config: Config, stop: CancellationToken) -> Result<Summary, Box<dyn std::error::Error>> {
    let sandbox = Sandbox::builder().retention_bytes(Some(RETENTION_BYTES)).start().await?;
    for topic in [&config.source.topic, &config.output.topic, &config.dead_letter.topic] {
        sandbox.create_topic(topic, PARTITIONS)?;
    }
    config.kafka.brokers = vec![sandbox.bootstrap()];
    // The broker forgets when the process ends, and so must the offsets.
    let folder = OffsetsFolder::new()?;
    config.offsets.path = folder.0.clone();

    let source = generate_options(args, &config);
    let app = App::open(config).await?;
    println!("broker   {}", sandbox.bootstrap());
    println!("status   http://{}/status", app.admin_address());
    println!("metrics  http://{}/metrics", app.admin_address());
    println!("Ctrl-C drains and ends\n");

    if let Some(duration) = args.duration {
        let stop = stop.clone();
        tokio::spawn(async move {
            sleep(duration).await;
            stop.cancel();
        });
    }
    let generating = generator::run(source, stop.clone(), |_| ());
    let (summary, generated) = tokio::join!(app.run(stop.clone()), async {
        let generated = generating.await;
        stop.cancel(); // without events there is nothing to see
        generated
    });
    generated?;
    Ok(summary.map_err(|error: AppError| error)?)
}

#[expect(clippy::cast_precision_loss, reason = "a rate is no count")]
fn generate_options(args: &Demo, config: &Config) -> GenerateOptions {
    GenerateOptions {
        brokers: config.kafka.brokers.clone(),
        client_id: format!("{}-generator", config.kafka.client_id),
        topic: config.source.topic.clone(),
        rate: Some(args.rate.get() as f64),
        count: None,
        bad: args.bad,
        seed: fastrand::u64(..),
        keyed: true,
        partitions: None,
    }
}

/// A folder for the demo's offsets, gone when the demo is.
struct OffsetsFolder(std::path::PathBuf);

impl OffsetsFolder {
    fn new() -> std::io::Result<Self> {
        let path =
            std::env::temp_dir().join(format!("login-pipeline-demo-{}-{:08x}", std::process::id(), fastrand::u32(..)));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for OffsetsFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "can't remove the demo's offsets");
        }
    }
}
