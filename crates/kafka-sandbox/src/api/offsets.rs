//! `ListOffsets`, `OffsetForLeaderEpoch` and `DeleteRecords`.

use kafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_protocol::messages::{
    DeleteRecordsRequest, DeleteRecordsResponse, ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
};

use super::fetch::check_epoch;
use crate::cluster::{Cluster, Shared};
use crate::error_codes;
use crate::fault::Plan;
use crate::log::PartitionLog;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const READ_COMMITTED: i8 = 1;

/// The first and last offsets, or those of a timestamp.
pub(super) fn list(cluster: &mut Cluster, node: i32, plan: &Plan, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let committed = request.isolation_level == READ_COMMITTED;
    let mut look = |topic: &str, partition: i32, timestamp: i64| {
        if let Some(code) = plan.partition_error(topic, partition) {
            return Err(code);
        }
        let partition = cluster.led_by(node, topic, partition)?;
        Ok(offset_at(&partition.log, timestamp, committed))
    };
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|wanted| {
            let index = wanted.partition_index;
            let response = ListOffsetsPartitionResponse::default().with_partition_index(index);
            match look(&topic.name, index, wanted.timestamp) {
                Ok((offset, timestamp)) => response.with_offset(offset).with_timestamp(timestamp),
                Err(code) => response.with_error_code(code),
            }
        });
        let partitions = partitions.collect();
        ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions)
    });
    ListOffsetsResponse::default().with_topics(topics.collect()).with_throttle_time_ms(plan.throttle_ms)
}

fn offset_at(log: &PartitionLog, timestamp: i64, committed: bool) -> (i64, i64) {
    match timestamp {
        EARLIEST => (log.start(), -1),
        LATEST if committed => (log.last_stable(), -1),
        LATEST => (log.high_watermark(), -1),
        timestamp => log.first_since(timestamp).unwrap_or((-1, -1)),
    }
}

/// Where logs end for leader epochs.
pub(super) fn epoch_ends(
    cluster: &mut Cluster,
    node: i32,
    plan: &Plan,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let mut look = |topic: &str, partition: i32, current: i32, epoch: i32| {
        if let Some(code) = plan.partition_error(topic, partition) {
            return Err(code);
        }
        let partition = cluster.led_by(node, topic, partition)?;
        check_epoch(partition, current)?;
        Ok(partition.epoch_end(epoch))
    };
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|wanted| {
            let end = EpochEndOffset::default().with_partition(wanted.partition);
            match look(&topic.topic, wanted.partition, wanted.current_leader_epoch, wanted.leader_epoch) {
                Ok((epoch, offset)) => end.with_leader_epoch(epoch).with_end_offset(offset),
                Err(code) => end.with_error_code(code),
            }
        });
        let partitions = partitions.collect();
        OffsetForLeaderTopicResult::default().with_topic(topic.topic).with_partitions(partitions)
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect()).with_throttle_time_ms(plan.throttle_ms)
}

/// Moves the start of logs.
pub(super) fn delete_records(
    shared: &Shared,
    node: i32,
    plan: &Plan,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let mut cluster = shared.lock();
    let mut delete = |topic: &str, partition: i32, offset: i64| {
        if let Some(code) = plan.partition_error(topic, partition) {
            return Err(code);
        }
        let partition = cluster.led_by(node, topic, partition)?;
        let deleted = partition.log.delete_before(offset);
        deleted.map_err(|_| error_codes::OFFSET_OUT_OF_RANGE)
    };
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|wanted| {
            let index = wanted.partition_index;
            let result = DeleteRecordsPartitionResult::default().with_partition_index(index);
            match delete(&topic.name, index, wanted.offset) {
                Ok(low_watermark) => result.with_low_watermark(low_watermark),
                Err(code) => result.with_low_watermark(-1).with_error_code(code),
            }
        });
        let partitions = partitions.collect();
        DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(partitions)
    });
    let topics = topics.collect();
    drop(cluster);
    shared.ring();
    DeleteRecordsResponse::default().with_topics(topics).with_throttle_time_ms(plan.throttle_ms)
}
