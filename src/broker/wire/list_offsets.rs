//! `ListOffsets`: where a partition's log begins and ends, and which record a time meets.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest, TopicName};
use kafka_protocol::protocol::{Request, StrBytes};

use super::{Cluster, Isolation};
use crate::broker::{Cause, Error};
use crate::record::Offset;

const DOING: &str = "list offsets of";

/// A place in a partition's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The oldest record that is still kept.
    Earliest,
    /// Behind the last record that readers are given.
    Latest,
    /// The first record of this time or later, in milliseconds since the Unix epoch; never negative.
    Timestamp(i64),
}

impl At {
    /// The number that stands for it in the protocol.
    fn timestamp(self) -> i64 {
        match self {
            Self::Earliest => -2,
            Self::Latest => -1,
            Self::Timestamp(millis) => millis,
        }
    }
}

impl Cluster {
    /// The offset of a place in what is committed; `None` where no record is of that time or later.
    ///
    /// # Errors
    /// Whatever keeps the leader from answering, and every error code it gives.
    pub async fn offset_at(&self, topic: &str, partition: i32, at: At) -> Result<Option<Offset>, Error> {
        self.offset_as(Isolation::Committed, topic, partition, at).await
    }

    /// The same, of what a reader of that isolation is given.
    ///
    /// # Errors
    /// As [`Cluster::offset_at`].
    pub async fn offset_as(
        &self,
        isolation: Isolation,
        topic: &str,
        partition: i32,
        at: At,
    ) -> Result<Option<Offset>, Error> {
        let failed = |cause| Error { doing: DOING, on: format!("{topic}/{partition}"), cause };
        let connection = self.leader(topic, partition).await?;
        let asked = ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(at.timestamp());
        let asked = ListOffsetsTopic::default()
            .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
            .with_partitions(vec![asked]);
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![asked]);
        let isolates = connection.version(ListOffsetsRequest::KEY).is_ok_and(|version| version >= 2);
        let request = if isolates { request.with_isolation_level(isolation.level()) } else { request };
        let response = match connection.request(DOING, &request).await {
            Ok(response) => response,
            Err(error) => {
                self.forget_leader(topic, partition).await;
                return Err(error);
            }
        };
        connection.throttle_ms(response.throttle_time_ms);
        let found = response.topics.into_iter().filter(|found| found.name.0.as_str() == topic);
        let found = found.flat_map(|found| found.partitions).find(|found| found.partition_index == partition);
        let found = found.ok_or_else(|| failed(Cause::Undecodable("it names another partition".to_owned())))?;
        if let Some(code) = ResponseError::try_from_code(found.error_code) {
            self.forget_leader(topic, partition).await;
            return Err(failed(Cause::Code(code)));
        }
        match (found.offset, at) {
            (offset @ 0.., _) => Ok(Some(Offset(offset))),
            (-1, At::Timestamp(_)) => Ok(None),
            (offset, _) => Err(failed(Cause::Undecodable(format!("{offset} is no offset")))),
        }
    }
}
