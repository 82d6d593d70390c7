//! What the cluster was at some time, for answers that come from there.

/// The topics, logs, leaders and committed offsets of a moment, which the sandbox keeps for as long as it lives: see
/// [`Action::Stale`](super::Action::Stale).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot(pub(super) usize);
