//! What `/status` tells: every partition's place and trouble, the counts and the configuration.
//!
//! ```text
//! worker ──► PartitionStatus ──┐
//!                              ├──► Cell, one a partition ──► StatusBoard ──► Status, when somebody asks
//! retry  ──► Troubles ─────────┘
//! ```
//! Writing is an atomic, but for what changes rarely; only a request for the page reads.

mod cell;
mod report;
#[cfg(test)]
mod tests;
mod troubles;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use kafka_client::plain::Plain;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::Instant;

use cell::Cell;
use report::rfc3339;

use super::behind::Told;
use super::given::Given;
use super::health::Phase;
use super::lock::lock;
use super::tally::Snapshot;
use super::timeline::{MarkKind, Timeline};
use crate::record::Offset;
use crate::topic::TopicPartition;

pub use report::{GroupReport, LastError, PartitionReport, PartitionState, Status};
pub use troubles::{PartitionTrouble, Troubles};

/// All partitions' status. Clones are the same.
#[derive(Debug, Clone)]
pub struct StatusBoard {
    inner: Arc<Board>,
}

impl StatusBoard {
    /// The board of a process that starts now. `configuration` is shown to whoever asks.
    pub fn new(version: &str, configuration: Value) -> Self {
        let board = Board {
            version: version.into(),
            configuration,
            given: OnceLock::new(),
            started_at: SystemTime::now(),
            started: Instant::now(),
            watermark_lasts: AtomicU64::new(u64::MAX),
            partitions: Mutex::default(),
            came: Notify::new(),
            group: Mutex::default(),
            timeline: Timeline::default(),
        };
        board.timeline.note(MarkKind::Start, "process");
        Self { inner: Arc::new(board) }
    }

    /// Tells how the configuration was given, for commands that the page offers; only the first word counts.
    pub fn given(&self, given: Given) {
        let _ = self.inner.given.set(given);
    }

    /// How it was given, if anybody has told.
    pub(super) fn is_given(&self) -> Option<&Given> {
        self.inner.given.get()
    }

    /// A partition's place on the page, until the handle is dropped.
    pub fn partition(&self, topic: &str, partition: i32) -> PartitionStatus {
        let cell = Arc::new(Cell::new(topic.into(), partition));
        lock(&self.inner.partitions).push(Arc::clone(&cell));
        self.inner.came.notify_one();
        PartitionStatus { cell, board: self.clone() }
    }

    /// From now on a high watermark that no broker has told for so long is not known any more.
    pub fn watermarks_last(&self, age: Duration) {
        self.inner.watermark_lasts.store(millis(age), Ordering::Relaxed);
    }

    /// The high watermarks of some partitions of a topic, as their leaders have just told them.
    pub fn high_watermarks(&self, topic: &str, told: &BTreeMap<i32, Offset>) {
        for cell in lock(&self.inner.partitions).iter().filter(|cell| cell.topic == topic) {
            if let Some(offset) = told.get(&cell.partition) {
                self.inner.tell_high_watermark(cell, *offset);
            }
        }
    }

    /// The partitions that there are, by topic.
    pub fn topics(&self) -> BTreeMap<String, BTreeSet<i32>> {
        let mut topics: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
        for cell in lock(&self.inner.partitions).iter() {
            match topics.get_mut(&cell.topic) {
                Some(partitions) => drop(partitions.insert(cell.partition)),
                None => drop(topics.insert(cell.topic.clone(), [cell.partition].into())),
            }
        }
        topics
    }

    /// Returns when a partition has come since this last returned.
    pub async fn has_come(&self) {
        self.inner.came.notified().await;
    }

    /// Where the trouble of a partition is told; `None` where it is not on the page.
    pub fn troubles_of(&self, of: &TopicPartition) -> Option<Troubles> {
        let cells = lock(&self.inner.partitions);
        // One that was just given up may still be there, before the one that took its place.
        let cell = cells.iter().rev().find(|cell| cell.partition == of.partition && cell.topic == *of.topic)?;
        Some(Troubles { cell: Arc::clone(cell), timeline: self.inner.timeline.clone() })
    }

    /// The partitions as they are now, by topic and number.
    pub fn partitions(&self) -> Vec<PartitionReport> {
        let cells = lock(&self.inner.partitions).clone();
        let mut reports: Vec<_> =
            cells.iter().map(|cell| cell.report(self.inner.now(), self.inner.watermark_lasts())).collect();
        reports.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        reports
    }

