//! How far a replay is.

use std::sync::Arc;

use super::filter::suffix_of;
use super::{Context, Failure, ReplayDlq};
use crate::broker::wire::Coordinator;
use crate::cli::UsageError;
use crate::offsets::{Checkpoint, Committer, GroupStore, OffsetStore, StoreError};
use crate::record::{Offset, TopicId};
use crate::tenure::Tenure;

/// Where the replay is, kept in a group that nobody is a member of.
pub struct Progress<'c> {
    /// The group.
    pub group: String,
    store: GroupStore,
    context: &'c Context,
}

impl<'c> Progress<'c> {
    /// Opens the group for what is read: of a file, where this is its digest.
    ///
    /// # Errors
    /// Where the group has members, or the brokers don't tell.
    pub async fn open(args: &ReplayDlq, context: &'c Context, sha256: Option<&str>) -> Result<Self, Failure> {
        let group = group_of(args, &context.config.kafka.client_id, sha256)?;
        let coordinator = || Coordinator::new(Arc::clone(&context.cluster), &group);
        let found = context.patiently(|| async { coordinator().describe().await }).await?;
        if let Some(found) = found.filter(|found| found.members > 0) {
            return Err(format!("group {group} has {} members: --group names another", found.members).into());
        }
        let store = GroupStore::new(coordinator(), Committer::Plain);
        Ok(Self { group, store, context })
    }

    /// The stretch of a partition that is left.
    ///
    /// # Errors
    /// Where the group is further than the partition, or the brokers don't tell.
    pub async fn left(
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

    /// Stores where to go on.
    ///
    /// # Errors
    /// Where that lasts, or does not pass in time.
    pub async fn store(
        &self,
        topic: &str,
        topic_id: Option<TopicId>,
        partition: i32,
        next: Offset,
    ) -> Result<(), Failure> {
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
/// not done for another. So has each file, whatever group is named: lines of one are not another's.
fn group_of(args: &ReplayDlq, application: &str, sha256: Option<&str>) -> Result<String, UsageError> {
    let file = sha256.map_or_else(String::new, |digest| format!(":file={digest}"));
    if let Some(group) = &args.group {
        return Ok(format!("{group}{file}"));
    }
    if args.filter.grep.is_some() && !args.dry_run {
        let text = "--grep needs a --group to keep its progress in: the text is not made part of a name, since it may \
                    be personal data";
        return Err(UsageError(text.to_owned()));
    }
    let to = args.to.as_ref().map_or_else(String::new, |to| format!(":to={to}"));
    let allowed = suffix_of("allow", &args.allow_topic);
    let grep = if args.filter.grep.is_some() { ":grep" } else { "" };
    // In a topic each has its own offset.
    let partitions = if file.is_empty() { String::new() } else { args.filter.partition_suffix() };
    Ok(format!("{application}-dlq-replay{}{partitions}{to}{allowed}{grep}{file}", args.filter.group_suffix()))
}
