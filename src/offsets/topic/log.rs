//! The offsets topic as a log: opened, read on to its end, appended to. Thin: what the records mean
//! is the ledger's.

use std::sync::Arc;
use std::time::Duration;

use kafka_client::clock::unix_ms;
use kafka_client::{Answer, Ask, At, Cluster, Fetched, Isolation, Left, NewTopic, Shortfall};
use kafka_protocol::ResponseError;
use kafka_records::batch::{BatchBuilder, Outgoing};
use kafka_records::records::Window;
use tracing::{info, warn};

use super::error::TopicError;
use super::ledger::{Ledger, Written};
use crate::config::Compression;
use crate::kafka::{Cause, Error};
use crate::record::{Headers, NO_TIMESTAMP, Offset};

/// The meaning of a missing offsets topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// An error: someone else makes it.
    Error,
    /// It is to be made.
    Make {
        /// The number of replicas; -1 leaves that to the broker.
        replication: i16,
    },
    /// Nothing was ever stored: for who only looks.
    Empty,
}

/// The one partition that is used: a log has one order.
const PARTITION: i32 = 0;

/// The settings that a topic is created with. Small segments, since the last one is never compacted and is read at
/// every start; what is compacted goes on being compacted though little is written.
const SETTINGS: [(&str, &str); 3] =
    [("cleanup.policy", "compact"), ("segment.bytes", "8388608"), ("segment.ms", "86400000")];

const POLICY: &str = "cleanup.policy";

/// The most bytes that one fetch asks for.
const FETCH_BYTES: i32 = 1 << 20;
/// The most bytes of records in a batch that is written; brokers take 1 MiB unless told otherwise.
const APPEND_BYTES: usize = 512 << 10;

/// The offsets topic, and how far it has been read.
#[derive(Debug)]
pub(super) struct Log {
    cluster: Arc<Cluster>,
    topic: String,
    missing: Missing,
    timeout: Duration,
    /// Whether the topic was found to be there, and compacted.
    opened: bool,
    /// The next offset to read; `None` before the first.
    position: Option<Offset>,
}

impl Log {
    /// Asks nobody yet.
    pub(super) fn new(cluster: Arc<Cluster>, topic: &str, missing: Missing, timeout: Duration) -> Self {
        Self { cluster, topic: topic.to_owned(), missing, timeout, opened: false, position: None }
    }

    /// Reads all that is there at this moment into the ledger: what was acknowledged to anybody
    /// before this is called is in it afterwards.
    ///
    /// # Errors
    /// Where the topic is not there or not fit, or can't be read whole. Called again, it goes on
    /// where it was.
    pub(super) async fn read_on(&mut self, ledger: &mut Ledger) -> Result<(), TopicError> {
        if !self.opened {
            self.opened = self.open().await?;
        }
        if !self.opened {
            return Ok(());
        }
        let mut position = match self.position {
            Some(position) => position,
            None => {
                ledger.clear();
                self.cluster.offset_at(&self.topic, PARTITION, At::Earliest).await?.unwrap_or_default()
            }
        };
        let mut end = None;
        while end.is_none_or(|end| position < end) {
            let ask = Ask {
                topic: &self.topic,
                partition: PARTITION,
                isolation: Isolation::Uncommitted,
                offset: position,
                max_bytes: FETCH_BYTES,
                max_wait_ms: 0,
            };
            let fetched = self.cluster.fetch(&ask).await.inspect_err(|error| {
                // Made anew, or compacted away below us: what was read may be another log's.
                if error.is(ResponseError::OffsetOutOfRange) {
                    self.position = None;
                }
            })?;
            end.get_or_insert(fetched.high_watermark);
            if fetched.batches.is_empty() {
                if position >= fetched.high_watermark {
                    break;
                }
                return Err(self.undecodable("no batch where there must be one").into());
            }
            position = self.apply(fetched, position, ledger)?;
            self.position = Some(position);
        }
        self.position = Some(position);
        Ok(())
    }

    /// Reads an answer into the ledger, and says where to go on.
    fn apply(&self, fetched: Fetched, position: Offset, ledger: &mut Ledger) -> Result<Offset, TopicError> {
        let damage = |at: Offset, why: &str| TopicError::Batch { log: self.topic.clone(), at, why: why.to_owned() };
        let mut answer = Answer::new(fetched, position.into(), false, false).of_compacted();
        loop {
            let at = answer.at().offset;
            let (stretch, left) = answer.read(&mut window()).map_err(|error| self.undecodable(error.to_string()))?;
            for found in stretch.records.iter() {
                let record = found.record;
                if let Some(flaw) = found.flaw {
                    return Err(damage(record.offset, &flaw.why));
                }
                ledger.apply(record.offset, record.key, record.value);
            }
            match left {
                Left::More => {}
                Left::Odd(why) => return Err(damage(at, &why)),
                Left::Needs(bytes) => return Err(damage(at, &format!("a record has {bytes} bytes"))),
                Left::Nothing if answer.at().offset > position => return Ok(answer.at().offset),
                Left::Nothing => return Err(self.undecodable("no progress").into()),
            }
        }
    }

