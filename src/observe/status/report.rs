//! What `/status` has of the process, its group and its partitions.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::observe::health::Phase;
use crate::observe::tally::Snapshot;
use crate::record::Offset;

/// The whole page.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// When the process started, RFC 3339.
    pub started_at: String,
    /// How long ago that was.
    pub uptime_seconds: u64,
    /// Where the process is in its life.
    pub state: Phase,
    /// Each partition that this process reads, in order.
    pub partitions: Vec<PartitionReport>,
    /// The consumer group, in group mode.
    pub group: Option<GroupReport>,
    /// What was counted since the start.
    pub tally: Snapshot,
    /// The configuration in force, secrets left out by whoever gave it.
    pub configuration: Value,
}

/// This process's membership in a consumer group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct GroupReport {
    /// `group.id`.
    pub id: String,
    /// `classic` or `consumer` (KIP-848).
    pub protocol: &'static str,
    /// Where the member is in its protocol.
    pub state: &'static str,
    /// The member's id, once it has one.
    pub member_id: Option<String>,
    /// `group.instance_id`.
    pub instance_id: Option<String>,
    /// The generation, or the member's epoch.
    pub generation: Option<i32>,
    /// The partitions that it has.
    pub partitions: Vec<i32>,
    /// Rebalances since the start, by cause.
    pub rebalances: BTreeMap<&'static str, u64>,
    /// Time since the coordinator last answered.
    pub heartbeat_age_seconds: Option<u64>,
    /// When it last answered.
    #[serde(skip)]
    pub heartbeat: Option<Instant>,
}

/// One partition on the page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartitionReport {
    /// The source topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// What its worker is doing.
    pub state: PartitionState,
    /// The offset of the next record to read.
    pub position: Option<Offset>,
    /// The stored offset: everything below is done.
    pub committed: Option<Offset>,
    /// The offset after the last record that all in-sync replicas have; `None` where no broker has told it lately.
    pub high_watermark: Option<Offset>,
    /// Records between the stored offset and the high watermark; `None` where either is not known.
    pub lag: Option<u64>,
    /// The lag as time: for how many milliseconds the oldest record has waited at most that is not done; 0 where all
    /// is done, stored or not, and `None` where the lag is not known, or nothing has been read yet.
    pub lag_ms: Option<u64>,
    /// Bytes read and not yet acknowledged.
    pub in_flight_bytes: u64,
    /// The last thing that went wrong, even if it is fixed since.
    pub last_error: Option<LastError>,
    /// Time since the last stored checkpoint; `None` before the first.
    pub checkpoint_age_seconds: Option<u64>,
}

/// The states of a partition's worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartitionState {
    /// Finding out where to begin.
    Starting,
    /// Reading and writing.
    Running,
    /// Trying again after a failure.
    Retrying,
    /// Waiting for someone to fix what it can't.
    Blocked,
    /// Waiting for an operator to resume it: its dead letters have passed a limit.
    Paused,
    /// Finishing what it has begun.
    Draining,
}

impl PartitionState {
    /// The order in which to look at partitions: the least first.
    pub(in crate::observe) const fn urgency(self) -> u8 {
        match self {
            Self::Paused => 0,
            Self::Blocked => 1,
            Self::Retrying => 2,
            Self::Starting | Self::Draining => 3,
            Self::Running => 4,
        }
    }

    /// As `/status` has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Blocked => "blocked",
            Self::Paused => "paused",
            Self::Draining => "draining",
        }
    }
}

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastError {
    /// `transient`, `fatal`, `ambiguous` or `poison`.
    pub class: &'static str,
    /// What happened. Carries no record data.
    pub message: String,
    /// When, RFC 3339.
    pub at: String,
}

/// A time as the page has it.
pub(super) fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}
