//! `dlq replay` and `dlq retry`: what they will do, told and agreed to.
//!
//! ```text
//! offset of the group ──► Plan: all of it, read once ──► told, asked ──► Work
//! ```

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::input::Input;
use super::judge::{Judge, NoKey};
use super::plan::{Fate, Plan, Rules, Tense, Way};
use super::progress::{Progress, group_of};
use super::scope::Scope;
use super::standing::Standing;
use super::targets::Targets;
use super::work::{Ended, Work};
use super::{Context, Failure, ReplayDlq, RetryDlq};
use crate::cli::UsageError;
use crate::dead_letter::ErrorHeaders;
use crate::stages::{Routes, possible};

/// As many topics are written to, at most: no more are made up by whoever writes to the dead-letter topic.
const MOST_TOPICS: usize = 100;

pub(super) async fn run(
    args: &ReplayDlq,
    context: &Context,
    stop: &CancellationToken,
    out: &mut dyn Write,
) -> Result<ExitCode, Failure> {
    again(Rules::new(&args.again, Way::Source(args), context), context, stop, out).await
}

pub(super) async fn retry(
    args: &RetryDlq,
    context: &Context,
    stop: &CancellationToken,
    out: &mut dyn Write,
) -> Result<ExitCode, Failure> {
    again(Rules::new(&args.again, Way::Outputs, context), context, stop, out).await
}

async fn again(
    rules: Rules<'_>,
    context: &Context,
    stop: &CancellationToken,
    out: &mut dyn Write,
) -> Result<ExitCode, Failure> {
    let Some(prepared) = stop.run_until_cancelled(prepare(&rules, context, out)).await else {
        return Err("interrupted, before anything was written".into());
    };
    let Prepared { input, progress, targets, standings, routes, judge } = match prepared? {
        Ok(prepared) => prepared,
        Err(ended) => return Ok(ended),
    };
    let way = rules.way;
    let mut work = Work::new(rules, context, targets, progress, (routes, judge));
    let result = work.run(&input, standings, stop).await;
    let done = &work.done;
    done.print(out, Tense::Past)?;
    done.print_verdicts(out)?;
    let whole = match result? {
        Ended::AtItsEnd => true,
        Ended::Interrupted => {
            writeln!(out, "interrupted: the same command goes on where this one stopped")?;
            false
        }
        Ended::WithoutRoom(partitions) => {
            let partitions: Vec<_> =
                partitions.iter().map(|partition| format!("{}/{partition}", context.topic())).collect();
            let advice = match way {
                Way::Outputs => {
                    "change the rules that refuse them, or run dlq replay with the same flags, which writes what is open \
                     to the source"
                }
                Way::Source(_) => "change what their topic refuses them for, such as its max.message.bytes",
            };
            writeln!(
                out,
                "stopped early in {}: a group's offset has no room to note more dead letters that stay open; {advice}",
                partitions.join(", ")
            )?;
            false
        }
    };
    Ok(if whole && done.refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is to be done, once it is told and agreed to.
struct Prepared<'c> {
    input: Input<'c>,
    progress: Progress<'c>,
    targets: Targets,
    standings: BTreeMap<i32, Standing>,
    routes: Arc<Routes>,
    judge: Option<Judge<'c>>,
}

/// Finds out what is to be done, tells it, and asks; an exit code where nothing is to be written.
async fn prepare<'c>(
    rules: &Rules<'_>,
    context: &'c Context,
    out: &mut dyn Write,
) -> Result<Result<Prepared<'c>, ExitCode>, Failure> {
    let args = rules.args;
    possible::check(&context.config).map_err(UsageError)?;
    let routes = Arc::new(Routes::new(&context.config)?);
    rules.check(&context.config, &routes)?;
    let mut judge = judge(rules, context, &routes)?;
    let mut input = Input::ask(args, context).await?;
    let group = group_of(args, rules.to(), &context.config.kafka.client_id, input.sha256())?;
    let scope = Scope::of(args, rules.to(), input.sha256().is_some());
    let progress = Progress::open(group, scope, context).await?;
    let mut standings = BTreeMap::new();
    for (partition, stretch) in &mut input.log.stretches {
        let standing = progress.standing(context.topic(), input.log.topic_id, *partition, *stretch).await?;
        stretch.0 = standing.first();
        standings.insert(*partition, standing);
    }
    let plan = plan(rules, &input, &standings, (&routes, judge.as_mut())).await?;
    if judge.is_some() {
        plan.print_passing(out)?;
        write!(out, "; ")?;
    }
    match (rules.way, rules.to()) {
        (Way::Outputs, _) => writeln!(out, "a retry writes these to the outputs, and nothing to the source")?,
        (Way::Source(_), Some(to)) => writeln!(out, "this writes them to {to}")?,
        (Way::Source(_), None) => {
            let source = &context.config.source.topic;
            writeln!(out, "this writes them to the source, {source}: its readers get them again")?;
        }
    }
    plan.print(out, Tense::Future)?;
    if judge.is_some() {
        writeln!(out, "what the rules in force make of them:")?;
        plan.print_verdicts(out)?;
    }
    writeln!(out, "progress is kept in group {}", progress.group)?;
    out.flush()?;
    let targets = Targets::find(context, &plan, rules, &routes).await?;
    if args.dry_run {
        writeln!(out, "dry run: nothing is written, and no offset stored")?;
        return Ok(Err(ExitCode::SUCCESS));
    }
    if plan.done_with() > 0 && !args.yes && !confirmed().await? {
        writeln!(out, "nothing is written")?;
        return Ok(Err(ExitCode::FAILURE));
    }
    Ok(Ok(Prepared { input, progress, targets, standings, routes, judge }))
}

