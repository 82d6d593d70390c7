//! Answers of a broker about topic `t`.

use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    BrokerId, FetchResponse, InitProducerIdResponse, ListOffsetsResponse, MetadataResponse, ProduceResponse, ProducerId,
};

use super::{text, topic};

/// Node 0 on this port leads these partitions of `t`.
pub fn metadata(port: u16, partitions: &[i32]) -> MetadataResponse {
    let broker = |port| MetadataResponseBroker::default().with_host(text("127.0.0.1")).with_port(port);
    let partition = |index: &i32| MetadataResponsePartition::default().with_partition_index(*index);
    let topic = MetadataResponseTopic::default()
        .with_name(Some(topic("t")))
        .with_partitions(partitions.iter().map(partition).collect());
    MetadataResponse::default()
        .with_brokers(vec![broker(i32::from(port))])
        .with_controller_id(BrokerId(0))
        .with_topics(vec![topic])
}

/// The answer to where a place of a partition of `t` is.
pub fn offset(partition: i32, offset: i64) -> impl Fn(u16) -> ListOffsetsResponse {
    move |_| {
        let partition = ListOffsetsPartitionResponse::default().with_partition_index(partition).with_offset(offset);
        let topic = ListOffsetsTopicResponse::default().with_name(topic("t")).with_partitions(vec![partition]);
        ListOffsetsResponse::default().with_topics(vec![topic])
    }
}

/// The answer to a fetch of `t`.
pub fn fetched(partition: PartitionData) -> impl Fn(u16) -> FetchResponse {
    move |_| {
        let topic = FetchableTopicResponse::default().with_topic(topic("t")).with_partitions(vec![partition.clone()]);
        FetchResponse::default().with_responses(vec![topic])
    }
}

/// The answer to a produce, with this code.
pub fn produced(code: i16) -> ProduceResponse {
    let partition = PartitionProduceResponse::default().with_error_code(code).with_base_offset(5);
    let topic = TopicProduceResponse::default().with_name(topic("t")).with_partition_responses(vec![partition]);
    ProduceResponse::default().with_responses(vec![topic])
}

/// The answer to who asks for a producer id.
pub fn identified(id: i64, epoch: i16) -> InitProducerIdResponse {
    InitProducerIdResponse::default().with_producer_id(ProducerId(id)).with_producer_epoch(epoch)
}
