//! What tests of a client need: a broker that responds as it is told, and a network in memory to reach it by.

#![allow(clippy::unwrap_used, reason = "a helper fails as its test would")]

mod clocks;
pub(crate) mod filled;
mod network;
mod responses;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod transactions;
#[cfg(test)]
mod writing;

pub use clocks::{Clocks, clocks, set_clocks};
pub use filled::{NotWritten, TESTED, Tested};
pub use network::{Endpoint, Host, Listener, Network, Path};
pub use responses::{fetched, identified, metadata, offset, produced};

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsResponse, ResponseHeader, TopicName};
use kafka_protocol::protocol::{Encodable, StrBytes};
use kafka_records::batch::{BatchBuilder, Outgoing};
use kafka_records::compression::Compression;
use kafka_records::record::Headers;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

#[cfg(feature = "net")]
use super::Options;
use super::api;
use super::membership::subscription::{Assignment, decode_assignment, encode_assignment};
use super::membership::{Partitions, Request, Response};
use super::response_schema::decode;
use super::versions::Api;
use super::{Cluster, Permit};

/// Gives a response's body, in a version, of a broker on a port, to a request that begins with its header.
type Answer = Box<dyn Fn(i16, u16, Bytes) -> Bytes + Send + Sync>;

/// A broker that responds as it is told, and truthfully otherwise. It leads partition 0 of topic `t`.
pub struct ScriptedBroker(HashMap<i16, Answer>);

impl Default for ScriptedBroker {
    fn default() -> Self {
        Self::new()
    }
}

impl ScriptedBroker {
    /// One that answers `ApiVersions` and `Metadata` as it should, and nothing else.
    pub fn new() -> Self {
        let range = |api: &Api| {
            let (min, max) = (api.versions.min, api.versions.max);
            ApiVersion::default().with_api_key(api.key).with_min_version(min).with_max_version(max)
        };
        let versions = ApiVersionsResponse::default().with_api_keys(api::ALL.iter().map(range).collect());
        Self(HashMap::new())
            .respond(ApiKey::ApiVersions, move |_| versions.clone())
            .respond(ApiKey::Metadata, |port| metadata(port, &[0]))
    }

    /// Sets the response to an API's requests.
    pub fn respond<R: Encodable>(self, key: ApiKey, answer: impl Fn(u16) -> R + Send + Sync + 'static) -> Self {
        self.respond_bytes(key, move |version, port| encoded(&answer(port), version))
    }

    /// Sets the response to an API's requests by what each asks: it begins with its header.
    pub fn expect<R: Encodable>(
        mut self,
        key: ApiKey,
        answer: impl Fn(i16, &mut Bytes) -> R + Send + Sync + 'static,
    ) -> Self {
        let answer = move |version: i16, _: u16, mut request: Bytes| encoded(&answer(version, &mut request), version);
        self.0.insert(key as i16, Box::new(answer));
        self
    }

    /// Sets the body of the response to an API's requests, in bytes.
    pub fn respond_bytes(mut self, key: ApiKey, answer: impl Fn(i16, u16) -> Bytes + Send + Sync + 'static) -> Self {
        self.0.insert(key as i16, Box::new(move |version, port, _| answer(version, port)));
        self
    }

    /// Serves a client that is returned, on a network of their own.
    pub fn start(self) -> Arc<Cluster> {
        let network = Network::default();
        self.serve(&network, 9092);
        Arc::new(Cluster::new(network.options("client", &["127.0.0.1:9092"])))
    }

    /// Serves this port of 127.0.0.1 on a network in memory, as its responses say.
    pub fn serve(self, network: &Network, port: u16) {
        let mut listener = network.listen(&format!("127.0.0.1:{port}"));
        let answers = Arc::new(self.0);
        tokio::spawn(async move {
            while let Some(stream) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&answers), port));
            }
        });
    }

    /// Serves a port of this machine, for what connects by itself. Returns how to reach it.
    #[cfg(feature = "net")]
    pub async fn listen(self) -> Options {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers = Arc::new(self.0);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&answers), port));
            }
        });
        let bootstrap = vec![format!("127.0.0.1:{port}")];
        Options { bootstrap, request_timeout: std::time::Duration::from_secs(5), ..Options::default() }
    }
}

