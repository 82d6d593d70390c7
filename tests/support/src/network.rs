//! The network between the pipeline and the brokers, for a test to break: a proxy before each broker,
//! on the port that the broker tells clients of.
//!
//! ```text
//!            ┌─ requests ─► gate ─────────────────────► broker
//! pipeline ──┤              shut in a silence              │
//!            └─ answers ◄── gate ◄── swallowed? cut? ◄─────┘
//! ```
//!
//! An answer is lost only where it says that what was asked is done: then the broker has done it, and
//! the client can't know. What stands before a gate when it shuts comes through when it opens, though
//! the client has given it up by then: that is how a request arrives late.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use bytes::{Buf, Bytes};
use futures::future::select_all;
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, ApiKey, EndTxnRequest, InitProducerIdRequest, ProduceRequest,
    ResponseHeader, TxnOffsetCommitRequest,
};
use kafka_protocol::protocol::{Decodable, HeaderVersion, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::kafka::{KafkaCluster, PROXIED};
use super::topics::PATIENCE;

/// How an answer is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Loss {
    /// It never comes, and the connection stays open.
    Swallowed,
    /// The connection ends in its place.
    Cut,
}

/// Requests and answers of Produce: before which of them a silence begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The batch arrives late, after the client has given it up.
    Request,
    /// The batch is written, and the client hears of it too late.
    Answer,
}

/// The proxies of a cluster. They live as long as the runtime that started them.
pub struct Network {
    links: Vec<Arc<Link>>,
    bootstrap: String,
    losses: Arc<Mutex<Losses>>,
    spoken: Spoken,
}

/// Which requests came by, by their numbers, and in which versions.
type Spoken = Arc<Mutex<BTreeSet<(i16, i16)>>>;

/// The way to one broker.
struct Link {
    broker: String,
    gate: watch::Sender<Gate>,
    losses: Arc<Mutex<Losses>>,
    spoken: Spoken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    /// Shuts before the next of these.
    Closing(Side),
    Shut,
}

#[derive(Default)]
struct Losses {
    due: Vec<(ApiKey, Loss)>,
    done: HashMap<(ApiKey, Loss), usize>,
}

/// What a connection's requests asked that are not answered yet, by their correlation id.
type Asked = Mutex<HashMap<i32, (ApiKey, i16)>>;

impl Network {
    /// So many nodes of Kafka, and the network before them.
    pub async fn before_kafka(nodes: usize, settings: &[(&str, &str)]) -> (Self, KafkaCluster) {
        let mut listeners = Vec::new();
        for _ in 0..nodes {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let ports: Vec<u16> = listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        let cluster = KafkaCluster::start_proxied(&ports, settings).await;
        let losses = Arc::new(Mutex::new(Losses::default()));
        let spoken = Spoken::default();
        let brokers = cluster.listener(PROXIED);
        let link = |broker: &str| {
            let (broker, losses, spoken) = (broker.to_owned(), Arc::clone(&losses), Arc::clone(&spoken));
            Arc::new(Link { broker, gate: watch::Sender::new(Gate::Open), losses, spoken })
        };
        let links: Vec<_> = brokers.split(',').map(link).collect();
        for (listener, link) in listeners.into_iter().zip(&links) {
            tokio::spawn(accept(listener, Arc::clone(link)));
        }
        let bootstrap = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",");
        (Self { links, bootstrap, losses, spoken }, cluster)
    }

    /// All brokers as the pipeline is to know them, `host:port,host:port`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Loses the next answer to such a request that says that it is done, whichever broker's. Of
    /// the requests that write, and those of transactions.
    pub fn lose_next(&self, api: ApiKey, loss: Loss) {
        self.losses.lock().unwrap().due.push((api, loss));
    }

    /// The answers that were lost.
    pub fn lost(&self) -> HashMap<(ApiKey, Loss), usize> {
        self.losses.lock().unwrap().done.clone()
    }

    /// The versions in which such a request came by, in order.
    pub fn spoken(&self, api: ApiKey) -> Vec<i16> {
        let spoken = self.spoken.lock().unwrap();
        spoken.iter().filter(|(key, _)| *key == api as i16).map(|(_, version)| *version).collect()
    }

    /// Lets nothing through to and from these nodes (numbered from 1) for so long, and leaves all
    /// connections open. Begins when a batch is on its way to or from one of them, which stands still
    /// with all else.
    pub async fn silence(&self, nodes: &[usize], before: Side, lasting: Duration) {
        let links: Vec<_> = nodes.iter().map(|node| &self.links[node - 1]).collect();
        let set = |gate| links.iter().for_each(|link| link.gate.send_modify(|it| *it = gate));
        set(Gate::Closing(before));
        let shut = links.iter().map(|link| Box::pin(async { link.reaches(|gate| *gate == Gate::Shut).await }));
        timeout(PATIENCE, select_all(shut)).await.expect("a batch comes by");
        set(Gate::Shut);
        sleep(lasting).await;
        set(Gate::Open);
    }
}

