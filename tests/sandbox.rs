//! The sandbox broker, seen by rskafka 0.6.0 and, where rskafka is in the way, by bare bytes.
#![cfg(feature = "sandbox")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a helper fails as its test would; clippy.toml allows it inside #[test] only"
)]

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use chrono::DateTime;
use login_pipeline::sandbox::{
    Action, Api, Fault, NewBatch, NewRecord, Sandbox, SandboxError, TopicConfig,
};
use rskafka::BackoffConfig;
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::Record;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const TOPIC: &str = "logins";

#[tokio::test]
async fn every_codec_passes_untouched() {
    let sandbox = with_topic().await;
    let partition = partition(&sandbox).await;
    let codecs = [
        Compression::NoCompression,
        Compression::Gzip,
        Compression::Lz4,
        Compression::Snappy,
        Compression::Zstd,
    ];
    for (n, codec) in codecs.into_iter().enumerate() {
        let records = (0..20).map(|i| record(&format!("{n}-{i}"))).collect();
        let offsets = soon(partition.produce(records, codec)).await.unwrap();
        assert_eq!(offsets.len(), 20);
    }
    let (fetched, high_watermark) = fetch(&partition, 0).await.unwrap();
    assert_eq!((fetched.len(), high_watermark), (100, 100));

    let stored = sandbox.read(TOPIC, 0).unwrap();
    assert_eq!(stored.len(), 100);
    for (ours, theirs) in stored.iter().zip(&fetched) {
        assert_eq!(ours.offset, theirs.offset);
        assert_eq!(ours.key.as_deref(), theirs.record.key.as_deref());
        assert_eq!(ours.value.as_deref(), theirs.record.value.as_deref());
        assert_eq!(
            ours.timestamp_ms,
            theirs.record.timestamp.timestamp_millis()
        );
        assert_eq!(ours.headers[0].value.as_deref(), Some(&b"h"[..]));
    }
}

#[tokio::test]
async fn topics_are_made_listed_and_deleted() {
    let sandbox = Sandbox::start().await.unwrap();
    let client = client(&sandbox).await;
    let controller = client.controller_client().unwrap();
    soon(controller.create_topic("a", 3, 1, 1000))
        .await
        .unwrap();
    let again = soon(controller.create_topic("a", 3, 1, 1000)).await;
    assert_eq!(server_error(again), ProtocolError::TopicAlreadyExists);
    let many = soon(controller.create_topic("b", 1, 2, 1000)).await;
    assert_eq!(server_error(many), ProtocolError::InvalidReplicationFactor);
    let unnamed = soon(controller.create_topic("a/b", 1, 1, 1000)).await;
    assert_eq!(server_error(unnamed), ProtocolError::InvalidTopicException);

    let topics = soon(client.list_topics()).await.unwrap();
    assert_eq!(topics.len(), 1);
    assert_eq!(topics[0].partitions.len(), 3);

    soon(controller.delete_topic("a", 1000)).await.unwrap();
    let gone = soon(controller.delete_topic("a", 1000)).await;
    assert_eq!(server_error(gone), ProtocolError::UnknownTopicOrPartition);
    let unknown = soon(client.partition_client("a", 0, UnknownTopicHandling::Error)).await;
    assert_eq!(
        server_error(unknown),
        ProtocolError::UnknownTopicOrPartition
    );
    assert!(sandbox.topics().is_empty(), "Metadata makes no topics");
}

#[tokio::test]
async fn offsets_are_listed_by_end_and_by_time() {
    let sandbox = with_topic().await;
    let partition = partition(&sandbox).await;
    let at = |ms| NewRecord::new("k", "v").timestamp(ms);
    let batch = NewBatch::new(vec![at(1000), at(2000), at(3000)]);
    sandbox.append_batch(TOPIC, 0, &batch).unwrap();
    sandbox.delete_records(TOPIC, 0, 1).unwrap();

    let offset = async |at| soon(partition.get_offset(at)).await.unwrap();
    assert_eq!(offset(OffsetAt::Earliest).await, 1);
    assert_eq!(offset(OffsetAt::Latest).await, 3);
    let time = |ms| OffsetAt::Timestamp(DateTime::from_timestamp_millis(ms).unwrap());
    assert_eq!(offset(time(2500)).await, 2);
    assert_eq!(offset(time(3500)).await, -1);

    sandbox.set_last_stable_offset(TOPIC, 0, Some(2)).unwrap();
    assert_eq!(offset(OffsetAt::Latest).await, 2);
}

