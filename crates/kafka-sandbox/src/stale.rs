//! What the cluster was at some time, for answers that come from there.

use std::fmt;
use std::sync::Arc;

use super::Sandbox;
use super::cluster::Shared;

/// The topics, logs, leaders and committed offsets of a moment: see
/// [`Action::Stale`](super::Action::Stale).
#[derive(Clone)]
pub struct Snapshot(Arc<Shared>);

impl Snapshot {
    pub(super) fn shared(&self) -> &Shared {
        &self.0
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Snapshot")
    }
}

/// Of the same moment.
impl PartialEq for Snapshot {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Snapshot {}

impl Sandbox {
    /// What the cluster is now. Logs are shared with it until they are written to.
    pub fn snapshot(&self) -> Snapshot {
        let frozen = self.shared.lock().frozen();
        Snapshot(Arc::new(Shared::new(frozen)))
    }
}
