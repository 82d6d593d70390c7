//! What the requests of groups and their members share.

use std::time::Duration;

use kafka_protocol::protocol::StrBytes;

use super::call::Call;
use crate::cluster::Cluster;
use crate::group::member::Claim;

/// Whether a group's request gets to the group: no fault is armed for it, and it is kept here.
pub(super) fn may_ask(cluster: &Cluster, call: Call<'_>, group: &str) -> Result<(), i16> {
    match call.plan.group_error(group) {
        Some(code) => Err(code),
        None => cluster.coordinates(call.node, group),
    }
}

/// Who a member says that it is.
pub(super) fn claim(member_id: &StrBytes, instance_id: Option<&StrBytes>, generation: i32) -> Claim {
    Claim { member_id: member_id.to_string(), instance_id: instance_id.map(ToString::to_string), generation }
}

/// What is negative is none, which the machine refuses.
pub(super) fn millis(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}
