//! Writing one batch to one partition, acknowledged by all in-sync replicas, tried once.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::Cluster;
use crate::broker::{Cause, Error};
use crate::record::Offset;

const DOING: &str = "produce to";

/// An acknowledged batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Produced {
    /// The offset of its first record.
    pub base_offset: Offset,
}

impl Cluster {
    /// Writes an encoded batch and waits for `acks=all`.
    ///
    /// # Errors
    /// Whatever kept the leader from answering, and every error code it gives. Of class ambiguous
    /// where the batch may have been written all the same.
    pub async fn produce(
        &self,
        topic: &str,
        partition: i32,
        batch: Bytes,
        timeout: Duration,
    ) -> Result<Produced, Error> {
        let failed = |cause| Error { doing: DOING, on: format!("{topic}/{partition}"), cause };
        let connection = self.leader(topic, partition).await?;
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(Bytes::new()));
        let data = TopicProduceData::default()
            .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_acks(-1)
            .with_timeout_ms(i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX))
            .with_topic_data(vec![data]);
        let response = match connection.request_with_tail(DOING, &request, batch).await {
            Ok(response) => response,
            Err(error) => {
                self.forget_leader(topic, partition).await;
                return Err(error);
            }
        };
        // rskafka would wait and send the batch again, which the broker has already taken.
        if let Ok(pause @ 1..) = u64::try_from(response.throttle_time_ms) {
            connection.throttle(Duration::from_millis(pause));
        }
        let found = response.responses.into_iter().filter(|found| found.name.0.as_str() == topic);
        let found = found.flat_map(|found| found.partition_responses).find(|found| found.index == partition);
        let found = found.ok_or_else(|| failed(Cause::Undecodable("it names another partition".to_owned())))?;
        match ResponseError::try_from_code(found.error_code) {
            None => Ok(Produced { base_offset: Offset(found.base_offset) }),
            Some(code) => {
                self.forget_leader(topic, partition).await;
                Err(failed(Cause::Code(code)))
            }
        }
    }
}
