//! What a real Apache Kafka's coordinator says that has been replaced without knowing it: the reason
//! why exactly once looks back at its first commit (docs/concepts/architecture.md).

use std::time::Duration;

use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetFetchRequest};
use kafka_protocol::protocol::StrBytes;
use test_support::kafka::KafkaCluster;
use test_support::wire::{self, Connection};
use tokio::time::{Instant, sleep};

/// As long as another may take to be elected, and some more.
const PATIENCE: Duration = Duration::from_secs(120);
const TOPIC: &str = "t";
const GROUP: StrBytes = StrBytes::from_static_str("g");

fn commit(offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_committed_offset(offset)
        .with_committed_metadata(Some(StrBytes::default()));
    let topic = OffsetCommitRequestTopic::default().with_name(wire::topic_name(TOPIC)).with_partitions(vec![partition]);
    OffsetCommitRequest::default().with_group_id(GROUP.into()).with_topics(vec![topic])
}

async fn commit_on(connection: &mut Connection, offset: i64) -> i16 {
    connection.call_within(PATIENCE, &commit(offset), 7).await.unwrap().topics[0].partitions[0].error_code
}

/// `OffsetFetch` with `require_stable`: the offset, or an error code.
async fn fetch_on(connection: &mut Connection) -> Result<i64, i16> {
    let topic = OffsetFetchRequestTopics::default().with_name(wire::topic_name(TOPIC)).with_partition_indexes(vec![0]);
    let group = OffsetFetchRequestGroup::default().with_group_id(GROUP.into()).with_topics(Some(vec![topic]));
    let request = OffsetFetchRequest::default().with_groups(vec![group]).with_require_stable(true);
    let answer = connection.call_within(PATIENCE, &request, 8).await.unwrap();
    match &answer.groups[0] {
        refused if refused.error_code != 0 => Err(refused.error_code),
        told => Ok(told.topics[0].partitions[0].committed_offset),
    }
}

/// Commits with whoever is the coordinator, and says who that is.
async fn commit_anywhere(brokers: &[String], offset: i64) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < until, "no coordinator took offset {offset} within {PATIENCE:?}");
        // None is known for a while.
        if let Ok(address) = wire::coordinator(&brokers.join(","), &GROUP).await
            && brokers.contains(&address)
            && commit_on(&mut Connection::open(&address).await.unwrap(), offset).await == 0
        {
            return address;
        }
        sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_was_replaced_in_its_sleep_takes_no_offset() {
    if KafkaCluster::left_out() {
        return;
    }
    let cluster = KafkaCluster::start(3).await;
    cluster.create_topic(TOPIC, 1, &[]).await;
    let mut brokers = cluster.brokers();
    let former = commit_anywhere(&brokers, 100).await;
    cluster.wait_in_sync("__consumer_offsets").await;
    let node = brokers.iter().position(|broker| *broker == former).unwrap();
    brokers.remove(node);

    let (mut reading, mut writing) =
        (Connection::open(&former).await.unwrap(), Connection::open(&former).await.unwrap());
    assert_eq!(fetch_on(&mut reading).await, Ok(100));
    cluster.pause(node + 1);
    // Both lie before it when it wakes.
    let told = tokio::spawn(async move { fetch_on(&mut reading).await });
    let taken = tokio::spawn(async move { commit_on(&mut writing, 150).await });
    commit_anywhere(&brokers, 200).await;
    cluster.resume(node + 1);
    let (told, taken) = (told.await.unwrap(), taken.await.unwrap());
    // It has told the old one each time so far; it may hear of the other in time.
    println!("it told {told:?}, and answered a commit with code {taken}");
    assert_ne!(taken, 0, "it took an offset that nobody else knows of");
    let now = fetch_on(&mut Connection::open(&commit_anywhere(&brokers, 201).await).await.unwrap()).await;
    assert_eq!(now, Ok(201));
}
