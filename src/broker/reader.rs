//! Reading one partition: through rskafka's partition client, and batch by batch through the wire
//! where rskafka can't decode what stands in the log.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use rskafka::client::partition::{OffsetAt, PartitionClient};
use rskafka::record::{Record, RecordAndOffset};
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::client::{Clients, Partition, within};
use super::wire::{self, Cluster, Stretch};
use super::{Cause, Error};
use crate::config;
use crate::record::{Headers, Offset, RecordView, TopicId};

/// After a stretch that rskafka could not decode, this many fetches go by the wire: control
/// batches come in flocks.
const SUSPICION: u32 = 8;

/// The least time between two fetches where the first brought nothing.
const LEAST_WAIT: Duration = Duration::from_millis(10);

/// One batch may decompress to this many times the largest frame.
const LARGEST_EXPANSION: usize = 4;

/// Records as they were fetched, with the offsets they cover.
#[derive(Debug)]
pub struct SourceBatch {
    /// The offsets covered, holes included: the next fetch begins at its end.
    pub range: Range<Offset>,
    /// The offset behind the last record that all in-sync replicas have.
    pub high_watermark: Offset,
    entries: Entries,
    bytes: usize,
}

#[derive(Debug)]
enum Entries {
    Rskafka(Vec<RecordAndOffset>),
    Wire(Vec<Piece>),
}

/// A part of a stretch that was read by the wire.
#[derive(Debug)]
enum Piece {
    Record(wire::records::Record),
    Damaged(wire::Damaged),
}

impl Piece {
    fn offset(&self) -> Offset {
        match self {
            Self::Record(record) => record.offset,
            Self::Damaged(damaged) => damaged.offset,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Record(record) => {
                let headers = record.headers.iter().map(|header| header.name.len() + length(header.value.as_deref()));
                length(record.key.as_deref()) + length(record.value.as_deref()) + headers.sum::<usize>()
            }
            Self::Damaged(damaged) => damaged.bytes.len(),
        }
    }
}

/// Records and damage in the order of the log, which dead letters keep too.
fn pieces(stretch: Stretch) -> Vec<Piece> {
    let records = stretch.records.into_iter().map(Piece::Record);
    let mut pieces: Vec<_> = records.chain(stretch.damaged.into_iter().map(Piece::Damaged)).collect();
    pieces.sort_by_key(Piece::offset);
    pieces
}

/// One thing that was fetched: a record, or bytes that are none.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// The record; of bytes that are none, the bytes as its value.
    pub record: RecordView<'a>,
    /// Why these bytes are no record.
    pub damage: Option<&'a str>,
}

impl SourceBatch {
    fn new(range: Range<Offset>, high_watermark: Offset, entries: Entries) -> Self {
        let bytes = match &entries {
            Entries::Rskafka(records) => records.iter().map(held_bytes).sum(),
            Entries::Wire(pieces) => pieces.iter().map(Piece::bytes).sum(),
        };
        Self { range, high_watermark, entries, bytes }
    }

    /// Nothing at all, at the offset where reading goes on.
    pub fn empty_at(offset: Offset) -> Self {
        Self::new(offset..offset, offset, Entries::Wire(Vec::new()))
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        match &self.entries {
            Entries::Rskafka(records) => records.len(),
            Entries::Wire(pieces) => pieces.len(),
        }
    }

    /// Whether there are none; the range may still cover a hole.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of its records: keys, values and headers.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// An entry, in the order of the log.
    pub fn entry(&self, index: usize) -> Option<Entry<'_>> {
        match &self.entries {
            Entries::Rskafka(records) => records.get(index).map(|record| Entry { record: view(record), damage: None }),
            Entries::Wire(pieces) => pieces.get(index).map(|piece| match piece {
                Piece::Record(record) => Entry { record: record.view(), damage: None },
                Piece::Damaged(found) => damaged(found),
            }),
        }
    }
}

fn view(found: &RecordAndOffset) -> RecordView<'_> {
    RecordView {
        offset: Offset(found.offset),
        timestamp_ms: found.record.timestamp.timestamp_millis(),
        key: found.record.key.as_deref(),
        value: found.record.value.as_deref(),
        headers: Headers::Map(&found.record.headers),
    }
}

fn damaged(damaged: &wire::Damaged) -> Entry<'_> {
    let value = Some(&damaged.bytes[..]);
    let record = RecordView { offset: damaged.offset, timestamp_ms: -1, key: None, value, headers: Headers::NONE };
    Entry { record, damage: Some(&damaged.why) }
}

fn held_bytes(found: &RecordAndOffset) -> usize {
    let Record { key, value, headers, .. } = &found.record;
    let headers = headers.iter().map(|(name, value)| name.len() + value.len());
    length(key.as_deref()) + length(value.as_deref()) + headers.sum::<usize>()
}

fn length(field: Option<&[u8]>) -> usize {
    field.map_or(0, <[u8]>::len)
}

