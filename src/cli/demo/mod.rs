//! `demo`: broker, generator and pipeline in one process, to see it work; with `--instances` several
//! pipelines, to see partitions move.

mod fleet;
mod instance;
mod orders;

use std::process::ExitCode;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Demo, EXIT_FORCED, runtime};
use crate::app::{App, AppError, Summary};
use crate::config::{Config, Security};
use crate::generator::{self, GenerateOptions};
use crate::observe::{logs, stats};
use crate::offsets::StoreError;
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
            say!("\n{}", summary?);
            Ok(ExitCode::SUCCESS)
        }
        runtime::Ended::Forced => Ok(ExitCode::from(EXIT_FORCED)),
    }
}

/// Runs until `stop`; returns what is to be said of it.
async fn demo(args: &Demo, mut config: Config, stop: CancellationToken) -> Result<String, Box<dyn std::error::Error>> {
    let sandbox = Sandbox::builder().retention_bytes(Some(RETENTION_BYTES)).start().await?;
    for topic in [&config.source.topic, &config.output.topic, &config.dead_letter.topic] {
        sandbox.create_topic(topic, PARTITIONS)?;
    }
    config.kafka.brokers = vec![sandbox.bootstrap()];
    config.kafka.security = Security::default(); // the sandbox has none
    say!("broker   {}", sandbox.bootstrap());
    if let Some(duration) = args.duration {
        let stop = stop.clone();
        tokio::spawn(
            async move {
                sleep(duration).await;
                stop.cancel();
            }
            .boxed(),
        );
    }
    let generating = generator::run(generate_options(args, &config), stop.clone(), |_| ());
    let generating = ending(generating, &stop);
    if args.instances > 1 {
        let fleet = ending(fleet::run(args.instances, args.upsets, config, stop.clone()), &stop);
        let (counted, generated) = tokio::join!(fleet, generating);
        return Ok(format!("source   {} records\n{}", generated?.records, stats::summary(&counted?)));
    }
    let (summary, generated) = tokio::join!(ending(single(config, stop.clone()), &stop), generating);
    generated?;
    Ok(stats::summary(&summary?.counted))
}

/// Whoever ends first ends the others: without events there is nothing to see, and without a
/// pipeline nothing to do.
async fn ending<T>(work: impl Future<Output = T>, stop: &CancellationToken) -> T {
    let ended = work.await;
    stop.cancel();
    ended
}

/// One pipeline, as configured.
async fn single(mut config: Config, stop: CancellationToken) -> Result<Summary, AppError> {
    // The broker forgets when the process ends, and so must the offsets.
    let folder = OffsetsFolder::new().map_err(|source| StoreError::Io {
        doing: "make a folder for the demo's offsets in",
        path: std::env::temp_dir(),
        source,
    })?;
    config.offsets.path = folder.0.clone();
    let app = App::open(config).await?;
    say!("status   http://{}/status", app.admin_address());
    say!("metrics  http://{}/metrics", app.admin_address());
    say!("Ctrl-C drains and ends\n");
    app.run(stop).await
}

#[expect(clippy::cast_precision_loss, reason = "a rate is no count")]
fn generate_options(args: &Demo, config: &Config) -> GenerateOptions {
    GenerateOptions {
        brokers: config.kafka.brokers.clone(),
        client_id: format!("{}-generator", config.kafka.client_id),
        security: config.kafka.security.clone(),
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
