//! `Produce`: appends batches.

use kafka_protocol::messages::produce_request::PartitionProduceData;
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};

use super::call::{Answer, Call, Refusal, Serve, partitions};
use crate::append::Sent;
use crate::cluster::Cluster;
use crate::error_codes;
use crate::fault::Target;
use crate::schema::Field;
use crate::topic_config::Unappended;

/// The first version that names the records that are refused (KIP-467).
const NAMES_RECORDS: i16 = 8;

impl Serve for ProduceRequest {
    const SERVED: (i16, i16) = (3, 12);

    fn schema(_: i16) -> &'static [Field] {
        use Field::{Blob, Fixed, Structs, Text};
        &[Text, Fixed(2 + 4), Structs(&[Text, Structs(&[Fixed(4), Blob])])]
    }

    fn targets(&self, _: i16, _: &Cluster) -> Vec<Target> {
        let topics = self.topic_data.iter();
        let named = partitions(topics.map(|t| (&*t.name, t.partition_data.iter().map(|p| p.index))));
        match &self.transactional_id {
            Some(id) => named.into_iter().map(|target| target.within(id)).collect(),
            None => named,
        }
    }

    fn answer(self, call: Call<'_>) -> Answer<'_> {
        let acknowledged = self.acks != 0;
        let response = append(self, call);
        match acknowledged {
            true => response.into(),
            // Such a producer hears of an error only by its connection closing.
            false if refuses(&response) => Answer::Refused(Refusal::RefusedUnacknowledged),
            false => Answer::None,
        }
    }
}

/// Appends what is in order, partition by partition.
fn append(request: ProduceRequest, call: Call<'_>) -> ProduceResponse {
    let Call { plan, version, .. } = call;
    let acks = request.acks;
    let transactional_id = request.transactional_id;
    let transactional_id = transactional_id.as_ref().map(|id| id.as_str());
    let mut cluster = call.shared.lock();
    let mut append = |topic: &str, data: PartitionProduceData| {
        let refused = plan
            .partition_error(topic, data.index)
            .or_else(|| (!matches!(acks, -1..=1)).then_some(error_codes::INVALID_REQUIRED_ACKS));
        let appended = match refused {
            Some(code) => Err(Unappended::from(code)),
            None => {
                let bytes = data.records.as_deref().unwrap_or_default();
                cluster.produce(call.node, topic, data.index, Sent { acks, version, transactional_id, bytes })
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
    call.shared.ring();
    ProduceResponse::default().with_responses(responses).with_throttle_time_ms(plan.throttle_ms)
}

fn refuses(response: &ProduceResponse) -> bool {
    let mut partitions = response.responses.iter().flat_map(|t| &t.partition_responses);
    partitions.any(|partition| partition.error_code != error_codes::NONE)
}
