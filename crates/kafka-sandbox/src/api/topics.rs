//! `CreateTopics` and `DeleteTopics`; any node does both, as any node of a KRaft cluster does.

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse};

use crate::cluster::{Cluster, Shared, TopicConfig};
use crate::error_codes;
use crate::fault::Plan;

/// Makes topics. Of their settings those are heeded that a [`TopicConfig`] has.
pub(super) fn create(shared: &Shared, plan: &Plan, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let mut cluster = shared.lock();
    let only_check = request.validate_only;
    let topics = request.topics.into_iter().map(|wanted| {
        let config = topic_config(&cluster, &wanted);
        let made = match plan.topic_error(&wanted.name) {
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
    shared.ring();
    CreateTopicsResponse::default().with_topics(topics).with_throttle_time_ms(plan.throttle_ms)
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

/// Deletes topics and all that is in them.
pub(super) fn delete(shared: &Shared, plan: &Plan, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let mut cluster = shared.lock();
    let responses = request.topic_names.into_iter().map(|name| {
        let code = match plan.topic_error(&name) {
            Some(code) => code,
            None => cluster.delete_topic(&name).err().unwrap_or(error_codes::NONE),
        };
        DeletableTopicResult::default().with_name(Some(name)).with_error_code(code)
    });
    let responses = responses.collect();
    drop(cluster);
    shared.ring();
    DeleteTopicsResponse::default().with_responses(responses).with_throttle_time_ms(plan.throttle_ms)
}
