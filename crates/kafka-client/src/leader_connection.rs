//! A connection to one partition's leader that carries that partition's fetches and nothing else. A
//! broker answers the requests of a connection one after another: a fetch that waits for records
//! must hold up no produce, and no other partition's fetch.
//!
//! ```text
//! opened: the leader and its epoch ─► does its log hold what was read? ─► fetches in that epoch ─┐
//!   ▲                                                                                            │
//!   └──────────────── the connection is lost, or another leads, or in another epoch ◄────────────┘
//! ```
//! A log can be truncated only where the leader changes, and no fetch of an earlier epoch is
//! answered after that: what is asked once, when it is opened, holds for as long as it is open.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_records::record::Position;
use tokio::time::Instant;

use crate::admission::{Admission, Opened, Reserve};
use crate::api::fetch::{self, Ask, Fetched};
use crate::api::offset_for_leader_epoch;
use crate::{Cause, Cluster, Connection, Error};

/// For so long whoever leads in an earlier epoch than the position's is taken for one that has been deposed and does not
/// know: longer than a broker is without its session before others see it gone (9 s, 18 s with ZooKeeper) and have told
/// each other. Beyond that, the position is taken for another log's: of a topic that was made anew, say, where topics have
/// no ids. A time, since how often it is tried meanwhile is the caller's to choose.
const DOUBTED_FOR: Duration = Duration::from_secs(30);

/// A connection to one partition's leader, see the module. Connected when first used, and anew whenever that is of use.
#[derive(Debug)]
pub struct LeaderConnection {
    cluster: Arc<Cluster>,
    admission: Arc<Admission>,
    leader: Option<Leader>,
    /// Since when each leader was doubted, see [`DOUBTED_FOR`].
    doubted_since: Option<Instant>,
}

#[derive(Debug)]
struct Leader {
    connection: Connection,
    epoch: Option<i32>,
}

impl LeaderConnection {
    /// Connects to nothing yet. An answer that is larger than was asked for waits for memory of the
    /// reserve.
    pub fn new(cluster: Arc<Cluster>, reserve: Reserve) -> Self {
        Self { cluster, admission: Arc::new(Admission::new(reserve)), leader: None, doubted_since: None }
    }

    /// Returns whether the next fetch goes over the connection that is there.
    pub fn is_open(&self) -> bool {
        self.leader.as_ref().is_some_and(|leader| leader.connection.takes_request())
    }

    /// Connects to the leader of a partition, and makes sure that its log holds what was read up to
    /// `position`.
    ///
    /// # Errors
    /// Where there is no leader, or it can't be reached, or does not tell; [`Cause::Truncated`] where
    /// its log is another. UNKNOWN_LEADER_EPOCH where what was read is of a later leader: epochs only grow, so this
    /// one has been deposed, and what its log lacks is not gone. Kafka's client goes by no older epoch either.
    pub async fn open(&mut self, topic: &str, partition: i32, position: Position) -> Result<(), Error> {
        self.leader = None;
        let (connection, epoch) = self.cluster.open_leader(topic, partition, &self.admission).await?;
        let is_deposed = position.leader_epoch.zip(epoch).is_some_and(|(read, leads)| read > leads);
        self.doubted_since = is_deposed.then(|| self.doubted_since.unwrap_or_else(Instant::now));
        if self.doubted_since.is_some_and(|since| since.elapsed() < DOUBTED_FOR) {
            self.cluster.forget_leader(topic, partition);
            let on = format!("{topic}/{partition}");
            return Err(Error::code(offset_for_leader_epoch::DOING, on, ResponseError::UnknownLeaderEpoch));
        }
        let validated = offset_for_leader_epoch::validate(&connection, epoch, (topic, partition), position).await;
        if validated.as_ref().is_err_and(has_moved) {
            self.cluster.forget_leader(topic, partition);
        }
        validated?;
        self.leader = Some(Leader { connection, epoch });
        Ok(())
    }

    /// Has no answer wait for memory as long as what is returned lives: for who holds one while it asks for others, which
    /// [`Reserve::survey`] lets one partition do at a time.
    pub fn admit_all(&self) -> Opened {
        self.admission.open()
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
        self.admission.set_share(usize::try_from(ask.max_bytes).unwrap_or(0));
        let fetched = fetch::fetch(&leader.connection, leader.epoch, ask).await;
        if let Err(error) = &fetched
            && (error.breaks_connection() || has_moved(error))
        {
            self.leader = None;
            self.cluster.forget_leader(ask.topic, ask.partition);
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
