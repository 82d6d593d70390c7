//! Where a worker's records go: through the stages, to the brokers, and into a checkpoint.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::dead_letter_gate::DeadLetterGate;
use super::delivery::{Aborted, Delivery};
use super::source::Start;
use super::telemetry::{CompletedBatch, Telemetry, unix_ms};
use crate::config::Oversize;
use crate::dead_letter::{Fit, Stage};
use crate::event::{Reason, Rejection};
use crate::kafka::Error;
use crate::observe::{Tally, count};
use crate::offsets::StoreError;
use crate::output::{Destination, Expected, OutputBatch, Refused, Writer};
use crate::record::RecordView;
use crate::retry::{ErrorClass, Operation, Retries};
use crate::source::SourceBatch;
use crate::stages::{Batch, Counts, DEAD_LETTER, Died, Now, Stages};
use crate::topic::TopicPartition;

/// Delivers a partition's batches and keeps its progress.
pub struct Sink {
    config: SinkConfig,
    /// In trouble while a dead letter is refused by its own topic.
    dead_letters: Operation,
    /// In trouble while nobody says how many partitions the outputs have.
    outputs: Operation,
    /// The buffer of the batch before.
    buffer: Vec<u8>,
    /// What is counted of a batch before it is judged.
    judged: Tally,
}

/// What a sink is made of.
pub struct SinkConfig {
    /// Whose records they are.
    pub of: TopicPartition,
    /// What is done to records.
    pub stages: Box<dyn Stages>,
    /// Who knows the outputs' partitions.
    pub writer: Arc<Writer>,
    /// How what is written comes to count.
    pub delivery: Delivery,
    /// The most bytes of one written batch.
    pub max_batch_bytes: usize,
    /// What to do with a dead letter that is too large for its topic.
    pub oversize: Oversize,
    /// Keeps dead letters within their limits, where there are any.
    pub gate: Option<DeadLetterGate>,
    /// Who is told of failures.
    pub retries: Retries,
    /// Who is told of everything else.
    pub telemetry: Arc<Telemetry>,
}

/// Records to be staged and written again, because the batch that they were in was refused.
#[derive(Debug)]
struct Redo {
    sources: Vec<usize>,
    /// Set once their output has refused just these: they are buried for this.
    refused: Option<Error>,
    /// What their dead letters are.
    fit: Fit,
}

impl Sink {
    /// A sink that does not know where its partition begins yet.
    pub fn new(config: SinkConfig) -> Self {
        let dead_letters = config.retries.operation_of("dead_letter", "dead letters of", config.of.clone());
        let outputs = config.retries.operation_of("metadata", "look up the outputs of", config.of.clone());
        let judged = Tally::new(config.stages.dimensions());
        Self { config, dead_letters, outputs, buffer: Vec::new(), judged }
    }

    /// Makes sure that nobody else writes for this partition, where that can be had. To be called
    /// before the source is asked where it begins.
    ///
    /// # Errors
    /// [`Aborted`].
    pub async fn prepare(&mut self) -> Result<(), Aborted> {
        self.config.gate.iter_mut().for_each(DeadLetterGate::roll_back);
        self.config.delivery.prepare().await
    }

    /// Begins where the source begins.
    ///
    /// # Errors
    /// [`Aborted`].
    pub async fn begin_at(&mut self, start: Start) -> Result<(), Aborted> {
        self.config.delivery.begin_at(start, &self.config.telemetry).await
    }

    /// Takes a batch through the stages and to the brokers. Returns when every record of it is
    /// acknowledged, whatever that takes; where its dead letters pass a limit, that takes an
    /// operator's word.
    ///
    /// # Errors
    /// [`Aborted`], also where it waits for that word when `stop` is called.
    pub async fn deliver(&mut self, batch: &SourceBatch, stop: &CancellationToken) -> Result<(), Aborted> {
        self.config.stages.hold();
        let delivered = self.deliver_held(batch, stop).await;
        self.config.stages.release();
        delivered
    }

