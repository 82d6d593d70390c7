//! A replay or a retry at work.
//!
//! ```text
//! offset of the group ──► stretches: written, acknowledged ──► offset stored
//!                              └──────── at most BATCH_RECORDS, or STORE_INTERVAL, and at the end
//! ```
//! One partition after another, in its order. Whatever kills it, the stored offset has not passed a
//! record that is not written; what is written twice is what lies between two stored offsets at most.

use std::collections::BTreeMap;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use kafka_client::clock::unix_ms;
use kafka_records::batch::Outgoing;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::input::{Found, Input};
use super::judge::{self, Judge};
use super::plan::{Fate, Plan, Rules};
use super::progress::Progress;
use super::standing::Standing;
use super::targets::{Targets, target_partition};
use super::{Context, Failure};
use crate::dead_letter::{ErrorHeaders, Replayed};
use crate::observe::Observe;
use crate::output::{self, Destination, Expected, OutputBatch, OutputTopics, Producer};
use crate::ownership::PartitionOwnership;
use crate::record::{Headers, Offset, RecordView, trace_id};
use crate::retry::Retries;
use crate::stages::Routes;

/// As many records are written between two stored offsets, at most: what a kill may duplicate.
pub(super) const BATCH_RECORDS: usize = 1_000;

/// How often an offset is stored where fewer are written: each is a record in the group's log.
const STORE_INTERVAL: Duration = Duration::from_secs(1);

/// How long the offset may take that is stored after something failed: the brokers may be what failed.
const LAST_STORE: Duration = Duration::from_secs(2);

/// The end of the work.
pub(super) enum Ended {
    /// With all that there was, or as much as was asked for.
    AtItsEnd,
    /// When it was told to.
    Interrupted,
    /// In these partitions with what the group has no room to note.
    WithoutRoom(Vec<i32>),
}

/// A dead letter that is looked at.
struct Due<'e> {
    record: RecordView<'e>,
    partition: i32,
    error_headers: ErrorHeaders<'e>,
    fate: Fate<'e>,
    /// The topic that it is written to; `None` where nothing is.
    topic: Option<String>,
    /// Whether it is done with once that is written.
    is_done: bool,
}

/// How far a partition is beyond its stored offset.
struct Unstored {
    since: Instant,
    /// Dead letters that were looked at.
    looked_at: usize,
    /// Records that were written.
    written: u64,
}

impl Unstored {
    fn nothing() -> Self {
        Self { since: Instant::now(), looked_at: 0, written: 0 }
    }

    /// Whether the offset is to be stored before as many more are written.
    fn is_due(&self, more: usize) -> bool {
        let written = usize::try_from(self.written).unwrap_or(usize::MAX);
        written.saturating_add(more) > BATCH_RECORDS || self.since.elapsed() >= STORE_INTERVAL
    }
}

/// How the work on a partition ended.
enum Partition {
    AtItsEnd,
    /// As many are written as were asked for.
    Full,
    Interrupted,
    WithoutRoom,
}

/// What came of one stretch.
enum Stretch {
    /// So many are looked at.
    Done(usize),
    /// Nothing is written: the group would have no room to note what is open then.
    WithoutRoom,
}

/// A replay or a retry at work.
pub(super) struct Work<'c> {
    /// What is done.
    pub done: Plan,
    rules: Arc<Rules<'c>>,
    context: &'c Context,
    targets: Targets,
    progress: Progress<'c>,
    routes: Arc<Routes>,
    /// What a retry goes by.
    judge: Option<Judge<'c>>,
    topics: OutputTopics,
    producer: Producer,
    observe: Observe,
    begun: Instant,
}

