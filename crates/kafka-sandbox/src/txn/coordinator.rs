//! Transactions' coordinators: who keeps which id, and what their decisions write down.

use std::time::Duration;

use kafka_records::batch::ProducerId;
use tokio::time::Instant;

use super::Entry;
use super::machine::{Marker, Participant, Transaction, TransactionVersion};
use crate::cluster::Cluster;
use crate::error_codes;

/// Kafka's default of `transaction.max.timeout.ms`.
const MAX_TIMEOUT: Duration = Duration::from_secs(15 * 60);

impl Cluster {
    /// The node that keeps a transactional id.
    pub(crate) fn transaction_coordinator(&self, id: &str) -> Result<i32, i16> {
        self.keeper(id, self.transactions.placement(id))
    }

    /// Whether that node answers for a transactional id now.
    fn coordinates_transactions(&self, node: i32, id: &str) -> Result<(), i16> {
        if id.is_empty() {
            return Err(error_codes::INVALID_REQUEST);
        }
        self.answers_for(node, id, self.transactions.placement(id))
    }

    /// As whom a transactional id is written by from now on. Whoever wrote before is fenced.
    pub(crate) fn init_transactions(
        &mut self,
        node: i32,
        id: &str,
        timeout_ms: i32,
        expected: Option<ProducerId>,
    ) -> Result<ProducerId, i16> {
        if id.is_empty() {
            return Err(error_codes::INVALID_REQUEST);
        }
        let timeout = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
        if timeout.is_zero() || timeout > MAX_TIMEOUT {
            return Err(error_codes::INVALID_TRANSACTION_TIMEOUT);
        }
        self.coordinates_transactions(node, id)?;
        let version = self.transaction_version();
        let Self { transactions, next_producer_id, .. } = self;
        let mut new_id = || {
            *next_producer_id += 1;
            *next_producer_id
        };
        let transaction = &mut transactions.entry(id).transaction;
        let transaction = transaction.get_or_insert_with(|| Transaction::new(new_id()));
        let given = transaction.handle_init(expected, timeout, version, new_id);
        self.settle(id);
        given
    }

    /// Makes participants part of a transaction, for the client that asks.
    pub(crate) fn add_to_transaction(
        &mut self,
        node: i32,
        id: &str,
        producer: ProducerId,
        added: Vec<Participant>,
    ) -> Result<(), i16> {
        self.coordinates_transactions(node, id)?;
        let added = self.transaction(id)?.handle_add(producer, added, Instant::now());
        self.settle(id);
        added
    }

    /// Ends a transaction; says as whom the next one is written.
    pub(crate) fn end_transaction(
        &mut self,
        node: i32,
        id: &str,
        producer: ProducerId,
        commit: bool,
        version: TransactionVersion,
    ) -> Result<ProducerId, i16> {
        self.coordinates_transactions(node, id)?;
        let Self { transactions, next_producer_id, .. } = self;
        let transaction = transactions.entry(id).transaction.as_mut();
        let transaction = transaction.ok_or(error_codes::INVALID_PRODUCER_ID_MAPPING)?;
        let next = transaction.handle_end(producer, commit, version, || {
            *next_producer_id += 1;
            *next_producer_id
        });
        self.settle(id);
        next
    }

    /// Asks the coordinator, as a leader does that has no open transaction of that producer, whether what is written
    /// is part of one; in version 2 it becomes one.
    pub(crate) fn admit_to_transaction(
        &mut self,
        id: &str,
        producer: ProducerId,
        participant: Participant,
        version: TransactionVersion,
    ) -> Result<(), i16> {
        let node = self.transaction_coordinator(id)?;
        self.coordinates_transactions(node, id)?;
        let admitted = self.transaction(id)?.handle_admit(producer, participant, version, Instant::now());
        self.settle(id);
        admitted
    }

    fn transaction(&mut self, id: &str) -> Result<&mut Transaction, i16> {
        self.transactions.entry(id).transaction.as_mut().ok_or(error_codes::INVALID_PRODUCER_ID_MAPPING)
    }

    /// Writes the markers that are due, and lets the clock look.
    fn settle(&mut self, id: &str) {
        self.write_markers(id);
        self.transactions.changed.notify_one();
    }

    /// Tells the participants of a transaction that is decided; those that can't be told now are told later.
    pub(crate) fn write_markers(&mut self, id: &str) {
        let Some(entry) = self.coordinated(id) else { return };
        let Some((marker, participants)) = entry.transaction.as_ref().and_then(Transaction::markers) else { return };
        if self.transactions.holds_markers {
            return;
        }
        let told: Vec<_> = participants.into_iter().filter(|participant| self.mark(marker, participant)).collect();
        if let Some(transaction) = &mut self.transactions.entry(id).transaction {
            told.iter().for_each(|participant| transaction.marked(participant));
            transaction.complete_if_all_heard();
        }
    }

    /// Writes all markers that are due: of leaders and coordinators that are back.
    pub(crate) fn write_all_markers(&mut self) {
        for id in self.transactions.ids() {
            self.settle(&id);
        }
    }

    /// Whether that participant has heard of the end.
    fn mark(&mut self, Marker { producer, commit }: Marker, participant: &Participant) -> bool {
        match participant {
            Participant::Partition(topic, index) => self.mark_partition(topic, *index, producer, commit),
            Participant::Offsets(group) => {
                let is_kept = self.is_coordinated(group, self.groups.placement(group));
                if is_kept {
                    self.groups.with(group, |entry, _| entry.offsets.end_transaction(producer.id, commit));
                }
                is_kept
            }
        }
    }

    /// Gives up what has been open for too long; says whether there was any. Time passes only where somebody counts.
    pub(crate) fn abort_timed_out(&mut self, now: Instant) -> bool {
        let version = self.transaction_version();
        let late = |cluster: &Self, id: &String| cluster.deadline(id).is_some_and(|deadline| deadline <= now);
        let late: Vec<_> = self.transactions.ids().into_iter().filter(|id| late(self, id)).collect();
        for id in &late {
            if let Some(transaction) = &mut self.transactions.entry(id).transaction {
                transaction.tick(now, version);
            }
            self.write_markers(id);
        }
        !late.is_empty()
    }

    /// When the next transaction has been open for too long.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.transactions.ids().iter().filter_map(|id| self.deadline(id)).min()
    }

    fn deadline(&self, id: &str) -> Option<Instant> {
        self.coordinated(id)?.transaction.as_ref()?.deadline()
    }

    /// A transactional id that a coordinator knows and answers for now.
    fn coordinated(&self, id: &str) -> Option<&Entry> {
        self.transactions.find(id).filter(|entry| self.is_coordinated(id, entry.placement))
    }
}
