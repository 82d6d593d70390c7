//! Makes the workers of partitions, of what all of them share.

use std::sync::Arc;

use kafka_client::Cluster;

use super::PartitionWorker;
use super::budget::Budget;
use super::dead_letter_gate::{DeadLetterGate, DeadLetterGateConfig, ShutdownHandle};
use super::delivery::{AtLeastOnce, AtLeastOnceConfig, Delivery, ExactlyOnce, ExactlyOnceConfig, Transactions};
use super::sink::{Sink, SinkConfig};
use super::source::{Source, SourceConfig};
use super::telemetry::Telemetry;
use crate::config::{Config, StartAt};
use crate::dead_letter::Envelope;
use crate::observe::{Dimensions, Observe};
use crate::offsets::OffsetStore;
use crate::output::OutputTopics;
use crate::ownership::PartitionOwnership;
use crate::retry::Retries;
use crate::source::{PartitionReader, ReaderConfig, Reserve, RskafkaClients};
use crate::stages::{Routes, Stages, StagesFactory};
use crate::topic::{TopicId, TopicPartition};

/// Makes workers that read one source topic; what it holds is shared by all of them.
pub struct WorkerFactory {
    /// The configuration.
    pub config: Arc<Config>,
    /// Metrics, readiness and status.
    pub observe: Observe,
    /// The policy of retries, and who is told of failures.
    pub retries: Retries,
    /// rskafka's client, where that reads.
    pub clients: Arc<RskafkaClients>,
    /// The brokers.
    pub cluster: Arc<Cluster>,
    /// The topics that are written to.
    pub outputs: Arc<OutputTopics>,
    /// The store of checkpoints.
    pub store: Arc<dyn OffsetStore>,
    /// Set where delivery is exactly once.
    pub transactions: Option<Arc<Transactions>>,
    /// The rules that say where records go.
    pub routes: Arc<Routes>,
    /// Makes the stages of each partition.
    pub processor: Arc<dyn StagesFactory>,
    /// The bytes in flight.
    pub budget: Budget,
    /// Memory for what is larger than a fetch asks for.
    pub reserve: Reserve,
    /// Ends the program from within.
    pub shutdown: ShutdownHandle,
}

impl WorkerFactory {
    /// Makes the worker of a partition, which is this instance's for as long as `ownership` lasts; one that `is_new`, since it came into
    /// being while this instance ran, is read from its first record on.
    pub fn make(
        &self,
        partition: i32,
        ownership: PartitionOwnership,
        topic_id: Option<TopicId>,
        is_new: bool,
    ) -> PartitionWorker {
        let Self { config, observe, retries, clients, cluster, outputs, store, routes, budget, reserve, .. } = self;
        let topic = &config.source.topic;
        let metrics = Arc::new(observe.metrics.partition(topic, partition));
        let status = Arc::new(observe.partitions.partition(topic, partition));
        let reader = PartitionReader::new(
            topic_id,
            partition,
            Arc::clone(clients),
            Arc::clone(cluster),
            reserve.clone(),
            ReaderConfig {
                kafka: &config.kafka,
                source: &config.source,
                rskafka_cannot: config.rskafka_cannot(),
                max_record_bytes: config.pipeline.max_record_bytes.as_usize(),
            },
        );
        let source = Source::new(SourceConfig {
            topic: topic.clone(),
            topic_id,
            partition,
            reader,
            store: Arc::clone(store),
            start: if is_new { StartAt::Earliest } else { config.source.start },
            out_of_range: config.source.on_offset_out_of_range,
            share: budget.join(),
            retries: retries.clone(),
            metrics: Arc::clone(&metrics),
            status: Arc::clone(&status),
        });
        let of = TopicPartition::new(topic, partition);
        let gate = DeadLetterGateConfig {
            of: of.clone(),
            observe: observe.clone(),
            status: Arc::clone(&status),
            shutdown: self.shutdown.clone(),
        };
        let gate = DeadLetterGate::new(&config.dead_letter.limits, gate);
        let stages = self.stages(partition);
        let (tally, rules) = (observe.tallies.register(), routes.names());
        let telemetry = Arc::new(Telemetry::new(observe.clone(), metrics, Arc::clone(&status), tally, rules));
        let delivery = self.delivery(&of, &ownership, stages.dimensions(), &telemetry);
        let sink = Sink::new(SinkConfig {
            of,
            stages,
            outputs: Arc::clone(outputs),
            delivery,
            ownership: ownership.clone(),
            max_batch_bytes: config.output.max_batch_bytes.as_usize(),
            oversize: config.dead_letter.oversize,
            gate,
            retries: retries.clone(),
            telemetry,
        });
        PartitionWorker { ownership, source, sink, status }
    }

    fn stages(&self, partition: i32) -> Box<dyn Stages> {
        let dead_letter = &self.config.dead_letter;
        let application = &self.config.kafka.client_id;
        let envelope = Envelope::new(&dead_letter.header_prefix, application, &self.config.source.topic, partition);
        self.processor.make(Arc::clone(&self.routes), envelope, partition)
    }

    /// The guarantee that is configured, for one partition.
    fn delivery(
        &self,
        of: &TopicPartition,
        ownership: &PartitionOwnership,
        dimensions: Dimensions,
        telemetry: &Arc<Telemetry>,
    ) -> Delivery {
        let (of, ownership, telemetry) = (of.clone(), ownership.clone(), Arc::clone(telemetry));
        match &self.transactions {
            Some(transactions) => {
                let transactions = Arc::clone(transactions);
                let config = ExactlyOnceConfig { of, transactions, ownership, dimensions, telemetry };
                Delivery::ExactlyOnce(Box::new(ExactlyOnce::new(config)))
            }
            None => Delivery::AtLeastOnce(Box::new(AtLeastOnce::new(AtLeastOnceConfig {
                of,
                store: Arc::clone(&self.store),
                checkpoint_interval: self.config.offsets.checkpoint_interval,
                ownership,
                retries: self.retries.clone(),
                telemetry,
            }))),
        }
    }
}
