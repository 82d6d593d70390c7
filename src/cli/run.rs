//! `run`: the pipeline, until a signal.

use std::error::Error;
use std::process::ExitCode;

use super::{EXIT_FORCED, Run, memory, runtime, sighup};
use crate::app::{App, AppError};
use crate::config::Config;
use crate::observe::logs;
use crate::stages::Processor;

/// Runs the pipeline.
///
/// # Errors
/// Where the configuration is wrong, what the program needs is not to be had, or the last
/// checkpoint could not be stored.
pub fn run(args: &Run) -> Result<ExitCode, Box<dyn Error>> {
    run_app(args, App::open)
}

/// Runs the pipeline with a processor of the caller's.
///
/// # Errors
/// As [`run`], and where the configuration asks for what that processor would ignore.
pub fn with<P: Processor + Clone>(args: &Run, processor: P) -> Result<ExitCode, Box<dyn Error>> {
    run_app(args, |config| App::open_with(config, processor))
}

fn run_app<F>(args: &Run, open: impl FnOnce(Config) -> F) -> Result<ExitCode, Box<dyn Error>>
where
    F: Future<Output = Result<App, AppError>>,
{
    let config = args.settings.load()?;
    logs::init(config.log.format, &config.log.level)?;
    memory::keep_private();
    for warning in args.settings.exposed_files(&config) {
        tracing::warn!("{warning}");
    }
    let (settings, given) = (args.settings.clone(), args.settings.given(&config));
    let ended = runtime::run(config.pipeline.worker_threads, |stop| async move {
        sighup::obey(settings)?;
        let app = open(config).await?;
        app.observe().partitions.given(given);
        Ok::<_, Box<dyn Error>>(app.run(stop).await?)
    })?;
    match ended {
        runtime::Ended::InOrder(summary) => {
            summary?;
            tracing::info!("ended");
            Ok(ExitCode::SUCCESS)
        }
        runtime::Ended::Forced => {
            tracing::warn!("ended at once by a second signal: what was in flight will be read again");
            Ok(ExitCode::from(EXIT_FORCED))
        }
    }
}
