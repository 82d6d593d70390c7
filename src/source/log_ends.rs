//! The ends of the logs that this instance reads: asked for at an interval, of all partitions, since one that is
//! held, paused or blocked fetches nothing that would tell it.
//!
//! ```text
//! StatusBoard: the partitions ──► by leader ──► a request each, side by side ──► StatusBoard: high watermarks ──► lag
//! ```
//! It is the high watermark, whatever the reader's isolation: records of a transaction that never ends wait, and that
//! has to be seen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use kafka_client::Cluster;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::kafka::Error;
use crate::observe::StatusBoard;
use crate::record::Offset;

/// The number of intervals that an end is known for: an answer that is lost makes nothing unknown.
const KNOWN_FOR: u32 = 3;

/// The time between two log lines about ends that no broker tells.
const REMINDER: Duration = Duration::from_secs(60);

/// The time that others are waited for where a partition has come: they come together.
const GATHERING: Duration = Duration::from_millis(100);

/// Asks where logs end.
#[derive(Debug)]
pub struct LogEnds {
    cluster: Arc<Cluster>,
    board: StatusBoard,
    interval: Duration,
}

/// A request to a node about a topic's partitions, and what came of it.
type Asked = (i32, String, Result<BTreeMap<i32, Result<Offset, kafka_client::Error>>, Error>);

impl LogEnds {
    /// Asks for the partitions of this board.
    pub fn new(cluster: Arc<Cluster>, board: StatusBoard, interval: Duration) -> Self {
        board.watermarks_last(interval.saturating_mul(KNOWN_FOR));
        Self { cluster, board, interval }
    }

    /// Asks every interval, and soon after a partition has come, until `shutdown`. A leader that does not answer
    /// holds up no other, and is not asked again before.
    pub async fn ask(self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.keep_asking()).await;
    }

    async fn keep_asking(&self) {
        let mut ticks = interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Each asks by itself: a request that is not polled while this waits for something else would hold up all who
        // share its connection.
        let (answers, mut asked) = mpsc::unbounded_channel::<Asked>();
        let mut waiting = BTreeSet::new();
        let mut said = Said::default();
        loop {
            tokio::select! {
                Some((node, topic, told)) = asked.recv() => {
                    match told {
                        Ok(told) => self.tell(&topic, told),
                        Err(error) => said.say(&topic, &error),
                    }
                    waiting.remove(&(node, topic));
                    continue;
                }
                _ = ticks.tick() => {}
                () = self.board.has_come() => sleep(GATHERING.min(self.interval)).await,
            }
            for (topic, partitions) in self.board.topics() {
                let led = match self.cluster.leaders_of(&topic, &partitions).await {
                    Ok(led) => led,
                    Err(error) => {
                        said.say(&topic, &error.into());
                        continue;
                    }
                };
                for (node, partitions) in led {
                    if waiting.insert((node, topic.clone())) {
                        self.ask_node(node, topic.clone(), partitions, answers.clone());
                    }
                }
            }
        }
    }

    fn ask_node(&self, node: i32, topic: String, partitions: Vec<i32>, answers: mpsc::UnboundedSender<Asked>) {
        let cluster = Arc::clone(&self.cluster);
        let asking = async move {
            let told = cluster.high_watermarks(node, &topic, &partitions).await;
            let _ = answers.send((node, topic, told.map_err(Error::from))); // nobody waits for it at the end
        };
        tokio::spawn(asking.boxed());
    }

    fn tell(&self, topic: &str, told: BTreeMap<i32, Result<Offset, kafka_client::Error>>) {
        let known = told.into_iter().filter_map(|(partition, told)| match told {
            Ok(offset) => Some((partition, offset)),
            // Leaders change; the next time another is asked.
            Err(error) => {
                debug!(topic, partition, error = %Error::from(error), "lag is not known for now");
                None
            }
        });
        self.board.high_watermarks(topic, &known.collect());
    }
}

/// The time of the last log line about ends that no broker tells. Fetches fail for the same reason, and log more.
#[derive(Debug, Default)]
struct Said(Option<Instant>);

impl Said {
    fn say(&mut self, topic: &str, error: &Error) {
        if self.0.is_none_or(|at| at.elapsed() >= REMINDER) {
            self.0 = Some(Instant::now());
            warn!(topic, %error, "lag is unknown: no broker tells where the log ends; asking again");
        } else {
            debug!(topic, %error, "lag is unknown");
        }
    }
}
