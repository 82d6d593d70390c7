//! The last errors of partitions, those with one cause as one.

use std::collections::BTreeMap;

use serde::Serialize;

use super::plain::{ANY, first_of, without_numbers};
use super::status::PartitionReport;

/// The last failure of one partition, or of several that failed alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Failure {
    /// `partition 3`, or `60 partitions: 0, 1, 2 and 57 more`.
    pub(super) partitions: String,
    /// `transient`, `fatal`, `ambiguous` or `poison`.
    pub(super) class: &'static str,
    /// What happened, with the numbers of the last one; of several, without the partition.
    pub(super) message: String,
    /// When it happened last, RFC 3339.
    pub(super) at: String,
}

/// The last failures of all these partitions, the newest first.
pub(super) fn failures(partitions: &[PartitionReport]) -> Vec<Failure> {
    let mut alike: BTreeMap<(&'static str, String), Vec<&PartitionReport>> = BTreeMap::new();
    for report in partitions {
        if let Some(error) = &report.last_error {
            alike.entry((error.class, without_numbers(&cause(report, &error.message)))).or_default().push(report);
        }
    }
    let mut failures: Vec<_> = alike.into_iter().filter_map(|((class, _), reports)| one(class, &reports)).collect();
    failures.sort_by(|a, b| b.at.cmp(&a.at));
    failures
}

/// The text of a partition's error, whichever partition it is.
pub(super) fn cause(of: &PartitionReport, message: &str) -> String {
    message.replace(&format!("{}/{}", of.topic, of.partition), ANY)
}

fn one(class: &'static str, reports: &[&PartitionReport]) -> Option<Failure> {
    let failed = reports.iter().filter_map(|report| Some((report, report.last_error.as_ref()?)));
    let (of, last) = failed.max_by_key(|(_, error)| &error.at)?;
    let numbers: Vec<_> = reports.iter().map(|report| report.partition).collect();
    let (partitions, message) = match &numbers[..] {
        [number] => (format!("partition {number}"), last.message.clone()),
        _ => (format!("{} partitions: {}", numbers.len(), first_of(&numbers)), cause(of, &last.message)),
    };
    Some(Failure { partitions, class, message, at: last.at.clone() })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::observe::StatusBoard;

    #[test]
    fn one_cause_is_one_line() {
        let board = StatusBoard::new("1.2.3", Value::Null);
        let held: Vec<_> = (0..60).map(|number| board.partition("user-login", number)).collect();
        for (number, partition) in held.iter().enumerate().skip(1) {
            partition.failed("transient", &format!("fetch user-login/{number}: connection refused after {number}0 ms"));
        }
        held[7].failed("fatal", "not allowed to read user-login/7");
        let failures = failures(&board.partitions());
        let said: Vec<_> = failures.iter().map(|it| (&*it.partitions, it.class, &*it.message)).collect();
        let (alone, many) = ("not allowed to read user-login/7", "fetch …: connection refused after ");
        assert_eq!(said.len(), 2);
        assert!(said.contains(&("partition 7", "fatal", alone)), "{said:?}");
        let is_many = |it: &(&str, &str, &str)| it.0 == "58 partitions: 1, 2, 3 and 55 more" && it.2.starts_with(many);
        assert!(said.iter().any(is_many), "{said:?}");
    }
}
