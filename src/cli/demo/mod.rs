//! `demo`: broker, generator and pipeline in one process, to see it work; with `--instances` several
//! pipelines, to see partitions move.

mod audit;
mod commands;
mod fleet;
mod instance;
mod own;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use audit::{Audit, Reached};
use futures::FutureExt;
use kafka_sandbox::Sandbox;
use tokio::time::{interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Demo, EXIT_CLOSED_PIPE, EXIT_FORCED, Out, Upsets, UsageError, runtime};
use crate::config::{Config, RouteAction, Security};
use crate::generator::{self, GenerateOptions};
use crate::observe::{logs, stats};
use crate::stages::{Routes, possible};

/// How many partitions each topic of the demo has.
const PARTITIONS: i32 = 6;
/// How much of each partition the demo's broker keeps: it may run for days.
const RETENTION_BYTES: usize = 4 * 1024 * 1024;
/// How long the generator waits for the broker to start.
const STARTING: Duration = Duration::from_secs(15);
/// How often an instance comes or goes where there are several.
const UPSETS: Duration = Duration::from_secs(15);
/// How long the pipelines have for what was generated before the end, and how often it is looked at.
const CATCH_UP: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(20);
/// How often the audit forgets what is settled.
const SETTLING: Duration = Duration::from_secs(1);
/// What is logged unless somebody says otherwise: what happens is told in words.
const QUIET: &str = "warn";
/// How often the demo prints its running counts.
const STATS_INTERVAL: Duration = Duration::from_secs(5);

/// Runs the demo until a signal, or for as long as it was told to.
///
/// # Errors
/// Where the configuration is wrong, asks for what the demo has not, or a port is not to be had.
pub fn run(args: &Demo) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut config = args.settings.load()?;
    possible::check(&config).map_err(UsageError)?;
    let own = own::keys(&config, &args.settings)?;
    if !args.settings.has_flag("log.level") && config.log.level == Config::default().log.level {
        QUIET.clone_into(&mut config.log.level);
    }
    logs::init(config.log.format, &config.log.level)?;
    if !own.is_empty() {
        say!("ignored, since the demo has its own: {}", own.join(", "));
    }
    let ended = runtime::run(config.pipeline.worker_threads, |stop| demo(args, config, stop))?;
    match ended {
        runtime::Ended::InOrder(summary) => {
            say!("\n{}", summary?);
            Ok(if Out::is_closed() { ExitCode::from(EXIT_CLOSED_PIPE) } else { ExitCode::SUCCESS })
        }
        runtime::Ended::Forced => Ok(ExitCode::from(EXIT_FORCED)),
    }
}

/// Runs until `stop`; returns what is to be said of it.
async fn demo(args: &Demo, mut config: Config, stop: CancellationToken) -> Result<String, Box<dyn std::error::Error>> {
    let audit = Arc::new(Audit::new(&config.source.topic));
    let builder = Sandbox::builder().retention_bytes(Some(RETENTION_BYTES));
    let watching = Arc::clone(&audit);
    let sandbox = builder.on_append(move |topic, partition, records| watching.appended(topic, partition, records));
    let sandbox = sandbox.start().await?;
    let partitions = config.topics.partitions.unwrap_or(PARTITIONS);
    let routes = Routes::new(&config)?;
    for topic in std::iter::once(&config.source.topic).chain(routes.topics()).collect::<BTreeSet<_>>() {
        sandbox.create_topic(topic, partitions)?;
    }
    config.kafka.brokers = vec![sandbox.bootstrap()];
    config.kafka.security = Security::default(); // the sandbox has none
    say!("broker, for commands in another terminal: --kafka.brokers {}", sandbox.bootstrap());
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
    let usual = if args.instances > 1 { Upsets::Every(UPSETS) } else { Upsets::Never };
    let plan = fleet::Plan {
        instances: args.instances,
        upsets: args.upsets.unwrap_or(usual),
        any_port: config.admin.listen == Config::default().admin.listen,
        told_every: config.stats.interval.min(STATS_INTERVAL),
        config: config.clone(),
    };
    let reached = || {
        let of = |partition| {
            let committed = sandbox.committed(&config.group.id, &config.source.topic, partition);
            let log_start = sandbox.log_start_offset(&config.source.topic, partition);
            // Nothing is known of a partition that somebody has deleted with its topic.
            let log_start = log_start.unwrap_or(0);
            (partition, Reached { committed: committed.map_or(0, |committed| committed.offset), log_start })
        };
        (0..partitions).map(of).collect()
    };
    let settling = async {
        let mut looks = interval(SETTLING);
        loop {
            looks.tick().await;
            audit.settle(reached());
        }
    };
    // What has been generated is read before the pipelines end, if that is soon.
    let read = CancellationToken::new();
    let generating = async {
        let generated = ending(generator::run(generate_options(args, &config), stop.clone(), |_| ()), &stop).await;
        let caught_up = async {
            while audit.waiting() > 0 && !read.is_cancelled() {
                audit.settle(reached());
                sleep(LOOK).await;
            }
        };
        let _ = timeout(CATCH_UP, caught_up).await; // the summary tells what is not read
        read.cancel();
        generated
    };
    let fleet = ending(ending(fleet::run(plan, &audit, read.clone()), &stop), &read);
    let over = CancellationToken::new();
    let working = ending(async { tokio::join!(fleet, generating) }, &over);
    let ((done, generated), _) = tokio::join!(working, over.run_until_cancelled(settling));
    let (fleet::Done { counted, kills }, _) = (done?, generated?);
    let drops = config.route.iter().any(|rule| rule.action == RouteAction::Drop);
    let found = audit.close(&reached(), drops.then_some(counted.totals.records_dropped));
    Ok(format!("source   {} events\n{}\n{}", audit.written(), stats::summary(&counted), found.say(kills)))
}

/// Whoever ends first ends the others: without events there is nothing to see, and without a
/// pipeline nothing to do.
async fn ending<T>(work: impl Future<Output = T>, stop: &CancellationToken) -> T {
    let ended = work.await;
    stop.cancel();
    ended
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
        replication: -1,
        patience: STARTING,
        numbered: true,
    }
}
