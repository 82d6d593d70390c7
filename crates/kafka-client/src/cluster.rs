//! The cluster as brokers describe it, and one shared connection to each of them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{MetadataRequest, MetadataResponse};
use kafka_protocol::protocol::Request;

use crate::admission::Admission;
use crate::api::metadata::{self, Topic};
use crate::outbox::Outbox;
use crate::{Cause, Connection, Error, Options};

/// Who leads a partition, as last told.
#[derive(Debug, Clone, Copy)]
struct Lead {
    node: i32,
    epoch: Option<i32>,
}

/// A cluster: its brokers are reached by bootstrap and then by what they say of each other.
#[derive(Debug)]
pub struct Cluster {
    options: Options,
    /// Held for a moment only, and never over an await: one that waits its turn for a lock and is not polled, as a branch
    /// of a `select!` isn't while another is worked on, would keep all others from it.
    state: Mutex<State>,
}

type Opening = BoxFuture<'static, Result<Arc<Connection>, Error>>;

#[derive(Debug, Default)]
struct State {
    /// Where each node listens, as last told, or what is wrong with what was told.
    nodes: HashMap<i32, Result<String, String>>,
    /// Open connections by address.
    connections: HashMap<String, Arc<Connection>>,
    /// Those that are being opened: all who need one wait for the same.
    opening: HashMap<String, WeakShared<Opening>>,
    /// Leaders as last told.
    leaders: HashMap<(String, i32), Lead>,
    /// The node to ask for changes of the cluster, as last told.
    controller: Option<i32>,
    /// What is to be written to each node.
    outboxes: HashMap<i32, Arc<Outbox>>,
}

