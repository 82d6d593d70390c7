//! Which batches are of transactions that were given up, by the algorithm of Kafka's own consumer.
//!
//! ```text
//!              position
//!                 ▼
//! … [7: a][8: b]│[7: c][8: marker: abort][plain][7: marker: commit][8: d][8: marker: commit]
//!        └──────┴── the answer tells: producer 8 gave up what begins at b
//! ```
//! An answer names the transactions given up that reach into what it brings, each by its producer
//! and its first offset. From there on that producer's batches are left out, up to the marker that
//! ends the transaction; what it writes afterwards is another one's.

use std::collections::BTreeSet;

use kafka_records::record::Offset;
use kafka_records::records::SoundBatch;

/// The transactions given up in the batches of one answer, which are asked about in their order.
#[derive(Debug)]
pub(crate) struct Aborted {
    /// Those whose first offset is not reached yet, the next one last.
    to_come: Vec<(i64, Offset)>,
    /// The producers whose batches are left out at this point.
    open: BTreeSet<i64>,
}

/// What a batch is to a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Its records are of no transaction.
    Plain,
    /// Its records are of one.
    Part,
    /// It says that one was given up.
    Abort,
    /// It says that one was committed, or something else between brokers.
    OtherControl,
}

impl Aborted {
    /// As an answer tells: producer ids and first offsets, in any order.
    pub(crate) fn new(transactions: &[(i64, Offset)]) -> Self {
        let mut to_come = transactions.to_vec();
        to_come.sort_by_key(|(_, first)| std::cmp::Reverse(*first));
        Self { to_come, open: BTreeSet::new() }
    }

    /// Whether the records of a batch, the next of its answer, are of a transaction given up.
    ///
    /// # Errors
    /// Where it is a marker and does not say of what.
    pub(crate) fn leaves_out(&mut self, batch: &SoundBatch) -> Result<bool, String> {
        Ok(self.passes_over(batch.producer_id(), batch.next_offset(), Role::of(batch)?))
    }

    fn passes_over(&mut self, producer: i64, next_offset: Offset, role: Role) -> bool {
        while let Some((producer, _)) = self.to_come.pop_if(|(_, first)| *first < next_offset) {
            self.open.insert(producer);
        }
        match role {
            Role::Plain | Role::OtherControl => false,
            Role::Part => self.open.contains(&producer),
            Role::Abort => {
                self.open.remove(&producer);
                false
            }
        }
    }
}

impl Role {
    fn of(batch: &SoundBatch) -> Result<Self, String> {
        Ok(match (batch.is_control(), batch.is_transactional()) {
            (true, _) if batch.is_abort_marker()? => Self::Abort,
            (true, _) => Self::OtherControl,
            (false, true) => Self::Part,
            (false, false) => Self::Plain,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Role::{Abort, OtherControl, Part, Plain};
    use super::*;

    /// What is left of batches of one record each, from offset `from` on: their offsets.
    fn left(aborted: &[(i64, i64)], from: i64, log: &[(i64, Role)]) -> Vec<i64> {
        let told: Vec<_> = aborted.iter().map(|(producer, first)| (*producer, Offset(*first))).collect();
        let mut aborted = Aborted::new(&told);
        let batches = (from..).zip(log);
        let kept = batches.filter(|(offset, (producer, role))| {
            let passed_over = aborted.passes_over(*producer, Offset(offset + 1), *role);
            !passed_over && matches!(role, Plain | Part)
        });
        kept.map(|(offset, _)| offset).collect()
    }

    #[test]
    fn producers_that_take_turns_are_told_apart() {
        let log = [(7, Part), (8, Part), (-1, Plain), (7, Part), (8, Part), (8, Abort), (7, Part), (7, OtherControl)];
        assert_eq!(left(&[(8, 1)], 0, &log), [0, 2, 3, 6]);
        assert_eq!(left(&[], 0, &log), [0, 1, 2, 3, 4, 6], "what nobody gave up");
        let log = [(7, Part), (8, Part), (8, Abort), (7, Part), (7, Abort)];
        assert_eq!(left(&[(8, 1), (7, 0)], 0, &log), Vec::<i64>::new(), "told in any order");
    }

    #[test]
    fn what_a_producer_commits_after_it_gave_up_counts() {
        let log = [(7, Part), (7, Abort), (7, Part), (7, OtherControl), (7, Part), (7, Abort), (7, Plain), (7, Part)];
        assert_eq!(left(&[(7, 0), (7, 4)], 0, &log), [2, 6, 7]);
    }

    #[test]
    fn a_fetch_may_begin_in_the_middle() {
        let log = [(7, Part), (8, Part), (7, Part), (7, Abort), (8, OtherControl), (7, Part)];
        assert_eq!(left(&[(7, 90)], 100, &log), [101, 105]);
    }

    #[test]
    fn the_marker_alone_ends_what_began_before() {
        assert_eq!(left(&[(7, 90)], 100, &[(7, Abort), (7, Part), (7, OtherControl)]), [101]);
        assert_eq!(left(&[(7, 90)], 100, &[(9, Abort), (7, Part)]), Vec::<i64>::new(), "another's marker");
    }

    #[test]
    fn idempotent_batches_of_the_same_id_are_no_transactions() {
        assert_eq!(left(&[(7, 0)], 0, &[(7, Part), (7, Plain), (7, Abort)]), [1]);
    }
}
