//! The ledger of the offsets topic, for the fuzzer: records in, what they amount to out.

use super::error::TopicError;
use super::ledger::{Ledger, Standing, Written};
use super::record::{Entry, State};
use crate::offsets::Checkpoint;
use crate::record::Offset;

/// A record to append: its key, and its value or a tombstone.
pub type Appended = (String, Option<String>);

/// One group's part of the offsets topic, as an instance reads it.
#[derive(Debug)]
pub struct FuzzedLedger(Ledger);

impl FuzzedLedger {
    /// Before anything is read.
    pub fn new(group: &str, instance: u64) -> Self {
        Self(Ledger::new("offsets", group, instance))
    }

    /// Takes in a record, in the order of the log.
    pub fn apply(&mut self, at: Offset, key: Option<&[u8]>, value: Option<&[u8]>) {
        self.0.apply(at, key, value);
    }

    /// The progress of a partition.
    ///
    /// # Errors
    /// Where it can't be told: never a guess.
    pub fn checkpoint(&self, topic: &str, partition: i32) -> Result<Option<&Checkpoint>, TopicError> {
        self.0.checkpoint(topic, partition)
    }

    /// Whether this instance owns a partition.
    pub fn holds(&self, topic: &str, partition: i32) -> bool {
        matches!(self.0.standing(topic, partition), Standing::Held(_))
    }

    /// The partitions of a topic of which anything is said.
    pub fn partitions(&self, topic: &str) -> Vec<i32> {
        self.0.partitions(topic).collect()
    }

    /// What makes this instance the owner of a partition.
    pub fn claim(&self, topic: &str, partition: i32, checkpoint: Option<Checkpoint>) -> Vec<Appended> {
        let entry = Entry { state: State::Held, checkpoint };
        self.0.claim(topic, partition, &entry).into_iter().map(appended).collect()
    }

    /// What this instance stores of a partition that it owns.
    pub fn update(&self, topic: &str, partition: i32, checkpoint: Checkpoint) -> Option<Appended> {
        let Standing::Held(owner) = self.0.standing(topic, partition) else { return None };
        let entry = Entry { state: State::Held, checkpoint: Some(checkpoint) };
        Some(appended(self.0.update(topic, partition, owner, &entry)))
    }
}

fn appended(Written { key, value }: Written) -> Appended {
    (key, value)
}
