//! The APIs that the sandbox knows: their keys, their versions, the schemas of their requests.

use kafka_protocol::messages::ApiKey;

use crate::schema::Field;

/// A request's API, as far as the sandbox knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Api {
    /// Appends batches.
    Produce,
    /// Reads batches.
    Fetch,
    /// Asks for the first and last offset, or that of a timestamp.
    ListOffsets,
    /// Asks where the log ends for a leader epoch.
    OffsetForLeaderEpoch,
    /// Asks for nodes, topics and leaders.
    Metadata,
    /// Stores a group's offsets.
    OffsetCommit,
    /// Asks for a group's offsets.
    OffsetFetch,
    /// Asks which node keeps a group.
    FindCoordinator,
    /// Joins a group, or joins it again; answered when all members have.
    JoinGroup,
    /// Tells the coordinator that a member is there.
    Heartbeat,
    /// Leaves a group.
    LeaveGroup,
    /// Hands out the members' parts, or asks for one; answered when the leader has handed them out.
    SyncGroup,
    /// Asks for a group's state and members.
    DescribeGroups,
    /// Asks what the node understands; the first request of every connection.
    ApiVersions,
    /// Makes topics.
    CreateTopics,
    /// Deletes topics.
    DeleteTopics,
    /// Moves the start of logs.
    DeleteRecords,
    /// Asks for an id for an idempotent producer.
    InitProducerId,
}

impl Api {
    /// All of them, in the order of their keys.
    pub const ALL: [Self; 18] = [
        Self::Produce,
        Self::Fetch,
        Self::ListOffsets,
        Self::Metadata,
        Self::OffsetCommit,
        Self::OffsetFetch,
        Self::FindCoordinator,
        Self::JoinGroup,
        Self::Heartbeat,
        Self::LeaveGroup,
        Self::SyncGroup,
        Self::DescribeGroups,
        Self::ApiVersions,
        Self::CreateTopics,
        Self::DeleteTopics,
        Self::DeleteRecords,
        Self::InitProducerId,
        Self::OffsetForLeaderEpoch,
    ];

    /// The lowest and highest version that is answered.
    pub fn versions(self) -> (i16, i16) {
        match self {
            Self::Produce => (3, 8),
            Self::Fetch => (4, 11),
            Self::ListOffsets => (1, 3),
            Self::Metadata => (0, 12),
            Self::OffsetCommit => (2, 9),
            Self::OffsetFetch => (1, 9),
            Self::FindCoordinator | Self::Heartbeat => (0, 4),
            Self::JoinGroup => (2, 9),
            Self::LeaveGroup => (1, 5),
            Self::SyncGroup | Self::DescribeGroups => (0, 5),
            Self::ApiVersions => (0, 3),
            Self::CreateTopics => (2, 5),
            Self::DeleteTopics => (1, 5),
            Self::DeleteRecords => (0, 2),
            Self::InitProducerId => (0, 1),
            Self::OffsetForLeaderEpoch => (3, 4),
        }
    }

    pub(crate) fn key(self) -> ApiKey {
        match self {
            Self::Produce => ApiKey::Produce,
            Self::Fetch => ApiKey::Fetch,
            Self::ListOffsets => ApiKey::ListOffsets,
            Self::Metadata => ApiKey::Metadata,
            Self::OffsetCommit => ApiKey::OffsetCommit,
            Self::OffsetFetch => ApiKey::OffsetFetch,
            Self::FindCoordinator => ApiKey::FindCoordinator,
            Self::JoinGroup => ApiKey::JoinGroup,
            Self::Heartbeat => ApiKey::Heartbeat,
            Self::LeaveGroup => ApiKey::LeaveGroup,
            Self::SyncGroup => ApiKey::SyncGroup,
            Self::DescribeGroups => ApiKey::DescribeGroups,
            Self::ApiVersions => ApiKey::ApiVersions,
            Self::CreateTopics => ApiKey::CreateTopics,
            Self::DeleteTopics => ApiKey::DeleteTopics,
            Self::DeleteRecords => ApiKey::DeleteRecords,
            Self::InitProducerId => ApiKey::InitProducerId,
            Self::OffsetForLeaderEpoch => ApiKey::OffsetForLeaderEpoch,
        }
    }

