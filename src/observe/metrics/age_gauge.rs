//! How long ago something was.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::{MetricType, TypedMetric};
use tokio::time::Instant;

/// A gauge of the time since an event, worked out when it is asked for.
#[derive(Debug, Clone)]
pub struct AgeGauge {
    made: Instant,
    /// When the event last was, in milliseconds after `made`.
    last_millis: Arc<AtomicU64>,
}

impl AgeGauge {
    /// The event is now.
    pub(super) fn reset(&self) {
        let millis = u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_millis.store(millis, Ordering::Relaxed);
    }
}

impl Default for AgeGauge {
    fn default() -> Self {
        Self { made: Instant::now(), last_millis: Arc::default() }
    }
}

impl TypedMetric for AgeGauge {
    const TYPE: MetricType = MetricType::Gauge;
}

impl EncodeMetric for AgeGauge {
    fn encode(&self, mut encoder: MetricEncoder) -> Result<(), fmt::Error> {
        let last = Duration::from_millis(self.last_millis.load(Ordering::Relaxed));
        encoder.encode_gauge(&self.made.elapsed().saturating_sub(last).as_secs_f64())
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}
