//! rskafka's client on a short leash: it has no timeouts of its own and would try again for
//! minutes, so every call gets a deadline here and none is tried again inside. Nor does it renew
//! SASL sessions or read certificates again, so it is replaced in time.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kafka_client::dial;
use kafka_client::{LastUse, Options};
use rskafka::BackoffConfig;
use rskafka::client::Client;
use rskafka::client::error::Error as RskafkaError;
use rskafka::client::partition::{PartitionClient, UnknownTopicHandling};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::kafka::{Cause, Error, Secured};

/// Kafka's default of `message.max.bytes`, and more.
const USUAL_BATCH_BYTES: usize = 1 << 20;

/// The bytes around the batches of an answer, aborted transactions included.
const AROUND_BATCHES: usize = 64 << 10;

/// One rskafka client for all partitions, made when first needed and replaced after it hung, and before
/// its SASL session ends.
#[derive(Debug)]
pub struct RskafkaClients {
    options: Options,
    /// The bytes of the largest answer that is taken.
    largest: AtomicUsize,
    current: Mutex<Option<(Arc<Client>, Secured)>>,
    last_use: LastUse,
    slots: Arc<AtomicUsize>,
}

/// One of the partitions that rskafka may read. It has a connection for each and takes memory by the
/// partition, so that beyond a number of them none is read by it.
#[derive(Debug)]
pub struct RskafkaSlot {
    taken: Arc<AtomicUsize>,
    most: usize,
}

impl RskafkaSlot {
    /// Tells whether there are more partitions now than rskafka may read.
    pub fn is_one_too_many(&self) -> bool {
        self.taken.load(Ordering::Relaxed) > self.most
    }
}

impl Drop for RskafkaSlot {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A client of one partition.
#[derive(Debug)]
pub struct RskafkaPartition {
    /// rskafka's client of the partition.
    pub client: PartitionClient,
    secured: Secured,
    last_use: LastUse,
    max_idle: Duration,
}

impl RskafkaPartition {
    /// Tells whether the next request needs another client: the broker is about to end the session, or its connection
    /// was idle for so long that it may be forgotten on the way. To be asked before each request, which is what
    /// counts as use.
    pub fn is_spent(&self) -> bool {
        let is_spent = self.secured.is_spent() || self.last_use.is_longer_ago_than(self.max_idle);
        self.last_use.note();
        is_spent
    }
}

impl RskafkaClients {
    /// Connects to nothing yet. `max_fetch_bytes` is the most that is asked for at once.
    ///
    /// rskafka holds an answer several times over, in no budget: one that is larger than a fetch and a usual batch, which
    /// comes whole whatever was asked for, it refuses by its length, and the wire takes it. It asks for the list of all the
    /// cluster's topics, too, and has no other limit for that: where the list is longer, so is the limit.
    pub fn new(options: &Options, max_fetch_bytes: usize) -> Self {
        let largest = max_fetch_bytes.max(USUAL_BATCH_BYTES) + AROUND_BATCHES;
        Self {
            options: options.clone(),
            largest: AtomicUsize::new(options.max_frame_bytes.min(largest)),
            current: Mutex::default(),
            last_use: LastUse::now(),
            slots: Arc::default(),
        }
    }

    /// Takes a place among the partitions that rskafka reads, `most` at most.
    pub fn slot(&self, most: usize) -> RskafkaSlot {
        self.slots.fetch_add(1, Ordering::Relaxed);
        RskafkaSlot { taken: Arc::clone(&self.slots), most }
    }

    /// The client, which is connected first where there is none.
    ///
    /// # Errors
    /// Where no broker answers, or none lets us in.
    pub async fn client(&self) -> Result<Arc<Client>, Error> {
        self.secured_client().await.map(|(client, _)| client)
    }

