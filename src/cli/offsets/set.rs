//! `offsets set`: some partitions' offsets, or all.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use super::change::{Change, Manner};
use super::log_ends::{LogEnds, offset_at};
use super::target::Target;
use super::{Context, Failure, SetOffsets};

pub(super) async fn run(args: &SetOffsets, context: &Context, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let topic = &context.config.source.topic;
    let manner = Manner { dry_run: args.dry_run, force: args.force };
    let ends = manner.ends(context, matches!(args.to, Target::Offset(_))).await?;
    let mut store = manner.open(context).await?;
    let known = |ends: &LogEnds| ends.partitions.keys().copied().collect::<Vec<_>>();
    let stored = store.list(topic, &ends.as_ref().map(known).unwrap_or_default()).await?;
    let chosen = args.partitions().unwrap_or_else(|| match &ends {
        Some(ends) => ends.partitions.keys().copied().collect(),
        None => stored.keys().copied().collect(),
    });
    if chosen.is_empty() {
        return Err(format!("no offsets of {topic} are stored, so that 'all' is none: name each --partition").into());
    }
    let mut to = BTreeMap::new();
    for partition in chosen {
        // A partition that is not there is refused below, with all others like it.
        let there = ends.as_ref().is_none_or(|ends| ends.partitions.contains_key(&partition));
        let offset = match args.to {
            Target::Offset(offset) => offset,
            Target::At(at) if there => offset_at(&context.cluster, &context.config.source, partition, at).await?,
            Target::At(_) => Default::default(),
        };
        to.insert(partition, offset);
    }
    let change = Change { topic_id: ends.as_ref().and_then(|ends| ends.topic_id), to };
    if let Some(ends) = &ends {
        for note in change.check(topic, ends, args.force)? {
            tell!("login-pipeline: {note}");
        }
    }
    change.apply(context, manner, &mut store, &stored, out).await?;
    Ok(ExitCode::SUCCESS)
}
