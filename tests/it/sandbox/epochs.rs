//! Leader epochs: where the log ends for each, as Kafka tells.

use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use kafka_sandbox::{Sandbox, SandboxError};

use super::support::TOPIC;
use super::typed::Typed;

/// The error code, the epoch and its end that a node tells of an epoch to a client that knows of
/// `current`.
async fn end(node: &mut Typed, current: i32, epoch: i32) -> (i16, i32, i64) {
    let partition = OffsetForLeaderPartition::default().with_current_leader_epoch(current).with_leader_epoch(epoch);
    let topic = OffsetForLeaderTopic::default()
        .with_topic(TopicName(StrBytes::from_static_str(TOPIC)))
        .with_partitions(vec![partition]);
    let request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
    let three = node.ask(&request, 3).await;
    let four = node.ask(&request, 4).await;
    assert_eq!(three, four);
    let told = &four.topics[0].partitions[0];
    (told.error_code, told.leader_epoch, told.end_offset)
}

#[tokio::test]
async fn an_epoch_ends_where_the_next_one_begins() {
    let sandbox = Sandbox::builder().nodes(2).start().await.unwrap();
    sandbox.create_topic(TOPIC, 1).unwrap();
    let produce = |count: i32| {
        for _ in 0..count {
            sandbox.produce(TOPIC, 0, [("k", "v")]).unwrap();
        }
    };
    produce(4);
    sandbox.move_leader(TOPIC, 0, 2).unwrap();
    produce(3);
    let mut leader = Typed::to_node(&sandbox, 1).await;
    assert_eq!(end(&mut leader, -1, 0).await, (0, 0, 4));
    assert_eq!(end(&mut leader, 1, 1).await, (0, 1, 7), "the present one ends at the log's end");
    assert_eq!(end(&mut leader, 1, 2).await, (0, -1, -1));
    assert_eq!(end(&mut leader, 0, 0).await, (74, -1, -1), "FENCED_LEADER_EPOCH");
    assert_eq!(end(&mut leader, 2, 0).await, (75, -1, -1), "UNKNOWN_LEADER_EPOCH");
    assert_eq!(end(&mut Typed::to_node(&sandbox, 0).await, -1, 0).await, (6, -1, -1), "NOT_LEADER_OR_FOLLOWER");

    sandbox.elect_uncleanly(TOPIC, 0, 2, 2).unwrap();
    produce(3);
    assert_eq!(end(&mut leader, 2, 1).await, (0, 0, 2), "nothing is left of epoch 1");
    assert_eq!(end(&mut leader, 2, 2).await, (0, 2, 5));
    assert_eq!(sandbox.read(TOPIC, 0).unwrap().len(), 5);
    let beyond = sandbox.elect_uncleanly(TOPIC, 0, 2, 6);
    assert!(matches!(beyond, Err(SandboxError::OffsetOutOfRange(6))));
}
