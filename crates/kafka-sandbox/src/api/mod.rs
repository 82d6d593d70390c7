//! The requests that the sandbox answers, one file an API, by Kafka's name for it: versions, schema, handler.
//!
//! ```text
//! frame ─► Incoming::read ─► APIS ─► schema (lengths) ─► codec ─► faults' plan ─► handler ─► frame
//! ```

mod add_offsets_to_txn;
mod add_partitions_to_txn;
mod api_versions;
mod call;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod create_topics;
mod delete_records;
mod delete_topics;
mod describe_groups;
mod describe_producers;
mod end_txn;
mod fetch;
mod find_coordinator;
mod heartbeat;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_offsets;
mod members;
mod metadata;
mod offset_commit;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod sync_group;
mod txn_offset_commit;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, ApiKey, ApiVersionsRequest, ConsumerGroupDescribeRequest,
    ConsumerGroupHeartbeatRequest, CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest,
    DescribeGroupsRequest, DescribeProducersRequest, EndTxnRequest, FetchRequest, FindCoordinatorRequest,
    HeartbeatRequest, InitProducerIdRequest, JoinGroupRequest, LeaveGroupRequest, ListOffsetsRequest, MetadataRequest,
    OffsetCommitRequest, OffsetFetchRequest, OffsetForLeaderEpochRequest, ProduceRequest, ResponseHeader,
    SyncGroupRequest, TxnOffsetCommitRequest,
};
use kafka_protocol::protocol::Encodable;

use api_versions::OfTheFuture;
use call::{Answer, Asked, Body, Call, Row};

pub(super) use call::Refusal;

use super::cluster::{Cluster, Shared};
use super::fault::{self, Plan};
use super::schema;

/// All that is answered, in the order of the keys.
const APIS: &[Row] = &[
    Row::of::<ProduceRequest>(),
    Row::of::<FetchRequest>(),
    Row::of::<ListOffsetsRequest>(),
    Row::of::<MetadataRequest>(),
    Row::of::<OffsetCommitRequest>(),
    Row::of::<OffsetFetchRequest>(),
    Row::of::<FindCoordinatorRequest>(),
    Row::of::<JoinGroupRequest>(),
    Row::of::<HeartbeatRequest>(),
    Row::of::<LeaveGroupRequest>(),
    Row::of::<SyncGroupRequest>(),
    Row::of::<DescribeGroupsRequest>(),
    Row::of::<ApiVersionsRequest>(),
    Row::of::<CreateTopicsRequest>(),
    Row::of::<DeleteTopicsRequest>(),
    Row::of::<DeleteRecordsRequest>(),
    Row::of::<InitProducerIdRequest>(),
    Row::of::<OffsetForLeaderEpochRequest>(),
    Row::of::<AddPartitionsToTxnRequest>(),
    Row::of::<AddOffsetsToTxnRequest>(),
    Row::of::<EndTxnRequest>(),
    Row::of::<TxnOffsetCommitRequest>(),
    Row::of::<DescribeProducersRequest>(),
    Row::of::<ConsumerGroupHeartbeatRequest>(),
    Row::of::<ConsumerGroupDescribeRequest>(),
];

/// Every API that the sandbox answers, with its lowest and highest version.
pub fn versions() -> impl Iterator<Item = (ApiKey, i16, i16)> {
    APIS.iter().filter_map(|row| Some((ApiKey::try_from(row.key).ok()?, row.lowest, row.highest)))
}

/// One request, read whole.
#[derive(Debug)]
pub(super) struct Incoming {
    pub api: ApiKey,
    version: i16,
    correlation_id: i32,
    client_id: String,
    request: Box<dyn Asked>,
}

impl Incoming {
    /// Reads a frame's payload.
    pub(crate) fn read(frame: Bytes) -> Result<Self, Refusal> {
        let size = frame.len();
        let mut at = frame;
        if size < 8 {
            return Err(Refusal::Header(size));
        }
        let key = at.get_i16();
        let version = at.get_i16();
        let correlation_id = at.get_i32();
        let row = APIS.iter().find(|row| row.key == key).ok_or(Refusal::UnknownApi(key))?;
        let api = ApiKey::try_from(key).map_err(|()| Refusal::UnknownApi(key))?;
        if api == ApiKey::ApiVersions && version > row.highest {
            // Whoever asks so reads version 0.
            return Ok(Self {
                api,
                version: 0,
                correlation_id,
                client_id: String::new(),
                request: Box::new(OfTheFuture),
            });
        }
        if !(row.lowest..=row.highest).contains(&version) {
            return Err(Refusal::UnknownVersion { api, version });
        }
        let flexible = api.request_header_version(version) >= 2;
        let (client_id, body) = schema::client_id(flexible, at).ok_or(Refusal::Header(size))?;
        let malformed = Refusal::Malformed { api, version };
        if !schema::fits((row.schema)(version), flexible, body.clone()) {
            return Err(malformed);
        }
        let request = (row.read)(body, version).ok_or(malformed)?;
        Ok(Self { api, version, correlation_id, client_id, request })
    }

    /// Counts the request and says what goes wrong with it.
    pub(crate) fn admit(&self, cluster: &mut Cluster, node: i32) -> Plan {
        *cluster.requests.entry(self.api).or_default() += 1;
        if cluster.faults.is_empty() {
            return Plan::default();
        }
        let targets = self.request.targets(self.version, cluster);
        cluster.faults.plan(fault::Asked { api: self.api, node, client: &self.client_id }, targets)
    }

    /// Does what is asked. `None` where no answer is due.
    pub(crate) async fn answer(self, shared: &Shared, node: i32, plan: &Plan) -> Result<Option<BytesMut>, Refusal> {
        let Self { api, version, correlation_id, client_id, request } = self;
        let stale = plan.stale.and_then(|snapshot| shared.at(snapshot));
        let shared = stale.as_deref().unwrap_or(shared);
        let call = Call { shared, node, version, client: &client_id, plan, apis: APIS };
        let body = match request.answer(call) {
            Answer::Now(body) => body,
            Answer::Later(held) => match held.await {
                Some(body) => body,
                None => return Ok(None),
            },
            Answer::None => return Ok(None),
            Answer::Refused(refusal) => return Err(refusal),
        };
        encode(api, version, correlation_id, &*body).map(Some)
    }
}

/// Header and body of an answer, without the frame's length.
fn encode(api: ApiKey, version: i16, correlation_id: i32, body: &dyn Body) -> Result<BytesMut, Refusal> {
    let mut out = BytesMut::new();
    let header = ResponseHeader::default().with_correlation_id(correlation_id);
    header
        .encode(&mut out, api.response_header_version(version))
        .map_err(|error| Refusal::Encode(error.to_string()))?;
    body.put(version, &mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_api_is_one_that_kafka_has_and_stands_there_once() {
        assert_eq!(versions().count(), APIS.len());
        assert!(APIS.windows(2).all(|pair| pair[0].key < pair[1].key));
    }

    #[test]
    fn garbage_is_refused_without_a_panic() {
        for (api, lowest, highest) in versions() {
            for version in lowest..=highest {
                for filler in [0x00, 0x01, 0x02, 0x7f, 0x80, 0xff] {
                    for length in 0..80 {
                        let mut frame = (api as i16).to_be_bytes().to_vec();
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
        assert_eq!((incoming.api, incoming.version, incoming.correlation_id), (ApiKey::ApiVersions, 0, 7));
    }
}
