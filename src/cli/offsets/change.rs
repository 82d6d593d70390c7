//! Offsets about to be stored: all of them checked before the first is written.

use std::collections::BTreeMap;
use std::io::Write;

use super::log_ends::{Ends, LogEnds};
use super::store::{Listed, Purpose, Store};
use super::{Context, Failure};
use crate::config::OffsetStoreKind;
use crate::offsets::Checkpoint;
use crate::record::Offset;
use crate::topic::TopicId;

/// The manner of a change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    /// Only told.
    pub dry_run: bool,
    /// Also where something speaks against it that can be overridden.
    pub force: bool,
}

impl Manner {
    /// The store, opened for this.
    pub(super) async fn open(self, context: &Context) -> Result<Store, Failure> {
        let purpose = if self.dry_run { Purpose::Look } else { Purpose::Set };
        Store::open(&context.config, &context.cluster, purpose).await
    }

    /// The source topic's logs; `None` where no broker tells of them and that is overridden, as it
    /// can be with offsets that are given as numbers, in the file store.
    pub(super) async fn ends(self, context: &Context, numbers_given: bool) -> Result<Option<LogEnds>, Failure> {
        let can_do_without = numbers_given && context.config.offsets.store == OffsetStoreKind::File;
        match LogEnds::ask(&context.cluster, &context.config.source).await {
            Ok(ends) => Ok(Some(ends)),
            Err(error) if can_do_without && self.force => {
                tell!("login-pipeline: not checked against the log, as asked: {error}");
                Ok(None)
            }
            Err(error) if can_do_without => {
                Err(format!("can't check against the log ({error}); --force stores it unchecked").into())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// New offsets of a topic, by partition.
pub(super) struct Change {
    /// The topic's id, where it is known; what is stored has it otherwise.
    pub topic_id: Option<TopicId>,
    /// The new offsets.
    pub to: BTreeMap<i32, Offset>,
}

impl Change {
    /// Whether these offsets can be gone on from; what is to be noted of each otherwise.
    ///
    /// # Errors
    /// What speaks against it, for all partitions at once.
    pub(super) fn check(&self, topic: &str, ends: &LogEnds, force: bool) -> Result<Vec<String>, Failure> {
        let (mut wrong, mut notes) = (Vec::new(), Vec::new());
        for (partition, next) in &self.to {
            let Some(Ends { earliest, latest }) = ends.partitions.get(partition) else {
                let there = ends.partitions.len();
                wrong.push(format!("{topic}/{partition} is not there: the topic has {there} partitions"));
                continue;
            };
            if next > latest {
                let text = format!("{topic}/{partition}: {next} lies behind the log's end, {latest}");
                if force { notes.push(text) } else { wrong.push(format!("{text}; --force stores it all the same")) }
            } else if next < earliest {
                notes.push(format!(
                    "{topic}/{partition}: the log begins at {earliest} only: source.on_offset_out_of_range will decide"
                ));
            }
        }
        if wrong.is_empty() { Ok(notes) } else { Err(wrong.join("\n").into()) }
    }

    /// Stores it, unless somebody works on a partition, and tells old and new offset of each.
    ///
    /// # Errors
    /// Where it is refused. What it was before is told as far as it is known.
    pub(super) async fn apply(
        self,
        context: &Context,
        manner: Manner,
        store: &mut Store,
        stored: &Listed,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        let topic = &context.config.source.topic;
        if !manner.force
            && let Some(worker) = store.worker(topic, self.to.keys().copied()).await?
        {
            return Err(worker.into());
        }
        let known = |partition: &i32| stored.get(partition).and_then(|found| found.as_ref().ok());
        let checkpoint = |(partition, next_offset): (&i32, &Offset)| Checkpoint {
            topic: topic.to_owned(),
            topic_id: self.topic_id.or_else(|| known(partition).and_then(|before| before.topic_id)),
            partition: *partition,
            next_offset: *next_offset,
            leader_epoch: None,
        };
        if !manner.dry_run {
            let checkpoints: Vec<_> = self.to.iter().map(checkpoint).collect();
            store.set(&checkpoints).await?;
        }
        for (partition, to) in &self.to {
            let before = match stored.get(partition) {
                None => "none".to_owned(),
                Some(Ok(before)) => before.next_offset.to_string(),
                Some(Err(_)) => "?".to_owned(),
            };
            writeln!(out, "{topic}/{partition}: {before} -> {to}")?;
        }
        if manner.dry_run {
            writeln!(out, "dry run: nothing is stored")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(to: &[(i32, i64)], force: bool) -> Result<Vec<String>, String> {
        let partition = |index| (index, Ends { earliest: Offset(10), latest: Offset(20) });
        let ends = LogEnds { topic_id: None, partitions: (0..2).map(partition).collect() };
        let to = to.iter().map(|(partition, offset)| (*partition, Offset(*offset))).collect();
        Change { topic_id: None, to }.check("t", &ends, force).map_err(|error| error.to_string())
    }

    #[test]
    fn offsets_within_the_log_pass() {
        assert_eq!(check(&[(0, 10), (1, 20)], false), Ok(Vec::new()));
    }

    #[test]
    fn offsets_behind_the_end_need_force_and_unknown_partitions_never_pass() {
        let error = check(&[(0, 21), (1, 22), (2, 10)], false).unwrap_err();
        assert_eq!(error.lines().count(), 3, "{error}");
        assert!(error.contains("t/0: 21 lies behind the log's end, 20"), "{error}");
        assert!(error.contains("t/2 is not there"), "{error}");
        assert_eq!(check(&[(0, 21)], true).unwrap().len(), 1);
        assert!(check(&[(2, 10)], true).is_err());
    }

    #[test]
    fn offsets_before_the_log_are_noted() {
        let notes = check(&[(0, 9)], false).unwrap();
        assert!(notes[0].contains("the log begins at 10"), "{notes:?}");
    }
}
