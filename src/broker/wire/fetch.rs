//! A fetch that keeps what rskafka throws away: the batches themselves, so that a stretch of the
//! log is read, stepped over or dead-lettered batch by batch.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::aborted::Aborted;
use super::records::{self, RawBatch, Records};
use super::{Cluster, Connection};
use crate::broker::{Cause, Error};
use crate::config::{self, ReaderKind};
use crate::record::{Offset, RecordView};

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
    pub(super) fn level(self) -> i8 {
        match self {
            Self::Uncommitted => 0,
            Self::Committed => 1,
        }
    }
}

/// Up to where the source's reader reads. rskafka knows one way only.
impl From<&config::Source> for Isolation {
    fn from(source: &config::Source) -> Self {
        match (source.reader, source.isolation) {
            (ReaderKind::Wire, config::Isolation::ReadUncommitted) => Self::Uncommitted,
            (ReaderKind::Wire, config::Isolation::ReadCommitted) | (ReaderKind::Rskafka, _) => Self::Committed,
        }
    }
}

/// What is fetched.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Of this topic.
    pub topic: &'a str,
    /// Of this partition.
    pub partition: i32,
    /// Up to there.
    pub isolation: Isolation,
    /// From there on.
    pub offset: Offset,
    /// About so many bytes, and one batch whatever its size.
    pub max_bytes: i32,
    /// For so long the broker may hold the fetch while there is nothing.
    pub max_wait_ms: i32,
}

/// What a fetch brought.
#[derive(Debug)]
pub struct Fetched {
    /// The offset behind the last record that all in-sync replicas have.
    pub high_watermark: Offset,
    /// The offset up to which such a fetch reads: the high watermark, or the last stable offset.
    pub end: Offset,
    /// The transactions given up that reach into the batches: producer id, and first offset. Told to
    /// a fetch of what is committed only.
    pub aborted: Vec<(i64, Offset)>,
    /// Record batches, the last perhaps cut short.
    pub batches: Bytes,
}

/// A stretch of the log, decoded as far as it can be.
#[derive(Debug, Default)]
pub struct Stretch {
    /// What decodes, in order.
    pub records: Records,
    /// What doesn't, in order.
    pub damaged: Vec<Damaged>,
    /// Where to go on; `None` where the last batch is damaged and so does not tell.
    pub next: Option<Offset>,
    /// The leader epoch of its last batch; `None` where that is damaged, or there is none.
    pub leader_epoch: Option<i32>,
    /// Control batches stepped over.
    pub controls: usize,
}

/// A batch that can't be decoded.
#[derive(Debug, Clone)]
pub struct Damaged {
    /// The offset that it begins at.
    pub offset: Offset,
    /// All its bytes.
    pub bytes: Bytes,
    /// What is wrong with it.
    pub why: String,
    /// How many records and damaged batches of its stretch come before it.
    place: usize,
}

