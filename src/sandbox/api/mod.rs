//! The requests that the sandbox answers: their versions, how they are read, who answers them.
//!
//! ```text
//! frame ─► Incoming::read ─► shape (lengths) ─► codec ─► faults' plan ─► handler ─► frame
//! ```

mod fetch;
mod metadata;
mod offsets;
mod produce;
mod topics;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::delete_records_request::DeleteRecordsPartition;
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::{
    ApiKey, CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest, FetchRequest, InitProducerIdRequest,
    ListOffsetsRequest, MetadataRequest, ProduceRequest, ResponseHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use thiserror::Error;

use super::cluster::{Cluster, Shared};
use super::fault::{Plan, Target};
use super::shape::{self, Field};

/// A request's API, as far as the sandbox knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Api {
    /// Appends batches.
    Produce,
    /// Reads batches.
    Fetch,
    /// Asks for the first and last offset, or that of a timestamp.
    ListOffsets,
    /// Asks for nodes, topics and leaders.
    Metadata,
    /// Asks what the node understands; the first request of every connection.
    ApiVersions,
    /// Makes topics.
    CreateTopics,
    /// Deletes topics.
    DeleteTopics,
    /// Moves the start of logs.
    DeleteRecords,
    /// Asks for an id for an idempotent producer.
    InitProducerId,
}

impl Api {
    /// All of them, in the order of their keys.
    pub const ALL: [Self; 9] = [
        Self::Produce,
        Self::Fetch,
        Self::ListOffsets,
        Self::Metadata,
        Self::ApiVersions,
        Self::CreateTopics,
        Self::DeleteTopics,
        Self::DeleteRecords,
        Self::InitProducerId,
    ];

    /// The lowest and highest version that is answered.
    pub fn versions(self) -> (i16, i16) {
        match self {
            Self::Produce => (3, 7),
            Self::Fetch => (4, 4),
            Self::ListOffsets => (1, 3),
            Self::Metadata => (0, 4),
            Self::ApiVersions => (0, 3),
            Self::CreateTopics => (2, 5),
            Self::DeleteTopics => (1, 5),
            Self::DeleteRecords => (0, 2),
            Self::InitProducerId => (0, 1),
        }
    }

    fn key(self) -> ApiKey {
        match self {
            Self::Produce => ApiKey::Produce,
            Self::Fetch => ApiKey::Fetch,
            Self::ListOffsets => ApiKey::ListOffsets,
            Self::Metadata => ApiKey::Metadata,
            Self::ApiVersions => ApiKey::ApiVersions,
            Self::CreateTopics => ApiKey::CreateTopics,
            Self::DeleteTopics => ApiKey::DeleteTopics,
            Self::DeleteRecords => ApiKey::DeleteRecords,
            Self::InitProducerId => ApiKey::InitProducerId,
        }
    }

    fn of(key: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|api| api.key() as i16 == key)
    }

    /// The fields of a request's body, in that version's order.
    fn shape(self, version: i16) -> &'static [Field] {
        use Field::{Blob, Fixed, Structs, Text, Values};
        match (self, version) {
            (Self::Produce, _) => &[Text, Fixed(2 + 4), Structs(&[Text, Structs(&[Fixed(4), Blob])])],
            (Self::Fetch, _) => &[Fixed(4 * 4 + 1), Structs(&[Text, Structs(&[Fixed(4 + 8 + 4)])])],
            (Self::ListOffsets, 1) => &[Fixed(4), Structs(&[Text, Structs(&[Fixed(4 + 8)])])],
            (Self::ListOffsets, _) => &[Fixed(4 + 1), Structs(&[Text, Structs(&[Fixed(4 + 8)])])],
            (Self::Metadata, ..=3) => &[Structs(&[Text])],
            (Self::Metadata, _) => &[Structs(&[Text]), Fixed(1)],
            (Self::ApiVersions, ..=2) => &[],
            (Self::ApiVersions, _) => &[Text, Text],
            (Self::CreateTopics, _) => &[
                Structs(&[Text, Fixed(4 + 2), Structs(&[Fixed(4), Values(&Fixed(4))]), Structs(&[Text, Text])]),
                Fixed(4 + 1),
            ],
            (Self::DeleteTopics, _) => &[Values(&Text), Fixed(4)],
            (Self::DeleteRecords, _) => &[Structs(&[Text, Structs(&[Fixed(4 + 8)])]), Fixed(4)],
            (Self::InitProducerId, _) => &[Text, Fixed(4)],
        }
    }
}

