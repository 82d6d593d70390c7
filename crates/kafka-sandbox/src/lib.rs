//! A Kafka broker inside this process, over real TCP: for tests, and for a demo.
//!
//! ```text
//!   client ══TCP══► node 1 ─┐  one request after the other, as Kafka does
//!   client ══TCP══► node 2 ─┤
//!                           ▼
//!                  faults armed by a test: error, delay, silence, disconnect, …
//!                           ▼
//!                  topics ► partitions ► log of whole batches, bytes untouched
//!                  groups ► members, sessions, rebalances; committed offsets
//!                  transactional ids ► producers' epochs; transactions ► markers in logs, offsets of groups
//!                           ▲
//!   test ── produce, read, append_hole, roll_segment, damage, move_leader, elect_uncleanly, crash,
//!           restart, snapshot, move_coordinator, set_loading, committed, transaction, hold_markers
//! ```
//!
//! It answers the versions that rskafka 0.6.0 and our own client negotiate (see [`versions`])
//! and behaves as Kafka 4.x does there: checksums and sizes are checked, a batch of an idempotent
//! producer is written once, a fetch waits for its bytes and ends with its segment, nobody but the
//! leader answers, groups rebalance by the classic protocol, and by that of KIP-848 where it is switched on
//! ([`SandboxBuilder::consumer_groups`]); transactions of both versions are fenced, time out and end in markers.
//! What it lacks: TLS, replication, a disk. What passes only against this broker is not done.
//!
//! ```
//! use kafka_sandbox::{Action, Api, Fault, Sandbox};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sandbox = Sandbox::start().await?;
//! sandbox.create_topic("user-login", 6)?;
//! sandbox.produce("user-login", 0, [("key", "value")])?;
//!
//! // The next two produces to partition 0 fail with NOT_LEADER_OR_FOLLOWER.
//! let fault = Fault::on(Api::Produce).topic("user-login").partition(0).times(2);
//! let handle = sandbox.fault(fault, Action::Error(6));
//!
//! // … point a client at sandbox.bootstrap(), then:
//! assert_eq!(handle.fired(), 0);
//! assert_eq!(sandbox.read("user-login", 0)?.len(), 1);
//! # Ok(())
//! # }
//! ```

mod api;
mod append;
mod batch;
mod batch_header;
mod cluster;
mod compression;
mod control;
mod damage;
mod due;
mod error_codes;
mod fault;
pub mod group;
mod handle;
mod idempotence;
mod log;
mod node;
mod partition;
mod placement;
mod record;
mod schema;
mod segment;
mod stale;
mod topic_config;
pub mod txn;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;

pub use api::versions;
pub use batch::{NewBatch, records_of};
pub use batch_header::BatchError;
pub use damage::Damage;
pub use fault::{Action, Fault};
pub use group::consumer::ConsumerGroupOptions;
pub use group::{CommittedOffset, GroupDescription};
pub use handle::FaultHandle;
/// A request's API, by Kafka's own name and key. [`versions`] lists those that are answered.
pub use kafka_protocol::messages::ApiKey as Api;
pub use record::{NewRecord, StoredRecord};
pub use stale::Snapshot;
pub use topic_config::TopicConfig;
pub use txn::TransactionDescription;

use cluster::{Clock, Cluster, Defaults, NodeInfo, Shared, Watcher};
use node::{Node, Reserved};

const HOST: &str = "127.0.0.1";

/// Why the sandbox did not do what a test asked of it.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// As a request would have been refused: 3 unknown topic or partition, 17 illegal name, 36 topic
    /// exists, 37 impossible number of partitions.
    #[error("refused with Kafka's error code {code}")]
    Refused {
        /// Kafka's error code.
        code: i16,
    },
    /// There is no node of that id.
    #[error("there is no node {0}")]
    NoSuchNode(i32),
    /// An offset that the log does not hold, or where it cannot continue.
    #[error("the log has no place at offset {0}")]
    OffsetOutOfRange(i64),
    /// The batch at an offset is corrupt, raw or of an unknown codec.
    #[error("the batch at offset {offset} cannot be decoded: {source}")]
    Unreadable {
        /// Its base offset.
        offset: i64,
        /// What is wrong with it.
        source: BatchError,
    },
    /// A node's port could not be bound.
    #[error("a node cannot listen: {0}")]
    Listen(#[from] io::Error),
}

