//! A partition: its only replica's log, who leads it, and who writes to it.

use std::collections::BTreeMap;

use super::batch_header::BatchHeader;
use super::error_codes;
use super::idempotence::Producers;
use super::log::{OutOfRange, PartitionLog};
use super::record::StoredRecord;

/// A partition: its only replica's log, and who leads it.
#[derive(Debug, Clone)]
pub(super) struct Partition {
    pub leader: i32,
    pub leader_epoch: i32,
    pub log: PartitionLog,
    /// Each leader epoch, and the offset that the log ended at when it began.
    epochs: BTreeMap<i32, i64>,
    pub producers: Producers,
    /// For the watcher: what producers have written within transactions that are open.
    pub unwatched: BTreeMap<i64, Vec<StoredRecord>>,
}

impl Partition {
    /// An empty one.
    pub(crate) fn new(leader: i32, log: PartitionLog) -> Self {
        Self {
            leader,
            leader_epoch: 0,
            log,
            epochs: BTreeMap::from([(0, 0)]),
            producers: Producers::default(),
            unwatched: BTreeMap::new(),
        }
    }

    /// Appends a batch that was checked, and remembers its producer.
    pub(crate) fn append(&mut self, header: &BatchHeader, bytes: &[u8]) -> i64 {
        let base_offset = self.log.append(header, bytes, self.leader_epoch);
        self.producers.appended(header, base_offset);
        base_offset
    }

    /// Gives the partition another leader, in a new epoch.
    pub(crate) fn lead(&mut self, node: i32) {
        self.leader = node;
        self.leader_epoch += 1;
        self.epochs.insert(self.leader_epoch, self.log.end());
    }

    /// Gives the partition a leader that has nothing from `offset` on.
    pub(crate) fn lead_uncleanly(&mut self, node: i32, offset: i64) -> Result<(), OutOfRange> {
        self.log.truncate(offset)?;
        self.epochs.retain(|_, begun| *begun < offset);
        self.lead(node);
        Ok(())
    }

    /// Whether a client knows which epoch this is (KIP-320).
    pub(crate) fn check_epoch(&self, known: i32) -> Result<(), i16> {
        match known {
            -1 => Ok(()),
            known if known < self.leader_epoch => Err(error_codes::FENCED_LEADER_EPOCH),
            known if known > self.leader_epoch => Err(error_codes::UNKNOWN_LEADER_EPOCH),
            _ => Ok(()),
        }
    }

    /// As `LeaderEpochFileCache` tells: the latest epoch that is not later than this one, and where
    /// the next one begins; -1 for both where all are earlier.
    pub(crate) fn epoch_end(&self, epoch: i32) -> (i32, i64) {
        if epoch == self.leader_epoch {
            return (epoch, self.log.end());
        }
        let next = self.epochs.range(epoch.saturating_add(1)..).next();
        let floor = self.epochs.range(..=epoch).next_back();
        next.map_or((-1, -1), |(_, begun)| (floor.map_or(epoch, |(floor, _)| *floor), *begun))
    }
}
