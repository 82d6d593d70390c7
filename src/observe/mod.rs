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
