//! The offsets that a group has committed.

use std::collections::BTreeMap;

use crate::error_codes;

/// Kafka's default of `offset.metadata.max.bytes`.
const MAX_METADATA_BYTES: usize = 4096;

/// A committed offset, and what is kept beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next offset to read.
    pub offset: i64,
    /// The leader epoch of the record before it; -1 where it is not known.
    pub leader_epoch: i32,
    /// What the committer noted.
    pub metadata: String,
}

/// By topic and partition.
#[derive(Debug, Clone, Default)]
pub(crate) struct Offsets(BTreeMap<String, BTreeMap<i32, CommittedOffset>>);

impl Offsets {
    /// Stores one.
    ///
    /// # Errors
    /// `OFFSET_METADATA_TOO_LARGE`.
    pub fn commit(&mut self, topic: &str, partition: i32, committed: CommittedOffset) -> Result<(), i16> {
        if committed.metadata.len() > MAX_METADATA_BYTES {
            return Err(error_codes::OFFSET_METADATA_TOO_LARGE);
        }
        self.0.entry(topic.to_owned()).or_default().insert(partition, committed);
        Ok(())
    }

    pub fn find(&self, topic: &str, partition: i32) -> Option<&CommittedOffset> {
        self.0.get(topic)?.get(&partition)
    }

    /// All that there are, by topic.
    pub fn partitions(&self) -> impl Iterator<Item = (&str, Vec<i32>)> {
        self.0.iter().map(|(topic, partitions)| (topic.as_str(), partitions.keys().copied().collect()))
    }

    /// The topic was deleted, and Kafka deletes its offsets.
    pub fn forget(&mut self, topic: &str) {
        self.0.remove(topic);
    }
}
