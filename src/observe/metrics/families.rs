//! The families, each once: what it counts, is labelled with, is called and says.
//!
//! To add one, add its row and count; `UPDATE_DOCS=1 cargo test --test house` adds it to the reference and puts a
//! panel at the dashboard's end. In a table that is bound to labels, a row is a field of the handle, and the series that
//! have just those labels go with the last handle to them: `PartitionLabels`, which come and go, are in no other.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::age_gauge::AgeGauge;
use super::table::{Bound, Lasting, Of, families, histogram, labels, named, with_unit};
use crate::observe::histogram::DurationHistogram;

/// Upper bounds, in seconds, of how long one request takes.
const REQUEST_BOUNDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Upper bounds, in seconds, of how long a record takes through the pipeline: from at once to a
/// backlog of a day.
pub(in crate::observe) const END_TO_END_BOUNDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 86400.0];

/// Counts seconds.
type Seconds = Counter<f64, AtomicU64>;

families! {
    /// One source partition's series. Those of its topic alone, or of none, are others' too.
    pub struct PartitionSeries of PartitionLabels, by struct PartitionFamilies {
        /// Records read
        records_in: Counter by PartitionLabels = named("source_records");
        /// Bytes of the keys and values read
        bytes_in: Counter by PartitionLabels = with_unit("source", Unit::Bytes);
        /// The position: the offset of the next record to read
        next_offset: Gauge by PartitionLabels = named("source_next_offset");
        /// Bytes read and not yet acknowledged
        in_flight: Gauge by PartitionLabels = with_unit("in_flight", Unit::Bytes);
        /// Time since the last stored checkpoint
        checkpoint_age: AgeGauge by PartitionLabels = with_unit("checkpoint_age", Unit::Seconds);
        /// Records that retention deleted before they were read
        expired: Counter by TopicLabels = named("source_records_expired");
        /// How often a leader's log was found to lack what had been read of the one before
        truncations: Counter by TopicLabels = named("source_log_truncations");
        /// Fetches that rskafka could not decode, read again batch by batch
        undecodable: Counter by TopicLabels = named("source_undecodable_stretches");
        /// Stretches of the log that can't be decoded: each a dead letter, and passed over
        corrupt_batches: Counter by TopicLabels = named("source_corrupt_batches");
        /// How often a policy sent a position back, to read again what had been read
        rewinds: Counter by TopicLabels = named("source_position_rewinds");
        /// How long a fetch takes, waiting included
        fetch: DurationHistogram by TopicLabels = histogram("fetch_duration", requests);
        /// How long storing a checkpoint takes
        checkpoint: DurationHistogram by TopicLabels = histogram("checkpoint_duration", requests);
        /// From a record's timestamp until its outputs are acknowledged; all records of a batch count as its first that
        /// has one
        end_to_end: DurationHistogram by TopicLabels = histogram("end_to_end_latency", end_to_end);
        /// Events from the future, whose latency counts as 0
        clock_skew: Counter = named("clock_skew");
    }
}

families! {
    /// The counters of one route.
    pub struct RouteMetrics of RouteLabels, by struct RouteFamilies {
        /// Records done with, by where they went
        records: Counter by RouteLabels = named("routed_records");
        /// Bytes written, by where they went
        bytes: Counter by RouteLabels = with_unit("routed", Unit::Bytes);
    }
}

families! {
    /// The series of a membership in a consumer group.
    pub(super) struct GroupSeries of GroupLabels, by struct GroupFamilies {
        /// The group's generation, or the member's epoch
        generation: Gauge by GroupLabels = named("group_generation");
        /// Partitions assigned to this member
        partitions: Gauge by GroupLabels = named("group_assigned_partitions");
        /// Time since the coordinator last answered
        heartbeat_age: AgeGauge by GroupLabels = with_unit("group_heartbeat_age", Unit::Seconds);
    }
}

families! {
    struct OtherFamilies {
        /// Records that a rule of routing decided about, by its name
        ruled: Counter by RuleLabels = named("rule_records");
        /// Records sent to the dead-letter topic
        dead: Counter by ReasonLabels = named("dead_letters");
        /// How often a partition was paused, or the program stopped, because of its dead letters
        limits_passed: Counter by LimitLabels = named("dead_letter_limits_passed");
        /// Failed attempts that are made again
        retries: Counter by RetryLabels = named("retries");
        /// Requests that the admin port refused, for want of the token, of a name on loopback, or of TLS
        admin_refusals: Counter by ReasonLabels = named("admin_refusals");
        /// Changes of the group that this member took part in
        rebalances: Counter by RebalanceLabels = named("group_rebalances");
        /// How long writing a batch takes
        produce: DurationHistogram by TopicLabels = histogram("produce_duration", requests);
        /// Time for which brokers' quotas held back what was to be sent to them, all connections together
        throttled: Seconds = with_unit("throttled", Unit::Seconds);
        /// How often the database of countries was read, by what came of it
        geoip_loads: Counter by ResultLabels = named("geoip_loads");
        /// When the database of countries in use was built, since the Unix epoch; 0 without one
        geoip_built: Gauge = with_unit("geoip_database_build_time", Unit::Seconds);
        /// Addresses that the database of countries could not answer for, being damaged there
        geoip_failed_lookups: Counter = named("geoip_failed_lookups");
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Families {
    pub(super) partition: PartitionFamilies,
    pub(super) route: RouteFamilies,
    pub(super) group: GroupFamilies,
    pub(super) other: OtherFamilies,
}

impl Families {
    /// Makes each family and registers it.
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            partition: PartitionFamilies::new(registry),
            route: RouteFamilies::new(registry),
            group: GroupFamilies::new(registry),
            other: OtherFamilies::new(registry),
        }
    }

    /// Makes a series of each, with empty labels.
    pub(super) fn touch(&self) {
        self.partition.touch();
        self.route.touch();
        self.group.touch();
        self.other.touch();
    }
}

fn requests() -> DurationHistogram {
    DurationHistogram::new(REQUEST_BOUNDS)
}

fn end_to_end() -> DurationHistogram {
    DurationHistogram::new(END_TO_END_BOUNDS)
}

labels! {
    PartitionLabels { topic: Arc<str>, partition: i32 }
    TopicLabels: Lasting { topic: Arc<str> }
    RouteLabels: Lasting { route: Arc<str> }
    RuleLabels: Lasting { rule: Arc<str> }
    ReasonLabels: Lasting { reason: &'static str }
    LimitLabels: Lasting { limit: &'static str }
    ResultLabels: Lasting { result: &'static str }
    GroupLabels: Lasting { group: Arc<str> }
    RebalanceLabels: Lasting { group: Arc<str>, cause: &'static str }
    RetryLabels: Lasting { operation: &'static str, class: &'static str }
    BuildLabels: Lasting { version: Arc<str>, rust: &'static str }
}

impl Of<PartitionLabels> for TopicLabels {
    const ENDS: bool = false;

    fn of(partition: &PartitionLabels) -> Self {
        Self { topic: Arc::clone(&partition.topic) }
    }
}
