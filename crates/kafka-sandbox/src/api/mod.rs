//! The requests that the sandbox answers: their versions, how they are read, who answers them.
//!
//! ```text
//! frame ─► Incoming::read ─► schema (lengths) ─► codec ─► faults' plan ─► handler ─► frame
//! ```

mod fetch;
mod group_offsets;
mod groups;
mod kind;
mod metadata;
mod offsets;
mod produce;
mod topics;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::delete_records_request::DeleteRecordsPartition;
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::{
    CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest, DescribeGroupsRequest, FetchRequest,
    FindCoordinatorRequest, HeartbeatRequest, InitProducerIdRequest, JoinGroupRequest, LeaveGroupRequest,
    ListOffsetsRequest, MetadataRequest, OffsetCommitRequest, OffsetFetchRequest, OffsetForLeaderEpochRequest,
    ProduceRequest, ResponseHeader, SyncGroupRequest,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use thiserror::Error;

use super::cluster::{Cluster, Shared};
use super::fault::{Asked, Plan, Target};
use super::schema;

pub use kind::Api;

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
    client_id: String,
    request: Request,
}

#[derive(Debug)]
enum Request {
    Produce(ProduceRequest),
    Fetch(FetchRequest),
    ListOffsets(ListOffsetsRequest),
    Metadata(MetadataRequest),
    OffsetCommit(OffsetCommitRequest),
    OffsetFetch(OffsetFetchRequest),
    FindCoordinator(FindCoordinatorRequest),
    JoinGroup(JoinGroupRequest),
    Heartbeat(HeartbeatRequest),
    LeaveGroup(LeaveGroupRequest),
    SyncGroup(SyncGroupRequest),
    DescribeGroups(DescribeGroupsRequest),
    ApiVersions,
    /// Of a version that only the future knows.
    UnsupportedApiVersions,
    CreateTopics(CreateTopicsRequest),
    DeleteTopics(DeleteTopicsRequest),
    DeleteRecords(DeleteRecordsRequest),
    InitProducerId(InitProducerIdRequest),
    OffsetForLeaderEpoch(OffsetForLeaderEpochRequest),
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
            return Ok(Self { api, version, correlation_id, client_id: String::new(), request });
        }
        if !(lowest..=highest).contains(&version) {
            return Err(Refusal::UnknownVersion { api, version });
        }
        let flexible = api.key().request_header_version(version) >= 2;
        let (client_id, body) = schema::client_id(flexible, at).ok_or(Refusal::Header(size))?;
        if !schema::fits(api.schema(version), flexible, body.clone()) {
            return Err(Refusal::Malformed { api, version });
        }
        let request = Request::decode(api, version, body).ok_or(Refusal::Malformed { api, version })?;
        Ok(Self { api, version, correlation_id, client_id, request })
    }

    /// Counts the request and says what goes wrong with it.
    pub fn admit(&self, cluster: &mut Cluster, node: i32) -> Plan {
        *cluster.requests.entry(self.api).or_default() += 1;
        if cluster.faults.is_empty() {
            return Plan::default();
        }
        let targets = self.targets(cluster);
        cluster.faults.plan(Asked { api: self.api, node, client: &self.client_id }, targets)
    }

    /// Does what is asked. `None` where no answer is due.
    pub async fn answer(self, shared: &Shared, node: i32, plan: &Plan) -> Result<Option<BytesMut>, Refusal> {
        let (api, version, id) = (self.api, self.version, self.correlation_id);
        let stale = plan.stale.and_then(|snapshot| shared.at(snapshot));
        let shared = stale.as_deref().unwrap_or(shared);
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
                let response = fetch::answer(shared, node, plan, &self.client_id, &request).await;
                encode(api, version, id, &response)
            }
            Request::ListOffsets(request) => {
                let response = offsets::list(&mut shared.lock(), node, plan, request);
                encode(api, version, id, &response)
            }
            Request::Metadata(request) => {
                let response = metadata::answer(&shared.lock(), version, plan, &request);
                encode(api, version, id, &response)
            }
            Request::OffsetCommit(request) => {
                let response = group_offsets::commit(&mut shared.lock(), node, plan, request);
                encode(api, version, id, &response)
            }
            Request::OffsetFetch(request) => {
                let response = group_offsets::fetch(&shared.lock(), node, version, plan, request);
                encode(api, version, id, &response)
            }
            Request::FindCoordinator(request) => {
                let response = groups::find_coordinator(&shared.lock(), version, plan, request);
                encode(api, version, id, &response)
            }
            Request::JoinGroup(request) => {
                let response = groups::join(shared, node, version, plan, &self.client_id, request).await;
                let Some(response) = response else { return Ok(None) };
                encode(api, version, id, &response)
            }
            Request::Heartbeat(request) => {
                let response = groups::heartbeat(&mut shared.lock(), node, plan, request);
                encode(api, version, id, &response)
            }
            Request::LeaveGroup(request) => {
                let response = groups::leave(&mut shared.lock(), node, version, plan, request);
                encode(api, version, id, &response)
            }
            Request::SyncGroup(request) => {
                let Some(response) = groups::sync(shared, node, plan, request).await else { return Ok(None) };
                encode(api, version, id, &response)
            }
            Request::DescribeGroups(request) => {
                let response = groups::describe(&shared.lock(), node, version, plan, request);
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
            Request::OffsetForLeaderEpoch(request) => {
                let response = offsets::epoch_ends(&mut shared.lock(), node, plan, request);
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
            Request::Fetch(r) => fetch::targets(r),
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
            Request::OffsetForLeaderEpoch(r) => {
                let topics = r.topics.iter();
                partitions(topics.map(|t| (&*t.topic, t.partitions.iter().map(|p| p.partition))))
            }
            Request::Metadata(r) => {
                let wanted = metadata::wanted(cluster, self.version, r);
                wanted.iter().filter_map(|wanted| wanted.name()).map(Target::topic).collect()
            }
            Request::OffsetCommit(_)
            | Request::OffsetFetch(_)
            | Request::FindCoordinator(_)
            | Request::JoinGroup(_)
            | Request::Heartbeat(_)
            | Request::LeaveGroup(_)
            | Request::SyncGroup(_)
            | Request::DescribeGroups(_) => self.group_targets(),
            Request::CreateTopics(r) => r.topics.iter().map(|t| Target::topic(&t.name)).collect(),
            Request::DeleteTopics(r) => r.topic_names.iter().map(|n| Target::topic(n)).collect(),
            Request::ApiVersions | Request::UnsupportedApiVersions | Request::InitProducerId(_) => Vec::new(),
        }
    }

    /// The same of a request about groups.
    fn group_targets(&self) -> Vec<Target> {
        match &self.request {
            Request::OffsetCommit(r) => group_offsets::committed_targets(r),
            Request::OffsetFetch(r) => group_offsets::fetched_targets(self.version, r),
            Request::FindCoordinator(r) => groups::keys(self.version, r).iter().map(|key| Target::group(key)).collect(),
            Request::JoinGroup(r) => vec![Target::group(&r.group_id)],
            Request::Heartbeat(r) => vec![Target::group(&r.group_id)],
            Request::LeaveGroup(r) => vec![Target::group(&r.group_id)],
            Request::SyncGroup(r) => vec![Target::group(&r.group_id)],
            Request::DescribeGroups(r) => r.groups.iter().map(|group| Target::group(group)).collect(),
            _ => Vec::new(),
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
            Api::OffsetCommit => OffsetCommitRequest::decode(at, version).map(Self::OffsetCommit),
            Api::OffsetFetch => OffsetFetchRequest::decode(at, version).map(Self::OffsetFetch),
            Api::FindCoordinator => FindCoordinatorRequest::decode(at, version).map(Self::FindCoordinator),
            Api::JoinGroup => JoinGroupRequest::decode(at, version).map(Self::JoinGroup),
            Api::Heartbeat => HeartbeatRequest::decode(at, version).map(Self::Heartbeat),
            Api::LeaveGroup => LeaveGroupRequest::decode(at, version).map(Self::LeaveGroup),
            Api::SyncGroup => SyncGroupRequest::decode(at, version).map(Self::SyncGroup),
            Api::DescribeGroups => DescribeGroupsRequest::decode(at, version).map(Self::DescribeGroups),
            Api::ApiVersions => Ok(Self::ApiVersions),
            Api::CreateTopics => CreateTopicsRequest::decode(at, version).map(Self::CreateTopics),
            Api::DeleteTopics => DeleteTopicsRequest::decode(at, version).map(Self::DeleteTopics),
            Api::DeleteRecords => DeleteRecordsRequest::decode(at, version).map(Self::DeleteRecords),
            Api::InitProducerId => InitProducerIdRequest::decode(at, version).map(Self::InitProducerId),
            Api::OffsetForLeaderEpoch => {
                OffsetForLeaderEpochRequest::decode(at, version).map(Self::OffsetForLeaderEpoch)
            }
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
