//! SIGHUP: the log takes the level that the configuration has by now. Nothing else is read again.

use std::io;

use futures::FutureExt;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use super::Settings;
use crate::observe::logs::level;

/// Obeys each SIGHUP for as long as the runtime lives.
///
/// # Errors
/// The system gives no signals.
pub(super) fn obey(settings: Settings) -> io::Result<()> {
    let mut hangups = signal(SignalKind::hangup())?;
    tokio::spawn(
        async move {
            while hangups.recv().await.is_some() {
                let settings = settings.clone();
                // Reads files.
                let obeyed = tokio::task::spawn_blocking(move || read_again(&settings)).await;
                if let Err(error) = obeyed {
                    error!(%error, "SIGHUP: log.level could not be read again");
                }
            }
        }
        .boxed(),
    );
    Ok(())
}

fn read_again(settings: &Settings) {
    let Ok(config) = settings.load() else {
        error!("SIGHUP: the configuration has problems now, and log.level stays; `check` says what to fix");
        return;
    };
    let log_level = config.log.level;
    let say = || info!(log_level, "SIGHUP: log.level is read again, and nothing else");
    // By whichever of the two levels it is let through.
    let said = tracing::enabled!(tracing::Level::INFO);
    if said {
        say();
    }
    match level::set(&log_level) {
        Ok(()) if !said => say(),
        Ok(()) => {}
        Err(error) => error!(%error, "SIGHUP: log.level stays"),
    }
}
