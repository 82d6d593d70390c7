//! `FindCoordinator`, and the classic protocol's requests: from the wire to a group's machine and
//! back.

use std::time::Duration;

use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{
    BrokerId, DescribeGroupsRequest, DescribeGroupsResponse, FindCoordinatorRequest, FindCoordinatorResponse, GroupId,
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

use crate::HOST;
use crate::cluster::{Cluster, Shared};
use crate::error_codes;
use crate::fault::Plan;
use crate::group::machine::State;
use crate::group::member::{Claim, Join, Joined, Listed, NotJoined, Reply, Sync};

/// `FindCoordinator` asks for a group's; the others are a transaction's.
const GROUP_KEY: i8 = 0;

/// The groups that a request asks for.
pub(super) fn keys(version: i16, request: &FindCoordinatorRequest) -> Vec<StrBytes> {
    if version >= 4 { request.coordinator_keys.clone() } else { vec![request.key.clone()] }
}

/// Which node keeps a group.
pub(super) fn find_coordinator(
    cluster: &Cluster,
    version: i16,
    plan: &Plan,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let found = keys(version, &request).into_iter().map(|key| {
        let node = match plan.group_error(&key) {
            Some(code) => Err(code),
            None if request.key_type != GROUP_KEY => Err(error_codes::COORDINATOR_NOT_AVAILABLE),
            None => cluster.coordinator(&key),
        };
        let port = node.ok().and_then(|node| cluster.nodes.get(&node)).map_or(-1, |node| i32::from(node.port));
        let host = if node.is_ok() { HOST } else { "" };
        Coordinator::default()
            .with_key(key)
            .with_node_id(BrokerId(node.unwrap_or(-1)))
            .with_host(StrBytes::from_static_str(host))
            .with_port(port)
            .with_error_code(node.err().unwrap_or(error_codes::NONE))
    });
    let mut found: Vec<_> = found.collect();
    let response = FindCoordinatorResponse::default().with_throttle_time_ms(plan.throttle_ms);
    if version >= 4 {
        return response.with_coordinators(found);
    }
    let Some(found) = found.pop() else { return response };
    response.with_error_code(found.error_code).with_node_id(found.node_id).with_host(found.host).with_port(found.port)
}

/// Joins, and waits for the others. `None` where another join of the same member took its place.
pub(super) async fn join(
    shared: &Shared,
    node: i32,
    version: i16,
    plan: &Plan,
    client_id: &str,
    request: JoinGroupRequest,
) -> Option<JoinGroupResponse> {
    let group = request.group_id.to_string();
    let refused = |code| Reply::Joined(Err(NotJoined { code, member_id: request.member_id.to_string() }));
    let allowed = may_ask(&shared.lock(), node, plan, &group);
    let reply = match allowed {
        Err(code) => refused(code),
        Ok(()) => {
            let held = {
                let mut cluster = shared.lock();
                let (ticket, held) = cluster.groups.ticket();
                let name = request.group_instance_id.as_deref().unwrap_or(client_id);
                let new_member_id = cluster.groups.member_id(name);
                let join = asked_join(version, client_id, new_member_id, &request);
                cluster.groups.with(&group, |entry, now| entry.machine.handle_join(ticket, join, now));
                held
            };
            held.await.ok()?
        }
    };
    let Reply::Joined(outcome) = reply else { return None };
    let response = JoinGroupResponse::default().with_throttle_time_ms(plan.throttle_ms);
    Some(match outcome {
        Ok(joined) => told_joined(response, version, joined),
        Err(NotJoined { code, member_id }) => response
            .with_error_code(code)
            .with_generation_id(-1)
            .with_protocol_name((version < 7).then(StrBytes::default))
            .with_member_id(StrBytes::from_string(member_id)),
    })
}

fn asked_join(version: i16, client_id: &str, new_member_id: String, request: &JoinGroupRequest) -> Join {
    let protocols = request.protocols.iter().map(|protocol| (protocol.name.to_string(), protocol.metadata.clone()));
    Join {
        member_id: request.member_id.to_string(),
        new_member_id,
        instance_id: request.group_instance_id.as_ref().map(ToString::to_string),
        client_id: client_id.to_owned(),
        session_timeout: millis(request.session_timeout_ms),
        rebalance_timeout: millis(request.rebalance_timeout_ms),
        protocol_type: request.protocol_type.to_string(),
        protocols: protocols.collect(),
        id_required: version >= 4,
        may_skip: version >= 9,
    }
}

fn told_joined(response: JoinGroupResponse, version: i16, joined: Joined) -> JoinGroupResponse {
    let member = |member: Listed| {
        JoinGroupResponseMember::default()
            .with_member_id(StrBytes::from_string(member.member_id))
            .with_group_instance_id(member.instance_id.map(StrBytes::from_string))
            .with_metadata(member.metadata)
    };
    let response = response
        .with_generation_id(joined.generation)
        .with_protocol_name(joined.protocol.map(StrBytes::from_string))
        .with_leader(StrBytes::from_string(joined.leader))
        .with_member_id(StrBytes::from_string(joined.member_id))
        .with_members(joined.members.into_iter().map(member).collect());
    let response = if version >= 9 { response.with_skip_assignment(joined.skip_assignment) } else { response };
    if version >= 7 { response.with_protocol_type(joined.protocol_type.map(StrBytes::from_string)) } else { response }
}

/// Hands out the parts, or waits for one. `None` where another sync of the same member took its
/// place.
pub(super) async fn sync(
    shared: &Shared,
    node: i32,
    plan: &Plan,
    request: SyncGroupRequest,
) -> Option<SyncGroupResponse> {
    let group = request.group_id.to_string();
    let allowed = may_ask(&shared.lock(), node, plan, &group);
    let reply = match allowed {
        Err(code) => Reply::Synced(Err(code)),
        Ok(()) => {
            let held = {
                let mut cluster = shared.lock();
                let (ticket, held) = cluster.groups.ticket();
                let sync = asked_sync(&request);
                cluster.groups.with(&group, |entry, now| entry.machine.handle_sync(ticket, sync, now));
                held
            };
            held.await.ok()?
        }
    };
    let Reply::Synced(outcome) = reply else { return None };
    let response = SyncGroupResponse::default().with_throttle_time_ms(plan.throttle_ms);
    Some(match outcome {
        Ok(synced) => response
            .with_protocol_type(synced.protocol_type.map(StrBytes::from_string))
            .with_protocol_name(synced.protocol.map(StrBytes::from_string))
            .with_assignment(synced.assignment),
        Err(code) => response.with_error_code(code),
    })
}

fn asked_sync(request: &SyncGroupRequest) -> Sync {
    let assignments = request.assignments.iter();
    let assignments = assignments.map(|given| (given.member_id.to_string(), given.assignment.clone()));
    Sync {
        member: claim(&request.member_id, request.group_instance_id.as_ref(), request.generation_id),
        protocol_type: request.protocol_type.as_ref().map(ToString::to_string),
        protocol: request.protocol_name.as_ref().map(ToString::to_string),
        assignments: assignments.collect(),
    }
}

/// Whether the member is still counted in.
pub(super) fn heartbeat(cluster: &mut Cluster, node: i32, plan: &Plan, request: HeartbeatRequest) -> HeartbeatResponse {
    let group = request.group_id.as_str();
    let claim = claim(&request.member_id, request.group_instance_id.as_ref(), request.generation_id);
    let outcome = may_ask(cluster, node, plan, group)
        .and_then(|()| cluster.groups.with(group, |entry, now| entry.machine.handle_heartbeat(&claim, now)));
    HeartbeatResponse::default()
        .with_error_code(outcome.err().unwrap_or(error_codes::NONE))
        .with_throttle_time_ms(plan.throttle_ms)
}

/// Takes members off: one until version 2, many later.
pub(super) fn leave(
    cluster: &mut Cluster,
    node: i32,
    version: i16,
    plan: &Plan,
    request: LeaveGroupRequest,
) -> LeaveGroupResponse {
    let group = request.group_id.as_str();
    let response = LeaveGroupResponse::default().with_throttle_time_ms(plan.throttle_ms);
    if let Err(code) = may_ask(cluster, node, plan, group) {
        return response.with_error_code(code);
    }
    let mut leave = |member_id: &str, instance_id: Option<&str>| {
        let outcome = cluster.groups.with(group, |entry, now| entry.machine.handle_leave(member_id, instance_id, now));
        outcome.err().unwrap_or(error_codes::NONE)
    };
    if version < 3 {
        return response.with_error_code(leave(&request.member_id, None));
    }
    let members = request.members.into_iter().map(|member| {
        let code = leave(&member.member_id, member.group_instance_id.as_deref());
        MemberResponse::default()
            .with_member_id(member.member_id)
            .with_group_instance_id(member.group_instance_id)
            .with_error_code(code)
    });
    response.with_members(members.collect())
}

/// Groups' states and members; a group that nobody has named yet is `Dead`.
pub(super) fn describe(
    cluster: &Cluster,
    node: i32,
    version: i16,
    plan: &Plan,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let groups = request.groups.into_iter().map(|group| match may_ask(cluster, node, plan, &group) {
        Err(code) => DescribedGroup::default().with_group_id(group).with_error_code(code),
        Ok(()) => described(cluster, version, group),
    });
    DescribeGroupsResponse::default().with_groups(groups.collect()).with_throttle_time_ms(plan.throttle_ms)
}

fn described(cluster: &Cluster, version: i16, group: GroupId) -> DescribedGroup {
    let Some(entry) = cluster.groups.find(&group) else {
        return DescribedGroup::default().with_group_id(group).with_group_state(StrBytes::from_static_str("Dead"));
    };
    let (state, membership) = (entry.machine.state(), entry.machine.membership());
    let stable = state == State::Stable;
    let members = membership.listed().into_iter().map(|member| {
        let described = DescribedGroupMember::default()
            .with_member_id(StrBytes::from_string(member.member_id))
            .with_client_id(StrBytes::from_string(member.client_id))
            .with_client_host(StrBytes::from_static_str("/127.0.0.1"));
        let instance_id = member.instance_id.filter(|_| version >= 4).map(StrBytes::from_string);
        let described = described.with_group_instance_id(instance_id);
        // What is told of each depends on the generation that is being made.
        if stable {
            described.with_member_metadata(member.metadata).with_member_assignment(member.assignment)
        } else {
            described
        }
    });
    let text = |text: Option<&String>| StrBytes::from_string(text.cloned().unwrap_or_default());
    DescribedGroup::default()
        .with_group_id(group)
        .with_group_state(StrBytes::from_static_str(state.as_str()))
        .with_protocol_type(text(membership.protocol_type.as_ref()))
        .with_protocol_data(text(membership.protocol.as_ref().filter(|_| stable)))
        .with_members(members.collect())
}

/// Whether a group's request gets to the group: no fault is armed for it, and it is kept here.
fn may_ask(cluster: &Cluster, node: i32, plan: &Plan, group: &str) -> Result<(), i16> {
    match plan.group_error(group) {
        Some(code) => Err(code),
        None => cluster.coordinates(node, group),
    }
}

fn claim(member_id: &StrBytes, instance_id: Option<&StrBytes>, generation: i32) -> Claim {
    Claim { member_id: member_id.to_string(), instance_id: instance_id.map(ToString::to_string), generation }
}

/// What is negative is none, which the machine refuses.
fn millis(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}
