//! `DescribeProducers`: what partitions remember of who wrote to them.

use kafka_protocol::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use kafka_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse, ProducerId};

use super::call::{Answer, Call, Serve, partitions};
use crate::cluster::Cluster;
use crate::fault::Target;
use crate::schema::Field;

impl Serve for DescribeProducersRequest {
    const SERVED: (i16, i16) = (0, 0);

    fn schema(_: i16) -> &'static [Field] {
        use Field::{Fixed, Structs, Text, Values};
        &[Structs(&[Text, Values(&Fixed(4))])]
    }

    fn targets(&self, _: i16, _: &Cluster) -> Vec<Target> {
        let topics = self.topics.iter();
        partitions(topics.map(|topic| (&*topic.name, topic.partition_indexes.iter().copied())))
    }

    fn answer(self, call: Call<'_>) -> Answer<'_> {
        let mut cluster = call.shared.lock();
        let mut look = |topic: &str, index: i32| {
            if let Some(code) = call.plan.partition_error(topic, index) {
                return Err(code);
            }
            let known = cluster.led_by(call.node, topic, index)?.producers.known();
            let state = |(id, epoch, last): (i64, i16, Option<i32>)| {
                ProducerState::default()
                    .with_producer_id(ProducerId(id))
                    .with_producer_epoch(epoch.into())
                    .with_last_sequence(last.unwrap_or(-1))
                    .with_last_timestamp(-1)
                    .with_coordinator_epoch(-1)
                    .with_current_txn_start_offset(-1)
            };
            Ok(known.map(state).collect())
        };
        let topics = self.topics.into_iter().map(|topic| {
            let partitions = topic.partition_indexes.iter().map(|index| {
                let found = PartitionResponse::default().with_partition_index(*index);
                match look(&topic.name, *index) {
                    Ok(producers) => found.with_active_producers(producers),
                    Err(code) => found.with_error_code(code),
                }
            });
            let partitions = partitions.collect();
            TopicResponse::default().with_name(topic.name).with_partitions(partitions)
        });
        DescribeProducersResponse::default()
            .with_topics(topics.collect())
            .with_throttle_time_ms(call.plan.throttle_ms)
            .into()
    }
}
