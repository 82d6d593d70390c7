//! What a broker says of what is written, and of who writes.

use std::sync::atomic::{AtomicUsize, Ordering};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use kafka_protocol::messages::find_coordinator_response::Coordinator as Found;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    DescribeProducersResponse, FindCoordinatorResponse, InitProducerIdResponse, ProduceResponse, ProducerId,
};
use kafka_records::batch::Outgoing;

use super::*;
use crate::broker::wire::Coordinator;
use crate::broker::{Cause, Destination, Error, Expected, OutputBatch, Producer, Watch, Writer, Written};
use crate::config::Config;
use crate::observe::Observe;
use crate::record::Headers;
use crate::tenure::Tenure;

const DESTINATION: Destination = Destination { topic: 0, partition: 0 };

/// The answer to a produce, with this code.
fn produced(code: i16) -> ProduceResponse {
    let partition = PartitionProduceResponse::default().with_error_code(code).with_base_offset(5);
    let topic = TopicProduceResponse::default().with_name(topic("t")).with_partition_responses(vec![partition]);
    ProduceResponse::default().with_responses(vec![topic])
}

fn identified(id: i64, epoch: i16) -> InitProducerIdResponse {
    InitProducerIdResponse::default().with_producer_id(ProducerId(id)).with_producer_epoch(epoch)
}

/// What comes of a batch of three records.
async fn written(liar: Liar) -> Written {
    let kafka = liar.listen().await;
    let config = Config { kafka, ..Config::default() };
    let observe = Observe::new("1.2.3", &[], Duration::ZERO, serde_json::json!({}));
    let watch = Watch::new(observe.clone(), &config);
    let cluster = Arc::new(Cluster::new(Options::from(&config.kafka)));
    let writer = Writer::new(&config, &["t".to_owned()], cluster, watch, &observe);
    let mut out = OutputBatch::new(1 << 20, Expected::default());
    for source in 0..3 {
        let record = Outgoing { key: None, value: Some(b"v"), timestamp_ms: 1 };
        out.append(DESTINATION, source, &record, Headers::NONE);
    }
    let (producer, tenure) = (Producer::default(), Tenure::unlimited());
    let writing = writer.write(out, &producer, &tenure);
    tokio::time::timeout(Duration::from_secs(30), writing).await.unwrap()
}

/// Answers nothing that can be read to the first attempt, and refuses the others; the leader has this as the
/// last number of a producer.
fn refuses_after_silence(last: Option<(i64, i32, i32)>) -> Liar {
    let attempts = AtomicUsize::new(0);
    let too_large = ResponseError::MessageTooLarge.code();
    Liar::new()
        .says(ApiKey::InitProducerId, |_| identified(7, 1))
        .sends(ApiKey::Produce, move |version, _| match attempts.fetch_add(1, Ordering::Relaxed) {
            0 => Bytes::from_static(b"no answer"),
            _ => encoded(&produced(too_large), version),
        })
        .says(ApiKey::DescribeProducers, move |_| {
            let state = |(id, epoch, last)| {
                ProducerState::default()
                    .with_producer_id(ProducerId(id))
                    .with_producer_epoch(epoch)
                    .with_last_sequence(last)
            };
            let partition = PartitionResponse::default().with_active_producers(last.into_iter().map(state).collect());
            let topic = TopicResponse::default().with_name(topic("t")).with_partitions(vec![partition]);
            DescribeProducersResponse::default().with_topics(vec![topic])
        })
}

/// A broker looks at a batch's size before it looks whether it has it already.
#[tokio::test]
async fn a_refusal_after_an_answer_that_was_lost_duplicates_nothing() {
    let has = async |last| {
        let written = written(refuses_after_silence(last)).await;
        assert!(written.aborted.is_none());
        written.refused.is_empty()
    };
    assert!(has(Some((7, 1, 2))).await, "the first attempt has written it");
    assert!(!has(None).await, "nobody has written anything");
    assert!(!has(Some((7, 0, 2))).await, "that was an earlier epoch");
    assert!(!has(Some((8, 1, 2))).await, "that was another");
    assert!(!has(Some((7, 1, -1))).await, "it has written nothing");
}

#[tokio::test]
async fn a_refusal_at_once_is_one() {
    let too_large = ResponseError::MessageTooLarge.code();
    let liar = Liar::new()
        .says(ApiKey::InitProducerId, |_| identified(7, 1))
        .says(ApiKey::Produce, move |_| produced(too_large));
    let written = written(liar).await;
    assert!(written.refused[0].error.is(ResponseError::MessageTooLarge), "nobody is asked who wrote what");
}

#[tokio::test]
async fn an_id_that_is_none_is_not_written_under() {
    for (id, epoch) in [(-1, 0), (3, -1), (-1, -1)] {
        let liar = Liar::new().says(ApiKey::InitProducerId, move |_| identified(id, epoch));
        let given = liar.start().await.init_producer_id().await;
        assert!(matches!(given, Err(Error { cause: Cause::Undecodable(_), .. })), "{given:?}");
    }
}

/// The transaction before is still being ended: that is asked every 10 ms, and says nothing of who leads.
#[tokio::test]
async fn a_leader_that_refuses_stays_the_leader() {
    use ResponseError as Code;
    for (code, forgets) in [
        (Code::ConcurrentTransactions, false),
        (Code::OutOfOrderSequenceNumber, false),
        (Code::MessageTooLarge, false),
        (Code::NotLeaderOrFollower, true),
    ] {
        let asked = Arc::new(AtomicUsize::new(0));
        let (counter, code) = (Arc::clone(&asked), code.code());
        let liar = Liar::new()
            .says(ApiKey::Metadata, move |port| {
                counter.fetch_add(1, Ordering::Relaxed);
                metadata(port, &[0])
            })
            .says(ApiKey::Produce, move |_| produced(code));
        let cluster = liar.start().await;
        for _ in 0..3 {
            cluster.produce("t", 0, Bytes::from_static(b"a batch"), Duration::from_secs(1)).await.unwrap_err();
        }
        assert_eq!(asked.load(Ordering::Relaxed), if forgets { 3 } else { 1 }, "code {code}");
    }
}

/// A node that is cut off from the others goes on naming itself.
#[tokio::test]
async fn who_failed_as_the_coordinator_is_asked_last_who_it_is() {
    let names_itself = || {
        Liar::new().says(ApiKey::FindCoordinator, |port| {
            let found = Found::default().with_key(text("g")).with_host(text("127.0.0.1")).with_port(i32::from(port));
            FindCoordinatorResponse::default().with_coordinators(vec![found])
        })
    };
    let mut kafka = names_itself().listen().await;
    kafka.brokers.extend(names_itself().listen().await.brokers);
    let coordinator = Coordinator::new(Arc::new(Cluster::new(Options::from(&kafka))), "g");
    let mut before = coordinator.connection().await.unwrap();
    for _ in 0..4 {
        coordinator.forget(&before).await;
        let next = coordinator.connection().await.unwrap();
        assert_ne!(next.address(), before.address());
        before = next;
    }
    // Where there is nobody else, it is asked all the same.
    let alone = Coordinator::new(names_itself().start().await, "g");
    let first = alone.connection().await.unwrap();
    alone.forget(&first).await;
    assert_eq!(alone.connection().await.unwrap().address(), first.address());
}
