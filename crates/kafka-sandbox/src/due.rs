//! How a task waits that lets time pass for a coordinator.

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Returns when something is due, or when that may have changed.
pub(crate) async fn due_or_changed(due: Option<Instant>, changed: &Notify) {
    let is_due = async {
        match due {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = changed.notified() => {}
        () = is_due => {}
    }
}
