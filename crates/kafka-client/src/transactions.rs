//! Transactions, in both versions:
//!
//! ```text
//! transactions' coordinator                          group's coordinator
//!   InitProducerId      who writes; ends what a predecessor left open
//!   AddPartitionsToTxn  before the first batch for each partition (version 1 only)
//!   AddOffsetsToTxn     before ...  (version 1 only)   TxnOffsetCommit
//!   EndTxn              all of it is there, or none of it; in version 2 also who writes from now on
//! ```
//!
//! Kafka 2.5 to 4 speak the first (KIP-98). In the second (KIP-890), which Kafka 4 has where the feature
//! `transaction.version` says so, the brokers themselves add to a transaction what is written, and give
//! each transaction an epoch of its own: what arrives late is of an epoch that is over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    EndTxnRequest, EndTxnResponse, GroupId, InitProducerIdRequest, InitProducerIdResponse, ProducerId as Id, TopicName,
    TransactionalId, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};
use kafka_protocol::protocol::Request;
use kafka_records::batch::ProducerId;

use super::group_offsets::{Open, text};
use super::{Connection, Coordinator, GroupOffset, Identity, TransactionVersion};
use crate::Permit;
use crate::{Cause, Error};

/// The first version of `InitProducerId` that carries the id before.
const CARRIES_ID: i16 = 3;

const INITIALIZE: &str = "begin to write as transactional id";
const ADD_PARTITIONS: &str = "add partitions to the transaction of";
const ADD_OFFSETS: &str = "add offsets to the transaction of";
const COMMIT_OFFSETS: &str = "commit offsets within the transaction of";
const END: &str = "end the transaction of";

/// Partitions of several topics.
pub type TopicPartitions = BTreeMap<String, BTreeSet<i32>>;

/// As whom transactions are written from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    /// What the brokers know the transactional id by.
    pub producer: ProducerId,
    /// In which version.
    pub version: TransactionVersion,
}

/// Offsets of one partition for one group, as part of a transaction.
#[derive(Debug, Clone, Copy)]
pub struct OffsetInTransaction<'a> {
    /// Whose transaction.
    pub transactional_id: &'a str,
    /// The same, as the transactions' coordinator named it.
    pub begun: Begun,
    /// As which member of the group; as nobody where `None`.
    pub identity: Option<&'a Identity>,
    /// The partition's topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: i32,
    /// How far it is done.
    pub offset: &'a GroupOffset,
    /// For how long the partition is this instance's.
    pub permit: &'a dyn Permit,
}

