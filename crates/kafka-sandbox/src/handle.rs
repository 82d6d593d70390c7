//! What a test holds of a fault that it armed.

use std::sync::Arc;

use tokio::sync::watch;

use super::cluster::Shared;

/// A fault that was armed. Dropping this does not disarm it.
#[derive(Debug, Clone)]
pub struct FaultHandle {
    id: u64,
    fired: watch::Receiver<u64>,
    shared: Arc<Shared>,
}

impl FaultHandle {
    pub(super) fn new(id: u64, fired: watch::Receiver<u64>, shared: Arc<Shared>) -> Self {
        Self { id, fired, shared }
    }

    /// How often it has fired.
    pub fn fired(&self) -> u64 {
        *self.fired.borrow()
    }

    /// Waits until it has fired that often; returns early once it is spent or removed, because then
    /// it never will. Returns how often it has fired.
    pub async fn until_fired(&self, times: u64) -> u64 {
        let mut fired = self.fired.clone();
        // An error is the end of the fault: what has fired until then is all.
        let _ = fired.wait_for(|fired| *fired >= times).await;
        self.fired()
    }

    /// Disarms it.
    pub fn remove(&self) {
        self.shared.lock().faults.remove(self.id);
    }
}
