//! What a group's coordinator keeps of a partition, and who may set it.

use kafka_records::record::Offset;

/// A member that commits: what the coordinator gave a member of the group, which it checks on each commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The member's id.
    pub member_id: String,
    /// The generation (classic) or the member's epoch (KIP-848).
    pub generation_or_epoch: i32,
    /// The id that survives restarts, where it has one.
    pub instance_id: Option<String>,
}

/// A committed offset, with what is kept beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupOffset {
    /// The next offset to read.
    pub offset: Offset,
    /// The leader epoch of the record before it, where it is known.
    pub leader_epoch: Option<i32>,
    /// The committer's note.
    pub metadata: String,
}
