//! `ListOffsets`: the first and last offset, or that of a timestamp.

use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};

use super::call::{Answer, Call, READ_COMMITTED, Serve, partitions};
use crate::cluster::Cluster;
use crate::fault::Target;
use crate::log::PartitionLog;
use crate::schema::Field;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

impl Serve for ListOffsetsRequest {
    const SERVED: (i16, i16) = (1, 3);

    fn schema(version: i16) -> &'static [Field] {
        use Field::{Fixed, Structs, Text};
        match version {
            1 => &[Fixed(4), Structs(&[Text, Structs(&[Fixed(4 + 8)])])],
            _ => &[Fixed(4 + 1), Structs(&[Text, Structs(&[Fixed(4 + 8)])])],
        }
    }

    fn targets(&self, _: i16, _: &Cluster) -> Vec<Target> {
        let topics = self.topics.iter();
        partitions(topics.map(|t| (&*t.name, t.partitions.iter().map(|p| p.partition_index))))
    }

    fn answer(self, call: Call<'_>) -> Answer<'_> {
        let mut cluster = call.shared.lock();
        let committed = self.isolation_level == READ_COMMITTED;
        let mut look = |topic: &str, partition: i32, timestamp: i64| {
            if let Some(code) = call.plan.partition_error(topic, partition) {
                return Err(code);
            }
            let partition = cluster.led_by(call.node, topic, partition)?;
            Ok(offset_at(&partition.log, timestamp, committed))
        };
        let topics = self.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|wanted| {
                let index = wanted.partition_index;
                let response = ListOffsetsPartitionResponse::default().with_partition_index(index);
                match look(&topic.name, index, wanted.timestamp) {
                    Ok((offset, timestamp)) => response.with_offset(offset).with_timestamp(timestamp),
                    Err(code) => response.with_error_code(code),
                }
            });
            let partitions = partitions.collect();
            ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions)
        });
        ListOffsetsResponse::default().with_topics(topics.collect()).with_throttle_time_ms(call.plan.throttle_ms).into()
    }
}

fn offset_at(log: &PartitionLog, timestamp: i64, committed: bool) -> (i64, i64) {
    match timestamp {
        EARLIEST => (log.start(), -1),
        LATEST if committed => (log.last_stable(), -1),
        LATEST => (log.high_watermark(), -1),
        timestamp => log.first_since(timestamp).unwrap_or((-1, -1)),
    }
}
