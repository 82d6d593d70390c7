//! Where a replay writes to.

use super::plan::{Plan, Rules, Way};
use super::reader::is_missing;
use super::{Context, Failure};
use crate::cli::UsageError;
use crate::config::{Config, OffsetStoreKind};
use crate::dead_letter::ErrorHeaders;
use crate::murmur2::partition_of;
use crate::stages::Routes;
use crate::topic;

/// The bit of KIP-430 for the operation Write.
const WRITE: i32 = 1 << 4;

/// The topics that are written to.
pub(super) struct Targets {
    /// Their names.
    pub names: Vec<String>,
}

impl Rules<'_> {
    /// Makes sure that no header of a dead letter leads to where the pipeline, or a replay, writes itself.
    ///
    /// # Errors
    /// Where the command line allows that.
    pub(super) fn check(&self, config: &Config, routes: &Routes) -> Result<(), UsageError> {
        for name in &self.args.allow_topic {
            let what = if *name == config.dead_letter.topic {
                "the dead-letter topic itself"
            } else if *name == self.quarantine {
                "the quarantine topic"
            } else if config.offsets.store == OffsetStoreKind::Topic && *name == config.offsets.topic {
                "offsets.topic"
            } else if routes.topics().contains(name) {
                "written to by the pipeline"
            } else {
                continue;
            };
            let text = format!("--allow-topic {name}: {name} is {what}, so that no dead letter came from there");
            return Err(UsageError(text));
        }
        Ok(())
    }
}

impl Targets {
    /// Makes sure that all of them are there, and may be written to.
    ///
    /// # Errors
    /// Where one of them is not, or the brokers don't tell.
    pub(super) async fn find(
        context: &Context,
        plan: &Plan,
        rules: &Rules<'_>,
        routes: &Routes,
    ) -> Result<Self, Failure> {
        if let Way::Outputs = rules.way {
            // All that the pipeline writes to, in its order; without some of them it would not run.
            let names = routes.topics().to_vec();
            for name in &names {
                Self::look_up(context, name, plan.topics.contains_key(name)).await?;
            }
            return Ok(Self { names });
        }
        let names: Vec<String> = plan.topics.keys().cloned().collect();
        for name in &names {
            if name == context.topic() {
                let text = format!("{name} is the dead-letter topic itself: nothing is replayed to it");
                return Err(UsageError(text).into());
            }
            let is_quarantine = plan.quarantined > 0 && *name == rules.quarantine;
            if let Some(why) = harm(&context.config, name, is_quarantine) {
                return Err(UsageError(why).into());
            }
            if is_quarantine && !topic::is_name(name) {
                return Err(UsageError(format!("{name} is no topic's name: --quarantine-topic names another")).into());
            }
            match Self::look_up(context, name, true).await {
                Err(error) if is_quarantine && is_missing(&error) => return Err(no_quarantine(plan, rules).into()),
                found => found?,
            }
        }
        Ok(Self { names })
    }

    async fn look_up(context: &Context, name: &str, is_written: bool) -> Result<(), Failure> {
        let found = context.patiently(|| async { context.describe(name).await }).await?;
        if is_written && found.authorized_operations.is_some_and(|bits| bits & WRITE == 0) {
            return Err(format!("Write on topic {name} is not allowed: grant it").into());
        }
        Ok(())
    }

    /// The place of a topic among them.
    pub(super) fn place(&self, topic: &str) -> Option<usize> {
        self.names.iter().position(|name| name == topic)
    }
}

/// What to do where the quarantine topic is missing.
fn no_quarantine(plan: &Plan, rules: &Rules<'_>) -> String {
    let (count, often, name) = (plan.quarantined, rules.max_replays(), &rules.quarantine);
    format!(
        "{count} dead letters were replayed {often} times or more and go to the quarantine topic, but {name} is not \
         there: create it (kafka-topics.sh --create --topic {name}), name another by --quarantine-topic, or allow more \
         by --max-replays"
    )
}

/// The partition that a record goes to, of `count`: the one that it came from, where there is one of that
/// number; else the one that Kafka's clients choose for its key.
pub(super) fn target_partition(
    error_headers: &ErrorHeaders<'_>,
    key: Option<&[u8]>,
    dead_letter: i32,
    count: i32,
) -> i32 {
    match (error_headers.partition, key) {
        (Some(partition), _) if partition < count => partition,
        (_, Some(key)) => partition_of(key, count),
        (_, None) => dead_letter % count.max(1),
    }
}

/// What a replay to this topic would do to the pipeline, where that is no good.
fn harm(config: &Config, name: &str, is_quarantine: bool) -> Option<String> {
    if config.offsets.store == OffsetStoreKind::Topic && name == config.offsets.topic {
        return Some(format!("{name} is offsets.topic: with other records in it, no offset can be read any more"));
    }
    let what = if name == config.source.topic {
        "source.topic: what was replayed too often would be read once more"
    } else if name == config.output.topic {
        "output.topic: what was replayed too often would lie among the good records"
    } else {
        return None;
    };
    is_quarantine.then(|| format!("the quarantine topic {name} is {what}; --quarantine-topic names another"))
}
