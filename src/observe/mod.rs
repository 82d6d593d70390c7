//! How operators see into the process: metrics, health, counts, the status page and the log.
//!
//! ```text
//!                 ┌─► Metrics ─────► /metrics ──┐
//! worker, app ────┼─► Health ──────► /livez     │
//!  (through       │                  /readyz    ├──► AdminServer
//!   handles that  ├─► StatusBoard ─► /status ───┘
//!   they own)     └─► TallyBoard ──┬─► /status, /metrics
//!                                  └─► stats::report ──► the log
//!              all of them, at times ──► EventFeed ──► the page at / and /events
//! ```
//! [`Observe`] holds the four of them. Whoever does work asks each for a handle of its own when it
//! begins; writing through it is an atomic or an uncontended lock, and dropping it takes what it
//! showed off the page again. Nothing here carries a record's personal data: labels and reasons
//! come from closed sets, and only the values of the dimensions that an event type names are
//! counted.
//!
//! ```
//! use std::time::Duration;
//!
//! use login_pipeline::observe::Observe;
//!
//! let observe = Observe::new("1.2.3", &["device_type"], Duration::from_secs(10), serde_json::json!({}));
//! let partition = observe.metrics.partition("user-login", 0);
//! let tally = observe.tallies.register();
//! partition.fetched(1, 210);
//! tally.lock().count(0, "android");
//!
//! observe.health.started();
//! assert!(observe.health.is_ready().is_ok());
//! assert_eq!(observe.status().tally.distributions[0].total, 1);
//! ```

mod admin_auth;
mod admin_tls;
mod behind;
mod connection_slots;
mod count;
mod examples;
mod failures;
mod given;
mod health;
mod histogram;
mod history;
mod host;
mod http;
mod lag;
mod lock;
mod log_level;
pub mod logs;
mod members;
mod metrics;
mod page;
mod pause_registry;
mod plain;
mod process;
mod readiness_gauge;
mod refusal;
mod shape;
mod sse;
pub mod stats;
mod status;
mod tally;
mod timeline;
mod top_values;
#[cfg(feature = "otlp")]
pub mod traces;
mod verdict;

use std::time::Duration;

use lag::Lag;
use prometheus_client::collector::Collector;
use readiness_gauge::ReadinessGauge;
use top_values::TopValues;

pub use admin_tls::{client_of_any, client_of_own};
pub use count::count;
pub use examples::{Example, Examples};
pub use given::Given;
pub use health::{ComponentHandle, Health, Phase, Reason, Severity};
pub use histogram::DurationHistogram;
pub use http::{AdminServer, BindError, Limits};
pub use kafka_client::Member;
pub use kafka_client::plain::Plain;
pub use login_event::distribution::{CAPACITY, Distribution, MAX_VALUE_BYTES};
pub use members::Members;
pub use metrics::{
    AgeGauge, Counter, Format, GeoIpMetrics, GroupMetrics, Metrics, PartitionMetrics, PartitionSeries, RouteMetrics,
    is_time,
};
pub use pause_registry::{Pause, PauseRegistry};
pub use plain::{ANY, first_of};
pub use process::raise_most_files;
pub use refusal::Refusal;
pub use status::{
    GroupReport, LastError, PartitionReport, PartitionState, PartitionStatus, PartitionTrouble, Status, StatusBoard,
    Troubles,
};
pub use tally::{Dimensions, DistributionSnapshot, SharedTally, Snapshot, TOP, Tally, TallyBoard, Totals, ValueCount};
pub use timeline::{Mark, MarkKind, Timeline};

/// Everything that the process shows of itself. Clones show the same.
#[derive(Debug, Clone)]
pub struct Observe {
    /// Numbers for Prometheus.
    pub metrics: Metrics,
    /// Liveness and readiness.
    pub health: Health,
    /// Counts for people.
    pub tallies: TallyBoard,
    /// The partitions on the status page.
    pub partitions: StatusBoard,
    /// The partitions that wait for an operator's word.
    pub paused: PauseRegistry,
    /// The newest dead letters of each reason, masked.
    pub examples: Examples,
    /// The members of the group.
    pub members: Members,
    /// Where spans go, if they do.
    #[cfg(feature = "otlp")]
    pub traces: Option<traces::Traces>,
}

impl Observe {
    /// A process of this version that is starting. The values of `dimensions` are counted; trouble
    /// makes it unready after `grace`; `configuration` is shown to whoever asks, so it carries no
    /// secrets.
    pub fn new(version: &str, dimensions: Dimensions, grace: Duration, configuration: serde_json::Value) -> Self {
        let (health, tallies) = (Health::new(grace), TallyBoard::new(dimensions));
        let partitions = StatusBoard::new(version, configuration);
        let paused = PauseRegistry::on(partitions.timeline().clone());
        let asked: Vec<Box<dyn Collector>> = vec![
            Box::new(ReadinessGauge(health.clone())),
            Box::new(Lag(partitions.clone())),
            Box::new(TopValues::of(tallies.clone())),
        ];
        Self {
            metrics: Metrics::with(version, asked),
            health,
            tallies,
            partitions,
            paused,
            examples: Examples::default(),
            members: Members::default(),
            #[cfg(feature = "otlp")]
            traces: None,
        }
    }

    /// The metrics of the database of countries, whose reloads are marks on the page.
    pub fn geoip(&self) -> GeoIpMetrics {
        self.metrics.geoip().marking(self.partitions.timeline())
    }

    /// The status page as it is now.
    pub fn status(&self) -> Status {
        self.partitions.status(self.health.phase(), self.tallies.snapshot())
    }
}
