//! `generate`: made-up login events, good and bad, into the source topic.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use super::{EXIT_FORCED, Generate, runtime};
use crate::config::{Config, CreateTopics, Topics};
use crate::generator::{self, GenerateOptions, Progress};
use crate::observe::logs;

/// Writes events until there are enough, or a signal.
///
/// # Errors
/// Where the configuration is wrong, or the brokers don't take the events.
pub fn run(args: &Generate, out: &mut dyn Write) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let config = args.settings.load_without_key()?;
    logs::init(config.log.format, &config.log.level)?;
    let options = options(args, &config);
    let progress = progress();
    let ended = runtime::run(config.pipeline.worker_threads, |stop| generator::run(options, stop, progress))?;
    let runtime::Ended::InOrder(summary) = ended else { return Ok(ExitCode::from(EXIT_FORCED)) };
    let summary = summary?;
    if std::io::stderr().is_terminal() {
        tell!("");
    }
    writeln!(
        out,
        "{} events written to {}, {} of them bad, {} bytes, in {:.1} s",
        summary.records,
        config.source.topic,
        summary.bad,
        summary.bytes,
        summary.elapsed.as_secs_f64()
    )?;
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::cast_precision_loss, reason = "a rate is no count")]
fn options(args: &Generate, config: &Config) -> GenerateOptions {
    let Topics { create, partitions, replication } = config.topics;
    let created = (create == CreateTopics::Missing).then(|| partitions.unwrap_or(-1));
    GenerateOptions {
        brokers: config.kafka.brokers.clone(),
        client_id: config.kafka.client_id.clone(),
        security: config.kafka.security.clone(),
        topic: config.source.topic.clone(),
        rate: args.rate.map(|rate| rate.get() as f64),
        count: args.count,
        bad: args.bad,
        seed: args.seed.unwrap_or_else(|| fastrand::u64(..)),
        keyed: args.keyed,
        partitions: args.partitions.or(created),
        replication,
        patience: args.patience.duration(),
        numbered: false,
    }
}

/// Shows progress in one line of a terminal, and nothing elsewhere.
fn progress() -> impl FnMut(Progress) {
    let terminal = std::io::stderr().is_terminal();
    move |progress| {
        if terminal {
            let seconds = progress.elapsed.as_secs_f64().max(0.001);
            #[expect(clippy::cast_precision_loss, reason = "for people")]
            let rate = progress.records as f64 / seconds;
            // A terminal that is gone is no reason to stop.
            let _ = write!(std::io::stderr(), "\r{} events, {rate:.0}/s, {seconds:.0} s ", progress.records);
        }
    }
}
