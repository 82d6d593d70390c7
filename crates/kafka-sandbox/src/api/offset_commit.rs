//! `OffsetCommit`: stores a group's offsets.

use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestPartition;
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};

use super::call::{Answer, Call, Serve, partitions};
use super::members::claim;
use crate::cluster::Cluster;
use crate::error_codes;
use crate::fault::Target;
use crate::group::CommittedOffset;
use crate::group::member::Claim;
use crate::schema::Field;

impl Serve for OffsetCommitRequest {
    const SERVED: (i16, i16) = (2, 9);

    fn schema(version: i16) -> &'static [Field] {
        use Field::{Fixed, Structs, Text};
        /// Of a partition: its index and offset; then the leader epoch, too.
        const PLAIN: Field = Structs(&[Text, Structs(&[Fixed(4 + 8), Text])]);
        const WITH_EPOCH: Field = Structs(&[Text, Structs(&[Fixed(4 + 8 + 4), Text])]);
        match version {
            ..=4 => &[Text, Fixed(4), Text, Fixed(8), PLAIN],
            5 => &[Text, Fixed(4), Text, PLAIN],
            6 => &[Text, Fixed(4), Text, WITH_EPOCH],
            _ => &[Text, Fixed(4), Text, Text, WITH_EPOCH],
        }
    }

    fn targets(&self, _: i16, _: &Cluster) -> Vec<Target> {
        let topics = self.topics.iter();
        let named = partitions(topics.map(|t| (&*t.name, t.partitions.iter().map(|p| p.partition_index))));
        named.into_iter().map(|target| target.of(&self.group_id)).collect()
    }

    /// Stores offsets of topics that exist, if the group takes them from whoever commits.
    fn answer(self, call: Call<'_>) -> Answer<'_> {
        let mut cluster = call.shared.lock();
        let group = self.group_id.as_str();
        let claim = claim(&self.member_id, self.group_instance_id.as_ref(), self.generation_id_or_member_epoch);
        let mut allowed = None;
        let mut store = |topic: &str, committed: &OffsetCommitRequestPartition| {
            let index = committed.partition_index;
            if let Some(code) = call.plan.partition_error(topic, index) {
                return Err(code);
            }
            // Asked once, and only where something is to be done: it counts as a heartbeat.
            (*allowed.get_or_insert_with(|| may_commit(&mut cluster, call.node, group, &claim)))?;
            cluster.partition(topic, index)?;
            let metadata = committed.committed_metadata.as_ref().map_or_else(String::new, ToString::to_string);
            let committed = CommittedOffset {
                offset: committed.committed_offset,
                leader_epoch: committed.committed_leader_epoch,
                metadata,
            };
            cluster.groups.with(group, |entry, _| entry.offsets.commit(topic, index, committed))
        };
        let topics = self.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|committed| {
                let code = store(&topic.name, committed).err().unwrap_or(error_codes::NONE);
                OffsetCommitResponsePartition::default()
                    .with_partition_index(committed.partition_index)
                    .with_error_code(code)
            });
            let partitions = partitions.collect();
            OffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions)
        });
        OffsetCommitResponse::default()
            .with_topics(topics.collect())
            .with_throttle_time_ms(call.plan.throttle_ms)
            .into()
    }
}

fn may_commit(cluster: &mut Cluster, node: i32, group: &str, claim: &Claim) -> Result<(), i16> {
    cluster.coordinates(node, group)?;
    if claim.generation >= 0 && cluster.groups.find(group).is_none() {
        return Err(error_codes::ILLEGAL_GENERATION);
    }
    cluster.groups.with(group, |entry, now| entry.handle_commit(claim, now))
}
