//! Reading through rskafka's partition client, and by the wire where that can't decode what stands
//! in the log.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use login_rskafka::{fetch_records, get_offset};
use rskafka::client::partition::{OffsetAt, PartitionClient};
use rskafka::record::RecordAndOffset;
use tracing::debug;

use super::SourceBatch;
use super::by_wire::ByWire;
use crate::broker::client::{Clients, Partition, within};
use crate::broker::{Cause, Error};
use crate::config;
use crate::record::{Offset, Position};

/// After a stretch that rskafka could not decode, this many fetches go by the wire: control
/// batches come in flocks.
const SUSPICION: u32 = 8;

/// Reads one partition through rskafka where that is up to it.
#[derive(Debug)]
pub(super) struct ByRskafka {
    topic: String,
    partition: i32,
    clients: Arc<Clients>,
    client: Option<Partition>,
    request_timeout: Duration,
    suspicion: u32,
    undecodable: u64,
}

impl ByRskafka {
    pub fn new(partition: i32, clients: Arc<Clients>, kafka: &config::Kafka, source: &config::Source) -> Self {
        Self {
            topic: source.topic.clone(),
            partition,
            clients,
            client: None,
            request_timeout: kafka.request_timeout,
            suspicion: 0,
            undecodable: 0,
        }
    }

    /// The records from `position` on.
    pub async fn fetch(&mut self, wire: &mut ByWire, position: Position, max_bytes: i32) -> Result<SourceBatch, Error> {
        let fetched = self.fetch_either_way(wire, position, max_bytes).await;
        self.drop_broken(fetched).await
    }

    /// A place in the log.
    pub async fn offset(&mut self, wire: &ByWire, at: OffsetAt) -> Result<Offset, Error> {
        let (deadline, on) = (self.request_timeout, wire.on());
        let doing = "look up offsets of";
        let result = within(deadline, doing, &on, get_offset(self.client(wire).await?, at)).await;
        match self.drop_broken(result).await? {
            offset @ 0.. => Ok(Offset(offset)),
            offset => Err(Error { doing, on, cause: Cause::Undecodable(format!("{offset} is no offset")) }),
        }
    }

    /// How many fetches it could not decode, since this was last asked.
    pub fn take_undecodable(&mut self) -> u64 {
        std::mem::take(&mut self.undecodable)
    }

    async fn fetch_either_way(
        &mut self,
        wire: &mut ByWire,
        position: Position,
        max_bytes: i32,
    ) -> Result<SourceBatch, Error> {
        if self.suspicion > 0 {
            self.suspicion -= 1;
            return self.stretch(wire, position, max_bytes, wire.max_wait_ms()).await;
        }
        let from = position.offset;
        match self.fetch_by_rskafka(wire, position, max_bytes).await {
            Ok((records, high_watermark)) if records.is_empty() && from < high_watermark => {
                // A hole, an open transaction, or what rskafka took for a batch cut short.
                self.stretch(wire, position, max_bytes, 0).await
            }
            Ok((records, high_watermark)) if ascend_from(&records, from) => {
                let end = records.last().map_or(from, |last| Offset(last.offset).next());
                Ok(SourceBatch::of_rskafka(from..end, high_watermark, records))
            }
            Ok(_) => self.stretch(wire, position, max_bytes, 0).await,
            Err(error) if matches!(error.cause, Cause::Undecodable(_)) => {
                debug!(topic = self.topic, partition = self.partition, offset = from.0, %error, "reading by the wire");
                self.undecodable += 1;
                self.stretch(wire, position, max_bytes, 0).await
            }
            Err(error) => Err(error),
        }
    }

    /// Reads by the wire what rskafka can't.
    async fn stretch(
        &mut self,
        wire: &mut ByWire,
        position: Position,
        max_bytes: i32,
        max_wait_ms: i32,
    ) -> Result<SourceBatch, Error> {
        let batch = wire.certain(position, max_bytes, max_wait_ms).await?;
        if batch.baffles_rskafka() {
            self.suspicion = SUSPICION;
        }
        Ok(batch)
    }

    async fn fetch_by_rskafka(
        &mut self,
        wire: &mut ByWire,
        position: Position,
        max_bytes: i32,
    ) -> Result<(Vec<RecordAndOffset>, Offset), Error> {
        if self.client.as_ref().is_none_or(Partition::is_spent) {
            wire.validate(position).await?;
        }
        let (deadline, on, wait) = (self.request_timeout, wire.on(), wire.max_wait_ms());
        let bytes = 1..max_bytes.saturating_add(1);
        let fetch = fetch_records(self.client(wire).await?, position.offset.0, bytes, wait);
        let (records, high_watermark) = within(deadline, "fetch", &on, fetch).await?;
        Ok((records, Offset(high_watermark)))
    }

    async fn client(&mut self, wire: &ByWire) -> Result<&PartitionClient, Error> {
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

    /// Lets go of a client that hung or broke, and of its leader where that has moved.
    async fn drop_broken<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result {
            let moved =
                error.is(ResponseError::NotLeaderOrFollower) || error.is(ResponseError::UnknownTopicOrPartition);
            if error.breaks_connection() || moved {
                self.client = None;
            }
            if matches!(error.cause, Cause::Timeout(_)) {
                self.clients.forget_any().await;
            }
        }
        result
    }
}

/// Whether these are records that can follow each other from `position` on.
fn ascend_from(records: &[RecordAndOffset], position: Offset) -> bool {
    records.first().is_none_or(|first| first.offset >= position.0)
        && records.windows(2).all(|pair| matches!(pair, [a, b] if a.offset < b.offset))
}
