//! `AddPartitionsToTxn`: makes what is written to partitions part of a transaction: all of them, or none. The later
//! versions are for brokers among each other.

use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};
use kafka_records::batch::ProducerId;

use super::call::{Answer, Call, Serve, partitions, told_fenced};
use crate::cluster::Cluster;
use crate::error_codes;
use crate::fault::Target;
use crate::schema::Field;
use crate::txn::machine::Participant;

impl Serve for AddPartitionsToTxnRequest {
    const SERVED: (i16, i16) = (0, 3);

    fn schema(_: i16) -> &'static [Field] {
        use Field::{Fixed, Structs, Text, Values};
        &[Text, Fixed(8 + 2), Structs(&[Text, Values(&Fixed(4))])]
    }

    fn targets(&self, _: i16, _: &Cluster) -> Vec<Target> {
        let topics = self.v3_and_below_topics.iter();
        let named = partitions(topics.map(|t| (&*t.name, t.partitions.iter().copied())));
        named.into_iter().map(|target| target.within(&self.v3_and_below_transactional_id)).collect()
    }

    fn answer(self, call: Call<'_>) -> Answer<'_> {
        let mut cluster = call.shared.lock();
        let mut refusal = |topic: &str, partition: i32| {
            let fault = call.plan.partition_error(topic, partition);
            fault.or_else(|| cluster.partition(topic, partition).err())
        };
        let named = self.v3_and_below_topics.iter().flat_map(|t| t.partitions.iter().map(|p| (t.name.to_string(), *p)));
        let named: Vec<_> = named.map(|(topic, partition)| (refusal(&topic, partition), topic, partition)).collect();
        // Where one is refused, the others are not attempted.
        let others = if named.iter().any(|(refusal, ..)| refusal.is_some()) {
            error_codes::OPERATION_NOT_ATTEMPTED
        } else {
            let id = self.v3_and_below_transactional_id.as_str();
            let producer = ProducerId { id: self.v3_and_below_producer_id.0, epoch: self.v3_and_below_producer_epoch };
            let added = named.iter().map(|(_, topic, partition)| Participant::Partition(topic.clone(), *partition));
            let added = cluster.add_to_transaction(call.node, id, producer, added.collect());
            added.map_err(|code| told_fenced(code, call.version)).err().unwrap_or(error_codes::NONE)
        };
        let mut codes = named.into_iter().map(|(refusal, ..)| refusal.unwrap_or(others));
        let results = self.v3_and_below_topics.iter().map(|topic| {
            let results = topic.partitions.iter().zip(&mut codes).map(|(partition, code)| {
                AddPartitionsToTxnPartitionResult::default()
                    .with_partition_index(*partition)
                    .with_partition_error_code(code)
            });
            let results = results.collect();
            AddPartitionsToTxnTopicResult::default().with_name(topic.name.clone()).with_results_by_partition(results)
        });
        AddPartitionsToTxnResponse::default()
            .with_results_by_topic_v3_and_below(results.collect())
            .with_throttle_time_ms(call.plan.throttle_ms)
            .into()
    }
}