#[tokio::test]
async fn what_is_deleted_is_out_of_range() {
    let sandbox = with_topic().await;
    let partition = partition(&sandbox).await;
    sandbox.produce(TOPIC, 0, [("a", "1"), ("b", "2")]).unwrap();
    soon(partition.delete_records(1, 1000)).await.unwrap();
    assert_eq!(sandbox.log_start_offset(TOPIC, 0).unwrap(), 1);
    for offset in [0, 3] {
        let error = server_error(fetch(&partition, offset).await);
        assert_eq!(error, ProtocolError::OffsetOutOfRange);
    }
    let (records, _) = fetch(&partition, 1).await.unwrap();
    assert_eq!(records[0].offset, 1);
    let past_end = soon(partition.delete_records(3, 1000)).await;
    assert_eq!(server_error(past_end), ProtocolError::OffsetOutOfRange);
}

#[tokio::test]
async fn a_batch_over_the_limit_is_refused() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut config = TopicConfig::new(1);
    config.max_message_bytes = 500;
    sandbox.create_topic_with(TOPIC, config).unwrap();
    let partition = partition(&sandbox).await;
    let refused = produce(&partition, &"x".repeat(500)).await;
    assert_eq!(server_error(refused), ProtocolError::MessageTooLarge);
    assert_eq!(sandbox.end_offset(TOPIC, 0).unwrap(), 0);
    produce(&partition, "small").await.unwrap();
}

#[tokio::test]
async fn a_produce_wakes_a_waiting_fetch() {
    let sandbox = with_topic().await;
    let partition = partition(&sandbox).await;
    let seen = sandbox.fault(Fault::on(Api::Fetch), Action::Delay(Duration::ZERO));
    let waiting = async {
        let fetched = partition.fetch_records(0, 1..1_000_000, 60_000).await;
        fetched.unwrap().0.len()
    };
    let producing = async {
        assert_eq!(seen.until_fired(1).await, 1);
        sandbox.produce(TOPIC, 0, [("k", "v")]).unwrap();
    };
    let (records, ()) = soon(async { tokio::join!(waiting, producing) }).await;
    assert_eq!(records, 1);
}

#[tokio::test]
async fn an_empty_fetch_ends_at_its_deadline() {
    let sandbox = with_topic().await;
    let partition = partition(&sandbox).await;
    let fetched = soon(partition.fetch_records(0, 1..1_000_000, 20)).await;
    assert_eq!(fetched.unwrap().0.len(), 0);
}

#[tokio::test]
async fn a_fetch_gets_one_batch_however_small_its_limit() {
    let sandbox = with_topic().await;
    let partition = partition(&sandbox).await;
    sandbox.produce(TOPIC, 0, [("a", "1")]).unwrap();
    sandbox.produce(TOPIC, 0, [("b", "2")]).unwrap();
    let (records, end) = soon(partition.fetch_records(0, 1..10, 1000)).await.unwrap();
    assert_eq!((records.len(), end), (1, 2));
}

#[tokio::test]
async fn holes_are_stepped_over() {
    let sandbox = with_topic().await;
    let partition = partition(&sandbox).await;
    let tail = NewBatch::new(vec![NewRecord::new("a", "1")]).last_offset_delta(4);
    sandbox.append_batch(TOPIC, 0, &tail).unwrap();
    sandbox.append_hole(TOPIC, 0, 10).unwrap();
    let next = sandbox.produce(TOPIC, 0, [("b", "2")]).unwrap();
    assert_eq!(next, 15);
    let (records, end) = fetch(&partition, 3).await.unwrap();
    assert_eq!((records.len(), records[0].offset, end), (1, 15, 16));
}

