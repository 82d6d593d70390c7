//! What `/status` tells: every partition's place and trouble, the counts and the configuration.
//!
//! Workers write through a [`PartitionStatus`] of their own, atomics but for what changes rarely;
//! only a request for the page reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use kafka_client::plain::Plain;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::behind::{Behind, Told};
use super::given::Given;
use super::health::{Phase, Severity};
use super::lock::lock;
use super::tally::Snapshot;
use super::timeline::{MarkKind, Timeline, unix_ms};
use crate::record::Offset;
use crate::topic::TopicPartition;

/// The most bytes of an error's message that are kept.
const MAX_MESSAGE_BYTES: usize = 512;

/// In place of an offset that is not known yet.
const UNKNOWN: i64 = -1;

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
    /// The same as time: for how many milliseconds the oldest record has waited at most that is not done; 0 where all
    /// is done, stored or not, and `None` where the lag is not known, or nothing has been read yet.
    pub lag_ms: Option<u64>,
    /// Bytes read and not yet acknowledged.
    pub in_flight_bytes: u64,
    /// The last thing that went wrong, even if it is mended since.
    pub last_error: Option<LastError>,
    /// Time since the last stored checkpoint; `None` before the first.
    pub checkpoint_age_seconds: Option<u64>,
}

/// What a partition's worker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartitionState {
    /// Finding out where to begin.
    Starting,
    /// Reading and writing.
    Running,
    /// Trying again after a failure.
    Retrying,
    /// Waiting for someone to mend what it can't.
    Blocked,
    /// Waiting for an operator to resume it: its dead letters have passed a limit.
    Paused,
    /// Finishing what it has begun.
    Draining,
}