/// Why a connection is closed on a client.
#[derive(Debug, Error)]
pub(super) enum Refusal {
    #[error("a frame of {0} bytes holds no request header")]
    Header(usize),
    #[error("API {0} is not known")]
    UnknownApi(i16),
    #[error("{api:?} has no version {version} here")]
    UnknownVersion { api: Api, version: i16 },
    #[error("the bytes are no {api:?} request of version {version}")]
    Malformed { api: Api, version: i16 },
    #[error("acks=0 and the batch was refused: there is no other way to say so")]
    RefusedUnacknowledged,
    #[error("the answer cannot be written: {0}")]
    Encode(String),
}

/// One request, read whole.
#[derive(Debug)]
pub(super) struct Incoming {
    pub api: Api,
    version: i16,
    correlation_id: i32,
    request: Request,
}

#[derive(Debug)]
enum Request {
    Produce(ProduceRequest),
    Fetch(FetchRequest),
    ListOffsets(ListOffsetsRequest),
    Metadata(MetadataRequest),
    ApiVersions,
    /// Of a version that only the future knows.
    UnsupportedApiVersions,
    CreateTopics(CreateTopicsRequest),
    DeleteTopics(DeleteTopicsRequest),
    DeleteRecords(DeleteRecordsRequest),
    InitProducerId(InitProducerIdRequest),
}

impl Incoming {
    /// Reads a frame's payload.
    pub fn read(frame: Bytes) -> Result<Self, Refusal> {
        let size = frame.len();
        let mut at = frame;
        if size < 8 {
            return Err(Refusal::Header(size));
        }
        let key = at.get_i16();
        let version = at.get_i16();
        let correlation_id = at.get_i32();
        let api = Api::of(key).ok_or(Refusal::UnknownApi(key))?;
        let (lowest, highest) = api.versions();
        if api == Api::ApiVersions && version > highest {
            let request = Request::UnsupportedApiVersions;
            return Ok(Self { api, version, correlation_id, request });
        }
        if !(lowest..=highest).contains(&version) {
            return Err(Refusal::UnknownVersion { api, version });
        }
        let flexible = api.key().request_header_version(version) >= 2;
        let body = shape::after_client_id(flexible, at).ok_or(Refusal::Header(size))?;
        if !shape::fits(api.shape(version), flexible, body.clone()) {
            return Err(Refusal::Malformed { api, version });
        }
        let request = Request::decode(api, version, body).ok_or(Refusal::Malformed { api, version })?;
        Ok(Self { api, version, correlation_id, request })
    }

    /// Counts the request and says what goes wrong with it.
    pub fn admit(&self, cluster: &mut Cluster, node: i32) -> Plan {
        *cluster.requests.entry(self.api).or_default() += 1;
        if cluster.faults.is_empty() {
            return Plan::default();
        }
        let targets = self.targets(cluster);
        cluster.faults.plan(self.api, node, targets)
    }

    /// Does what is asked. `None` where no answer is due.
    pub async fn answer(self, shared: &Shared, node: i32, plan: &Plan) -> Result<Option<BytesMut>, Refusal> {
        let (api, version, id) = (self.api, self.version, self.correlation_id);
        let answer = match self.request {
            Request::Produce(request) => {
                let acknowledged = request.acks != 0;
                let response = produce::answer(shared, node, version, plan, request);
                if !acknowledged {
                    return produce::unacknowledged(&response).map(|()| None);
                }
                encode(api, version, id, &response)
            }
            Request::Fetch(request) => {
                let response = fetch::answer(shared, node, plan, &request).await;
                encode(api, version, id, &response)
            }
            Request::ListOffsets(request) => {
                let response = offsets::list(&mut shared.lock(), node, plan, request);
                encode(api, version, id, &response)
            }
            Request::Metadata(request) => {
                let response = metadata::answer(&shared.lock(), version, plan, request);
                encode(api, version, id, &response)
            }
            Request::ApiVersions => encode(api, version, id, &metadata::versions(plan)),
            Request::UnsupportedApiVersions => encode(api, 0, id, &metadata::unsupported_versions()),
            Request::CreateTopics(request) => {
                let response = topics::create(shared, plan, request);
                encode(api, version, id, &response)
            }
            Request::DeleteTopics(request) => {
                let response = topics::delete(shared, plan, request);
                encode(api, version, id, &response)
            }
            Request::DeleteRecords(request) => {
                let response = offsets::delete_records(shared, node, plan, request);
                encode(api, version, id, &response)
            }
            Request::InitProducerId(request) => {
                let response = produce::producer_id(&mut shared.lock(), plan, &request);
                encode(api, version, id, &response)
            }
        };
        answer.map(Some)
    }

