//! The level of the process's log, changed while it runs.

use std::sync::OnceLock;

use super::LogError;

/// Puts the filter that directives ask for in the place of the one before.
pub(super) type Swap = Box<dyn Fn(&str) -> Result<(), LogError> + Send + Sync>;

/// A process has one log, set up once.
static SWAP: OnceLock<Swap> = OnceLock::new();

/// How to change the log that was just set up.
pub(super) fn keep(swap: Swap) {
    let _ = SWAP.set(swap); // only the first log is set up, and so only its swap comes here
}

/// From now on the log has what `directives` let through.
///
/// # Errors
/// [`LogError`] where they are wrong, or no log is set up; then nothing changes.
pub fn set(directives: &str) -> Result<(), LogError> {
    SWAP.get().ok_or(LogError::None)?(directives)
}
