//! The stages of a record between reading and writing: validate, enrich, route. Pure and
//! synchronous: no clock, no I/O.
//!
//! ```text
//! record ──► validate ──► enrich ──► route ──► a batch under construction
//!               │            │         └─ drop, where a rule says so: counted
//!               └────────────┴─ dead letter: the record as it came, and why
//! ```

mod enriched;
mod login;
pub mod possible;
mod processor;
pub mod route;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use kafka_records::batch::Outgoing;
use kafka_records::records::{Flaw, FlawKind};

use crate::dead_letter::{Envelope, Fit, Stage};
use crate::event::{Reason, Rejection};
use crate::observe::{Dimensions, Tally};
use crate::output::{Destination, OutputBatch};
use crate::record::{Headers, RecordView, trace_id};
use crate::source::Entry;

pub use crate::output::{DEAD_LETTER, OUTPUT};
pub use enriched::{EnrichedLogin, configured, edits};
pub use login::Login;
pub use processor::{Enriched, Now, Processor};
pub use route::{Route, Routes};

/// The counts of a batch that the stages keep, beside the tally.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Dead letters by reason, in the order of [`Reason::ALL`].
    pub dead: [u64; Reason::ALL.len()],
    /// The last dead letter of each reason that there is.
    pub last_dead: Vec<(Reason, Died)>,
    /// Records that a rule dropped.
    pub dropped: u64,
    /// Events that claim to come from the future.
    pub clock_skewed: u64,
    /// Dead letters in a row, up to now.
    pub dead_run: u64,
    /// The most dead letters in a row.
    pub longest_dead_run: u64,
    /// Records that each rule decided about, in the order of [`Routes::names`]; as long as it had to be.
    pub rules: Vec<u64>,
    /// The spans of its records.
    #[cfg(feature = "otlp")]
    pub spans: crate::observe::traces::Spans,
}

/// Which record of a batch died, and of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Died {
    /// Its place in the batch.
    pub at: usize,
    /// The stage that refused it.
    pub stage: Stage,
    /// The field that is wrong, where it is one.
    pub field: Option<&'static str>,
}

impl Counts {
    /// Counts a dead letter.
    pub fn died(&mut self, died: Died, reason: Reason) {
        #[cfg(feature = "otlp")]
        self.spans.failed(died.at, reason.code());
        let index = Reason::ALL.iter().position(|known| *known == reason);
        if let Some(count) = index.and_then(|index| self.dead.get_mut(index)) {
            *count += 1;
        }
        match self.last_dead.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, last)) => *last = died,
            None => self.last_dead.push((reason, died)),
        }
        self.dead_run += 1;
        self.longest_dead_run = self.longest_dead_run.max(self.dead_run);
    }

    /// Counts a record that the rule at this place decided about.
    pub fn ruled(&mut self, rule: usize) {
        if self.rules.len() <= rule {
            self.rules.resize(rule + 1, 0);
        }
        if let Some(count) = self.rules.get_mut(rule) {
            *count += 1;
        }
    }

    /// Notes a record that is no dead letter.
    pub fn passed(&mut self) {
        self.dead_run = 0;
    }

    /// Dead letters, for whatever reason.
    pub fn all_dead(&self) -> u64 {
        self.dead.iter().sum()
    }

    /// Dead letters by reason, where there are any.
    pub fn dead(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL.into_iter().zip(self.dead).filter(|(_, count)| *count > 0)
    }
}

/// The outcome of a record that is no dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// The route that it takes.
    pub route: Route,
    /// The rule that decided, by its place among the [`Routes::names`]; without one it is the output topic.
    pub rule: Option<usize>,
}

/// The stages of one source partition, whatever the event type.
pub trait Stages: Send + Sync {
    /// The names of what is counted by value.
    fn dimensions(&self) -> Dimensions;

    /// Holds what changes by itself for a batch, however often its records are staged: see [`Processor::hold`].
    fn hold(&mut self);

    /// Lets go of it once the batch is done.
    fn release(&mut self);

