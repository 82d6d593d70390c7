//! `dlq replay`: the records that dead letters were, written again.
//!
//! ```text
//! offset of the group ──► a stretch of at most BATCH_RECORDS ──► written, acknowledged ──► offset stored
//! ```
//! One partition after another, in its order. Whatever kills it, the stored offset has not passed a
//! record that is not written; what is written twice is one stretch at most.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::plan::{Fate, Plan, Rules, Skip};
use super::reading::{Log, Reading};
use super::{Context, Failure, ReplayDlq};
use crate::broker::wire::Coordinator;
use crate::broker::wire::batch::Outgoing;
use crate::broker::{Destination, Entry, Expected, OutputBatch, Producer, Watch, Writer};
use crate::cli::UsageError;
use crate::dead_letter::{Marks, Replayed};
use crate::murmur2::partition_of;
use crate::observe::Observe;
use crate::offsets::{Checkpoint, Committer, GroupStore, OffsetStore, StoreError};
use crate::record::{Headers, Offset, RecordView, TopicId};
use crate::stages::Routes;
use crate::tenure::Tenure;

/// As many dead letters are worked on between two stored offsets, at most: what a kill may double.
pub const BATCH_RECORDS: usize = 1_000;

/// As many topics are written to, at most: no more are made up by whoever writes to the dead-letter topic.
const MOST_TOPICS: usize = 100;

/// The bit of KIP-430 for the operation Write.
const WRITE: i32 = 1 << 4;

pub(super) async fn run(
    args: &ReplayDlq,
    context: &Context,
    stop: &CancellationToken,
    out: &mut dyn Write,
) -> Result<ExitCode, Failure> {
    let rules = Rules { args, prefix: context.prefix() };
    let progress = Progress::open(args, context).await?;
    let Some(planned) = stop.run_until_cancelled(plan(&rules, context, &progress)).await else {
        return Err("interrupted, before anything was written".into());
    };
    let (log, plan) = planned?;
    let targets = Targets::find(context, &plan).await?;
    plan.print(out, "are to be written")?;
    writeln!(out, "what the rules in force make of them:")?;
    for (verdict, count) in plan.verdicts.iter() {
        writeln!(out, "  {count:>10}  {verdict}")?;
    }
    writeln!(out, "progress is kept in group {}", progress.group)?;
    if args.dry_run {
        writeln!(out, "dry run: nothing is written, and no offset stored")?;
        return Ok(ExitCode::SUCCESS);
    }
    out.flush()?;
    if plan.records() > 0 && !args.yes && !confirmed().await? {
        writeln!(out, "nothing is written")?;
        return Ok(ExitCode::FAILURE);
    }
    let mut replay = Replay::new(rules, context, targets, progress)?;
    let result = replay.run(&log, stop).await;
    replay.done.print(out, "were written")?;
    if !result? {
        writeln!(out, "interrupted: the same command goes on where this one stopped")?;
        return Ok(ExitCode::FAILURE);
    }
    let refused = replay.done.skipped.contains_key(&Skip::Refused);
    Ok(if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Asks whether to write.
async fn confirmed() -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        let text = "this writes to Kafka, and there is no terminal to ask at: --yes goes on without asking, --dry-run \
                    writes nothing";
        return Err(UsageError(text.to_owned()).into());
    }
    eprint!("Go on? [y/N] ");
    let answer = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    });
    let answer = answer.await??;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Where the replay is, kept in a group that nobody is a member of.
struct Progress<'c> {
    group: String,
    store: GroupStore,
    context: &'c Context,
}

impl<'c> Progress<'c> {
    async fn open(args: &ReplayDlq, context: &'c Context) -> Result<Self, Failure> {
        let group = group_of(args, &context.config.kafka.client_id)?;
        let coordinator = || Coordinator::new(Arc::clone(&context.cluster), &group);
        let found = context.patiently(|| async { coordinator().describe().await }).await?;
        if let Some(found) = found.filter(|found| found.members > 0) {
            return Err(format!("group {group} has {} members: --group names another", found.members).into());
        }
        let store = GroupStore::new(coordinator(), Committer::Plain);
        Ok(Self { group, store, context })
    }

    /// The stretch of a partition that is left.
    async fn left(
        &self,
        topic: &str,
        id: Option<TopicId>,
        partition: i32,
        whole: (Offset, Offset),
    ) -> Result<(Offset, Offset), Failure> {
        let (begin, end) = whole;
        let stored = self.patiently(|| self.store.load(topic, partition)).await?;
        let same = |stored: &Checkpoint| stored.topic_id.zip(id).is_none_or(|(then, now)| then == now);
        match stored {
            Some(stored) if same(&stored) && stored.next_offset > end => Err(format!(
                "group {} is at {} of {topic}/{partition}, which ends at {end}: the topic was made anew, or cut off; \
                 --group names another group",
                self.group, stored.next_offset
            )
            .into()),
            Some(stored) if same(&stored) => Ok((stored.next_offset.max(begin), end)),
            _ => Ok(whole),
        }
    }