/// Reads one partition. Each call is one attempt; whoever calls decides about the next.
#[derive(Debug)]
pub struct PartitionReader {
    topic: String,
    topic_id: Option<TopicId>,
    partition: i32,
    clients: Arc<Clients>,
    cluster: Arc<Cluster>,
    client: Option<Partition>,
    request_timeout: Duration,
    max_wait_ms: i32,
    max_frame_bytes: usize,
    suspicion: u32,
    undecodable: u64,
}

impl PartitionReader {
    /// Connects to nothing yet. With a `topic_id` it reads no topic of another id.
    pub fn new(
        topic: &str,
        topic_id: Option<TopicId>,
        partition: i32,
        clients: Arc<Clients>,
        cluster: Arc<Cluster>,
        kafka: &config::Kafka,
        max_wait: Duration,
    ) -> Self {
        Self {
            topic: topic.to_owned(),
            topic_id,
            partition,
            clients,
            cluster,
            client: None,
            request_timeout: kafka.request_timeout,
            max_wait_ms: i32::try_from(max_wait.as_millis()).unwrap_or(i32::MAX),
            max_frame_bytes: kafka.max_frame_bytes.as_usize(),
            suspicion: 0,
            undecodable: 0,
        }
    }

    /// The records from `position` on, about `max_bytes` of them; none after the broker has
    /// waited in vain.
    ///
    /// # Errors
    /// Whatever kept the leader from answering, every error code it gives, and bytes that are not
    /// even framed as batches.
    pub async fn fetch(&mut self, position: Offset, max_bytes: i32) -> Result<SourceBatch, Error> {
        self.client().await?;
        let begun = Instant::now();
        let fetched = self.fetch_either_way(position, max_bytes).await;
        // A broker that has nothing waits; one that does not must not make us spin.
        if fetched.as_ref().is_ok_and(|batch| batch.range.is_empty()) {
            sleep_until(begun + LEAST_WAIT).await;
        }
        self.drop_broken(fetched).await
    }

    async fn fetch_either_way(&mut self, position: Offset, max_bytes: i32) -> Result<SourceBatch, Error> {
        if self.suspicion > 0 {
            self.suspicion -= 1;
            return self.stretch(position, max_bytes, self.max_wait_ms).await;
        }
        match self.fetch_by_rskafka(position, max_bytes).await {
            Ok((records, high_watermark)) if records.is_empty() && position < high_watermark => {
                // A hole, an open transaction, or what rskafka took for a batch cut short.
                self.stretch(position, max_bytes, 0).await
            }
            Ok((records, high_watermark)) if ascend_from(&records, position) => {
                let end = records.last().map_or(position, |last| Offset(last.offset).next());
                Ok(SourceBatch::new(position..end, high_watermark, Entries::Rskafka(records)))
            }
            Ok(_) => self.stretch(position, max_bytes, 0).await,
            Err(error) if matches!(error.cause, Cause::Undecodable(_)) => {
                debug!(topic = self.topic, partition = self.partition, offset = position.0, %error, "reading by the wire");
                self.undecodable += 1;
                self.stretch(position, max_bytes, 0).await
            }
            Err(error) => Err(error),
        }
    }

    /// How many fetches rskafka could not decode, since this was last asked.
    pub fn take_undecodable(&mut self) -> u64 {
        std::mem::take(&mut self.undecodable)
    }

    /// The oldest offset that is kept.
    ///
    /// # Errors
    /// As [`PartitionReader::fetch`].
    pub async fn earliest(&mut self) -> Result<Offset, Error> {
        self.offset(OffsetAt::Earliest).await
    }

    /// The offset behind the last record that is decided.
    ///
    /// # Errors
    /// As [`PartitionReader::fetch`].
    pub async fn latest(&mut self) -> Result<Offset, Error> {
        self.offset(OffsetAt::Latest).await
    }

    async fn offset(&mut self, at: OffsetAt) -> Result<Offset, Error> {
        let (deadline, on) = (self.request_timeout, self.on());
        let doing = "look up offsets of";
        let result = within(deadline, doing, &on, self.client().await?.get_offset(at)).await;
        match self.drop_broken(result).await? {
            offset @ 0.. => Ok(Offset(offset)),
            offset => Err(Error { doing, on, cause: Cause::Undecodable(format!("{offset} is no offset")) }),
        }
    }

    async fn fetch_by_rskafka(
        &mut self,
        position: Offset,
        max_bytes: i32,
    ) -> Result<(Vec<RecordAndOffset>, Offset), Error> {
        let (deadline, on, wait) = (self.request_timeout, self.on(), self.max_wait_ms);
        let fetch = self.client().await?.fetch_records(position.0, 1..max_bytes.saturating_add(1), wait);
        let (records, high_watermark) = within(deadline, "fetch", &on, fetch).await?;
        Ok((records, Offset(high_watermark)))
    }

