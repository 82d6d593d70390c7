//! `Fetch`: record batches as they lie in a partition's log, so that it is read, stepped over or dead-lettered batch by
//! batch. Spoken up to version 11: topic ids begin at 13.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use kafka_records::record::Offset;
use kafka_records::schema::Field::{self, Blob, Fixed, Since, Structs, Text};

use crate::response_schema::{ERROR, THROTTLE};
use crate::versions::Api;
use crate::{Cause, Cluster, Connection, Error};

/// The API, as it is spoken here.
pub(crate) const API: Api = Api::of::<FetchRequest>(4, 11, RESPONSE);

const RESPONSE: &[Field] = &[
    THROTTLE,
    Since(7, &ERROR),
    Since(7, &Fixed(4)), // session
    Structs(&[
        Text,
        Structs(&[
            Fixed(4),
            ERROR,
            Fixed(8 + 8), // high watermark, last stable offset
            Since(5, &Fixed(8)),
            Structs(&[Fixed(8 + 8)]), // aborted transactions
            Since(11, &Fixed(4)),
            Blob, // the records: stepped over as a whole
        ]),
    ]),
];

const DOING: &str = "fetch batches of";

/// The isolation of a fetch: up to where it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Up to the last stable offset, which leaves out undecided transactions.
    Committed,
    /// Up to the high watermark, undecided transactions included.
    Uncommitted,
}

impl Isolation {
    /// Its number in the protocol.
    pub(crate) fn level(self) -> i8 {
        match self {
            Self::Uncommitted => 0,
            Self::Committed => 1,
        }
    }
}

/// What to fetch, and how much.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: i32,
    /// Up to where.
    pub isolation: Isolation,
    /// The offset to begin at.
    pub offset: Offset,
    /// The most bytes, about, and one batch whatever its size. An answer of more than that waits for memory.
    pub max_bytes: i32,
    /// The longest time that the broker may hold the fetch while there is nothing, in milliseconds.
    pub max_wait_ms: i32,
}

/// The batches that a fetch brought.
#[derive(Debug)]
pub struct Fetched {
    /// The offset behind the last record that all in-sync replicas have.
    pub high_watermark: Offset,
    /// The offset up to which such a fetch reads: the high watermark, or the last stable offset.
    pub end: Offset,
    /// The transactions given up that reach into the batches: producer id, and first offset. Told to
    /// a fetch of what is committed only.
    pub aborted: Vec<(i64, Offset)>,
    /// The epoch in which the leader leads, where that is known: no batch is of a later one.
    pub leader_epoch: Option<i32>,
    /// Record batches, the last perhaps cut short.
    pub batches: Bytes,
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
            self.forget_leader(ask.topic, ask.partition);
        }
        fetched
    }
}

/// Fetches batches from the leader of a partition, in the epoch in which it leads where that is
/// known (KIP-320): a broker that leads in another says so instead of what is in its log.
pub(crate) async fn fetch(connection: &Connection, leader_epoch: Option<i32>, ask: &Ask<'_>) -> Result<Fetched, Error> {
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
        leader_epoch,
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
