//! Fixed assignment, by list or by ordinal: what the configuration says, of those partitions that there are.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_client::Topic;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::warn;

use super::{Assigned, AssignmentError, Change, Changes, Reporter, TopicIncarnation, Topics};
use crate::config::AssignmentMode;
use crate::ownership::PartitionOwnership;
use crate::retry::{Operation, Retries};

/// Assigns what `mode` says, and looks up every `interval` whether the topic has more partitions or was
/// recreated.
pub fn assign(mode: AssignmentMode, topics: Topics, interval: Duration, retries: &Retries) -> Changes {
    let operation = retries.operation("metadata", format!("look up topic {}", topics.source()));
    let fixed =
        Fixed { mode, topics, interval, operation, topic: TopicIncarnation::default(), assigned: BTreeMap::new() };
    Changes::of(|reporter| fixed.run(reporter))
}

struct Fixed {
    mode: AssignmentMode,
    topics: Topics,
    interval: Duration,
    operation: Operation,
    topic: TopicIncarnation,
    assigned: BTreeMap<i32, PartitionOwnership>,
}

impl Fixed {
    async fn run(mut self, reporter: Reporter) -> Result<(), AssignmentError> {
        let Reporter { changes, mut orders } = reporter;
        // Nothing is revoked before the end, so that nothing is released either.
        tokio::select! {
            _ = orders.recv() => {}
            () = self.keep_assigning(&changes) => {}
        }
        let all = self.assigned.into_keys().collect();
        let _ = changes.send(Change::Revoked(all)).await; // nobody listens once the process ends
        Ok(())
    }

    /// Returns when nobody listens any more.
    async fn keep_assigning(&mut self, changes: &mpsc::Sender<Change>) {
        loop {
            let pause = match self.topics.look_up().await {
                Ok(found) => {
                    self.operation.succeeded();
                    for change in self.changes(&found) {
                        if changes.send(change).await.is_err() {
                            return;
                        }
                    }
                    self.interval
                }
                Err(error) => self.operation.failed(&error),
            };
            sleep(pause).await;
        }
    }

    fn changes(&mut self, found: &Topic) -> Vec<Change> {
        let mut changes = Vec::new();
        let before = self.topic.id();
        self.topic.saw(found.id, found.partition_count());
        if before.is_some() && self.topic.id() != before && !self.assigned.is_empty() {
            warn!(topic = self.topics.source(), "topic was recreated: its partitions begin again");
            self.assigned.values().for_each(PartitionOwnership::end);
            changes.push(Change::Lost(std::mem::take(&mut self.assigned).into_keys().collect()));
        }
        let there: Vec<i32> = found.partitions.iter().map(|partition| partition.index).collect();
        let missing = missing(&self.mode, &there);
        if !missing.is_empty() {
            warn!(?missing, "assignment.partitions names partitions that the topic does not have");
        }
        let new = there.into_iter().filter(|partition| reads(&self.mode, *partition));
        let new = new.filter(|partition| !self.assigned.contains_key(partition));
        let assigned = |partition| {
            let (topic_id, is_new) = (self.topic.id(), self.topic.is_new(partition));
            (partition, Assigned { ownership: PartitionOwnership::unlimited(), topic_id, is_new })
        };
        let partitions: BTreeMap<_, _> = new.map(assigned).collect();
        if !partitions.is_empty() {
            self.assigned
                .extend(partitions.iter().map(|(partition, assigned)| (*partition, assigned.ownership.clone())));
            changes.push(Change::Assigned(partitions));
        }
        changes
    }
}

/// The partitions that the configuration names and the topic does not have.
fn missing(mode: &AssignmentMode, there: &[i32]) -> Vec<i32> {
    match mode {
        AssignmentMode::Static { partitions: Some(partitions) } => {
            partitions.iter().copied().filter(|partition| !there.contains(partition)).collect()
        }
        _ => Vec::new(),
    }
}

fn reads(mode: &AssignmentMode, partition: i32) -> bool {
    match mode {
        AssignmentMode::Static { partitions: None } => true,
        AssignmentMode::Static { partitions: Some(partitions) } => partitions.contains(&partition),
        AssignmentMode::Ordinal { ordinal, replicas } => {
            u32::try_from(partition).is_ok_and(|partition| partition % (*replicas).max(1) == *ordinal)
        }
        AssignmentMode::Group => false, // the coordinator says
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_or_those_named() {
        let all = AssignmentMode::Static { partitions: None };
        assert!((0..3).all(|partition| reads(&all, partition)));
        let some = AssignmentMode::Static { partitions: Some(vec![1, 7]) };
        assert!(!reads(&some, 0) && reads(&some, 1));
        assert_eq!(missing(&some, &[0, 1, 2]), [7]);
    }

    #[test]
    fn every_partition_has_one_ordinal() {
        for partition in 0..13 {
            let readers =
                (0..4).filter(|ordinal| reads(&AssignmentMode::Ordinal { ordinal: *ordinal, replicas: 4 }, partition));
            assert_eq!(readers.count(), 1);
        }
    }
}