#[tokio::test]
async fn a_control_batch_fails_rskafka_as_on_kafka() {
    let sandbox = with_topic().await;
    let partition = partition(&sandbox).await;
    let records = || NewBatch::new(vec![NewRecord::new("k", "v")]).in_transaction(7);
    sandbox.append_batch(TOPIC, 0, &records()).unwrap();
    assert_eq!(
        soon(partition.get_offset(OffsetAt::Latest)).await.unwrap(),
        0
    );
    sandbox.append_control_batch(TOPIC, 0, 7, false).unwrap();
    sandbox.append_batch(TOPIC, 0, &records()).unwrap();
    sandbox.append_control_batch(TOPIC, 0, 7, true).unwrap();

    let error = fetch(&partition, 0).await.unwrap_err().to_string();
    assert!(
        error.contains("Unknown control batch record version: 8192"),
        "{error}"
    );
    assert_eq!(sandbox.read(TOPIC, 0).unwrap().len(), 2);
    let committed = sandbox.read_committed(TOPIC, 0).unwrap();
    assert_eq!(committed.iter().map(|r| r.offset).collect::<Vec<_>>(), [2]);
}

#[tokio::test]
async fn a_null_header_fails_rskafka_as_on_kafka() {
    let sandbox = with_topic().await;
    let partition = partition(&sandbox).await;
    let poison = NewRecord::new("k", "v").header("null", None);
    sandbox
        .append_batch(TOPIC, 0, &NewBatch::new(vec![poison]))
        .unwrap();
    let failed = fetch(&partition, 0).await;
    assert!(matches!(failed, Err(Error::Request(_))), "{failed:?}");
    assert_eq!(sandbox.read(TOPIC, 0).unwrap()[0].headers[0].value, None);
}

#[tokio::test]
async fn corrupt_and_raw_batches_stay_in_the_log() {
    let sandbox = with_topic().await;
    let partition = partition(&sandbox).await;
    sandbox.produce(TOPIC, 0, [("a", "1")]).unwrap();
    sandbox.corrupt_stored(TOPIC, 0, 0).unwrap();
    for _ in 0..2 {
        let error = fetch(&partition, 0).await.unwrap_err().to_string();
        assert!(error.contains("CRC"), "{error}");
    }
    let unreadable = sandbox.read(TOPIC, 0);
    assert!(matches!(
        unreadable,
        Err(SandboxError::Unreadable { offset: 0, .. })
    ));

    sandbox
        .append_raw(TOPIC, 0, 1..5, &b"no batch at all"[..])
        .unwrap();
    assert_eq!(sandbox.end_offset(TOPIC, 0).unwrap(), 5);
    assert!(sandbox.append_raw(TOPIC, 0, 4..6, &b"twice"[..]).is_err());
}

#[tokio::test]
async fn two_nodes_share_the_partitions_and_leaders_move() {
    let sandbox = Sandbox::builder().nodes(2).start().await.unwrap();
    sandbox.create_topic(TOPIC, 4).unwrap();
    let leaders: Vec<i32> = (0..4).map(|p| sandbox.leader(TOPIC, p).unwrap()).collect();
    assert_eq!(leaders, [1, 2, 1, 2]);
    let client = client(&sandbox).await;
    let handling = UnknownTopicHandling::Error;
    let partition = soon(client.partition_client(TOPIC, 1, handling))
        .await
        .unwrap();
    produce(&partition, "before").await.unwrap();

    sandbox.move_leader(TOPIC, 1, 1).unwrap();
    produce(&partition, "after").await.unwrap();
    assert_eq!(values(&sandbox, 1), ["before", "after"]);
    assert!(matches!(
        sandbox.move_leader(TOPIC, 1, 9),
        Err(SandboxError::NoSuchNode(9))
    ));
}

