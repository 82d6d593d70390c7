//! Where a worker's records go: through the stages, to the brokers, and into a checkpoint.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::accounts::{Accounts, Done, unix_ms};
use super::delivery::{Aborted, Delivery};
use super::gate::Gate;
use super::source::Start;
use crate::broker::{Destination, Error, Expected, OutputBatch, Refused, SourceBatch, Trouble, Watch, Writer};
use crate::config::Oversize;
use crate::event::{Reason, Rejection};
use crate::observe::{Tally, count};
use crate::offsets::StoreError;
use crate::record::TopicPartition;
use crate::retry::ErrorClass;
use crate::stages::{Batch, Counts, DEAD_LETTER, Now, Stages};

/// Delivers a partition's batches and keeps its progress.
pub struct Sink {
    parts: SinkParts,
    /// In trouble while a dead letter is refused by its own topic.
    dead_letters: Trouble,
    /// In trouble while nobody says how many partitions the outputs have.
    outputs: Trouble,
    /// The buffer of the batch before.
    buffer: Vec<u8>,
    /// What is counted of a batch before it is judged.
    judged: Tally,
}

/// What a sink is made of.
pub struct SinkParts {
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
    pub gate: Option<Gate>,
    /// Who is told of failures.
    pub watch: Watch,
    /// Who is told of everything else.
    pub accounts: Arc<Accounts>,
}

/// Records to be staged and written again, because the batch that they were in was refused.
#[derive(Debug)]
struct Redo {
    sources: Vec<usize>,
    /// Set once a record alone was refused by its output: it is buried for this.
    rejection: Option<Rejection>,
    /// The most bytes of a dead letter's value.
    limit: Option<usize>,
}

impl Sink {
    /// A sink that does not know where its partition begins yet.
    pub fn new(parts: SinkParts) -> Self {
        let dead_letters = parts.watch.operation_of("dead_letter", "dead letters of", parts.of.clone());
        let outputs = parts.watch.operation_of("metadata", "look up the outputs of", parts.of.clone());
        let judged = Tally::new(parts.stages.dimensions());
        Self { parts, dead_letters, outputs, buffer: Vec::new(), judged }
    }

    /// Makes sure that nobody else writes for this partition, where that can be had. To be called
    /// before the source is asked where it begins.
    ///
    /// # Errors
    /// [`Aborted`].
    pub async fn prepare(&mut self) -> Result<(), Aborted> {
        self.parts.gate.iter_mut().for_each(Gate::roll_back);
        self.parts.delivery.prepare().await
    }

    /// Begins where the source begins.
    ///
    /// # Errors
    /// [`Aborted`].
    pub async fn begin_at(&mut self, start: Start) -> Result<(), Aborted> {
        self.parts.delivery.begin_at(start, &self.parts.accounts).await
    }

    /// Takes a batch through the stages and to the brokers. Returns when every record of it is
    /// acknowledged, whatever that takes; where its dead letters pass a limit, that takes an
    /// operator's word.
    ///
    /// # Errors
    /// [`Aborted`], also where it waits for that word when `stop` is called.
    pub async fn deliver(&mut self, batch: &SourceBatch, stop: &CancellationToken) -> Result<(), Aborted> {
        let now = Now::from_unix_ms(unix_ms());
        let partitions = self.partition_counts().await;
        let mut counts = self.parts.gate.as_ref().map(Gate::counts).unwrap_or_default();
        #[cfg(feature = "otlp")]
        {
            let records = (0..batch.len()).filter_map(|index| batch.entry(index)).map(|entry| entry.record);
            counts.spans = self.parts.accounts.begin_spans(&self.parts.of, records);
        }
        let out = {
            let SinkParts { stages, delivery, accounts, max_batch_bytes, gate, .. } = &mut self.parts;
            let buffer = std::mem::take(&mut self.buffer);
            let out = OutputBatch::new(*max_batch_bytes, expected(batch)).within(buffer);
            let whole = Redo::of((0..batch.len()).collect());
            let places = (&now, &*partitions);
            match (gate, delivery.tally()) {
                (Some(_), _) => stage(&mut **stages, batch, &whole, out, places, &mut counts, &mut self.judged),
                (None, Some(tally)) => stage(&mut **stages, batch, &whole, out, places, &mut counts, tally),
                (None, None) => stage(&mut **stages, batch, &whole, out, places, &mut counts, &mut accounts.tally()),
            }
        };
        self.pass_gate(batch, &counts, stop).await?;
        self.parts.delivery.begin(batch, &self.parts.accounts);
        let written = self.parts.delivery.write(out).await?;
        self.buffer = written.buffer;
        let judged = counts.all_dead();
        for refused in written.refused {
            self.redo(batch, refused, &now, &mut counts).await?;
        }
        if let Some(gate) = &mut self.parts.gate {
            gate.refused(counts.all_dead() - judged);
        }
        self.parts.delivery.done(Done::new(batch, counts), &self.parts.accounts).await?;
        self.settle();
        Ok(())
    }

    /// What was judged counts for good once nothing is open any more.
    fn settle(&mut self) {
        let SinkParts { delivery, gate, .. } = &mut self.parts;
        gate.iter_mut().filter(|_| !delivery.is_open()).for_each(Gate::settle);
    }

