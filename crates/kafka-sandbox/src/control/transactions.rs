//! Transactions without a socket: how a test moves and slows their coordinators, and what they are at.

use std::sync::MutexGuard;

use crate::cluster::Cluster;
use crate::txn::{Entry, TransactionDescription};
use crate::{Sandbox, SandboxError};

impl Sandbox {
    /// A transactional id's producer and transaction; `None` where it has no producer yet.
    pub fn transaction(&self, transactional_id: &str) -> Option<TransactionDescription> {
        self.shared.lock().transactions.find(transactional_id).and_then(Entry::describe)
    }

    /// The node that keeps a transactional id.
    ///
    /// # Errors
    /// That node is down: 15 (`COORDINATOR_NOT_AVAILABLE`).
    pub fn transaction_coordinator(&self, transactional_id: &str) -> Result<i32, SandboxError> {
        Ok(self.shared.lock().transaction_coordinator(transactional_id)?)
    }

    /// Gives a transactional id another coordinator, which knows all that the old one did; that one answers
    /// `NOT_COORDINATOR`.
    ///
    /// # Errors
    /// There is no such node.
    pub fn move_transaction_coordinator(&self, transactional_id: &str, node: i32) -> Result<(), SandboxError> {
        let mut cluster = self.shared.lock();
        if !cluster.nodes.contains_key(&node) {
            return Err(SandboxError::NoSuchNode(node));
        }
        cluster.transactions.entry(transactional_id).placement.moved_to = Some(node);
        self.settled(cluster);
        Ok(())
    }

    /// Whether a transactional id's coordinator answers everything with `COORDINATOR_LOAD_IN_PROGRESS`, as one does
    /// that has not read it yet.
    pub fn set_transactions_loading(&self, transactional_id: &str, loading: bool) {
        let mut cluster = self.shared.lock();
        cluster.transactions.entry(transactional_id).placement.loading = loading;
        self.settled(cluster);
    }

    /// Whether transactions that are decided stay as they are, as where leaders are slow to write markers: their
    /// coordinators answer `CONCURRENT_TRANSACTIONS` to whoever begins the next one. Those that were held back are
    /// written at the end of it.
    pub fn hold_markers(&self, hold: bool) {
        let mut cluster = self.shared.lock();
        cluster.transactions.holds_markers = hold;
        self.settled(cluster);
    }

    fn settled(&self, mut cluster: MutexGuard<'_, Cluster>) {
        cluster.write_all_markers();
        drop(cluster);
        self.shared.ring();
    }
}