    async fn deliver_held(&mut self, batch: &SourceBatch, stop: &CancellationToken) -> Result<(), Aborted> {
        let now = Now::from_unix_ms(unix_ms());
        self.config.telemetry.begin(batch);
        let partitions = self.partition_counts().await;
        let mut counts = self.config.gate.as_ref().map(DeadLetterGate::counts).unwrap_or_default();
        #[cfg(feature = "otlp")]
        {
            let records = (0..batch.len()).filter_map(|index| batch.entry(index)).map(|entry| entry.record);
            counts.spans = self.config.telemetry.begin_spans(&self.config.of, records);
        }
        let out = {
            let SinkConfig { stages, delivery, telemetry, max_batch_bytes, gate, .. } = &mut self.config;
            let buffer = std::mem::take(&mut self.buffer);
            let out = OutputBatch::new(*max_batch_bytes, expected(batch)).within(buffer);
            let whole = Redo::of((0..batch.len()).collect());
            let places = (&now, now.unix_ms, &*partitions);
            match (gate, delivery.tally()) {
                (Some(_), _) => stage(&mut **stages, batch, &whole, out, places, &mut counts, &mut self.judged),
                (None, Some(tally)) => stage(&mut **stages, batch, &whole, out, places, &mut counts, tally),
                (None, None) => stage(&mut **stages, batch, &whole, out, places, &mut counts, &mut telemetry.tally()),
            }
        };
        self.pass_gate(batch, &counts, stop).await?;
        self.config.delivery.begin(batch, &self.config.telemetry);
        let written = self.config.delivery.write(out).await?;
        self.buffer = written.buffer;
        let judged = counts.all_dead();
        for refused in written.refused {
            self.redo(batch, refused, &now, &mut counts).await?;
        }
        if let Some(gate) = &mut self.config.gate {
            gate.refused(counts.all_dead() - judged);
        }
        let completed = CompletedBatch::new(batch, counts, self.config.of.partition, &self.config.telemetry);
        self.config.delivery.complete(completed, &self.config.telemetry).await?;
        self.settle();
        Ok(())
    }

    /// What was judged counts for good once nothing is open any more.
    fn settle(&mut self) {
        let SinkConfig { delivery, gate, .. } = &mut self.config;
        gate.iter_mut().filter(|_| !delivery.is_open()).for_each(DeadLetterGate::settle);
    }