    /// Processes one entry, the one at `index` of its batch, and appends what comes of it; a dead letter in
    /// this `fit`.
    fn process(&mut self, entry: &Entry<'_>, index: usize, fit: Fit, batch: &mut Batch<'_>);

    /// Does what [`Stages::process`] does with an entry, unless that would be a dead letter: then it appends nothing, and
    /// tells why.
    ///
    /// # Errors
    /// The stage that the entry fails in, and its reason.
    fn attempt(&mut self, entry: &Entry<'_>, index: usize, batch: &mut Batch<'_>)
    -> Result<Passed, (Stage, Rejection)>;

    /// Appends a dead letter for an entry that the output refuses.
    fn refuse(&mut self, entry: &Entry<'_>, index: usize, rejection: &Rejection, fit: Fit, batch: &mut Batch<'_>);

    /// A fit in which an entry's dead letter is smaller; `None` where nothing of it is left to cut.
    fn smaller(&self, entry: &Entry<'_>, fit: Fit) -> Option<Fit>;
}

/// A batch while it is processed.
#[derive(Debug)]
pub struct Batch<'b> {
    /// The time at which it was first staged: staged again, an event comes out the same, and goes to the same place.
    pub now: &'b Now,
    /// The time that dead letters are written at, in milliseconds since the Unix epoch.
    pub dead_ms: i64,
    /// The number of partitions of each of [`Routes::topics`].
    pub partitions: &'b [i32],
    /// The outputs so far.
    pub out: &'b mut OutputBatch,
    /// The counts so far.
    pub counts: &'b mut Counts,
    /// The counts by value so far.
    pub tally: &'b mut Tally,
}

/// The stages around one [`Processor`].
#[derive(Debug)]
pub struct ProcessorStages<P> {
    processor: P,
    routes: Arc<Routes>,
    envelope: Envelope,
    source_partition: i32,
}

/// Makes the stages of each source partition. Every [`Processor`] that can be cloned does, around a
/// clone of itself.
pub trait StagesFactory: Send + Sync {
    /// Makes stages for the records of one source partition.
    fn make(&self, routes: Arc<Routes>, envelope: Envelope, source_partition: i32) -> Box<dyn Stages>;
}

impl<P: Processor + Clone> StagesFactory for P {
    fn make(&self, routes: Arc<Routes>, envelope: Envelope, source_partition: i32) -> Box<dyn Stages> {
        Box::new(ProcessorStages::new(self.clone(), routes, envelope, source_partition))
    }
}

impl<P: Processor> ProcessorStages<P> {
    /// Stages for the records of one source partition.
    pub fn new(processor: P, routes: Arc<Routes>, envelope: Envelope, source_partition: i32) -> Self {
        Self { processor, routes, envelope, source_partition }
    }

    fn destination(&self, topic: usize, key: Option<&[u8]>, partitions: &[i32]) -> Destination {
        let count = partitions.get(topic).copied().unwrap_or(1);
        let partition = match topic {
            DEAD_LETTER => self.source_partition % count.max(1),
            _ => self.routes.partition(self.source_partition, key, count),
        };
        Destination { topic, partition }
    }

    /// Everything that the processor does with a record. Writing is the last of it, so that what
    /// panics writes nothing.
    fn write(
        &self,
        record: &RecordView<'_>,
        index: usize,
        batch: &mut Batch<'_>,
    ) -> Result<Passed, (Stage, Rejection)> {
        let Self { processor, routes, .. } = self;
        let event = processor.validate(record).map_err(|rejection| (Stage::Validate, rejection))?;
        let (route, rule) = routes.route(|field| processor.field(&event, field, batch.now), record.headers);
        if let Some(rule) = rule {
            batch.counts.ruled(rule);
        }
        let passed = Passed { route, rule };
        let topic = match route {
            Route::Topic(topic) => topic,
            Route::Drop => {
                batch.counts.dropped += 1;
                return Ok(passed);
            }
        };
        processor.count(&event, batch.tally);
        let key = processor.key(&event, record.key);
        let to = self.destination(topic, key, batch.partitions);
        let outgoing = Outgoing { timestamp_ms: record.timestamp_ms, key, value: record.value };
        let mut clock_skewed = false;
        let mut enrich = |out: &mut Vec<u8>| clock_skewed = processor.enrich(&event, batch.now, out).clock_skewed;
        batch.out.append_with(to, index, &outgoing, record.headers, &mut enrich);
        batch.counts.clock_skewed += u64::from(clock_skewed);
        Ok(passed)
    }

