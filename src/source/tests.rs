//! What a reader makes of a broker that says odd things of a log.

use std::sync::Arc;
use std::time::Duration;

use kafka_client::Cluster;
use kafka_client::testing::{ScriptedBroker, batch, fetched, offset};
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::fetch_response::PartitionData;

use super::{PartitionReader, ReaderConfig, Reserve, RskafkaClients};
use crate::config::{self, Config, ReaderKind};
use crate::kafka::{Cause, Error};
use crate::record::Offset;

#[track_caller]
fn undecodable<T: std::fmt::Debug>(result: Result<T, Error>, why: &str) {
    let error = result.unwrap_err();
    assert!(matches!(&error.cause, Cause::Undecodable(found) if found.contains(why)), "{error}");
}

/// A reader of partition 0 of `t`.
async fn reader(broker: ScriptedBroker, reader: ReaderKind) -> PartitionReader {
    let options = broker.listen().await;
    let kafka = config::Kafka { brokers: options.bootstrap.clone(), ..Config::default().kafka };
    let cluster = Arc::new(Cluster::new(options));
    let clients = Arc::new(RskafkaClients::new(cluster.options(), 1 << 20));
    let max_wait = Duration::from_millis(50);
    let source = config::Source { topic: "t".to_owned(), reader, max_wait, ..Config::default().source };
    let config = ReaderConfig { kafka: &kafka, source: &source, rskafka_cannot: None, max_record_bytes: 1 << 20 };
    PartitionReader::new(None, 0, clients, cluster, Reserve::new(1 << 20), config)
}

const READERS: [ReaderKind; 2] = [ReaderKind::Rskafka, ReaderKind::Wire];

#[tokio::test]
async fn a_log_without_an_end_is_not_read() {
    for kind in READERS {
        let mut reader = reader(ScriptedBroker::new().respond(ApiKey::ListOffsets, offset(0, -7)), kind).await;
        undecodable(reader.earliest().await, "-7 is no offset");
        undecodable(reader.latest().await, "-7 is no offset");
    }
}

#[tokio::test]
async fn a_broker_that_has_nothing_and_does_not_wait_does_not_make_us_spin() {
    for kind in READERS {
        let nothing = PartitionData::default().with_high_watermark(100).with_last_stable_offset(100);
        let mut reader = reader(ScriptedBroker::new().respond(ApiKey::Fetch, fetched(nothing)), kind).await;
        let begun = std::time::Instant::now();
        for _ in 0..5 {
            assert!(reader.fetch(Offset(100).into(), 1000).await.unwrap().range.is_empty());
        }
        assert!(begun.elapsed() >= Duration::from_millis(50));
    }
}

/// A log that goes on, says the broker, and of which it brings nothing.
#[tokio::test]
async fn a_log_that_goes_on_and_brings_nothing_is_told() {
    for kind in READERS {
        let nothing = PartitionData::default().with_high_watermark(100).with_last_stable_offset(100);
        let mut reader = reader(ScriptedBroker::new().respond(ApiKey::Fetch, fetched(nothing)), kind).await;
        for _ in 0..2 {
            assert!(reader.fetch(Offset(10).into(), 1000).await.unwrap().range.is_empty());
        }
        undecodable(reader.fetch(Offset(10).into(), 1000).await, "nothing comes from it, but the log goes on to 100");
    }
}

#[tokio::test]
async fn reading_never_steps_back_behind_damage() {
    for kind in READERS {
        let mut records = batch(12, 1);
        records[20] ^= 1;
        records.extend(batch(5, 1));
        let partition = PartitionData::default().with_high_watermark(100).with_last_stable_offset(100);
        let answer = fetched(partition.with_records(Some(records.into())));
        let mut reader = reader(ScriptedBroker::new().respond(ApiKey::Fetch, answer), kind).await;
        let batch = reader.fetch(Offset(12).into(), 1000).await.unwrap();
        assert_eq!((batch.len(), batch.flaws().len()), (1, 1));
        // Every offset up to the end was asked for in vain.
        assert_eq!(batch.range, Offset(12)..Offset(100));
    }
}