    /// Returns once a staged batch may be written, and counts it.
    async fn pass_gate(
        &mut self,
        batch: &SourceBatch,
        counts: &Counts,
        stop: &CancellationToken,
    ) -> Result<(), Aborted> {
        let Self { parts: SinkParts { gate: Some(gate), delivery, accounts, .. }, judged, .. } = self else {
            return Ok(());
        };
        while let Err(passed) = gate.judge(count(batch.len()), counts) {
            // What came before is not held up.
            let mut committed = delivery.commit(accounts).await;
            let resumed = {
                let mut waited = pin!(stop.run_until_cancelled(gate.wait(passed)));
                loop {
                    if committed.is_err() {
                        break None;
                    }
                    tokio::select! {
                        resumed = &mut waited => break resumed,
                        () = delivery.due() => committed = delivery.commit(accounts).await,
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
            None => accounts.tally().merge(judged),
        }
        judged.clear();
        Ok(())
    }

    /// Returns when [`Sink::commit`] is to be called; perhaps never.
    pub async fn due(&self) {
        self.parts.delivery.due().await;
    }

    /// Makes what is written count.
    ///
    /// # Errors
    /// [`Aborted`].
    pub async fn commit(&mut self) -> Result<(), Aborted> {
        self.parts.delivery.commit(&self.parts.accounts).await?;
        self.settle();
        Ok(())
    }

    /// Makes all that is written count, and stores the last offset.
    ///
    /// # Errors
    /// Where that fails.
    pub async fn finish(self) -> Result<(), StoreError> {
        self.parts.delivery.finish(&self.parts.accounts).await
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
            // Counted the first time already.
            let mut tally = Tally::new(self.parts.stages.dimensions());
            let SinkParts { stages, max_batch_bytes, .. } = &mut self.parts;
            let out = OutputBatch::new(*max_batch_bytes, Expected::default());
            let out = stage(&mut **stages, batch, &redo, out, (now, &partitions), &mut Counts::default(), &mut tally);
            for refused in self.parts.delivery.write(out).await?.refused {
                self.split(batch, refused, &redo, &mut stack, counts).await;
            }
        }
        self.dead_letters.passed();
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
        let Refused { to, sources, behind, error } = refused;
        let again = |sources| Redo { sources, rejection: before.rejection.clone(), limit: before.limit };
        if !behind.is_empty() {
            stack.push(again(behind));
        }
        match &sources[..] {
            _ if gone => stack.push(again(sources)),
            [alone] => stack.push(self.without(batch, *alone, to, &error, again(vec![*alone]), counts).await),
            several => {
                let (first, second) = several.split_at(several.len() / 2);
                stack.push(again(second.to_vec()));
                stack.push(again(first.to_vec()));
            }
        }
    }

    /// What to do with one record that was refused alone: an output is buried, a dead letter is
    /// cut shorter, or waited for.
    async fn without(
        &mut self,
        batch: &SourceBatch,
        alone: usize,
        to: Destination,
        error: &Error,
        before: Redo,
        counts: &mut Counts,
    ) -> Redo {
        let too_large = error.is(ResponseError::MessageTooLarge) || error.is(ResponseError::RecordListTooLarge);
        if to.topic != DEAD_LETTER {
            let reason = if too_large { Reason::TooLarge } else { Reason::RefusedByTopic };
            counts.died(alone, reason);
            let rejection = Rejection::record(reason, format!("the output topic refuses the record: {}", error.cause));
            return Redo { rejection: Some(rejection), ..before };
        }
        let whole = batch.entry(alone).and_then(|entry| entry.record.value).map_or(0, <[u8]>::len);
        let limit = before.limit.unwrap_or(whole);
        // Cutting helps against size only; for any other reason the value would be lost in vain.
        if too_large && self.parts.oversize == Oversize::Truncate && limit > 0 {
            return Redo { limit: Some(limit / 2), ..before };
        }
        if let Some(entry) = batch.entry(alone) {
            self.dead_letters.at(entry.record.offset);
        }
        sleep(self.dead_letters.failed_as(ErrorClass::Fatal, error)).await;
        before
    }

    /// How many partitions each output topic has, however long it takes to learn.
    async fn partition_counts(&mut self) -> Arc<[i32]> {
        loop {
            match self.parts.writer.partition_counts().await {
                Ok(counts) => {
                    self.outputs.passed();
                    return counts;
                }
                Err(error) => sleep(self.outputs.failed(&error)).await,
            }
        }
    }
}

/// About what becomes of a whole batch: each record grows by some fields and a header.
fn expected(batch: &SourceBatch) -> Expected {
    const GROWTH: usize = 96;
    Expected { records: batch.len(), bytes: batch.bytes() + batch.len() * GROWTH }
}

/// Stages some of a batch's records. Stages are pure, so that doing it again gives the same.
fn stage(
    stages: &mut dyn Stages,
    batch: &SourceBatch,
    redo: &Redo,
    mut out: OutputBatch,
    (now, partitions): (&Now, &[i32]),
    counts: &mut Counts,
    tally: &mut Tally,
) -> OutputBatch {
    let mut staged = Batch { now, partitions, out: &mut out, counts, tally };
    for index in &redo.sources {
        let Some(entry) = batch.entry(*index) else { continue };
        match &redo.rejection {
            Some(rejection) => stages.refuse(&entry, *index, rejection, redo.limit, &mut staged),
            None => stages.process(&entry, *index, redo.limit, &mut staged),
        }
    }
    out
}

impl Redo {
    fn of(sources: Vec<usize>) -> Self {
        Self { sources, rejection: None, limit: None }
    }
}