    pub(super) fn of(key: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|api| api.key() as i16 == key)
    }

    /// The fields of a request's body, in that version's order.
    pub(super) fn schema(self, version: i16) -> &'static [Field] {
        use Field::{Blob, Fixed, Structs, Text, Values};
        match (self, version) {
            (Self::Produce, _) => &[Text, Fixed(2 + 4), Structs(&[Text, Structs(&[Fixed(4), Blob])])],
            (Self::Fetch, _) => fetch_schema(version),
            (Self::ListOffsets, 1) => &[Fixed(4), Structs(&[Text, Structs(&[Fixed(4 + 8)])])],
            (Self::ListOffsets, _) => &[Fixed(4 + 1), Structs(&[Text, Structs(&[Fixed(4 + 8)])])],
            (Self::Metadata, ..=3) => &[Structs(&[Text])],
            (Self::Metadata, 4..=7) => &[Structs(&[Text]), Fixed(1)],
            (Self::Metadata, 8..=9) => &[Structs(&[Text]), Fixed(1 + 1 + 1)],
            (Self::Metadata, 10) => &[Structs(&[Fixed(16), Text]), Fixed(1 + 1 + 1)],
            (Self::Metadata, _) => &[Structs(&[Fixed(16), Text]), Fixed(1 + 1)],
            (Self::OffsetCommit, _) => commit_schema(version),
            (Self::OffsetFetch, _) => offset_fetch_schema(version),
            (Self::FindCoordinator, 0) => &[Text],
            (Self::FindCoordinator, 1..=3) => &[Text, Fixed(1)],
            (Self::FindCoordinator, _) => &[Fixed(1), Values(&Text)],
            (Self::JoinGroup, ..=4) => &[Text, Fixed(4 + 4), Text, Text, Structs(&[Text, Blob])],
            (Self::JoinGroup, 5..=7) => &[Text, Fixed(4 + 4), Text, Text, Text, Structs(&[Text, Blob])],
            (Self::JoinGroup, _) => &[Text, Fixed(4 + 4), Text, Text, Text, Structs(&[Text, Blob]), Text],
            (Self::Heartbeat, ..=2) => &[Text, Fixed(4), Text],
            (Self::Heartbeat, _) => &[Text, Fixed(4), Text, Text],
            (Self::LeaveGroup, ..=2) => &[Text, Text],
            (Self::LeaveGroup, 3..=4) => &[Text, Structs(&[Text, Text])],
            (Self::LeaveGroup, _) => &[Text, Structs(&[Text, Text, Text])],
            (Self::SyncGroup, ..=2) => &[Text, Fixed(4), Text, Structs(&[Text, Blob])],
            (Self::SyncGroup, 3..=4) => &[Text, Fixed(4), Text, Text, Structs(&[Text, Blob])],
            (Self::SyncGroup, _) => &[Text, Fixed(4), Text, Text, Text, Text, Structs(&[Text, Blob])],
            (Self::DescribeGroups, ..=2) => &[Values(&Text)],
            (Self::DescribeGroups, _) => &[Values(&Text), Fixed(1)],
            (Self::ApiVersions, ..=2) => &[],
            (Self::ApiVersions, _) => &[Text, Text],
            (Self::CreateTopics, _) => &[
                Structs(&[Text, Fixed(4 + 2), Structs(&[Fixed(4), Values(&Fixed(4))]), Structs(&[Text, Text])]),
                Fixed(4 + 1),
            ],
            (Self::DeleteTopics, _) => &[Values(&Text), Fixed(4)],
            (Self::DeleteRecords, _) => &[Structs(&[Text, Structs(&[Fixed(4 + 8)])]), Fixed(4)],
            (Self::InitProducerId, _) => &[Text, Fixed(4)],
            (Self::OffsetForLeaderEpoch, _) => &[Fixed(4), Structs(&[Text, Structs(&[Fixed(4 + 4 + 4)])])],
        }
    }
}

fn fetch_schema(version: i16) -> &'static [Field] {
    use Field::{Fixed, Structs, Text, Values};
    /// Of a partition: its index, an offset and a limit; then a follower's log start, then the leader epoch.
    const PLAIN: Field = Structs(&[Text, Structs(&[Fixed(4 + 8 + 4)])]);
    const WITH_START: Field = Structs(&[Text, Structs(&[Fixed(4 + 8 + 8 + 4)])]);
    const WITH_EPOCH: Field = Structs(&[Text, Structs(&[Fixed(4 + 4 + 8 + 8 + 4)])]);
    const FORGOTTEN: Field = Structs(&[Text, Values(&Fixed(4))]);
    match version {
        ..=4 => &[Fixed(4 * 4 + 1), PLAIN],
        5..=6 => &[Fixed(4 * 4 + 1), WITH_START],
        7..=8 => &[Fixed(4 * 4 + 1 + 4 + 4), WITH_START, FORGOTTEN],
        9..=10 => &[Fixed(4 * 4 + 1 + 4 + 4), WITH_EPOCH, FORGOTTEN],
        _ => &[Fixed(4 * 4 + 1 + 4 + 4), WITH_EPOCH, FORGOTTEN, Text],
    }
}

fn commit_schema(version: i16) -> &'static [Field] {
    use Field::{Fixed, Structs, Text};
    /// Of a partition: its index and offset; then the leader epoch, too.
    const PLAIN: Field = Structs(&[Text, Structs(&[Fixed(4 + 8), Text])]);
    const WITH_EPOCH: Field = Structs(&[Text, Structs(&[Fixed(4 + 8 + 4), Text])]);
    match version {
        ..=4 => &[Text, Fixed(4), Text, Fixed(8), PLAIN],
        5 => &[Text, Fixed(4), Text, PLAIN],
        6 => &[Text, Fixed(4), Text, WITH_EPOCH],
        _ => &[Text, Fixed(4), Text, Text, WITH_EPOCH],
    }
}

fn offset_fetch_schema(version: i16) -> &'static [Field] {
    use Field::{Fixed, Structs, Text, Values};
    const TOPICS: Field = Structs(&[Text, Values(&Fixed(4))]);
    match version {
        ..=6 => &[Text, TOPICS],
        7 => &[Text, TOPICS, Fixed(1)],
        8 => &[Structs(&[Text, TOPICS]), Fixed(1)],
        _ => &[Structs(&[Text, Text, Fixed(4), TOPICS]), Fixed(1)],
    }
}
