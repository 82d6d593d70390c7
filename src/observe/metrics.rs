//! Numbers for Prometheus, in OpenMetrics text.
//!
//! Families are made once. Whoever counts on the hot path asks for a handle bound to its labels
//! first and holds it; counting is then one relaxed atomic addition.
//!
//! ```
//! use login_pipeline::observe::Metrics;
//!
//! let metrics = Metrics::new("1.2.3");
//! let output = metrics.route("output");
//! output.records.inc_by(100);
//! assert!(metrics.encode().contains("login_pipeline_routed_records_total{route=\"output\"} 100"));
//! ```

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::{Metric, Registry, Unit};
use tokio::time::Instant;

use super::histogram::DurationHistogram;
use super::lock;
use super::process::Process;
use crate::record::Offset;

/// The content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds, in seconds, of how long one request takes.
const REQUEST_BOUNDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Upper bounds, in seconds, of how long a record takes through the pipeline: from at once to a
/// backlog of a day.
pub(super) const END_TO_END_BOUNDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 86400.0];

const END_TO_END_HELP: &str =
    "From a record's timestamp until its outputs are acknowledged; all records of a batch count as its oldest";

/// The routes that there always are. Topics of routing rules come besides.
const ROUTES: [&str; 3] = ["output", "dead_letter", "dropped"];

/// Every metric of the program. Clones count into the same.
#[derive(Debug, Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    registry: Registry,
    families: Families,
    /// How many handles each partition has, so that the last one takes the series along.
    partitions: Mutex<HashMap<PartitionLabels, usize>>,
}

#[derive(Debug)]
struct Families {
    records_in: Family<PartitionLabels, Counter>,
    bytes_in: Family<PartitionLabels, Counter>,
    lag: Family<PartitionLabels, Gauge>,
    next_offset: Family<PartitionLabels, Gauge>,
    in_flight: Family<PartitionLabels, Gauge>,
    checkpoint_age: Family<PartitionLabels, SecondsSince>,
    expired: Family<TopicLabels, Counter>,
    truncations: Family<TopicLabels, Counter>,
    undecodable: Family<TopicLabels, Counter>,
    routed_records: Family<RouteLabels, Counter>,
    routed_bytes: Family<RouteLabels, Counter>,
    dead: Family<ReasonLabels, Counter>,
    limits_passed: Family<LimitLabels, Counter>,
    retries: Family<RetryLabels, Counter>,
    fetch: Durations,
    checkpoint: Durations,
    rebalances: Family<RebalanceLabels, Counter>,
    group_generation: Family<GroupLabels, Gauge>,
    group_partitions: Family<GroupLabels, Gauge>,
    heartbeat_age: Family<GroupLabels, SecondsSince>,
    produce: Durations,
    end_to_end: Durations,
    clock_skew: Counter,
    geoip_loads: Family<ResultLabels, Counter>,
    geoip_built: Gauge,
    geoip_failed_lookups: Counter,
}

