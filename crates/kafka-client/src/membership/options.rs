//! Options of a member.

use std::time::Duration;

use super::Assignor;

/// Options of a member, the same for both protocols.
#[derive(Debug, Clone)]
pub struct MemberOptions {
    /// The group's id.
    pub group_id: String,
    /// The id that survives restarts (`group.instance.id`): the member is static.
    pub instance_id: Option<String>,
    /// The one topic that it subscribes to.
    pub topic: String,
    /// The coordinator expels a member that it has not heard for this long. A KIP-848 coordinator has a timeout of its
    /// own (`group.consumer.session.timeout.ms`), which must not be shorter.
    pub session_timeout: Duration,
    /// The limit for giving up partitions in a rebalance.
    pub rebalance_timeout: Duration,
    /// Classic: the interval of heartbeats. KIP-848: the interval until the coordinator says its own.
    pub heartbeat_interval: Duration,
    /// Classic: the assignors in order of preference.
    pub assignors: Vec<Assignor>,
    /// KIP-848: the broker's assignor; its default where `None`.
    pub server_assignor: Option<String>,
}
