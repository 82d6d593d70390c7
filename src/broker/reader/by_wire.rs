//! Reading by our own client: stretches of the log, in place, damage and all.

use std::sync::Arc;

use kafka_protocol::ResponseError;

use super::SourceBatch;
use crate::broker::wire::{Ask, At, Cluster, FetchLink, Fetched, Isolation, Stretch};
use crate::broker::{Cause, Error};
use crate::config;
use crate::record::{Offset, Position, TopicId};

/// One batch may decompress to this many times the largest frame.
const LARGEST_EXPANSION: usize = 4;

/// Reads one partition by the wire.
#[derive(Debug)]
pub(super) struct ByWire {
    topic: String,
    topic_id: Option<TopicId>,
    partition: i32,
    cluster: Arc<Cluster>,
    link: FetchLink,
    isolation: Isolation,
    leaves_out_aborted: bool,
    max_wait_ms: i32,
    max_frame_bytes: usize,
}

impl ByWire {
    pub fn new(
        topic_id: Option<TopicId>,
        partition: i32,
        cluster: Arc<Cluster>,
        kafka: &config::Kafka,
        source: &config::Source,
    ) -> Self {
        Self {
            topic: source.topic.clone(),
            topic_id,
            partition,
            link: FetchLink::new(Arc::clone(&cluster)),
            cluster,
            isolation: Isolation::from(source),
            // Beside rskafka it reads what that would read.
            leaves_out_aborted: source.isolation == config::Isolation::ReadCommitted,
            max_wait_ms: i32::try_from(source.max_wait.as_millis()).unwrap_or(i32::MAX),
            max_frame_bytes: kafka.max_frame_bytes.as_usize(),
        }
    }

    /// The records from `position` on. What is damaged is read again, to be sure.
    pub async fn fetch(&mut self, position: Position, max_bytes: i32) -> Result<SourceBatch, Error> {
        let (stretch, fetched) = self.fetch_stretch(position, max_bytes, self.max_wait_ms).await?;
        match stretch.next {
            Some(next) if stretch.damaged.is_empty() => {
                Ok(SourceBatch::of_wire(position.offset..next, fetched.high_watermark, stretch))
            }
            _ => self.certain(position, max_bytes, 0).await,
        }
    }

    /// The records from `position` on, and what is damaged.
    pub async fn certain(
        &mut self,
        position: Position,
        max_bytes: i32,
        max_wait_ms: i32,
    ) -> Result<SourceBatch, Error> {
        let (stretch, fetched) = self.certain_stretch(position, max_bytes, max_wait_ms).await?;
        let next = match stretch.next {
            Some(next) => next,
            None => self.behind_damage(position, max_bytes, &fetched).await?,
        };
        let position = position.offset;
        if next <= position && !stretch.damaged.is_empty() {
            return Err(self.undecodable(position, "what stands behind a damaged batch begins before it"));
        }
        Ok(SourceBatch::of_wire(position..next, fetched.high_watermark, stretch))
    }

    /// Makes sure that the leader's log is the one that was read up to `position`, if that has an
    /// epoch: for who reads in another way.
    pub async fn validate(&mut self, position: Position) -> Result<(), Error> {
        match position.leader_epoch {
            Some(_) => self.link.open(&self.topic, self.partition, position).await,
            None => Ok(()),
        }
    }

    /// A place in what is read.
    pub async fn offset(&self, at: At) -> Result<Offset, Error> {
        let found = self.cluster.offset_as(self.isolation, &self.topic, self.partition, at).await?;
        found.ok_or_else(|| Error::code("look up offsets of", self.on(), ResponseError::OffsetNotAvailable))
    }