type Durations = Family<TopicLabels, DurationHistogram, fn() -> DurationHistogram>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartitionLabels {
    topic: Arc<str>,
    partition: i32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TopicLabels {
    topic: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    limit: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GroupLabels {
    group: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RebalanceLabels {
    group: Arc<str>,
    cause: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RetryLabels {
    operation: &'static str,
    class: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: String,
    rust: &'static str,
}

impl Metrics {
    /// All families, with the series that need no label set but these, at zero.
    pub fn new(version: &str) -> Self {
        Self::with(version, Vec::new())
    }

    /// The same, and what these find when metrics are asked for, under names that begin as all do.
    pub fn with(version: &str, collectors: Vec<Box<dyn Collector>>) -> Self {
        let mut registry = Registry::default();
        let ours = registry.sub_registry_with_prefix("login_pipeline");
        let build = BuildLabels { version: version.to_owned(), rust: env!("CARGO_PKG_RUST_VERSION") };
        ours.register("build", "The version of the program, and of Rust that it needs", Info::new(build));
        let families = Families::new(ours);
        for collector in collectors {
            ours.register_collector(collector);
        }
        registry.register_collector(Box::new(Process::starting()));
        let metrics = Self { inner: Arc::new(Inner { registry, families, partitions: Mutex::default() }) };
        for route in ROUTES {
            let _ = metrics.route(route);
        }
        metrics
    }

    /// Everything as it is now, as [`CONTENT_TYPE`].
    pub fn encode(&self) -> String {
        let mut encoded = String::with_capacity(16 * 1024);
        if let Err(error) = text::encode(&mut encoded, &self.inner.registry) {
            tracing::error!(%error, "metrics can't be encoded");
        }
        encoded
    }

    /// The metrics of one source partition. Its series go when the last handle to it is dropped.
    pub fn partition(&self, topic: &str, partition: i32) -> PartitionMetrics {
        let labels = PartitionLabels { topic: topic.into(), partition };
        let of_topic = TopicLabels { topic: Arc::clone(&labels.topic) };
        // The lock is held until the series are there, or another handle's drop would take them.
        let mut handles = self.handles();
        *handles.entry(labels.clone()).or_default() += 1;
        let families = &self.inner.families;
        PartitionMetrics {
            records_in: families.records_in.get_or_create_owned(&labels),
            bytes_in: families.bytes_in.get_or_create_owned(&labels),
            lag: families.lag.get_or_create_owned(&labels),
            next_offset: families.next_offset.get_or_create_owned(&labels),
            in_flight: families.in_flight.get_or_create_owned(&labels),
            checkpoint_age: families.checkpoint_age.get_or_create_owned(&labels),
            expired: families.expired.get_or_create_owned(&of_topic),
            truncations: families.truncations.get_or_create_owned(&of_topic),
            undecodable: families.undecodable.get_or_create_owned(&of_topic),
            fetch: families.fetch.get_or_create_owned(&of_topic),
            checkpoint: families.checkpoint.get_or_create_owned(&of_topic),
            end_to_end: families.end_to_end.get_or_create_owned(&of_topic),
            clock_skew: families.clock_skew.clone(),
            labels,
            metrics: self.clone(),
        }
    }

    /// The counters of one route: `output`, `dead_letter`, `dropped`, or a configured topic.
    pub fn route(&self, route: &str) -> RouteMetrics {
        let labels = RouteLabels { route: route.into() };
        RouteMetrics {
            records: self.inner.families.routed_records.get_or_create_owned(&labels),
            bytes: self.inner.families.routed_bytes.get_or_create_owned(&labels),
        }
    }

    /// The metrics of this process's membership in a consumer group.
    pub fn group(&self, group: &str) -> GroupMetrics {
        let labels = GroupLabels { group: escaped(group).into() };
        let families = &self.inner.families;
        GroupMetrics {
            generation: families.group_generation.get_or_create_owned(&labels),
            partitions: families.group_partitions.get_or_create_owned(&labels),
            heartbeat_age: families.heartbeat_age.get_or_create_owned(&labels),
            group: labels.group,
            metrics: self.clone(),
        }
    }

    /// The metrics of the database of countries.
    pub fn geoip(&self) -> GeoIpMetrics {
        let families = &self.inner.families;
        let loads = |result| families.geoip_loads.get_or_create_owned(&ResultLabels { result });
        GeoIpMetrics {
            loads: loads("ok"),
            failed_loads: loads("failed"),
            failed_lookups: families.geoip_failed_lookups.clone(),
            built: families.geoip_built.clone(),
        }
    }

    /// How long writing one batch to `topic` takes, its acknowledgement included.
    pub fn produce(&self, topic: &str) -> DurationHistogram {
        self.inner.families.produce.get_or_create_owned(&TopicLabels { topic: topic.into() })
    }

    /// How long records of `topic` take, from their timestamp until they are acknowledged.
    pub fn end_to_end(&self, topic: &str) -> DurationHistogram {
        self.inner.families.end_to_end.get_or_create_owned(&TopicLabels { topic: topic.into() })
    }

    /// Counts dead letters. The reason is one of a closed set.
    pub fn dead(&self, reason: &'static str, count: u64) {
        self.inner.families.dead.get_or_create(&ReasonLabels { reason }).inc_by(count);
    }

    /// Counts that dead letters have passed a limit, one of a closed set.
    pub fn limit_passed(&self, limit: &'static str) {
        self.inner.families.limits_passed.get_or_create(&LimitLabels { limit }).inc();
    }

    /// Counts an attempt of `operation` that failed with an error of `class` and is made again.
    pub fn retry(&self, operation: &'static str, class: &'static str) {
        self.inner.families.retries.get_or_create(&RetryLabels { operation, class }).inc();
    }

    fn handles(&self) -> MutexGuard<'_, HashMap<PartitionLabels, usize>> {
        lock(&self.inner.partitions)
    }
}

impl Families {
    /// Makes each family and registers it.
    fn new(registry: &mut Registry) -> Self {
        let made = &mut Making { registry };
        Self {
            records_in: made.plain("source_records", "Records read"),
            bytes_in: made.unit("source", Unit::Bytes, "Bytes of the keys and values read"),
            lag: made.plain("source_lag_records", "Records between the position and the high watermark"),
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
            routed_records: made.plain("routed_records", "Records done with, by where they went"),
            routed_bytes: made.unit("routed", Unit::Bytes, "Bytes written, by where they went"),
            dead: made.plain("dead_letters", "Records sent to the dead-letter topic"),
            limits_passed: made.plain(
                "dead_letter_limits_passed",
                "How often a partition was paused, or the program stopped, because of its dead letters",
            ),
            retries: made.plain("retries", "Failed attempts that are made again"),
            fetch: made.durations("fetch_duration", "How long a fetch takes, waiting included", requests),
            checkpoint: made.durations("checkpoint_duration", "How long storing a checkpoint takes", requests),
            rebalances: made.plain("group_rebalances", "Changes of the group that this member took part in"),
            group_generation: made.plain("group_generation", "The group's generation, or the member's epoch"),
            group_partitions: made.plain("group_assigned_partitions", "Partitions assigned to this member"),
            heartbeat_age: made.unit("group_heartbeat_age", Unit::Seconds, "Time since the coordinator last answered"),
            produce: made.durations("produce_duration", "How long writing a batch takes", requests),
            end_to_end: made.durations("end_to_end_latency", END_TO_END_HELP, end_to_end),
            clock_skew: made.plain("clock_skew", "Events from the future, whose latency counts as 0"),
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

/// The metrics of the database of countries. Clones count into the same.
#[derive(Debug, Clone)]
pub struct GeoIpMetrics {
    loads: Counter,
    /// How often it could not be read.
    pub failed_loads: Counter,
    /// Addresses that it could not answer for.
    pub failed_lookups: Counter,
    built: Gauge,
}

impl GeoIpMetrics {
    /// A database is in use that was built at this time, in seconds since the Unix epoch.
    pub fn loaded(&self, built: u64) {
        self.loads.inc();
        self.built.set(i64::try_from(built).unwrap_or(i64::MAX));
    }
}

/// One source partition's metrics. Not cloned: when it goes, so do its series.
#[derive(Debug)]
pub struct PartitionMetrics {
    /// Records read.
    pub records_in: Counter,
    /// Bytes of the keys and values read.
    pub bytes_in: Counter,
    /// How long fetches take. One series a topic.
    pub fetch: DurationHistogram,
    /// How long storing checkpoints takes. One series a topic.
    pub checkpoint: DurationHistogram,
    /// From a record's timestamp until it is acknowledged. One series a topic.
    pub end_to_end: DurationHistogram,
    /// Events whose time lies in the future. One series for all.
    pub clock_skew: Counter,
    /// Records that retention deleted before they were read. One series a topic.
    pub expired: Counter,
    /// How often a leader's log lacked what had been read of the one before. One series a topic.
    pub truncations: Counter,
    /// Fetches that rskafka could not decode, read again batch by batch. One series a topic.
    pub undecodable: Counter,
    lag: Gauge,
    next_offset: Gauge,
    in_flight: Gauge,
    checkpoint_age: SecondsSince,
    labels: PartitionLabels,
    metrics: Metrics,
}

impl PartitionMetrics {
    /// Counts one fetched batch.
    pub fn fetched(&self, records: u64, bytes: u64) {
        self.records_in.inc_by(records);
        self.bytes_in.inc_by(bytes);
    }

    /// Where reading goes on, and how far that is from the high watermark.
    pub fn position(&self, next: Offset, high_watermark: Offset) {
        self.next_offset.set(next.0);
        self.lag.set(i64::try_from(high_watermark.since(next)).unwrap_or(i64::MAX));
    }

    /// How many bytes are read and not yet acknowledged.
    pub fn in_flight_bytes(&self, bytes: u64) {
        self.in_flight.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// A checkpoint has been stored now.
    pub fn checkpointed(&self) {
        self.checkpoint_age.reset();
    }

    /// Observes that `n` records, the oldest from `oldest_ms`, are acknowledged at `now_ms`. Both
    /// are milliseconds since the Unix epoch; a timestamp from the future counts as no time at all.
    pub fn acknowledged(&self, oldest_ms: i64, now_ms: i64, n: u64) {
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
                let families = &self.metrics.inner.families;
                families.records_in.remove(&self.labels);
                families.bytes_in.remove(&self.labels);
                families.lag.remove(&self.labels);
                families.next_offset.remove(&self.labels);
                families.in_flight.remove(&self.labels);
                families.checkpoint_age.remove(&self.labels);
            }
        }
    }
}

/// This process's membership in one consumer group.
#[derive(Debug, Clone)]
pub struct GroupMetrics {
    generation: Gauge,
    partitions: Gauge,
    heartbeat_age: SecondsSince,
    group: Arc<str>,
    metrics: Metrics,
}

impl GroupMetrics {
    /// The generation, or the member's epoch, as the coordinator last gave it.
    pub fn generation(&self, generation: i32) {
        self.generation.set(generation.into());
    }

    /// How many partitions this member has.
    pub fn assigned(&self, partitions: usize) {
        self.partitions.set(i64::try_from(partitions).unwrap_or(i64::MAX));
    }

    /// The coordinator has answered now.
    pub fn heartbeat(&self) {
        self.heartbeat_age.reset();
    }

    /// Counts a rebalance. The cause is one of a closed set.
    pub fn rebalanced(&self, cause: &'static str) {
        let labels = RebalanceLabels { group: Arc::clone(&self.group), cause };
        self.metrics.inner.families.rebalances.get_or_create(&labels).inc();
    }
}

/// The counters of one route.
#[derive(Debug, Clone)]
pub struct RouteMetrics {
    /// Records that went this way.
    pub records: Counter,
    /// Their bytes, as written.
    pub bytes: Counter,
}

impl RouteMetrics {
    /// Counts records that went this way.
    pub fn count(&self, records: u64, bytes: u64) {
        self.records.inc_by(records);
        self.bytes.inc_by(bytes);
    }
}

/// A text as a label's value may be written, which prometheus-client leaves to its callers.
pub(super) fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// A gauge of the time since an event, worked out when it is asked for.
#[derive(Debug, Clone)]
struct SecondsSince {
    made: Instant,
    /// When the event last was, in milliseconds after `made`.
    last_millis: Arc<AtomicU64>,
}

impl SecondsSince {
    fn reset(&self) {
        let millis = u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_millis.store(millis, Ordering::Relaxed);
    }
}

impl Default for SecondsSince {
    fn default() -> Self {
        Self { made: Instant::now(), last_millis: Arc::default() }
    }
}

impl TypedMetric for SecondsSince {
    const TYPE: MetricType = MetricType::Gauge;
}

impl EncodeMetric for SecondsSince {
    fn encode(&self, mut encoder: MetricEncoder) -> Result<(), fmt::Error> {
        let last = Duration::from_millis(self.last_millis.load(Ordering::Relaxed));
        encoder.encode_gauge(&self.made.elapsed().saturating_sub(last).as_secs_f64())
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(encoded: &str, start: &str) -> Option<String> {
        let mut lines = encoded.lines().filter(|line| line.starts_with(start));
        let line = lines.next().map(str::to_owned);
        assert_eq!(lines.next(), None, "more than one line starts with {start}");
        line
    }

    #[test]
    fn names_follow_prometheus_conventions() {
        let metrics = Metrics::new("1.2.3");
        let partition = metrics.partition("user-login", 3);
        partition.fetched(10, 2_100);
        partition.position(Offset(10), Offset(25));
        partition.in_flight_bytes(2_100);
        partition.expired.inc_by(7);
        partition.truncations.inc();
        partition.undecodable.inc();
        partition.clock_skew.inc();
        partition.fetch.observe(Duration::from_millis(20));
        partition.acknowledged(1_000, 1_040, 10);
        metrics.route("output").count(9, 2_400);
        metrics.dead("malformed_json", 1);
        metrics.retry("produce", "transient");
        metrics.produce("processed-user-login").observe(Duration::from_millis(2));

        let encoded = metrics.encode();
        for expected in [
            "login_pipeline_build_info{version=\"1.2.3\",rust=\"1.95\"} 1",
            "login_pipeline_source_records_total{topic=\"user-login\",partition=\"3\"} 10",
            "login_pipeline_source_bytes_total{topic=\"user-login\",partition=\"3\"} 2100",
            "login_pipeline_source_lag_records{topic=\"user-login\",partition=\"3\"} 15",
            "login_pipeline_source_next_offset{topic=\"user-login\",partition=\"3\"} 10",
            "login_pipeline_in_flight_bytes{topic=\"user-login\",partition=\"3\"} 2100",
            "login_pipeline_source_records_expired_total{topic=\"user-login\"} 7",
            "login_pipeline_source_log_truncations_total{topic=\"user-login\"} 1",
            "login_pipeline_source_undecodable_stretches_total{topic=\"user-login\"} 1",
            "login_pipeline_routed_records_total{route=\"output\"} 9",
            "login_pipeline_routed_bytes_total{route=\"output\"} 2400",
            "login_pipeline_routed_records_total{route=\"dead_letter\"} 0",
            "login_pipeline_routed_records_total{route=\"dropped\"} 0",
            "login_pipeline_dead_letters_total{reason=\"malformed_json\"} 1",
            "login_pipeline_retries_total{operation=\"produce\",class=\"transient\"} 1",
            "login_pipeline_fetch_duration_seconds_count{topic=\"user-login\"} 1",
            "login_pipeline_produce_duration_seconds_count{topic=\"processed-user-login\"} 1",
            "login_pipeline_end_to_end_latency_seconds_bucket{le=\"0.05\",topic=\"user-login\"} 10",
            "login_pipeline_clock_skew_total 1",
        ] {
            assert_eq!(line(&encoded, expected).as_deref(), Some(expected), "{encoded}");
        }
        assert!(line(&encoded, "process_start_time_seconds ").is_some());
        assert!(encoded.ends_with("# EOF\n"));
    }

    #[test]
    fn a_partition_given_up_leaves_no_series() {
        let metrics = Metrics::new("1.2.3");
        let old = metrics.partition("user-login", 3);
        let new = metrics.partition("user-login", 3);
        new.fetched(1, 1);
        old.retire();
        assert!(metrics.encode().contains("partition=\"3\""), "the newer handle still counts");
        drop(new);
        assert!(!metrics.encode().contains("partition=\"3\""));
        assert!(metrics.handles().is_empty());

        let again = metrics.partition("user-login", 3);
        assert_eq!(again.records_in.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_checkpoint_ages_until_the_next() {
        let metrics = Metrics::new("1.2.3");
        let partition = metrics.partition("user-login", 0);
        let name = "login_pipeline_checkpoint_age_seconds{topic=\"user-login\",partition=\"0\"}";
        let age = || line(&metrics.encode(), name);

        tokio::time::advance(Duration::from_millis(2_500)).await;
        assert_eq!(age(), Some(format!("{name} 2.5")));
        partition.checkpointed();
        assert_eq!(age(), Some(format!("{name} 0.0")));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(age(), Some(format!("{name} 1.0")));
    }

    #[test]
    fn a_group_may_have_any_name() {
        let metrics = Metrics::new("1.2.3");
        metrics.group("a \"group\" of ours\\").assigned(2);
        let expected = r#"login_pipeline_group_assigned_partitions{group="a \"group\" of ours\\"} 2"#;
        assert_eq!(line(&metrics.encode(), "login_pipeline_group_assigned_partitions").as_deref(), Some(expected));
    }

    #[test]
    fn time_from_the_future_is_no_latency() {
        let partition = Metrics::new("1.2.3").partition("user-login", 0);
        partition.acknowledged(2_000, 1_000, 3);
        partition.acknowledged(i64::MIN, i64::MAX, 1);
        assert_eq!(partition.end_to_end.count(), 4);
    }
}
