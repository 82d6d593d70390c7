//! The offsets that a group has committed, and those that wait for the end of a transaction.

use std::collections::BTreeMap;

use kafka_records::batch::ProducerId;

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
pub(crate) struct Offsets {
    committed: BTreeMap<String, BTreeMap<i32, Written>>,
    /// Within open transactions, by producer id.
    pending: BTreeMap<i64, Pending>,
    /// How many were written down.
    written: u64,
}

/// An offset, and the place where it was written down.
#[derive(Debug, Clone)]
struct Written {
    place: u64,
    offset: CommittedOffset,
}

/// What waits for the end of a producer's transaction.
#[derive(Debug, Clone)]
struct Pending {
    epoch: i16,
    offsets: BTreeMap<(String, i32), Written>,
}

impl Offsets {
    /// Stores one.
    ///
    /// # Errors
    /// `OFFSET_METADATA_TOO_LARGE`.
    pub(crate) fn commit(&mut self, topic: &str, partition: i32, offset: CommittedOffset) -> Result<(), i16> {
        let written = self.write_down(offset)?;
        self.committed.entry(topic.to_owned()).or_default().insert(partition, written);
        Ok(())
    }

    /// Stores one that counts when the producer's transaction is committed.
    ///
    /// # Errors
    /// `OFFSET_METADATA_TOO_LARGE`.
    pub(crate) fn commit_in_transaction(
        &mut self,
        producer: ProducerId,
        topic: &str,
        partition: i32,
        offset: CommittedOffset,
    ) -> Result<(), i16> {
        let written = self.write_down(offset)?;
        let begun = Pending { epoch: producer.epoch, offsets: BTreeMap::new() };
        let pending = self.pending.entry(producer.id).or_insert(begun);
        pending.epoch = producer.epoch;
        pending.offsets.insert((topic.to_owned(), partition), written);
        Ok(())
    }

    fn write_down(&mut self, offset: CommittedOffset) -> Result<Written, i16> {
        if offset.metadata.len() > MAX_METADATA_BYTES {
            return Err(error_codes::OFFSET_METADATA_TOO_LARGE);
        }
        self.written += 1;
        Ok(Written { place: self.written, offset })
    }

    /// Ends a producer's transaction. What was committed behind its offsets meanwhile stays.
    pub(crate) fn end_transaction(&mut self, producer_id: i64, commit: bool) {
        let Some(pending) = self.pending.remove(&producer_id).filter(|_| commit) else { return };
        for ((topic, partition), written) in pending.offsets {
            let committed = self.committed.entry(topic).or_default();
            if committed.get(&partition).is_none_or(|before| before.place < written.place) {
                committed.insert(partition, written);
            }
        }
    }

    /// Whether a producer has offsets here that wait for the end of its transaction.
    pub(crate) fn has_open_transaction(&self, producer: ProducerId) -> bool {
        self.pending.get(&producer.id).is_some_and(|pending| pending.epoch == producer.epoch)
    }

    /// Whether an offset of that partition waits for the end of a transaction.
    pub(crate) fn is_unstable(&self, topic: &str, partition: i32) -> bool {
        let key = (topic.to_owned(), partition);
        self.pending.values().any(|pending| pending.offsets.contains_key(&key))
    }

    pub(crate) fn find(&self, topic: &str, partition: i32) -> Option<&CommittedOffset> {
        Some(&self.committed.get(topic)?.get(&partition)?.offset)
    }

    /// All that there are, by topic.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = (&str, Vec<i32>)> {
        self.committed.iter().map(|(topic, partitions)| (topic.as_str(), partitions.keys().copied().collect()))
    }

    /// The topic was deleted, and Kafka deletes its offsets.
    pub(crate) fn forget(&mut self, topic: &str) {
        self.committed.remove(topic);
        self.pending.values_mut().for_each(|pending| pending.offsets.retain(|(of, _), _| of != topic));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRODUCER: ProducerId = ProducerId { id: 7, epoch: 1 };

    fn offset(offset: i64) -> CommittedOffset {
        CommittedOffset { offset, leader_epoch: -1, metadata: String::new() }
    }

    fn found(offsets: &Offsets) -> Option<i64> {
        offsets.find("t", 0).map(|found| found.offset)
    }

    #[test]
    fn what_is_committed_in_a_transaction_counts_when_that_is_committed() {
        for commit in [true, false] {
            let mut offsets = Offsets::default();
            offsets.commit("t", 0, offset(3)).unwrap();
            offsets.commit_in_transaction(PRODUCER, "t", 0, offset(5)).unwrap();
            assert_eq!(
                (found(&offsets), offsets.is_unstable("t", 0), offsets.is_unstable("t", 1)),
                (Some(3), true, false)
            );
            assert!(offsets.has_open_transaction(PRODUCER));
            assert!(!offsets.has_open_transaction(ProducerId { epoch: 2, ..PRODUCER }));
            offsets.end_transaction(8, true);
            assert_eq!(found(&offsets), Some(3), "another's");
            offsets.end_transaction(7, commit);
            assert_eq!((found(&offsets), offsets.is_unstable("t", 0)), (Some(if commit { 5 } else { 3 }), false));
        }
    }

    #[test]
    fn what_is_committed_behind_a_transactions_offset_stays() {
        let mut offsets = Offsets::default();
        offsets.commit_in_transaction(PRODUCER, "t", 0, offset(5)).unwrap();
        offsets.commit("t", 0, offset(9)).unwrap();
        offsets.end_transaction(7, true);
        assert_eq!(found(&offsets), Some(9));
    }
}