/// The stages that tell what passes now. A replay needs none to write: the source's readers judge what it writes.
fn judge<'c>(rules: &Rules<'_>, context: &'c Context, routes: &Arc<Routes>) -> Result<Option<Judge<'c>>, Failure> {
    let is_replay = matches!(rules.way, Way::Source(_));
    let judge = match Judge::new(context, routes) {
        Ok(judge) => judge,
        Err(NoKey(why)) if is_replay && !rules.args.dry_run => {
            tell!("login-pipeline: {why}; what the rules make of the records is not forecast");
            return Ok(None);
        }
        Err(NoKey(why)) => return Err(UsageError(why).into()),
    };
    if let Some(why) = &judge.without_countries {
        if !is_replay && !rules.args.dry_run {
            return Err(format!("enrich.geoip.file: {why}; nothing is written without countries").into());
        }
        tell!("login-pipeline: enrich.geoip.file: {why}; what follows is reckoned without countries");
    }
    Ok(Some(judge))
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
async fn plan(
    rules: &Rules<'_>,
    input: &Input<'_>,
    standings: &BTreeMap<i32, Standing>,
    (routes, mut judge): (&Routes, Option<&mut Judge<'_>>),
) -> Result<Plan, Failure> {
    let mut plan = Plan::default();
    for (partition, stretch) in &input.log.stretches {
        let mut source = input.read(*partition, *stretch).await?;
        let is_done = |offset| standings.get(partition).is_some_and(|standing| standing.is_done(offset));
        while let Some(batch) = source.next().await? {
            for found in source.found(&batch).iter().filter(|found| !is_done(found.entry.record.offset)) {
                if rules.args.max.is_some_and(|max| plan.records() >= max) {
                    return Ok(plan);
                }
                let error_headers = ErrorHeaders::of(&found.entry.record, rules.prefix);
                let fate = rules.fate(found, &error_headers);
                let judge = judge.as_mut().filter(|_| matches!(fate, Fate::Replay(_) | Fate::Retry));
                let verdict = judge.map(|judge| judge.judge(&found.entry.record, &error_headers, found.partition));
                plan.note(fate, verdict.as_ref(), routes);
                if let Some(verdict) = &verdict {
                    plan.judged(verdict, routes);
                }
                if plan.topics.len() > MOST_TOPICS {
                    return Err(format!("more than {MOST_TOPICS} topics are to be written to: --to names one").into());
                }
            }
        }
    }
    Ok(plan)
}
