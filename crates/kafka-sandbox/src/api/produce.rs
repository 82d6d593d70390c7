//! Produce and `InitProducerId`.

use kafka_protocol::messages::produce_request::PartitionProduceData;
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{
    InitProducerIdRequest, InitProducerIdResponse, ProduceRequest, ProduceResponse, ProducerId,
};

use super::Refusal;
use crate::cluster::{Cluster, Sent, Shared, Unappended};
use crate::error_codes;
use crate::fault::Plan;

/// The first version that names the records that are refused (KIP-467).
const NAMES_RECORDS: i16 = 8;

/// Appends what is in order, partition by partition.
pub(super) fn answer(
    shared: &Shared,
    node: i32,
    version: i16,
    plan: &Plan,
    request: ProduceRequest,
) -> ProduceResponse {
    let acks = request.acks;
    let mut cluster = shared.lock();
    let mut append = |topic: &str, data: PartitionProduceData| {
        let refused = plan
            .partition_error(topic, data.index)
            .or_else(|| (!matches!(acks, -1..=1)).then_some(error_codes::INVALID_REQUIRED_ACKS));
        let appended = match refused {
            Some(code) => Err(Unappended::from(code)),
            None => {
                let bytes = data.records.as_deref().unwrap_or_default();
                cluster.produce(node, topic, data.index, Sent { acks, version, bytes })
            }
        };
        let response = PartitionProduceResponse::default().with_index(data.index);
        match appended {
            Ok((base_offset, log_start)) => response.with_base_offset(base_offset).with_log_start_offset(log_start),
            Err(Unappended { code, records }) => {
                let named = |at| BatchIndexAndErrorMessage::default().with_batch_index(at);
                let named =
                    if version >= NAMES_RECORDS { records.into_iter().map(named).collect() } else { Vec::new() };
                response.with_error_code(code).with_base_offset(-1).with_record_errors(named)
            }
        }
    };
    let responses = request
        .topic_data
        .into_iter()
        .map(|topic| {
            let (name, data) = (topic.name, topic.partition_data);
            let partitions = data.into_iter().map(|data| append(&name, data)).collect();
            TopicProduceResponse::default().with_name(name).with_partition_responses(partitions)
        })
        .collect();
    drop(cluster);
    shared.ring();
    ProduceResponse::default().with_responses(responses).with_throttle_time_ms(plan.throttle_ms)
}

/// A producer with acks=0 hears of an error only by its connection closing.
pub(super) fn unacknowledged(response: &ProduceResponse) -> Result<(), Refusal> {
    let mut partitions = response.responses.iter().flat_map(|t| &t.partition_responses);
    if partitions.any(|partition| partition.error_code != error_codes::NONE) {
        return Err(Refusal::RefusedUnacknowledged);
    }
    Ok(())
}

/// Hands out the next producer id in epoch 0; to a known transactional id its own, in the next epoch.
pub(super) fn producer_id(
    cluster: &mut Cluster,
    plan: &Plan,
    request: &InitProducerIdRequest,
) -> InitProducerIdResponse {
    let response = InitProducerIdResponse::default().with_throttle_time_ms(plan.throttle_ms);
    // As Kafka: no transactional id is null, not empty.
    let empty = request.transactional_id.as_ref().is_some_and(|id| id.is_empty());
    match plan.request_error().or_else(|| empty.then_some(error_codes::INVALID_REQUEST)) {
        Some(code) => response.with_error_code(code).with_producer_id(ProducerId(-1)).with_producer_epoch(-1),
        None => {
            let transactional_id = request.transactional_id.as_ref().map(|id| id.as_str());
            let (id, epoch) = cluster.producer_id(transactional_id);
            response.with_producer_id(ProducerId(id)).with_producer_epoch(epoch)
        }
    }
}
