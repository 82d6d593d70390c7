//! A member of a classic group, and what members and coordinator say to each other.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

/// Names one request whose answer may be held back.
pub type Ticket = u64;

/// `JoinGroup`, as far as the coordinator needs it.
#[derive(Debug, Clone, Default)]
pub struct Join {
    /// Empty the first time.
    pub member_id: String,
    /// The id to give it where it has none.
    pub new_member_id: String,
    /// The id that survives restarts: the member is static.
    pub instance_id: Option<String>,
    /// The client's name for itself.
    pub client_id: String,
    /// A member that is not heard for this long is expelled.
    pub session_timeout: Duration,
    /// The time that it may take to join again when the group rebalances.
    pub rebalance_timeout: Duration,
    /// `consumer`, for consumers.
    pub protocol_type: String,
    /// Assignors, the preferred one first, and what the leader needs to know for each.
    pub protocols: Vec<(String, Bytes)>,
    /// Set where a new member is told its id first and joins with it (KIP-394, from version 4).
    pub id_required: bool,
    /// Set where a static leader that is back may be told to leave the assignment alone (KIP-814,
    /// from version 9).
    pub may_skip: bool,
}

/// A join that made the member one of this generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Its id.
    pub member_id: String,
    /// Counts the rebalances.
    pub generation: i32,
    /// As the members said.
    pub protocol_type: Option<String>,
    /// The assignor that most members prefer of those that all know.
    pub protocol: Option<String>,
    /// The member that hands out the parts.
    pub leader: String,
    /// For the leader: all members, and what the assignor needs to know of each.
    pub members: Vec<Listed>,
    /// For a static leader that is back: the parts are handed out already.
    pub skip_assignment: bool,
}

/// A member as the leader, or who describes the group, sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub member_id: String,
    /// Its id across restarts.
    pub instance_id: Option<String>,
    /// The client's name for itself.
    pub client_id: String,
    /// Its data for the group's assignor.
    pub metadata: Bytes,
    /// Its part.
    pub assignment: Bytes,
}

/// A refused join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotJoined {
    /// The error code.
    pub code: i16,
    /// The id that was asked with, or that is to be used next time.
    pub member_id: String,
}

/// The reason for refusing a join.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// With this code.
    Code(i16),
    /// It is to be asked again with this id.
    IdRequired(String),
}

impl From<i16> for Refused {
    fn from(code: i16) -> Self {
        Self::Code(code)
    }
}

/// `SyncGroup`, as far as the coordinator needs it.
#[derive(Debug, Clone, Default)]
pub struct Sync {
    /// The member that asks.
    pub member: Claim,
    /// Checked where given.
    pub protocol_type: Option<String>,
    /// Checked where given.
    pub protocol: Option<String>,
    /// From the leader: each member's part.
    pub assignments: Vec<(String, Bytes)>,
}

/// A claim to be a member, of this generation.
#[derive(Debug, Clone, Default)]
pub struct Claim {
    /// The member's id.
    pub member_id: String,
    /// The id that survives restarts.
    pub instance_id: Option<String>,
    /// The generation, or the epoch of a member by the consumer protocol.
    pub generation: i32,
}

/// The member's part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    /// As the members said.
    pub protocol_type: Option<String>,
    /// The assignor of this generation.
    pub protocol: Option<String>,
    /// Its part, as the leader gave it.
    pub assignment: Bytes,
}

/// An answer that was held back, or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To `JoinGroup`.
    Joined(Result<Joined, NotJoined>),
    /// To `SyncGroup`.
    Synced(Result<Synced, i16>),
    /// Another request of the same member has taken its place: Kafka never answers this one.
    Superseded,
}

/// A member as the coordinator keeps it.
#[derive(Debug, Clone)]
pub struct Member {
    /// The id that survives restarts: the member is static.
    pub instance_id: Option<String>,
    /// The client's name for itself.
    pub client_id: String,
    /// A member that is not heard for this long is expelled.
    pub session_timeout: Duration,
    /// The time that it may take to join again when the group rebalances.
    pub rebalance_timeout: Duration,
    /// Assignors, the preferred one first, and what the leader needs to know for each.
    pub protocols: Vec<(String, Bytes)>,
    /// Its part.
    pub assignment: Bytes,
    /// The time at which it is expelled, unless an answer to it is held back.
    pub expires: Instant,
    /// Its join, while that is held back.
    pub join: Option<Ticket>,
    /// Its sync, while that is held back.
    pub sync: Option<Ticket>,
    /// Set once it has asked for its part in this generation.
    pub synced: bool,
}

impl Member {
    /// A member whose join has not been answered.
    pub fn new(join: &Join, ticket: Ticket, now: Instant) -> Self {
        Self {
            instance_id: join.instance_id.clone(),
            client_id: join.client_id.clone(),
            session_timeout: join.session_timeout,
            rebalance_timeout: join.rebalance_timeout,
            protocols: join.protocols.clone(),
            assignment: Bytes::new(),
            expires: now + join.session_timeout,
            join: Some(ticket),
            sync: None,
            synced: false,
        }
    }

    /// Notes that it was heard.
    pub fn heard(&mut self, now: Instant) {
        self.expires = now + self.session_timeout;
    }

    /// Returns when it is expelled; never while it waits for the coordinator itself.
    pub fn expires(&self) -> Option<Instant> {
        (self.join.is_none() && self.sync.is_none()).then_some(self.expires)
    }

    /// Returns what it said for an assignor.
    pub fn metadata(&self, protocol: &str) -> Option<&Bytes> {
        self.protocols.iter().find(|(name, _)| name == protocol).map(|(_, metadata)| metadata)
    }

    /// Returns whether it knows an assignor.
    pub fn knows(&self, protocol: &str) -> bool {
        self.metadata(protocol).is_some()
    }
}