#[tokio::test]
async fn a_crashed_node_refuses_and_comes_back_with_its_log() {
    let sandbox = with_topic().await;
    let partition = partition(&sandbox).await;
    produce(&partition, "before").await.unwrap();
    let address = sandbox.bootstrap();

    sandbox.crash(1).await.unwrap();
    sandbox.crash(1).await.unwrap();
    let refused = soon(TcpStream::connect(&address)).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(produce(&partition, "lost").await.is_err());

    sandbox.restart(1).await.unwrap();
    assert_eq!(sandbox.bootstrap(), address);
    produce(&partition, "after").await.unwrap();
    assert_eq!(values(&sandbox, 0), ["before", "after"]);
}

#[tokio::test]
async fn the_other_node_takes_over_from_a_crashed_one() {
    let sandbox = Sandbox::builder().nodes(2).start().await.unwrap();
    sandbox.create_topic(TOPIC, 1).unwrap();
    let partition = partition(&sandbox).await;
    produce(&partition, "before").await.unwrap();
    sandbox.crash(1).await.unwrap();
    sandbox.move_leader(TOPIC, 0, 2).unwrap();
    produce(&partition, "after").await.unwrap();
    assert_eq!(values(&sandbox, 0), ["before", "after"]);
}

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
    assert!(
        fetch(&partition, 0)
            .await
            .unwrap_err()
            .to_string()
            .contains("CRC")
    );
    assert_eq!(fetch(&partition, 0).await.unwrap().0.len(), 1);
    assert_eq!(corrupt.fired(), 1);
}

#[tokio::test]
async fn a_delay_delays_and_a_throttle_is_told() {
    let sandbox = with_topic().await;
    let partition = partition(&sandbox).await;
    let begun = std::time::Instant::now();
    sandbox.fault(
        Fault::on(Api::ListOffsets),
        Action::Delay(Duration::from_millis(40)),
    );
    soon(partition.get_offset(OffsetAt::Latest)).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(40));

    // rskafka asks again after the time it was told, although the first request was done.
    let throttle = sandbox.fault(Fault::on(Api::Produce), Action::Throttle(30));
    let begun = std::time::Instant::now();
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
    soon(client.partition_client("other", 0, handling))
        .await
        .unwrap();
    let failed = soon(client.partition_client(TOPIC, 0, handling)).await;
    assert_eq!(
        server_error(failed),
        ProtocolError::TopicAuthorizationFailed
    );
}

#[tokio::test]
async fn retention_moves_the_start() {
    let sandbox = Sandbox::builder()
        .retention_bytes(Some(300))
        .start()
        .await
        .unwrap();
    sandbox.create_topic(TOPIC, 1).unwrap();
    for n in 0..10 {
        sandbox.produce(TOPIC, 0, [("k", n.to_string())]).unwrap();
    }
    let start = sandbox.log_start_offset(TOPIC, 0).unwrap();
    assert!((1..10).contains(&start));
    assert_eq!(sandbox.read(TOPIC, 0).unwrap()[0].offset, start);
    assert_eq!(
        soon(sandbox.until_end_offset(TOPIC, 0, 10)).await.unwrap(),
        10
    );
}

#[tokio::test]
async fn a_future_api_versions_is_told_what_is_known() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut stream = TcpStream::connect(sandbox.bootstrap()).await.unwrap();
    let answer = ask(&mut stream, &[0, 18, 0, 99, 0, 0, 0, 7, 0xde, 0xad]).await;
    let unsupported_with_own_range = [
        0, 0, 0, 7, // correlation id
        0, 35, // UNSUPPORTED_VERSION
        0, 0, 0, 1, // one API:
        0, 18, 0, 0, 0, 3, // ApiVersions 0 to 3
    ];
    assert_eq!(answer, unsupported_with_own_range);
    // The connection is good for another try, of version 0.
    let answer = ask(&mut stream, &[0, 18, 0, 0, 0, 0, 0, 8, 0xff, 0xff]).await;
    assert_eq!(answer[..6], [0, 0, 0, 8, 0, 0]);
    assert_eq!(answer.len(), 4 + 2 + 4 + 6 * Api::ALL.len());
}

