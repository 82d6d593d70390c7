//! A connection to one partition's leader that carries that partition's fetches and nothing else. A
//! broker answers the requests of a connection one after another: a fetch that waits for records
//! must hold up no produce, and no other partition's fetch.

use std::sync::Arc;

use kafka_protocol::ResponseError;

use super::fetch::{self, Ask, Fetched};
use super::{Cluster, Connection};
use crate::broker::{Cause, Error};

/// See the module. Connected when first used, and anew whenever that is of use.
#[derive(Debug)]
pub struct FetchLink {
    cluster: Arc<Cluster>,
    leader: Option<Leader>,
}

#[derive(Debug)]
struct Leader {
    connection: Connection,
    epoch: Option<i32>,
}

impl FetchLink {
    /// Connects to nothing yet.
    pub fn new(cluster: Arc<Cluster>) -> Self {
        Self { cluster, leader: None }
    }

    /// Whether the next fetch goes over the connection that is there.
    pub fn is_open(&self) -> bool {
        self.leader.as_ref().is_some_and(|leader| leader.connection.takes_request())
    }

    /// Connects to the leader of a partition.
    ///
    /// # Errors
    /// Where there is none, or it can't be reached.
    pub async fn open(&mut self, topic: &str, partition: i32) -> Result<(), Error> {
        self.leader = None;
        let (connection, epoch) = self.cluster.open_leader(topic, partition).await?;
        self.leader = Some(Leader { connection, epoch });
        Ok(())
    }

    /// Fetches from the leader of the partition that it was opened for.
    ///
    /// # Errors
    /// Whatever keeps the leader from answering, and every error code it gives. Where that says
    /// that another leads, the next fetch looks for that one.
    pub async fn fetch(&mut self, ask: &Ask<'_>) -> Result<Fetched, Error> {
        let Some(leader) = &self.leader else {
            return Err(Error::code("fetch from", ask.topic, ResponseError::LeaderNotAvailable));
        };
        let fetched = fetch::fetch(&leader.connection, leader.epoch, ask).await;
        if let Err(error) = &fetched
            && (error.breaks_connection() || has_moved(error))
        {
            self.leader = None;
            self.cluster.forget_leader(ask.topic, ask.partition).await;
        }
        fetched
    }
}

/// Whether a broker says that another leads, or that it does in another epoch than was told.
fn has_moved(error: &Error) -> bool {
    use ResponseError as Code;
    matches!(
        error.cause,
        Cause::Code(
            Code::NotLeaderOrFollower
                | Code::LeaderNotAvailable
                | Code::ReplicaNotAvailable
                | Code::UnknownTopicOrPartition
                | Code::FencedLeaderEpoch
                | Code::UnknownLeaderEpoch
                | Code::KafkaStorageError
        )
    )
}
