//! Topics: which are there, which are missing, what this client may do with them.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use tracing::info;

use super::client::{Clients, within};
use super::wire::{Cluster, Topic};
use super::{Cause, Error};

/// How long a broker may take to create a topic.
const CREATE_TIMEOUT_MS: i32 = 15_000;

/// Asks about topics and creates them.
#[derive(Debug)]
pub struct Admin {
    clients: Arc<Clients>,
    cluster: Arc<Cluster>,
    request_timeout: Duration,
}

impl Admin {
    /// Asks through these.
    pub fn new(clients: Arc<Clients>, cluster: Arc<Cluster>, request_timeout: Duration) -> Self {
        Self { clients, cluster, request_timeout }
    }

    /// What the cluster says of one topic.
    ///
    /// # Errors
    /// Where no broker answers, or the topic is not there or not for us.
    pub async fn topic(&self, name: &str) -> Result<Topic, Error> {
        let found = self.cluster.topics(&[name]).await?.remove(name);
        found.unwrap_or_else(|| Err(Error::code("look up topic", name, ResponseError::UnknownTopicOrPartition)))
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
        match self.create_topic(name, partitions, replication).await {
            Ok(()) => {
                info!(topic = name, partition_count = partitions, replication, "created");
                Ok(())
            }
            Err(error) if error.is(ResponseError::TopicAlreadyExists) => Ok(()), // another instance was faster
            Err(error) => Err(error),
        }
    }

    async fn create_topic(&self, name: &str, partitions: i32, replication: i16) -> Result<(), Error> {
        const DOING: &str = "create topic";
        let client = self.clients.client().await?;
        let controller = client.controller_client().map_err(|error| Error::from_rskafka(DOING, name, &error))?;
        let create = login_rskafka::create_topic(&controller, name, partitions, replication, CREATE_TIMEOUT_MS);
        let created = within(self.request_timeout, DOING, name, create).await;
        if created.as_ref().is_err_and(|error| matches!(error.cause, Cause::Timeout(_))) {
            self.clients.forget(&client).await;
        }
        created
    }
}
