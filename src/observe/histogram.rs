//! A histogram of durations made of atomics: prometheus-client's own takes a lock per observation,
//! and counts one at a time.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Counts durations by size. Clones count into the same buckets.
#[derive(Debug, Clone)]
pub struct DurationHistogram {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// The upper bounds, in seconds; beyond the last is one more bucket.
    bounds: &'static [f64],
    buckets: Vec<AtomicU64>,
    sum_micros: AtomicU64,
}

impl DurationHistogram {
    /// An empty one with these upper bounds, in seconds and rising.
    pub fn new(bounds: &'static [f64]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { inner: Arc::new(Inner { bounds, buckets, sum_micros: AtomicU64::new(0) }) }
    }

    /// Counts one duration.
    pub fn observe(&self, value: Duration) {
        self.observe_many(value, 1);
    }

    /// Counts `n` equal durations, at the cost of one.
    pub fn observe_many(&self, value: Duration, n: u64) {
        let seconds = value.as_secs_f64();
        let bucket = self.inner.bounds.iter().take_while(|bound| **bound < seconds).count();
        if let Some(bucket) = self.inner.buckets.get(bucket) {
            bucket.fetch_add(n, Ordering::Relaxed);
        }
        let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX).saturating_mul(n);
        self.inner.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// The number of durations in each bucket; the last is beyond all bounds.
    pub fn counts(&self) -> Vec<u64> {
        self.inner.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect()
    }

    /// The number of durations.
    pub fn count(&self) -> u64 {
        self.inner.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }
}

impl TypedMetric for DurationHistogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for DurationHistogram {
    fn encode(&self, mut encoder: MetricEncoder) -> Result<(), fmt::Error> {
        let sum = Duration::from_micros(self.inner.sum_micros.load(Ordering::Relaxed)).as_secs_f64();
        // prometheus-client writes f64::MAX as +Inf.
        let bounds = self.inner.bounds.iter().copied().chain([f64::MAX]);
        let counts = self.inner.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        let buckets: Vec<_> = bounds.zip(counts).collect();
        // The count is taken from the buckets, so that it can't disagree with them.
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn durations_fall_into_buckets_bounds_included() {
        let histogram = DurationHistogram::new(&[0.1, 1.0]);
        histogram.observe(Duration::from_millis(100));
        histogram.observe_many(Duration::from_millis(500), 3);
        histogram.observe(Duration::from_secs(60));
        assert_eq!(histogram.count(), 5);

        let mut registry = Registry::default();
        registry.register("wait", "Waiting", histogram);
        let mut encoded = String::new();
        text::encode(&mut encoded, &registry).unwrap();
        let lines: Vec<_> = encoded.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            lines,
            [
                "wait_sum 61.6",
                "wait_count 5",
                "wait_bucket{le=\"0.1\"} 1",
                "wait_bucket{le=\"1.0\"} 4",
                "wait_bucket{le=\"+Inf\"} 5",
            ]
        );
    }

    #[test]
    fn a_sum_too_large_to_hold_does_not_panic() {
        let histogram = DurationHistogram::new(&[]);
        histogram.observe_many(Duration::MAX, u64::MAX);
        assert_eq!(histogram.count(), u64::MAX);
    }
}
