//! What a command that asks the brokers has, and how a signal ends it.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use kafka_client::{Cluster, Options};
use tokio_util::sync::CancellationToken;

use super::runtime::{self, Ended};
use super::{EXIT_FORCED, Patience, Settings};
use crate::config::Config;

/// Why a command failed, to be told as it is.
pub(super) type Failure = Box<dyn std::error::Error>;

/// A configuration, and the brokers that it names.
pub(super) struct Context {
    /// The configuration.
    pub config: Config,
    /// Connections to the brokers, made where they are needed.
    pub cluster: Arc<Cluster>,
    /// For so long what may pass by itself is tried again.
    pub patience: Duration,
}

impl Context {
    /// Loads the configuration; no broker is asked.
    ///
    /// # Errors
    /// All the problems that it has.
    pub(super) fn load(settings: &Settings, patience: Patience) -> Result<Self, Failure> {
        let mut config = settings.load_without_key()?;
        patience.limit(&mut config);
        let cluster = Arc::new(Cluster::new(Options::from(&config.kafka)));
        Ok(Self { cluster, config, patience: patience.duration() })
    }
}

/// Runs a command that ends by itself, or in order when its token is called; a second signal ends it at
/// once.
///
/// # Errors
/// The command's.
pub(super) fn until_signal<F>(work: impl FnOnce(CancellationToken) -> F) -> Result<ExitCode, Failure>
where
    F: Future<Output = Result<ExitCode, Failure>>,
{
    match runtime::run(Some(1), work)? {
        Ended::InOrder(result) => result,
        Ended::Forced => Ok(ExitCode::from(EXIT_FORCED)),
    }
}

/// Runs work that may be dropped wherever it is until the token is called.
///
/// # Errors
/// The work's, or that it was interrupted.
pub(super) async fn interruptible<T>(
    stop: &CancellationToken,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    stop.run_until_cancelled(work).await.unwrap_or_else(|| Err("interrupted".into()))
}
