//! The sink of a worker's records: through the stages, to the brokers, and into a checkpoint.
//!
//! ```text
//! Sink::deliver: stage ─► pass_gate ─► write ─────────────► redo ──────────────► complete
//!                stages    limits of   output::write, until  what a topic refused: CompletedBatch: the offset
//!                          dead        all is acknowledged   in smaller batches    is stored, or committed
//!                          letters     or refused
//! ```

mod redo;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use kafka_client::clock::unix_ms;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::dead_letter_gate::DeadLetterGate;
use super::delivery::{Aborted, Delivery};
use super::source::Start;
use super::telemetry::{CompletedBatch, Telemetry};
use crate::config::Oversize;
use crate::dead_letter::Fit;
use crate::observe::{Tally, count};
use crate::offsets::StoreError;
use crate::output::{self, Expected, OutputBatch, OutputTopics, Written};
use crate::ownership::PartitionOwnership;
use crate::retry::{Operation, Retries};
use crate::source::SourceBatch;
use crate::stages::{Batch, Counts, Now, Stages};
use crate::topic::TopicPartition;

/// Delivers a partition's batches and keeps its progress.
pub(super) struct Sink {
    of: TopicPartition,
    stages: Box<dyn Stages>,
    outputs: Arc<OutputTopics>,
    delivery: Delivery,
    ownership: PartitionOwnership,
    max_batch_bytes: usize,
    oversize: Oversize,
    gate: Option<DeadLetterGate>,
    telemetry: Arc<Telemetry>,
    /// Failing while a dead letter is refused by its own topic.
    dead_letters: Operation,
    /// Failing while no broker tells how many partitions the outputs have.
    lookup: Operation,
    /// The buffer of the batch before.
    buffer: Vec<u8>,
    /// The tally of a batch that the gate has not let pass yet.
    judged: Tally,
}

/// The parts of a [`Sink`].
pub(super) struct SinkConfig {
    /// The partition whose records are delivered.
    pub of: TopicPartition,
    /// The stages that records go through.
    pub stages: Box<dyn Stages>,
    /// The topics that are written to.
    pub outputs: Arc<OutputTopics>,
    /// The guarantee: when what is written counts.
    pub delivery: Delivery,
    /// The ownership of the partition: nothing is written after it.
    pub ownership: PartitionOwnership,
    /// The most bytes of one written batch.
    pub max_batch_bytes: usize,
    /// The policy for a dead letter that is too large for its topic.
    pub oversize: Oversize,
    /// Keeps dead letters within their limits, where there are any.
    pub gate: Option<DeadLetterGate>,
    /// The policy of retries, and who is told of failures.
    pub retries: Retries,
    /// Metrics, status and tallies.
    pub telemetry: Arc<Telemetry>,
}

impl Sink {
    /// A sink that does not know where its partition begins yet.
    pub(super) fn new(config: SinkConfig) -> Self {
        let SinkConfig {
            of,
            stages,
            outputs,
            delivery,
            ownership,
            max_batch_bytes,
            oversize,
            gate,
            retries,
            telemetry,
        } = config;
        let dead_letters = retries.operation_of("dead_letter", "dead letters of", of.clone());
        let lookup = retries.operation_of("metadata", "look up the outputs of", of.clone());
        let (buffer, judged) = (Vec::new(), Tally::new(stages.dimensions()));
        Self {
            of,
            stages,
            outputs,
            delivery,
            ownership,
            max_batch_bytes,
            oversize,
            gate,
            telemetry,
            dead_letters,
            lookup,
            buffer,
            judged,
        }
    }

    /// Makes sure that nobody else writes for this partition, where that can be had. To be called
    /// before the source is asked where it begins.
    ///
    /// # Errors
    /// [`Aborted`].
    pub(super) async fn prepare(&mut self) -> Result<(), Aborted> {
        self.gate.iter_mut().for_each(DeadLetterGate::roll_back);
        self.delivery.prepare().await
    }

    /// Begins where the source begins.
    ///
    /// # Errors
    /// [`Aborted`].
    pub(super) async fn begin_at(&mut self, start: Start) -> Result<(), Aborted> {
        self.delivery.begin_at(start).await
    }

    /// Takes a batch through the stages and to the brokers. Returns when every record of it is acknowledged, retried for
    /// as long as that takes; where its dead letters pass a limit, an operator has to let them through first.
    ///
    /// # Errors
    /// [`Aborted`], also where it waits for the operator when `stop` is called.
    pub(super) async fn deliver(&mut self, batch: &SourceBatch, stop: &CancellationToken) -> Result<(), Aborted> {
        self.stages.hold();
        let delivered = self.deliver_held(batch, stop).await;
        self.stages.release();
        delivered
    }

    async fn deliver_held(&mut self, batch: &SourceBatch, stop: &CancellationToken) -> Result<(), Aborted> {
        let now = Now::from_unix_ms(unix_ms());
        self.telemetry.begin(batch);
        let partitions = self.partition_counts().await;
        let mut counts = self.gate.as_ref().map(DeadLetterGate::counts).unwrap_or_default();
        #[cfg(feature = "otlp")]
        self.begin_spans(batch, &mut counts);
        let out = self.stage(batch, &now, &partitions, &mut counts);
        self.pass_gate(batch, &counts, stop).await?;
        self.delivery.begin(batch);
        let Written { refused, buffer, .. } = self.write(out).await?;
        self.buffer = buffer;
        self.redo(batch, refused, &now, &mut counts).await?;
        let completed = CompletedBatch::new(batch, counts, self.of.partition, &self.telemetry);
        self.delivery.complete(completed).await?;
        self.settle();
        Ok(())
    }

