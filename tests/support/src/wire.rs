//! Raw requests to a broker, and whole partitions read through them.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::AbortedTransaction;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    FetchRequest, FindCoordinatorRequest, ListOffsetsRequest, MetadataRequest, MetadataResponse, OffsetFetchRequest,
    ProduceRequest, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::records::{Batch, Batches, RawRecord};

const DEADLINE: Duration = Duration::from_secs(20);
/// How long a partition may have no leader, as after a broker's death.
const PATIENCE: Duration = Duration::from_secs(60);

const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

/// One connection, one request at a time.
pub struct Connection {
    stream: TcpStream,
    next_id: i32,
}

impl Connection {
    /// Connects to `host:port`.
    pub async fn open(address: &str) -> Result<Self> {
        let stream = timeout(DEADLINE, TcpStream::connect(address))
            .await
            .with_context(|| format!("connecting to {address} took too long"))?
            .with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, next_id: 0 })
    }

    /// Connects to the first of `bootstrap` (`host:port,host:port`) that answers.
    pub async fn any(bootstrap: &str) -> Result<Self> {
        let mut last = anyhow!("no brokers named");
        for address in bootstrap.split(',') {
            match Self::open(address).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Sends a request in this version and waits for its answer.
    pub async fn call<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response> {
        self.call_within(DEADLINE, request, version).await
    }

    /// [`Connection::call`], for an answer that may take so long.
    pub async fn call_within<R: Request>(
        &mut self,
        patience: Duration,
        request: &R,
        version: i16,
    ) -> Result<R::Response> {
        timeout(patience, self.exchange(request, version)).await.context("no answer in time")?
    }

    async fn exchange<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response> {
        self.next_id += 1;
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.next_id)
            .with_client_id(Some(StrBytes::from_static_str("audit")));
        let mut frame = BytesMut::new();
        frame.put_i32(0);
        header.encode(&mut frame, R::header_version(version))?;
        request.encode(&mut frame, version)?;
        let length = i32::try_from(frame.len() - 4)?;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        self.stream.write_all(&frame).await?;

        let length = usize::try_from(self.stream.read_i32().await?)?;
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).await?;
        let mut answer = Bytes::from(answer);
        let header = ResponseHeader::decode(&mut answer, R::Response::header_version(version))?;
        ensure!(header.correlation_id == self.next_id, "an answer to another request");
        R::Response::decode(&mut answer, version)
    }
}

/// What the broker at `bootstrap` knows of the cluster: all brokers that live, all topics.
pub async fn metadata(bootstrap: &str) -> Result<MetadataResponse> {
    let request = MetadataRequest::default().with_topics(None).with_allow_auto_topic_creation(false);
    Connection::any(bootstrap).await?.call(&request, 12).await
}

/// The partitions of a topic, in order.
pub async fn partitions(bootstrap: &str, topic: &str) -> Result<Vec<i32>> {
    let known = metadata(bootstrap).await?;
    let found = known.topics.iter().find(|known| known.name.as_ref().is_some_and(|name| name.0.as_str() == topic));
    let found = found.with_context(|| format!("there is no topic {topic:?}"))?;
    let mut partitions: Vec<i32> = found.partitions.iter().map(|partition| partition.partition_index).collect();
    partitions.sort_unstable();
    Ok(partitions)
}

/// Reads all committed records of a partition that are there now, oldest first.
pub async fn read_partition(
    bootstrap: &str,
    topic: &str,
    partition: i32,
    mut visit: impl FnMut(RawRecord),
) -> Result<()> {
    let mut next = None;
    let mut end = None;
    let mut until = Instant::now() + PATIENCE;
    loop {
        let before = next;
        match read_on(bootstrap, topic, partition, &mut next, &mut end, &mut visit).await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() >= until => {
                return Err(error.context(format!("reading {topic}-{partition} from {next:?}")));
            }
            Err(_) => sleep(Duration::from_millis(300)).await,
        }
        if next != before {
            until = Instant::now() + PATIENCE;
        }
    }
}

