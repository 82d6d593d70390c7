//! Where a worker's records go: through the stages, to the brokers, and into a checkpoint.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kafka_protocol::ResponseError;
use tokio::time::sleep;
use tracing::error;

use crate::broker::{
    Destination, Error, Expected, OutputBatch, Producer, Refused, SourceBatch, Trouble, Watch, Writer,
};
use crate::config::Oversize;
use crate::event::{Reason, Rejection};
use crate::observe::{Observe, PartitionMetrics, PartitionStatus, RouteMetrics, SharedTally, Tally, count};
use crate::offsets::{Checkpoint, Checkpointer, OffsetStore, StoreError};
use crate::retry::ErrorClass;
use crate::stages::{Batch, Counts, DEAD_LETTER, Now, Stages};
use crate::tenure::Tenure;
use crate::tracker::Tracker;

/// Delivers a partition's batches and keeps its progress.
pub struct Sink {
    parts: SinkParts,
    progress: Option<Progress>,
    /// In trouble while a dead letter is refused by its own topic.
    dead_letters: Trouble,
    /// In trouble while nobody says how many partitions the outputs have.
    outputs: Trouble,
    /// Counts what rules drop.
    dropped: RouteMetrics,
    /// The buffer of the batch before.
    buffer: Vec<u8>,
    /// As whom batches are written.
    producer: Producer,
}

/// What a sink is made of.
pub struct SinkParts {
    /// Names the partition in logs.
    pub name: String,
    /// What is done to records.
    pub stages: Box<dyn Stages>,
    /// Who writes.
    pub writer: Arc<Writer>,
    /// The most bytes of one written batch.
    pub max_batch_bytes: usize,
    /// What to do with a dead letter that is too large for its topic.
    pub oversize: Oversize,
    /// Where checkpoints go.
    pub store: Arc<dyn OffsetStore>,
    /// For how long the partition is this instance's: nothing is written after.
    pub tenure: Tenure,
    /// How often at most.
    pub checkpoint_interval: Duration,
    /// Who is told of failures.
    pub watch: Watch,
    /// Who is told of everything.
    pub observe: Observe,
    /// What is counted.
    pub metrics: Arc<PartitionMetrics>,
    /// What is counted by value.
    pub tally: SharedTally,
    /// What people see.
    pub status: Arc<PartitionStatus>,
}

