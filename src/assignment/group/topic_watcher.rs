//! Watches topics, beside everything else that a member does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use kafka_client::membership::{Described, Membership};
use kafka_client::{Cluster, Topic};
use kafka_protocol::ResponseError;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::publisher::MembershipPublisher;
use crate::assignment::Topics;
use crate::kafka::Error;
use crate::retry::Operation;
use crate::topic::TopicId;

/// Watcher of the source topic, which it looks up once an interval, and of others that a leader shares.
pub(super) struct TopicWatcher {
    topics: Arc<Topics>,
    cluster: Arc<Cluster>,
    operation: Operation,
    interval: Duration,
    /// The time of the next look-up of the source topic.
    due: Instant,
    /// The earliest time of a look-up that a member waits for.
    not_before: Instant,
    running: Option<BoxFuture<'static, Result<Found, Error>>>,
    found: Option<Result<Found, Error>>,
    logs: Logs,
}

type Found = BTreeMap<String, Option<Described>>;

/// The pause between two look-ups that a member waits for.
const DESCRIBE_PAUSE: Duration = Duration::from_millis(200);

impl TopicWatcher {
    /// A watcher whose first look-up is due at once.
    pub(super) fn new(topics: Topics, cluster: &Arc<Cluster>, operation: Operation, interval: Duration) -> Self {
        let now = Instant::now();
        let (topics, cluster) = (Arc::new(topics), Arc::clone(cluster));
        let logs = Logs::default();
        Self { topics, cluster, operation, interval, due: now, not_before: now, running: None, found: None, logs }
    }

    /// Looks up the source topic when it is due, `wanted` soon, and returns once something was found out.
    /// Dropped before, it goes on with the next call.
    pub(super) async fn advance(&mut self, wanted: &BTreeSet<String>) {
        let running = match &mut self.running {
            Some(running) => running,
            None => {
                sleep_until(if wanted.is_empty() { self.due } else { self.not_before }).await;
                let asked = look_up(Arc::clone(&self.topics), Arc::clone(&self.cluster), wanted.clone());
                self.running.insert(asked.boxed())
            }
        };
        self.found = Some(running.await);
        self.running = None;
    }

    /// Passes on to the member and others what was found.
    pub(super) fn pass_on(&mut self, machine: &mut dyn Membership, publisher: &mut MembershipPublisher) {
        let now = Instant::now();
        let source = self.topics.source();
        match self.found.take() {
            None => {}
            Some(Ok(found)) => match found.get(source).copied().flatten() {
                Some(described) => {
                    self.operation.succeeded();
                    self.due = now + self.interval;
                    self.not_before = now + DESCRIBE_PAUSE;
                    if self.logs.admit(described.id) {
                        publisher.topic.saw(described.id, described.partitions);
                        machine.described(&found, now);
                    } else {
                        warn!(topic = source, "stale metadata ignored: a broker still reports the deleted topic");
                    }
                }
                None => {
                    let unknown = Error::code("look up topic", source, ResponseError::UnknownTopicOrPartition);
                    self.due = now + self.operation.failed(&unknown);
                    self.not_before = self.due;
                    machine.described(&found, now);
                }
            },
            Some(Err(error)) => {
                self.due = now + self.operation.failed(&error);
                self.not_before = self.due;
            }
        }
    }
}

/// The incarnations of a topic. A broker that is behind may report one that is gone; taken for
/// new, it would let every partition begin again, and a second time with the next broker's answer.
#[derive(Debug, Default)]
struct Logs {
    current: Option<TopicId>,
    gone: BTreeSet<TopicId>,
}

impl Logs {
    /// Returns whether this can be the topic as it is now.
    fn admit(&mut self, id: Option<TopicId>) -> bool {
        let Some(id) = id else { return true };
        if self.gone.contains(&id) {
            return false;
        }
        if let Some(old) = self.current.replace(id).filter(|old| *old != id) {
            self.gone.insert(old);
        }
        true
    }
}

/// Looks up the source topic and others, as the brokers describe them.
async fn look_up(topics: Arc<Topics>, cluster: Arc<Cluster>, wanted: BTreeSet<String>) -> Result<Found, Error> {
    let described = |topic: &Topic| Described { id: topic.id, partitions: topic.partition_count() };
    let unknown = |error: &Error| error.is(ResponseError::UnknownTopicOrPartition);
    let source = match topics.look_up().await {
        Ok(topic) => Some(described(&topic)),
        Err(error) if unknown(&error) => None,
        Err(error) => return Err(error),
    };
    let mut found = Found::from([(topics.source().to_owned(), source)]);
    let others: Vec<_> = wanted.iter().map(String::as_str).filter(|name| *name != topics.source()).collect();
    if !others.is_empty() {
        for (name, topic) in cluster.topics(&others).await? {
            // One that this client may not see counts as one that is not there.
            found.insert(name, topic.ok().as_ref().map(described));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_gone_does_not_come_back() {
        let (old, new) = (Some(TopicId([1; 16])), Some(TopicId([2; 16])));
        let mut logs = Logs::default();
        assert!(logs.admit(None) && logs.admit(old) && logs.admit(old) && logs.admit(new));
        assert!(!logs.admit(old), "told by a broker that is behind");
        assert!(logs.admit(new) && logs.admit(None));
    }
}
