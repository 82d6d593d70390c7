//! `LeaveGroup`: takes members off, one until version 2, many later.

use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use super::call::{Answer, Call, Serve};
use super::members::may_ask;
use crate::cluster::Cluster;
use crate::error_codes;
use crate::fault::Target;
use crate::schema::Field;

impl Serve for LeaveGroupRequest {
    const SERVED: (i16, i16) = (1, 5);

    fn schema(version: i16) -> &'static [Field] {
        use Field::{Structs, Text};
        match version {
            ..=2 => &[Text, Text],
            3..=4 => &[Text, Structs(&[Text, Text])],
            _ => &[Text, Structs(&[Text, Text, Text])],
        }
    }

    fn targets(&self, _: i16, _: &Cluster) -> Vec<Target> {
        vec![Target::group(&self.group_id)]
    }

    fn answer(self, call: Call<'_>) -> Answer<'_> {
        let mut cluster = call.shared.lock();
        let group = self.group_id.as_str();
        let response = LeaveGroupResponse::default().with_throttle_time_ms(call.plan.throttle_ms);
        if let Err(code) = may_ask(&cluster, call, group) {
            return response.with_error_code(code).into();
        }
        let mut leave = |member_id: &str, instance_id: Option<&str>| {
            let left = cluster.groups.with(group, |entry, now| entry.machine.handle_leave(member_id, instance_id, now));
            left.err().unwrap_or(error_codes::NONE)
        };
        if call.version < 3 {
            return response.with_error_code(leave(&self.member_id, None)).into();
        }
        let members = self.members.into_iter().map(|member| {
            let code = leave(&member.member_id, member.group_instance_id.as_deref());
            MemberResponse::default()
                .with_member_id(member.member_id)
                .with_group_instance_id(member.group_instance_id)
                .with_error_code(code)
        });
        response.with_members(members.collect()).into()
    }
}