/// All batches of a partition up to its last stable offset, markers too, whether they count or not.
pub async fn batches(bootstrap: &str, topic: &str, partition: i32) -> Result<Vec<Batch>> {
    let mut connection = Connection::open(&leader(bootstrap, topic, partition).await?).await?;
    let mut next = offset(&mut connection, topic, partition, EARLIEST).await?;
    let end = offset(&mut connection, topic, partition, LATEST).await?;
    let mut all = Vec::new();
    while next < end {
        let fetched = fetch(&mut connection, topic, partition, next).await?;
        let before = next;
        for batch in Batches::new(fetched.records) {
            let batch = batch?;
            next = batch.next_offset();
            all.push(batch);
        }
        ensure!(next > before, "no progress at offset {before} of {end}");
    }
    Ok(all)
}

async fn read_on(
    bootstrap: &str,
    topic: &str,
    partition: i32,
    next: &mut Option<i64>,
    end: &mut Option<i64>,
    visit: &mut impl FnMut(RawRecord),
) -> Result<()> {
    let mut connection = Connection::open(&leader(bootstrap, topic, partition).await?).await?;
    if next.is_none() {
        *next = Some(offset(&mut connection, topic, partition, EARLIEST).await?);
    }
    if end.is_none() {
        *end = Some(offset(&mut connection, topic, partition, LATEST).await?);
    }
    let (Some(from), Some(end)) = (next.as_mut(), *end) else { bail!("no offsets") };
    while *from < end {
        let fetched = fetch(&mut connection, topic, partition, *from).await?;
        let mut aborted = Aborted::new(fetched.aborted);
        let before = *from;
        for batch in Batches::new(fetched.records) {
            let batch = batch?;
            if aborted.covers(&batch) {
                *from = batch.next_offset();
                continue;
            }
            for record in batch.records()? {
                if record.offset >= *from && record.offset < end {
                    visit(record);
                }
            }
            *from = batch.next_offset();
        }
        ensure!(*from > before, "no progress at offset {before} of {end}");
    }
    Ok(())
}

/// Writes one encoded batch, and waits for all in-sync replicas; returns its base offset.
pub async fn produce(bootstrap: &str, topic: &str, partition: i32, batch: Bytes) -> Result<i64> {
    let mut connection = Connection::open(&leader(bootstrap, topic, partition).await?).await?;
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
    let data = TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(15_000).with_topic_data(vec![data]);
    let answer = connection.call(&request, 7).await?;
    let written = answer.responses.first().and_then(|topic| topic.partition_responses.first());
    let written = written.context("an empty answer")?;
    ensure!(written.error_code == 0, "error code {} for a batch", written.error_code);
    Ok(written.base_offset)
}

/// The address of a partition's leader.
pub async fn leader(bootstrap: &str, topic: &str, partition: i32) -> Result<String> {
    let known = metadata(bootstrap).await?;
    let topics = known.topics.iter().filter(|known| known.name.as_ref().is_some_and(|name| name.0.as_str() == topic));
    let found = topics.flat_map(|topic| &topic.partitions).find(|found| found.partition_index == partition);
    let leader = found.with_context(|| format!("there is no {topic}-{partition}"))?.leader_id;
    let broker = known.brokers.iter().find(|broker| broker.node_id == leader);
    let broker = broker.with_context(|| format!("{topic}-{partition} has no leader"))?;
    Ok(format!("{}:{}", broker.host.as_str(), broker.port))
}

/// Where a partition's committed records end.
pub async fn end(bootstrap: &str, topic: &str, partition: i32) -> Result<i64> {
    let mut connection = Connection::open(&leader(bootstrap, topic, partition).await?).await?;
    offset(&mut connection, topic, partition, LATEST).await
}

/// The address of a group's coordinator, as the first of the brokers that answers has it.
pub async fn coordinator(bootstrap: &str, group: &str) -> Result<String> {
    let find = FindCoordinatorRequest::default().with_key(StrBytes::from_string(group.to_owned()));
    let found = Connection::any(bootstrap).await?.call(&find, 3).await?;
    ensure!(found.error_code == 0, "error code {} for a coordinator", found.error_code);
    Ok(format!("{}:{}", found.host.as_str(), found.port))
}

