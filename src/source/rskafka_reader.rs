//! Reading through rskafka's partition client, and by the wire what that can't read.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use rskafka::client::partition::PartitionClient;
use rskafka::record::RecordAndOffset;
use rskafka_calls::fetch_records;
use tracing::debug;

use super::batch::SourceBatch;
use super::rskafka_clients::{RskafkaClients, RskafkaPartition, within};
use super::wire_reader::WireReader;
use crate::config;
use crate::kafka::{Cause, Error};
use crate::record::{Offset, Position};

/// After a stretch that rskafka could not read, this many fetches go by the wire: control batches come
/// in flocks, compressed ones from producers that go on, and a broker that hung may hang again.
const SUSPICION: u32 = 8;

/// Reads one partition through rskafka where that is up to it.
///
/// rskafka is built without its codecs: no batch is unpacked without a bound. Its answers are in no budget, so that a
/// partition whose batches are larger than its share stays with the wire as well, and the first fetch, which tells of both,
/// goes that way; what is larger than usual it does not take ([`RskafkaClients::new`]).
#[derive(Debug)]
pub(super) struct RskafkaReader {
    topic: String,
    partition: i32,
    clients: Arc<RskafkaClients>,
    client: Option<RskafkaPartition>,
    request_timeout: Duration,
    suspicion: u32,
    undecodable: u64,
}

impl RskafkaReader {
    pub(super) fn new(
        partition: i32,
        clients: Arc<RskafkaClients>,
        kafka: &config::Kafka,
        source: &config::Source,
    ) -> Self {
        Self {
            topic: source.topic.clone(),
            partition,
            clients,
            client: None,
            request_timeout: kafka.request_timeout,
            suspicion: 1,
            undecodable: 0,
        }
    }

    /// The records from `position` on.
    pub(super) async fn fetch(
        &mut self,
        wire: &mut WireReader,
        position: Position,
        room: usize,
    ) -> Result<SourceBatch, Error> {
        if self.suspicion > 0 || wire.has_more(position) {
            return self.fetch_with_wire(wire, position, room, wire.max_wait_ms()).await;
        }
        let fetched = self.fetch_with_rskafka(wire, position, room).await;
        match self.drop_broken(fetched).await {
            Ok((records, high_watermark)) if records.is_empty() && position.offset >= high_watermark => {
                Ok(SourceBatch::nothing(position, high_watermark))
            }
            Ok((records, high_watermark)) => match following(records, position.offset, high_watermark) {
                // A hole, an open transaction, or what rskafka took for a batch cut short.
                records if records.is_empty() => self.fetch_with_wire(wire, position, room, 0).await,
                records => Ok(SourceBatch::of_rskafka(position, high_watermark, records)),
            },
            Err(error) if matches!(error.cause, Cause::Undecodable(_)) => {
                let (topic, partition) = (&self.topic, self.partition);
                debug!(topic, partition, offset = position.offset.0, %error, "rskafka can't decode: reading by the wire");
                self.undecodable += 1;
                self.fetch_with_wire(wire, position, room, 0).await
            }
            Err(error) if is_beyond_rskafka(&error) => {
                let (topic, partition) = (&self.topic, self.partition);
                debug!(topic, partition, offset = position.offset.0, %error, "not for rskafka: reading by the wire");
                self.suspicion = SUSPICION;
                self.fetch_with_wire(wire, position, room, 0).await
            }
            Err(error) if matches!(error.cause, Cause::Timeout(_) | Cause::Connect(_)) => {
                let (topic, partition) = (&self.topic, self.partition);
                debug!(topic, partition, offset = position.offset.0, %error, "rskafka gets no answer: reading by the wire");
                self.fetch_with_wire(wire, position, room, wire.max_wait_ms()).await
            }
            Err(error) => Err(error),
        }
    }

    /// Takes the number of fetches that it could not decode, since this was last called.
    pub(super) fn take_undecodable(&mut self) -> u64 {
        std::mem::take(&mut self.undecodable)
    }

    /// Reads by the wire what rskafka can't.
    async fn fetch_with_wire(
        &mut self,
        wire: &mut WireReader,
        position: Position,
        room: usize,
        max_wait_ms: i32,
    ) -> Result<SourceBatch, Error> {
        let batch = wire.fetch(position, room, max_wait_ms).await?;
        if batch.is_beyond_rskafka(room) {
            self.suspicion = SUSPICION;
        } else if !batch.is_empty() {
            self.suspicion = self.suspicion.saturating_sub(1);
        }
        Ok(batch)
    }

    async fn fetch_with_rskafka(
        &mut self,
        wire: &mut WireReader,
        position: Position,
        room: usize,
    ) -> Result<(Vec<RecordAndOffset>, Offset), Error> {
        if self.client.as_ref().is_none_or(RskafkaPartition::is_spent) {
            wire.validate(position).await?;
        }
        let (deadline, on, wait) = (self.request_timeout, wire.on(), wire.max_wait_ms());
        let bytes = 1..i32::try_from(room).unwrap_or(i32::MAX).saturating_add(1);
        let fetch = fetch_records(self.client(wire).await?, position.offset.0, bytes, wait);
        let (records, high_watermark) = within(deadline, "fetch", &on, fetch).await?;
        Ok((records, Offset(high_watermark)))
    }

    async fn client(&mut self, wire: &WireReader) -> Result<&PartitionClient, Error> {
        let usable = self.client.take().filter(|client| !client.is_spent());
        let client = match usable {
            Some(client) => client,
            None => {
                wire.check_topic().await?;
                self.clients.partition(&self.topic, self.partition).await?
            }
        };
        Ok(&self.client.insert(client).client)
    }

    /// Drops a client that hung or broke, and one whose leader has moved. What is
    /// next goes by the wire, which knows more ways to a broker.
    async fn drop_broken<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result {
            let moved =
                error.is(ResponseError::NotLeaderOrFollower) || error.is(ResponseError::UnknownTopicOrPartition);
            if error.breaks_connection() || moved {
                self.client = None;
                self.suspicion = SUSPICION;
            }
            if matches!(error.cause, Cause::Timeout(_)) {
                self.clients.forget_any().await;
            }
        }
        result
    }
}

/// Tells whether our own client may be answered what rskafka isn't: an answer that is larger than usual; a topic of zstd on Kafka
/// before 4, which says so to whoever fetches as old clients do (KIP-110); a broker without the versions that rskafka speaks.
fn is_beyond_rskafka(error: &Error) -> bool {
    matches!(error.cause, Cause::FrameTooLarge { .. } | Cause::Unsupported(_))
        || error.is(ResponseError::UnsupportedCompressionType)
        || error.is(ResponseError::UnsupportedVersion)
}

/// The records, where they follow each other from an offset on without a gap: rskafka does not say whether
/// a gap is a hole of the log or what stands beside it is not where it says. A batch that claims to begin before
/// the offset shows by the gap behind it; where that comes with the next answer only, what was read of it
/// stands, and all of it is a dead letter as well ([`WireReader`]'s survey).
fn following(records: Vec<RecordAndOffset>, from: Offset, high_watermark: Offset) -> Vec<RecordAndOffset> {
    let expected = (from.0..high_watermark.0).zip(&records);
    let count = expected.take_while(|(expected, record)| *expected == record.offset).count();
    if count == records.len() { records } else { Vec::new() }
}