/// The part of one member, and what the leader shared by, where it says so; `None` where the bytes are no assignment.
pub fn assignment(bytes: &[u8]) -> Option<(Partitions, Option<BTreeMap<String, i32>>)> {
    decode_assignment(bytes).ok().map(|Assignment { partitions, shared }| (partitions, shared))
}

/// The bytes of an assignment, as a leader of our kind writes them.
pub fn assignment_bytes(partitions: &Partitions, shared: Option<&BTreeMap<String, i32>>) -> Bytes {
    encode_assignment(partitions, shared)
}

/// The response to a member's request that these bytes are, header included, in the latest version; `None` where the client
/// refuses them.
pub fn response_to(request: &Request, bytes: &Bytes) -> Option<Response> {
    use kafka_protocol::messages as of;
    fn decoded<R: kafka_protocol::protocol::Request>(api: &Api, bytes: &Bytes) -> Option<R::Response> {
        decode::<R>(api, api.versions.max, bytes).ok().map(|(response, _)| response)
    }
    Some(match request {
        Request::Join(_) => Response::Join(decoded::<of::JoinGroupRequest>(&api::join_group::API, bytes)?),
        Request::Sync(_) => Response::Sync(decoded::<of::SyncGroupRequest>(&api::sync_group::API, bytes)?),
        Request::Heartbeat(_) => Response::Heartbeat(decoded::<of::HeartbeatRequest>(&api::heartbeat::API, bytes)?),
        Request::Leave(_) => Response::Leave(decoded::<of::LeaveGroupRequest>(&api::leave_group::API, bytes)?),
        Request::ConsumerHeartbeat(_) => {
            let api = &api::consumer_group_heartbeat::API;
            Response::ConsumerHeartbeat(decoded::<of::ConsumerGroupHeartbeatRequest>(api, bytes)?)
        }
    })
}

/// A response's body.
pub fn encoded(answer: &impl Encodable, version: i16) -> Bytes {
    let mut out = BytesMut::new();
    answer.encode(&mut out, version).unwrap();
    out.freeze()
}

/// Answers until the client leaves, or asks what there is no response to.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, answers: Arc<HashMap<i16, Answer>>, port: u16) {
    while let Ok(length) = stream.read_u32().await {
        let mut request = vec![0; usize::try_from(length).unwrap()];
        if stream.read_exact(&mut request).await.is_err() {
            return;
        }
        let number = |at: usize| i16::from_be_bytes([request[at], request[at + 1]]);
        let (key, version) = (number(0), number(2));
        let id = i32::from_be_bytes([request[4], request[5], request[6], request[7]]);
        let Some(answer) = answers.get(&key) else { return };
        let mut out = BytesMut::new();
        out.put_u32(0);
        let header_version = ApiKey::try_from(key).unwrap().response_header_version(version);
        ResponseHeader::default().with_correlation_id(id).encode(&mut out, header_version).unwrap();
        out.put_slice(&answer(version, port, request.into()));
        let length = u32::try_from(out.len() - 4).unwrap();
        out[..4].copy_from_slice(&length.to_be_bytes());
        if stream.write_all(&out).await.is_err() {
            return;
        }
    }
}

/// A text of the protocol.
pub fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

/// A topic's name in the protocol.
pub fn topic(name: &'static str) -> TopicName {
    TopicName(text(name))
}

/// A permit that a test takes away.
#[derive(Debug, Clone, Default)]
pub struct Revocable(Arc<AtomicBool>);

impl Revocable {
    /// Takes it away for ever.
    pub fn revoke(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Permit for Revocable {
    fn holds(&self) -> bool {
        !self.0.load(Ordering::Acquire)
    }
}

/// A batch of so many records without key or value, from `base` on.
pub fn batch(base: i64, records: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::default();
    for _ in 0..records {
        builder.append(&Outgoing { timestamp_ms: 5, key: None, value: None }, Headers::NONE);
    }
    let mut bytes = builder.finish(Compression::None).unwrap().to_vec();
    bytes[..8].copy_from_slice(&base.to_be_bytes());
    bytes
}
