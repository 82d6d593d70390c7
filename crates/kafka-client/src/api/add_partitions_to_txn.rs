//! `AddPartitionsToTxn`: makes partitions part of a transaction of version 1, before the first batch for each. Later versions
//! are brokers' among each other.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, ProducerId as Id, TopicName, TransactionalId,
};
use kafka_records::batch::ProducerId;

use crate::response_schema::{PARTITION_ERRORS, THROTTLE};
use crate::text::text;
use crate::transactions::not_told;
use crate::versions::Api;
use crate::{Cause, Coordinator, Error, Permit, TransactionVersion};

/// The API, as it is spoken here.
pub(crate) const API: Api = Api::of::<AddPartitionsToTxnRequest>(0, 3, &[THROTTLE, PARTITION_ERRORS]);

const DOING: &str = "add partitions to the transaction of";

/// Partitions of several topics.
pub type TopicPartitions = BTreeMap<String, BTreeSet<i32>>;

impl Coordinator {
    /// Makes what is written to these partitions part of the transaction, which begins with that.
    ///
    /// # Errors
    /// Where there is no answer, or an error for any of them.
    pub async fn add_partitions(
        &self,
        producer: ProducerId,
        partitions: &TopicPartitions,
        permit: &dyn Permit,
    ) -> Result<(), Error> {
        let request = add_partitions_request(self.own_id(), producer, partitions);
        let told = |told: &AddPartitionsToTxnResponse| (told.throttle_time_ms, added(told, partitions));
        self.ask(DOING, &request, TransactionVersion::V1, permit, told).await.map(drop)
    }
}

fn add_partitions_request(
    id: TransactionalId,
    producer: ProducerId,
    partitions: &TopicPartitions,
) -> AddPartitionsToTxnRequest {
    let topic = |(name, partitions): (&String, &BTreeSet<i32>)| {
        AddPartitionsToTxnTopic::default()
            .with_name(TopicName(text(name)))
            .with_partitions(partitions.iter().copied().collect())
    };
    AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(id)
        .with_v3_and_below_producer_id(Id(producer.id))
        .with_v3_and_below_producer_epoch(producer.epoch)
        .with_v3_and_below_topics(partitions.iter().map(topic).collect())
}

/// What an answer says of all that was to be added. Where one partition is refused, the others are
/// not attempted: what counts is the reason.
fn added(response: &AddPartitionsToTxnResponse, partitions: &TopicPartitions) -> Result<(), Cause> {
    let mut refused = None;
    for (topic, partition) in partitions.iter().flat_map(|(topic, all)| all.iter().map(move |one| (topic, *one))) {
        let found = response.results_by_topic_v3_and_below.iter().filter(|found| found.name.as_str() == topic);
        let found =
            found.flat_map(|found| &found.results_by_partition).find(|found| found.partition_index == partition);
        let found = found.ok_or_else(|| not_told(topic, partition))?;
        match ResponseError::try_from_code(found.partition_error_code) {
            None => {}
            Some(ResponseError::OperationNotAttempted) => {
                refused.get_or_insert(ResponseError::OperationNotAttempted);
            }
            Some(code) => return Err(Cause::Code(code)),
        }
    }
    refused.map_or(Ok(()), |code| Err(Cause::Code(code)))
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::add_partitions_to_txn_response::{
        AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
    };
    use kafka_protocol::protocol::Encodable;

    use super::*;

    fn partitions() -> TopicPartitions {
        BTreeMap::from([("t".to_owned(), BTreeSet::from([0, 1])), ("u".to_owned(), BTreeSet::from([5]))])
    }

    /// The encoder refuses fields that a version lacks.
    #[test]
    fn every_request_is_written_in_every_version_that_may_be_chosen() {
        let id = || TransactionalId(text("id"));
        for version in API.versions.min..=API.versions.max {
            let request = add_partitions_request(id(), ProducerId { id: 7, epoch: 3 }, &partitions());
            request.encode(&mut BytesMut::new(), version).unwrap();
        }
    }

    fn added_as(codes: &[(&'static str, i32, i16)]) -> Result<(), Cause> {
        let result = |(name, partition, code): &(&'static str, i32, i16)| {
            let partition = AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(*partition)
                .with_partition_error_code(*code);
            AddPartitionsToTxnTopicResult::default()
                .with_name(TopicName(text(name)))
                .with_results_by_partition(vec![partition])
        };
        let results = codes.iter().map(result).collect();
        let response = AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(results);
        added(&response, &partitions())
    }

    #[test]
    fn partitions_are_added_all_or_none_and_the_reason_counts() {
        added_as(&[("t", 0, 0), ("t", 1, 0), ("u", 5, 0)]).unwrap();
        let refused = added_as(&[("t", 0, 55), ("t", 1, 55), ("u", 5, 29)]);
        assert!(matches!(refused, Err(Cause::Code(ResponseError::TopicAuthorizationFailed))), "{refused:?}");
        let refused = added_as(&[("t", 0, 55), ("t", 1, 0), ("u", 5, 0)]);
        assert!(matches!(refused, Err(Cause::Code(ResponseError::OperationNotAttempted))), "{refused:?}");
        let silent = added_as(&[("t", 0, 0), ("u", 5, 0)]);
        assert!(matches!(silent, Err(Cause::Undecodable(_))), "{silent:?}");
    }
}
