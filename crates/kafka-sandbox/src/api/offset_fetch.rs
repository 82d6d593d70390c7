//! `OffsetFetch`: a group's offsets, of the partitions that are named, or of all that have one.

use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::call::{Answer, Call, Serve};
use crate::cluster::Cluster;
use crate::error_codes;
use crate::fault::Target;
use crate::schema::Field;

impl Serve for OffsetFetchRequest {
    const SERVED: (i16, i16) = (1, 9);

    fn schema(version: i16) -> &'static [Field] {
        use Field::{Fixed, Structs, Text, Values};
        const TOPICS: Field = Structs(&[Text, Values(&Fixed(4))]);
        match version {
            ..=6 => &[Text, TOPICS],
            7 => &[Text, TOPICS, Fixed(1)],
            8 => &[Structs(&[Text, TOPICS]), Fixed(1)],
            _ => &[Structs(&[Text, Text, Fixed(4), TOPICS]), Fixed(1)],
        }
    }

    fn targets(&self, version: i16, _: &Cluster) -> Vec<Target> {
        let mut targets = Vec::new();
        for group in groups(version, self) {
            targets.push(Target::group(&group.group_id));
            for topic in group.topics.iter().flatten() {
                let partitions = topic.partition_indexes.iter().map(|index| Target::partition(&topic.name, *index));
                targets.extend(partitions.map(|target| target.of(&group.group_id)));
            }
        }
        targets
    }

    fn answer(self, call: Call<'_>) -> Answer<'_> {
        let (cluster, version) = (call.shared.lock(), call.version);
        let response = OffsetFetchResponse::default().with_throttle_time_ms(call.plan.throttle_ms);
        let mut found: Vec<_> =
            groups(version, &self).into_iter().map(|g| of_group(&cluster, call, self.require_stable, g)).collect();
        if version >= 8 {
            return response.with_groups(found).into();
        }
        let Some(found) = found.pop() else { return response.into() };
        // Version 1 has no place for an error but each partition.
        let everywhere = if version == 1 { found.error_code } else { error_codes::NONE };
        let response = if version == 1 { response } else { response.with_error_code(found.error_code) };
        let topics = found.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.into_iter().map(|p| {
                let code = if p.error_code == error_codes::NONE { everywhere } else { p.error_code };
                OffsetFetchResponsePartition::default()
                    .with_partition_index(p.partition_index)
                    .with_committed_offset(p.committed_offset)
                    .with_committed_leader_epoch(p.committed_leader_epoch)
                    .with_metadata(p.metadata)
                    .with_error_code(code)
            });
            OffsetFetchResponseTopic::default().with_name(topic.name).with_partitions(partitions.collect())
        });
        response.with_topics(topics.collect()).into()
    }
}

/// A request of any version, as one of version 8.
fn groups(version: i16, request: &OffsetFetchRequest) -> Vec<OffsetFetchRequestGroup> {
    if version >= 8 {
        return request.groups.clone();
    }
    let topics = request.topics.as_ref().map(|topics| {
        let topics = topics.iter().map(|topic| {
            OffsetFetchRequestTopics::default()
                .with_name(topic.name.clone())
                .with_partition_indexes(topic.partition_indexes.clone())
        });
        topics.collect()
    });
    vec![OffsetFetchRequestGroup::default().with_group_id(request.group_id.clone()).with_topics(topics)]
}

fn of_group(
    cluster: &Cluster,
    call: Call<'_>,
    require_stable: bool,
    asked: OffsetFetchRequestGroup,
) -> OffsetFetchResponseGroup {
    let group = asked.group_id.as_str();
    let refused = call.plan.group_error(group).or_else(|| cluster.coordinates(call.node, group).err());
    let offsets = cluster.groups.find(group).map(|entry| &entry.offsets);
    let topics: Vec<(TopicName, Vec<i32>)> = match asked.topics {
        Some(topics) => topics.into_iter().map(|topic| (topic.name, topic.partition_indexes)).collect(),
        None => {
            let all = offsets.into_iter().flat_map(|offsets| offsets.partitions());
            all.map(|(topic, partitions)| (TopicName(StrBytes::from_string(topic.to_owned())), partitions)).collect()
        }
    };
    let look = |topic: &str, index: i32| {
        let response = OffsetFetchResponsePartitions::default().with_partition_index(index);
        let unknown = response
            .clone()
            .with_committed_offset(-1)
            .with_committed_leader_epoch(-1)
            .with_metadata(Some(StrBytes::default()));
        if refused.is_some() {
            return unknown;
        }
        if let Some(code) = call.plan.partition_error(topic, index) {
            return unknown.with_error_code(code);
        }
        if require_stable && offsets.is_some_and(|offsets| offsets.is_unstable(topic, index)) {
            return unknown.with_error_code(error_codes::UNSTABLE_OFFSET_COMMIT);
        }
        match offsets.and_then(|offsets| offsets.find(topic, index)) {
            None => unknown,
            Some(found) => response
                .with_committed_offset(found.offset)
                .with_committed_leader_epoch(found.leader_epoch)
                .with_metadata(Some(StrBytes::from_string(found.metadata.clone()))),
        }
    };
    let topics = topics.into_iter().map(|(name, indexes)| {
        let partitions = indexes.into_iter().map(|index| look(&name, index)).collect();
        OffsetFetchResponseTopics::default().with_name(name).with_partitions(partitions)
    });
    let topics = topics.collect();
    OffsetFetchResponseGroup::default()
        .with_group_id(asked.group_id)
        .with_error_code(refused.unwrap_or(error_codes::NONE))
        .with_topics(topics)
}
