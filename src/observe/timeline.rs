//! What happened to this process lately, for the marks on the page's charts: a ring of few marks.
//!
//! Many partitions meet one cause at about the same time, so that marks of one kind that follow each
//! other within seconds are one mark with a count. Whoever notes something pays an uncontended lock,
//! and only when something happens.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_client::clock;
use serde::Serialize;

use super::lock::lock;

/// The most marks that are kept.
const KEPT: usize = 48;

/// Marks of one kind that are no farther apart are one.
const TOGETHER: Duration = Duration::from_secs(5);

/// The kinds of marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkKind {
    /// The process started.
    Start,
    /// The group rebalanced.
    Rebalance,
    /// Partitions came to be retried, or blocked, after a failure.
    Retry,
    /// Partitions were paused at a limit.
    Pause,
    /// An operator resumed partitions.
    Resume,
    /// A file was read again.
    Reload,
}

impl MarkKind {
    /// As the page has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Rebalance => "rebalance",
            Self::Retry => "retry",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Reload => "reload",
        }
    }
}

/// Something that happened, once or several times in a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// When it began: milliseconds since the Unix epoch.
    pub at: u64,
    /// What.
    pub kind: MarkKind,
    /// Why, or of what; from a closed set.
    pub about: &'static str,
    /// How often, or to how many partitions.
    pub count: u32,
    /// When it happened last.
    #[serde(skip)]
    last: u64,
}

/// The last marks. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    marks: Arc<Mutex<VecDeque<Mark>>>,
}

impl Timeline {
    /// Notes that something happens now.
    pub fn note(&self, kind: MarkKind, about: &'static str) {
        self.note_at(unix_ms(), kind, about);
    }

    fn note_at(&self, at: u64, kind: MarkKind, about: &'static str) {
        let mut marks = lock(&self.marks);
        let together = u64::try_from(TOGETHER.as_millis()).unwrap_or(u64::MAX);
        let same = |mark: &&mut Mark| mark.kind == kind && mark.about == about && at.abs_diff(mark.last) <= together;
        if let Some(mark) = marks.iter_mut().rev().find(same) {
            mark.count = mark.count.saturating_add(1);
            mark.last = at;
            return;
        }
        if marks.len() == KEPT {
            marks.pop_front();
        }
        marks.push_back(Mark { at, kind, about, count: 1, last: at });
    }

    /// The marks that are kept, the oldest first.
    pub fn marks(&self) -> Vec<Mark> {
        lock(&self.marks).iter().cloned().collect()
    }
}

/// Milliseconds since the Unix epoch.
pub(super) fn unix_ms() -> u64 {
    u64::try_from(clock::unix_ms()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(timeline: &Timeline) -> Vec<(MarkKind, u32)> {
        timeline.marks().iter().map(|mark| (mark.kind, mark.count)).collect()
    }

    #[test]
    fn what_happens_to_many_at_once_is_one_mark() {
        let timeline = Timeline::default();
        for partition in 0..60 {
            timeline.note_at(1_000 + partition * 100, MarkKind::Retry, "fetch");
            timeline.note_at(1_000 + partition * 100, MarkKind::Pause, "limit");
        }
        assert_eq!(told(&timeline), [(MarkKind::Retry, 60), (MarkKind::Pause, 60)]);
        timeline.note_at(20_000, MarkKind::Retry, "fetch");
        assert_eq!(told(&timeline)[2], (MarkKind::Retry, 1), "later it is another");
        assert_eq!(timeline.marks()[0].at, 1_000, "a mark stands where it began");
    }

    #[test]
    fn the_ring_is_small() {
        let timeline = Timeline::default();
        for minute in 0..10_000 {
            timeline.note_at(minute * 60_000, MarkKind::Rebalance, "member_joined");
        }
        let marks = timeline.marks();
        assert_eq!((marks.len(), marks[KEPT - 1].at), (KEPT, 9_999 * 60_000));
    }
}
