//! A fetch that keeps what rskafka throws away: the batches themselves, so that a stretch of the
//! log that it can't decode is read, stepped over or dead-lettered batch by batch.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::Cluster;
use super::records::{self, Decoded, RawBatch, Record};
use crate::broker::{Cause, Error};
use crate::record::Offset;

const DOING: &str = "fetch batches of";

/// Up to where a fetch reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Up to the last stable offset, as rskafka asks too.
    Committed,
    /// Up to the high watermark, undecided transactions included.
    Uncommitted,
}

impl Isolation {
    /// Its number in the protocol.
    fn level(self) -> i8 {
        match self {
            Self::Uncommitted => 0,
            Self::Committed => 1,
        }
    }
}

/// What a fetch brought.
#[derive(Debug)]
pub struct Fetched {
    /// The offset behind the last record that all in-sync replicas have.
    pub high_watermark: Offset,
    /// The offset up to which all transactions are decided.
    pub last_stable_offset: Offset,
    /// Record batches, the last perhaps cut short.
    pub batches: Bytes,
}

/// A stretch of the log, decoded as far as it can be.
#[derive(Debug, Default)]
pub struct Stretch {
    /// What decodes, in order.
    pub records: Vec<Record>,
    /// What doesn't.
    pub damaged: Vec<Damaged>,
    /// Where to go on; `None` where the last batch is damaged and so does not tell.
    pub next: Option<Offset>,
    /// Control batches stepped over.
    pub controls: usize,
}

/// A batch that can't be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// The offset that it begins at.
    pub offset: Offset,
    /// All its bytes.
    pub bytes: Bytes,
    /// What is wrong with it.
    pub why: String,
}

impl Cluster {
    /// Fetches committed batches of a partition from `offset` on.
    ///
    /// # Errors
    /// Whatever keeps the leader from answering, and every error code it gives.
    pub async fn fetch(
        &self,
        topic: &str,
        partition: i32,
        offset: Offset,
        max_bytes: i32,
        max_wait_ms: i32,
    ) -> Result<Fetched, Error> {
        self.fetch_as(Isolation::Committed, topic, partition, offset, max_bytes, max_wait_ms).await
    }

    /// The same, up to where `isolation` says.
    ///
    /// # Errors
    /// As [`Cluster::fetch`].
    pub async fn fetch_as(
        &self,
        isolation: Isolation,
        topic: &str,
        partition: i32,
        offset: Offset,
        max_bytes: i32,
        max_wait_ms: i32,
    ) -> Result<Fetched, Error> {
        let failed = |cause| Error { doing: DOING, on: format!("{topic}/{partition}"), cause };
        let connection = self.leader(topic, partition).await?;
        let asked = FetchPartition::default()
            .with_partition(partition)
            .with_fetch_offset(offset.0)
            .with_partition_max_bytes(max_bytes);
        let asked = FetchTopic::default()
            .with_topic(TopicName(StrBytes::from_string(topic.to_owned())))
            .with_partitions(vec![asked]);
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(max_wait_ms)
            .with_min_bytes(1)
            .with_max_bytes(max_bytes)
            .with_isolation_level(isolation.level())
            .with_topics(vec![asked]);
        let response = connection.request(DOING, &request).await?;
        if let Some(code) = ResponseError::try_from_code(response.error_code) {
            return Err(failed(Cause::Code(code)));
        }
        if let Ok(pause @ 1..) = u64::try_from(response.throttle_time_ms) {
            connection.throttle(Duration::from_millis(pause));
            if response.responses.is_empty() {
                return Err(failed(Cause::Code(ResponseError::ThrottlingQuotaExceeded)));
            }
        }
        let found = response.responses.into_iter().filter(|found| found.topic.0.as_str() == topic);
        let found = found.flat_map(|found| found.partitions).find(|found| found.partition_index == partition);
        let found = found.ok_or_else(|| failed(Cause::Undecodable("it names another partition".to_owned())))?;
        if let Some(code) = ResponseError::try_from_code(found.error_code) {
            self.forget_leader(topic, partition).await;
            return Err(failed(Cause::Code(code)));
        }
        if found.high_watermark < 0 {
            return Err(failed(Cause::Undecodable("its high watermark is negative".to_owned())));
        }
        Ok(Fetched {
            high_watermark: Offset(found.high_watermark),
            last_stable_offset: Offset(found.last_stable_offset),
            batches: found.records.unwrap_or_default(),
        })
    }
}

impl Fetched {
    /// Where each batch begins.
    pub fn base_offsets(&self) -> impl Iterator<Item = Offset> {
        records::batches(self.batches.clone()).flatten().map(|batch| batch.base_offset)
    }

    /// Takes the batches apart from `position` on, each decompressed to at most `limit` bytes.
    ///
    /// # Errors
    /// Where not even one whole batch stands there, or where a batch begins before the end of the
    /// one before it: reading would go on where it has been.
    pub fn stretch(&self, position: Offset, limit: usize) -> Result<Stretch, String> {
        let mut stretch = Stretch { next: Some(position), ..Stretch::default() };
        let mut end = Offset(0);
        for batch in records::batches(self.batches.clone()) {
            let batch = batch?;
            let begin = batch.base_offset;
            if begin < end {
                return Err(format!("a batch at {begin} stands behind one that ends at {end}"));
            }
            let said = batch.next_offset().max(begin.next());
            stretch.add(batch, position, limit);
            // What a damaged one says of its offsets may be the damage.
            if stretch.next.is_some() {
                end = said;
            }
        }
        Ok(stretch)
    }
}

impl Stretch {
    /// Whether it holds what makes rskafka fail.
    pub fn baffles_rskafka(&self) -> bool {
        let null_header = |record: &Record| record.headers.iter().any(|header| header.value.is_none());
        self.controls > 0 || !self.damaged.is_empty() || self.records.iter().any(null_header)
    }

    fn add(&mut self, batch: RawBatch, position: Offset, limit: usize) {
        match batch.decode(limit) {
            Ok(decoded) => {
                match decoded {
                    Decoded::Records(records) => {
                        self.records.extend(records.into_iter().filter(|record| record.offset >= position));
                    }
                    Decoded::Control => self.controls += 1,
                }
                self.next = Some(batch.next_offset().max(batch.base_offset.next()).max(position));
            }
            Err(why) => {
                self.damaged.push(Damaged { offset: batch.base_offset.max(position), bytes: batch.bytes, why });
                self.next = None;
            }
        }
    }
}
