//! What is known of one partition, which its worker writes and the page reads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::SystemTime;

use kafka_client::plain::Plain;
use tokio::time::Instant;

use super::report::{LastError, PartitionReport, PartitionState, rfc3339};
use crate::observe::behind::{Behind, Told};
use crate::observe::health::Severity;
use crate::observe::lock::lock;
use crate::observe::timeline::unix_ms;
use crate::record::Offset;

/// The most bytes of an error's message that are kept.
pub(super) const MAX_MESSAGE_BYTES: usize = 512;

/// In place of an offset that is not known yet.
const UNKNOWN: i64 = -1;

/// One partition: atomics but for what changes rarely.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) position: AtomicI64,
    pub(super) committed: AtomicI64,
    pub(super) high_watermark: AtomicI64,
    /// When that was told, in milliseconds after the board's start.
    pub(super) watermark_told: AtomicU64,
    pub(super) behind: Behind,
    pub(super) in_flight_bytes: AtomicU64,
    pub(super) rare: Mutex<Rare>,
}

impl Cell {
    pub(super) fn new(topic: String, partition: i32) -> Self {
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

    /// Something went wrong. The message carries no record data, and is cut.
    pub(super) fn failed(&self, class: &'static str, message: &str) {
        let message = Plain(&message[..message.floor_char_boundary(MAX_MESSAGE_BYTES)]).to_string();
        let error = LastError { class, message, at: rfc3339(SystemTime::now()) };
        lock(&self.rare).last_error = Some(error);
    }

    /// The end of the log when it was last reported.
    pub(super) fn told(&self) -> Option<Told> {
        let at = self.watermark_told.load(Ordering::Relaxed);
        known(&self.high_watermark).map(|end| Told { end, at })
    }

    /// The partition's row on the page; it has a high watermark only where it was told no longer ago than it lasts.
    pub(super) fn report(&self, now: u64, watermark_lasts: u64) -> PartitionReport {
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

/// The part of a cell that changes less than once per batch.
#[derive(Debug)]
pub(super) struct Rare {
    pub(super) state: PartitionState,
    /// How many operations fail by themselves, and how many until someone fixes them.
    pub(super) passing: u32,
    pub(super) fatal: u32,
    pub(super) checkpointed: Option<Instant>,
    pub(super) last_error: Option<LastError>,
}

impl Rare {
    /// Counts the operations that fail in this way.
    pub(super) fn troubles(&mut self, severity: Severity, count: impl Fn(u32) -> u32) {
        let troubles = match severity {
            Severity::Passing => &mut self.passing,
            Severity::Fatal => &mut self.fatal,
        };
        *troubles = count(*troubles);
    }

    /// What is shown: the worst.
    fn shown(&self) -> PartitionState {
        match self.state {
            state @ (PartitionState::Paused | PartitionState::Draining) => state,
            _ if self.fatal > 0 => PartitionState::Blocked,
            _ if self.passing > 0 => PartitionState::Retrying,
            state => state,
        }
    }
}

fn known(offset: &AtomicI64) -> Option<Offset> {
    Some(offset.load(Ordering::Relaxed)).filter(|offset| *offset != UNKNOWN).map(Offset)
}
