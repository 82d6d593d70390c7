//! Each fault does what it says, seen by rskafka 0.6.0.

use std::time::{Duration, Instant};

use kafka_sandbox::{Action, Api, Fault};
use rskafka::client::error::ProtocolError;
use rskafka::client::partition::{OffsetAt, UnknownTopicHandling};
use tokio::time::timeout;

use super::support::{TOPIC, client, fetch, partition, produce, server_error, soon, values, with_topic};

#[tokio::test]
async fn an_error_is_answered_and_nothing_done() {
    let sandbox = with_topic().await;
    let partition = partition(&sandbox).await;
    let fault = Fault::on(Api::Produce).topic(TOPIC).partition(0).skip(1);
    let handle = sandbox.fault(fault, Action::Error(19));
    let other = sandbox.fault(Fault::any().topic("other").forever(), Action::Error(1));
    produce(&partition, "first").await.unwrap();
    let failed = server_error(produce(&partition, "second").await);
    assert_eq!(failed, ProtocolError::NotEnoughReplicas);
    produce(&partition, "third").await.unwrap();
    assert_eq!(values(&sandbox, 0), ["first", "third"]);
    assert_eq!((handle.fired(), other.fired()), (1, 0));
    assert_eq!(sandbox.requests(Api::Produce), 3);
}

#[tokio::test]
async fn an_error_fails_a_fetch_at_once() {
    let sandbox = with_topic().await;
    let partition = partition(&sandbox).await;
    sandbox.fault(Fault::on(Api::Fetch), Action::Error(56));
    let failed = soon(partition.fetch_records(0, 1..1000, 60_000)).await;
    assert_eq!(server_error(failed), ProtocolError::KafkaStorageError);
}

#[tokio::test]
async fn a_retry_after_a_lost_answer_doubles_in_rskafka() {
    let sandbox = with_topic().await;
    let partition = partition(&sandbox).await;
    let lost = sandbox.fault(Fault::on(Api::Produce), Action::DisconnectAfter);
    produce(&partition, "x").await.unwrap();
    assert_eq!(lost.fired(), 1);
    assert_eq!(values(&sandbox, 0), ["x", "x"]);
}

#[tokio::test]
async fn a_disconnect_before_leaves_nothing() {
    let sandbox = with_topic().await;
    let partition = partition(&sandbox).await;
    let cut = sandbox.fault(Fault::on(Api::Produce).times(2), Action::DisconnectBefore);
    produce(&partition, "x").await.unwrap();
    assert_eq!(cut.fired(), 2);
    assert_eq!(values(&sandbox, 0), ["x"]);
}

#[tokio::test]
async fn half_an_answer_ends_the_connection() {
    let sandbox = with_topic().await;
    let partition = partition(&sandbox).await;
    sandbox.fault(Fault::on(Api::Produce), Action::TruncatedFrame);
    produce(&partition, "x").await.unwrap();
    assert_eq!(values(&sandbox, 0), ["x", "x"], "rskafka asked again");
}

#[tokio::test]
async fn silence_hangs_rskafka_and_the_connection_lives_on() {
    let sandbox = with_topic().await;
    let partition = partition(&sandbox).await;
    for (action, written) in [(Action::Silence, 1), (Action::SilenceAfter, 3)] {
        let silence = sandbox.fault(Fault::on(Api::Produce), action);
        let hung = async { tokio::join!(produce(&partition, "hangs"), silence.until_fired(1)) };
        assert!(timeout(Duration::from_millis(50), hung).await.is_err());
        assert_eq!(silence.fired(), 1);
        produce(&partition, "same connection").await.unwrap();
        assert_eq!(sandbox.end_offset(TOPIC, 0).unwrap(), written);
    }
}

#[tokio::test]
async fn corrupt_records_are_sent_once_and_the_log_is_whole() {
    let sandbox = with_topic().await;
    let partition = partition(&sandbox).await;
    let corrupt = sandbox.fault(Fault::on(Api::Fetch), Action::CorruptRecords);
    assert_eq!(fetch(&partition, 0).await.unwrap().0.len(), 0);
    assert_eq!(corrupt.fired(), 0, "an empty answer has nothing to corrupt");
    sandbox.produce(TOPIC, 0, [("k", "v")]).unwrap();
    assert!(fetch(&partition, 0).await.unwrap_err().to_string().contains("CRC"));
    assert_eq!(fetch(&partition, 0).await.unwrap().0.len(), 1);
    assert_eq!(corrupt.fired(), 1);
}

#[tokio::test]
async fn a_delay_delays_and_a_throttle_is_told() {
    let sandbox = with_topic().await;
    let partition = partition(&sandbox).await;
    let begun = Instant::now();
    sandbox.fault(Fault::on(Api::ListOffsets), Action::Delay(Duration::from_millis(40)));
    soon(partition.get_offset(OffsetAt::Latest)).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(40));

    // rskafka asks again after the time it was told, although the first request was done.
    let throttle = sandbox.fault(Fault::on(Api::Produce), Action::Throttle(30));
    let begun = Instant::now();
    produce(&partition, "x").await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(30));
    assert_eq!(throttle.fired(), 1);
    assert_eq!(values(&sandbox, 0), ["x", "x"]);
}

#[tokio::test]
async fn an_oversized_answer_is_really_sent() {
    let sandbox = with_topic().await;
    let partition = partition(&sandbox).await;
    sandbox.fault(Fault::on(Api::ListOffsets), Action::Oversize(1_000_000));
    let failed = soon(partition.get_offset(OffsetAt::Latest)).await;
    let error = failed.unwrap_err().to_string();
    assert!(error.contains("Got 1000000 bytes"), "{error}");
    soon(partition.get_offset(OffsetAt::Latest)).await.unwrap();
}

#[tokio::test]
async fn metadata_faults_reach_one_topic() {
    let sandbox = with_topic().await;
    sandbox.create_topic("other", 1).unwrap();
    let client = client(&sandbox).await;
    let handling = UnknownTopicHandling::Error;
    sandbox.fault(Fault::on(Api::Metadata).topic(TOPIC), Action::Error(29));
    soon(client.partition_client("other", 0, handling)).await.unwrap();
    let failed = soon(client.partition_client(TOPIC, 0, handling)).await;
    assert_eq!(server_error(failed), ProtocolError::TopicAuthorizationFailed);
}