#[tokio::test]
async fn bad_bytes_close_their_connection_only() {
    let sandbox = with_topic().await;
    let bad: [&[u8]; 6] = [
        &[0x7f, 0xff, 0xff, 0xff],                           // a frame of 2 GiB
        &[0xff, 0xff, 0xff, 0xff],                           // of -1
        &[0, 0, 0, 2, 0, 0],                                 // too short for a header
        &[0, 0, 0, 10, 0, 99, 0, 0, 0, 0, 0, 0, 0xff, 0xff], // an unknown API
        &[0, 0, 0, 10, 0, 1, 0, 12, 0, 0, 0, 0, 0xff, 0xff], // Fetch 12
        b"\0\0\0\x0e\0\x03\0\x04\0\0\0\0\xff\xff\x7f\xff\xff\xff", // 2^31-1 topics
    ];
    for bytes in bad {
        let mut stream = TcpStream::connect(sandbox.bootstrap()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut rest = Vec::new();
        // Reset or end: both are a closed connection.
        let _ = soon(stream.read_to_end(&mut rest)).await;
        assert!(rest.is_empty(), "{bytes:?} was answered {rest:?}");
    }
    let mut half_open = TcpStream::connect(sandbox.bootstrap()).await.unwrap();
    half_open.write_all(&[0, 0, 0, 50, 0, 3]).await.unwrap();
    produce(&partition(&sandbox).await, "still served")
        .await
        .unwrap();
}

#[tokio::test]
async fn nothing_listens_after_a_drop() {
    let sandbox = with_topic().await;
    let address = sandbox.bootstrap();
    let mut stream = TcpStream::connect(&address).await.unwrap();
    drop(sandbox);
    let read = soon(stream.read(&mut [0; 1])).await;
    assert!(matches!(read, Ok(0) | Err(_)));
    let again = soon(TcpStream::connect(&address)).await;
    assert!(again.is_err());
}

#[tokio::test]
async fn an_idempotent_batch_is_written_once() {
    let sandbox = with_topic().await;
    let mut stream = TcpStream::connect(sandbox.bootstrap()).await.unwrap();
    let mut batch = NewBatch::new(vec![NewRecord::new("k", "once")]);
    (batch.producer_id, batch.producer_epoch, batch.base_sequence) = (1001, 0, 0);
    let request = raw_produce(-1, &batch.to_bytes());

    sandbox.fault(Fault::on(Api::Produce), Action::SilenceAfter);
    send(&mut stream, &request).await;
    for _ in 0..2 {
        let answer = ask(&mut stream, &request).await;
        assert_eq!(raw_outcome(&answer), (0, 0), "error code and base offset");
    }
    batch.base_sequence = 5;
    let gap = ask(&mut stream, &raw_produce(-1, &batch.to_bytes())).await;
    assert_eq!(raw_outcome(&gap), (45, -1), "OUT_OF_ORDER_SEQUENCE_NUMBER");
    assert_eq!(values(&sandbox, 0), ["once"]);
}

#[tokio::test]
async fn a_corrupt_produce_is_refused() {
    let sandbox = with_topic().await;
    let mut stream = TcpStream::connect(sandbox.bootstrap()).await.unwrap();
    let mut bytes = NewBatch::new(vec![NewRecord::new("k", "v")])
        .to_bytes()
        .to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let answer = ask(&mut stream, &raw_produce(-1, &bytes)).await;
    assert_eq!(raw_outcome(&answer), (2, -1), "CORRUPT_MESSAGE");
}

#[tokio::test]
async fn acks_0_is_never_answered_and_an_error_closes() {
    let sandbox = with_topic().await;
    let mut stream = TcpStream::connect(sandbox.bootstrap()).await.unwrap();
    let batch = NewBatch::new(vec![NewRecord::new("k", "v")]).to_bytes();
    send(&mut stream, &raw_produce(0, &batch)).await;
    assert_eq!(
        soon(sandbox.until_end_offset(TOPIC, 0, 1)).await.unwrap(),
        1
    );
    let next = ask(&mut stream, &raw_produce(1, &batch)).await;
    assert_eq!(
        raw_outcome(&next),
        (0, 1),
        "the first answer is the second request's"
    );
    sandbox.fault(Fault::on(Api::Produce), Action::Error(19));
    send(&mut stream, &raw_produce(0, &batch)).await;
    assert_eq!(soon(stream.read(&mut [0; 1])).await.unwrap(), 0);
}

/// One node with [`TOPIC`] of one partition.
async fn with_topic() -> Sandbox {
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.create_topic(TOPIC, 1).unwrap();
    sandbox
}

async fn client(sandbox: &Sandbox) -> Client {
    let brokers = sandbox.bootstrap().split(',').map(str::to_owned).collect();
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(10),
        max_backoff: Duration::from_millis(50),
        base: 2.0,
        deadline: Some(Duration::from_millis(300)),
    };
    let builder = ClientBuilder::new(brokers).backoff_config(backoff);
    soon(builder.build()).await.unwrap()
}

