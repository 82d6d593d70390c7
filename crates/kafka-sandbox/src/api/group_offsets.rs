//! `OffsetCommit` and `OffsetFetch`.

use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestPartition;
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use crate::cluster::Cluster;
use crate::error_codes;
use crate::fault::{Plan, Target};
use crate::group::CommittedOffset;
use crate::group::member::Claim;

/// The partitions whose offsets are committed, for the faults to match.
pub(super) fn committed_targets(request: &OffsetCommitRequest) -> Vec<Target> {
    let partitions = request.topics.iter().flat_map(|topic| {
        let partition = |p: &OffsetCommitRequestPartition| Target::partition(&topic.name, p.partition_index);
        topic.partitions.iter().map(partition)
    });
    partitions.map(|target| target.of(&request.group_id)).collect()
}

/// The groups whose offsets are asked for, and the partitions that are named.
pub(super) fn fetched_targets(version: i16, request: &OffsetFetchRequest) -> Vec<Target> {
    let mut targets = Vec::new();
    for group in groups(version, request) {
        targets.push(Target::group(&group.group_id));
        for topic in group.topics.iter().flatten() {
            let partitions = topic.partition_indexes.iter().map(|index| Target::partition(&topic.name, *index));
            targets.extend(partitions.map(|target| target.of(&group.group_id)));
        }
    }
    targets
}

/// Stores offsets of topics that exist, if the group takes them from whoever commits.
pub(super) fn commit(
    cluster: &mut Cluster,
    node: i32,
    plan: &Plan,
    request: OffsetCommitRequest,
) -> OffsetCommitResponse {
    let group = request.group_id.as_str();
    let claim = Claim {
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.as_ref().map(ToString::to_string),
        generation: request.generation_id_or_member_epoch,
    };
    let mut allowed = None;
    let mut store = |topic: &str, committed: &OffsetCommitRequestPartition| {
        let index = committed.partition_index;
        if let Some(code) = plan.partition_error(topic, index) {
            return Err(code);
        }
        // Asked once, and only where something is to be done: it counts as a heartbeat.
        (*allowed.get_or_insert_with(|| may_commit(cluster, node, group, &claim)))?;
        cluster.partition(topic, index)?;
        let metadata = committed.committed_metadata.as_ref().map_or_else(String::new, ToString::to_string);
        let committed = CommittedOffset {
            offset: committed.committed_offset,
            leader_epoch: committed.committed_leader_epoch,
            metadata,
        };
        cluster.groups.with(group, |entry, _| entry.offsets.commit(topic, index, committed))
    };
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|committed| {
            let code = store(&topic.name, committed).err().unwrap_or(error_codes::NONE);
            OffsetCommitResponsePartition::default()
                .with_partition_index(committed.partition_index)
                .with_error_code(code)
        });
        let partitions = partitions.collect();
        OffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions)
    });
    OffsetCommitResponse::default().with_topics(topics.collect()).with_throttle_time_ms(plan.throttle_ms)
}

fn may_commit(cluster: &mut Cluster, node: i32, group: &str, claim: &Claim) -> Result<(), i16> {
    cluster.coordinates(node, group)?;
    if claim.generation >= 0 && cluster.groups.find(group).is_none() {
        return Err(error_codes::ILLEGAL_GENERATION);
    }
    cluster.groups.with(group, |entry, now| entry.machine.handle_commit(claim, now))
}

/// The offsets of the partitions that are named, or of all that have one.
pub(super) fn fetch(
    cluster: &Cluster,
    node: i32,
    version: i16,
    plan: &Plan,
    request: OffsetFetchRequest,
) -> OffsetFetchResponse {
    let response = OffsetFetchResponse::default().with_throttle_time_ms(plan.throttle_ms);
    let mut found: Vec<_> = groups(version, &request).into_iter().map(|g| of_group(cluster, node, plan, g)).collect();
    if version >= 8 {
        return response.with_groups(found);
    }
    let Some(found) = found.pop() else { return response };
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
    response.with_topics(topics.collect())
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

fn of_group(cluster: &Cluster, node: i32, plan: &Plan, asked: OffsetFetchRequestGroup) -> OffsetFetchResponseGroup {
    let group = asked.group_id.as_str();
    let refused = plan.group_error(group).or_else(|| cluster.coordinates(node, group).err());
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
        if let Some(code) = plan.partition_error(topic, index) {
            return unknown.with_error_code(code);
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
