//! Numbers for Prometheus, in its classic text or in OpenMetrics.
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

mod age_gauge;
mod families;
mod format;
mod handles;
mod table;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use kafka_client::Meter;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text;
pub use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use age_gauge::AgeGauge;
pub(super) use families::END_TO_END_BOUNDS;
pub use families::{PartitionSeries, RouteMetrics};
pub use format::Format;
pub use handles::{GeoIpMetrics, GroupMetrics, PartitionMetrics, is_time};

use self::families::{
    BuildLabels, Families, GroupLabels, LimitLabels, PartitionLabels, ReasonLabels, ResultLabels, RetryLabels,
    RouteLabels, RuleLabels, TopicLabels,
};
use self::table::Bound;
use super::histogram::DurationHistogram;
use super::lock::lock;
use super::logs::writer::dropped;
use super::process::Process;
use super::refusal::Refusal;
use super::timeline::Timeline;
use kafka_client::plain::Plain;

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

impl Meter for Metrics {
    fn throttled(&self, pause: Duration) {
        self.inner.families.other.throttled.inc_by(pause.as_secs_f64());
    }
}

impl Metrics {
    /// All families, with the series that need no label set but these, at zero.
    pub fn new(version: &str) -> Self {
        Self::with(version, Vec::new())
    }

    /// Like [`Metrics::new`], and asks these collectors for more whenever metrics are asked for. Their names get the prefix
    /// of all.
    pub fn with(version: &str, collectors: Vec<Box<dyn Collector>>) -> Self {
        let mut registry = Registry::default();
        let ours = registry.sub_registry_with_prefix("login_pipeline");
        let build = BuildLabels { version: version.into(), rust: env!("CARGO_PKG_RUST_VERSION") };
        ours.register("build", "The version of the program, and of Rust that it needs", Info::new(build));
        let families = Families::new(ours);
        for collector in collectors {
            ours.register_collector(collector);
        }
        let help = "Lines of the log that standard error did not take, and that were dropped";
        ours.register("log_lines_dropped", help, dropped().clone());
        registry.register_collector(Box::new(Process::starting()));
        let metrics = Self { inner: Arc::new(Inner { registry, families, partitions: Mutex::default() }) };
        for route in ROUTES {
            let _ = metrics.route(route);
        }
        for reason in [Refusal::Token, Refusal::Host, Refusal::Tls] {
            let labels = ReasonLabels { reason: reason.as_str() };
            let _ = metrics.inner.families.other.admin_refusals.get_or_create_owned(&labels);
        }
        metrics
    }

    /// Makes a series of each family that has labels, which are empty: for who describes all that there are.
    pub fn touch(&self) {
        self.inner.families.touch();
    }

    /// Everything as it is now, in this form.
    pub fn encode_as(&self, format: Format) -> String {
        match format {
            Format::Text => format::classic(&self.encode()),
            Format::OpenMetrics => self.encode(),
        }
    }

    /// Everything as it is now, in OpenMetrics.
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
        // The lock is held until the series are there, or another handle's drop would take them.
        let mut handles = self.handles();
        *handles.entry(labels.clone()).or_default() += 1;
        PartitionMetrics { series: self.inner.families.partition.bind(&labels), labels, metrics: self.clone() }
    }

    /// The counters of one route: `output`, `dead_letter`, `dropped`, or a configured topic.
    pub fn route(&self, route: &str) -> RouteMetrics {
        self.inner.families.route.bind(&RouteLabels { route: route.into() })
    }

    /// Counts what a rule of routing decides about.
    pub fn rule(&self, name: &str) -> Counter {
        self.inner.families.other.ruled.get_or_create_owned(&RuleLabels { rule: escaped(name).into() })
    }

    /// The metrics of this process's membership in a consumer group.
    pub fn group(&self, group: &str) -> GroupMetrics {
        let labels = GroupLabels { group: escaped(group).into() };
        GroupMetrics { series: self.inner.families.group.bind(&labels), group: labels.group, metrics: self.clone() }
    }

    /// The metrics of the database of countries.
    pub fn geoip(&self) -> GeoIpMetrics {
        let families = &self.inner.families.other;
        let loads = |result| families.geoip_loads.get_or_create_owned(&ResultLabels { result });
        GeoIpMetrics {
            loads: loads("ok"),
            failed_loads: loads("failed"),
            failed_lookups: families.geoip_failed_lookups.clone(),
            built: families.geoip_built.clone(),
            timeline: Timeline::default(),
        }
    }

    /// How long writing one batch to `topic` takes, its acknowledgement included.
    pub fn produce(&self, topic: &str) -> DurationHistogram {
        self.inner.families.other.produce.get_or_create_owned(&TopicLabels { topic: topic.into() })
    }

    /// How long records of `topic` take, from their timestamp until they are acknowledged.
    pub fn end_to_end(&self, topic: &str) -> DurationHistogram {
        self.inner.families.partition.end_to_end.get_or_create_owned(&TopicLabels { topic: topic.into() })
    }

    /// Counts dead letters. The reason is one of a closed set.
    pub fn dead(&self, reason: &'static str, count: u64) {
        self.inner.families.other.dead.get_or_create(&ReasonLabels { reason }).inc_by(count);
    }

    /// Counts that dead letters have passed a limit, one of a closed set.
    pub fn limit_passed(&self, limit: &'static str) {
        self.inner.families.other.limits_passed.get_or_create(&LimitLabels { limit }).inc();
    }

    /// Counts an attempt of `operation` that failed with an error of `class` and is made again.
    pub fn retry(&self, operation: &'static str, class: &'static str) {
        self.inner.families.other.retries.get_or_create(&RetryLabels { operation, class }).inc();
    }

    /// Counts a request that the admin port refused.
    pub fn admin_refused(&self, reason: Refusal) {
        self.inner.families.other.admin_refusals.get_or_create(&ReasonLabels { reason: reason.as_str() }).inc();
    }

    fn handles(&self) -> MutexGuard<'_, HashMap<PartitionLabels, usize>> {
        lock(&self.inner.partitions)
    }
}

/// A text as a label's value may be written, which prometheus-client leaves to its callers: nothing in it ends the line,
/// or steers a terminal that shows what was scraped.
pub(super) fn escaped(text: &str) -> String {
    Plain(text).to_string().replace('\\', "\\\\").replace('"', "\\\"")
}
