//! `JoinGroup`: joins a group, or joins it again; answered when all members have.

use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use kafka_protocol::protocol::StrBytes;

use super::call::{Answer, Call, Serve};
use super::members::{may_ask, millis};
use crate::cluster::Cluster;
use crate::error_codes;
use crate::fault::Target;
use crate::group::member::{Join, Joined, Listed, NotJoined, Reply};
use crate::schema::Field;

impl Serve for JoinGroupRequest {
    const SERVED: (i16, i16) = (2, 9);

    fn schema(version: i16) -> &'static [Field] {
        use Field::{Blob, Fixed, Structs, Text};
        match version {
            ..=4 => &[Text, Fixed(4 + 4), Text, Text, Structs(&[Text, Blob])],
            5..=7 => &[Text, Fixed(4 + 4), Text, Text, Text, Structs(&[Text, Blob])],
            _ => &[Text, Fixed(4 + 4), Text, Text, Text, Structs(&[Text, Blob]), Text],
        }
    }

    fn targets(&self, _: i16, _: &Cluster) -> Vec<Target> {
        vec![Target::group(&self.group_id)]
    }

    fn answer(self, call: Call<'_>) -> Answer<'_> {
        Answer::later(join(self, call))
    }
}

/// Joins, and waits for the others. `None` where another join of the same member took its place.
async fn join(request: JoinGroupRequest, call: Call<'_>) -> Option<JoinGroupResponse> {
    let version = call.version;
    let group = request.group_id.to_string();
    let refused = |code| Reply::Joined(Err(NotJoined { code, member_id: request.member_id.to_string() }));
    let allowed = may_join(&call.shared.lock(), call, &group);
    let reply = match allowed {
        Err(code) => refused(code),
        Ok(()) => {
            let held = {
                let mut cluster = call.shared.lock();
                let (ticket, held) = cluster.groups.ticket();
                let name = request.group_instance_id.as_deref().unwrap_or(call.client);
                let new_member_id = cluster.groups.member_id(name);
                let join = asked(version, call.client, new_member_id, &request);
                cluster.groups.with(&group, |entry, now| entry.handle_join(ticket, join, now));
                held
            };
            held.await.ok()?
        }
    };
    let Reply::Joined(outcome) = reply else { return None };
    let response = JoinGroupResponse::default().with_throttle_time_ms(call.plan.throttle_ms);
    Some(match outcome {
        Ok(joined) => told(response, version, joined),
        Err(NotJoined { code, member_id }) => response
            .with_error_code(code)
            .with_generation_id(-1)
            .with_protocol_name((version < 7).then(StrBytes::default))
            .with_member_id(StrBytes::from_string(member_id)),
    })
}

/// Refuses also a group that has members by the consumer protocol, as a broker that migrates none.
fn may_join(cluster: &Cluster, call: Call<'_>, group: &str) -> Result<(), i16> {
    may_ask(cluster, call, group)?;
    match cluster.groups.find(group) {
        Some(entry) if !entry.consumer.members().is_empty() => Err(error_codes::INCONSISTENT_GROUP_PROTOCOL),
        _ => Ok(()),
    }
}

fn asked(version: i16, client_id: &str, new_member_id: String, request: &JoinGroupRequest) -> Join {
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

fn told(response: JoinGroupResponse, version: i16, joined: Joined) -> JoinGroupResponse {
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
