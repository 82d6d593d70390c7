//! The topics that are written to: their partitions, their metrics, and one attempt at writing to one of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_client::producer::{Producer, Uncounted};
use kafka_client::{Cluster, Produced};
use kafka_protocol::ResponseError;
use kafka_records::batch::ProducerId;
use kafka_records::output::Destination;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::config::{Compression, Config};
use crate::kafka::Error;
use crate::observe::{DurationHistogram, Observe, RouteMetrics};
use crate::ownership::PartitionOwnership;
use crate::retry::{Operation, Retries};
use crate::topic::TopicPartition;

/// The output topic's place among the [`OutputTopics`].
pub const OUTPUT: usize = 0;
/// The dead-letter topic's place among the [`OutputTopics`].
pub const DEAD_LETTER: usize = 1;

/// The age up to which a topic's number of partitions is not asked for again.
const METADATA_MAX_AGE: Duration = Duration::from_secs(60);

/// The output topics of this process; shared by all workers.
#[derive(Debug)]
pub struct OutputTopics {
    cluster: Arc<Cluster>,
    topics: Vec<Topic>,
    compression: Compression,
    request_timeout: Duration,
    retries: Retries,
    partition_counts: Mutex<Option<(Arc<[i32]>, Instant)>>,
}

#[derive(Debug)]
struct Topic {
    name: Arc<str>,
    metrics: RouteMetrics,
    latency: DurationHistogram,
}

impl OutputTopics {
    /// Knows `topics`, whose places are what [`Destination::topic`] means.
    pub fn new(config: &Config, topics: &[String], cluster: Arc<Cluster>, retries: Retries, observe: &Observe) -> Self {
        let topic = |(place, name): (usize, &String)| Topic {
            name: name.as_str().into(),
            metrics: observe.metrics.route(route_label(place, name)),
            latency: observe.metrics.produce(name),
        };
        Self {
            cluster,
            topics: topics.iter().enumerate().map(topic).collect(),
            compression: config.output.compression,
            request_timeout: config.kafka.request_timeout,
            retries,
            partition_counts: Mutex::default(),
        }
    }

    /// The number of partitions of each topic, as learned within the last minute or so.
    ///
    /// # Errors
    /// Where that is not known, and no broker answers or a topic is not there.
    pub async fn partition_counts(&self) -> Result<Arc<[i32]>, Error> {
        let mut known = self.partition_counts.lock().await;
        match &mut *known {
            Some((counts, learned)) if learned.elapsed() < METADATA_MAX_AGE => Ok(Arc::clone(counts)),
            Some((counts, learned)) => {
                // What was known serves until the brokers answer again.
                if let Ok(found) = self.ask_partition_counts().await {
                    *counts = found;
                }
                *learned = Instant::now();
                Ok(Arc::clone(counts))
            }
            None => {
                let found = self.ask_partition_counts().await?;
                *known = Some((Arc::clone(&found), Instant::now()));
                Ok(found)
            }
        }
    }

    /// The name of the topic that a destination is in.
    pub fn name(&self, to: Destination) -> &str {
        &self.topics[to.topic].name
    }

    /// Asks whether a topic has fewer partitions now than this one needs.
    pub async fn has_gone(&self, to: Destination) -> bool {
        let Ok(counts) = self.ask_partition_counts().await else { return false };
        let gone = counts.get(to.topic).is_some_and(|count| to.partition >= *count);
        *self.partition_counts.lock().await = Some((counts, Instant::now()));
        gone
    }

    async fn ask_partition_counts(&self) -> Result<Arc<[i32]>, Error> {
        let names: Vec<_> = self.topics.iter().map(|topic| &*topic.name).collect();
        let mut found: HashMap<_, _> = self.cluster.topics(&names).await?;
        let unknown = |name: &str| Error::code("look up topic", name, ResponseError::UnknownTopicOrPartition);
        names.iter().map(|name| Ok(found.remove(*name).ok_or_else(|| unknown(name))??.partition_count())).collect()
    }

    /// The codec of batches.
    pub(super) fn compression(&self) -> Compression {
        self.compression
    }

    /// Sends a batch, once. Nothing is sent without a permit of the `ownership`.
    pub(super) async fn produce(
        &self,
        to: Destination,
        batch: Bytes,
        producer: &Producer,
        ownership: &PartitionOwnership,
    ) -> Result<Produced, Error> {
        let permit = ownership.permit();
        let (name, within) = (&self.topics[to.topic].name, producer.within());
        Ok(self.cluster.produce_under(&permit, within, name, to.partition, batch, self.request_timeout).await?)
    }

    /// Asks for the id of an idempotent producer, once.
    pub(super) async fn init_producer_id(&self) -> Result<ProducerId, kafka_client::Error> {
        self.cluster.init_producer_id().await
    }

    /// Counts what is written, at once or, within a transaction, when that is committed.
    pub(super) fn count_written(
        &self,
        to: Destination,
        (records, bytes): (u64, u64),
        took: Duration,
        producer: &Producer,
    ) {
        let Topic { metrics, latency, .. } = &self.topics[to.topic];
        match producer.within() {
            Some(_) => producer.count_later(to, records, bytes),
            None => metrics.count(records, bytes),
        }
        latency.observe(took);
    }

    /// Counts what was written within a transaction that is committed now.
    pub fn count(&self, written: Uncounted) {
        for (to, (records, bytes)) in written {
            self.topics[to.topic].metrics.count(records, bytes);
        }
    }

    /// Asks for the sequence number of the last record that a producer is known to have written there.
    pub(super) async fn last_sequence(&self, to: Destination, of: ProducerId) -> Result<Option<i32>, Error> {
        Ok(self.cluster.last_sequence(self.name(to), to.partition, of).await?)
    }

    /// The operation of writing to a partition, for its first failure.
    pub(super) fn operation(&self, to: Destination) -> Operation {
        self.retries.operation_of("produce", "write to", TopicPartition::new(self.name(to), to.partition))
    }
}

/// The name that metrics have for a topic: its role where it has one.
fn route_label(place: usize, topic: &str) -> &str {
    match place {
        OUTPUT => "output",
        DEAD_LETTER => "dead_letter",
        _ => topic,
    }
}
