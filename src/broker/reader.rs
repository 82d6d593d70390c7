//! Reading one partition, in one of two ways (`source.reader`).
//!
//! ```text
//!                     ┌─ ByRskafka ── rskafka's client: owned records ─────────┐
//! PartitionReader ────┤      └─ what that can't decode ─┐                      ├─► SourceBatch
//!                     └─ ByWire ◄───────────────────────┘ one buffer, in place ┘
//! ```

mod batch;
mod by_rskafka;
mod by_wire;

use std::sync::Arc;
use std::time::Duration;

use rskafka::client::partition::OffsetAt;
use tokio::time::{Instant, sleep_until};

pub use batch::{Entry, SourceBatch};
use by_rskafka::ByRskafka;
use by_wire::ByWire;

use super::Error;
use super::client::Clients;
use super::wire::{At, Cluster};
use crate::config::{self, ReaderKind};
use crate::record::{Offset, Position, TopicId};

/// The least time between two fetches where the first brought nothing.
const LEAST_WAIT: Duration = Duration::from_millis(10);

/// Reads one partition. Each call is one attempt; whoever calls decides about the next.
#[derive(Debug)]
pub struct PartitionReader {
    wire: ByWire,
    /// Reads where it can, if it is to.
    rskafka: Option<ByRskafka>,
}

impl PartitionReader {
    /// Connects to nothing yet. With a `topic_id` it reads no topic of another id.
    pub fn new(
        topic_id: Option<TopicId>,
        partition: i32,
        clients: Arc<Clients>,
        cluster: Arc<Cluster>,
        kafka: &config::Kafka,
        source: &config::Source,
    ) -> Self {
        let rskafka = match source.reader {
            ReaderKind::Rskafka => Some(ByRskafka::new(partition, clients, kafka, source)),
            ReaderKind::Wire => None,
        };
        Self { wire: ByWire::new(topic_id, partition, cluster, kafka, source), rskafka }
    }

    /// The records from `position` on, about `max_bytes` of them; none after the broker has
    /// waited in vain.
    ///
    /// # Errors
    /// Whatever kept the leader from answering, every error code it gives, and bytes that are not
    /// even framed as batches. [`Cause::Truncated`](super::Cause::Truncated) where the leader's log is
    /// not the one that was read up to `position`, as far as that has an epoch.
    pub async fn fetch(&mut self, position: Position, max_bytes: i32) -> Result<SourceBatch, Error> {
        let begun = Instant::now();
        let fetched = match &mut self.rskafka {
            Some(rskafka) => rskafka.fetch(&mut self.wire, position, max_bytes).await,
            None => self.wire.fetch(position, max_bytes).await,
        };
        // A broker that has nothing waits; one that does not must not make us spin.
        if fetched.as_ref().is_ok_and(|batch| batch.range.is_empty()) {
            sleep_until(begun + LEAST_WAIT).await;
        }
        fetched
    }

    /// How many fetches rskafka could not decode, since this was last asked.
    pub fn take_undecodable(&mut self) -> u64 {
        self.rskafka.as_mut().map_or(0, ByRskafka::take_undecodable)
    }

    /// The oldest offset that is kept.
    ///
    /// # Errors
    /// As [`PartitionReader::fetch`].
    pub async fn earliest(&mut self) -> Result<Offset, Error> {
        match &mut self.rskafka {
            Some(rskafka) => rskafka.offset(&self.wire, OffsetAt::Earliest).await,
            None => self.wire.offset(At::Earliest).await,
        }
    }

    /// The offset behind the last record that is read.
    ///
    /// # Errors
    /// As [`PartitionReader::fetch`].
    pub async fn latest(&mut self) -> Result<Offset, Error> {
        match &mut self.rskafka {
            Some(rskafka) => rskafka.offset(&self.wire, OffsetAt::Latest).await,
            None => self.wire.offset(At::Latest).await,
        }
    }
}
