//! Counts by value.

use std::collections::BTreeMap;

use serde::Serialize;

use super::chart::Row;

/// As many values of a kind are told apart; what comes on top is counted as others.
pub(super) const MOST: usize = 1_000;

/// Counts by value, bounded.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Counted(BTreeMap<String, u64>);

impl Counted {
    /// Counts one.
    pub(super) fn count(&mut self, value: impl Into<String>) {
        self.count_times(value.into(), 1);
    }

    /// Counts what was counted elsewhere.
    pub(super) fn add(&mut self, other: &Self) {
        other.0.iter().for_each(|(value, times)| self.count_times(value.clone(), *times));
    }

    fn count_times(&mut self, value: String, times: u64) {
        let is_one_of = self.0.len() < MOST || self.0.contains_key(&value);
        let value = if is_one_of { value } else { "(others)".to_owned() };
        *self.0.entry(value).or_default() += times;
    }

    /// Value and count, in the values' order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(value, count)| (value.as_str(), *count))
    }

    /// As rows of a chart.
    pub(super) fn rows(&self, by_count: bool) -> Vec<Row> {
        let mut rows: Vec<_> = self.iter().map(|(label, count)| Row { label: label.to_owned(), count }).collect();
        if by_count {
            rows.sort_by_key(|row| std::cmp::Reverse(row.count));
        }
        rows
    }
}