impl Cluster {
    /// Connects to nothing yet.
    pub fn new(options: Options) -> Self {
        Self { options, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The options by which it makes connections.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Asks any broker about topics.
    ///
    /// # Errors
    /// Where no broker answers. What is wrong with a single topic is that topic's result.
    pub async fn topics(&self, names: &[&str]) -> Result<HashMap<String, Result<Topic, Error>>, Error> {
        self.describe(names, false).await
    }

    /// Asks any broker about topics, and what this client may do with each, where the broker tells (KIP-430).
    ///
    /// # Errors
    /// As [`Cluster::topics`].
    pub async fn permissions(&self, names: &[&str]) -> Result<HashMap<String, Result<Topic, Error>>, Error> {
        self.describe(names, true).await
    }

    async fn describe(
        &self,
        names: &[&str],
        permissions: bool,
    ) -> Result<HashMap<String, Result<Topic, Error>>, Error> {
        let response = self.metadata(metadata::request(names), permissions).await?;
        Ok(response.topics.iter().filter_map(metadata::described).collect())
    }

    /// A connection to the leader of a partition, and whose leader it is as far as is known.
    ///
    /// # Errors
    /// Where there is no leader, or it can't be reached.
    pub async fn leader(&self, topic: &str, partition: i32) -> Result<Arc<Connection>, Error> {
        self.leading_node(topic, partition).await.map(|(_, connection)| connection)
    }

    /// A connection to the leader of a partition, as [`Cluster::leader`] gives, and the leader's outbox, where batches wait
    /// for the next produce request.
    ///
    /// # Errors
    /// As [`Cluster::leader`].
    pub(crate) async fn leader_outbox(
        &self,
        topic: &str,
        partition: i32,
    ) -> Result<(Arc<Connection>, Arc<Outbox>), Error> {
        let (node, connection) = self.leading_node(topic, partition).await?;
        let outbox = Arc::clone(self.state().outboxes.entry(node).or_default());
        Ok((connection, outbox))
    }

    async fn leading_node(&self, topic: &str, partition: i32) -> Result<(i32, Arc<Connection>), Error> {
        let (lead, address) = self.lead(topic, partition).await?;
        let connection = self.connection(&address).await;
        if connection.is_err() {
            self.forget_leader(topic, partition);
        }
        Ok((lead.node, connection?))
    }

    /// A connection to the leader of a partition that nobody else uses, and the epoch in which it
    /// leads, where that is known.
    ///
    /// # Errors
    /// As [`Cluster::leader`].
    pub(crate) async fn open_leader(
        &self,
        topic: &str,
        partition: i32,
        admission: &Arc<Admission>,
    ) -> Result<(Connection, Option<i32>), Error> {
        let (lead, address) = self.lead(topic, partition).await?;
        let connection = Connection::open_admitting(&address, &self.options, Some(admission)).await;
        if connection.is_err() {
            self.forget_leader(topic, partition);
        }
        Ok((connection?, lead.epoch))
    }

    /// Looks up who leads a partition, and where that node listens.
    async fn lead(&self, topic: &str, partition: i32) -> Result<(Lead, String), Error> {
        let failed = |code| Error::code("find the leader of", format!("{topic}/{partition}"), code);
        let key = (topic.to_owned(), partition);
        let known = self.state().leaders.get(&key).copied();
        let lead = match known {
            Some(lead) => lead,
            None => {
                let found = self.topics(&[topic]).await?.remove(topic);
                let found = found.unwrap_or(Err(failed(ResponseError::UnknownTopicOrPartition)))?;
                let partition = found.partitions.iter().find(|found| found.index == partition);
                let partition = partition.ok_or_else(|| failed(ResponseError::UnknownTopicOrPartition))?;
                let node = partition.leader.ok_or_else(|| failed(ResponseError::LeaderNotAvailable))?;
                Lead { node, epoch: partition.leader_epoch }
            }
        };
        match self.address_of(lead.node) {
            Ok(address) => Ok((lead, address)),
            // It has left the cluster, which whoever asked last about another topic was told.
            Err(cause) => {
                self.forget_leader(topic, partition);
                Err(Error { cause, ..failed(ResponseError::LeaderNotAvailable) })
            }
        }
    }

    /// Sorts partitions of a topic by the nodes that lead them. One without a leader is left out.
    ///
    /// # Errors
    /// Where a leader is not known, and no broker answers or the topic is not there.
    pub async fn leaders_of(&self, topic: &str, partitions: &BTreeSet<i32>) -> Result<BTreeMap<i32, Vec<i32>>, Error> {
        let led = |state: &State| {
            let mut led: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
            let mut key = (topic.to_owned(), 0);
            for partition in partitions {
                key.1 = *partition;
                if let Some(lead) = state.leaders.get(&key) {
                    led.entry(lead.node).or_default().push(*partition);
                }
            }
            led
        };
        let known = led(&self.state());
        if known.values().map(Vec::len).sum::<usize>() == partitions.len() {
            return Ok(known);
        }
        self.topics(&[topic]).await?.remove(topic).transpose()?;
        Ok(led(&self.state()))
    }

    /// The connection to a node that all share.
    ///
    /// # Errors
    /// Where it has left the cluster, or can't be reached.
    pub(crate) async fn node(&self, node: i32) -> Result<Arc<Connection>, Error> {
        let address = self.address_of(node);
        let address = address.map_err(|cause| Error { doing: "find", on: format!("node {node}"), cause })?;
        self.connection(&address).await
    }

    /// The address of a node. One that no broker told of may have come since.
    fn address_of(&self, node: i32) -> Result<String, Cause> {
        match self.state().nodes.get(&node) {
            Some(Ok(address)) => Ok(address.clone()),
            Some(Err(why)) => Err(Cause::Undecodable(format!("of node {node}, {why}"))),
            None => Err(Cause::Code(ResponseError::LeaderNotAvailable)),
        }
    }

    /// Forgets who leads a partition, so that the next request asks anew.
    pub fn forget_leader(&self, topic: &str, partition: i32) {
        self.state().leaders.remove(&(topic.to_owned(), partition));
    }

    /// A connection to the controller, which alone changes topics; in KRaft mode any broker stands
    /// in for it.
    ///
    /// # Errors
    /// Where nobody knows of a controller, or it can't be reached.
    pub(crate) async fn controller(&self) -> Result<Arc<Connection>, Error> {
        let failed = || Error::code("find the controller of", "the cluster", ResponseError::NotController);
        self.metadata(metadata::request(&[]), false).await?;
        let controller = self.state().controller.ok_or_else(failed)?;
        let address = self.address_of(controller).map_err(|cause| Error { cause, ..failed() })?;
        self.connection(&address).await
    }

    async fn metadata(&self, request: MetadataRequest, permissions: bool) -> Result<MetadataResponse, Error> {
        let ask = |connection: Arc<Connection>| {
            let told = permissions && connection.version(MetadataRequest::KEY).is_ok_and(|version| version >= 8);
            let request = request.clone().with_include_topic_authorized_operations(told);
            async move { connection.request("ask for metadata of", &request).await }
        };
        let mut response = self.ask_any(ask).await?;
        // A broker has no reason to tell of others; what it tells is kept.
        response.topics.retain(|told| request.topics.iter().flatten().any(|asked| asked.name == told.name));
        self.learn(&response);
        Ok(response)
    }

    /// [`Options::ask_any`] of all brokers that are known.
    ///
    /// The connections are others' as well. So a question that another broker has answered meanwhile goes on by itself:
    /// cut off while it is written, it would take its connection along, and it is what finds a connection
    /// broken that nobody answers on.
    ///
    /// # Errors
    /// As [`Options::ask_any`].
    pub(crate) async fn ask_any<R, F>(&self, ask: impl Fn(Arc<Connection>) -> F) -> Result<R, Error>
    where
        F: Future<Output = Result<R, Error>> + Send + 'static,
        R: Send + 'static,
    {
        let ask = &ask;
        let ask = |address: String| async move {
            let asking = tokio::spawn(ask(self.connection(&address).await?).boxed());
            asking.await.unwrap_or_else(|panicked| {
                Err(Error { doing: "ask", on: address, cause: Cause::Disconnected(panicked.to_string()) })
            })
        };
        self.options.ask_any(self.addresses(), ask).await
    }

    /// Every address to try: those with a connection first, then what the brokers told, then the
    /// configured ones, in case the whole cluster has moved.
    fn addresses(&self) -> Vec<String> {
        let state = self.state();
        let told = state.nodes.values().flatten();
        let all = state.connections.keys().chain(told).chain(&self.options.bootstrap);
        let mut seen = HashSet::new();
        all.filter(|address| seen.insert(*address)).cloned().collect()
    }

    async fn connection(&self, address: &str) -> Result<Arc<Connection>, Error> {
        let opening = {
            let mut state = self.state();
            if let Some(open) = state.connections.get(address).filter(|connection| connection.takes_request()) {
                return Ok(Arc::clone(open));
            }
            let under_way = state.opening.get(address).and_then(WeakShared::upgrade);
            under_way.filter(|opening| opening.peek().is_none()).unwrap_or_else(|| {
                let opening = opening(address.to_owned(), self.options.clone());
                state.opening.extend(opening.downgrade().map(|weak| (address.to_owned(), weak)));
                opening
            })
        };
        let opened = opening.await;
        let mut state = self.state();
        match opened {
            Ok(connection) => {
                state.connections.insert(address.to_owned(), Arc::clone(&connection));
                Ok(connection)
            }
            Err(error) => {
                state.connections.retain(|_, connection| !connection.is_broken());
                Err(error)
            }
        }
    }

    /// A connection that nobody else uses: what is asked on it waits for nobody.
    ///
    /// # Errors
    /// As [`Connection::open`].
    pub(crate) async fn open(&self, address: &str) -> Result<Connection, Error> {
        Connection::open(address, &self.options).await
    }

    fn learn(&self, response: &MetadataResponse) {
        let mut state = self.state();
        state.nodes = response.brokers.iter().map(metadata::node).collect();
        state.controller = Some(response.controller_id.0).filter(|controller| *controller >= 0);
        for topic in &response.topics {
            let Some(name) = &topic.name else { continue };
            for partition in &topic.partitions {
                let key = (name.0.to_string(), partition.partition_index);
                if partition.leader_id.0 >= 0 {
                    let lead = Lead { node: partition.leader_id.0, epoch: metadata::epoch(partition) };
                    state.leaders.insert(key, lead);
                } else {
                    state.leaders.remove(&key);
                }
            }
        }
    }
}

/// A connection to an address, for all who wait for one.
fn opening(address: String, options: Options) -> Shared<Opening> {
    async move { Connection::open(&address, &options).await.map(Arc::new) }.boxed().shared()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_leader_that_left_the_cluster_is_looked_up_again() {
        let cluster = Cluster::new(Options::default());
        cluster.state().leaders.insert(("t".to_owned(), 0), Lead { node: 7, epoch: None });
        let error = cluster.leader("t", 0).await.unwrap_err();
        assert!(error.is(ResponseError::LeaderNotAvailable), "{error}");
        let error = cluster.leader("t", 0).await.unwrap_err();
        assert!(matches!(error.cause, Cause::Connect(_)), "asks the brokers, of which there are none here: {error}");
    }
}