impl From<i16> for SandboxError {
    fn from(code: i16) -> Self {
        Self::Refused { code }
    }
}

/// How many nodes, on which ports. See [`Sandbox::builder`].
#[derive(Debug, Clone, Default)]
pub struct SandboxBuilder {
    nodes: usize,
    ports: Vec<u16>,
    defaults: Defaults,
    watcher: Option<Watcher>,
    consumer_protocol: Option<ConsumerGroupOptions>,
    is_unbound: bool,
    clock: Option<Clock>,
}

impl SandboxBuilder {
    /// So many nodes, with ids 1, 2, …; at least one.
    #[must_use]
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// The nodes' ports, in order; 0, or none given, is any free port.
    #[must_use]
    pub fn ports(mut self, ports: impl IntoIterator<Item = u16>) -> Self {
        self.ports = ports.into_iter().collect();
        self
    }

    /// How many bytes a partition keeps unless its topic says otherwise; `None` keeps all.
    #[must_use]
    pub fn retention_bytes(mut self, bytes: Option<usize>) -> Self {
        self.defaults.retention_bytes = bytes;
        self
    }

    /// How many bytes a segment of a partition takes unless its topic says otherwise.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: usize) -> Self {
        self.defaults.segment_bytes = Some(bytes);
        self
    }

    /// The most bytes of records in one answer, whatever is asked for (`fetch.max.bytes` of a broker);
    /// 55 MiB, as Kafka's, unless said otherwise. One batch comes whatever its size.
    #[must_use]
    pub fn fetch_max_bytes(mut self, bytes: usize) -> Self {
        self.defaults.fetch_max_bytes = bytes;
        self
    }

    /// Ends an answer behind its last whole batch, as some brokers do; Kafka cuts a last one that does
    /// not fit.
    #[must_use]
    pub fn whole_batches(mut self) -> Self {
        self.defaults.whole_batches = true;
        self
    }

    /// The version of transactions that the cluster has (its feature `transaction.version`), 1 or 2; 2, as a new
    /// Kafka 4 has, unless said otherwise. Requests of either version are answered.
    #[must_use]
    pub fn transaction_version(mut self, version: i16) -> Self {
        self.defaults.transaction_version = version;
        self
    }

    /// Offers the consumer protocol of groups (KIP-848), with these settings. Otherwise it is hidden, as on a cluster
    /// older than Kafka 3.7.
    #[must_use]
    pub fn consumer_groups(mut self, options: ConsumerGroupOptions) -> Self {
        self.consumer_protocol = Some(options);
        self
    }

    /// Tells `watcher` topic, partition and records of each batch that a producer appends, once, while it is
    /// appended; of what is written within a transaction, when that is committed. Whatever it does must be quick,
    /// and ask nothing of the sandbox.
    #[must_use]
    pub fn on_append(mut self, watcher: impl Fn(&str, i32, &[StoredRecord]) + Send + Sync + 'static) -> Self {
        self.watcher = Some(Watcher(Arc::new(watcher)));
        self
    }

    /// Binds no ports: they are names, from 9092 on where none are given, and connections are handed over by
    /// [`Sandbox::connect`].
    #[must_use]
    pub fn unbound(mut self) -> Self {
        self.is_unbound = true;
        self
    }

    /// Tells the brokers the time of day, in milliseconds since the Unix epoch, in place of this machine's clock.
    #[must_use]
    pub fn clock(mut self, unix_ms: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        self.clock = Some(Clock(Arc::new(unix_ms)));
        self
    }

    /// Starts the nodes on the current tokio runtime.
    ///
    /// # Errors
    /// A port cannot be bound.
    pub async fn start(self) -> io::Result<Sandbox> {
        let mut reserved = BTreeMap::new();
        let mut ports = self.ports.into_iter();
        for (port, id) in (9092..).zip(1i32..).take(self.nodes.max(1)) {
            let port = match (ports.next(), self.is_unbound) {
                (given, true) => Reserved::name(given.unwrap_or(port)),
                (given, false) => Reserved::new(given.unwrap_or(0))?,
            };
            reserved.insert(id, port);
        }
        let info = |node: &Reserved| NodeInfo { port: node.port(), up: true };
        let known = reserved.iter().map(|(id, node)| (*id, info(node)));
        let mut cluster = Cluster::new(known.collect(), self.defaults);
        cluster.watcher = self.watcher;
        cluster.clock = self.clock.unwrap_or_default();
        cluster.groups.consumer_protocol = self.consumer_protocol;
        let shared = Arc::new(Shared::new(cluster));
        let mut nodes = BTreeMap::new();
        for (id, node) in reserved {
            nodes.insert(id, Node::Up(node.listen(id, Arc::clone(&shared))?));
        }
        let clocks = [
            tokio::spawn(group::keep_time(Arc::downgrade(&shared)).boxed()),
            tokio::spawn(txn::keep_time(Arc::downgrade(&shared)).boxed()),
        ];
        Ok(Sandbox { shared, nodes: Mutex::new(nodes), clocks })
    }
}

