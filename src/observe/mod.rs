//! Being watched.

mod distribution;
mod health;
mod histogram;
pub mod logs;
mod metrics;
pub mod stats;
mod status;
mod tally;

pub use distribution::{CAPACITY, Distribution, MAX_VALUE_BYTES};
pub use health::{ComponentHandle, Health, Phase, Reason, Severity};
pub use histogram::DurationHistogram;
pub use metrics::{CONTENT_TYPE, Metrics, PartitionMetrics, RouteMetrics};
pub use status::{LastError, PartitionReport, PartitionState, PartitionStatus, Status, StatusBoard};
pub use tally::{Dimensions, DistributionSnapshot, SharedTally, Snapshot, TOP, Tally, TallyBoard, Totals, ValueCount};

/// Everything that people watch, in one hand. Clones are the same.
#[derive(Debug, Clone)]
pub struct Observe {
    /// For Prometheus.
    pub metrics: Metrics,
    /// For whoever restarts and routes.
    pub health: Health,
    /// The running counts.
    pub tallies: TallyBoard,
    /// Each partition as it is.
    pub status: StatusBoard,
}