    async fn store(&self, topic: &str, topic_id: Option<TopicId>, partition: i32, next: Offset) -> Result<(), Failure> {
        let checkpoint =
            Checkpoint { topic: topic.to_owned(), topic_id, partition, next_offset: next, leader_epoch: None };
        let tenure = Tenure::unlimited();
        self.patiently(|| self.store.store(&checkpoint, &tenure)).await
    }

    async fn patiently<T, F: Future<Output = Result<T, StoreError>>>(&self, ask: impl Fn() -> F) -> Result<T, Failure> {
        let mut waiting = self.context.waiting();
        loop {
            match ask().await {
                Ok(answer) => return Ok(answer),
                Err(error) => waiting.after(error.class(), error).await?,
            }
        }
    }
}

/// The group's name. A filter, or another topic, has a group of its own: what one replay passed over is
/// not done for another.
fn group_of(args: &ReplayDlq, application: &str) -> Result<String, UsageError> {
    if let Some(group) = &args.group {
        return Ok(group.clone());
    }
    if args.filter.grep.is_some() && !args.dry_run {
        let text = "--grep needs a --group to keep its progress in: the text is not made part of a name, since it may \
                    be personal data";
        return Err(UsageError(text.to_owned()));
    }
    let to = args.to.as_ref().map_or_else(String::new, |to| format!(":to={to}"));
    let grep = if args.filter.grep.is_some() { ":grep" } else { "" };
    Ok(format!("{application}-dlq-replay{}{to}{grep}", args.filter.group_suffix()))
}

/// Reads what is left once, and says what would be done with it.
async fn plan(rules: &Rules<'_>, context: &Context, progress: &Progress<'_>) -> Result<(Log, Plan), Failure> {
    let mut log = Log::ask(context, &rules.args.filter.partition).await?;
    let routes = Routes::new(&context.config)?;
    let mut plan = Plan::default();
    for (partition, stretch) in &mut log.stretches {
        *stretch = progress.left(context.topic(), log.topic_id, *partition, *stretch).await?;
    }
    for (partition, stretch) in &log.stretches {
        let mut reading = Reading::new(context, *partition, *stretch);
        while let Some(batch) = reading.next().await? {
            for entry in reading.entries(&batch) {
                if rules.args.max.is_some_and(|max| plan.records() >= max) {
                    return Ok((log, plan));
                }
                let marks = Marks::of(&entry.record, rules.prefix);
                let fate = rules.fate(&entry, &marks);
                plan.note(fate);
                if matches!(fate, Fate::Replay(_)) {
                    plan.judge(&routes, &entry.record);
                }
                if plan.topics.len() > MOST_TOPICS {
                    return Err(format!("more than {MOST_TOPICS} topics are to be written to: --to names one").into());
                }
            }
        }
    }
    Ok((log, plan))
}

/// The topics that are written to.
struct Targets {
    names: Vec<String>,
}

impl Targets {
    /// Makes sure that all of them are there, and may be written to.
    async fn find(context: &Context, plan: &Plan) -> Result<Self, Failure> {
        let names: Vec<String> = plan.topics.keys().cloned().collect();
        for name in &names {
            if name == context.topic() {
                let text = format!("{name} is the dead-letter topic itself: nothing is replayed to it");
                return Err(UsageError(text).into());
            }
            let found = context.patiently(|| async { context.describe(name).await }).await?;
            if found.authorized_operations.is_some_and(|bits| bits & WRITE == 0) {
                return Err(format!("Write on topic {name} is not allowed: grant it").into());
            }
        }
        Ok(Self { names })
    }

    fn place(&self, topic: &str) -> Option<usize> {
        self.names.iter().position(|name| name == topic)
    }
}

/// A dead letter that is to be written.
struct Due<'e> {
    record: RecordView<'e>,
    marks: Marks<'e>,
    fate: Fate<'e>,
}

/// A replay at work.
struct Replay<'c> {
    rules: Rules<'c>,
    context: &'c Context,
    targets: Targets,
    progress: Progress<'c>,
    writer: Writer,
    producer: Producer,
    observe: Observe,
    done: Plan,
    begun: Instant,
}

impl<'c> Replay<'c> {
    fn new(rules: Rules<'c>, context: &'c Context, targets: Targets, progress: Progress<'c>) -> Result<Self, Failure> {
        let observe = Observe::new(env!("CARGO_PKG_VERSION"), &[], Duration::MAX, serde_json::Value::Null);
        observe.health.started();
        let watch = Watch::new(observe.clone(), &context.config);
        let writer = Writer::new(&context.config, &targets.names, Arc::clone(&context.cluster), watch, &observe);
        let (producer, done, begun) = (Producer::default(), Plan::default(), Instant::now());
        Ok(Self { rules, context, targets, progress, writer, producer, observe, done, begun })
    }