/// The broker; see the module. Dropping it closes everything.
#[derive(Debug)]
pub struct Sandbox {
    shared: Arc<Shared>,
    nodes: Mutex<BTreeMap<i32, Node>>,
    /// End members' sessions, and transactions that are open for too long.
    clocks: [JoinHandle<()>; 2],
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.clocks.iter().for_each(JoinHandle::abort);
    }
}

impl Sandbox {
    /// One node on a free port, all defaults.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn start() -> io::Result<Self> {
        Self::builder().start().await
    }

    /// One node on a free port, until told otherwise.
    pub fn builder() -> SandboxBuilder {
        SandboxBuilder::default()
    }

    /// All nodes' addresses, up or not: `127.0.0.1:port,…`.
    pub fn bootstrap(&self) -> String {
        let cluster = self.shared.lock();
        let addresses: Vec<String> = cluster.nodes.values().map(|node| format!("{HOST}:{}", node.port)).collect();
        addresses.join(",")
    }

    /// The nodes' ids, in order.
    pub fn nodes(&self) -> Vec<i32> {
        self.shared.lock().nodes.keys().copied().collect()
    }

    /// Hands a node a connection, where it listens to no port ([`SandboxBuilder::unbound`]). One that is down closes it.
    ///
    /// # Errors
    /// There is no such node.
    pub fn connect(
        &self,
        node: i32,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<(), SandboxError> {
        match self.network().get(&node).ok_or(SandboxError::NoSuchNode(node))? {
            Node::Up(listening) => listening.hand(Box::new(stream)),
            Node::Down(_) => {}
        }
        Ok(())
    }

    /// How many requests of that API have arrived, faulty ones included.
    pub fn requests(&self, api: Api) -> u64 {
        let cluster = self.shared.lock();
        cluster.requests.get(&api).copied().unwrap_or(0)
    }

    /// What the cluster is now. Logs are shared with it until they are written to.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.snapshot()
    }

    /// Arms a fault for requests that come from now on.
    pub fn fault(&self, fault: Fault, action: Action) -> FaultHandle {
        let (id, fired) = self.shared.lock().faults.arm(fault, action);
        FaultHandle::new(id, fired, Arc::clone(&self.shared))
    }

    /// Disarms all faults.
    pub fn clear_faults(&self) {
        self.shared.lock().faults.clear();
    }

    /// Closes a node's listener and all its connections; its port refuses, its logs survive, and the
    /// partitions that it leads have no leader. Nothing happens if it is down.
    ///
    /// # Errors
    /// There is no such node.
    pub async fn crash(&self, node: i32) -> Result<(), SandboxError> {
        let port = self.set_up(node, false)?;
        self.reload_groups(node);
        let before = self.network().insert(node, Node::Down(Reserved::later(port)));
        let down = match before {
            Some(Node::Up(listening)) => listening.crash(port).await,
            Some(Node::Down(reserved)) => reserved,
            None => return Err(SandboxError::NoSuchNode(node)),
        };
        self.network().insert(node, Node::Down(down));
        self.shared.ring();
        Ok(())
    }

    /// Starts a crashed node on its old port. Nothing happens if it is up.
    ///
    /// # Errors
    /// There is no such node, or its port cannot be bound again.
    pub async fn restart(&self, node: i32) -> Result<(), SandboxError> {
        let port = self.port(node)?;
        let mut network = self.network();
        let before = network.insert(node, Node::Down(Reserved::later(port)));
        let listening = match before {
            Some(Node::Up(listening)) => listening,
            Some(Node::Down(reserved)) => reserved.listen(node, Arc::clone(&self.shared))?,
            None => return Err(SandboxError::NoSuchNode(node)),
        };
        network.insert(node, Node::Up(listening));
        drop(network);
        self.reload_groups(node);
        self.set_up(node, true)?;
        self.shared.lock().write_all_markers();
        self.shared.ring();
        Ok(())
    }

    /// Gives a partition another leader, in a new leader epoch; the log goes with it.
    ///
    /// # Errors
    /// There is no such node or partition.
    pub fn move_leader(&self, topic: &str, partition: i32, node: i32) -> Result<(), SandboxError> {
        let mut cluster = self.shared.lock();
        if !cluster.nodes.contains_key(&node) {
            return Err(SandboxError::NoSuchNode(node));
        }
        cluster.partition(topic, partition)?.lead(node);
        cluster.write_all_markers();
        drop(cluster);
        self.shared.ring();
        Ok(())
    }

    /// Gives a partition a leader that lacks everything from `offset` on, as where all replicas in sync
    /// are down and `unclean.leader.election.enable` is on. A batch that holds the offset goes whole;
    /// what is known of producers and transactions stays.
    ///
    /// # Errors
    /// There is no such node or partition, or the log has no place at that offset.
    pub fn elect_uncleanly(&self, topic: &str, partition: i32, node: i32, offset: i64) -> Result<(), SandboxError> {
        let mut cluster = self.shared.lock();
        if !cluster.nodes.contains_key(&node) {
            return Err(SandboxError::NoSuchNode(node));
        }
        let elected = cluster.partition(topic, partition)?.lead_uncleanly(node, offset);
        cluster.write_all_markers();
        drop(cluster);
        self.shared.ring();
        elected.map_err(|_| SandboxError::OffsetOutOfRange(offset))
    }

    /// The node that leads a partition.
    ///
    /// # Errors
    /// There is no such partition.
    pub fn leader(&self, topic: &str, partition: i32) -> Result<i32, SandboxError> {
        Ok(self.shared.lock().partition(topic, partition)?.leader)
    }

    fn port(&self, node: i32) -> Result<u16, SandboxError> {
        let cluster = self.shared.lock();
        let info = cluster.nodes.get(&node);
        Ok(info.ok_or(SandboxError::NoSuchNode(node))?.port)
    }

    fn set_up(&self, node: i32, up: bool) -> Result<u16, SandboxError> {
        let mut cluster = self.shared.lock();
        let info = cluster.nodes.get_mut(&node);
        let info = info.ok_or(SandboxError::NoSuchNode(node))?;
        info.up = up;
        Ok(info.port)
    }

    fn network(&self) -> MutexGuard<'_, BTreeMap<i32, Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
