//! Partitions that wait for an operator's word, and the way that word reaches them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::lock::lock;
use super::timeline::{MarkKind, Timeline};

/// All partitions that are paused. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct PauseRegistry {
    paused: Arc<Mutex<BTreeMap<i32, Waiting>>>,
    timeline: Timeline,
}

#[derive(Debug)]
struct Waiting {
    word: Arc<Notify>,
    limit: &'static str,
}

/// A partition's pause, until it is dropped.
#[derive(Debug)]
pub struct Pause {
    partition: i32,
    word: Arc<Notify>,
    board: PauseRegistry,
}

impl PauseRegistry {
    /// An empty board, whose pauses are marks of this timeline.
    pub(super) fn on(timeline: Timeline) -> Self {
        Self { paused: Arc::default(), timeline }
    }

    /// Pauses a partition, for having passed this limit of `dead_letter`.
    pub fn pause(&self, partition: i32, limit: &'static str) -> Pause {
        let word = Arc::new(Notify::new());
        lock(&self.paused).insert(partition, Waiting { word: Arc::clone(&word), limit });
        self.timeline.note(MarkKind::Pause, limit);
        Pause { partition, word, board: self.clone() }
    }

    /// Resumes this partition if it is paused, or all that are; says which they were.
    pub fn resume(&self, partition: Option<i32>) -> Vec<i32> {
        let paused = lock(&self.paused);
        let chosen = paused.iter().filter(|(paused, _)| partition.is_none_or(|chosen| chosen == **paused));
        // Kept for who does not wait yet.
        chosen.map(|(partition, waiting)| (waiting.word.notify_one(), *partition).1).collect()
    }

    /// The number of paused partitions, by the limit that they passed.
    pub fn limits(&self) -> BTreeMap<&'static str, usize> {
        let mut limits = BTreeMap::new();
        lock(&self.paused).values().for_each(|waiting| *limits.entry(waiting.limit).or_default() += 1);
        limits
    }
}

impl Pause {
    /// Returns once somebody resumes it.
    pub async fn resumed(&self) {
        self.word.notified().await;
        self.board.timeline.note(MarkKind::Resume, "operator");
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        let mut paused = lock(&self.board.paused);
        // Another worker of the partition may have paused it meanwhile.
        if paused.get(&self.partition).is_some_and(|waiting| Arc::ptr_eq(&waiting.word, &self.word)) {
            paused.remove(&self.partition);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_word_reaches_those_it_is_for() {
        let board = PauseRegistry::default();
        let (first, second) = (board.pause(1, "max_ratio"), board.pause(2, "max_ratio"));
        assert!(board.resume(Some(7)).is_empty());
        assert_eq!(board.resume(Some(2)), [2]);
        second.resumed().await;
        assert!(first.resumed().now_or_never().is_none());
        assert_eq!(board.resume(None), [1, 2]);
        assert_eq!(board.limits(), [("max_ratio", 2)].into());
        first.resumed().await;
        let marks: Vec<_> = board.timeline.marks().iter().map(|mark| (mark.kind, mark.count)).collect();
        assert_eq!(marks, [(MarkKind::Pause, 2), (MarkKind::Resume, 2)]);
        drop(second);
        assert_eq!(board.resume(None), [1], "who has ended is not paused");
    }

    #[test]
    fn a_worker_that_ends_late_leaves_its_successor_paused() {
        let board = PauseRegistry::default();
        let (old, _new) = (board.pause(1, "max_ratio"), board.pause(1, "max_consecutive"));
        drop(old);
        assert_eq!(board.resume(None), [1]);
    }
}
