//! What a broker says of what is written, and of who writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use kafka_client::Cluster;
use kafka_client::testing::{ScriptedBroker, encoded, identified, produced, topic};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use kafka_protocol::messages::{DescribeProducersResponse, ProducerId};
use kafka_records::batch::Outgoing;

use super::{Destination, Expected, OutputBatch, OutputTopics, Producer, Written, write};
use crate::config::Config;
use crate::observe::Observe;
use crate::ownership::PartitionOwnership;
use crate::record::Headers;
use crate::retry::Retries;

const DESTINATION: Destination = Destination { topic: 0, partition: 0 };

/// What comes of a batch of three records.
async fn written(broker: ScriptedBroker) -> Written {
    let options = broker.listen().await;
    let config = Config::default();
    let observe = Observe::new("1.2.3", &[], Duration::ZERO, serde_json::json!({}));
    let retries = Retries::new(observe.clone(), &config);
    let cluster = Arc::new(Cluster::new(options));
    let topics = OutputTopics::new(&config, &["t".to_owned()], cluster, retries, &observe);
    let mut out = OutputBatch::new(1 << 20, Expected::default());
    for source in 0..3 {
        let record = Outgoing { key: None, value: Some(b"v"), timestamp_ms: 1 };
        out.append(DESTINATION, source, &record, Headers::NONE);
    }
    let (producer, ownership) = (Producer::default(), PartitionOwnership::unlimited());
    let writing = write(&topics, out, &producer, &ownership);
    tokio::time::timeout(Duration::from_secs(30), writing).await.unwrap()
}

/// Answers nothing that can be read to the first attempt, and refuses the others; the leader has this as the
/// last number of a producer.
fn refuses_after_silence(last: Option<(i64, i32, i32)>) -> ScriptedBroker {
    let attempts = AtomicUsize::new(0);
    let too_large = ResponseError::MessageTooLarge.code();
    ScriptedBroker::new()
        .respond(ApiKey::InitProducerId, |_| identified(7, 1))
        .respond_bytes(ApiKey::Produce, move |version, _| match attempts.fetch_add(1, Ordering::Relaxed) {
            0 => Bytes::from_static(b"no answer"),
            _ => encoded(&produced(too_large), version),
        })
        .respond(ApiKey::DescribeProducers, move |_| {
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
    let broker = ScriptedBroker::new()
        .respond(ApiKey::InitProducerId, |_| identified(7, 1))
        .respond(ApiKey::Produce, move |_| produced(too_large));
    let written = written(broker).await;
    assert!(written.refused[0].error.is(ResponseError::MessageTooLarge), "nobody is asked who wrote what");
}
