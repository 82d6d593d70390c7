//! The operations of a partition that fail for now, each for as long as its handle lives.

use std::sync::Arc;

use super::cell::Cell;
use crate::observe::health::Severity;
use crate::observe::lock::lock;
use crate::observe::timeline::{MarkKind, Timeline};

/// The handle by which whoever works on a partition reports its trouble. Clones are the same.
#[derive(Debug, Clone)]
pub struct Troubles {
    pub(super) cell: Arc<Cell>,
    pub(super) timeline: Timeline,
}

impl Troubles {
    /// An operation fails from now on, until what is returned is dropped.
    pub fn begin(&self, severity: Severity) -> PartitionTrouble {
        let mut rare = lock(&self.cell.rare);
        if (rare.passing, rare.fatal) == (0, 0) {
            self.timeline.note(MarkKind::Retry, "failure");
        }
        rare.troubles(severity, |count| count.saturating_add(1));
        drop(rare);
        PartitionTrouble { cell: Arc::clone(&self.cell), severity }
    }
}

/// A failing operation of a partition, which is `retrying` or `blocked` as long as there is one.
#[derive(Debug)]
pub struct PartitionTrouble {
    cell: Arc<Cell>,
    severity: Severity,
}

impl PartitionTrouble {
    /// It has failed again. The message carries no record data, and is cut after 512 bytes.
    pub fn failed(&mut self, class: &'static str, severity: Severity, message: &str) {
        if severity != self.severity {
            let mut rare = lock(&self.cell.rare);
            rare.troubles(self.severity, |count| count.saturating_sub(1));
            rare.troubles(severity, |count| count.saturating_add(1));
            self.severity = severity;
        }
        self.cell.failed(class, message);
    }
}

impl Drop for PartitionTrouble {
    fn drop(&mut self) {
        lock(&self.cell.rare).troubles(self.severity, |count| count.saturating_sub(1));
    }
}
