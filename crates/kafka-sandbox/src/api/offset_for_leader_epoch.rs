//! `OffsetForLeaderEpoch`: where logs end for leader epochs.

use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use super::call::{Answer, Call, Serve, partitions};
use crate::cluster::Cluster;
use crate::fault::Target;
use crate::schema::Field;

impl Serve for OffsetForLeaderEpochRequest {
    const SERVED: (i16, i16) = (3, 4);

    fn schema(_: i16) -> &'static [Field] {
        use Field::{Fixed, Structs, Text};
        &[Fixed(4), Structs(&[Text, Structs(&[Fixed(4 + 4 + 4)])])]
    }

    fn targets(&self, _: i16, _: &Cluster) -> Vec<Target> {
        let topics = self.topics.iter();
        partitions(topics.map(|t| (&*t.topic, t.partitions.iter().map(|p| p.partition))))
    }

    fn answer(self, call: Call<'_>) -> Answer<'_> {
        let mut cluster = call.shared.lock();
        let mut look = |topic: &str, partition: i32, current: i32, epoch: i32| {
            if let Some(code) = call.plan.partition_error(topic, partition) {
                return Err(code);
            }
            let partition = cluster.led_by(call.node, topic, partition)?;
            partition.check_epoch(current)?;
            Ok(partition.epoch_end(epoch))
        };
        let topics = self.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|wanted| {
                let end = EpochEndOffset::default().with_partition(wanted.partition);
                match look(&topic.topic, wanted.partition, wanted.current_leader_epoch, wanted.leader_epoch) {
                    Ok((epoch, offset)) => end.with_leader_epoch(epoch).with_end_offset(offset),
                    Err(code) => end.with_error_code(code),
                }
            });
            let partitions = partitions.collect();
            OffsetForLeaderTopicResult::default().with_topic(topic.topic).with_partitions(partitions)
        });
        OffsetForLeaderEpochResponse::default()
            .with_topics(topics.collect())
            .with_throttle_time_ms(call.plan.throttle_ms)
            .into()
    }
}