    async fn client(&mut self) -> Result<&PartitionClient, Error> {
        let usable = self.client.take().filter(|client| !client.is_spent());
        let client = match usable {
            Some(client) => client,
            None => {
                self.check_topic().await?;
                self.clients.partition(&self.topic, self.partition).await?
            }
        };
        Ok(&self.client.insert(client).client)
    }

    /// Whether the topic is still the one that the position is of. Fetches go by its name: one that
    /// was deleted and made anew would be read on in the middle. Until the assignment has noticed
    /// that too, nothing is read.
    async fn check_topic(&self) -> Result<(), Error> {
        let Some(expected) = self.topic_id else { return Ok(()) };
        let found = self.cluster.topics(&[&self.topic]).await?.remove(&self.topic).transpose()?;
        match found.and_then(|found| found.id) {
            Some(id) if id != expected => Err(Error::code("read", self.on(), ResponseError::InconsistentTopicId)),
            _ => Ok(()),
        }
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

    /// Reads by the wire what rskafka can't.
    async fn stretch(&mut self, position: Offset, max_bytes: i32, max_wait_ms: i32) -> Result<SourceBatch, Error> {
        let (stretch, fetched) = self.certain_stretch(position, max_bytes, max_wait_ms).await?;
        let next = match stretch.next {
            Some(next) => next,
            None => self.behind_damage(position, max_bytes, &fetched).await?,
        };
        if next <= position && !stretch.damaged.is_empty() {
            return Err(self.undecodable(position, "what stands behind a damaged batch begins before it"));
        }
        if stretch.baffles_rskafka() {
            self.suspicion = SUSPICION;
        }
        Ok(SourceBatch::new(position..next, fetched.high_watermark, Entries::Wire(pieces(stretch))))
    }

    /// A stretch whose damage, if any, was found twice: it lies in the log, not on the way.
    async fn certain_stretch(
        &self,
        position: Offset,
        max_bytes: i32,
        max_wait_ms: i32,
    ) -> Result<(Stretch, wire::Fetched), Error> {
        let (first, fetched) = self.fetch_stretch(position, max_bytes, max_wait_ms).await?;
        if first.damaged.is_empty() {
            return Ok((first, fetched));
        }
        let (second, fetched) = self.fetch_stretch(position, max_bytes, 0).await?;
        if second.damaged.iter().all(|damaged| first.damaged.contains(damaged)) {
            return Ok((second, fetched));
        }
        Err(self.undecodable(position, "two reads of the same batch differ: the damage is on the way"))
    }

    async fn fetch_stretch(
        &self,
        position: Offset,
        max_bytes: i32,
        max_wait_ms: i32,
    ) -> Result<(Stretch, wire::Fetched), Error> {
        let fetched = self.cluster.fetch(&self.topic, self.partition, position, max_bytes, max_wait_ms).await?;
        let limit = self.max_frame_bytes.saturating_mul(LARGEST_EXPANSION);
        let stretch = fetched.stretch(position, limit).map_err(|why| self.undecodable(position, &why))?;
        Ok((stretch, fetched))
    }

    /// The offset behind a damaged batch that came last: the start of the batch behind it, which a
    /// larger fetch shows, or the end of what can be read.
    async fn behind_damage(&self, position: Offset, max_bytes: i32, seen: &wire::Fetched) -> Result<Offset, Error> {
        let mut seen_bytes = seen.batches.len();
        let mut max_bytes = max_bytes.max(i32::try_from(seen_bytes).unwrap_or(i32::MAX));
        let most = i32::try_from(self.max_frame_bytes).unwrap_or(i32::MAX);
        let bases = seen.base_offsets().count();
        while max_bytes < most {
            max_bytes = max_bytes.saturating_mul(2).min(most);
            let wider = self.cluster.fetch(&self.topic, self.partition, position, max_bytes, 0).await?;
            if let Some(base) = wider.base_offsets().nth(bases) {
                return Ok(base);
            }
            if wider.batches.len() <= seen_bytes {
                return Ok(wider.last_stable_offset.max(position.next()));
            }
            seen_bytes = wider.batches.len();
        }
        Err(self.undecodable(position, "nothing behind a damaged batch fits kafka.max_frame_bytes: raise it"))
    }

    fn undecodable(&self, position: Offset, why: &str) -> Error {
        let on = format!("{} at offset {position}", self.on());
        Error { doing: "decode", on, cause: Cause::Undecodable(why.to_owned()) }
    }

    fn on(&self) -> String {
        format!("{}/{}", self.topic, self.partition)
    }
}

/// Whether these are records that can follow each other from `position` on.
fn ascend_from(records: &[RecordAndOffset], position: Offset) -> bool {
    records.first().is_none_or(|first| first.offset >= position.0)
        && records.windows(2).all(|pair| matches!(pair, [a, b] if a.offset < b.offset))
}
