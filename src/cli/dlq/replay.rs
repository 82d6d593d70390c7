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

use super::input::{Found, Input};
use super::judge::Judge;
use super::plan::{Fate, Plan, Rules, Skip};
use super::progress::Progress;
use super::targets::{Targets, target_partition};
use super::{Context, Failure, ReplayDlq};
use crate::broker::wire::batch::Outgoing;
use crate::broker::{Destination, Expected, OutputBatch, Producer, Watch, Writer};
use crate::cli::UsageError;
use crate::dead_letter::{Marks, Replayed};
use crate::observe::Observe;
use crate::record::{Headers, Offset, RecordView, trace_id};
use crate::tenure::Tenure;
use crate::worker::unix_ms;

/// As many dead letters are worked on between two stored offsets, at most: what a kill may double.
pub const BATCH_RECORDS: usize = 1_000;

/// As many topics are written to, at most: no more are made up by whoever writes to the dead-letter topic.
const MOST_TOPICS: usize = 100;

pub(super) async fn run(
    args: &ReplayDlq,
    context: &Context,
    stop: &CancellationToken,
    out: &mut dyn Write,
) -> Result<ExitCode, Failure> {
    let rules = Rules::new(args, context);
    let Some(prepared) = stop.run_until_cancelled(prepare(&rules, context, out)).await else {
        return Err("interrupted, before anything was written".into());
    };
    let Prepared { input, progress, targets } = match prepared? {
        Ok(prepared) => prepared,
        Err(ended) => return Ok(ended),
    };
    let mut replay = Replay::new(rules, context, targets, progress)?;
    let result = replay.run(&input, stop).await;
    replay.done.print(out, "were written")?;
    if !result? {
        writeln!(out, "interrupted: the same command goes on where this one stopped")?;
        return Ok(ExitCode::FAILURE);
    }
    let refused = replay.done.skipped.contains_key(&Skip::Refused);
    Ok(if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What is to be done, once it is told and agreed to.
struct Prepared<'c> {
    input: Input<'c>,
    progress: Progress<'c>,
    targets: Targets,
}

/// Finds out what is to be done, tells it, and asks; an exit code where nothing is to be written.
async fn prepare<'c>(
    rules: &Rules<'_>,
    context: &'c Context,
    out: &mut dyn Write,
) -> Result<Result<Prepared<'c>, ExitCode>, Failure> {
    let args = rules.args;
    let mut input = Input::ask(args, context).await?;
    let progress = Progress::open(args, context, input.sha256()).await?;
    for (partition, stretch) in &mut input.log.stretches {
        *stretch = progress.left(context.topic(), input.log.topic_id, *partition, *stretch).await?;
    }
    let plan = plan(rules, context, &input).await?;
    plan.print_passing(out)?;
    writeln!(out)?;
    plan.print(out, "are to be written")?;
    writeln!(out, "what the rules in force make of them:")?;
    for (verdict, count) in plan.verdicts.iter() {
        writeln!(out, "  {count:>10}  {verdict}")?;
    }
    writeln!(out, "progress is kept in group {}", progress.group)?;
    out.flush()?;
    let targets = Targets::find(context, &plan, rules).await?;
    if args.dry_run {
        writeln!(out, "dry run: nothing is written, and no offset stored")?;
        return Ok(Err(ExitCode::SUCCESS));
    }
    if plan.records() > 0 && !args.yes && !confirmed().await? {
        writeln!(out, "nothing is written")?;
        return Ok(Err(ExitCode::FAILURE));
    }
    Ok(Ok(Prepared { input, progress, targets }))
}

/// Asks whether to write.
async fn confirmed() -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        let text = "this writes to Kafka, and there is no terminal to ask at: --yes goes on without asking, --dry-run \
                    writes nothing";
        return Err(UsageError(text.to_owned()).into());
    }
    write!(std::io::stderr(), "Go on? [y/N] ")?;
    let answer = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    });
    let answer = answer.await??;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Reads what is left once, and says what would be done with it.
async fn plan(rules: &Rules<'_>, context: &Context, input: &Input<'_>) -> Result<Plan, Failure> {
    let mut judge = Judge::new(context)?;
    if let Some(why) = &judge.without_countries {
        tell!("login-pipeline: enrich.geoip.file: {why}; what follows is reckoned without countries");
    }
    let mut plan = Plan::default();
    for (partition, stretch) in &input.log.stretches {
        let mut source = input.read(*partition, *stretch).await?;
        while let Some(batch) = source.next().await? {
            for found in source.found(&batch) {
                if rules.args.max.is_some_and(|max| plan.records() >= max) {
                    return Ok(plan);
                }
                let marks = Marks::of(&found.entry.record, rules.prefix);
                let fate = rules.fate(&found, &marks);
                plan.note(fate);
                if matches!(fate, Fate::Replay(_)) {
                    plan.judged(&judge.judge(&found.entry.record, &marks, found.partition), &judge);
                }
                if plan.topics.len() > MOST_TOPICS {
                    return Err(format!("more than {MOST_TOPICS} topics are to be written to: --to names one").into());
                }
            }
        }
    }
    Ok(plan)
}

