//! Metrics, status and tallies of a partition's work, once it counts.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use kafka_client::clock::unix_ms;

use crate::dead_letter::RedactedValue;
use crate::observe::{
    Counter, Example, Observe, PartitionMetrics, PartitionStatus, RouteMetrics, SharedTally, Tally, count, is_time,
};
use crate::record::{Offset, Position};
use crate::source::SourceBatch;
use crate::stages::{Counts, Died};

/// Metrics, status and tallies of one partition.
pub(super) struct Telemetry {
    observe: Observe,
    metrics: Arc<PartitionMetrics>,
    status: Arc<PartitionStatus>,
    tally: SharedTally,
    /// Counts what rules drop.
    dropped: RouteMetrics,
    /// Counts what each rule decides about, by its name.
    rules: Vec<(Arc<str>, Counter)>,
}

/// A batch whose records are all acknowledged, and what is counted of it.
#[derive(Debug)]
pub(super) struct CompletedBatch {
    /// The source offsets.
    pub range: Range<Offset>,
    /// The position behind it.
    pub end: Position,
    records: u64,
    bytes: u64,
    /// The time of its first record that has one, and the number of records from that one on.
    oldest: Option<(i64, u64)>,
    counts: Counts,
    /// Dead letters to show to people, where it is time for another of their reason.
    examples: Vec<(&'static str, Example)>,
}

impl CompletedBatch {
    /// Sums up a batch of a partition, of which the stages counted this.
    pub(super) fn new(batch: &SourceBatch, mut counts: Counts, partition: i32, telemetry: &Telemetry) -> Self {
        let last = std::mem::take(&mut counts.last_dead).into_iter();
        let wanted = last.filter(|(reason, _)| telemetry.observe.examples.wants(reason.code()));
        let examples = wanted.filter_map(|(reason, Died { at, stage, field })| {
            let record = batch.entry(at)?.record;
            let example = Example {
                partition,
                offset: record.offset.0,
                timestamp_ms: record.timestamp_ms,
                stage: stage.as_str(),
                field,
                shape: RedactedValue(record.value).to_string(),
                at: u64::try_from(unix_ms()).unwrap_or_default(),
            };
            Some((reason.code(), example))
        });
        Self {
            examples: examples.collect(),
            range: batch.range.clone(),
            end: batch.end(),
            records: count(batch.len()),
            bytes: count(batch.bytes()),
            oldest: oldest(batch),
            counts,
        }
    }
}

impl Telemetry {
    /// Telemetry without any counts.
    pub(super) fn new(
        observe: Observe,
        metrics: Arc<PartitionMetrics>,
        status: Arc<PartitionStatus>,
        tally: SharedTally,
        rules: &[String],
    ) -> Self {
        let dropped = observe.metrics.route("dropped");
        let rules: Vec<(Arc<str>, Counter)> =
            rules.iter().map(|name| (name.as_str().into(), observe.metrics.rule(name))).collect();
        rules.iter().for_each(|(name, _)| tally.lock().rule(name, 0));
        Self { observe, metrics, status, tally, dropped, rules }
    }

    /// The values that are counted, to count into; under a lock.
    pub(super) fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock()
    }

    /// Notes where work begins: everything below this offset is stored already.
    pub(super) fn begin_at(&self, offset: Offset) {
        self.status.committed(offset);
        self.status.done(offset);
        self.metrics.checkpointed();
    }

    /// Notes that this offset is stored, which took so long.
    pub(super) fn stored(&self, offset: Offset, took: Duration) {
        self.metrics.checkpointed();
        self.metrics.checkpoint.observe(took);
        self.status.checkpointed(offset);
    }

    /// Notes that work on a batch begins.
    pub(super) fn begin(&self, batch: &SourceBatch) {
        if let Some((oldest_ms, _)) = oldest(batch) {
            self.status.oldest(oldest_ms);
        }
    }

    /// Sets the bytes of source records that wait to be acknowledged.
    pub(super) fn in_flight(&self, bytes: usize) {
        self.metrics.in_flight_bytes(count(bytes));
        self.status.in_flight_bytes(count(bytes));
    }

    /// Begins the spans of a batch, where there are any.
    #[cfg(feature = "otlp")]
    pub(super) fn begin_spans<'r>(
        &self,
        of: &crate::topic::TopicPartition,
        records: impl Iterator<Item = crate::record::RecordView<'r>>,
    ) -> crate::observe::traces::Spans {
        self.observe.traces.as_ref().map(|traces| traces.begin(of, records)).unwrap_or_default()
    }

    /// Counts a batch, and ends its spans.
    pub(super) fn note(&self, completed: &CompletedBatch) {
        let CompletedBatch { records, bytes, oldest, counts, .. } = completed;
        #[cfg(feature = "otlp")]
        if let Some(traces) = &self.observe.traces {
            traces.end(&counts.spans);
        }
        self.status.done(completed.end.offset);
        if let Some((oldest_ms, records)) = oldest {
            self.metrics.acknowledged(*oldest_ms, unix_ms(), *records);
        }
        self.metrics.clock_skew.inc_by(counts.clock_skewed);
        self.dropped.count(counts.dropped, 0);
        let mut tally = self.tally.lock();
        let mut dead = 0;
        for (reason, count) in counts.dead() {
            dead += count;
            self.observe.metrics.dead(reason.code(), count);
            tally.errors(reason.code(), count);
        }
        for ((name, counter), count) in self.rules.iter().zip(&counts.rules).filter(|(_, count)| **count > 0) {
            counter.inc_by(*count);
            tally.rule(name, *count);
        }
        for (reason, example) in &completed.examples {
            self.observe.examples.keep(reason, example.clone());
        }
        let totals = tally.totals();
        totals.records_in += records;
        totals.bytes_in += bytes;
        totals.records_dead += dead;
        totals.records_dropped += counts.dropped;
        totals.records_out += records.saturating_sub(dead + counts.dropped);
    }
}

/// The time of a batch's first record that has one, and how many records there are from that one on. Damaged
/// batches have none.
fn oldest(batch: &SourceBatch) -> Option<(i64, u64)> {
    let timestamps = (0..batch.len()).filter_map(|index| Some((index, batch.entry(index)?.record.timestamp_ms)));
    let (index, oldest_ms) = timestamps.into_iter().find(|(_, timestamp_ms)| is_time(*timestamp_ms))?;
    Some((oldest_ms, count(batch.len() - index)))
}