impl<'c> Work<'c> {
    /// Begins the work that was announced and agreed to.
    pub(super) fn new(
        rules: Rules<'c>,
        context: &'c Context,
        targets: Targets,
        progress: Progress<'c>,
        (routes, judge): (Arc<Routes>, Option<Judge<'c>>),
    ) -> Self {
        let observe = Observe::new(env!("CARGO_PKG_VERSION"), &[], context.patience, serde_json::Value::Null);
        observe.health.started();
        let retries = Retries::new(observe.clone(), &context.config);
        let topics =
            OutputTopics::new(&context.config, &targets.names, Arc::clone(&context.cluster), retries, &observe);
        let (producer, done, begun) = (Producer::default(), Plan::default(), Instant::now());
        Self {
            done,
            rules: Arc::new(rules),
            context,
            targets,
            progress,
            routes,
            judge,
            topics,
            producer,
            observe,
            begun,
        }
    }

    /// Until it is told to stop.
    ///
    /// # Errors
    /// Where brokers don't answer for too long, or refuse the offset.
    pub(super) async fn run(
        &mut self,
        input: &Input<'_>,
        mut standings: BTreeMap<i32, Standing>,
        stop: &CancellationToken,
    ) -> Result<Ended, Failure> {
        let mut without_room = Vec::new();
        for (partition, stretch) in &input.log.stretches {
            let standing = standings.entry(*partition).or_insert_with(|| Standing::at(stretch.0));
            match self.partition(input, *partition, *stretch, standing, stop).await? {
                Partition::AtItsEnd => {}
                Partition::WithoutRoom => without_room.push(*partition),
                Partition::Full => break,
                Partition::Interrupted => return Ok(Ended::Interrupted),
            }
        }
        Ok(if without_room.is_empty() { Ended::AtItsEnd } else { Ended::WithoutRoom(without_room) })
    }

    /// Works on one partition, and stores how far it is, however that ends.
    async fn partition(
        &mut self,
        input: &Input<'_>,
        partition: i32,
        stretch: (Offset, Offset),
        standing: &mut Standing,
        stop: &CancellationToken,
    ) -> Result<Partition, Failure> {
        let mut unstored = Unstored::nothing();
        let ended = self.work_on(input, partition, stretch, (&mut *standing, &mut unstored), stop).await;
        if unstored.looked_at == 0 {
            return ended;
        }
        let storing = self.progress.store(self.context.topic(), input.log.topic_id, partition, standing);
        let Err(error) = &ended else {
            storing.await?;
            return ended;
        };
        let stored = timeout(LAST_STORE, storing).await;
        let (topic, written) = (self.context.topic(), unstored.written);
        if written > 0 && !matches!(stored, Ok(Ok(()))) {
            return Err(format!(
                "{error}; nor could it be stored how far {topic}/{partition} is: the next run writes {written} records \
                 of it again"
            )
            .into());
        }
        ended
    }

    async fn work_on(
        &mut self,
        input: &Input<'_>,
        partition: i32,
        stretch: (Offset, Offset),
        (standing, unstored): (&mut Standing, &mut Unstored),
        stop: &CancellationToken,
    ) -> Result<Partition, Failure> {
        let mut source = input.read(partition, stretch).await?;
        loop {
            let Some(batch) = stop.run_until_cancelled(source.next()).await else { return Ok(Partition::Interrupted) };
            let Some(batch) = batch? else { return Ok(Partition::AtItsEnd) };
            let mut found = source.found(&batch);
            found.retain(|found| !standing.is_done(found.entry.record.offset));
            let mut left = &found[..];
            while !left.is_empty() {
                if self.is_full() {
                    return Ok(Partition::Full);
                }
                let Some(()) = stop.run_until_cancelled(self.pace()).await else { return Ok(Partition::Interrupted) };
                if unstored.looked_at > 0 && unstored.is_due(self.batch_records().min(left.len())) {
                    self.progress.store(self.context.topic(), input.log.topic_id, partition, standing).await?;
                    *unstored = Unstored::nothing();
                }
                let before = self.done.records();
                let Stretch::Done(count) = self.stretch(left, standing, stop).await? else {
                    return Ok(Partition::WithoutRoom);
                };
                unstored.looked_at += count;
                unstored.written += self.done.records() - before;
                left = left.get(count..).unwrap_or_default();
            }
        }
    }

    fn is_full(&self) -> bool {
        self.rules.args.max.is_some_and(|max| self.done.records() >= max)
    }

    /// Waits until more may be written.
    async fn pace(&self) {
        if let Some(rate) = self.rules.args.rate {
            #[expect(clippy::cast_precision_loss, reason = "a rate is no count")]
            let due = self.done.records() as f64 / rate.get() as f64;
            sleep_until(self.begun + Duration::from_secs_f64(due)).await;
        }
    }

    /// As many are worked on at a time: a tenth of a second's, where there is a rate.
    fn batch_records(&self) -> usize {
        let a_time = self.rules.args.rate.map_or(u64::MAX, |rate| (rate.get() / 10).max(1));
        usize::try_from(a_time).unwrap_or(usize::MAX).min(BATCH_RECORDS)
    }

    /// Writes what comes of some of these, the first of them, and notes which of them are done.
    async fn stretch(
        &mut self,
        left: &[Found<'_>],
        standing: &mut Standing,
        stop: &CancellationToken,
    ) -> Result<Stretch, Failure> {
        let counts = self.context.patiently(|| self.topics.partition_counts()).await?;
        self.judge.iter_mut().for_each(Judge::tick);
        let rules = Arc::clone(&self.rules);
        let mut planned = Plan::default();
        let mut looked_at = Vec::new();
        for found in left.iter().take(self.batch_records()) {
            let written = self.done.records() + planned.records();
            if rules.args.max.is_some_and(|max| written >= max) {
                break;
            }
            looked_at.push(self.look_at(&rules, found, &mut planned));
        }
        let mut next = standing.clone();
        looked_at.iter().for_each(|due| next.note(due.record.offset, due.is_done));
        if next.text().is_none() {
            return Ok(Stretch::WithoutRoom);
        }
        let due: Vec<&Due<'_>> = looked_at.iter().filter(|due| due.topic.is_some()).collect();
        // All at once; where some are refused, each of those that are not written by itself.
        let mut unwritten = self.write(&due, &counts, stop).await?;
        unwritten.sort_unstable();
        for alone in unwritten.into_iter().filter_map(|at| due.get(at)) {
            if !self.write(slice::from_ref(alone), &counts, stop).await?.is_empty() {
                planned.refused(alone.topic.as_deref().unwrap_or_default(), matches!(alone.fate, Fate::Quarantine(_)));
                next.note(alone.record.offset, false);
            }
        }
        *standing = next;
        self.done.add(planned);
        Ok(Stretch::Done(looked_at.len()))
    }

    /// What is to be done with one.
    fn look_at<'e>(&mut self, rules: &'e Rules<'c>, found: &Found<'e>, planned: &mut Plan) -> Due<'e> {
        let (record, partition) = (found.entry.record, found.partition);
        let error_headers = ErrorHeaders::of(&record, rules.prefix);
        let fate = rules.fate(found, &error_headers);
        let judge = self.judge.as_mut().filter(|_| matches!(fate, Fate::Retry));
        let verdict = judge.map(|judge| judge.judge(&record, &error_headers, partition));
        planned.note(fate, verdict.as_ref(), &self.routes);
        if let Some(verdict @ Err(_)) = &verdict {
            planned.judged(verdict, &self.routes);
        }
        let topic = match (fate, &verdict) {
            (Fate::Replay(topic) | Fate::Quarantine(topic), _) => Some(topic.to_owned()),
            (Fate::Retry, Some(Ok(passed))) => judge::topic(&self.routes, passed).map(str::to_owned),
            (Fate::Retry | Fate::Skip(_), _) => None,
        };
        let is_done = !matches!(verdict, Some(Err(_)));
        Due { record, partition, error_headers, fate, topic, is_done }
    }

