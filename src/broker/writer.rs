//! The topics that are written to, and what all writes to them share.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_client::producer::Uncounted;
use kafka_client::{Cluster, Produced};
use kafka_protocol::ResponseError;
use kafka_records::batch::ProducerId;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Destination, Error, Producer, Trouble, Watch};
use crate::config::{Compression, Config};
use crate::observe::{DurationHistogram, Observe, RouteMetrics};
use crate::ownership::PartitionOwnership;
use crate::topic::TopicPartition;

/// The output topic's place among the writer's topics.
pub const OUTPUT: usize = 0;
/// The dead-letter topic's place among the writer's topics.
pub const DEAD_LETTER: usize = 1;

/// How long the number of a topic's partitions is taken for granted.
const METADATA_MAX_AGE: Duration = Duration::from_secs(60);

/// Writes to the output topics of this process; shared by all workers.
#[derive(Debug)]
pub struct Writer {
    cluster: Arc<Cluster>,
    topics: Vec<Topic>,
    compression: Compression,
    request_timeout: Duration,
    watch: Watch,
    partition_counts: Mutex<Option<(Arc<[i32]>, Instant)>>,
}

#[derive(Debug)]
struct Topic {
    name: Arc<str>,
    metrics: RouteMetrics,
    latency: DurationHistogram,
}

impl Writer {
    /// Writes to `topics`, whose places are what [`Destination::topic`] means.
    pub fn new(config: &Config, topics: &[String], cluster: Arc<Cluster>, watch: Watch, observe: &Observe) -> Self {
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
            watch,
            partition_counts: Mutex::default(),
        }
    }

    /// How many partitions each topic has, as learned within the last minute or so.
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

    /// The topic that a destination is in.
    pub fn topic(&self, to: Destination) -> &str {
        &self.topics[to.topic].name
    }

    /// Whether a topic has fewer partitions now than this one needs.
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

    pub(super) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    pub(super) fn compression(&self) -> Compression {
        self.compression
    }

    /// One attempt.
    pub(super) async fn send(
        &self,
        to: Destination,
        batch: Bytes,
        producer: &Producer,
        ownership: &PartitionOwnership,
    ) -> Result<Produced, Error> {
        let name = &self.topics[to.topic].name;
        let permit = ownership.permit();
        let within = producer.within();
        Ok(self.cluster.produce_under(&permit, within, name, to.partition, batch, self.request_timeout).await?)
    }

    /// Counts what is written, at once or, within a transaction, when that is committed.
    pub(super) fn note_written(
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

    /// The number of the last record that a producer is known to have written there.
    pub(super) async fn last_sequence(&self, to: Destination, of: ProducerId) -> Result<Option<i32>, Error> {
        Ok(self.cluster.last_sequence(&self.topics[to.topic].name, to.partition, of).await?)
    }

    pub(super) fn trouble(&self, to: Destination) -> Trouble {
        let name = &self.topics[to.topic].name;
        self.watch.operation_of("produce", "write to", TopicPartition::new(name, to.partition))
    }
}

/// How metrics name a destination: by its role where it has one.
fn route_label(place: usize, topic: &str) -> &str {
    match place {
        OUTPUT => "output",
        DEAD_LETTER => "dead_letter",
        _ => topic,
    }
}
