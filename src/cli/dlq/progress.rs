//! How far a replay or a retry is.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_client::{Coordinator, permit};
use kafka_protocol::ResponseError;

use super::args::{Again, Filter, Time};
use super::scope::{Scope, allowed};
use super::standing::Standing;
use super::{Context, Failure};
use crate::cli::UsageError;
use crate::kafka::{Cause, Error};
use crate::offsets::{Checkpoint, checkpoint, group_offset};
use crate::record::Offset;
use crate::topic::TopicId;

/// What the group keeps beside an offset where some before the position are open.
const OPEN: &str = "open=";

/// The progress of a replay or retry, kept in a group that nobody is a member of.
pub(super) struct Progress<'c> {
    /// The group.
    pub group: String,
    scope: Option<Scope>,
    coordinator: Coordinator,
    context: &'c Context,
}

impl<'c> Progress<'c> {
    /// The progress of this group, as it is, for letters of this scope, unless its name says for which.
    pub(super) fn of(group: String, scope: Option<Scope>, context: &'c Context) -> Self {
        let coordinator = Coordinator::new(Arc::clone(&context.cluster), &group);
        Self { group, scope, coordinator, context }
    }

    /// Opens a group for writing.
    ///
    /// # Errors
    /// Where the group has members, or the brokers don't tell.
    pub(super) async fn open(group: String, scope: Scope, context: &'c Context) -> Result<Self, Failure> {
        let progress = Self::of(group, Some(scope), context);
        let found = context.patiently(|| async { progress.coordinator.describe().await }).await?;
        if let Some(found) = found.filter(|found| found.members > 0) {
            return Err(format!("group {} has {} members: --group names another", progress.group, found.members).into());
        }
        Ok(progress)
    }

    /// Reads what is done of a partition, which reaches from here to there.
    ///
    /// # Errors
    /// Where the group is further than the partition, its note can't be read, it stands for other letters than these, or
    /// the brokers don't tell.
    pub(super) async fn standing(
        &self,
        topic: &str,
        id: Option<TopicId>,
        partition: i32,
        (begin, end): (Offset, Offset),
    ) -> Result<Standing, Failure> {
        let partitions = [partition];
        let found = self.context.patiently(|| self.coordinator.committed(topic, &partitions)).await?;
        let fresh = Ok(Standing::at(begin));
        let Some(found) = found.get(&partition) else { return fresh };
        let stored = checkpoint(topic, partition, found);
        if stored.topic_id.zip(id).is_some_and(|(then, now)| then != now) {
            return fresh;
        }
        self.scope.as_ref().map_or(Ok(()), |scope| scope.check(&found.metadata)).map_err(|what| {
            UsageError(format!(
                "the progress in group {} is that of {what}: letters that it left out would be taken for done; --group \
                 names another group",
                self.group
            ))
        })?;
        let note = found.metadata.split(' ').find_map(|word| word.strip_prefix(OPEN)).unwrap_or_default();
        let mut standing = Standing::read(stored.next_offset, note).ok_or_else(|| {
            let group = &self.group;
            format!(
                "what group {group} notes at its offset of {topic}/{partition} can't be read; --group names another"
            )
        })?;
        // What it noted behind its offset, too, would be other dead letters.
        if standing.next() > end {
            return Err(format!(
                "group {} is at {} of {topic}/{partition}, which ends at {end}: the topic was recreated, or cut off; \
                 --group names another group",
                self.group,
                standing.next()
            )
            .into());
        }
        standing.begin_at(begin);
        Ok(standing)
    }

    /// Stores what is done.
    ///
    /// # Errors
    /// Where that lasts, or does not pass in time.
    pub(super) async fn store(
        &self,
        topic: &str,
        topic_id: Option<TopicId>,
        partition: i32,
        standing: &Standing,
    ) -> Result<(), Failure> {
        let next_offset = standing.first();
        let checkpoint = Checkpoint { topic: topic.to_owned(), topic_id, partition, next_offset, leader_epoch: None };
        let mut offset = group_offset(&checkpoint);
        // Without room for all of the note its beginning is right, too: what comes behind that is done again.
        let note = standing.text().unwrap_or_else(|| standing.beginning());
        let note = if note.is_empty() { note } else { format!("{OPEN}{note}") };
        let words =
            [std::mem::take(&mut offset.metadata), self.scope.as_ref().map(Scope::word).unwrap_or_default(), note];
        offset.metadata = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        let held = BTreeMap::from([(partition, (offset, permit::unlimited()))]);
        let on = || format!("{} for {topic}/{partition}", self.group);
        let commit = || async {
            let committed = self.coordinator.commit(&|| Ok(None), topic, &held).await?;
            let code = committed.into_values().find_map(Result::err);
            code.map_or(Ok(()), |code| Err(Error::new("commit offsets of group", on(), self.cause(code))))
        };
        let stored = self.context.patiently(commit).await;
        stored.map_err(|error| match error.downcast_ref::<Error>() {
            Some(refused) if refused.is(ResponseError::OffsetMetadataTooLarge) => {
                format!("{error}; set the brokers' offset.metadata.max.bytes to 4096 or more").into()
            }
            _ => error,
        })
    }

    /// To who is no member, a coordinator says that it doesn't know the member where it means that there are others.
    fn cause(&self, code: ResponseError) -> Cause {
        match code {
            ResponseError::UnknownMemberId => Cause::GroupHasMembers(self.group.clone()),
            code => Cause::Code(code),
        }
    }
}

/// The group of these dead letters, and of the topic that they go to where that is named. A filter, or another topic, has
/// a group of its own: what one replay passed over is not done for another. So has each file, by its digest, whatever group
/// is named: lines of one are not another's.
///
/// # Errors
/// Where it can't have a name.
pub(super) fn group_of(
    args: &Again,
    to: Option<&str>,
    application: &str,
    sha256: Option<&str>,
) -> Result<String, UsageError> {
    if args.filter.until.as_ref().is_some_and(Time::moves) && !args.dry_run {
        let text = "--until wants a time here, such as 2026-01-02T03:04:05Z: what is too young for one that moves would \
                    be passed, and is old enough later";
        return Err(UsageError(text.to_owned()));
    }
    let file = sha256.map_or_else(String::new, |digest| format!(":file={digest}"));
    if let Some(group) = &args.group {
        return Ok(format!("{group}{file}"));
    }
    if args.filter.grep.is_some() && !args.dry_run {
        let text = "--grep needs a --group to keep its progress in: the text is not made part of a name, since it may \
                    be personal data";
        return Err(UsageError(text.to_owned()));
    }
    let to = to.map_or_else(String::new, |to| format!(":to={to}"));
    let allowed = allowed(args);
    let grep = if args.filter.grep.is_some() { ":grep" } else { "" };
    // In a topic each has its own offset.
    let partitions = if file.is_empty() { String::new() } else { args.filter.partition_suffix() };
    Ok(format!("{}{partitions}{to}{allowed}{grep}{file}", group_of_filter(&args.filter, application)))
}

/// The group of the topic's dead letters that a filter takes, wherever they go by themselves.
pub(super) fn group_of_filter(filter: &Filter, application: &str) -> String {
    format!("{application}-dlq-replay{}", filter.group_suffix())
}