    fn bury(
        &self,
        entry: &Entry<'_>,
        index: usize,
        (stage, rejection): (Stage, &Rejection),
        fit: Fit,
        batch: &mut Batch<'_>,
    ) {
        let record = &entry.record;
        let cut_from = entry.flaw.and_then(|flaw| flaw.cut_from);
        let letter = self.envelope.letter(record, stage, rejection, fit, cut_from);
        let to = self.destination(DEAD_LETTER, record.key, batch.partitions);
        // Not the record's own time, which may be one that the topic refuses, or has thrown away already by its
        // retention: that stands in a header.
        let outgoing = Outgoing { timestamp_ms: batch.dead_ms, key: letter.key(), value: letter.value() };
        let headers: Vec<_> = letter.headers().collect();
        batch.out.append(to, index, &outgoing, Headers::Borrowed(&headers));
        batch.counts.died(Died { at: index, stage, field: rejection.field }, rejection.reason);
        tracing::debug!(
            topic = self.envelope.topic(),
            partition = self.source_partition,
            offset = record.offset.0,
            reason = rejection.reason.code(),
            field = rejection.field,
            stage = stage.as_str(),
            trace_id = trace_id(record.headers),
            "dead letter"
        );
    }
}

impl<P: Processor> Stages for ProcessorStages<P> {
    fn dimensions(&self) -> Dimensions {
        P::DIMENSIONS
    }

    fn hold(&mut self) {
        self.processor.hold();
    }

    fn release(&mut self) {
        self.processor.release();
    }

    fn process(&mut self, entry: &Entry<'_>, index: usize, fit: Fit, batch: &mut Batch<'_>) {
        if let Err((stage, rejection)) = self.attempt(entry, index, batch) {
            self.bury(entry, index, (stage, &rejection), fit, batch);
        }
    }

    fn attempt(
        &mut self,
        entry: &Entry<'_>,
        index: usize,
        batch: &mut Batch<'_>,
    ) -> Result<Passed, (Stage, Rejection)> {
        if let Some(flaw) = entry.flaw {
            return Err((Stage::Fetch, flawed(flaw)));
        }
        let written = caught(|| self.write(&entry.record, index, batch));
        let passed = written.unwrap_or_else(|| Err((Stage::Enrich, panicked())))?;
        batch.counts.passed();
        Ok(passed)
    }

    fn refuse(&mut self, entry: &Entry<'_>, index: usize, rejection: &Rejection, fit: Fit, batch: &mut Batch<'_>) {
        self.bury(entry, index, (Stage::Produce, rejection), fit, batch);
    }

    fn smaller(&self, entry: &Entry<'_>, fit: Fit) -> Option<Fit> {
        self.envelope.smaller(fit, &entry.record)
    }
}

/// Returns what `work` gives, or nothing where it panics. What it touches is as good after that: counters,
/// and a batch that takes back what is not whole.
fn caught<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

/// The rejection of an entry that the reader could not hand out whole.
fn flawed(flaw: &Flaw) -> Rejection {
    match flaw.kind {
        FlawKind::Corrupt => Rejection::record(Reason::CorruptBatch, flaw.why.clone()),
        FlawKind::TooLarge => Rejection::record(Reason::TooLarge, format!("{} (pipeline.max_record_bytes)", flaw.why)),
    }
}

fn panicked() -> Rejection {
    Rejection::record(Reason::ProcessorPanic, "the processor panicked on this record")
}

#[cfg(test)]
mod tests;
