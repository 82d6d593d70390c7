//! Transactions: who coordinates them, and what becomes of them.
//!
//! ```text
//! api::{init_producer_id, add_*_to_txn, end_txn} ──► coordinator ──► machine (pure) ──► markers
//! api::{produce, txn_offset_commit} ── is it part? ──►    ▲                               │
//!                                                       clock        partitions' logs, groups' offsets
//! ```

mod clock;
mod coordinator;
pub mod machine;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Notify;

pub(super) use clock::run as keep_time;

use crate::placement::Placement;
use machine::{Participant, Transaction};

/// What a test sees of a transactional id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionDescription {
    /// `Empty`, `Ongoing`, `PrepareCommit`, `PrepareAbort`, `CompleteCommit` or `CompleteAbort`.
    pub state: &'static str,
    /// The id of its producer.
    pub producer_id: i64,
    /// Its producer's epoch.
    pub producer_epoch: i16,
    /// The partitions that are part of the transaction; once it is decided, those that have no marker yet.
    pub partitions: Vec<(String, i32)>,
    /// The groups whose offsets are part of it, likewise.
    pub groups: Vec<String>,
}

/// All transactional ids.
#[derive(Debug, Clone, Default)]
pub(super) struct Transactions {
    ids: BTreeMap<String, Entry>,
    /// No markers are written, as where the leaders are slow.
    pub holds_markers: bool,
    /// Told when a deadline may have changed.
    changed: Arc<Notify>,
}

/// A transactional id, and where it is kept.
#[derive(Debug, Clone, Default)]
pub(super) struct Entry {
    /// `None` until it is given a producer id.
    pub transaction: Option<Transaction>,
    pub placement: Placement,
}

impl Transactions {
    pub(crate) fn find(&self, id: &str) -> Option<&Entry> {
        self.ids.get(id)
    }

    pub(crate) fn placement(&self, id: &str) -> Placement {
        self.find(id).map(|entry| entry.placement).unwrap_or_default()
    }

    /// The entry of that id, made where there is none.
    pub(crate) fn entry(&mut self, id: &str) -> &mut Entry {
        self.ids.entry(id.to_owned()).or_default()
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        self.ids.keys().cloned().collect()
    }
}

impl Entry {
    pub(crate) fn describe(&self) -> Option<TransactionDescription> {
        let transaction = self.transaction.as_ref()?;
        let (mut partitions, mut groups) = (Vec::new(), Vec::new());
        for participant in transaction.participants() {
            match participant {
                Participant::Partition(topic, partition) => partitions.push((topic.clone(), *partition)),
                Participant::Offsets(group) => groups.push(group.clone()),
            }
        }
        let producer = transaction.producer();
        Some(TransactionDescription {
            state: transaction.state().as_str(),
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            partitions,
            groups,
        })
    }
}
