//! `DescribeProducers` (KIP-664, Kafka 2.8): what a partition's leader knows of who wrote to it.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse, TopicName};
use kafka_records::batch::ProducerId;
use kafka_records::schema::Field::{self, Fixed, Structs, Text};

use crate::response_schema::{ERROR, THROTTLE};
use crate::text::text;
use crate::versions::Api;
use crate::{Cause, Cluster, Error};

/// The API, as it is spoken here.
pub(crate) const API: Api = Api::of::<DescribeProducersRequest>(0, 0, RESPONSE);

const RESPONSE: &[Field] = &[
    THROTTLE,
    Structs(&[
        Text,
        Structs(&[
            Fixed(4),
            ERROR,
            Text,
            Structs(&[Fixed(8 + 4 + 4 + 8 + 4 + 8)]), // id, epoch, last sequence number, time; of the transaction
        ]),
    ]),
];

const DOING: &str = "ask for the producers of";

impl Cluster {
    /// The sequence number of the last record that a producer wrote to a partition; `None` where its leader
    /// has nothing of it. It takes the right to read the topic.
    ///
    /// # Errors
    /// Where the leader does not answer, refuses, or is of a Kafka before 2.8.
    pub async fn last_sequence(&self, topic: &str, partition: i32, of: ProducerId) -> Result<Option<i32>, Error> {
        let failed = |cause| Error { doing: DOING, on: format!("{topic}/{partition}"), cause };
        let connection = self.leader(topic, partition).await?;
        let asked = TopicRequest::default().with_name(TopicName(text(topic))).with_partition_indexes(vec![partition]);
        let request = DescribeProducersRequest::default().with_topics(vec![asked]);
        let answer = connection.request(DOING, &request).await.and_then(|response| {
            connection.throttle_ms(response.throttle_time_ms);
            told(&response, topic, partition, of).map_err(failed)
        });
        if answer.as_ref().is_err_and(Error::doubts_leader) {
            self.forget_leader(topic, partition);
        }
        answer
    }
}

fn told(
    response: &DescribeProducersResponse,
    topic: &str,
    partition: i32,
    of: ProducerId,
) -> Result<Option<i32>, Cause> {
    let found = response.topics.iter().filter(|found| found.name.as_str() == topic);
    let found = found.flat_map(|found| &found.partitions).find(|found| found.partition_index == partition);
    let found = found.ok_or_else(|| Cause::Undecodable("it names another partition".to_owned()))?;
    if let Some(code) = ResponseError::try_from_code(found.error_code) {
        return Err(Cause::Code(code));
    }
    let is_it = |id: i64, epoch: i32| id == of.id && epoch == i32::from(of.epoch);
    let producer = found.active_producers.iter().find(|found| is_it(found.producer_id.0, found.producer_epoch));
    Ok(producer.map(|producer| producer.last_sequence).filter(|last| *last >= 0))
}
