//! `ListOffsets`: where a partition's log begins and ends, and which record a time meets.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest, TopicName};
use kafka_protocol::protocol::{Request, StrBytes};
use kafka_records::record::Offset;
use kafka_records::schema::Field::{self, Fixed, Since, Structs, Text};

use super::fetch::Isolation;
use crate::response_schema::{ERROR, THROTTLE};
use crate::versions::Api;
use crate::{Cause, Cluster, Connection, Error};

/// The API, as it is spoken here.
pub(crate) const API: Api = Api::of::<ListOffsetsRequest>(1, 7, RESPONSE);

const RESPONSE: &[Field] =
    &[Since(2, &THROTTLE), Structs(&[Text, Structs(&[Fixed(4), ERROR, Fixed(8 + 8), Since(4, &Fixed(4))])])];

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
    /// The high watermarks of partitions of one topic, as the node that leads them tells them: one request for all.
    ///
    /// # Errors
    /// Whatever keeps the node from answering. What is wrong with a single partition is that partition's result; where
    /// either says that another leads, that is asked for anew the next time.
    pub async fn high_watermarks(
        &self,
        node: i32,
        topic: &str,
        partitions: &[i32],
    ) -> Result<BTreeMap<i32, Result<Offset, Error>>, Error> {
        let answered = match self.node(node).await {
            Ok(connection) => self.ask_high_watermarks(&connection, topic, partitions).await,
            Err(error) => Err(error),
        };
        let is_wrong =
            |partition: &&i32| answered.as_ref().is_ok_and(|told| told.get(*partition).is_none_or(Result::is_err));
        let doubted: Vec<_> = match &answered {
            Ok(_) => partitions.iter().filter(is_wrong).collect(),
            Err(_) => partitions.iter().collect(),
        };
        for partition in doubted {
            self.forget_leader(topic, *partition);
        }
        answered
    }

    async fn ask_high_watermarks(
        &self,
        connection: &Connection,
        topic: &str,
        partitions: &[i32],
    ) -> Result<BTreeMap<i32, Result<Offset, Error>>, Error> {
        let request = request(topic, partitions, At::Latest);
        let response = connection.request(DOING, &request).await?;
        connection.throttle_ms(response.throttle_time_ms);
        let found = response.topics.into_iter().filter(|found| found.name.0.as_str() == topic);
        let found = found.flat_map(|found| found.partitions).map(|found| {
            let failed = |cause| Error { doing: DOING, on: format!("{topic}/{}", found.partition_index), cause };
            let told = match (ResponseError::try_from_code(found.error_code), found.offset) {
                (Some(code), _) => Err(failed(Cause::Code(code))),
                (None, offset @ 0..) => Ok(Offset(offset)),
                (None, offset) => Err(failed(Cause::Undecodable(format!("{offset} is no offset")))),
            };
            (found.partition_index, told)
        });
        Ok(found.collect())
    }

    /// The offset of a place in what is committed; `None` where no record is of that time or later.
    ///
    /// # Errors
    /// Whatever keeps the leader from answering, and every error code it gives.
    pub async fn offset_at(&self, topic: &str, partition: i32, at: At) -> Result<Option<Offset>, Error> {
        self.offset_as(Isolation::Committed, topic, partition, at).await
    }

    /// The offset of a place in what a reader of that isolation is given; `None` where no record is of that time or later.
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
        let request = request(topic, &[partition], at);
        let isolates = connection.version(ListOffsetsRequest::KEY).is_ok_and(|version| version >= 2);
        let request = if isolates { request.with_isolation_level(isolation.level()) } else { request };
        let response = match connection.request(DOING, &request).await {
            Ok(response) => response,
            Err(error) => {
                self.forget_leader(topic, partition);
                return Err(error);
            }
        };
        connection.throttle_ms(response.throttle_time_ms);
        let found = response.topics.into_iter().filter(|found| found.name.0.as_str() == topic);
        let found = found.flat_map(|found| found.partitions).find(|found| found.partition_index == partition);
        let found = found.ok_or_else(|| failed(Cause::Undecodable("it names another partition".to_owned())))?;
        if let Some(code) = ResponseError::try_from_code(found.error_code) {
            self.forget_leader(topic, partition);
            return Err(failed(Cause::Code(code)));
        }
        match (found.offset, at) {
            (offset @ 0.., _) => Ok(Some(Offset(offset))),
            (-1, At::Timestamp(_)) => Ok(None),
            (offset, _) => Err(failed(Cause::Undecodable(format!("{offset} is no offset")))),
        }
    }
}

/// Builds a request for what is not committed, too, unless that is set besides.
fn request(topic: &str, partitions: &[i32], at: At) -> ListOffsetsRequest {
    let asked = |partition: &i32| {
        ListOffsetsPartition::default().with_partition_index(*partition).with_timestamp(at.timestamp())
    };
    let asked = ListOffsetsTopic::default()
        .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
        .with_partitions(partitions.iter().map(asked).collect());
    ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![asked])
}
