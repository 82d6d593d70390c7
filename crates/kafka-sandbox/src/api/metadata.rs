//! `Metadata`: nodes, topics and leaders.

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::call::{Answer, Call, Serve};
use crate::HOST;
use crate::cluster::Cluster;
use crate::error_codes;
use crate::fault::{Plan, Target};
use crate::partition::Partition;
use crate::schema::Field;

impl Serve for MetadataRequest {
    const SERVED: (i16, i16) = (0, 12);

    fn schema(version: i16) -> &'static [Field] {
        use Field::{Fixed, Structs, Text};
        match version {
            ..=3 => &[Structs(&[Text])],
            4..=7 => &[Structs(&[Text]), Fixed(1)],
            8..=9 => &[Structs(&[Text]), Fixed(1 + 1 + 1)],
            10 => &[Structs(&[Fixed(16), Text]), Fixed(1 + 1 + 1)],
            _ => &[Structs(&[Fixed(16), Text]), Fixed(1 + 1)],
        }
    }

    fn targets(&self, version: i16, cluster: &Cluster) -> Vec<Target> {
        wanted(cluster, version, self).iter().filter_map(Wanted::name).map(Target::topic).collect()
    }

    /// The nodes that are up, and the topics that are wanted; none is made on the way.
    fn answer(self, call: Call<'_>) -> Answer<'_> {
        let cluster = call.shared.lock();
        let up = cluster.nodes.iter().filter(|(_, node)| node.up);
        let brokers = up.map(|(id, node)| {
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(*id))
                .with_host(StrBytes::from_static_str(HOST))
                .with_port(i32::from(node.port))
        });
        let topics = wanted(&cluster, call.version, &self).into_iter().map(|wanted| match wanted {
            Wanted::Named(name) => topic(&cluster, call.plan, &name),
            Wanted::UnknownId(id) => MetadataResponseTopic::default()
                .with_name((call.version < 12).then(TopicName::default))
                .with_topic_id(id)
                .with_error_code(error_codes::UNKNOWN_TOPIC_ID),
        });
        MetadataResponse::default()
            .with_throttle_time_ms(call.plan.throttle_ms)
            .with_brokers(brokers.collect())
            .with_cluster_id(Some(StrBytes::from_static_str("sandbox")))
            .with_controller_id(BrokerId(cluster.controller()))
            .with_topics(topics.collect())
            .into()
    }
}

/// A topic that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    Named(String),
    /// By an id that no topic has, or no longer.
    UnknownId(Uuid),
}

impl Wanted {
    fn name(&self) -> Option<&str> {
        match self {
            Self::Named(name) => Some(name),
            Self::UnknownId(_) => None,
        }
    }
}

/// The topics that a request asks for, all of them where it names none: in version 0 by an empty
/// list, later by null.
fn wanted(cluster: &Cluster, version: i16, request: &MetadataRequest) -> Vec<Wanted> {
    let named = request.topics.as_ref().filter(|named| version > 0 || !named.is_empty());
    let Some(named) = named else {
        return cluster.topics.keys().cloned().map(Wanted::Named).collect();
    };
    let wanted = |topic: &MetadataRequestTopic| match &topic.name {
        Some(name) => Wanted::Named(name.to_string()),
        None => {
            let found = cluster.topics.iter().find(|(_, found)| found.id == topic.topic_id);
            found.map_or(Wanted::UnknownId(topic.topic_id), |(name, _)| Wanted::Named(name.clone()))
        }
    };
    named.iter().map(wanted).collect()
}

fn topic(cluster: &Cluster, plan: &Plan, name: &str) -> MetadataResponseTopic {
    let topic = MetadataResponseTopic::default().with_name(Some(TopicName(StrBytes::from_string(name.to_owned()))));
    if let Some(code) = plan.topic_error(name) {
        return topic.with_error_code(code);
    }
    match cluster.topics.get(name) {
        None => topic.with_error_code(error_codes::UNKNOWN_TOPIC_OR_PARTITION),
        Some(found) => {
            let partitions = (0i32..).zip(&found.partitions);
            let partitions = partitions.map(|(index, p)| partition(cluster, index, p));
            topic.with_topic_id(found.id).with_partitions(partitions.collect())
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
        response.with_error_code(error_codes::LEADER_NOT_AVAILABLE).with_leader_id(BrokerId(-1))
    }
}