impl PartitionState {
    /// Who is to be looked at first: the least.
    pub(super) const fn urgency(self) -> u8 {
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

/// All partitions' status. Clones are the same.
#[derive(Debug, Clone)]
pub struct StatusBoard {
    inner: Arc<Board>,
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

/// What a partition's worker writes its status through.
#[derive(Debug)]
pub struct PartitionStatus {
    cell: Arc<Cell>,
    board: StatusBoard,
}

impl PartitionStatus {
    /// What the worker is doing now. Once it drains, it does nothing else; while it is in trouble, that is what is
    /// shown instead of that it starts or runs.
    pub fn state(&self, state: PartitionState) {
        let mut rare = lock(&self.cell.rare);
        if rare.state != PartitionState::Draining {
            rare.state = state;
        }
    }

    /// Where the trouble of this partition is told.
    pub fn troubles(&self) -> Troubles {
        Troubles { cell: Arc::clone(&self.cell), timeline: self.board.inner.timeline.clone() }
    }

    /// The offset of the next record to read.
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

    /// How many bytes are read and not yet acknowledged.
    pub fn in_flight_bytes(&self, bytes: u64) {
        self.cell.in_flight_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Something went wrong. The message carries no record data, and is cut after 512 bytes.
    pub fn failed(&self, class: &'static str, message: &str) {
        self.cell.failed(class, message);
    }
}

/// Where the trouble of one partition is told, by whoever works on it. Clones are the same.
#[derive(Debug, Clone)]
pub struct Troubles {
    cell: Arc<Cell>,
    timeline: Timeline,
}

impl Troubles {
    /// An operation fails from now on, until what is returned is dropped.
    pub fn begin(&self, severity: Severity) -> PartitionTrouble {
        let mut rare = lock(&self.cell.rare);
        if (rare.passing, rare.fatal) == (0, 0) {
            self.timeline.note(MarkKind::Retry, "failure");
        }
        rare.troubles(severity, |count| count.saturating_add(1));
        drop(rare);
        PartitionTrouble { cell: Arc::clone(&self.cell), severity }
    }
}

/// A failing operation of a partition, which is `retrying` or `blocked` as long as there is one.
#[derive(Debug)]
pub struct PartitionTrouble {
    cell: Arc<Cell>,
    severity: Severity,
}

impl PartitionTrouble {
    /// It has failed again. The message carries no record data, and is cut after 512 bytes.
    pub fn failed(&mut self, class: &'static str, severity: Severity, message: &str) {
        if severity != self.severity {
            let mut rare = lock(&self.cell.rare);
            rare.troubles(self.severity, |count| count.saturating_sub(1));
            rare.troubles(severity, |count| count.saturating_add(1));
            self.severity = severity;
        }
        self.cell.failed(class, message);
    }
}

impl Drop for PartitionTrouble {
    fn drop(&mut self) {
        lock(&self.cell.rare).troubles(self.severity, |count| count.saturating_sub(1));
    }
}

impl Drop for PartitionStatus {
    fn drop(&mut self) {
        lock(&self.board.inner.partitions).retain(|cell| !Arc::ptr_eq(cell, &self.cell));
    }
}

#[derive(Debug)]
struct Cell {
    topic: String,
    partition: i32,
    position: AtomicI64,
    committed: AtomicI64,
    high_watermark: AtomicI64,
    /// When that was told, in milliseconds after the board's start.
    watermark_told: AtomicU64,
    behind: Behind,
    in_flight_bytes: AtomicU64,
    rare: Mutex<Rare>,
}

/// What changes less than once per batch.
#[derive(Debug)]
struct Rare {
    state: PartitionState,
    /// How many operations fail by themselves, and how many until someone mends them.
    passing: u32,
    fatal: u32,
    checkpointed: Option<Instant>,
    last_error: Option<LastError>,
}

impl Rare {
    fn troubles(&mut self, severity: Severity, count: impl Fn(u32) -> u32) {
        let troubles = match severity {
            Severity::Passing => &mut self.passing,
            Severity::Fatal => &mut self.fatal,
        };
        *troubles = count(*troubles);
    }

    fn shown(&self) -> PartitionState {
        match self.state {
            state @ (PartitionState::Paused | PartitionState::Draining) => state,
            _ if self.fatal > 0 => PartitionState::Blocked,
            _ if self.passing > 0 => PartitionState::Retrying,
            state => state,
        }
    }
}

impl Cell {
    fn new(topic: String, partition: i32) -> Self {
        Self {
            topic,
            partition,
            position: AtomicI64::new(UNKNOWN),
            committed: AtomicI64::new(UNKNOWN),
            high_watermark: AtomicI64::new(UNKNOWN),
            watermark_told: AtomicU64::new(0),
            behind: Behind::new(),
            in_flight_bytes: AtomicU64::new(0),
            rare: Mutex::new(Rare {
                state: PartitionState::Starting,
                passing: 0,
                fatal: 0,
                checkpointed: None,
                last_error: None,
            }),
        }
    }

    fn failed(&self, class: &'static str, message: &str) {
        let message = Plain(&message[..message.floor_char_boundary(MAX_MESSAGE_BYTES)]).to_string();
        let error = LastError { class, message, at: rfc3339(SystemTime::now()) };
        lock(&self.rare).last_error = Some(error);
    }

    /// Where the log ended when it was last told.
    fn told(&self) -> Option<Told> {
        let at = self.watermark_told.load(Ordering::Relaxed);
        known(&self.high_watermark).map(|end| Told { end, at })
    }

    /// What is known; a high watermark only where it was told no longer ago than it lasts.
    fn report(&self, now: u64, watermark_lasts: u64) -> PartitionReport {
        let rare = lock(&self.rare);
        let committed = known(&self.committed);
        let told = self.told().filter(|told| now.saturating_sub(told.at) <= watermark_lasts);
        let high_watermark = told.map(|told| told.end);
        let lag = high_watermark.zip(committed).map(|(end, committed)| end.since(committed));
        let lag_ms = match lag.zip(high_watermark) {
            Some((0, _)) => Some(0),
            Some((_, end)) => self.behind.ms(end, now, unix_ms()),
            None => None,
        };
        PartitionReport {
            topic: self.topic.clone(),
            partition: self.partition,
            state: rare.shown(),
            position: known(&self.position),
            committed,
            high_watermark,
            lag,
            lag_ms,
            in_flight_bytes: self.in_flight_bytes.load(Ordering::Relaxed),
            last_error: rare.last_error.clone(),
            checkpoint_age_seconds: rare.checkpointed.map(|at| at.elapsed().as_secs()),
        }
    }
}

fn known(offset: &AtomicI64) -> Option<Offset> {
    Some(offset.load(Ordering::Relaxed)).filter(|offset| *offset != UNKNOWN).map(Offset)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::observe::Tally;

    #[tokio::test(start_paused = true)]
    async fn the_page_in_json() {
        let board = StatusBoard::new("1.2.3", json!({"source": {"topic": "user-login"}}));
        let second = board.partition("user-login", 10);
        let first = board.partition("user-login", 2);
        first.state(PartitionState::Running);
        first.position(Offset(40));
        first.high_watermark(Offset(100));
        first.checkpointed(Offset(30));
        first.in_flight_bytes(2_100);
        second.failed("fatal", "not allowed to read");
        tokio::time::advance(Duration::from_secs(61)).await;

        let status = board.status(Phase::Running, Tally::new(&["device_type"]).snapshot());
        let mut page = serde_json::to_value(status).unwrap();
        assert_eq!(
            page["partitions"][0],
            json!({
                "topic": "user-login", "partition": 2, "state": "running", "position": 40, "committed": 30,
                "high_watermark": 100, "lag": 70, "lag_ms": null, "in_flight_bytes": 2100, "last_error": null,
                "checkpoint_age_seconds": 61,
            })
        );
        assert!(page["partitions"][1]["last_error"]["at"].take().as_str().unwrap().ends_with('Z'));
        assert_eq!(
            page["partitions"][1],
            json!({
                "topic": "user-login", "partition": 10, "state": "starting", "position": null, "committed": null,
                "high_watermark": null, "lag": null, "lag_ms": null, "in_flight_bytes": 0,
                "last_error": {"class": "fatal", "message": "not allowed to read", "at": null},
                "checkpoint_age_seconds": null,
            })
        );
        assert_eq!(page["state"], "running");
        assert_eq!(page["uptime_seconds"], 61);
        assert_eq!(page["configuration"]["source"]["topic"], "user-login");
        assert_eq!(page["tally"]["records_in"], 0);
    }

    #[tokio::test(start_paused = true)]
    async fn lag_is_from_what_is_stored_and_unknown_once_nobody_tells_the_end() {
        let board = StatusBoard::new("1.2.3", Value::Null);
        board.watermarks_last(Duration::from_secs(30));
        let partition = board.partition("user-login", 0);
        let (lag, lag_ms) = (|| board.partitions()[0].lag, || board.partitions()[0].lag_ms);
        partition.position(Offset(40));
        assert_eq!(lag(), None);
        board.high_watermarks("user-login", &[(0, Offset(100))].into());
        assert_eq!(lag(), None, "where nothing is known to be stored");
        partition.committed(Offset(30));
        assert_eq!((lag(), lag_ms()), (Some(70), None), "what is read is not done");
        partition.oldest(1_700_000_000_000);
        assert!(lag_ms().is_some_and(|age| age > 30_000_000_000), "since November 2023: {:?}", lag_ms());
        board.high_watermarks("user-login", &[(1, Offset(7))].into());
        board.high_watermarks("another", &[(0, Offset(7))].into());
        assert_eq!(lag(), Some(70));
        partition.done(Offset(101));
        assert_eq!((lag(), lag_ms()), (Some(70), Some(0)), "what is done is not stored yet");
        partition.checkpointed(Offset(101));
        assert_eq!(lag(), Some(0), "what is done stands in the log");
        assert_eq!(lag_ms(), Some(0), "however old the last record is");
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(lag(), Some(0));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!((lag(), board.partitions()[0].high_watermark), (None, None));
        partition.high_watermark(Offset(103));
        assert_eq!(lag(), Some(2), "a fetch tells it, too");
        let waits = lag_ms().unwrap();
        assert!((30_001..60_000).contains(&waits), "since all was done, not since 2023: {waits}");
    }

    #[test]
    fn the_worst_trouble_is_what_a_partition_shows() {
        let board = StatusBoard::new("1.2.3", Value::Null);
        let partition = board.partition("user-login", 0);
        let state = || board.partitions()[0].state;
        let of = TopicPartition::new("user-login", 0);
        let mut fetch = board.troubles_of(&of).unwrap().begin(Severity::Passing);
        assert_eq!(state(), PartitionState::Retrying, "before it runs, too");
        partition.state(PartitionState::Running);
        let write = partition.troubles().begin(Severity::Fatal);
        assert_eq!(state(), PartitionState::Blocked);
        drop(write);
        assert_eq!(state(), PartitionState::Retrying);
        fetch.failed("fatal", Severity::Fatal, "not allowed to read");
        assert_eq!(state(), PartitionState::Blocked);
        assert_eq!(board.partitions()[0].last_error.as_ref().unwrap().class, "fatal");
        partition.state(PartitionState::Paused);
        assert_eq!(state(), PartitionState::Paused, "which someone has to end");
        partition.state(PartitionState::Running);
        fetch.failed("transient", Severity::Passing, "no answer within 30s");
        drop(fetch);
        assert_eq!(state(), PartitionState::Running);
        assert_eq!(board.partitions()[0].last_error.as_ref().unwrap().class, "transient", "the last error stays");
        partition.state(PartitionState::Draining);
        partition.state(PartitionState::Running);
        let _late = partition.troubles().begin(Severity::Fatal);
        assert_eq!(state(), PartitionState::Draining);
        assert!(board.troubles_of(&TopicPartition::new("processed-user-login", 0)).is_none());
    }

    #[test]
    fn what_happens_is_marked_once() {
        let board = StatusBoard::new("1.2.3", Value::Null);
        let partition = board.partition("user-login", 0);
        let trouble = partition.troubles().begin(Severity::Passing);
        let _more = partition.troubles().begin(Severity::Fatal);
        let report = |joined| GroupReport { rebalances: [("member_joined", joined)].into(), ..GroupReport::default() };
        [1, 1, 1].into_iter().for_each(|joined| board.group(report(joined)));
        drop(trouble);
        let marks: Vec<_> = board.timeline().marks().iter().map(|mark| (mark.kind, mark.about, mark.count)).collect();
        let rebalance = (MarkKind::Rebalance, "member_joined", 1);
        assert_eq!(marks, [(MarkKind::Start, "process", 1), (MarkKind::Retry, "failure", 1), rebalance]);
    }

    #[test]
    fn a_dropped_partition_leaves_the_page() {
        let board = StatusBoard::new("1.2.3", Value::Null);
        let partition = board.partition("user-login", 0);
        partition.failed("transient", &"é".repeat(400));
        assert_eq!(board.partitions()[0].last_error.as_ref().unwrap().message.len(), MAX_MESSAGE_BYTES);
        drop(partition);
        assert!(board.partitions().is_empty());
    }
}
