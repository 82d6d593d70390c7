//! The families: what each is called, is labelled with and says.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry, Unit};

use super::since::SecondsSince;
use crate::observe::histogram::DurationHistogram;

/// Upper bounds, in seconds, of how long one request takes.
const REQUEST_BOUNDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Upper bounds, in seconds, of how long a record takes through the pipeline: from at once to a
/// backlog of a day.
pub(in crate::observe) const END_TO_END_BOUNDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 86400.0];

const END_TO_END_HELP: &str = "From a record's timestamp until its outputs are acknowledged; all records of a batch \
                               count as its first that has one";

/// Counts seconds.
pub type Seconds = Counter<f64, AtomicU64>;

#[derive(Debug)]
pub(super) struct Families {
    pub(super) records_in: Family<PartitionLabels, Counter>,
    pub(super) bytes_in: Family<PartitionLabels, Counter>,
    pub(super) next_offset: Family<PartitionLabels, Gauge>,
    pub(super) in_flight: Family<PartitionLabels, Gauge>,
    pub(super) checkpoint_age: Family<PartitionLabels, SecondsSince>,
    pub(super) expired: Family<TopicLabels, Counter>,
    pub(super) truncations: Family<TopicLabels, Counter>,
    pub(super) undecodable: Family<TopicLabels, Counter>,
    pub(super) corrupt_batches: Family<TopicLabels, Counter>,
    pub(super) rewinds: Family<TopicLabels, Counter>,
    pub(super) routed_records: Family<RouteLabels, Counter>,
    pub(super) routed_bytes: Family<RouteLabels, Counter>,
    pub(super) ruled: Family<RuleLabels, Counter>,
    pub(super) dead: Family<ReasonLabels, Counter>,
    pub(super) limits_passed: Family<LimitLabels, Counter>,
    pub(super) retries: Family<RetryLabels, Counter>,
    pub(super) admin_refusals: Family<ReasonLabels, Counter>,
    pub(super) fetch: Durations,
    pub(super) checkpoint: Durations,
    pub(super) rebalances: Family<RebalanceLabels, Counter>,
    pub(super) group_generation: Family<GroupLabels, Gauge>,
    pub(super) group_partitions: Family<GroupLabels, Gauge>,
    pub(super) heartbeat_age: Family<GroupLabels, SecondsSince>,
    pub(super) produce: Durations,
    pub(super) end_to_end: Durations,
    pub(super) clock_skew: Counter,
    pub(super) throttled: Seconds,
    pub(super) geoip_loads: Family<ResultLabels, Counter>,
    pub(super) geoip_built: Gauge,
    pub(super) geoip_failed_lookups: Counter,
}

pub(super) type Durations = Family<TopicLabels, DurationHistogram, fn() -> DurationHistogram>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct PartitionLabels {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TopicLabels {
    pub(super) topic: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RouteLabels {
    pub(super) route: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RuleLabels {
    pub(super) rule: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReasonLabels {
    pub(super) reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct LimitLabels {
    pub(super) limit: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ResultLabels {
    pub(super) result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct GroupLabels {
    pub(super) group: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RebalanceLabels {
    pub(super) group: Arc<str>,
    pub(super) cause: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RetryLabels {
    pub(super) operation: &'static str,
    pub(super) class: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct BuildLabels {
    pub(super) version: String,
    pub(super) rust: &'static str,
}

impl Families {
    /// Makes each family and registers it.
    pub(super) fn new(registry: &mut Registry) -> Self {
        let made = &mut Making { registry };
        Self {
            records_in: made.plain("source_records", "Records read"),
            bytes_in: made.unit("source", Unit::Bytes, "Bytes of the keys and values read"),
            next_offset: made.plain("source_next_offset", "The position: the offset of the next record to read"),
            in_flight: made.unit("in_flight", Unit::Bytes, "Bytes read and not yet acknowledged"),
            checkpoint_age: made.unit("checkpoint_age", Unit::Seconds, "Time since the last stored checkpoint"),
            expired: made.plain("source_records_expired", "Records that retention deleted before they were read"),
            truncations: made.plain(
                "source_log_truncations",
                "How often a leader's log was found to lack what had been read of the one before",
            ),
            undecodable: made.plain(
                "source_undecodable_stretches",
                "Fetches that rskafka could not decode, read again batch by batch",
            ),
            corrupt_batches: made.plain(
                "source_corrupt_batches",
                "Stretches of the log that can't be decoded: each a dead letter, and passed over",
            ),
            rewinds: made.plain(
                "source_position_rewinds",
                "How often a policy sent a position back, to read again what had been read",
            ),
            routed_records: made.plain("routed_records", "Records done with, by where they went"),
            routed_bytes: made.unit("routed", Unit::Bytes, "Bytes written, by where they went"),
            ruled: made.plain("rule_records", "Records that a rule of routing decided about, by its name"),
            dead: made.plain("dead_letters", "Records sent to the dead-letter topic"),
            limits_passed: made.plain(
                "dead_letter_limits_passed",
                "How often a partition was paused, or the program stopped, because of its dead letters",
            ),
            retries: made.plain("retries", "Failed attempts that are made again"),
            admin_refusals: made.plain(
                "admin_refusals",
                "Requests that the admin port refused, for want of the token, of a name on loopback, or of TLS",
            ),
            fetch: made.durations("fetch_duration", "How long a fetch takes, waiting included", requests),
            checkpoint: made.durations("checkpoint_duration", "How long storing a checkpoint takes", requests),
            rebalances: made.plain("group_rebalances", "Changes of the group that this member took part in"),
            group_generation: made.plain("group_generation", "The group's generation, or the member's epoch"),
            group_partitions: made.plain("group_assigned_partitions", "Partitions assigned to this member"),
            heartbeat_age: made.unit("group_heartbeat_age", Unit::Seconds, "Time since the coordinator last answered"),
            produce: made.durations("produce_duration", "How long writing a batch takes", requests),
            end_to_end: made.durations("end_to_end_latency", END_TO_END_HELP, end_to_end),
            clock_skew: made.plain("clock_skew", "Events from the future, whose latency counts as 0"),
            throttled: made.unit(
                "throttled",
                Unit::Seconds,
                "Time for which brokers' quotas held back what was to be sent to them, all connections together",
            ),
            geoip_loads: made.plain("geoip_loads", "How often the database of countries was read, by what came of it"),
            geoip_built: made.unit(
                "geoip_database_build_time",
                Unit::Seconds,
                "When the database of countries in use was built, since the Unix epoch; 0 without one",
            ),
            geoip_failed_lookups: made.plain(
                "geoip_failed_lookups",
                "Addresses that the database of countries could not answer for, being damaged there",
            ),
        }
    }
}

/// Registers what it makes.
struct Making<'a> {
    registry: &'a mut Registry,
}

impl Making<'_> {
    fn plain<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        let metric = M::default();
        self.registry.register(name, help, metric.clone());
        metric
    }

    fn unit<M: Metric + Clone + Default>(&mut self, name: &str, unit: Unit, help: &str) -> M {
        let metric = M::default();
        self.registry.register_with_unit(name, help, unit, metric.clone());
        metric
    }

    fn durations(&mut self, name: &str, help: &str, make: fn() -> DurationHistogram) -> Durations {
        let family = Durations::new_with_constructor(make);
        self.registry.register_with_unit(name, help, Unit::Seconds, family.clone());
        family
    }
}

fn requests() -> DurationHistogram {
    DurationHistogram::new(REQUEST_BOUNDS)
}

fn end_to_end() -> DurationHistogram {
    DurationHistogram::new(END_TO_END_BOUNDS)
}