#[derive(Debug)]
struct Progress {
    tracker: Tracker,
    checkpointer: Checkpointer,
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
        let dead_letters = parts.watch.operation("dead_letter", format!("dead letters of {}", parts.name));
        let outputs = parts.watch.operation("metadata", format!("look up the outputs of {}", parts.name));
        let dropped = parts.observe.metrics.route("dropped");
        Self {
            parts,
            progress: None,
            dead_letters,
            outputs,
            dropped,
            buffer: Vec::new(),
            producer: Producer::default(),
        }
    }

    /// Begins where the source begins; `start` is stored already.
    pub fn begin_at(&mut self, start: Checkpoint) {
        let tracker = Tracker::starting_at(start.next_offset);
        let (metrics, status) = (Arc::clone(&self.parts.metrics), Arc::clone(&self.parts.status));
        status.committed(start.next_offset);
        metrics.checkpointed();
        let mut trouble = self.parts.watch.operation("checkpoint", format!("store the offset of {}", self.parts.name));
        let report = move |outcome: Result<&Checkpoint, &StoreError>, took| match outcome {
            Ok(checkpoint) => {
                trouble.passed();
                metrics.checkpointed();
                metrics.checkpoint.observe(took);
                status.checkpointed(checkpoint.next_offset);
                Duration::ZERO
            }
            Err(error) => trouble.failed_as(error.class(), error),
        };
        let SinkParts { store, tenure, checkpoint_interval, .. } = &self.parts;
        let checkpointer = Checkpointer::spawn(Arc::clone(store), tenure.clone(), start, *checkpoint_interval, report);
        self.progress = Some(Progress { tracker, checkpointer });
    }

    /// Takes a batch through the stages and to the brokers. Returns when every record of it is
    /// acknowledged, whatever that takes.
    pub async fn deliver(&mut self, batch: &SourceBatch) {
        self.note_begin(batch);
        let now = now();
        let partitions = self.partition_counts().await;
        let mut counts = Counts::default();
        let out = {
            let SinkParts { stages, tally, max_batch_bytes, .. } = &mut self.parts;
            let buffer = std::mem::take(&mut self.buffer);
            let out = OutputBatch::new(*max_batch_bytes, expected(batch)).within(buffer);
            let whole = Redo::of((0..batch.len()).collect());
            stage(&mut **stages, batch, &whole, out, (&now, &partitions), &mut counts, &mut tally.lock())
        };
        let written = self.parts.writer.write(out, &self.producer, &self.parts.tenure).await;
        self.buffer = written.buffer;
        for refused in written.refused {
            self.redo(batch, refused, &now, &mut counts).await;
        }
        self.note_done(batch, &counts);
    }

    /// Stores the last checkpoint.
    ///
    /// # Errors
    /// Where that fails.
    pub async fn finish(self) -> Result<(), StoreError> {
        match self.progress {
            Some(progress) => progress.checkpointer.finish().await,
            None => Ok(()),
        }
    }

    /// Writes what was refused in smaller and smaller batches, until the records that are the
    /// reason stand alone: those are buried. What was to follow them follows them.
    async fn redo(&mut self, batch: &SourceBatch, refused: Refused, now: &Now, counts: &mut Counts) {
        let mut stack = Vec::new();
        self.split(batch, refused, &Redo::of(Vec::new()), &mut stack, counts).await;
        while let Some(redo) = stack.pop() {
            let partitions = self.partition_counts().await;
            // Counted the first time already.
            let mut tally = Tally::new(self.parts.stages.dimensions());
            let SinkParts { stages, max_batch_bytes, .. } = &mut self.parts;
            let out = OutputBatch::new(*max_batch_bytes, Expected::default());
            let out = stage(&mut **stages, batch, &redo, out, (now, &partitions), &mut Counts::default(), &mut tally);
            for refused in self.parts.writer.write(out, &self.producer, &self.parts.tenure).await.refused {
                self.split(batch, refused, &redo, &mut stack, counts).await;
            }
        }
        self.dead_letters.passed();
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
            counts.died(reason);
            let rejection = Rejection::record(reason, format!("the output topic refuses the record: {}", error.cause));
            return Redo { rejection: Some(rejection), ..before };
        }
        let whole = batch.entry(alone).and_then(|entry| entry.record.value).map_or(0, <[u8]>::len);
        let limit = before.limit.unwrap_or(whole);
        // Cutting helps against size only; for any other reason the value would be lost in vain.
        if too_large && self.parts.oversize == Oversize::Truncate && limit > 0 {
            return Redo { limit: Some(limit / 2), ..before };
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

    fn note_begin(&mut self, batch: &SourceBatch) {
        let Some(Progress { tracker, checkpointer }) = &mut self.progress else { return };
        if batch.range.start != tracker.next() {
            // The source went on elsewhere; nothing is in flight, so that nothing is passed over
            // but what the log no longer has.
            *tracker = Tracker::starting_at(batch.range.start);
            checkpointer.restart_at(batch.range.start);
        }
        if let Err(error) = tracker.begin(batch.range.clone()) {
            error!(partition = self.parts.name, %error, "a mistake of this program: the offset stays where it is");
        }
        self.note_in_flight(batch.bytes());
    }

    fn note_done(&mut self, batch: &SourceBatch, counts: &Counts) {
        let Some(Progress { tracker, checkpointer }) = &mut self.progress else { return };
        match tracker.acknowledge(batch.range.clone()) {
            Ok(()) => checkpointer.advance(tracker.done()),
            Err(error) => {
                error!(partition = self.parts.name, %error, "a mistake of this program: the offset stays where it is");
            }
        }
        self.note_in_flight(0);
        self.note_counts(batch, counts);
    }

    fn note_in_flight(&self, bytes: usize) {
        self.parts.metrics.in_flight_bytes(count(bytes));
        self.parts.status.in_flight_bytes(count(bytes));
    }

    fn note_counts(&self, batch: &SourceBatch, counts: &Counts) {
        let SinkParts { observe, metrics, tally, .. } = &self.parts;
        let records = count(batch.len());
        if let Some(first) = batch.entry(0) {
            metrics.acknowledged(first.record.timestamp_ms, unix_ms(), records);
        }
        metrics.clock_skew.inc_by(counts.clock_skewed);
        self.dropped.count(counts.dropped, 0);
        let mut tally = tally.lock();
        let mut dead = 0;
        for (reason, count) in counts.dead() {
            dead += count;
            observe.metrics.dead(reason.code(), count);
            tally.errors(reason.code(), count);
        }
        let totals = tally.totals();
        totals.records_in += records;
        totals.bytes_in += count(batch.bytes());
        totals.records_dead += dead;
        totals.records_dropped += counts.dropped;
        totals.records_out += records.saturating_sub(dead + counts.dropped);
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

/// The time, for the stages, which have no clock.
fn now() -> Now {
    Now::from_unix_ms(unix_ms())
}

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
