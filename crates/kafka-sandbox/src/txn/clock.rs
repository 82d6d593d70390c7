//! The task that gives up transactions that have been open for too long.

use std::sync::{Arc, Weak};

use tokio::time::Instant;

use crate::cluster::Shared;
use crate::due::due_or_changed;

/// Runs until the sandbox is gone.
pub(crate) async fn run(shared: Weak<Shared>) {
    loop {
        let Some(shared) = shared.upgrade() else { return };
        let (due, aborted, changed) = {
            let mut cluster = shared.lock();
            let aborted = cluster.abort_timed_out(Instant::now());
            (cluster.next_timeout(), aborted, Arc::clone(&cluster.transactions.changed))
        };
        if aborted {
            shared.ring();
        }
        drop(shared);
        due_or_changed(due, &changed).await;
    }
}