    /// Appends records in their order, acknowledged by all in-sync replicas.
    ///
    /// # Errors
    /// Where the brokers don't take them, or their answer is lost.
    pub(super) async fn append(&self, records: &[Written]) -> Result<(), Error> {
        match self.append_dated(records, unix_ms()).await {
            // A clock is wrong, or the topic's limits are odd. No broker judges a record without a time, and nobody here
            // asks for it. What was appended before is what it was, a second time.
            Err(error) if error.is(ResponseError::InvalidTimestamp) => {
                warn!(
                    topic = self.topic,
                    %error,
                    "offsets that bear the time of now are refused: they are written without one; is this machine's clock \
                     right, and the broker's?"
                );
                self.append_dated(records, NO_TIMESTAMP).await
            }
            done => done,
        }
    }

    async fn append_dated(&self, records: &[Written], timestamp_ms: i64) -> Result<(), Error> {
        let mut batch = BatchBuilder::default();
        for record in records {
            let (key, value) = (Some(record.key.as_bytes()), record.value.as_ref().map(String::as_bytes));
            batch.append(&Outgoing { timestamp_ms, key, value }, Headers::NONE);
            if batch.bytes() >= APPEND_BYTES {
                self.produce(std::mem::take(&mut batch)).await?;
            }
        }
        if batch.count() > 0 { self.produce(batch).await } else { Ok(()) }
    }

    async fn produce(&self, batch: BatchBuilder) -> Result<(), Error> {
        let batch = batch.finish(Compression::None).map_err(|error| kafka_client::Error::compress(&error))?;
        self.cluster.produce(&self.topic, PARTITION, batch, self.timeout).await?;
        Ok(())
    }

    /// Makes sure that the topic is there, made where it may be, and that brokers delete nothing.
    /// False where it is missing and need not be there.
    async fn open(&self) -> Result<bool, TopicError> {
        match self.look_up().await {
            Err(error) if error.is(ResponseError::UnknownTopicOrPartition) => match self.missing {
                Missing::Make { replication } => self.make(replication).await?,
                Missing::Empty => return Ok(false),
                Missing::Error => return Err(error.into()),
            },
            found => found?,
        }
        match self.cluster.topic_setting(&self.topic, POLICY).await {
            Ok(Some(policy)) if policy == "compact" => Ok(true),
            Ok(Some(policy)) => Err(TopicError::NotCompacted { log: self.topic.clone(), policy }),
            Ok(None) | Err(kafka_client::Error { cause: Cause::Unsupported(_), .. }) => {
                warn!(
                    topic = self.topic,
                    "cleanup.policy of the offsets topic is unknown, the brokers don't tell it: make sure that it is compact"
                );
                Ok(true)
            }
            // Reading and writing it is allowed, looking at its settings is a permission apart.
            Err(error) if error.is(ResponseError::TopicAuthorizationFailed) => {
                warn!(
                    topic = self.topic,
                    "cleanup.policy of the offsets topic is unknown, DescribeConfigs is not allowed: make sure that it is compact"
                );
                Ok(true)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn look_up(&self) -> Result<(), Error> {
        let unknown = || Error::code("look up topic", self.topic.as_str(), ResponseError::UnknownTopicOrPartition);
        let found = self.cluster.topics(&[&self.topic]).await?.remove(&self.topic);
        found.ok_or_else(unknown)??;
        Ok(())
    }

    async fn make(&self, replication: i16) -> Result<(), Error> {
        let wanted = NewTopic { name: &self.topic, partitions: 1, replication, settings: &SETTINGS };
        match self.cluster.create_topic(&wanted).await {
            Ok(created) => {
                let replication = created.replication.unwrap_or(replication);
                info!(topic = self.topic, replication, "topic created, compacted, for offsets");
                if let Some(Shortfall { why, .. }) = created.shortfall {
                    warn!(topic = self.topic, "topic created, but {why}");
                }
            }
            Err(error) if error.is(ResponseError::TopicAlreadyExists) => {} // another instance was faster
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn undecodable(&self, why: impl Into<String>) -> Error {
        Error::new("read offsets in", format!("{}/{PARTITION}", self.topic), Cause::Undecodable(why.into()))
    }
}

/// Room for records of a batch: ours are not compressed, and no larger than this.
fn window() -> Window {
    Window { bytes: 16 << 20, records: usize::MAX, max_record_bytes: 16 << 20, granted: 0 }
}