/// The offsets that a group has committed of a topic, by partition.
pub async fn committed(bootstrap: &str, group: &str, topic: &str) -> Result<BTreeMap<i32, i64>> {
    let mut coordinator = Connection::open(&coordinator(bootstrap, group).await?).await?;
    let group = StrBytes::from_string(group.to_owned());
    let request = OffsetFetchRequest::default().with_group_id(group.into()).with_topics(None);
    let answer = coordinator.call(&request, 5).await?;
    ensure!(answer.error_code == 0, "error code {} for a group's offsets", answer.error_code);
    let topics = answer.topics.iter().filter(|found| found.name.0.as_str() == topic);
    Ok(topics
        .flat_map(|topic| &topic.partitions)
        .map(|found| (found.partition_index, found.committed_offset))
        .collect())
}

/// Waits until no transaction is open on a partition: a coordinator says that one has ended before its
/// markers stand in the logs. One that stays open is waited for as long as `PATIENCE`.
pub async fn settled(bootstrap: &str, topic: &str, partition: i32) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        match open(bootstrap, topic, partition).await {
            Ok(false) => return Ok(()),
            settled if Instant::now() >= until => return settled.map(drop),
            _ => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Whether a transaction is open on a partition.
async fn open(bootstrap: &str, topic: &str, partition: i32) -> Result<bool> {
    let mut connection = Connection::open(&leader(bootstrap, topic, partition).await?).await?;
    let end = offset_at(&mut connection, topic, partition, LATEST, Isolation::ReadUncommitted).await?;
    Ok(offset(&mut connection, topic, partition, LATEST).await? < end)
}

/// Which records count.
#[derive(Clone, Copy)]
enum Isolation {
    ReadUncommitted,
    ReadCommitted,
}

async fn offset(connection: &mut Connection, topic: &str, partition: i32, at: i64) -> Result<i64> {
    offset_at(connection, topic, partition, at, Isolation::ReadCommitted).await
}

async fn offset_at(
    connection: &mut Connection,
    topic: &str,
    partition: i32,
    at: i64,
    isolation: Isolation,
) -> Result<i64> {
    let asked = ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(at);
    let topic = ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(vec![asked]);
    let request = ListOffsetsRequest::default()
        .with_replica_id((-1).into())
        .with_isolation_level(isolation as i8)
        .with_topics(vec![topic]);
    let answer = connection.call(&request, 2).await?;
    let found = answer.topics.first().and_then(|topic| topic.partitions.first()).context("an empty answer")?;
    ensure!(found.error_code == 0, "error code {} for an offset", found.error_code);
    Ok(found.offset)
}

struct Fetched {
    records: Bytes,
    aborted: Vec<AbortedTransaction>,
}

async fn fetch(connection: &mut Connection, topic: &str, partition: i32, from: i64) -> Result<Fetched> {
    let most = 4 << 20;
    let asked =
        FetchPartition::default().with_partition(partition).with_fetch_offset(from).with_partition_max_bytes(most);
    let topic = FetchTopic::default().with_topic(topic_name(topic)).with_partitions(vec![asked]);
    let request = FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_max_bytes(most)
        .with_isolation_level(1)
        .with_topics(vec![topic]);
    let answer = connection.call(&request, 4).await?;
    let found = answer.responses.into_iter().flat_map(|topic| topic.partitions).next().context("an empty answer")?;
    ensure!(found.error_code == 0, "error code {} for a fetch", found.error_code);
    Ok(Fetched { records: found.records.unwrap_or_default(), aborted: found.aborted_transactions.unwrap_or_default() })
}

/// A topic's name as the protocol's messages have it.
pub fn topic_name(topic: &str) -> TopicName {
    StrBytes::from_string(topic.to_owned()).into()
}

/// The transactions in a fetched stretch whose records don't count.
struct Aborted {
    to_come: Vec<AbortedTransaction>,
    open: HashSet<i64>,
}

impl Aborted {
    fn new(mut to_come: Vec<AbortedTransaction>) -> Self {
        to_come.sort_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
        Self { to_come, open: HashSet::new() }
    }

    /// Whether a batch is to be passed over: control batches, and those of aborted transactions.
    fn covers(&mut self, batch: &Batch) -> bool {
        while self.to_come.last().is_some_and(|transaction| transaction.first_offset < batch.next_offset()) {
            self.open.extend(self.to_come.pop().map(|transaction| i64::from(transaction.producer_id)));
        }
        if batch.is_control() {
            // Commit or abort, it ends what was open.
            self.open.remove(&batch.producer_id);
            return true;
        }
        batch.is_transactional() && self.open.contains(&batch.producer_id)
    }
}