/// One of the things that a stretch consists of.
#[derive(Debug, Clone, Copy)]
pub enum Found<'a> {
    /// A record.
    Record(RecordView<'a>),
    /// Bytes that are none.
    Damaged(&'a Damaged),
}

impl Cluster {
    /// Fetches batches over the connection that all share: without a wait, or others wait too.
    ///
    /// # Errors
    /// Whatever keeps the leader from answering, and every error code it gives.
    pub async fn fetch(&self, ask: &Ask<'_>) -> Result<Fetched, Error> {
        let connection = self.leader(ask.topic, ask.partition).await?;
        let fetched = fetch(&connection, None, ask).await;
        if matches!(&fetched, Err(Error { cause: Cause::Code(_), .. })) {
            self.forget_leader(ask.topic, ask.partition).await;
        }
        fetched
    }
}

/// Fetches batches from the leader of a partition, in the epoch in which it leads where that is
/// known (KIP-320): a broker that leads in another says so instead of what is in its log.
pub(super) async fn fetch(connection: &Connection, leader_epoch: Option<i32>, ask: &Ask<'_>) -> Result<Fetched, Error> {
    let failed = |cause| Error { doing: DOING, on: format!("{}/{}", ask.topic, ask.partition), cause };
    let response = connection.request(DOING, &request(leader_epoch, ask)).await?;
    if let Some(code) = ResponseError::try_from_code(response.error_code) {
        return Err(failed(Cause::Code(code)));
    }
    connection.throttle_ms(response.throttle_time_ms);
    let throttled = response.throttle_time_ms > 0;
    if throttled && response.responses.is_empty() {
        return Err(failed(Cause::Code(ResponseError::ThrottlingQuotaExceeded)));
    }
    let found = response.responses.into_iter().filter(|found| found.topic.0.as_str() == ask.topic);
    let found = found.flat_map(|found| found.partitions).find(|found| found.partition_index == ask.partition);
    let found = found.ok_or_else(|| failed(Cause::Undecodable("it names another partition".to_owned())))?;
    if let Some(code) = ResponseError::try_from_code(found.error_code) {
        return Err(failed(Cause::Code(code)));
    }
    if found.high_watermark < 0 && throttled {
        return Err(failed(Cause::Code(ResponseError::ThrottlingQuotaExceeded)));
    }
    if found.high_watermark < 0 {
        return Err(failed(Cause::Undecodable("its high watermark is negative".to_owned())));
    }
    let end = match ask.isolation {
        Isolation::Committed => found.last_stable_offset,
        Isolation::Uncommitted => found.high_watermark,
    };
    let aborted = found.aborted_transactions.unwrap_or_default();
    Ok(Fetched {
        high_watermark: Offset(found.high_watermark),
        end: Offset(end),
        aborted: aborted.iter().map(|aborted| (aborted.producer_id.0, Offset(aborted.first_offset))).collect(),
        batches: found.records.unwrap_or_default(),
    })
}

fn request(leader_epoch: Option<i32>, ask: &Ask<'_>) -> FetchRequest {
    let asked = FetchPartition::default()
        .with_partition(ask.partition)
        .with_current_leader_epoch(leader_epoch.unwrap_or(-1))
        .with_fetch_offset(ask.offset.0)
        .with_partition_max_bytes(ask.max_bytes);
    let asked = FetchTopic::default()
        .with_topic(TopicName(StrBytes::from_string(ask.topic.to_owned())))
        .with_partitions(vec![asked]);
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(ask.max_wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(ask.max_bytes)
        .with_isolation_level(ask.isolation.level())
        .with_topics(vec![asked])
}

impl Fetched {
    /// Where each batch begins.
    pub fn base_offsets(&self) -> impl Iterator<Item = Offset> {
        records::batches(self.batches.clone()).flatten().map(|batch| batch.base_offset)
    }

    /// Takes the batches apart from `position` on, each decompressed to at most `limit` bytes.
    /// Records of transactions that were given up are among the others.
    ///
    /// # Errors
    /// Where not even one whole batch stands there, or where a batch begins before the end of the
    /// one before it: reading would go on where it has been.
    pub fn stretch(&self, position: Offset, limit: usize) -> Result<Stretch, String> {
        self.taken_apart(position, limit, None)
    }

    /// The same without the records of transactions that were given up. It ends behind a damaged
    /// batch: that may have been the end of such a transaction, and the broker tells anew of those
    /// that reach further.
    ///
    /// # Errors
    /// As [`Fetched::stretch`].
    pub fn committed_stretch(&self, position: Offset, limit: usize) -> Result<Stretch, String> {
        self.taken_apart(position, limit, Some(Aborted::new(&self.aborted)))
    }

    fn taken_apart(&self, position: Offset, limit: usize, mut aborted: Option<Aborted>) -> Result<Stretch, String> {
        let mut stretch = Stretch { next: Some(position), ..Stretch::default() };
        let mut end = Offset(0);
        for batch in records::batches(self.batches.clone()) {
            let batch = batch?;
            let begin = batch.base_offset;
            if begin < end {
                return Err(format!("a batch at {begin} stands behind one that ends at {end}"));
            }
            if aborted.is_some() && stretch.next.is_none() {
                stretch.next = Some(begin);
                break;
            }
            let said = batch.next_offset().max(begin.next());
            stretch.add(batch, position, limit, aborted.as_mut());
            // What a damaged one says of its offsets may be the damage.
            if stretch.next.is_some() {
                end = said;
            }
        }
        Ok(stretch)
    }
}

impl Stretch {
    /// How many records and damaged batches.
    pub fn len(&self) -> usize {
        self.records.len() + self.damaged.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of its records, and of what is damaged.
    pub fn bytes(&self) -> usize {
        self.records.bytes() + self.damaged.iter().map(|damaged| damaged.bytes.len()).sum::<usize>()
    }

    /// A record or damaged batch, counted from 0 in the order of the log.
    pub fn found(&self, index: usize) -> Option<Found<'_>> {
        let before = self.damaged.partition_point(|damaged| damaged.place < index);
        match self.damaged.get(before) {
            Some(damaged) if damaged.place == index => Some(Found::Damaged(damaged)),
            _ => self.records.get(index - before).map(Found::Record),
        }
    }

    /// Whether it holds what makes rskafka fail.
    pub fn baffles_rskafka(&self) -> bool {
        let beyond = |(name, value): (&[u8], Option<&[u8]>)| value.is_none() || std::str::from_utf8(name).is_err();
        let baffles = |record: RecordView<'_>| record.headers.iter().any(beyond);
        self.controls > 0 || !self.damaged.is_empty() || self.records.iter().any(baffles)
    }

    fn add(&mut self, batch: RawBatch, position: Offset, limit: usize, aborted: Option<&mut Aborted>) {
        match self.add_whole(&batch, position, limit, aborted) {
            Ok(()) => {
                self.next = Some(batch.next_offset().max(batch.base_offset.next()).max(position));
                self.leader_epoch = batch.leader_epoch();
            }
            Err(why) => {
                let (offset, place) = (batch.base_offset.max(position), self.len());
                self.damaged.push(Damaged { offset, bytes: batch.bytes, why, place });
                self.next = None;
                // Its own may be the damage, and that of a batch before it ends before it.
                self.leader_epoch = None;
            }
        }
    }

    fn add_whole(
        &mut self,
        batch: &RawBatch,
        position: Offset,
        limit: usize,
        aborted: Option<&mut Aborted>,
    ) -> Result<(), String> {
        batch.check()?;
        let leaves_out = aborted.map_or(Ok(false), |aborted| aborted.leaves_out(batch))?;
        if batch.is_control() {
            self.controls += 1;
        } else if !leaves_out {
            self.records.add(batch, position, limit)?;
        }
        Ok(())
    }
}

impl Damaged {
    /// Whether another fetch brought the same.
    pub fn is(&self, other: &Self) -> bool {
        self.offset == other.offset && self.bytes == other.bytes
    }
}
