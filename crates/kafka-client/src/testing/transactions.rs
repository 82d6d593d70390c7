//! Brokers that say which transactions the cluster has, and what they are asked then.

use std::time::Duration;

use kafka_protocol::messages::api_versions_response::FinalizedFeatureKey;
use kafka_protocol::messages::find_coordinator_response::Coordinator as Found;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    EndTxnResponse, FindCoordinatorResponse, InitProducerIdResponse, ProduceRequest, ProduceResponse, ProducerId as Id,
    RequestHeader,
};
use kafka_protocol::protocol::Decodable;
use kafka_records::batch::ProducerId;

use super::*;
use crate::permit;
use crate::{Begun, Coordinator, TransactionVersion, WithinTransaction};
use crate::{Cause, Error};

const PRODUCER: ProducerId = ProducerId { id: 7, epoch: 3 };
const TIMEOUT: Duration = Duration::from_secs(1);

fn api((key, min, max): (ApiKey, i16, i16)) -> ApiVersion {
    ApiVersion::default().with_api_key(key as i16).with_min_version(min).with_max_version(max)
}

/// A broker of a cluster with transactions of this version, which coordinates `id`. It takes all
/// that Kafka 4.3 takes, whatever the cluster has, as that does.
fn of_cluster(level: i16) -> ScriptedBroker {
    let apis = [
        (ApiKey::Produce, 0, 13),
        (ApiKey::Metadata, 0, 13),
        (ApiKey::FindCoordinator, 0, 6),
        (ApiKey::InitProducerId, 0, 6),
        (ApiKey::EndTxn, 0, 5),
        (ApiKey::AddPartitionsToTxn, 0, 5),
        (ApiKey::AddOffsetsToTxn, 0, 4),
        (ApiKey::TxnOffsetCommit, 0, 5),
    ];
    let feature = FinalizedFeatureKey::default().with_name(text("transaction.version")).with_max_version_level(level);
    let versions = ApiVersionsResponse::default()
        .with_api_keys(apis.map(api).into())
        .with_finalized_features_epoch(1)
        .with_finalized_features(vec![feature]);
    ScriptedBroker::new()
        .respond(ApiKey::ApiVersions, move |_| versions.clone())
        .respond(ApiKey::FindCoordinator, |port| {
            let found = Found::default().with_key(text("id")).with_host(text("127.0.0.1")).with_port(i32::from(port));
            FindCoordinatorResponse::default().with_coordinators(vec![found])
        })
        .respond(ApiKey::InitProducerId, |_| {
            InitProducerIdResponse::default().with_producer_id(Id(PRODUCER.id)).with_producer_epoch(PRODUCER.epoch)
        })
}

/// What comes of a transaction that ends at once, where the answer to its commit names this epoch.
async fn committed(level: i16, epoch: i16) -> (Begun, Result<Begun, Error>) {
    let broker = of_cluster(level).expect(ApiKey::EndTxn, move |version, _| {
        assert_eq!(version, if level >= 2 { 5 } else { 3 });
        let answer = EndTxnResponse::default();
        if version < 5 { answer } else { answer.with_producer_id(Id(PRODUCER.id)).with_producer_epoch(epoch) }
    });
    let coordinator = Coordinator::of_transactions(broker.start(), "id");
    let permit = permit::unlimited();
    let begun = coordinator.init_transactions(TIMEOUT, TransactionVersion::V2, None, &*permit).await.unwrap();
    (begun, coordinator.commit_transaction(begun, &*permit).await)
}

#[tokio::test]
async fn each_id_is_for_the_transactions_that_the_cluster_has() {
    for (level, version) in [(1, TransactionVersion::V1), (2, TransactionVersion::V2), (3, TransactionVersion::V2)] {
        let (begun, next) = committed(level, PRODUCER.epoch + 1).await;
        assert_eq!(begun, Begun { producer: PRODUCER, version });
        let epoch = if version == TransactionVersion::V2 { PRODUCER.epoch + 1 } else { PRODUCER.epoch };
        assert_eq!(next.unwrap(), Begun { producer: ProducerId { epoch, ..PRODUCER }, version });
    }
}

/// Brokers would take the batches of the next transaction for those of this one, and drop them.
#[tokio::test]
async fn an_epoch_that_is_over_is_not_written_in_again() {
    let (_, next) = committed(2, PRODUCER.epoch).await;
    assert!(matches!(next, Err(Error { cause: Cause::Undecodable(_), .. })), "{next:?}");
}

#[tokio::test]
async fn a_batch_says_of_which_transactions_it_is() {
    use TransactionVersion::{V1, V2};
    for (within, expected) in [(None, 8), (Some(V1), 8), (Some(V2), 12)] {
        let broker = of_cluster(2).expect(ApiKey::Produce, move |version, request| {
            assert_eq!(version, expected);
            let header_version = ApiKey::Produce.request_header_version(version);
            RequestHeader::decode(request, header_version).unwrap();
            let asked = ProduceRequest::decode(request, version).unwrap();
            assert!(request.is_empty());
            assert_eq!(asked.transactional_id.is_some(), within.is_some());
            let partition = PartitionProduceResponse::default().with_base_offset(5);
            let topic = TopicProduceResponse::default().with_name(topic("t")).with_partition_responses(vec![partition]);
            ProduceResponse::default().with_responses(vec![topic])
        });
        let within = within.map(|version| WithinTransaction { transactional_id: "id".into(), version });
        let (cluster, permit) = (broker.start(), permit::unlimited());
        let batch = Bytes::from_static(b"a batch");
        let written = cluster.produce_under(&permit, within.as_ref(), &"t".into(), 0, batch, TIMEOUT).await;
        assert_eq!(written.unwrap().base_offset.0, 5);
    }
}

/// Nobody would find a coordinator there, and not say why.
#[tokio::test]
async fn a_service_without_transactions_is_told_so() {
    let broker = ScriptedBroker::new().respond(ApiKey::ApiVersions, |_| {
        let apis = [(ApiKey::ApiVersions, 0, 4), (ApiKey::Metadata, 0, 12), (ApiKey::FindCoordinator, 0, 4)];
        ApiVersionsResponse::default().with_api_keys(apis.map(api).into())
    });
    let coordinator = Coordinator::of_transactions(broker.start(), "id");
    let begun = coordinator.init_transactions(TIMEOUT, TransactionVersion::V1, None, &*permit::unlimited()).await;
    let error = begun.unwrap_err();
    assert_eq!(error.class(), crate::ErrorClass::Fatal);
    assert!(matches!(&error.cause, Cause::NoTransactions(what) if what == "InitProducerId"), "{error}");
}
