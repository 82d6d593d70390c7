//! Work on files, which blocks.
//!
//! All of it that is done while records flow goes through here, so that a simulation, which has one thread, has it done
//! there, and gives it the time that a disk takes.

use tokio::task::JoinError;

/// Does work that blocks on a thread of its own, and gives what came of it. It is done to its end, whoever still waits.
///
/// # Errors
/// Where it panicked, or the runtime ended before it began.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    #[cfg(any(test, feature = "testing"))]
    if let Some(simulated) = crate::testing::clocks() {
        let working = async move {
            tokio::time::sleep(simulated.disk).await;
            work()
        };
        return tokio::spawn(working).await;
    }
    tokio::task::spawn_blocking(work).await
}
