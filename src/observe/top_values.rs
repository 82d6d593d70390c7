//! The values of the fields that are counted, as counters for Prometheus.
//!
//! ```text
//! TallyBoard ──snapshot──► the most frequent values ──► Places ──► /metrics
//! ```
//! Senders choose these texts. So that they choose neither how many series there are nor what is in
//! the page, a field has [`TOP`] places for its process's life: what is among the most frequent
//! when metrics are asked for takes one, if one is free, and keeps it. All else counts as
//! `(other)`. A counter never falls, which for Prometheus would be a restart: what a value had
//! before it took its place stays with `(other)`.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::ConstCounter;

use super::lock::lock;
use super::metrics::escaped;
use super::tally::{DistributionSnapshot, TOP, TallyBoard};

/// In place of the values that have no place of their own.
const OTHER: &str = "(other)";

/// The counts of a board, value by value.
#[derive(Debug)]
pub(super) struct TopValues {
    board: TallyBoard,
    fields: Mutex<HashMap<&'static str, Places>>,
}

impl TopValues {
    /// The collector of this board.
    pub(super) fn of(board: TallyBoard) -> Self {
        Self { board, fields: Mutex::default() }
    }
}

impl Collector for TopValues {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let help = "Events by the values of the fields that are counted; the rarer values together are (other)";
        let mut family = encoder.encode_descriptor("field_values", help, None, ConstCounter::<u64>::TYPE)?;
        let mut fields = lock(&self.fields);
        for counted in self.board.snapshot().distributions {
            let places = fields.entry(counted.name).or_default();
            places.update(&counted);
            let values = places.taken.iter().map(|(value, place)| (value.as_str(), place.told));
            for (value, told) in values.chain([(OTHER, places.other)]) {
                let labels = [("field", counted.name), ("value", &escaped(value))];
                ConstCounter::new(told).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// The places of one field.
#[derive(Debug, Default)]
struct Places {
    taken: HashMap<String, Place>,
    other: u64,
    /// Whether anything has been told before.
    begun: bool,
}

#[derive(Debug)]
struct Place {
    /// What the value had when it came; that was told as another's.
    before: u64,
    told: u64,
}

impl Places {
    fn update(&mut self, counted: &DistributionSnapshot) {
        for entry in &counted.top {
            let is_free = self.taken.len() < TOP && entry.value != OTHER;
            if let Some(place) = self.taken.get_mut(&entry.value) {
                // A sketch knows a lower bound, which may fall; what was told stays.
                place.told = place.told.max(entry.count.saturating_sub(place.before));
            } else if is_free {
                let before = if self.begun { entry.count } else { 0 };
                self.taken.insert(entry.value.clone(), Place { before, told: entry.count - before });
            }
        }
        let told = self.taken.values().map(|place| place.told).sum();
        self.other = self.other.max(counted.total.saturating_sub(told));
        self.begun = true;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::observe::Observe;

    fn observe() -> Observe {
        Observe::new("1.2.3", &["device_type", "place"], Duration::from_secs(10), serde_json::Value::Null)
    }

    /// The values of `place`, as a scrape finds them.
    fn places(observe: &Observe) -> BTreeMap<String, u64> {
        let encoded = observe.metrics.encode();
        let start = "login_pipeline_field_values_total{field=\"place\",value=\"";
        let lines: Vec<_> = encoded.lines().filter_map(|line| line.strip_prefix(start)).collect();
        let values: BTreeMap<_, _> = lines
            .iter()
            .map(|line| line.rsplit_once("\"} ").unwrap())
            .map(|(value, count)| (value.to_owned(), count.parse().unwrap()))
            .collect();
        assert_eq!(values.len(), lines.len(), "no series twice: {lines:?}");
        values
    }

    #[test]
    fn values_are_told_by_name_and_the_rest_together() {
        let observe = observe();
        let tally = observe.tallies.register();
        for n in 0..30 {
            (0..=n).for_each(|_| tally.lock().count(1, format!("L{n:02}")));
        }
        let values = places(&observe);
        assert_eq!(values.len(), TOP + 1);
        assert_eq!((values["L29"], values["L10"], values[OTHER]), (30, 11, (1..=10).sum()));
    }

    #[test]
    fn counters_never_fall_and_nothing_is_told_twice() {
        let observe = observe();
        let tally = observe.tallies.register();
        tally.lock().count(1, "RU");
        (0..50).for_each(|n| tally.lock().count(1, format!("rare-{n:02}")));
        let mut last = places(&observe);
        for n in 0..20_000_u32 {
            tally.lock().count(1, format!("hostile-{}", n.wrapping_mul(2_654_435_761)));
            tally.lock().count(1, "late");
            if n % 1_000 == 0 {
                let now = places(&observe);
                assert!(last.iter().all(|(value, count)| now[value] >= *count), "{last:?} {now:?}");
                assert!(now.len() <= TOP + 1, "{now:?}");
                assert!(now.values().sum::<u64>() <= u64::from(n + 1) * 2 + 51);
                last = now;
            }
        }
    }

    #[test]
    fn a_value_that_comes_late_counts_from_then_on() {
        let observe = observe();
        let tally = observe.tallies.register();
        tally.lock().count(1, "RU");
        assert_eq!(places(&observe), BTreeMap::from([("RU".into(), 1), (OTHER.into(), 0)]));
        (0..5).for_each(|_| tally.lock().count(1, "CA"));
        assert_eq!(places(&observe), BTreeMap::from([("CA".into(), 0), ("RU".into(), 1), (OTHER.into(), 5)]));
        tally.lock().count(1, "CA");
        assert_eq!(places(&observe), BTreeMap::from([("CA".into(), 1), ("RU".into(), 1), (OTHER.into(), 5)]));
    }

    #[test]
    fn a_hostile_value_is_no_line_and_no_other_series() {
        let observe = observe();
        let tally = observe.tallies.register();
        let hostile = "x\"} 7\nlogin_pipeline_ready 1\\";
        tally.lock().count(1, hostile);
        tally.lock().count(1, OTHER);
        let encoded = observe.metrics.encode();
        assert!(!encoded.contains("\nlogin_pipeline_ready 1"), "{encoded}");
        let values = places(&observe);
        assert_eq!(values, BTreeMap::from([(OTHER.into(), 2)]));
    }
}
