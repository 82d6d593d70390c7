//! `TxnOffsetCommit`: sets a group's offset as part of a transaction. Before version 3 no member can be named; version 5 is of
//! transactions of version 2.

use std::sync::Arc;

use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    GroupId, ProducerId as Id, TopicName, TransactionalId, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};

use super::offset_fetch::Open;
use crate::group_offset::{GroupOffset, Identity};
use crate::response_schema::{PARTITION_ERRORS, THROTTLE};
use crate::text::text;
use crate::transactions::{Begun, code, not_told};
use crate::versions::Api;
use crate::{Cause, Connection, Coordinator, Error, Permit};

/// The API, as it is spoken here.
pub(crate) const API: Api =
    Api::of::<TxnOffsetCommitRequest>(3, 3, &[THROTTLE, PARTITION_ERRORS]).with_transaction_v2(5);

const DOING: &str = "commit offsets within the transaction of";

/// Offsets of one partition for one group, as part of a transaction.
#[derive(Debug, Clone, Copy)]
pub struct OffsetInTransaction<'a> {
    /// The transactional id.
    pub transactional_id: &'a str,
    /// The producer id that the transactions' coordinator gave it.
    pub begun: Begun,
    /// The member of the group that commits; nobody where `None`.
    pub identity: Option<&'a Identity>,
    /// The topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: i32,
    /// The offset up to which it is done.
    pub offset: &'a GroupOffset,
    /// Permission to write for the partition.
    pub permit: &'a dyn Permit,
}

impl Coordinator {
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
        self.ask_on(connection, DOING, &request, commit.begun.version, commit.permit, told).await.map(drop)
    }
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

fn committed(response: &TxnOffsetCommitResponse, commit: OffsetInTransaction<'_>) -> Result<(), Cause> {
    let OffsetInTransaction { topic, partition, .. } = commit;
    let found = response.topics.iter().filter(|found| found.name.as_str() == topic);
    let found = found.flat_map(|found| &found.partitions).find(|found| found.partition_index == partition);
    code(found.ok_or_else(|| not_told(topic, partition))?.error_code)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::ResponseError;
    use kafka_protocol::messages::txn_offset_commit_response::{
        TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
    };
    use kafka_protocol::protocol::Encodable;
    use kafka_records::batch::ProducerId;
    use kafka_records::record::Offset;

    use super::*;
    use crate::TransactionVersion;

    const PRODUCER: ProducerId = ProducerId { id: 7, epoch: 3 };

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
            for version in (API.versions.min..=API.versions.max).chain(API.in_transaction_v2) {
                request.encode(&mut BytesMut::new(), version).unwrap();
            }
        }
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
