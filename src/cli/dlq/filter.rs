//! Which dead letters a command is about.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::args::Filter;
use crate::dead_letter::ErrorHeaders;
use crate::record::RecordView;

impl Filter {
    /// Whether it is one of them, its partition aside.
    pub fn takes(&self, record: &RecordView<'_>, error_headers: &ErrorHeaders<'_>) -> bool {
        let one_of = |wanted: &[String], found: Option<&str>| {
            wanted.is_empty() || found.is_some_and(|found| wanted.iter().any(|wanted| wanted == found))
        };
        let time = error_headers.time(record);
        one_of(&self.reason, error_headers.reason)
            && one_of(&self.field, error_headers.field)
            && self.since.as_ref().is_none_or(|since| time >= since.unix_ms)
            && self.until.as_ref().is_none_or(|until| time < until.unix_ms)
            && self.grep.as_deref().is_none_or(|text| holds(record.value.unwrap_or_default(), text.as_bytes()))
    }

    /// Whether those of this partition are among them.
    pub fn takes_partition(&self, partition: i32) -> bool {
        self.partition.is_empty() || self.partition.contains(&partition)
    }

    /// The part of a group's name that tells its progress from that of other filters; empty where it takes everything.
    /// The partition is not part of it: progress is kept for each by itself. Nor is the text to look for, which may be
    /// personal data: whoever looks for one names the group.
    pub fn group_suffix(&self) -> String {
        let mut suffix = String::new();
        for (name, values) in [("reason", &self.reason), ("field", &self.field)] {
            suffix.push_str(&suffix_of(name, values));
        }
        for (name, time) in [("since", &self.since), ("until", &self.until)] {
            if let Some(time) = time {
                let _ = write!(suffix, ":{name}={}", time.name());
            }
        }
        suffix
    }

    /// The part of a group's name that stands for the partitions, for what has one progress for all.
    pub fn partition_suffix(&self) -> String {
        let partitions: BTreeSet<i32> = self.partition.iter().copied().collect();
        let mut suffix = String::new();
        for (at, partition) in partitions.iter().enumerate() {
            let before = if at == 0 { ":partition=" } else { "," };
            let _ = write!(suffix, "{before}{partition}");
        }
        suffix
    }
}

/// The part of a group's name for these values, in whatever order and however often they were given; empty without any.
pub(super) fn suffix_of(name: &str, values: &[String]) -> String {
    let values: BTreeSet<&str> = values.iter().map(String::as_str).collect();
    match values.is_empty() {
        true => String::new(),
        false => format!(":{name}={}", values.into_iter().collect::<Vec<_>>().join(",")),
    }
}

fn holds(value: &[u8], text: &[u8]) -> bool {
    text.is_empty() || value.windows(text.len()).any(|window| window == text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Headers, Offset};

    #[test]
    fn all_that_is_asked_must_hold() {
        let record =
            RecordView { offset: Offset(0), timestamp_ms: 5, key: None, value: Some(b"abc"), headers: Headers::NONE };
        let error_headers = ErrorHeaders { reason: Some("wrong_type"), field: Some("ip"), ..ErrorHeaders::default() };
        let takes = |filter: Filter| filter.takes(&record, &error_headers);
        let text = |text: &str| vec![text.to_owned()];
        assert!(takes(Filter::default()));
        assert!(takes(Filter { reason: text("wrong_type"), field: text("ip"), ..Filter::default() }));
        assert!(!takes(Filter { reason: text("wrong_type"), field: text("locale"), ..Filter::default() }));
        assert!(takes(Filter { since: Some(5.into()), until: Some(6.into()), ..Filter::default() }));
        assert!(!takes(Filter { since: Some(6.into()), ..Filter::default() }));
        assert!(!takes(Filter { until: Some(5.into()), ..Filter::default() }));
        assert!(takes(Filter { grep: Some("bc".to_owned()), ..Filter::default() }));
        assert!(!takes(Filter { grep: Some("ac".to_owned()), ..Filter::default() }));
    }

    #[test]
    fn each_filter_has_its_own_progress() {
        let filter = |reasons: &[&str], since| Filter {
            reason: reasons.iter().map(|reason| (*reason).to_owned()).collect(),
            since,
            ..Filter::default()
        };
        assert_eq!(filter(&[], None).group_suffix(), "");
        assert_eq!(filter(&["b", "a", "b"], Some(7.into())).group_suffix(), ":reason=a,b:since=7");
        let partitions = |partition| Filter { partition, ..Filter::default() };
        assert_eq!(partitions(vec![2, 0, 2]).partition_suffix(), ":partition=0,2");
        assert_eq!(partitions(Vec::new()).partition_suffix(), "");
        assert!(partitions(Vec::new()).takes_partition(1) && !partitions(vec![2]).takes_partition(1));
    }
}