    async fn secured_client(&self) -> Result<(Arc<Client>, Secured), Error> {
        let Options { bootstrap, connect_timeout, security, connections_max_idle, .. } = &self.options;
        let mut current = self.current.lock().await;
        let was_idle = self.last_use.is_longer_ago_than(*connections_max_idle);
        self.last_use.note();
        let usable = current.as_ref().filter(|(_, secured)| !was_idle && !secured.is_outdated(security));
        if let Some((client, secured)) = usable {
            return Ok((Arc::clone(client), secured.clone()));
        }
        *current = None;
        let max_frame_bytes = self.largest.load(Ordering::Relaxed);
        let options = Options { max_frame_bytes, ..self.options.clone() };
        let (builder, secured) = Secured::builder(&options, no_retries()).await?;
        let client =
            within(*connect_timeout, "connect to", &bootstrap.join(","), rskafka_calls::connect(builder)).await?;
        let (client, secured) = current.insert((Arc::new(client), secured));
        Ok((Arc::clone(client), secured.clone()))
    }

    /// A client of one partition, connected to its leader.
    ///
    /// # Errors
    /// Where there is no leader, or it can't be reached.
    pub async fn partition(&self, topic: &str, partition: i32) -> Result<RskafkaPartition, Error> {
        loop {
            match self.connect_to(topic, partition).await {
                Err(error) if self.takes_longer_lists(&error) => {}
                connected => return connected,
            }
        }
    }

    /// Tells whether an answer was too large, and is taken from now on.
    fn takes_longer_lists(&self, error: &Error) -> bool {
        matches!(error.cause, Cause::FrameTooLarge { actual, .. } if self.takes_lists_of(actual))
    }

    /// Takes lists of topics of so many bytes from now on, and some more; false where `kafka.max_frame_bytes` does not
    /// allow it, or they were taken before.
    fn takes_lists_of(&self, bytes: usize) -> bool {
        let wanted = bytes.saturating_add(bytes / 4).min(self.options.max_frame_bytes);
        wanted >= bytes && self.largest.fetch_max(wanted, Ordering::Relaxed) < wanted
    }

    async fn connect_to(&self, topic: &str, partition: i32) -> Result<RskafkaPartition, Error> {
        let (client, secured) = self.secured_client().await?;
        let no_room = |error: std::io::Error| Cause::Connect(error.to_string());
        let on = format!("{topic}/{partition}");
        let failed = |cause| Error::new("connect to the leader of", on.clone(), cause);
        dial::room_for_one().map_err(no_room).map_err(failed)?;
        let connect = rskafka_calls::partition_client(&client, topic, partition, UnknownTopicHandling::Error);
        let connected = within(self.options.connect_timeout, "find the leader of", &on, connect).await;
        // rskafka keeps what it once heard of topics: a partition that was new, or without a leader,
        // would stay so for this client whatever the brokers say since.
        if connected.is_err() {
            self.forget(&client).await;
        }
        let (last_use, max_idle) = (LastUse::now(), self.options.connections_max_idle);
        connected.map(|client| RskafkaPartition { client, secured, last_use, max_idle })
    }

    /// Lets go of a client that hung or broke, unless another has taken its place already.
    pub async fn forget(&self, client: &Arc<Client>) {
        let mut current = self.current.lock().await;
        if current.as_ref().is_some_and(|(current, _)| Arc::ptr_eq(current, client)) {
            *current = None;
        }
    }

    /// Lets go of whichever client there is.
    pub async fn forget_any(&self) {
        *self.current.lock().await = None;
    }
}

/// rskafka's own retries end after the first attempt: ours know the difference between transient,
/// fatal and ambiguous.
fn no_retries() -> BackoffConfig {
    BackoffConfig {
        init_backoff: Duration::from_millis(1),
        max_backoff: Duration::from_millis(1),
        base: 2.0,
        deadline: Some(Duration::ZERO),
    }
}

/// Runs a call of rskafka's against a deadline.
pub(super) async fn within<T>(
    deadline: Duration,
    doing: &'static str,
    on: &str,
    call: impl Future<Output = Result<T, RskafkaError>>,
) -> Result<T, Error> {
    match timeout(deadline, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Error::from_rskafka(doing, on, &error)),
        Err(_) => Err(Error::new(doing, on.to_owned(), Cause::Timeout(deadline))),
    }
}