impl Coordinator {
    /// What this transactional id is known to brokers by from now on. Whoever wrote under it before
    /// writes no more, and what it left open is ended: finished where it was to be committed, thrown
    /// away otherwise. A transaction that stays open for longer than `timeout` is thrown away too.
    ///
    /// The version is what the coordinator said of the cluster when the connection to it opened, but no
    /// later than `latest`. A
    /// feature is the whole cluster's, and its brokers hear of a change one after another: what counts
    /// is the one that keeps the transaction. It goes by what each request says, not by the feature,
    /// so that transactions of version 1 go on in that after an upgrade, until there is another id.
    ///
    /// With `before`, the id in whose place the next one comes, nobody else is fenced by it, and neither is
    /// who asks where the request arrives once more (KIP-360). It takes Kafka 2.5, and is left out before.
    ///
    /// # Errors
    /// Where there is no answer, or an error: `CONCURRENT_TRANSACTIONS` until what was open has ended; with
    /// `before`, that another writes by now, or that the coordinator has ended what `before` wrote.
    pub async fn init_transactions(
        &self,
        timeout: Duration,
        latest: TransactionVersion,
        before: Option<ProducerId>,
        permit: &dyn Permit,
    ) -> Result<Begun, Error> {
        let connection = self.connection().await?;
        let carries_id = connection.version(InitProducerIdRequest::KEY).is_ok_and(|version| version >= CARRIES_ID);
        let request = init_request(self.own_id(), timeout, before.filter(|_| carries_id));
        let version = connection.offered().transactions().min(latest);
        let told = |told: &InitProducerIdResponse| (told.throttle_time_ms, initialized(told));
        let told = self.ask_on(&connection, INITIALIZE, &request, version, permit, told).await?;
        Ok(Begun { producer: ProducerId { id: told.producer_id.0, epoch: told.producer_epoch }, version })
    }

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
        self.ask(ADD_PARTITIONS, &request, TransactionVersion::V1, permit, told).await.map(drop)
    }

    /// Makes a group's offsets part of the transaction, which begins with that where it has not.
    ///
    /// # Errors
    /// Where there is no answer, or it is an error.
    pub async fn add_offsets(&self, producer: ProducerId, group: &str, permit: &dyn Permit) -> Result<(), Error> {
        let request = AddOffsetsToTxnRequest::default()
            .with_transactional_id(self.own_id())
            .with_producer_id(Id(producer.id))
            .with_producer_epoch(producer.epoch)
            .with_group_id(GroupId(text(group)));
        let told = |told: &AddOffsetsToTxnResponse| (told.throttle_time_ms, code(told.error_code));
        self.ask(ADD_OFFSETS, &request, TransactionVersion::V1, permit, told).await.map(drop)
    }

    /// Commits the transaction, and tells as whom the next one is written. Asked again, it says again
    /// that it is committed, and as whom.
    ///
    /// # Errors
    /// Where there is no answer, or it is an error.
    pub async fn commit_transaction(&self, begun: Begun, permit: &dyn Permit) -> Result<Begun, Error> {
        let request = end_request(self.own_id(), begun.producer);
        let told = |told: &EndTxnResponse| (told.throttle_time_ms, next(told, begun).map(drop));
        let told = self.ask(END, &request, begun.version, permit, told).await?;
        next(&told, begun).map_err(|cause| Error { doing: END, on: self.key().to_owned(), cause })
    }

    /// Notes an offset that counts once the transaction is committed. This is the group's to answer.
    ///
    /// # Errors
    /// Where there is no answer, or it is an error.
    pub async fn commit_in_transaction(&self, commit: OffsetInTransaction<'_>) -> Result<(), Error> {
        let connection = self.connection().await?;
        self.commit_on(&connection, commit).await
    }

    /// [`Coordinator::commit_in_transaction`], and the offset that this one takes the place of once the
    /// transaction is committed; `None` where there is none.
    ///
    /// `OffsetFetch` alone may be answered by a broker that does not know yet that it is the coordinator
    /// no longer, with an offset of before. Such a broker can't write one down, though: its replicas
    /// follow another. So what the broker says that has just done so counts.
    ///
    /// # Errors
    /// Where there is no answer, or it is an error.
    pub async fn commit_in_transaction_over(
        &self,
        commit: OffsetInTransaction<'_>,
    ) -> Result<Option<GroupOffset>, Error> {
        let connection = self.connection().await?;
        self.commit_on(&connection, commit).await?;
        let OffsetInTransaction { topic, partition, .. } = commit;
        let mut found = self.committed_on(&connection, topic, &[partition], Open::IsLeftOut).await?;
        Ok(found.remove(&partition))
    }

    async fn commit_on(&self, connection: &Arc<Connection>, commit: OffsetInTransaction<'_>) -> Result<(), Error> {
        let request = commit_request(self.group(), commit);
        let told = |told: &TxnOffsetCommitResponse| (told.throttle_time_ms, committed(told, commit));
        self.ask_on(connection, COMMIT_OFFSETS, &request, commit.begun.version, commit.permit, told).await.map(drop)
    }

    fn own_id(&self) -> TransactionalId {
        TransactionalId(text(self.transactional_id()))
    }

    /// Asks while `permit` holds, and heeds what is told: a pause, and an error.
    async fn ask<R: Request>(
        &self,
        doing: &'static str,
        request: &R,
        version: TransactionVersion,
        permit: &dyn Permit,
        told: impl FnOnce(&R::Response) -> (i32, Result<(), Cause>),
    ) -> Result<R::Response, Error> {
        let connection = self.connection().await?;
        self.ask_on(&connection, doing, request, version, permit, told).await
    }

    async fn ask_on<R: Request>(
        &self,
        connection: &Arc<Connection>,
        doing: &'static str,
        request: &R,
        version: TransactionVersion,
        permit: &dyn Permit,
        told: impl FnOnce(&R::Response) -> (i32, Result<(), Cause>),
    ) -> Result<R::Response, Error> {
        let answer = connection.request_in_transaction(doing, request, version, permit).await.and_then(|response| {
            let (throttle_ms, outcome) = told(&response);
            connection.throttle_ms(throttle_ms);
            outcome.map(|()| response).map_err(|cause| Error { doing, on: self.key().to_owned(), cause })
        });
        self.checked(connection, answer).await
    }
}

