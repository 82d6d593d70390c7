//! The newest dead letters of each reason, masked: where each is, what is wrong with it, and the shape of its value.
//!
//! A few of each reason are kept, and one a second at most is taken, so that a flood of bad records costs
//! a look at the clock. Nothing here is a record's: names that the event knows, types and lengths.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::lock::lock;

/// How many are kept of each reason.
const KEPT: usize = 5;

/// How far apart those that are kept were taken.
const APART: Duration = Duration::from_secs(1);

/// The most bytes of a shape.
const SHAPE_BYTES: usize = 320;

/// One dead letter, without anything that its sender chose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Example {
    /// The source partition.
    pub partition: i32,
    /// The record's offset there.
    pub offset: i64,
    /// The record's timestamp, in milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// The stage that refused it.
    pub stage: &'static str,
    /// The field that is wrong, where it is one.
    pub field: Option<&'static str>,
    /// Lengths, types and the names that the event knows.
    pub shape: String,
    /// When it was counted, in milliseconds since the Unix epoch.
    pub at: u64,
}

/// The newest of each reason. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Examples {
    kept: Arc<Mutex<BTreeMap<&'static str, Kept>>>,
}

#[derive(Debug, Default)]
struct Kept {
    asked: Option<Instant>,
    newest: VecDeque<Example>,
}

impl Examples {
    /// Whether it is time for another example of this reason; then the one who asks is to bring it. Reasons come
    /// from a closed set.
    pub fn wants(&self, reason: &'static str) -> bool {
        let mut kept = lock(&self.kept);
        let kept = kept.entry(reason).or_default();
        let now = Instant::now();
        let wants = kept.asked.is_none_or(|asked| now.duration_since(asked) >= APART);
        if wants {
            kept.asked = Some(now);
        }
        wants
    }

    /// Keeps an example, and forgets the oldest of its reason where there are enough.
    pub fn keep(&self, reason: &'static str, mut example: Example) {
        example.shape.truncate(example.shape.floor_char_boundary(SHAPE_BYTES));
        let mut kept = lock(&self.kept);
        let kept = kept.entry(reason).or_default();
        if kept.newest.len() == KEPT {
            kept.newest.pop_back();
        }
        kept.newest.push_front(example);
    }

    /// The examples that are kept, by reason, the newest first.
    pub fn newest(&self) -> BTreeMap<&'static str, Vec<Example>> {
        let kept = lock(&self.kept);
        let some = kept.iter().filter(|(_, kept)| !kept.newest.is_empty());
        some.map(|(reason, kept)| (*reason, kept.newest.iter().cloned().collect())).collect()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn example(offset: i64) -> Example {
        Example {
            partition: 3,
            offset,
            timestamp_ms: 1_700_000_000_000,
            stage: "validate",
            field: Some("ip"),
            shape: "é".repeat(1_000),
            at: 1_700_000_000_500,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_are_kept_and_few_of_them() {
        let examples = Examples::default();
        for offset in 0..100 {
            if examples.wants("missing_field") {
                examples.keep("missing_field", example(offset));
            }
            advance(Duration::from_millis(300)).await;
        }
        assert!(examples.wants("tombstone"), "each reason has its own");
        assert!(!examples.wants("tombstone"), "and who asks first brings it");
        let newest = examples.newest();
        let offsets: Vec<_> = newest["missing_field"].iter().map(|example| example.offset).collect();
        assert_eq!(offsets, [96, 92, 88, 84, 80], "one a second at most");
        assert_eq!(newest["missing_field"][0].shape.len(), SHAPE_BYTES);
    }
}