    /// Whether the topic is still the one that the position is of. Fetches go by its name: one that
    /// was deleted and made anew would be read on in the middle. Until the assignment has noticed
    /// that too, nothing is read.
    pub async fn check_topic(&self) -> Result<(), Error> {
        let Some(expected) = self.topic_id else { return Ok(()) };
        let found = self.cluster.topics(&[&self.topic]).await?.remove(&self.topic).transpose()?;
        match found.and_then(|found| found.id) {
            Some(id) if id != expected => Err(Error::code("read", self.on(), ResponseError::InconsistentTopicId)),
            _ => Ok(()),
        }
    }

    /// What is read, for errors.
    pub fn on(&self) -> String {
        format!("{}/{}", self.topic, self.partition)
    }

    /// How long a broker may hold a fetch.
    pub fn max_wait_ms(&self) -> i32 {
        self.max_wait_ms
    }

    /// A stretch whose damage, if any, was found twice: it lies in the log, not on the way.
    async fn certain_stretch(
        &mut self,
        position: Position,
        max_bytes: i32,
        max_wait_ms: i32,
    ) -> Result<(Stretch, Fetched), Error> {
        let (first, fetched) = self.fetch_stretch(position, max_bytes, max_wait_ms).await?;
        if first.damaged.is_empty() {
            return Ok((first, fetched));
        }
        let (second, fetched) = self.fetch_stretch(position, max_bytes, 0).await?;
        if second.damaged.iter().all(|damaged| first.damaged.iter().any(|before| before.is(damaged))) {
            return Ok((second, fetched));
        }
        Err(self.undecodable(position.offset, "two reads of the same batch differ: the damage is on the way"))
    }

    async fn fetch_stretch(
        &mut self,
        position: Position,
        max_bytes: i32,
        max_wait_ms: i32,
    ) -> Result<(Stretch, Fetched), Error> {
        let fetched = self.fetch_raw(position, max_bytes, max_wait_ms).await?;
        let limit = self.max_frame_bytes.saturating_mul(LARGEST_EXPANSION);
        let stretch = match self.leaves_out_aborted {
            true => fetched.committed_stretch(position.offset, limit),
            false => fetched.stretch(position.offset, limit),
        };
        let stretch = stretch.map_err(|why| self.undecodable(position.offset, &why))?;
        Ok((stretch, fetched))
    }

    async fn fetch_raw(&mut self, position: Position, max_bytes: i32, max_wait_ms: i32) -> Result<Fetched, Error> {
        if !self.link.is_open() {
            self.check_topic().await?;
            self.link.open(&self.topic, self.partition, position).await?;
        }
        let ask = Ask {
            topic: &self.topic,
            partition: self.partition,
            isolation: self.isolation,
            offset: position.offset,
            max_bytes,
            max_wait_ms,
        };
        self.link.fetch(&ask).await
    }

    /// The offset behind a damaged batch that came last: the start of the batch behind it, which a
    /// larger fetch shows, or the end of what can be read.
    async fn behind_damage(&mut self, position: Position, max_bytes: i32, seen: &Fetched) -> Result<Offset, Error> {
        let mut seen_bytes = seen.batches.len();
        let mut max_bytes = max_bytes.max(i32::try_from(seen_bytes).unwrap_or(i32::MAX));
        let most = i32::try_from(self.max_frame_bytes).unwrap_or(i32::MAX);
        let bases = seen.base_offsets().count();
        while max_bytes < most {
            max_bytes = max_bytes.saturating_mul(2).min(most);
            let wider = self.fetch_raw(position, max_bytes, 0).await?;
            if let Some(base) = wider.base_offsets().nth(bases) {
                return Ok(base);
            }
            if wider.batches.len() <= seen_bytes {
                return Ok(wider.end.max(position.offset.next()));
            }
            seen_bytes = wider.batches.len();
        }
        Err(self.undecodable(position.offset, "nothing behind a damaged batch fits kafka.max_frame_bytes: raise it"))
    }

    fn undecodable(&self, position: Offset, why: &str) -> Error {
        let on = format!("{} at offset {position}", self.on());
        Error { doing: "decode", on, cause: Cause::Undecodable(why.to_owned()) }
    }
}
