//! `DescribeGroups`: groups' states and members; a group that nobody has named yet is `Dead`, and so is one of the
//! consumer protocol.

use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId};
use kafka_protocol::protocol::StrBytes;

use super::call::{Answer, Call, Serve};
use super::members::may_ask;
use crate::cluster::Cluster;
use crate::fault::Target;
use crate::group::classic::ClassicGroupState;
use crate::schema::Field;

impl Serve for DescribeGroupsRequest {
    const SERVED: (i16, i16) = (0, 5);

    fn schema(version: i16) -> &'static [Field] {
        use Field::{Fixed, Text, Values};
        match version {
            ..=2 => &[Values(&Text)],
            _ => &[Values(&Text), Fixed(1)],
        }
    }

    fn targets(&self, _: i16, _: &Cluster) -> Vec<Target> {
        self.groups.iter().map(|group| Target::group(group)).collect()
    }

    fn answer(self, call: Call<'_>) -> Answer<'_> {
        let cluster = call.shared.lock();
        let groups = self.groups.into_iter().map(|group| match may_ask(&cluster, call, &group) {
            Err(code) => DescribedGroup::default().with_group_id(group).with_error_code(code),
            Ok(()) => described(&cluster, call.version, group),
        });
        let groups = groups.collect();
        DescribeGroupsResponse::default().with_groups(groups).with_throttle_time_ms(call.plan.throttle_ms).into()
    }
}

fn described(cluster: &Cluster, version: i16, group: GroupId) -> DescribedGroup {
    let Some(entry) = cluster.groups.find(&group).filter(|entry| !entry.is_of_consumers()) else {
        return DescribedGroup::default().with_group_id(group).with_group_state(StrBytes::from_static_str("Dead"));
    };
    let (state, membership) = (entry.machine.state(), entry.machine.membership());
    let stable = state == ClassicGroupState::Stable;
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
