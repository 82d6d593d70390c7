//! What the brokers say of the source topic: its id, its partitions, where their logs begin and end.

use std::collections::BTreeMap;

use kafka_client::{At, Cluster, Isolation};
use kafka_protocol::ResponseError;

use crate::config::Source;
use crate::kafka::Error;
use crate::record::Offset;
use crate::topic::TopicId;

/// The source topic.
#[derive(Debug, Clone, Default)]
pub(super) struct LogEnds {
    /// Its id, where the brokers tell one.
    pub topic_id: Option<TopicId>,
    /// Its partitions.
    pub partitions: BTreeMap<i32, Ends>,
}

/// One partition's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    /// The oldest record that is still kept.
    pub earliest: Offset,
    /// Behind the last record that readers are given.
    pub latest: Offset,
}

impl LogEnds {
    /// Asks for them, as the source's reader sees them: behind what that is not given nothing is stored.
    ///
    /// # Errors
    /// Where the brokers don't answer for every partition.
    pub(super) async fn ask(cluster: &Cluster, source: &Source) -> Result<Self, Error> {
        let topic = source.topic.as_str();
        let unknown = || Error::code("look up topic", topic, ResponseError::UnknownTopicOrPartition);
        let found = cluster.topics(&[topic]).await?.remove(topic).ok_or_else(unknown)??;
        let mut partitions = BTreeMap::new();
        for partition in found.partitions.iter().map(|partition| partition.index) {
            let earliest = offset_at(cluster, source, partition, At::Earliest).await?;
            let latest = offset_at(cluster, source, partition, At::Latest).await?;
            partitions.insert(partition, Ends { earliest, latest });
        }
        Ok(Self { topic_id: found.id, partitions })
    }
}

/// The offset of a place; the log's end where no record is of that time or later.
///
/// # Errors
/// Where the partition's leader does not answer.
pub(super) async fn offset_at(cluster: &Cluster, source: &Source, partition: i32, at: At) -> Result<Offset, Error> {
    let isolation = Isolation::from(source);
    if let Some(found) = cluster.offset_as(isolation, &source.topic, partition, at).await? {
        return Ok(found);
    }
    Ok(cluster.offset_as(isolation, &source.topic, partition, At::Latest).await?.unwrap_or_default())
}