    /// Returns once a staged batch may be written, and counts it.
    async fn pass_gate(
        &mut self,
        batch: &SourceBatch,
        counts: &Counts,
        stop: &CancellationToken,
    ) -> Result<(), Aborted> {
        let Self { config: SinkConfig { gate: Some(gate), delivery, telemetry, .. }, judged, .. } = self else {
            return Ok(());
        };
        while let Err(passed) = gate.judge(count(batch.len()), counts) {
            // What came before is not held up.
            let mut committed = delivery.commit(telemetry).await;
            let resumed = {
                let mut waited = pin!(stop.run_until_cancelled(gate.wait(passed)));
                loop {
                    if committed.is_err() {
                        break None;
                    }
                    tokio::select! {
                        resumed = &mut waited => break resumed,
                        () = delivery.due() => committed = delivery.commit(telemetry).await,
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

    /// Returns when [`Sink::commit`] is to be called; perhaps never.
    pub async fn due(&self) {
        self.config.delivery.due().await;
    }

    /// Makes what is written count.
    ///
    /// # Errors
    /// [`Aborted`].
    pub async fn commit(&mut self) -> Result<(), Aborted> {
        self.config.delivery.commit(&self.config.telemetry).await?;
        self.settle();
        Ok(())
    }

    /// Makes all that is written count, and stores the last offset.
    ///
    /// # Errors
    /// Where that fails.
    pub async fn finish(self) -> Result<(), StoreError> {
        self.config.delivery.finish(&self.config.telemetry).await
    }

    /// Writes what was refused in smaller and smaller batches, until the records that are the
    /// reason stand alone: those are buried. What was to follow them follows them.
    async fn redo(
        &mut self,
        batch: &SourceBatch,
        refused: Refused,
        now: &Now,
        counts: &mut Counts,
    ) -> Result<(), Aborted> {
        let mut stack = Vec::new();
        self.split(batch, refused, &Redo::of(Vec::new()), &mut stack, counts).await;
        while let Some(redo) = stack.pop() {
            let partitions = self.partition_counts().await;
            // By the batch's own time rules send each record where they did, and what they dropped is not here. It may be
            // hours old by now, and a dead letter's is what its topic judges it by.
            let places = (now, unix_ms(), &*partitions);
            // Counted the first time already.
            let mut tally = Tally::new(self.config.stages.dimensions());
            let SinkConfig { stages, max_batch_bytes, .. } = &mut self.config;
            let out = OutputBatch::new(*max_batch_bytes, Expected::default());
            let out = stage(&mut **stages, batch, &redo, out, places, &mut Counts::default(), &mut tally);
            for refused in self.config.delivery.write(out).await?.refused {
                self.split(batch, refused, &redo, &mut stack, counts).await;
            }
        }
        self.dead_letters.succeeded();
        Ok(())
    }

    /// What to do instead of what was refused, the first of it on top of the stack.
    async fn split(
        &mut self,
        batch: &SourceBatch,
        refused: Refused,
        before: &Redo,
        stack: &mut Vec<Redo>,
        counts: &mut Counts,
    ) {
        let gone = refused.has_gone();
        let culprits = if gone { Vec::new() } else { culprits(&refused) };
        let Refused { to, sources, behind, error } = refused;
        let again = |sources: Vec<usize>| Redo { sources, refused: before.refused.clone(), fit: before.fit };
        let mut push = |redo: Redo| {
            if !redo.sources.is_empty() {
                stack.push(redo);
            }
        };
        push(again(behind));
        if gone {
            push(again(sources));
        } else if let Some(fit) = self.keyed(batch, &sources, to, &error, before.fit) {
            // All of them, so that they stay in order: those that have a key keep it.
            push(Redo { fit, ..again(sources) });
        } else if culprits.is_empty() {
            let (first, second) = sources.split_at(sources.len() / 2);
            push(again(second.to_vec()));
            push(again(first.to_vec()));
        } else {
            let innocent = sources.into_iter().filter(|source| culprits.binary_search(source).is_err()).collect();
            push(self.without(batch, again(culprits), to, &error, counts).await);
            push(again(innocent));
        }
    }

    /// Of dead letters that are refused because some have no key, as a compacted topic refuses them: those with
    /// one.
    fn keyed(&self, batch: &SourceBatch, sources: &[usize], to: Destination, error: &Error, fit: Fit) -> Option<Fit> {
        let mut entries = sources.iter().filter_map(|source| batch.entry(*source));
        let first = entries.find(|entry| entry.record.key.is_none())?;
        if to.topic != DEAD_LETTER || fit.keyed || !is_about_the_record(error) {
            return None;
        }
        let TopicPartition { topic, partition } = &self.config.of;
        let offset = first.record.offset.0;
        warn!(topic = &**topic, partition, offset, %error, "dead letters without a key get their place as one");
        Some(Fit { keyed: true, ..fit })
    }

    /// What to do with records that are the reason for a refusal: outputs are buried; a dead letter is
    /// cut, where that is what its topic asks for, or waited for.
    async fn without(
        &mut self,
        batch: &SourceBatch,
        culprits: Redo,
        to: Destination,
        error: &Error,
        counts: &mut Counts,
    ) -> Redo {
        if to.topic != DEAD_LETTER {
            let died = |at| Died { at, stage: Stage::Produce, field: None };
            culprits.sources.iter().for_each(|source| counts.died(died(*source), reason(error)));
            return Redo { refused: Some(error.clone()), ..culprits };
        }
        let entries = || culprits.sources.iter().filter_map(|source| batch.entry(*source));
        // Cutting helps against size only; for any other reason something would be lost in vain.
        if reason(error) == Reason::TooLarge && self.config.oversize == Oversize::Truncate {
            let smaller = entries().next().and_then(|alone| self.config.stages.smaller(&alone, culprits.fit));
            if let Some(fit) = smaller {
                return Redo { fit, ..culprits };
            }
        }
        if let Some(entry) = entries().next() {
            self.dead_letters.at(entry.record.offset);
        }
        let pause = match error.is(ResponseError::InvalidTimestamp) {
            true => self.dead_letters.failed_as(ErrorClass::Fatal, &format_args!("{error}; {TIME_OF_NOW}")),
            false => self.dead_letters.failed_as(ErrorClass::Fatal, error),
        };
        sleep(pause).await;
        culprits
    }

    /// How many partitions each output topic has, however long it takes to learn.
    async fn partition_counts(&mut self) -> Arc<[i32]> {
        loop {
            match self.config.writer.partition_counts().await {
                Ok(counts) => {
                    self.outputs.succeeded();
                    return counts;
                }
                Err(error) => sleep(self.outputs.failed(&error)).await,
            }
        }
    }
}

/// Said where the dead-letter topic refuses a time that nobody's record chose.
const TIME_OF_NOW: &str = "a dead letter bears the time of now: set that topic's limits so that it takes it, or the \
                           clock right, of this machine or of the broker";

/// The records that are the reason for a refusal, in ascending order, where that is known: one alone, or
/// those that the broker names.
fn culprits(refused: &Refused) -> Vec<usize> {
    if let [alone] = refused.sources[..] {
        return vec![alone];
    }
    if reason(&refused.error) == Reason::TooLarge {
        return Vec::new(); // the batch is: nobody says which of them
    }
    let named = refused.error.records().iter().filter_map(|at| refused.sources.get(*at).copied());
    let mut named: Vec<usize> = named.collect();
    named.sort_unstable();
    named.dedup();
    named
}

/// Why a record is a dead letter that its output refuses.
fn reason(error: &Error) -> Reason {
    match error.is(ResponseError::MessageTooLarge) || error.is(ResponseError::RecordListTooLarge) {
        true => Reason::TooLarge,
        false => Reason::RefusedByTopic,
    }
}

/// Whether the broker finds fault with the record itself, be it that it has no key. Brokers before 2.4 say the
/// other of the two.
fn is_about_the_record(error: &Error) -> bool {
    error.is(ResponseError::InvalidRecord) || error.is(ResponseError::CorruptMessage)
}

/// What the dead letter of a record says that its output refuses.
fn rejection(error: &Error, record: &RecordView<'_>) -> Rejection {
    let which = match is_about_the_record(error) && record.key.is_none() {
        true => "the record, which has no key",
        false => "the record",
    };
    Rejection::record(reason(error), format!("the output topic refuses {which}: {}", error.why()))
}

/// About what becomes of a whole batch: each record grows by some fields and a header.
fn expected(batch: &SourceBatch) -> Expected {
    const GROWTH: usize = 96;
    Expected { records: batch.len(), bytes: batch.bytes() + batch.len() * GROWTH }
}

/// Stages some of a batch's records. Stages are pure, and hold what changes by itself: doing it again at the same time gives
/// the same.
fn stage(
    stages: &mut dyn Stages,
    batch: &SourceBatch,
    redo: &Redo,
    mut out: OutputBatch,
    (now, dead_ms, partitions): (&Now, i64, &[i32]),
    counts: &mut Counts,
    tally: &mut Tally,
) -> OutputBatch {
    let mut staged = Batch { now, dead_ms, partitions, out: &mut out, counts, tally };
    for index in &redo.sources {
        let Some(entry) = batch.entry(*index) else { continue };
        match &redo.refused {
            Some(error) => stages.refuse(&entry, *index, &rejection(error, &entry.record), redo.fit, &mut staged),
            None => stages.process(&entry, *index, redo.fit, &mut staged),
        }
    }
    out
}

impl Redo {
    fn of(sources: Vec<usize>) -> Self {
        Self { sources, refused: None, fit: Fit::default() }
    }
}
