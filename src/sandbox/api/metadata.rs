//! Metadata and `ApiVersions`.

use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{ApiVersionsResponse, BrokerId, MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::Api;
use crate::sandbox::HOST;
use crate::sandbox::cluster::{Cluster, Partition};
use crate::sandbox::codes;
use crate::sandbox::fault::Plan;

/// The topics that a request names; `None` is all of them, which version 0 says by naming none.
pub(super) fn wanted(version: i16, request: &MetadataRequest) -> Option<Vec<&str>> {
    let named = request.topics.as_ref()?;
    if version == 0 && named.is_empty() {
        return None;
    }
    let names = named.iter().filter_map(|topic| topic.name.as_ref());
    Some(names.map(|name| name.as_str()).collect())
}

/// The nodes that are up, and the topics that are wanted; none is made on the way.
pub(super) fn answer(cluster: &Cluster, version: i16, plan: &Plan, request: MetadataRequest) -> MetadataResponse {
    let up = cluster.nodes.iter().filter(|(_, node)| node.up);
    let brokers = up.map(|(id, node)| {
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(*id))
            .with_host(StrBytes::from_static_str(HOST))
            .with_port(i32::from(node.port))
    });
    let describe = |name: &str| topic(cluster, plan, name);
    let topics = match wanted(version, &request) {
        Some(names) => names.into_iter().map(describe).collect(),
        None => cluster.topics.keys().map(|name| describe(name)).collect(),
    };
    MetadataResponse::default()
        .with_throttle_time_ms(plan.throttle_ms)
        .with_brokers(brokers.collect())
        .with_cluster_id(Some(StrBytes::from_static_str("sandbox")))
        .with_controller_id(BrokerId(cluster.controller()))
        .with_topics(topics)
}

fn topic(cluster: &Cluster, plan: &Plan, name: &str) -> MetadataResponseTopic {
    let topic = MetadataResponseTopic::default().with_name(Some(TopicName(StrBytes::from_string(name.to_owned()))));
    if let Some(code) = plan.topic_error(name) {
        return topic.with_error_code(code);
    }
    match cluster.topics.get(name) {
        None => topic.with_error_code(codes::UNKNOWN_TOPIC_OR_PARTITION),
        Some(found) => {
            let partitions = (0i32..).zip(&found.partitions);
            let partitions = partitions.map(|(index, p)| partition(cluster, index, p));
            topic.with_partitions(partitions.collect())
        }
    }
}

fn partition(cluster: &Cluster, index: i32, partition: &Partition) -> MetadataResponsePartition {
    let replicas = vec![BrokerId(partition.leader)];
    let response = MetadataResponsePartition::default()
        .with_partition_index(index)
        .with_leader_epoch(partition.leader_epoch)
        .with_replica_nodes(replicas.clone());
    if cluster.is_up(partition.leader) {
        response.with_leader_id(BrokerId(partition.leader)).with_isr_nodes(replicas)
    } else {
        response.with_error_code(codes::LEADER_NOT_AVAILABLE).with_leader_id(BrokerId(-1))
    }
}

/// All that is answered here.
pub(super) fn versions(plan: &Plan) -> ApiVersionsResponse {
    ApiVersionsResponse::default()
        .with_error_code(plan.request_error().unwrap_or(codes::NONE))
        .with_throttle_time_ms(plan.throttle_ms)
        .with_api_keys(Api::ALL.into_iter().map(version_range).collect())
}

/// To a version that only the future knows: an answer of version 0 that names the versions of
/// `ApiVersions` itself, so that the client asks again (KIP-511).
pub(super) fn unsupported_versions() -> ApiVersionsResponse {
    ApiVersionsResponse::default()
        .with_error_code(codes::UNSUPPORTED_VERSION)
        .with_api_keys(vec![version_range(Api::ApiVersions)])
}

fn version_range(api: Api) -> ApiVersion {
    let (lowest, highest) = api.versions();
    ApiVersion::default().with_api_key(api.key() as i16).with_min_version(lowest).with_max_version(highest)
}
