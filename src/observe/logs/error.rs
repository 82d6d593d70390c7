//! What is wrong with the log's settings.

use std::io;

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::reload;
use tracing_subscriber::util::TryInitError;

/// The log can't be set up, or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not one.
    #[error(
        "log.level is {directives:?}: {source}; a level (error, warn, info, debug, trace, off) or \
             directives such as info,login_pipeline::worker=debug are allowed"
    )]
    Directives {
        /// What was given.
        directives: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// The process logs already.
    #[error("the log is set up already")]
    Again(#[source] TryInitError),
    /// There is nothing whose level could change.
    #[error("no log is set up")]
    None,
    /// What was set up is no more.
    #[error("the log's level can't be changed: {0}")]
    Fixed(#[from] reload::Error),
    /// There is no thread to write it.
    #[error("the log has no thread to write it: {0}")]
    Thread(#[source] io::Error),
}
