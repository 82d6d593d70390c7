//! Readiness as a number, for those who watch by Prometheus and ask no probe.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::gauge::ConstGauge;

use super::Health;

/// The answer of `/readyz` as a gauge, worked out when metrics are asked for.
#[derive(Debug)]
pub(super) struct ReadinessGauge(pub Health);

impl Collector for ReadinessGauge {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let ready = ConstGauge::new(i64::from(self.0.is_ready().is_ok()));
        let help = "1 where /readyz answers 200, 0 where it says why not";
        ready.encode(encoder.encode_descriptor("ready", help, None, ConstGauge::<i64>::TYPE)?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::observe::{Observe, Severity};

    #[test]
    fn the_number_is_the_probes_answer() {
        let observe = Observe::new("1.2.3", &[], Duration::from_secs(10), serde_json::Value::Null);
        let says = |value| observe.metrics.encode().contains(&format!("\nlogin_pipeline_ready {value}\n"));
        assert!(says(0), "it has not started");
        observe.health.started();
        assert!(says(1));
        let component = observe.health.component("output");
        component.degraded("not allowed to write", Severity::Fatal);
        assert!(says(0));
    }
}