    /// Begins the spans of a batch's records.
    #[cfg(feature = "otlp")]
    fn begin_spans(&self, batch: &SourceBatch, counts: &mut Counts) {
        let records = (0..batch.len()).filter_map(|index| batch.entry(index)).map(|entry| entry.record);
        counts.spans = self.telemetry.begin_spans(&self.of, records);
    }

    /// Stages all of a batch. What a gate may hold up is counted apart until it has passed; what is part of a transaction
    /// until that is committed.
    fn stage(&mut self, batch: &SourceBatch, now: &Now, partitions: &[i32], counts: &mut Counts) -> OutputBatch {
        let Self { stages, delivery, telemetry, gate, .. } = self;
        let mut at_once;
        let tally = match (gate, delivery.tally()) {
            (Some(_), _) => &mut self.judged,
            (None, Some(open)) => open,
            (None, None) => {
                at_once = telemetry.tally();
                &mut *at_once
            }
        };
        let mut out = OutputBatch::new(self.max_batch_bytes, expected(batch)).within(std::mem::take(&mut self.buffer));
        let mut staged = Batch { now, dead_ms: now.unix_ms, partitions, out: &mut out, counts, tally };
        for (index, entry) in (0..batch.len()).filter_map(|index| Some((index, batch.entry(index)?))) {
            stages.process(&entry, index, Fit::default(), &mut staged);
        }
        out
    }

    /// Returns once a staged batch may be written, and counts it.
    async fn pass_gate(
        &mut self,
        batch: &SourceBatch,
        counts: &Counts,
        stop: &CancellationToken,
    ) -> Result<(), Aborted> {
        let Self { gate: Some(gate), delivery, telemetry, judged, .. } = self else { return Ok(()) };
        while let Err(passed) = gate.judge(count(batch.len()), counts) {
            // What came before is not held up.
            let mut committed = delivery.commit().await;
            let resumed = {
                let mut waited = pin!(stop.run_until_cancelled(gate.wait(passed)));
                loop {
                    if committed.is_err() {
                        break None;
                    }
                    tokio::select! {
                        resumed = &mut waited => break resumed,
                        () = delivery.due() => committed = delivery.commit().await,
                    }
                }
            };
            if resumed.is_none() {
                judged.clear();
                return committed.and(Err(Aborted { pause: Duration::ZERO }));
            }
            gate.settle(); // all before is committed
        }
        match delivery.tally() {
            Some(tally) => tally.merge(judged),
            None => telemetry.tally().merge(judged),
        }
        judged.clear();
        Ok(())
    }

    /// Writes outputs until each is acknowledged, or refused for good.
    ///
    /// # Errors
    /// [`Aborted`] where that is called off, or ends the transaction.
    async fn write(&mut self, out: OutputBatch) -> Result<Written, Aborted> {
        let Self { delivery, outputs, ownership, .. } = self;
        delivery.ready(&out).await?;
        let written = match delivery.producer() {
            Ok(producer) => tokio::select! {
                biased;
                written = output::write(outputs, out, producer, ownership) => written,
                error = delivery.overtaken() => Written::aborted_by(error),
            },
            Err(unidentified) => Written::aborted_by(unidentified),
        };
        match &written.aborted {
            Some(error) => Err(delivery.abort(error).await),
            None => Ok(written),
        }
    }

    /// Lets what the gate has judged count for good once nothing is open any more.
    fn settle(&mut self) {
        let Self { delivery, gate, .. } = self;
        gate.iter_mut().filter(|_| !delivery.is_open()).for_each(DeadLetterGate::settle);
    }

    /// Returns when [`Sink::commit`] is to be called; perhaps never.
    pub(super) async fn due(&self) {
        self.delivery.due().await;
    }

    /// Makes what is written count.
    ///
    /// # Errors
    /// [`Aborted`].
    pub(super) async fn commit(&mut self) -> Result<(), Aborted> {
        self.delivery.commit().await?;
        self.settle();
        Ok(())
    }

    /// Makes all that is written count, and stores the last offset.
    ///
    /// # Errors
    /// Where that fails.
    pub(super) async fn finish(self) -> Result<(), StoreError> {
        self.delivery.finish().await
    }

    /// The number of partitions of each output topic, asked for until some broker tells.
    async fn partition_counts(&mut self) -> Arc<[i32]> {
        loop {
            match self.outputs.partition_counts().await {
                Ok(counts) => {
                    self.lookup.succeeded();
                    return counts;
                }
                Err(error) => sleep(self.lookup.failed(&error)).await,
            }
        }
    }
}

/// About what becomes of a whole batch: each record grows by some fields and a header.
fn expected(batch: &SourceBatch) -> Expected {
    const GROWTH: usize = 96;
    Expected { records: batch.len(), bytes: batch.bytes() + batch.len() * GROWTH }
}
