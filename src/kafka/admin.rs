//! Topics: which are there, which are missing, what this client may do with them.

use std::sync::Arc;

use kafka_client::{Cluster, NewTopic, Shortfall, Topic};
use kafka_protocol::ResponseError;
use tracing::{info, warn};

use super::Error;

/// Asks about topics and creates them.
#[derive(Debug)]
pub struct Admin {
    cluster: Arc<Cluster>,
}

impl Admin {
    /// Asks through this cluster.
    pub fn new(cluster: Arc<Cluster>) -> Self {
        Self { cluster }
    }

    /// Asks the cluster about one topic.
    ///
    /// # Errors
    /// Where no broker answers, or the topic is not there or not for us.
    pub async fn topic(&self, name: &str) -> Result<Topic, Error> {
        let found = self.cluster.topics(&[name]).await?.remove(name);
        let unknown = || Error::code("look up topic", name, ResponseError::UnknownTopicOrPartition);
        Ok(found.ok_or_else(unknown)??)
    }

    /// Makes sure that a topic is there, with the given partitions and replicas where it is not;
    /// -1 leaves a number to the broker.
    ///
    /// # Errors
    /// Where no broker answers, or it refuses.
    pub async fn ensure_topic(&self, name: &str, partitions: i32, replication: i16) -> Result<(), Error> {
        match self.topic(name).await {
            Err(error) if error.is(ResponseError::UnknownTopicOrPartition) => {}
            found => return found.map(drop),
        }
        match self.cluster.create_topic(&NewTopic { name, partitions, replication, settings: &[] }).await {
            Ok(created) => {
                let partition_count = created.partitions.unwrap_or(partitions);
                let replication = created.replication.unwrap_or(replication);
                info!(topic = name, partition_count, replication, "topic created");
                if let Some(Shortfall { why, .. }) = created.shortfall {
                    warn!(topic = name, "topic created, but {why}");
                }
                Ok(())
            }
            Err(error) if error.is(ResponseError::TopicAlreadyExists) => Ok(()), // another instance was faster
            Err(error) => Err(error.into()),
        }
    }
}
