//! Kafka's APIs, one a file: the versions that are spoken, the fields of the response, the request and the call.
//!
//! ```text
//! list ─► ALL ─┬─► a new connection: which versions both sides know, and what responses hold
//!              └─► the test that holds each response's fields against kafka-protocol's own messages, in each version
//! ```
//! To add one, write its file and add it here, to the modules and to the list: nothing else knows them all.

pub(crate) mod add_offsets_to_txn;
pub(crate) mod add_partitions_to_txn;
pub(crate) mod api_versions;
pub(crate) mod consumer_group_describe;
pub(crate) mod consumer_group_heartbeat;
pub(crate) mod create_topics;
pub(crate) mod describe_configs;
pub(crate) mod describe_groups;
pub(crate) mod describe_producers;
pub(crate) mod end_txn;
pub(crate) mod fetch;
pub(crate) mod find_coordinator;
pub(crate) mod heartbeat;
pub(crate) mod init_producer_id;
pub(crate) mod join_group;
pub(crate) mod leave_group;
pub(crate) mod list_offsets;
pub(crate) mod metadata;
pub(crate) mod offset_commit;
pub(crate) mod offset_fetch;
pub(crate) mod offset_for_leader_epoch;
pub(crate) mod produce;
pub(crate) mod sasl_authenticate;
pub(crate) mod sasl_handshake;
pub(crate) mod sync_group;
pub(crate) mod txn_offset_commit;

use crate::versions::Api;

/// Hands the list of APIs, each as `file: request`, to a macro.
macro_rules! list {
    ($to:ident) => {
        $to! {
            add_offsets_to_txn: AddOffsetsToTxnRequest,
            add_partitions_to_txn: AddPartitionsToTxnRequest,
            api_versions: ApiVersionsRequest,
            consumer_group_describe: ConsumerGroupDescribeRequest,
            consumer_group_heartbeat: ConsumerGroupHeartbeatRequest,
            create_topics: CreateTopicsRequest,
            describe_configs: DescribeConfigsRequest,
            describe_groups: DescribeGroupsRequest,
            describe_producers: DescribeProducersRequest,
            end_txn: EndTxnRequest,
            fetch: FetchRequest,
            find_coordinator: FindCoordinatorRequest,
            heartbeat: HeartbeatRequest,
            init_producer_id: InitProducerIdRequest,
            join_group: JoinGroupRequest,
            leave_group: LeaveGroupRequest,
            list_offsets: ListOffsetsRequest,
            metadata: MetadataRequest,
            offset_commit: OffsetCommitRequest,
            offset_fetch: OffsetFetchRequest,
            offset_for_leader_epoch: OffsetForLeaderEpochRequest,
            produce: ProduceRequest,
            sasl_authenticate: SaslAuthenticateRequest,
            sasl_handshake: SaslHandshakeRequest,
            sync_group: SyncGroupRequest,
            txn_offset_commit: TxnOffsetCommitRequest,
        }
    };
}
#[cfg(any(test, feature = "testing"))]
pub(crate) use list;

macro_rules! all {
    ($($file:ident: $request:ident,)*) => {
        /// The APIs that this client speaks.
        pub(crate) const ALL: &[Api] = &[$($file::API),*];

        /// Each file has the API that the list says.
        const _: () = {
            use kafka_protocol::messages;
            use kafka_protocol::protocol::Request;
            $(assert!($file::API.key == <messages::$request as Request>::KEY);)*
        };
    };
}
list!(all);
