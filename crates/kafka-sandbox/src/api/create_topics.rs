//! `CreateTopics`: makes topics; any node does, as any node of a KRaft cluster.

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};

use super::call::{Answer, Call, Serve};
use crate::cluster::Cluster;
use crate::error_codes;
use crate::fault::Target;
use crate::schema::Field;
use crate::topic_config::TopicConfig;

impl Serve for CreateTopicsRequest {
    const SERVED: (i16, i16) = (2, 5);

    fn schema(_: i16) -> &'static [Field] {
        use Field::{Fixed, Structs, Text, Values};
        &[Structs(&[Text, Fixed(4 + 2), Structs(&[Fixed(4), Values(&Fixed(4))]), Structs(&[Text, Text])]), Fixed(4 + 1)]
    }

    fn targets(&self, _: i16, _: &Cluster) -> Vec<Target> {
        self.topics.iter().map(|topic| Target::topic(&topic.name)).collect()
    }

    /// Of topics' settings those are heeded that a [`TopicConfig`] has.
    fn answer(self, call: Call<'_>) -> Answer<'_> {
        let mut cluster = call.shared.lock();
        let only_check = self.validate_only;
        let topics = self.topics.into_iter().map(|wanted| {
            let config = topic_config(&cluster, &wanted);
            let made = match call.plan.topic_error(&wanted.name) {
                Some(code) => Err(code),
                None => create_one(&mut cluster, &wanted, config.clone(), only_check),
            };
            CreatableTopicResult::default()
                .with_name(wanted.name)
                .with_error_code(made.err().unwrap_or(error_codes::NONE))
                .with_num_partitions(config.partitions)
                .with_replication_factor(1)
        });
        let topics = topics.collect();
        drop(cluster);
        call.shared.ring();
        CreateTopicsResponse::default().with_topics(topics).with_throttle_time_ms(call.plan.throttle_ms).into()
    }
}

fn create_one(
    cluster: &mut Cluster,
    wanted: &CreatableTopic,
    config: TopicConfig,
    only_check: bool,
) -> Result<(), i16> {
    let replicas = usize::try_from(wanted.replication_factor);
    let default_replicas = wanted.replication_factor == -1;
    if !default_replicas && !replicas.is_ok_and(|n| (1..=cluster.nodes.len()).contains(&n)) {
        return Err(error_codes::INVALID_REPLICATION_FACTOR);
    }
    if only_check {
        return cluster.check_topic(&wanted.name, config.partitions);
    }
    cluster.create_topic(&wanted.name, config)
}

/// -1 partitions are the default, which is 1; or as many as are assigned by hand.
fn topic_config(cluster: &Cluster, wanted: &CreatableTopic) -> TopicConfig {
    let assigned = i32::try_from(wanted.assignments.len()).unwrap_or(i32::MAX);
    let partitions = match (wanted.num_partitions, assigned) {
        (-1, 0) => 1,
        (-1, assigned) => assigned,
        (partitions, _) => partitions,
    };
    let text = |name: &str| {
        let found = wanted.configs.iter().find(|config| &*config.name == name)?;
        found.value.as_deref()
    };
    let setting = |name: &str| text(name)?.parse::<usize>().ok();
    let limit = |name: &str| text(name)?.parse::<i64>().ok();
    let mut config = cluster.default_topic(partitions);
    config.max_message_bytes = setting("max.message.bytes").unwrap_or(config.max_message_bytes);
    config.retention_bytes = setting("retention.bytes").or(config.retention_bytes);
    config.segment_bytes = setting("segment.bytes").or(config.segment_bytes);
    config.compacted = text("cleanup.policy").is_some_and(|policy| policy.contains("compact"));
    config.timestamp_before_max_ms = limit("message.timestamp.before.max.ms");
    config.timestamp_after_max_ms = limit("message.timestamp.after.max.ms").or(config.timestamp_after_max_ms);
    config.min_insync_replicas = setting("min.insync.replicas").unwrap_or(config.min_insync_replicas);
    config
}
