//! Where a key is kept: a group's id, or a transactional id.

/// What a test has done to the coordinator of one key.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Placement {
    /// The node that the key was moved to.
    pub moved_to: Option<i32>,
    /// Its coordinator has not read it yet.
    pub loading: bool,
}