fn init_request(id: TransactionalId, timeout: Duration, before: Option<ProducerId>) -> InitProducerIdRequest {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(id))
        .with_transaction_timeout_ms(i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX));
    match before {
        Some(before) => request.with_producer_id(Id(before.id)).with_producer_epoch(before.epoch),
        None => request,
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

fn end_request(id: TransactionalId, producer: ProducerId) -> EndTxnRequest {
    EndTxnRequest::default()
        .with_transactional_id(id)
        .with_producer_id(Id(producer.id))
        .with_producer_epoch(producer.epoch)
        .with_committed(true)
}

fn commit_request(group: &str, commit: OffsetInTransaction<'_>) -> TxnOffsetCommitRequest {
    let OffsetInTransaction {
        transactional_id, begun: Begun { producer, .. }, identity, topic, partition, offset, ..
    } = commit;
    let partition = TxnOffsetCommitRequestPartition::default()
        .with_partition_index(partition)
        .with_committed_offset(offset.offset.0)
        .with_committed_leader_epoch(offset.leader_epoch.unwrap_or(-1))
        .with_committed_metadata(Some(text(&offset.metadata)));
    let topic =
        TxnOffsetCommitRequestTopic::default().with_name(TopicName(text(topic))).with_partitions(vec![partition]);
    let request = TxnOffsetCommitRequest::default()
        .with_transactional_id(TransactionalId(text(transactional_id)))
        .with_group_id(GroupId(text(group)))
        .with_producer_id(Id(producer.id))
        .with_producer_epoch(producer.epoch)
        .with_topics(vec![topic]);
    let Some(identity) = identity else { return request };
    request
        .with_member_id(text(&identity.member_id))
        .with_generation_id(identity.generation_or_epoch)
        .with_group_instance_id(identity.instance_id.as_deref().map(text))
}

fn code(code: i16) -> Result<(), Cause> {
    ResponseError::try_from_code(code).map_or(Ok(()), |code| Err(Cause::Code(code)))
}

/// Of an id that is none, nothing can be written.
pub(super) fn initialized(response: &InitProducerIdResponse) -> Result<(), Cause> {
    code(response.error_code)?;
    let (id, epoch) = (response.producer_id.0, response.producer_epoch);
    if id < 0 || epoch < 0 {
        return Err(Cause::Undecodable(format!("{id} in epoch {epoch} is no producer id")));
    }
    Ok(())
}

/// As whom the next transaction is written. In version 2 that is another than this one: numbers begin
/// again with it, and under the same the brokers would take the next batches for these.
fn next(response: &EndTxnResponse, begun: Begun) -> Result<Begun, Cause> {
    code(response.error_code)?;
    if begun.version == TransactionVersion::V1 {
        return Ok(begun);
    }
    let Begun { producer: before, .. } = begun;
    let producer = ProducerId { id: response.producer_id.0, epoch: response.producer_epoch };
    if producer.id < 0 || producer.epoch < 0 || (producer.id == before.id && producer.epoch <= before.epoch) {
        let (id, epoch) = (producer.id, producer.epoch);
        return Err(Cause::Undecodable(format!(
            "{id} in epoch {epoch} can't be who comes after {} in epoch {}",
            before.id, before.epoch
        )));
    }
    Ok(Begun { producer, ..begun })
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

fn committed(response: &TxnOffsetCommitResponse, commit: OffsetInTransaction<'_>) -> Result<(), Cause> {
    let OffsetInTransaction { topic, partition, .. } = commit;
    let found = response.topics.iter().filter(|found| found.name.as_str() == topic);
    let found = found.flat_map(|found| &found.partitions).find(|found| found.partition_index == partition);
    code(found.ok_or_else(|| not_told(topic, partition))?.error_code)
}

/// Of what is asked for, every broker says something: silence is no consent.
fn not_told(topic: &str, partition: i32) -> Cause {
    Cause::Undecodable(format!("it does not tell of partition {partition} of {topic}"))
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::add_partitions_to_txn_response::{
        AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
    };
    use kafka_protocol::messages::txn_offset_commit_response::{
        TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
    };
    use kafka_protocol::protocol::Encodable;

    use super::*;
    use kafka_records::record::Offset;

    const PRODUCER: ProducerId = ProducerId { id: 7, epoch: 3 };

    fn id() -> TransactionalId {
        TransactionalId(text("id"))
    }

    fn partitions() -> TopicPartitions {
        BTreeMap::from([("t".to_owned(), BTreeSet::from([0, 1])), ("u".to_owned(), BTreeSet::from([5]))])
    }

    /// The encoder refuses fields that a version lacks.
    #[test]
    fn every_request_is_written_in_every_version_that_may_be_chosen() {
        let (member_id, instance_id) = ("m".to_owned(), Some("i".to_owned()));
        let member = Identity { member_id, generation_or_epoch: 3, instance_id };
        let offset = GroupOffset { offset: Offset(7), leader_epoch: Some(2), metadata: "note".to_owned() };
        let permit = crate::permit::unlimited();
        for identity in [None, Some(&member)] {
            let commit = OffsetInTransaction {
                transactional_id: "id",
                begun: Begun { producer: PRODUCER, version: TransactionVersion::V1 },
                identity,
                topic: "t",
                partition: 0,
                offset: &offset,
                permit: &*permit,
            };
            let request = commit_request("g", commit);
            assert_eq!(request.generation_id, if identity.is_some() { 3 } else { -1 });
            for version in 3..=5 {
                request.encode(&mut BytesMut::new(), version).unwrap();
            }
        }
        for version in 0..=5 {
            end_request(id(), PRODUCER).encode(&mut BytesMut::new(), version).unwrap();
        }
        for version in 0..=3 {
            add_partitions_request(id(), PRODUCER, &partitions()).encode(&mut BytesMut::new(), version).unwrap();
        }
        for version in 0..=4 {
            for before in [None, Some(PRODUCER)].into_iter().filter(|before| before.is_none() || version >= CARRIES_ID)
            {
                init_request(id(), Duration::from_secs(60), before).encode(&mut BytesMut::new(), version).unwrap();
            }
        }
    }

    #[test]
    fn an_id_that_is_none_is_not_written_under() {
        let told = |id: i64, epoch| {
            initialized(&InitProducerIdResponse::default().with_producer_id(Id(id)).with_producer_epoch(epoch))
        };
        told(0, 0).unwrap();
        assert!(matches!(told(-1, 0), Err(Cause::Undecodable(_))));
        assert!(matches!(told(3, -1), Err(Cause::Undecodable(_))));
    }

    #[test]
    fn whoever_writes_next_is_another_in_version_2() {
        let told = |version, id: i64, epoch| {
            let response = EndTxnResponse::default().with_producer_id(Id(id)).with_producer_epoch(epoch);
            next(&response, Begun { producer: PRODUCER, version }).map(|begun| begun.producer)
        };
        assert_eq!(told(TransactionVersion::V1, -1, -1).unwrap(), PRODUCER, "nobody is named");
        for (id, epoch) in [(7, 4), (7, 9), (8, 0)] {
            assert_eq!(told(TransactionVersion::V2, id, epoch).unwrap(), ProducerId { id, epoch });
        }
        for (id, epoch) in [(7, 3), (7, 2), (-1, -1), (8, -1)] {
            let refused = told(TransactionVersion::V2, id, epoch);
            assert!(matches!(refused, Err(Cause::Undecodable(_))), "{refused:?}");
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

    #[test]
    fn an_offset_that_an_answer_leaves_out_is_not_taken_for_committed() {
        let offset = GroupOffset { offset: Offset(7), leader_epoch: None, metadata: String::new() };
        let permit = crate::permit::unlimited();
        let commit = |partition| OffsetInTransaction {
            transactional_id: "id",
            begun: Begun { producer: PRODUCER, version: TransactionVersion::V2 },
            identity: None,
            topic: "t",
            partition,
            offset: &offset,
            permit: &*permit,
        };
        let told = |code| {
            let partition = TxnOffsetCommitResponsePartition::default().with_partition_index(1).with_error_code(code);
            let topic = TxnOffsetCommitResponseTopic::default()
                .with_name(TopicName(text("t")))
                .with_partitions(vec![partition]);
            TxnOffsetCommitResponse::default().with_topics(vec![topic])
        };
        committed(&told(0), commit(1)).unwrap();
        assert!(matches!(committed(&told(25), commit(1)), Err(Cause::Code(ResponseError::UnknownMemberId))));
        assert!(matches!(committed(&told(0), commit(0)), Err(Cause::Undecodable(_))));
    }
}