    /// Writes these, and returns the places of those that are not written.
    async fn write(
        &mut self,
        due: &[&Due<'_>],
        counts: &[i32],
        stop: &CancellationToken,
    ) -> Result<Vec<usize>, Failure> {
        let mut output = OutputBatch::new(self.context.config.output.max_batch_bytes.as_usize(), Expected::default());
        let mut unwritten = Vec::new();
        for (at, due) in due.iter().enumerate() {
            match (due.fate, &mut self.judge) {
                (Fate::Retry, Some(judge)) => {
                    let passed = judge.attempt(&due.record, &due.error_headers, due.partition, at, counts, &mut output);
                    unwritten.extend(passed.is_err().then_some(at));
                }
                _ => self.append(due, at, counts, &mut output)?,
            }
        }
        let ownership = PartitionOwnership::unlimited();
        let writing = output::write(&self.topics, output, &self.producer, &ownership);
        let written = tokio::select! {
            written = writing => written,
            why = self.hopeless() => return Err(why.into()),
            () = self.given_up(stop) => return Err("interrupted while brokers did not answer: what was on its way may \
                                                    be written, and is written again by the next run".into()),
        };
        for refused in &written.refused {
            let first = refused.sources.first().and_then(|at| due.get(*at));
            tracing::warn!(
                topic = self.context.topic(),
                partition = first.map(|due| due.partition),
                offset = first.map(|due| due.record.offset.0),
                records = refused.sources.len(),
                trace_id = first.and_then(|due| trace_id(due.record.headers)),
                error = %refused.error,
                "dead letters from this one on are refused"
            );
            unwritten.extend(refused.sources.iter().chain(&refused.behind));
        }
        Ok(unwritten)
    }

    /// Appends the record that a dead letter was; or itself, where it is quarantined.
    fn append(&self, due: &Due<'_>, at: usize, counts: &[i32], output: &mut OutputBatch) -> Result<(), Failure> {
        let Due { record, partition, error_headers, fate, .. } = due;
        let (Fate::Replay(name) | Fate::Quarantine(name)) = fate else { return Ok(()) };
        let topic = self.targets.place(name).ok_or_else(|| format!("{name} was not asked for before"))?;
        let count = counts.get(topic).copied().unwrap_or(1);
        if let Fate::Quarantine(_) = fate {
            let to = Destination { topic, partition: partition % count.max(1) };
            // Retention counts from now there, too, where the record's own time stands in a header.
            let timestamp_ms = error_headers.timestamp_ms.map_or(record.timestamp_ms, |_| unix_ms());
            let outgoing = Outgoing { timestamp_ms, key: record.key, value: record.value };
            output.append(to, at, &outgoing, record.headers);
        } else {
            let key = error_headers.key(record);
            let to = Destination { topic, partition: target_partition(error_headers, key, *partition, count) };
            let outgoing = Outgoing { timestamp_ms: error_headers.time(record), key, value: record.value };
            let replayed = Replayed::new(self.rules.prefix, error_headers.replays);
            let headers: Vec<_> = replayed.headers(record).collect();
            output.append(to, at, &outgoing, Headers::Borrowed(&headers));
        }
        Ok(())
    }

    /// Until something is wrong that lasts.
    async fn hopeless(&self) -> String {
        let mut tick = tokio::time::interval(Duration::from_millis(200));
        loop {
            tick.tick().await;
            if let Err(reasons) = self.observe.health.is_ready()
                && let Some(reason) = reasons.first()
            {
                return reason.reason.clone();
            }
        }
    }

    /// Until it was asked to stop, and waited for long enough.
    async fn given_up(&self, stop: &CancellationToken) {
        stop.cancelled().await;
        tokio::time::sleep(self.context.config.shutdown.timeout).await;
    }
}
