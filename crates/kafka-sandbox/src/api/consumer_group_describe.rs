//! `ConsumerGroupDescribe`: states and members of groups of the consumer protocol (KIP-848).

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::consumer_group_describe_response::{Assignment, DescribedGroup, Member, TopicPartitions};
use kafka_protocol::messages::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, GroupId, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::call::{Answer, Call, Serve};
use super::members::may_ask;
use crate::cluster::Cluster;
use crate::error_codes;
use crate::fault::Target;
use crate::group::consumer::{ConsumerMember, Partition, UNIFORM};
use crate::schema::Field;

/// The type of a member by the consumer protocol, from version 1 on.
const CONSUMER_MEMBER: i8 = 1;

impl Serve for ConsumerGroupDescribeRequest {
    const SERVED: (i16, i16) = (0, 1);

    fn schema(_: i16) -> &'static [Field] {
        use Field::{Fixed, Text, Values};
        &[Values(&Text), Fixed(1)]
    }

    fn targets(&self, _: i16, _: &Cluster) -> Vec<Target> {
        self.group_ids.iter().map(|group| Target::group(group)).collect()
    }

    fn answer(self, call: Call<'_>) -> Answer<'_> {
        let cluster = call.shared.lock();
        let groups = self.group_ids.into_iter().map(|group| {
            may_ask(&cluster, call, &group)
                .and_then(|()| described(&cluster, call.version, &group))
                .unwrap_or_else(|code| DescribedGroup::default().with_error_code(code))
                .with_group_id(group)
        });
        let groups = groups.collect();
        ConsumerGroupDescribeResponse::default().with_groups(groups).with_throttle_time_ms(call.plan.throttle_ms).into()
    }
}

fn described(cluster: &Cluster, version: i16, group: &GroupId) -> Result<DescribedGroup, i16> {
    if cluster.groups.consumer_protocol.is_none() {
        return Err(error_codes::UNSUPPORTED_VERSION);
    }
    let entry = cluster.groups.find(group).filter(|entry| entry.is_of_consumers());
    let group = &entry.ok_or(error_codes::GROUP_ID_NOT_FOUND)?.consumer;
    let members = group.members().iter().map(|(id, member)| {
        let described = described_member(cluster, id, member, &group.target(id));
        if version >= 1 { described.with_member_type(CONSUMER_MEMBER) } else { described }
    });
    Ok(DescribedGroup::default()
        .with_group_state(StrBytes::from_static_str(group.state().as_str()))
        .with_group_epoch(group.epoch())
        .with_assignment_epoch(group.assignment_epoch())
        .with_assignor_name(StrBytes::from_static_str(UNIFORM))
        .with_members(members.collect()))
}

fn described_member(cluster: &Cluster, id: &str, member: &ConsumerMember, target: &BTreeSet<Partition>) -> Member {
    let text = |text: &String| StrBytes::from_string(text.clone());
    Member::default()
        .with_member_id(StrBytes::from_string(id.to_owned()))
        .with_instance_id(member.instance_id.as_ref().map(text))
        .with_member_epoch(member.epoch)
        .with_client_id(text(&member.client_id))
        .with_client_host(StrBytes::from_static_str("/127.0.0.1"))
        .with_subscribed_topic_names(member.subscribed.iter().map(|name| TopicName(text(name))).collect())
        .with_assignment(assignment(cluster, &member.assigned))
        .with_target_assignment(assignment(cluster, target))
}

fn assignment(cluster: &Cluster, partitions: &BTreeSet<Partition>) -> Assignment {
    let mut topics: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in partitions {
        topics.entry(*topic).or_default().push(*partition);
    }
    // Of a topic that is gone there is no name to say.
    let topics = topics.into_iter().filter_map(|(id, partitions)| {
        let (name, _) = cluster.topics.iter().find(|(_, topic)| topic.id == id)?;
        let name = TopicName(StrBytes::from_string(name.clone()));
        Some(TopicPartitions::default().with_topic_id(id).with_topic_name(name).with_partitions(partitions))
    });
    Assignment::default().with_topic_partitions(topics.collect())
}
