//! `Metadata`: topics, who leads their partitions, and where brokers listen. [`Cluster`](crate::Cluster) asks.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{MetadataRequest, TopicName};
use kafka_records::schema::Field::{self, Fixed, Since, Structs, Text, Until};
use kafka_records::topic::TopicId;

use crate::address::address;
use crate::response_schema::{ERROR, INTS, THROTTLE, UUID};
use crate::text::text;
use crate::versions::Api;
use crate::{Cause, Error};

/// The API, as it is spoken here.
pub(crate) const API: Api = Api::of::<MetadataRequest>(1, 12, RESPONSE);

const RESPONSE: &[Field] = &[
    Since(3, &THROTTLE),
    Structs(&[Fixed(4), Text, Fixed(4), Text]), // brokers
    Since(2, &Text),
    Fixed(4), // controller
    Structs(&[
        ERROR,
        Text,
        Since(10, &UUID),
        Fixed(1),
        Structs(&[ERROR, Fixed(4 + 4), Since(7, &Fixed(4)), INTS, INTS, Since(5, &INTS)]),
        Since(8, &Fixed(4)),
    ]),
    Since(8, &Until(10, &Fixed(4))),
];

/// A topic as the cluster describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its id, where the broker tells one.
    pub id: Option<TopicId>,
    /// Its partitions, sorted.
    pub partitions: Vec<Partition>,
    /// The operations that this client may do with it, as KIP-430's bit field; `None` where the broker does not
    /// say.
    pub authorized_operations: Option<i32>,
    /// The least number of replicas that one of its partitions has.
    pub replicas: i32,
}

impl Topic {
    /// The number of its partitions.
    pub fn partition_count(&self) -> i32 {
        i32::try_from(self.partitions.len()).unwrap_or(i32::MAX)
    }
}

/// A partition as the cluster describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number.
    pub index: i32,
    /// The node that leads it; `None` during an election.
    pub leader: Option<i32>,
    /// Its leader epoch: how often it has been led anew (KIP-320), where the broker tells.
    pub leader_epoch: Option<i32>,
}

/// Builds a request about these topics, none of which it creates.
pub(crate) fn request(names: &[&str]) -> MetadataRequest {
    MetadataRequest::default()
        .with_topics(Some(names.iter().map(|name| topic(name)).collect()))
        .with_allow_auto_topic_creation(false)
}

fn topic(name: &str) -> MetadataRequestTopic {
    MetadataRequestTopic::default().with_name(Some(TopicName(text(name))))
}

/// A broker's node, and where it listens or what is wrong with what was told.
pub(crate) fn node(broker: &MetadataResponseBroker) -> (i32, Result<String, String>) {
    (broker.node_id.0, address(&broker.host, broker.port))
}

/// The epoch in which a partition is led, where the broker tells.
pub(crate) fn epoch(partition: &MetadataResponsePartition) -> Option<i32> {
    Some(partition.leader_epoch).filter(|epoch| *epoch >= 0)
}

/// A topic as a response describes it, by its name.
pub(crate) fn described(topic: &MetadataResponseTopic) -> Option<(String, Result<Topic, Error>)> {
    let name = topic.name.as_ref()?.0.to_string();
    if let Some(code) = ResponseError::try_from_code(topic.error_code) {
        let error = Error::code("look up topic", name.clone(), code);
        return Some((name, Err(error)));
    }
    let mut partitions: Vec<_> = topic
        .partitions
        .iter()
        .map(|partition| Partition {
            index: partition.partition_index,
            leader: Some(partition.leader_id.0).filter(|leader| *leader >= 0),
            leader_epoch: epoch(partition),
        })
        .collect();
    partitions.sort_by_key(|partition| partition.index);
    // How many there are decides where records go, and what is assigned.
    if partitions.is_empty() || partitions.iter().zip(0..).any(|(partition, index)| partition.index != index) {
        let cause = Cause::Undecodable("its partitions are not numbered 0, 1, 2 and so on".to_owned());
        return Some((name.clone(), Err(Error { doing: "look up topic", on: name, cause })));
    }
    let id = Some(TopicId(*topic.topic_id.as_bytes())).filter(|id| id.0 != [0; 16]);
    let authorized_operations = Some(topic.topic_authorized_operations).filter(|bits| *bits != i32::MIN);
    let replicas = topic.partitions.iter().map(|partition| partition.replica_nodes.len()).min().unwrap_or_default();
    let replicas = i32::try_from(replicas).unwrap_or(i32::MAX);
    Some((name, Ok(Topic { id, partitions, authorized_operations, replicas })))
}