async fn partition(sandbox: &Sandbox) -> PartitionClient {
    let client = client(sandbox).await;
    let handling = UnknownTopicHandling::Error;
    soon(client.partition_client(TOPIC, 0, handling))
        .await
        .unwrap()
}

async fn produce(partition: &PartitionClient, value: &str) -> Result<Vec<i64>, Error> {
    soon(partition.produce(vec![record(value)], Compression::NoCompression)).await
}

async fn fetch(
    partition: &PartitionClient,
    offset: i64,
) -> Result<(Vec<rskafka::record::RecordAndOffset>, i64), Error> {
    soon(partition.fetch_records(offset, 0..1_000_000, 1000)).await
}

fn record(value: &str) -> Record {
    Record {
        key: Some(b"key".to_vec()),
        value: Some(value.as_bytes().to_vec()),
        headers: BTreeMap::from([("header".to_owned(), b"h".to_vec())]),
        timestamp: DateTime::from_timestamp_millis(1_700_000_000_123).unwrap(),
    }
}

fn values(sandbox: &Sandbox, partition: i32) -> Vec<String> {
    let records = sandbox.read(TOPIC, partition).unwrap();
    let values = records.into_iter().map(|r| r.value.unwrap().to_vec());
    values.map(|v| String::from_utf8(v).unwrap()).collect()
}

fn server_error<T: std::fmt::Debug>(result: Result<T, Error>) -> ProtocolError {
    match result {
        Err(Error::ServerError { protocol_error, .. }) => protocol_error,
        other => panic!("no server error: {other:?}"),
    }
}

async fn ask(stream: &mut TcpStream, request: &[u8]) -> Vec<u8> {
    send(stream, request).await;
    let size = soon(stream.read_u32()).await.unwrap();
    let mut answer = vec![0; usize::try_from(size).unwrap()];
    soon(stream.read_exact(&mut answer)).await.unwrap();
    answer
}

/// Produce version 7 to partition 0 of [`TOPIC`].
fn raw_produce(acks: i16, batch: &[u8]) -> Vec<u8> {
    let mut request = vec![0, 0, 0, 7, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff];
    request.extend(acks.to_be_bytes());
    request.extend(1000i32.to_be_bytes());
    request.extend([0, 0, 0, 1, 0, 6]);
    request.extend(TOPIC.as_bytes());
    request.extend([0, 0, 0, 1, 0, 0, 0, 0]);
    request.extend(u32::try_from(batch.len()).unwrap().to_be_bytes());
    request.extend(batch);
    request
}

/// Error code and base offset in the answer to [`raw_produce`].
fn raw_outcome(answer: &[u8]) -> (i16, i64) {
    let at = 4 + 4 + 2 + TOPIC.len() + 4 + 4;
    let code = i16::from_be_bytes(answer[at..at + 2].try_into().unwrap());
    let base_offset = i64::from_be_bytes(answer[at + 2..at + 10].try_into().unwrap());
    (code, base_offset)
}

async fn send(stream: &mut TcpStream, request: &[u8]) {
    let length = u32::try_from(request.len()).unwrap();
    stream.write_all(&length.to_be_bytes()).await.unwrap();
    stream.write_all(request).await.unwrap();
}

/// No call of a test takes longer; what would, hangs.
async fn soon<T>(call: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), call)
        .await
        .expect("it hangs")
}
