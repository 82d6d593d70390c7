//! `run`: the pipeline, until a signal.

use std::process::ExitCode;

use super::{EXIT_FORCED, Run, runtime};
use crate::app::App;
use crate::observe::logs;

/// Runs the pipeline.
///
/// # Errors
/// Where the configuration is wrong, what the program needs is not to be had, or the last
/// checkpoint could not be stored.
pub fn run(args: &Run) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let config = args.settings.load()?;
    logs::init(config.log.format, &config.log.level)?;
    let ended =
        runtime::run(config.pipeline.worker_threads, |stop| async move { App::open(config).await?.run(stop).await })?;
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