    /// The membership as it is now.
    pub fn group(&self, report: GroupReport) {
        // The coordinator has made it up.
        let member_id = report.member_id.map(|id| Plain(id).to_string());
        let report = GroupReport { member_id, ..report };
        let mut group = lock(&self.inner.group);
        let before = group.as_ref().map(|group| &group.rebalances);
        for (cause, count) in &report.rebalances {
            if before.and_then(|before| before.get(cause)).is_none_or(|before| before < count) {
                self.inner.timeline.note(MarkKind::Rebalance, cause);
            }
        }
        *group = Some(report);
    }

    /// What happened to this process lately.
    pub fn timeline(&self) -> &Timeline {
        &self.inner.timeline
    }

    /// The partitions that this process has as a member of its group.
    pub fn group_partitions(&self) -> Vec<i32> {
        let group = lock(&self.inner.group);
        group.as_ref().map_or_else(Vec::new, |report| report.partitions.clone())
    }

    /// The whole page, with what other boards know.
    pub fn status(&self, state: Phase, tally: Snapshot) -> Status {
        Status {
            version: self.inner.version.clone(),
            started_at: rfc3339(self.inner.started_at),
            uptime_seconds: self.inner.started.elapsed().as_secs(),
            state,
            partitions: self.partitions(),
            group: lock(&self.inner.group).clone().map(|report| GroupReport {
                heartbeat_age_seconds: report.heartbeat.map(|at| at.elapsed().as_secs()),
                ..report
            }),
            tally,
            configuration: self.inner.configuration.clone(),
        }
    }
}

/// What a partition's worker writes its status through.
#[derive(Debug)]
pub struct PartitionStatus {
    cell: Arc<Cell>,
    board: StatusBoard,
}

impl PartitionStatus {
    /// Sets what the worker is doing now. Once it drains, it does nothing else; while it is in trouble, that is what is
    /// shown instead of that it starts or runs.
    pub fn state(&self, state: PartitionState) {
        let mut rare = lock(&self.cell.rare);
        if rare.state != PartitionState::Draining {
            rare.state = state;
        }
    }

    /// The handle for this partition's trouble.
    pub fn troubles(&self) -> Troubles {
        Troubles { cell: Arc::clone(&self.cell), timeline: self.board.inner.timeline.clone() }
    }

    /// Sets the offset of the next record to read.
    pub fn position(&self, next: Offset) {
        self.cell.position.store(next.0, Ordering::Relaxed);
    }

    /// The offset after the last record that all in-sync replicas have, as a broker has just told it.
    pub fn high_watermark(&self, offset: Offset) {
        self.board.inner.tell_high_watermark(&self.cell, offset);
    }

    /// The offset that was found stored when the partition was taken.
    pub fn committed(&self, offset: Offset) {
        self.cell.committed.store(offset.0, Ordering::Relaxed);
    }

    /// A checkpoint with this offset has been stored now.
    pub fn checkpointed(&self, offset: Offset) {
        self.committed(offset);
        lock(&self.cell.rare).checkpointed = Some(Instant::now());
    }

    /// The timestamp, in milliseconds since the Unix epoch, of the oldest record that is worked on now.
    pub fn oldest(&self, timestamp_ms: i64) {
        self.cell.behind.begin(timestamp_ms);
    }

    /// All records before this offset are acknowledged, or were before the partition was taken.
    pub fn done(&self, next: Offset) {
        self.cell.behind.done(next, self.cell.told());
    }

    /// Sets how many bytes are read and not yet acknowledged.
    pub fn in_flight_bytes(&self, bytes: u64) {
        self.cell.in_flight_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Something went wrong. The message carries no record data, and is cut after 512 bytes.
    pub fn failed(&self, class: &'static str, message: &str) {
        self.cell.failed(class, message);
    }
}

impl Drop for PartitionStatus {
    fn drop(&mut self) {
        lock(&self.board.inner.partitions).retain(|cell| !Arc::ptr_eq(cell, &self.cell));
    }
}

#[derive(Debug)]
struct Board {
    version: String,
    configuration: Value,
    given: OnceLock<Given>,
    started_at: SystemTime,
    started: Instant,
    /// For how many milliseconds a high watermark is known once it was told.
    watermark_lasts: AtomicU64,
    partitions: Mutex<Vec<Arc<Cell>>>,
    /// Told where a partition has come.
    came: Notify,
    group: Mutex<Option<GroupReport>>,
    timeline: Timeline,
}

impl Board {
    fn now(&self) -> u64 {
        millis(self.started.elapsed())
    }

    fn tell_high_watermark(&self, cell: &Cell, offset: Offset) {
        let at = self.now();
        cell.high_watermark.store(offset.0, Ordering::Relaxed);
        cell.watermark_told.store(at, Ordering::Relaxed);
        cell.behind.told(Told { end: offset, at });
    }

    /// What was told before so many milliseconds is not known any more.
    fn watermark_lasts(&self) -> u64 {
        self.watermark_lasts.load(Ordering::Relaxed)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
