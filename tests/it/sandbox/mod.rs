//! The sandbox broker, seen by rskafka 0.6.0 and, where rskafka is in the way, by bare bytes.

mod epochs;
mod faults;
mod groups;
mod raw;
mod segments;
mod settings;
mod support;
mod topic_ids;
mod typed;

use std::time::Duration;

use chrono::DateTime;
use kafka_client::{Ask, Cluster, Isolation, Options};
use kafka_records::batch::{BatchBuilder, Outgoing};
use kafka_records::records::Frames;
use kafka_sandbox::{Action, Api, Fault, NewBatch, NewRecord, Sandbox, SandboxError, TopicConfig};
use login_pipeline::config::{Compression, Config, Kafka};
use login_pipeline::record::{Headers, Offset};
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{OffsetAt, UnknownTopicHandling};
use support::{TOPIC, client, fetch, partition, produce, server_error, soon, values, with_topic};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

#[tokio::test]
async fn every_codec_passes_untouched() {
    let sandbox = with_topic().await;
    let kafka = Kafka { brokers: vec![sandbox.bootstrap()], ..Config::default().kafka };
    let cluster = Cluster::new(Options::from(&kafka));
    let codecs = [Compression::None, Compression::Gzip, Compression::Lz4, Compression::Snappy, Compression::Zstd];
    for (n, codec) in codecs.into_iter().enumerate() {
        let mut batch = BatchBuilder::default();
        for i in 0..20 {
            let value = format!("{n}-{i}");
            let sent = Outgoing { timestamp_ms: i, key: Some(b"k"), value: Some(value.as_bytes()) };
            batch.append(&sent, Headers::Borrowed(&[(b"n", Some(b"h"))]));
        }
        let batch = batch.finish(codec).unwrap();
        let produced = soon(cluster.produce(TOPIC, 0, batch, Duration::from_secs(5))).await.unwrap();
        assert_eq!(produced.base_offset.0, i64::try_from(n * 20).unwrap());
    }
    let stored = sandbox.read(TOPIC, 0).unwrap();
    assert_eq!(stored.len(), 100);
    for (place, record) in stored.iter().enumerate() {
        let (n, i) = (place / 20, place % 20);
        assert_eq!((record.offset, record.timestamp_ms), (i64::try_from(place).unwrap(), i64::try_from(i).unwrap()));
        assert_eq!(record.key.as_deref(), Some(&b"k"[..]));
        assert_eq!(record.value.as_deref(), Some(format!("{n}-{i}").as_bytes()));
        assert_eq!(record.headers[0].value.as_deref(), Some(&b"h"[..]));
    }
    let answer = cluster.fetch(&Ask {
        topic: TOPIC,
        partition: 0,
        isolation: Isolation::Committed,
        offset: Offset(0),
        max_bytes: 1 << 20,
        max_wait_ms: 0,
    });
    let packed = Frames::new(soon(answer).await.unwrap().batches).map(|batch| batch.bytes[22] & 7).collect::<Vec<_>>();
    assert_eq!(packed, [0, 1, 3, 2, 4], "as they came");
}

#[tokio::test]
async fn topics_are_made_listed_and_deleted() {
    let sandbox = Sandbox::start().await.unwrap();
    let client = client(&sandbox).await;
    let controller = client.controller_client().unwrap();
    soon(controller.create_topic("a", 3, 1, 1000)).await.unwrap();
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
    assert_eq!(server_error(unknown), ProtocolError::UnknownTopicOrPartition);
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
    assert_eq!(soon(partition.get_offset(OffsetAt::Latest)).await.unwrap(), 0);
    sandbox.append_control_batch(TOPIC, 0, 7, false).unwrap();
    sandbox.append_batch(TOPIC, 0, &records()).unwrap();
    sandbox.append_control_batch(TOPIC, 0, 7, true).unwrap();

    let error = fetch(&partition, 0).await.unwrap_err().to_string();
    assert!(error.contains("Unknown control batch record version: 8192"), "{error}");
    assert_eq!(sandbox.read(TOPIC, 0).unwrap().len(), 2);
    let committed = sandbox.read_committed(TOPIC, 0).unwrap();
    assert_eq!(committed.iter().map(|r| r.offset).collect::<Vec<_>>(), [2]);
}

#[tokio::test]
async fn a_null_header_fails_rskafka_as_on_kafka() {
    let sandbox = with_topic().await;
    let partition = partition(&sandbox).await;
    let poison = NewRecord::new("k", "v").header("null", None);
    sandbox.append_batch(TOPIC, 0, &NewBatch::new(vec![poison])).unwrap();
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
    assert!(matches!(unreadable, Err(SandboxError::Unreadable { offset: 0, .. })));

    sandbox.append_raw(TOPIC, 0, 1..5, &b"no batch at all"[..]).unwrap();
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
    let partition = soon(client.partition_client(TOPIC, 1, handling)).await.unwrap();
    produce(&partition, "before").await.unwrap();

    sandbox.move_leader(TOPIC, 1, 1).unwrap();
    produce(&partition, "after").await.unwrap();
    assert_eq!(values(&sandbox, 1), ["before", "after"]);
    assert!(matches!(sandbox.move_leader(TOPIC, 1, 9), Err(SandboxError::NoSuchNode(9))));
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
async fn retention_moves_the_start() {
    let sandbox = Sandbox::builder().retention_bytes(Some(300)).start().await.unwrap();
    sandbox.create_topic(TOPIC, 1).unwrap();
    for n in 0..10 {
        sandbox.produce(TOPIC, 0, [("k", n.to_string())]).unwrap();
    }
    let start = sandbox.log_start_offset(TOPIC, 0).unwrap();
    assert!((1..10).contains(&start));
    assert_eq!(sandbox.read(TOPIC, 0).unwrap()[0].offset, start);
    assert_eq!(soon(sandbox.until_end_offset(TOPIC, 0, 10)).await.unwrap(), 10);
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
