//! What counts: handles bound to their labels.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::Metrics;
use super::families::{GroupSeries, PartitionLabels, PartitionSeries, RebalanceLabels, RouteMetrics};
use super::table::Bound;
use crate::observe::timeline::{MarkKind, Timeline};
use crate::record::Offset;

/// The metrics of the database of countries. Clones count into the same.
#[derive(Debug, Clone)]
pub struct GeoIpMetrics {
    pub(super) loads: Counter,
    /// How often it could not be read.
    pub failed_loads: Counter,
    /// Addresses that it could not answer for.
    pub failed_lookups: Counter,
    pub(super) built: Gauge,
    pub(super) timeline: Timeline,
}

impl GeoIpMetrics {
    /// Marks reloads on this timeline from now on.
    pub(in crate::observe) fn marking(self, timeline: &Timeline) -> Self {
        Self { timeline: timeline.clone(), ..self }
    }

    /// A database is in use that was built at this time, in seconds since the Unix epoch.
    pub fn loaded(&self, built: u64) {
        if self.loads.inc() > 0 {
            self.timeline.note(MarkKind::Reload, "enrich.geoip.file");
        }
        self.built.set(i64::try_from(built).unwrap_or(i64::MAX));
    }
}

/// The first of thirteen digits, in September 2001.
const FIRST_TIME_MS: i64 = 1_000_000_000_000;

/// Whether a record's timestamp says when it was written. 0 and -1 stand for a time that nobody knows, and what
/// has fewer digits than milliseconds have had since Kafka is there is seconds: fifty years of latency each.
pub fn is_time(timestamp_ms: i64) -> bool {
    timestamp_ms >= FIRST_TIME_MS
}

/// One source partition's metrics. Not cloned: when it goes, so do its series.
#[derive(Debug)]
pub struct PartitionMetrics {
    pub(super) series: PartitionSeries,
    pub(super) labels: PartitionLabels,
    pub(super) metrics: Metrics,
}

impl Deref for PartitionMetrics {
    type Target = PartitionSeries;

    fn deref(&self) -> &PartitionSeries {
        &self.series
    }
}

impl PartitionMetrics {
    /// Counts one fetched batch.
    pub fn fetched(&self, records: u64, bytes: u64) {
        self.records_in.inc_by(records);
        self.bytes_in.inc_by(bytes);
    }

    /// Sets the offset that reading goes on from.
    pub fn position(&self, next: Offset) {
        self.next_offset.set(next.0);
    }

    /// Sets how many bytes are read and not yet acknowledged.
    pub fn in_flight_bytes(&self, bytes: u64) {
        self.in_flight.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// A checkpoint has been stored now.
    pub fn checkpointed(&self) {
        self.checkpoint_age.reset();
    }

    /// Observes that `n` records, the oldest from `oldest_ms`, are acknowledged at `now_ms`. Both
    /// are milliseconds since the Unix epoch; a timestamp from the future counts as no time at all, and
    /// one that [is none](is_time) is not observed.
    pub fn acknowledged(&self, oldest_ms: i64, now_ms: i64, n: u64) {
        if !is_time(oldest_ms) {
            return;
        }
        let latency = u64::try_from(now_ms.saturating_sub(oldest_ms)).unwrap_or(0);
        self.end_to_end.observe_many(Duration::from_millis(latency), n);
    }

    /// Gives the partition up, and its series with it. The same as dropping it.
    pub fn retire(self) {}
}

impl Drop for PartitionMetrics {
    fn drop(&mut self) {
        let mut handles = self.metrics.handles();
        match handles.get_mut(&self.labels) {
            Some(others) if *others > 1 => *others -= 1,
            _ => {
                handles.remove(&self.labels);
                self.metrics.inner.families.partition.remove(&self.labels);
            }
        }
    }
}

/// This process's membership in one consumer group.
#[derive(Debug, Clone)]
pub struct GroupMetrics {
    pub(super) series: GroupSeries,
    pub(super) group: Arc<str>,
    pub(super) metrics: Metrics,
}

impl GroupMetrics {
    /// The generation, or the member's epoch, as the coordinator last gave it.
    pub fn generation(&self, generation: i32) {
        self.series.generation.set(generation.into());
    }

    /// Sets how many partitions this member has.
    pub fn assigned(&self, partitions: usize) {
        self.series.partitions.set(i64::try_from(partitions).unwrap_or(i64::MAX));
    }

    /// The coordinator has answered now.
    pub fn heartbeat(&self) {
        self.series.heartbeat_age.reset();
    }

    /// Counts a rebalance. The cause is one of a closed set.
    pub fn rebalanced(&self, cause: &'static str) {
        let labels = RebalanceLabels { group: Arc::clone(&self.group), cause };
        self.metrics.inner.families.other.rebalances.get_or_create(&labels).inc();
    }
}

impl RouteMetrics {
    /// Counts records that went this way.
    pub fn count(&self, records: u64, bytes: u64) {
        self.records.inc_by(records);
        self.bytes.inc_by(bytes);
    }
}
