//! `dead_letter.*`: where bad records go, and how many may.

use std::time::Duration;

use serde::Serialize;

use super::Ratio;

/// `dead_letter.*`
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeadLetter {
    /// The topic for bad records.
    pub topic: String,
    /// The prefix of the headers that say why.
    pub header_prefix: String,
    /// What to do with a dead letter that the dead-letter topic refuses as too large.
    pub oversize: Oversize,
    /// How many may be written before it is taken for somebody's mistake.
    #[serde(flatten)]
    pub limits: DeadLetterLimits,
}

/// `dead_letter.max_*` and what goes with them, for each partition. None by default.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeadLetterLimits {
    /// The largest share of records within `window`.
    pub max_ratio: Option<Ratio>,
    /// The time over which `max_ratio` is taken.
    #[serde(with = "super::humantime_text")]
    pub window: Duration,
    /// Of fewer records, `max_ratio` decides nothing.
    pub min_records: u64,
    /// The most in a row.
    pub max_consecutive: Option<u64>,
    /// What to do past a limit.
    pub on_limit: OnLimit,
}

impl DeadLetterLimits {
    /// Whether there are any.
    pub fn are_set(&self) -> bool {
        self.max_ratio.is_some() || self.max_consecutive.is_some()
    }
}

/// What to do when a partition's dead letters pass a limit. Either way they are not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnLimit {
    /// Stop that partition and turn unready, until someone resumes it.
    Pause,
    /// Drain the others and end, with an error.
    Stop,
}

/// What to do with a dead letter that its topic refuses as too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Oversize {
    /// Write as much of the value as fits, and a header that says how long it was.
    Truncate,
    /// Stop that partition and turn unready until the topic takes it.
    Block,
}
