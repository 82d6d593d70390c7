//! `SyncGroup`: hands out the members' parts, or asks for one; answered when the leader has handed them out.

use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};
use kafka_protocol::protocol::StrBytes;

use super::call::{Answer, Call, Serve};
use super::members::{claim, may_ask};
use crate::cluster::Cluster;
use crate::fault::Target;
use crate::group::member::{Reply, Sync};
use crate::schema::Field;

impl Serve for SyncGroupRequest {
    const SERVED: (i16, i16) = (0, 5);

    fn schema(version: i16) -> &'static [Field] {
        use Field::{Blob, Fixed, Structs, Text};
        match version {
            ..=2 => &[Text, Fixed(4), Text, Structs(&[Text, Blob])],
            3..=4 => &[Text, Fixed(4), Text, Text, Structs(&[Text, Blob])],
            _ => &[Text, Fixed(4), Text, Text, Text, Text, Structs(&[Text, Blob])],
        }
    }

    fn targets(&self, _: i16, _: &Cluster) -> Vec<Target> {
        vec![Target::group(&self.group_id)]
    }

    fn answer(self, call: Call<'_>) -> Answer<'_> {
        Answer::later(sync(self, call))
    }
}

/// `None` where another sync of the same member took its place.
async fn sync(request: SyncGroupRequest, call: Call<'_>) -> Option<SyncGroupResponse> {
    let group = request.group_id.to_string();
    let allowed = may_ask(&call.shared.lock(), call, &group);
    let reply = match allowed {
        Err(code) => Reply::Synced(Err(code)),
        Ok(()) => {
            let held = {
                let mut cluster = call.shared.lock();
                let (ticket, held) = cluster.groups.ticket();
                let sync = asked(&request);
                cluster.groups.with(&group, |entry, now| entry.machine.handle_sync(ticket, sync, now));
                held
            };
            held.await.ok()?
        }
    };
    let Reply::Synced(outcome) = reply else { return None };
    let response = SyncGroupResponse::default().with_throttle_time_ms(call.plan.throttle_ms);
    Some(match outcome {
        Ok(synced) => response
            .with_protocol_type(synced.protocol_type.map(StrBytes::from_string))
            .with_protocol_name(synced.protocol.map(StrBytes::from_string))
            .with_assignment(synced.assignment),
        Err(code) => response.with_error_code(code),
    })
}

fn asked(request: &SyncGroupRequest) -> Sync {
    let assignments = request.assignments.iter();
    let assignments = assignments.map(|given| (given.member_id.to_string(), given.assignment.clone()));
    Sync {
        member: claim(&request.member_id, request.group_instance_id.as_ref(), request.generation_id),
        protocol_type: request.protocol_type.as_ref().map(ToString::to_string),
        protocol: request.protocol_name.as_ref().map(ToString::to_string),
        assignments: assignments.collect(),
    }
}