    /// Whether it came to its end.
    async fn run(&mut self, log: &Log, stop: &CancellationToken) -> Result<bool, Failure> {
        for (partition, stretch) in &log.stretches {
            let mut reading = Reading::new(self.context, *partition, *stretch);
            loop {
                let Some(batch) = stop.run_until_cancelled(reading.next()).await else { return Ok(false) };
                let Some(batch) = batch? else { break };
                let entries: Vec<_> = reading.entries(&batch).collect();
                let mut left = &entries[..];
                while let Some(entry) = left.first() {
                    if self.is_full() {
                        return Ok(true);
                    }
                    debug_assert!(entry.record.offset >= stretch.0);
                    let Some(()) = stop.run_until_cancelled(self.pace()).await else { return Ok(false) };
                    let (count, next) = self.replay(left, *partition, stop).await?;
                    self.progress.store(self.context.topic(), log.topic_id, *partition, next).await?;
                    left = left.get(count..).unwrap_or_default();
                }
            }
            if self.is_full() {
                return Ok(true);
            }
        }
        Ok(true)
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

    /// Writes some of these, the first of them, and says how many are done with and at which offset to go on.
    async fn replay(
        &mut self,
        left: &[Entry<'_>],
        partition: i32,
        stop: &CancellationToken,
    ) -> Result<(usize, Offset), Failure> {
        let counts = self.context.patiently(|| self.writer.partition_counts()).await?;
        let mut planned = Plan::default();
        let (mut count, mut next) = (0, Offset(0));
        let mut due = Vec::new();
        for entry in left.iter().take(self.batch_records()) {
            let written = self.done.records() + planned.records();
            if self.rules.args.max.is_some_and(|max| written >= max) {
                break;
            }
            let marks = Marks::of(&entry.record, self.rules.prefix);
            let fate = self.rules.fate(entry, &marks);
            planned.note(fate);
            if !matches!(fate, Fate::Skip(_)) {
                due.push(Due { record: entry.record, marks, fate });
            }
            (count, next) = (count + 1, entry.record.offset.next());
        }
        // All at once; where some are refused, each of those that are not written by itself.
        let mut unwritten = self.write(&due, &counts, partition, stop).await?;
        unwritten.sort_unstable();
        for alone in unwritten.into_iter().filter_map(|at| due.get(at)) {
            if !self.write(slice::from_ref(alone), &counts, partition, stop).await?.is_empty() {
                planned.refused(alone.fate);
            }
        }
        self.done.add(planned);
        Ok((count, next))
    }

    /// Writes these, and returns the places of those that are not written.
    async fn write(
        &self,
        due: &[Due<'_>],
        counts: &[i32],
        partition: i32,
        stop: &CancellationToken,
    ) -> Result<Vec<usize>, Failure> {
        let mut output = OutputBatch::new(self.context.config.output.max_batch_bytes.as_usize(), Expected::default());
        for (at, Due { record, marks, fate }) in due.iter().enumerate() {
            let (Fate::Replay(name) | Fate::Quarantine(name)) = fate else { continue };
            let topic = self.targets.place(name).ok_or_else(|| format!("{name} was not asked for before"))?;
            let count = counts.get(topic).copied().unwrap_or(1);
            if let Fate::Quarantine(_) = fate {
                let to = Destination { topic, partition: partition % count.max(1) };
                let outgoing = Outgoing { timestamp_ms: record.timestamp_ms, key: record.key, value: record.value };
                output.append(to, at, &outgoing, record.headers);
            } else {
                let to = Destination { topic, partition: target_partition(marks, record.key, partition, count) };
                let outgoing = Outgoing { timestamp_ms: marks.time(record), key: record.key, value: record.value };
                let replayed = Replayed::new(self.rules.prefix, marks.replays);
                let headers: Vec<_> = replayed.headers(record).collect();
                output.append(to, at, &outgoing, Headers::Borrowed(&headers));
            }
        }
        let tenure = Tenure::unlimited();
        let writing = self.writer.write(output, &self.producer, &tenure);
        let written = tokio::select! {
            written = writing => written,
            why = self.hopeless() => return Err(why.into()),
            () = self.given_up(stop) => return Err("interrupted while brokers did not answer: what was on its way may \
                                                    be written, and is written again by the next run".into()),
        };
        let unwritten = written.refused.iter().flat_map(|refused| {
            tracing::warn!(error = %refused.error, "refused");
            refused.sources.iter().chain(&refused.behind).copied()
        });
        Ok(unwritten.collect())
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

/// The partition that a record goes to, of `count`: the one that it came from, where there is one of that
/// number; else the one that Kafka's clients choose for its key.
fn target_partition(marks: &Marks<'_>, key: Option<&[u8]>, dead_letter: i32, count: i32) -> i32 {
    match (marks.partition, key) {
        (Some(partition), _) if partition < count => partition,
        (_, Some(key)) => partition_of(key, count),
        (_, None) => dead_letter % count.max(1),
    }
}