async fn accept(listener: TcpListener, link: Arc<Link>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(Arc::clone(&link).carry(client));
    }
}

impl Link {
    /// One connection. A broker that is dead ends it at once.
    async fn carry(self: Arc<Self>, client: TcpStream) {
        let Ok(broker) = TcpStream::connect(&self.broker).await else { return };
        for stream in [&client, &broker] {
            stream.set_nodelay(true).unwrap();
        }
        let (from_client, to_client) = client.into_split();
        let (from_broker, to_broker) = broker.into_split();
        let asked = Arc::new(Asked::default());
        let requests = tokio::spawn(Arc::clone(&self).requests(from_client, to_broker, Arc::clone(&asked)));
        self.answers(from_broker, to_client, &asked).await;
        requests.abort();
    }

    /// Carries requests until the client ends the connection, the last ones too.
    async fn requests(self: Arc<Self>, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, asked: Arc<Asked>) {
        while let Some(frame) = frame(&mut from).await {
            let mut head = &frame[4..];
            let (api, version, id) = (head.get_i16(), head.get_i16(), head.get_i32());
            self.spoken.lock().unwrap().insert((api, version));
            let api = ApiKey::try_from(api).unwrap();
            asked.lock().unwrap().insert(id, (api, version));
            self.pass(api, Side::Request).await;
            if to.write_all(&frame).await.is_err() {
                return;
            }
        }
        self.opens().await;
    }

    /// Carries answers until the broker ends the connection, or it is cut.
    async fn answers(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, asked: &Asked) {
        while let Some(frame) = frame(&mut from).await {
            let id = (&frame[4..]).get_i32();
            let (api, version) = asked.lock().unwrap().remove(&id).unwrap();
            self.pass(api, Side::Answer).await;
            match self.losses.lock().unwrap().fate(api, version, &frame) {
                Some(Loss::Swallowed) => continue,
                Some(Loss::Cut) => return,
                None => {}
            }
            // A client that is gone may have requests on their way, which arrive all the same.
            let _ = to.write_all(&frame).await;
        }
        self.opens().await;
    }

    /// Passes when the gate is open.
    async fn pass(&self, api: ApiKey, side: Side) {
        self.gate.send_if_modified(|gate| {
            let shuts = api == ApiKey::Produce && *gate == Gate::Closing(side);
            if shuts {
                *gate = Gate::Shut;
            }
            shuts
        });
        self.opens().await;
    }

    async fn opens(&self) {
        self.reaches(|gate| *gate != Gate::Shut).await;
    }

    async fn reaches(&self, state: impl FnMut(&Gate) -> bool) {
        self.gate.subscribe().wait_for(state).await.unwrap();
    }
}

impl Losses {
    /// Whether and how this answer is lost.
    fn fate(&mut self, api: ApiKey, version: i16, frame: &[u8]) -> Option<Loss> {
        let due = self.due.iter().position(|(due, _)| *due == api)?;
        let codes = error_codes(api, version, Bytes::copy_from_slice(&frame[4..])).unwrap();
        if codes.is_empty() || codes.iter().any(|code| *code != 0) {
            return None;
        }
        let (_, loss) = self.due.remove(due);
        *self.done.entry((api, loss)).or_default() += 1;
        Some(loss)
    }
}

/// All error codes of an answer.
fn error_codes(api: ApiKey, version: i16, answer: Bytes) -> Result<Vec<i16>> {
    Ok(match api {
        ApiKey::Produce => {
            let topics = decode::<ProduceRequest>(version, answer)?.responses;
            topics.iter().flat_map(|topic| &topic.partition_responses).map(|found| found.error_code).collect()
        }
        ApiKey::AddPartitionsToTxn => {
            let topics = decode::<AddPartitionsToTxnRequest>(version, answer)?.results_by_topic_v3_and_below;
            topics.iter().flat_map(|topic| &topic.results_by_partition).map(|p| p.partition_error_code).collect()
        }
        ApiKey::TxnOffsetCommit => {
            let topics = decode::<TxnOffsetCommitRequest>(version, answer)?.topics;
            topics.iter().flat_map(|topic| &topic.partitions).map(|found| found.error_code).collect()
        }
        ApiKey::AddOffsetsToTxn => vec![decode::<AddOffsetsToTxnRequest>(version, answer)?.error_code],
        ApiKey::EndTxn => vec![decode::<EndTxnRequest>(version, answer)?.error_code],
        ApiKey::InitProducerId => vec![decode::<InitProducerIdRequest>(version, answer)?.error_code],
        _ => anyhow::bail!("answers to {api:?} are not to be lost"),
    })
}

fn decode<R: Request>(version: i16, mut answer: Bytes) -> Result<R::Response> {
    ResponseHeader::decode(&mut answer, R::Response::header_version(version))?;
    R::Response::decode(&mut answer, version)
}

/// A whole frame, its length included; nothing at the end of the stream.
async fn frame(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let length = from.read_u32().await.ok()?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.resize(4 + usize::try_from(length).unwrap(), 0);
    from.read_exact(&mut frame[4..]).await.ok()?;
    Some(frame)
}
