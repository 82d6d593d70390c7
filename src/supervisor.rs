//! Turns the assignment into running workers: starts those of new partitions, starts again what
//! died, and drains all of them at the end.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::assignment;
use crate::broker::wire::Topic;
use crate::broker::{Admin, Error, Watch};
use crate::config::{Config, CreateTopics};
use crate::offsets::StoreError;
use crate::worker::PartitionWorker;

/// Makes the worker of a partition.
pub trait MakeWorker: Send + Sync {
    /// A worker for this partition of the source topic.
    fn make(&self, topic: &Topic, partition: i32) -> PartitionWorker;
}

/// Keeps the workers of one source topic.
pub struct Supervisor<M> {
    config: Arc<Config>,
    admin: Admin,
    /// Every topic that is written to.
    outputs: Vec<String>,
    watch: Watch,
    make: M,
    workers: JoinSet<Result<(), StoreError>>,
    partitions: HashMap<Id, i32>,
}

/// How the workers ended.
#[derive(Debug, Default)]
pub struct Drained {
    /// Workers that did not finish in time: what they had in flight will be read again.
    pub unfinished: usize,
    /// Checkpoints that could not be stored at the end.
    pub unstored: Vec<StoreError>,
}

impl<M: MakeWorker> Supervisor<M> {
    /// Without workers yet.
    pub fn new(config: Arc<Config>, admin: Admin, outputs: Vec<String>, watch: Watch, make: M) -> Self {
        Self { config, admin, outputs, watch, make, workers: JoinSet::new(), partitions: HashMap::new() }
    }

    /// Runs workers until `stop`, then drains them within the configured time.
    pub async fn run(mut self, stop: &CancellationToken) -> Drained {
        // A token of their own: a worker that ends before is no worker that was stopped.
        let workers_stop = CancellationToken::new();
        stop.run_until_cancelled(self.keep_workers(&workers_stop)).await;
        workers_stop.cancel();
        self.drain().await
    }

    async fn keep_workers(&mut self, stop: &CancellationToken) {
        let topic = self.config.source.topic.clone();
        let mut trouble = self.watch.operation("metadata", format!("look up topic {topic}"));
        loop {
            let pause = match self.look_up().await {
                Ok(found) => {
                    trouble.passed();
                    self.start_new(&found, stop);
                    self.config.assignment.discovery_interval
                }
                Err(error) => trouble.failed(&error),
            };
            tokio::select! {
                () = sleep(pause) => {}
                Some(ended) = self.workers.join_next_with_id(), if !self.workers.is_empty() => self.note_ended(ended),
            }
        }
    }

    /// The source topic, and with it, where the configuration wants that, all topics that are
    /// missing.
    async fn look_up(&self) -> Result<Topic, Error> {
        let topics = &self.config.topics;
        let source = &self.config.source.topic;
        let create = topics.create == CreateTopics::Missing;
        if create {
            self.admin.ensure_topic(source, topics.partitions.unwrap_or(-1), topics.replication).await?;
        }
        let found = self.admin.topic(source).await?;
        for output in self.outputs.iter().filter(|_| create) {
            let partitions = topics.partitions.unwrap_or(found.partition_count());
            self.admin.ensure_topic(output, partitions, topics.replication).await?;
        }
        Ok(found)
    }

    fn start_new(&mut self, topic: &Topic, stop: &CancellationToken) {
        let mode = &self.config.assignment.mode;
        let there: Vec<i32> = topic.partitions.iter().map(|partition| partition.index).collect();
        let missing = assignment::missing(mode, &there);
        if !missing.is_empty() {
            warn!(?missing, "assignment.partitions names partitions that the topic does not have");
        }
        for partition in assignment::assigned(mode, &there) {
            if self.partitions.values().any(|running| *running == partition) {
                continue;
            }
            let worker = self.make.make(topic, partition);
            let task = self.workers.spawn(worker.run(stop.clone()));
            self.partitions.insert(task.id(), partition);
            info!(topic = self.config.source.topic, partition, "assigned");
        }
    }

    /// A worker ends by itself only by a mistake of this program: the next look-up starts another,
    /// which begins at the checkpoint.
    fn note_ended(&mut self, ended: Result<(Id, Result<(), StoreError>), JoinError>) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let partition = self.partitions.remove(&id);
        error!(partition, "the worker of this partition ended unexpectedly; it will be started again");
    }

    async fn drain(mut self) -> Drained {
        let deadline = Instant::now() + self.config.shutdown.timeout;
        let mut drained = Drained::default();
        while let Ok(Some(ended)) = timeout_at(deadline, self.workers.join_next()).await {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(unstored)) => drained.unstored.push(unstored),
                Err(_) => drained.unfinished += 1,
            }
        }
        drained.unfinished += self.workers.len();
        self.workers.shutdown().await;
        drained
    }
}
