//! Another process that commits the same partitions' offsets: a group without members keeps nobody from that, and so
//! two instances that were given the same partitions (`assignment.mode = "static"`) process every record twice.
//!
//! ```text
//! load ──► what is there ──► look: is it still? ──► commit, signed ──► look, once more where nothing comes after
//! ```
//! A look finds what another has committed since this process loaded or committed. Instances whose offsets are in files
//! see nothing of each other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kafka_client::GroupOffset;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::keeper::Group;
use crate::observe::{ComponentHandle, Health, Metrics, Severity};
use crate::record::Offset;
use crate::retry::ErrorClass;

/// The time after a commit at which it is looked for, where no other commit is due.
const LOOK_AFTER: Duration = Duration::from_secs(2);

/// Nobody else counts as at work once nothing new has come of it for so long.
const GONE_AFTER: Duration = Duration::from_secs(60);

/// Stands before the signature in the note beside an offset.
const BY: &str = "by=";

/// Where it is said that another process is at work.
#[derive(Debug, Clone)]
pub struct Watched {
    /// Turns unready.
    pub health: Health,
    /// Counts it among the checkpoints that failed.
    pub metrics: Metrics,
}

/// An offset and the note beside it.
type Pair = (Offset, String);

/// A commit that is neither ours nor was there when it was loaded.
type Foreign = BTreeMap<(String, i32), Pair>;

/// The offset that must be there, by topic and partition, unless another has committed.
#[derive(Debug, Clone, Default)]
pub(super) struct Expected(Arc<Mutex<BTreeMap<String, BTreeMap<i32, Expectation>>>>);

#[derive(Debug, Clone, PartialEq)]
enum Expectation {
    /// The offset that was there when it was loaded.
    Loaded(Option<Pair>),
    /// The offset that this process has committed.
    Ours,
}

impl Expected {
    /// This was there when it was loaded.
    pub(super) fn loaded(&self, topic: &str, partition: i32, found: Option<&GroupOffset>) {
        self.expect(topic, partition, Expectation::Loaded(found.map(pair)));
    }

    fn expect(&self, topic: &str, partition: i32, expectation: Expectation) {
        self.lock().entry(topic.to_owned()).or_default().insert(partition, expectation);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, BTreeMap<i32, Expectation>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pair(found: &GroupOffset) -> Pair {
    (found.offset, found.metadata.clone())
}

/// Looks whether others commit what this process commits; does nothing where nobody is to hear of it.
#[derive(Debug)]
pub(super) struct Rivals {
    signature: String,
    watched: Option<Watched>,
    expected: Expected,
    look_at: Option<Instant>,
    seen: Option<Seen>,
}

#[derive(Debug)]
struct Seen {
    last: Foreign,
    at: Instant,
    said_at: Instant,
    component: ComponentHandle,
}

impl Rivals {
    /// Under a signature of this process's own.
    pub(super) fn new(watched: Option<Watched>, expected: Expected) -> Self {
        let signature = format!("{BY}{:016x}", fastrand::u64(..));
        Self { signature, watched, expected, look_at: None, seen: None }
    }

    /// An offset as it is committed.
    pub(super) fn signed(&self, mut offset: GroupOffset) -> GroupOffset {
        if self.watched.is_some() {
            let blank = if offset.metadata.is_empty() { "" } else { " " };
            offset.metadata = format!("{}{blank}{}", offset.metadata, self.signature);
        }
        offset
    }

    /// The coordinator has taken an offset.
    pub(super) fn committed(&mut self, topic: &str, partition: i32) {
        if self.watched.is_some() {
            self.expected.expect(topic, partition, Expectation::Ours);
            self.look_at = Some(Instant::now() + LOOK_AFTER);
        }
    }

    /// Returns when [`Rivals::look`] is to be called; perhaps never.
    pub(super) async fn due(&self) {
        match self.look_at {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Looks whose offsets the coordinator has.
    pub(super) async fn look(&mut self, group: &dyn Group) {
        if self.watched.is_none() {
            return;
        }
        self.look_at = self.seen.is_some().then(|| Instant::now() + LOOK_AFTER);
        let expected = self.expected.lock().clone();
        let mut foreign = Foreign::new();
        for (topic, expected) in expected {
            let partitions: Vec<_> = expected.keys().copied().collect();
            let found = match group.committed(&topic, &partitions).await {
                Ok(found) => found,
                Err(error) => return debug!(%error, "can't see whether another process commits these offsets"),
            };
            for (partition, found) in found {
                let is_expected = match expected.get(&partition) {
                    Some(Expectation::Loaded(before)) => *before == Some(pair(&found)),
                    Some(Expectation::Ours) => false,
                    None => true,
                };
                if !is_expected && !self.is_ours(&found) {
                    foreign.insert((topic.clone(), partition), pair(&found));
                }
            }
        }
        self.judge(group.id(), foreign);
    }

    fn is_ours(&self, found: &GroupOffset) -> bool {
        found.metadata.split(' ').any(|word| word == self.signature)
    }

    fn judge(&mut self, group: &str, foreign: Foreign) {
        let now = Instant::now();
        let is_new = self.seen.as_ref().is_none_or(|seen| seen.last != foreign);
        let first = foreign.first_key_value().filter(|_| is_new).map(|(of, _)| of.clone());
        match (first, &mut self.seen) {
            (Some((topic, partition)), seen) => {
                let Some(Watched { health, metrics }) = &self.watched else { return };
                let others = foreign.len() - 1;
                let others = if others > 0 { format!(" (and of {others} more)") } else { String::new() };
                let what = format!(
                    "another instance, or a tool, commits the offset of {topic}/{partition}{others} to group {group} too: \
                     records that both read are processed twice. Let one instance read each partition \
                     (assignment.partitions), set assignment.mode = \"group\" for all, or give each pipeline a group.id \
                     of its own"
                );
                metrics.retry("checkpoint", ErrorClass::Fatal.as_str());
                let said_at = seen.as_ref().map(|seen| seen.said_at).filter(|said_at| now < *said_at + GONE_AFTER);
                if said_at.is_none() {
                    warn!(topic, partition, "{what}");
                }
                let component = seen.take().map(|seen| seen.component);
                let component = component.unwrap_or_else(|| health.component(format!("offsets of group {group}")));
                component.degraded(&what, Severity::Fatal);
                *seen = Some(Seen { last: foreign, at: now, said_at: said_at.unwrap_or(now), component });
                self.look_at = Some(now + LOOK_AFTER);
            }
            (None, Some(seen)) if now >= seen.at + GONE_AFTER => {
                info!("nobody else has committed offsets to group {group} for a while");
                self.seen = None;
                self.look_at = None;
            }
            // As before; or overtaken by this process's own commit, so that the next is news.
            (None, Some(seen)) => seen.last = foreign,
            (None, None) => {}
        }
    }
}
