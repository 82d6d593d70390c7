//! `TxnOffsetCommit`: notes offsets of a group that count once a transaction is committed.

use kafka_protocol::messages::txn_offset_commit_request::TxnOffsetCommitRequestPartition;
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};
use kafka_records::batch::ProducerId;

use super::call::{Answer, Call, Serve, partitions};
use super::members::claim;
use crate::cluster::Cluster;
use crate::error_codes;
use crate::fault::Target;
use crate::group::CommittedOffset;
use crate::schema::Field;
use crate::txn::machine::{Participant, TransactionVersion};

/// The first version that is of a transaction of version 2.
const TRANSACTION_2: i16 = 5;

impl Serve for TxnOffsetCommitRequest {
    const SERVED: (i16, i16) = (0, TRANSACTION_2);

    fn schema(version: i16) -> &'static [Field] {
        use Field::{Fixed, Structs, Text};
        /// Of a partition: its index and offset; then the leader epoch, too.
        const PLAIN: Field = Structs(&[Text, Structs(&[Fixed(4 + 8), Text])]);
        const WITH_EPOCH: Field = Structs(&[Text, Structs(&[Fixed(4 + 8 + 4), Text])]);
        match version {
            ..=1 => &[Text, Text, Fixed(8 + 2), PLAIN],
            2 => &[Text, Text, Fixed(8 + 2), WITH_EPOCH],
            _ => &[Text, Text, Fixed(8 + 2), Fixed(4), Text, Text, WITH_EPOCH],
        }
    }

    fn targets(&self, _: i16, _: &Cluster) -> Vec<Target> {
        let topics = self.topics.iter();
        let named = partitions(topics.map(|t| (&*t.name, t.partitions.iter().map(|p| p.partition_index))));
        named.into_iter().map(|target| target.of(&self.group_id).within(&self.transactional_id)).collect()
    }

    fn answer(self, call: Call<'_>) -> Answer<'_> {
        let mut cluster = call.shared.lock();
        let mut allowed = None;
        let mut store = |topic: &str, committed: &TxnOffsetCommitRequestPartition| {
            let index = committed.partition_index;
            if let Some(code) = call.plan.partition_error(topic, index) {
                return Err(code);
            }
            cluster.partition(topic, index)?;
            // Asked once, and only where something is to be done.
            (*allowed.get_or_insert_with(|| may_commit(&mut cluster, &self, call)))?;
            let metadata = committed.committed_metadata.as_ref().map_or_else(String::new, ToString::to_string);
            let committed = CommittedOffset {
                offset: committed.committed_offset,
                leader_epoch: committed.committed_leader_epoch,
                metadata,
            };
            let (group, by) = (&self.group_id, producer(&self));
            cluster.groups.with(group, |entry, _| entry.offsets.commit_in_transaction(by, topic, index, committed))
        };
        let topics = self.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|committed| {
                let code = store(&topic.name, committed).err().unwrap_or(error_codes::NONE);
                TxnOffsetCommitResponsePartition::default()
                    .with_partition_index(committed.partition_index)
                    .with_error_code(code)
            });
            let partitions = partitions.collect();
            TxnOffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions)
        });
        TxnOffsetCommitResponse::default()
            .with_topics(topics.collect())
            .with_throttle_time_ms(call.plan.throttle_ms)
            .into()
    }
}

fn producer(request: &TxnOffsetCommitRequest) -> ProducerId {
    ProducerId { id: request.producer_id.0, epoch: request.producer_epoch }
}

/// Whether the offsets are part of the transaction, and the group takes them from whoever commits.
fn may_commit(cluster: &mut Cluster, request: &TxnOffsetCommitRequest, call: Call<'_>) -> Result<(), i16> {
    let (group, producer) = (request.group_id.as_str(), producer(request));
    cluster.coordinates(call.node, group)?;
    let is_open = cluster.groups.find(group).is_some_and(|entry| entry.offsets.has_open_transaction(producer));
    if !is_open {
        let version = if call.version >= TRANSACTION_2 { TransactionVersion::V2 } else { TransactionVersion::V1 };
        let participant = Participant::Offsets(group.to_owned());
        cluster.admit_to_transaction(&request.transactional_id, producer, participant, version)?;
    }
    if request.generation_id >= 0 && cluster.groups.find(group).is_none() {
        return Err(error_codes::ILLEGAL_GENERATION);
    }
    let claim = claim(&request.member_id, request.group_instance_id.as_ref(), request.generation_id);
    cluster.groups.with(group, |entry, _| entry.handle_transactional_commit(&claim))
}
