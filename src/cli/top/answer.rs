//! What an instance says of itself: the state that `/events` streams, or what of it `/status` has.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::sanitize::Sanitized;

/// All of it that is shown. Other fields are passed over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Answer {
    /// The program's version.
    pub version: Sanitized,
    /// How long the process has been there.
    pub uptime_seconds: u64,
    /// `starting`, `running` or `draining`.
    pub state: Sanitized,
    /// The partitions that it reads.
    pub partitions: Vec<Partition>,
    /// Its membership in a consumer group.
    pub group: Option<Group>,
    /// What it has counted since its start.
    pub tally: Tally,
    /// Why it is not ready; `/status` does not tell.
    #[serde(default)]
    pub reasons: Vec<Sanitized>,
    /// How many partitions are left out: `/events` has 200.
    #[serde(default)]
    pub more_partitions: u64,
    /// All partitions' lag, those that are left out included, where that of each is known.
    pub lag: Option<u64>,
    /// The last fifteen minutes; `/status` does not tell.
    #[serde(default, skip_serializing)]
    pub charts: Charts,
    /// Whether it is ready. Not in the answer where that is `/status`.
    pub ready: Option<bool>,
    /// Whether it is worth keeping, by `/livez`.
    #[serde(skip_deserializing)]
    pub live: bool,
}

/// A partition and its worker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Partition {
    /// The source topic.
    pub topic: Sanitized,
    /// The partition.
    pub partition: i32,
    /// What its worker does.
    pub state: Sanitized,
    /// The offset of the next record to read.
    pub position: Option<i64>,
    /// The stored offset.
    pub committed: Option<i64>,
    /// Records between the stored offset and the high watermark, where both are known.
    pub lag: Option<u64>,
    /// The last thing that went wrong.
    pub last_error: Option<LastError>,
}

/// Something that went wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct LastError {
    /// Its class.
    pub class: Sanitized,
    /// What happened.
    pub message: Sanitized,
    /// When, RFC 3339.
    pub at: Sanitized,
}

/// A membership.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Group {
    /// Its member's name, if one was given.
    pub instance_id: Option<Sanitized>,
    /// The name that the coordinator knows it by.
    pub member_id: Option<Sanitized>,
}

/// Counts since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Tally {
    /// Records read.
    pub records_in: u64,
    /// Records written.
    pub records_out: u64,
    /// Dead letters.
    pub records_dead: u64,
    /// Records dropped by a rule.
    pub records_dropped: u64,
    /// Dead letters by reason.
    pub errors: BTreeMap<Sanitized, u64>,
    /// The values of some fields.
    pub distributions: Vec<Distribution>,
}

/// The values of one field.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Distribution {
    /// The field's name.
    pub name: Sanitized,
    /// How many values were counted.
    pub total: u64,
    /// The most frequent.
    pub top: Vec<ValueCount>,
}

/// A value, and how often it occurred.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct ValueCount {
    /// The value; its sender chose it.
    pub value: Sanitized,
    /// How often.
    pub count: u64,
}

/// The gains of each stretch of the last fifteen minutes, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Charts {
    /// How many milliseconds each took.
    pub took: Vec<u64>,
    /// Records read.
    pub records_in: Vec<u64>,
    /// Records written.
    pub records_out: Vec<u64>,
    /// Dead letters.
    pub records_dead: Vec<u64>,
    /// Percentiles of the time from a record's timestamp until its output is acknowledged, in
    /// microseconds.
    pub p50: Vec<Option<u64>>,
    /// 95 %.
    pub p95: Vec<Option<u64>>,
    /// 99 %.
    pub p99: Vec<Option<u64>>,
}

impl Answer {
    /// The name that it has in its group.
    pub(super) fn owner(&self) -> Option<&Sanitized> {
        let group = self.group.as_ref()?;
        group.instance_id.as_ref().or(group.member_id.as_ref())
    }

    /// The lag of all its partitions; `None` where that of any is not known.
    pub(super) fn lag(&self) -> Option<u64> {
        let mut lags = self.partitions.iter().map(|partition| partition.lag);
        let all = || lags.try_fold(0, |sum: u64, lag| Some(sum.saturating_add(lag?)));
        self.lag.or_else(all).filter(|_| self.more_partitions == 0 || self.lag.is_some())
    }

    /// The number of its partitions.
    pub(super) fn owned(&self) -> u64 {
        u64::try_from(self.partitions.len()).unwrap_or(u64::MAX).saturating_add(self.more_partitions)
    }
}
