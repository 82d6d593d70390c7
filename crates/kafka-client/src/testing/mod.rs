//! A broker that answers whatever a test makes it answer, and what becomes of it.

#![allow(clippy::unwrap_used, reason = "a helper fails as its test would")]

mod responses;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod transactions;
#[cfg(test)]
mod writing;

pub use responses::{fetched, identified, metadata, offset, produced};

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsResponse, ResponseHeader, TopicName};
use kafka_protocol::protocol::{Encodable, StrBytes};
use kafka_records::batch::{BatchBuilder, Outgoing};
use kafka_records::compression::Compression;
use kafka_records::record::Headers;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::versions::KNOWN_VERSIONS;
use super::{Cluster, Options, Permit};

/// The body of an answer, in a version, of a broker on a port, to a request that begins with its
/// header.
type Answer = Box<dyn Fn(i16, u16, Bytes) -> Bytes + Send + Sync>;

/// A broker that is truthful but for what it was told to say. It leads partition 0 of topic `t`.
pub struct ScriptedBroker(HashMap<i16, Answer>);

impl Default for ScriptedBroker {
    fn default() -> Self {
        Self::new()
    }
}

impl ScriptedBroker {
    /// One that answers `ApiVersions` and `Metadata` as it should, and nothing else.
    pub fn new() -> Self {
        let range = |(key, range): (ApiKey, _)| {
            let kafka_protocol::protocol::VersionRange { min, max } = range;
            ApiVersion::default().with_api_key(key as i16).with_min_version(min).with_max_version(max)
        };
        let versions = ApiVersionsResponse::default().with_api_keys(KNOWN_VERSIONS.map(range).into());
        Self(HashMap::new())
            .respond(ApiKey::ApiVersions, move |_| versions.clone())
            .respond(ApiKey::Metadata, |port| metadata(port, &[0]))
    }

    /// It answers this from now on.
    pub fn respond<R: Encodable>(self, key: ApiKey, answer: impl Fn(u16) -> R + Send + Sync + 'static) -> Self {
        self.respond_bytes(key, move |version, port| encoded(&answer(port), version))
    }

    /// The same, once it has heard what it is asked: a request that begins with its header.
    pub fn expect<R: Encodable>(
        mut self,
        key: ApiKey,
        answer: impl Fn(i16, &mut Bytes) -> R + Send + Sync + 'static,
    ) -> Self {
        let answer = move |version: i16, _: u16, mut request: Bytes| encoded(&answer(version, &mut request), version);
        self.0.insert(key as i16, Box::new(answer));
        self
    }

    /// The same in bytes.
    pub fn respond_bytes(mut self, key: ApiKey, answer: impl Fn(i16, u16) -> Bytes + Send + Sync + 'static) -> Self {
        self.0.insert(key as i16, Box::new(move |version, port, _| answer(version, port)));
        self
    }

    /// Lets it speak, to a client that is returned.
    pub async fn start(self) -> Arc<Cluster> {
        Arc::new(Cluster::new(self.listen().await))
    }

    /// Lets it speak, and says how to reach it.
    pub async fn listen(self) -> Options {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers = Arc::new(self.0);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&answers), port));
            }
        });
        let bootstrap = vec![format!("127.0.0.1:{port}")];
        Options { bootstrap, request_timeout: Duration::from_secs(5), ..Options::default() }
    }
}

/// An answer's body.
pub fn encoded(answer: &impl Encodable, version: i16) -> Bytes {
    let mut out = BytesMut::new();
    answer.encode(&mut out, version).unwrap();
    out.freeze()
}

/// Answers until the client leaves.
async fn answer(mut stream: TcpStream, answers: Arc<HashMap<i16, Answer>>, port: u16) {
    while let Ok(length) = stream.read_u32().await {
        let mut request = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut request).await.unwrap();
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
        stream.write_all(&out).await.unwrap();
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
