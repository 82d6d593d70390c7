//! The level of the process's log, changed while it runs.

use std::sync::{Mutex, OnceLock};

use super::error::LogError;
use crate::observe::lock::lock;

/// Puts the filter that directives ask for in the place of the one before.
pub(super) type Swap = Box<dyn Fn(&str) -> Result<(), LogError> + Send + Sync>;

/// A process has one log, set up once.
static SWAP: OnceLock<Swap> = OnceLock::new();

/// What is in force.
static DIRECTIVES: Mutex<String> = Mutex::new(String::new());

/// Keeps the way to change the log, which was just set up with these directives.
pub(super) fn keep(swap: Swap, directives: &str) {
    let _ = SWAP.set(swap); // only the first log is set up, and so only its swap comes here
    directives.clone_into(&mut lock(&DIRECTIVES));
}

/// The directives in force; none where no log is set up.
pub fn get() -> String {
    lock(&DIRECTIVES).clone()
}

/// From now on the log has what `directives` let through.
///
/// # Errors
/// [`LogError`] where they are wrong, or no log is set up; then nothing changes.
pub fn set(directives: &str) -> Result<(), LogError> {
    let mut in_force = lock(&DIRECTIVES);
    SWAP.get().ok_or(LogError::None)?(directives)?;
    directives.clone_into(&mut in_force);
    Ok(())
}
