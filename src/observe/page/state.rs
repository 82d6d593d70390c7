//! What the page shows.

use std::collections::BTreeMap;

use kafka_client::Member;
use serde::Serialize;

use crate::observe::examples::Example;
use crate::observe::failures::Failure;
use crate::observe::given::Given;
use crate::observe::history::Charts;
use crate::observe::status::Status;
use crate::observe::timeline::Mark;
use crate::observe::verdict::Verdict;

/// The state that the page shows.
#[derive(Debug, Serialize)]
pub(in crate::observe) struct State {
    /// How it does, in a line.
    pub(in crate::observe) verdict: Verdict,
    /// Whether the process does its work.
    pub(in crate::observe) ready: bool,
    /// Why not.
    pub(in crate::observe) reasons: Vec<String>,
    /// Without the configuration, which never changes.
    #[serde(flatten)]
    pub(in crate::observe) status: Status,
    /// How the configuration was given.
    #[serde(skip)]
    pub(in crate::observe) given: Option<Given>,
    /// Who has the partitions: this process's name in its group.
    pub(in crate::observe) owner: String,
    /// How many partitions are left out.
    pub(in crate::observe) more_partitions: usize,
    /// All partitions' lag; `None` where that of any is not known.
    pub(in crate::observe) lag: Option<u64>,
    /// The lag as time, in milliseconds.
    pub(in crate::observe) lag_ms: Option<u64>,
    /// How many partitions are in each state.
    pub(in crate::observe) states: BTreeMap<&'static str, usize>,
    /// What went wrong last, the newest first.
    pub(in crate::observe) failures: Vec<Failure>,
    /// The newest dead letters of each reason, masked.
    pub(in crate::observe) examples: BTreeMap<&'static str, Vec<Example>>,
    /// The other members of the group, as the coordinator told them last.
    pub(in crate::observe) members: Vec<Member>,
    /// What happened lately.
    pub(in crate::observe) marks: Vec<Mark>,
    /// The last fifteen minutes.
    pub(in crate::observe) charts: Charts,
}
