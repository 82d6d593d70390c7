//! Being watched.

mod distribution;
mod histogram;
mod metrics;
mod tally;

pub use distribution::{CAPACITY, Distribution, MAX_VALUE_BYTES};
pub use histogram::DurationHistogram;
pub use metrics::{CONTENT_TYPE, Metrics, PartitionMetrics, RouteMetrics};
pub use tally::{Dimensions, DistributionSnapshot, SharedTally, Snapshot, TOP, Tally, TallyBoard, Totals, ValueCount};