    /// What the request names, for the faults to match.
    fn targets(&self, cluster: &Cluster) -> Vec<Target> {
        match &self.request {
            Request::Produce(r) => {
                let topics = r.topic_data.iter();
                partitions(topics.map(|t| (&*t.name, t.partition_data.iter().map(|p| p.index))))
            }
            Request::Fetch(r) => {
                let topics = r.topics.iter();
                partitions(topics.map(|t| (&*t.topic, t.partitions.iter().map(|p| p.partition))))
            }
            Request::ListOffsets(r) => {
                let index = |p: &ListOffsetsPartition| p.partition_index;
                let topics = r.topics.iter();
                partitions(topics.map(|t| (&*t.name, t.partitions.iter().map(index))))
            }
            Request::DeleteRecords(r) => {
                let index = |p: &DeleteRecordsPartition| p.partition_index;
                let topics = r.topics.iter();
                partitions(topics.map(|t| (&*t.name, t.partitions.iter().map(index))))
            }
            Request::Metadata(r) => match metadata::wanted(self.version, r) {
                Some(names) => names.iter().map(|name| Target::topic(name)).collect(),
                None => cluster.topics.keys().map(|name| Target::topic(name)).collect(),
            },
            Request::CreateTopics(r) => r.topics.iter().map(|t| Target::topic(&t.name)).collect(),
            Request::DeleteTopics(r) => r.topic_names.iter().map(|n| Target::topic(n)).collect(),
            Request::ApiVersions | Request::UnsupportedApiVersions | Request::InitProducerId(_) => Vec::new(),
        }
    }
}

impl Request {
    fn decode(api: Api, version: i16, mut body: Bytes) -> Option<Self> {
        let at = &mut body;
        match api {
            Api::Produce => ProduceRequest::decode(at, version).map(Self::Produce),
            Api::Fetch => FetchRequest::decode(at, version).map(Self::Fetch),
            Api::ListOffsets => ListOffsetsRequest::decode(at, version).map(Self::ListOffsets),
            Api::Metadata => MetadataRequest::decode(at, version).map(Self::Metadata),
            Api::ApiVersions => Ok(Self::ApiVersions),
            Api::CreateTopics => CreateTopicsRequest::decode(at, version).map(Self::CreateTopics),
            Api::DeleteTopics => DeleteTopicsRequest::decode(at, version).map(Self::DeleteTopics),
            Api::DeleteRecords => DeleteRecordsRequest::decode(at, version).map(Self::DeleteRecords),
            Api::InitProducerId => InitProducerIdRequest::decode(at, version).map(Self::InitProducerId),
        }
        .ok()
    }
}

fn partitions<'a, P: Iterator<Item = i32>>(topics: impl Iterator<Item = (&'a StrBytes, P)>) -> Vec<Target> {
    topics
        .flat_map(|(topic, partitions)| partitions.map(move |partition| Target::partition(topic, partition)))
        .collect()
}

/// Header and body of an answer, without the frame's length.
fn encode(api: Api, version: i16, correlation_id: i32, response: &impl Encodable) -> Result<BytesMut, Refusal> {
    let mut out = BytesMut::new();
    let header_version = api.key().response_header_version(version);
    ResponseHeader::default()
        .with_correlation_id(correlation_id)
        .encode(&mut out, header_version)
        .and_then(|()| response.encode(&mut out, version))
        .map_err(|error| Refusal::Encode(error.to_string()))?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_is_refused_without_a_panic() {
        for api in Api::ALL {
            let (lowest, highest) = api.versions();
            for version in lowest..=highest {
                for filler in [0x00, 0x01, 0x02, 0x7f, 0x80, 0xff] {
                    for length in 0..80 {
                        let mut frame = (api.key() as i16).to_be_bytes().to_vec();
                        frame.extend(version.to_be_bytes());
                        frame.extend([0, 0, 0, 1, 0, 0]);
                        frame.extend(std::iter::repeat_n(filler, length));
                        let _ = Incoming::read(frame.into());
                    }
                }
            }
        }
    }

    #[test]
    fn a_future_api_versions_is_read_by_its_correlation_id_alone() {
        let frame = [0, 18, 0, 99, 0, 0, 0, 7, 0xde, 0xad];
        let incoming = Incoming::read(Bytes::copy_from_slice(&frame)).unwrap();
        assert_eq!(incoming.correlation_id, 7);
        assert!(matches!(incoming.request, Request::UnsupportedApiVersions));
    }
}
