//! Reading one partition, in one of two ways (`source.reader`).
//!
//! ```text
//!                     ┌─ RskafkaReader ── rskafka's client: owned records ────────────┐
//! PartitionReader ────┤      └─ what that can't read ──┐                              ├─► SourceBatch
//!                     └─ WireReader ◄──────────────────┘ in place, a window at a time ┘
//! ```

mod batch;
mod config;
mod log_ends;
mod rskafka_clients;
mod rskafka_reader;
#[cfg(test)]
mod tests;
mod wire_reader;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

pub use batch::{Entry, SourceBatch};
pub use config::ReaderConfig;
pub use kafka_client::admission::Reserve;
pub use log_ends::LogEnds;
pub use rskafka_clients::{RskafkaClients, RskafkaPartition};

use crate::kafka::Error;
use crate::record::{Offset, Position};
use crate::topic::TopicId;
use kafka_client::{At, Cluster};
use rskafka_clients::RskafkaSlot;
use rskafka_reader::RskafkaReader;
use wire_reader::WireReader;

/// The least time between two fetches where the first brought nothing.
const LEAST_WAIT: Duration = Duration::from_millis(10);

/// Reads one partition. Each call is one attempt; whoever calls decides about the next.
#[derive(Debug)]
pub struct PartitionReader {
    wire: WireReader,
    /// Reads where it can, if it is to.
    rskafka: Option<(RskafkaReader, RskafkaSlot)>,
    why: &'static str,
}

impl PartitionReader {
    /// Connects to nothing yet. With a `topic_id` it reads no topic of another id. What is larger than
    /// a fetch asks for waits for memory of the `reserve`.
    pub fn new(
        topic_id: Option<TopicId>,
        partition: i32,
        clients: Arc<RskafkaClients>,
        cluster: Arc<Cluster>,
        reserve: Reserve,
        config: ReaderConfig<'_>,
    ) -> Self {
        let (takes_rskafka, why) = config.takes_rskafka();
        let wire = WireReader::new(topic_id, partition, cluster, reserve, &config);
        let rskafka = takes_rskafka.then(|| {
            let slot = clients.slot(config.source.rskafka_max_partitions);
            (RskafkaReader::new(partition, clients, config.kafka, config.source), slot)
        });
        Self { wire, rskafka, why }
    }

    /// The reader that is used, and why, for people.
    pub fn taken(&self) -> (&'static str, &'static str) {
        match &self.rskafka {
            Some((_, slot)) if slot.is_one_too_many() => ("wire", "more partitions than source.rskafka_max_partitions"),
            Some(_) => ("rskafka", self.why),
            None => ("wire", self.why),
        }
    }

    /// The records from `position` on, about `room` bytes of them; none after the broker has waited in
    /// vain.
    ///
    /// # Errors
    /// Whatever kept the leader from answering, and every error code it gives.
    /// [`Cause::Truncated`](crate::kafka::Cause::Truncated) where the leader's log is not the one that was
    /// read up to `position`, as far as that has an epoch.
    pub async fn fetch(&mut self, position: Position, room: usize) -> Result<SourceBatch, Error> {
        let begun = Instant::now();
        let fetched = match &mut self.rskafka {
            Some((rskafka, slot)) if !slot.is_one_too_many() => rskafka.fetch(&mut self.wire, position, room).await,
            _ => self.wire.fetch(position, room, self.wire.max_wait_ms()).await,
        };
        // A broker that has nothing waits; one that does not must not make us spin.
        if fetched.as_ref().is_ok_and(|batch| batch.range.is_empty()) {
            sleep_until(begun + LEAST_WAIT).await;
        }
        fetched
    }

    /// Takes the number of fetches that rskafka could not decode, since this was last called.
    pub fn take_undecodable(&mut self) -> u64 {
        self.rskafka.as_mut().map_or(0, |(rskafka, _)| rskafka.take_undecodable())
    }

    /// Makes sure that the topic is still the one that positions are of.
    ///
    /// # Errors
    /// As [`PartitionReader::fetch`], where it is another by the same name, too.
    pub async fn check_topic(&self) -> Result<(), Error> {
        self.wire.check_topic().await
    }

    /// The oldest offset that is kept.
    ///
    /// # Errors
    /// As [`PartitionReader::fetch`].
    pub async fn earliest(&mut self) -> Result<Offset, Error> {
        self.wire.offset(At::Earliest).await
    }

    /// The offset behind the last record that is read.
    ///
    /// # Errors
    /// As [`PartitionReader::fetch`].
    pub async fn latest(&mut self) -> Result<Offset, Error> {
        self.wire.offset(At::Latest).await
    }
}
