//! Lag as a number for each partition, the same that the status page has. One whose lag is not known has no
//! series, and one that is given up has none any more.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::gauge::ConstGauge;

use super::StatusBoard;

/// The lag of a board's partitions, worked out when metrics are asked for.
#[derive(Debug)]
pub(super) struct Lag(pub StatusBoard);

impl Collector for Lag {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let help = "Records between the stored offset and the high watermark; absent where either is not known";
        let mut family = encoder.encode_descriptor("source_lag_records", help, None, ConstGauge::<i64>::TYPE)?;
        // A partition that comes back has two places for a moment: the later one counts.
        let reports = self.0.partitions().into_iter();
        let lags: BTreeMap<_, _> = reports.map(|it| ((it.topic, it.partition), it.lag)).collect();
        for ((topic, partition), lag) in lags {
            if let Some(lag) = lag {
                let labels = [("topic", topic), ("partition", partition.to_string())];
                ConstGauge::new(i64::try_from(lag).unwrap_or(i64::MAX)).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::observe::Observe;
    use crate::record::Offset;

    #[tokio::test(start_paused = true)]
    async fn an_unknown_lag_is_no_series_and_never_0() {
        let observe = Observe::new("1.2.3", &[], Duration::ZERO, serde_json::Value::Null);
        observe.partitions.watermarks_last(Duration::from_secs(30));
        let lags = || {
            let encoded = observe.metrics.encode();
            let lines = encoded.lines().filter(|line| line.starts_with("login_pipeline_source_lag_records"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let partition = observe.partitions.partition("user-login", 3);
        partition.committed(Offset(10));
        assert!(lags().is_empty());
        partition.high_watermark(Offset(25));
        let known = r#"login_pipeline_source_lag_records{topic="user-login",partition="3"} "#;
        assert_eq!(lags(), [format!("{known}15")]);

        let again = observe.partitions.partition("user-login", 3);
        assert!(lags().is_empty(), "the one that took its place knows nothing yet");
        again.committed(Offset(25));
        again.high_watermark(Offset(25));
        assert_eq!(lags(), [format!("{known}0")]);
        tokio::time::advance(Duration::from_secs(31)).await;
        assert!(lags().is_empty(), "{:?}", lags());
        drop((partition, again));
    }

    #[test]
    fn a_partition_given_up_leaves_no_lag() {
        let observe = Observe::new("1.2.3", &[], Duration::ZERO, serde_json::Value::Null);
        let partition = observe.partitions.partition("user-login", 3);
        partition.committed(Offset(10));
        partition.high_watermark(Offset(25));
        assert!(observe.metrics.encode().contains("source_lag_records{"));
        drop(partition);
        assert!(!observe.metrics.encode().contains("source_lag_records{"));
    }
}