/// A dead letter that is to be written.
struct Due<'e> {
    record: RecordView<'e>,
    partition: i32,
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
        let observe = Observe::new(env!("CARGO_PKG_VERSION"), &[], context.patience, serde_json::Value::Null);
        observe.health.started();
        let watch = Watch::new(observe.clone(), &context.config);
        let writer = Writer::new(&context.config, &targets.names, Arc::clone(&context.cluster), watch, &observe);
        let (producer, done, begun) = (Producer::default(), Plan::default(), Instant::now());
        Ok(Self { rules, context, targets, progress, writer, producer, observe, done, begun })
    }

    /// Whether it came to its end.
    async fn run(&mut self, input: &Input<'_>, stop: &CancellationToken) -> Result<bool, Failure> {
        for (partition, stretch) in &input.log.stretches {
            let mut source = input.read(*partition, *stretch).await?;
            loop {
                let Some(batch) = stop.run_until_cancelled(source.next()).await else { return Ok(false) };
                let Some(batch) = batch? else { break };
                let found = source.found(&batch);
                let mut left = &found[..];
                while let Some(first) = left.first() {
                    if self.is_full() {
                        return Ok(true);
                    }
                    debug_assert!(first.entry.record.offset >= stretch.0);
                    let Some(()) = stop.run_until_cancelled(self.pace()).await else { return Ok(false) };
                    let (count, next) = self.replay(left, stop).await?;
                    self.progress.store(self.context.topic(), input.log.topic_id, *partition, next).await?;
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
    async fn replay(&mut self, left: &[Found<'_>], stop: &CancellationToken) -> Result<(usize, Offset), Failure> {
        let counts = self.context.patiently(|| self.writer.partition_counts()).await?;
        let mut planned = Plan::default();
        let (mut count, mut next) = (0, Offset(0));
        let mut due = Vec::new();
        for found in left.iter().take(self.batch_records()) {
            let record = found.entry.record;
            let written = self.done.records() + planned.records();
            if self.rules.args.max.is_some_and(|max| written >= max) {
                break;
            }
            let marks = Marks::of(&record, self.rules.prefix);
            let fate = self.rules.fate(found, &marks);
            planned.note(fate);
            if !matches!(fate, Fate::Skip(_)) {
                due.push(Due { record, partition: found.partition, marks, fate });
            }
            (count, next) = (count + 1, record.offset.next());
        }
        // All at once; where some are refused, each of those that are not written by itself.
        let mut unwritten = self.write(&due, &counts, stop).await?;
        unwritten.sort_unstable();
        for alone in unwritten.into_iter().filter_map(|at| due.get(at)) {
            if !self.write(slice::from_ref(alone), &counts, stop).await?.is_empty() {
                planned.refused(alone.fate);
            }
        }
        self.done.add(planned);
        Ok((count, next))
    }

    /// Writes these, and returns the places of those that are not written.
    async fn write(&self, due: &[Due<'_>], counts: &[i32], stop: &CancellationToken) -> Result<Vec<usize>, Failure> {
        let mut output = OutputBatch::new(self.context.config.output.max_batch_bytes.as_usize(), Expected::default());
        for (at, Due { record, partition, marks, fate }) in due.iter().enumerate() {
            let (Fate::Replay(name) | Fate::Quarantine(name)) = fate else { continue };
            let topic = self.targets.place(name).ok_or_else(|| format!("{name} was not asked for before"))?;
            let count = counts.get(topic).copied().unwrap_or(1);
            if let Fate::Quarantine(_) = fate {
                let to = Destination { topic, partition: partition % count.max(1) };
                // Retention counts from now there, too, where the record's own time stands in a header.
                let timestamp_ms = marks.timestamp_ms.map_or(record.timestamp_ms, |_| unix_ms());
                let outgoing = Outgoing { timestamp_ms, key: record.key, value: record.value };
                output.append(to, at, &outgoing, record.headers);
            } else {
                let key = marks.key(record);
                let to = Destination { topic, partition: target_partition(marks, key, *partition, count) };
                let outgoing = Outgoing { timestamp_ms: marks.time(record), key, value: record.value };
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
