//! `DeleteRecords`: moves the start of logs.

use kafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use super::call::{Answer, Call, Serve, partitions};
use crate::cluster::Cluster;
use crate::error_codes;
use crate::fault::Target;
use crate::schema::Field;

impl Serve for DeleteRecordsRequest {
    const SERVED: (i16, i16) = (0, 2);

    fn schema(_: i16) -> &'static [Field] {
        use Field::{Fixed, Structs, Text};
        &[Structs(&[Text, Structs(&[Fixed(4 + 8)])]), Fixed(4)]
    }

    fn targets(&self, _: i16, _: &Cluster) -> Vec<Target> {
        let topics = self.topics.iter();
        partitions(topics.map(|t| (&*t.name, t.partitions.iter().map(|p| p.partition_index))))
    }

    fn answer(self, call: Call<'_>) -> Answer<'_> {
        let mut cluster = call.shared.lock();
        let mut delete = |topic: &str, partition: i32, offset: i64| {
            if let Some(code) = call.plan.partition_error(topic, partition) {
                return Err(code);
            }
            let partition = cluster.led_by(call.node, topic, partition)?;
            let deleted = partition.log.delete_before(offset);
            deleted.map_err(|_| error_codes::OFFSET_OUT_OF_RANGE)
        };
        let topics = self.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|wanted| {
                let index = wanted.partition_index;
                let result = DeleteRecordsPartitionResult::default().with_partition_index(index);
                match delete(&topic.name, index, wanted.offset) {
                    Ok(low_watermark) => result.with_low_watermark(low_watermark),
                    Err(code) => result.with_low_watermark(-1).with_error_code(code),
                }
            });
            let partitions = partitions.collect();
            DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(partitions)
        });
        let topics = topics.collect();
        drop(cluster);
        call.shared.ring();
        DeleteRecordsResponse::default().with_topics(topics).with_throttle_time_ms(call.plan.throttle_ms).into()
    }
}
