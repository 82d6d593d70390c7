//! A transactional producer by hand: its transactions end as a test wants.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, EndTxnRequest, FindCoordinatorRequest, InitProducerIdRequest, ProduceRequest,
    TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use tokio::time::{Instant, sleep};

use super::wire::{Connection, leader, topic_name};

/// A coordinator that is asked for the first time makes its log first.
const PATIENCE: Duration = Duration::from_secs(60);

const TRANSACTION: i8 = 1;
/// CONCURRENT_TRANSACTIONS: the one before is not over everywhere.
const NOT_YET: i16 = 51;

/// One producer, and the one partition that it writes to.
pub struct Transactions {
    id: TransactionalId,
    topic: String,
    partition: i32,
    coordinator: Connection,
    leader: Connection,
    producer: i64,
    epoch: i16,
    sequence: i32,
}

impl Transactions {
    pub async fn new(bootstrap: &str, id: &str, topic: &str, partition: i32) -> Result<Self> {
        let until = Instant::now() + PATIENCE;
        loop {
            match Self::begin(bootstrap, id, topic, partition).await {
                Err(_) if Instant::now() < until => sleep(Duration::from_millis(300)).await,
                begun => return begun,
            }
        }
    }

    async fn begin(bootstrap: &str, id: &str, topic: &str, partition: i32) -> Result<Self> {
        let key = StrBytes::from_string(id.to_owned());
        let find = FindCoordinatorRequest::default().with_key(key.clone()).with_key_type(TRANSACTION);
        let found = Connection::any(bootstrap).await?.call(&find, 3).await?;
        ensure!(found.error_code == 0, "error code {} for a coordinator", found.error_code);
        let mut coordinator = Connection::open(&format!("{}:{}", found.host.as_str(), found.port)).await?;
        let id = TransactionalId(key);
        let init = InitProducerIdRequest::default()
            .with_transactional_id(Some(id.clone()))
            .with_transaction_timeout_ms(60_000)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let given = coordinator.call(&init, 3).await?;
        ensure!(given.error_code == 0, "error code {} for a producer id", given.error_code);
        Ok(Self {
            id,
            topic: topic.to_owned(),
            partition,
            coordinator,
            leader: Connection::open(&leader(bootstrap, topic, partition).await?).await?,
            producer: given.producer_id.0,
            epoch: given.producer_epoch,
            sequence: 0,
        })
    }

    /// Writes a batch of so many records, not yet a transaction's, in one. To be ended before the
    /// next transaction begins.
    pub async fn write(&mut self, batch: Bytes, records: i32) -> Result<()> {
        self.add_partition().await?;
        let batch = self.stamped(batch);
        let data = PartitionProduceData::default().with_index(self.partition).with_records(Some(batch));
        let data = TopicProduceData::default().with_name(topic_name(&self.topic)).with_partition_data(vec![data]);
        let produce = ProduceRequest::default()
            .with_transactional_id(Some(self.id.clone()))
            .with_acks(-1)
            .with_timeout_ms(15_000)
            .with_topic_data(vec![data]);
        let answer = self.leader.call(&produce, 7).await?;
        let topic = answer.responses.first().context("an empty answer")?;
        let code = topic.partition_responses.first().context("an empty answer")?.error_code;
        ensure!(code == 0, "error code {code} for a produce");
        self.sequence += records;
        Ok(())
    }

    /// Commits what was written since the last end, or gives it up.
    pub async fn end(&mut self, commit: bool) -> Result<()> {
        let end = EndTxnRequest::default()
            .with_transactional_id(self.id.clone())
            .with_producer_id(self.producer.into())
            .with_producer_epoch(self.epoch)
            .with_committed(commit);
        let code = self.coordinator.call(&end, 3).await?.error_code;
        ensure!(code == 0, "error code {code} for the end of a transaction");
        Ok(())
    }

    async fn add_partition(&mut self) -> Result<()> {
        let topic =
            AddPartitionsToTxnTopic::default().with_name(topic_name(&self.topic)).with_partitions(vec![self.partition]);
        let add = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(self.id.clone())
            .with_v3_and_below_producer_id(self.producer.into())
            .with_v3_and_below_producer_epoch(self.epoch)
            .with_v3_and_below_topics(vec![topic]);
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = self.coordinator.call(&add, 3).await?;
            let topic = answer.results_by_topic_v3_and_below.first().context("an empty answer")?;
            let partition = topic.results_by_partition.first().context("an empty answer")?;
            match partition.partition_error_code {
                0 => return Ok(()),
                NOT_YET if Instant::now() < until => sleep(Duration::from_millis(5)).await,
                code => anyhow::bail!("error code {code} for a partition of a transaction"),
            }
        }
    }

    /// The batch as this producer's next one, of a transaction.
    fn stamped(&self, batch: Bytes) -> Bytes {
        let mut bytes = batch.to_vec();
        bytes[22] |= 0x10;
        bytes[43..51].copy_from_slice(&self.producer.to_be_bytes());
        bytes[51..53].copy_from_slice(&self.epoch.to_be_bytes());
        bytes[53..57].copy_from_slice(&self.sequence.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        bytes.into()
    }
}
