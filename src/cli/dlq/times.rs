//! Counts by time, in steps that fit what is counted.

use std::collections::BTreeMap;

use chrono::DateTime;
use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::chart::Row;

/// More steps than these, and the next longer ones are taken.
const MOST_STEPS: usize = 60;

/// As many days are told apart; what comes on top is counted as others.
const MOST_DAYS: usize = 1_000;

/// The last millisecond of the year 9999.
const LAST_MS: i64 = 253_402_300_799_999;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Step {
    #[default]
    Minute,
    Hour,
    Day,
}

impl Step {
    const fn millis(self) -> i64 {
        match self {
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    fn longer(self) -> Option<Self> {
        match self {
            Self::Minute => Some(Self::Hour),
            Self::Hour => Some(Self::Day),
            Self::Day => None,
        }
    }

    /// A time that begins one, UTC; that of minutes and hours is one that `--since` takes.
    fn label(self, millis: i64) -> String {
        let format = if self == Self::Day { "%Y-%m-%d" } else { "%Y-%m-%dT%H:%M:00Z" };
        DateTime::from_timestamp_millis(millis).map(|time| time.format(format).to_string()).unwrap_or_default()
    }
}

/// The number of dead letters of each minute, hour or day.
#[derive(Debug, Default)]
pub(super) struct Times {
    step: Step,
    /// By the millisecond that a step begins with.
    counts: BTreeMap<i64, u64>,
    others: u64,
    without: u64,
}

impl Times {
    /// Counts one of this time, milliseconds since the Unix epoch.
    pub(super) fn count(&mut self, millis: i64) {
        if !(0..=LAST_MS).contains(&millis) {
            self.without += 1;
            return;
        }
        let begin = |step: Step| millis - millis.rem_euclid(step.millis());
        if self.step == Step::Day && self.counts.len() >= MOST_DAYS && !self.counts.contains_key(&begin(Step::Day)) {
            self.others += 1;
            return;
        }
        *self.counts.entry(begin(self.step)).or_default() += 1;
        while self.counts.len() > MOST_STEPS
            && let Some(longer) = self.step.longer()
        {
            self.step = longer;
            for (begin, count) in std::mem::take(&mut self.counts) {
                *self.counts.entry(begin - begin.rem_euclid(longer.millis())).or_default() += count;
            }
        }
    }

    /// The step's name as a column's title.
    pub(super) fn title(&self) -> String {
        self.step.as_str().to_uppercase()
    }

    /// The steps that have any, in their order.
    pub(super) fn rows(&self) -> Vec<Row> {
        let steps = self.counts.iter().map(|(begin, count)| (self.step.label(*begin), *count));
        let more = [("(others)", self.others), ("(no time)", self.without)].into_iter().filter(|(_, count)| *count > 0);
        let more = more.map(|(label, count)| (label.to_owned(), count));
        steps.chain(more).map(|(label, count)| Row { label, count }).collect()
    }
}

impl Serialize for Times {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Times", 2)?;
        object.serialize_field("step", self.step.as_str())?;
        let counts: BTreeMap<_, _> = self.rows().into_iter().map(|row| (row.label, row.count)).collect();
        object.serialize_field("counts", &counts)?;
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: i64 = 1_767_323_040_000; // 2026-01-02T03:04:00Z

    fn counted(times: impl Iterator<Item = i64>) -> Times {
        let mut counted = Times::default();
        times.for_each(|millis| counted.count(millis));
        counted
    }

    #[test]
    fn steps_fit_what_is_counted() {
        for (minutes, step, rows, first) in [
            (1, "MINUTE", 1, "2026-01-02T03:04:00Z"),
            (60, "MINUTE", 60, "2026-01-02T03:04:00Z"),
            (61, "HOUR", 2, "2026-01-02T03:00:00Z"),
            (3 * 24 * 60, "DAY", 4, "2026-01-02"),
        ] {
            let times = counted((0..minutes).rev().map(|minute| BEGIN + minute * 60_000));
            let found = times.rows();
            assert_eq!((times.title().as_str(), found.len(), found[0].label.as_str()), (step, rows, first));
            assert_eq!(found.iter().map(|row| row.count).sum::<u64>(), u64::try_from(minutes).unwrap());
        }
    }

    #[test]
    fn any_time_is_counted_and_no_number_of_them_is_too_many() {
        let times = counted((0..5_000).map(|day| day * 86_400_000).chain([i64::MIN, -1, i64::MAX]));
        let rows = times.rows();
        assert_eq!(rows.len(), MOST_DAYS + 2);
        assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), 5_003);
        let json = serde_json::to_value(&times).unwrap();
        assert_eq!((&json["step"], &json["counts"]["(no time)"]), (&"day".into(), &3.into()));
        assert_eq!(json["counts"]["(others)"], 4_000);
    }
}
