//! What a topic's settings refuse.

use chrono::{DateTime, Utc};
use kafka_sandbox::{Sandbox, TopicConfig};
use rskafka::client::error::ProtocolError;
use rskafka::client::partition::{Compression, PartitionClient};
use rskafka::record::Record;

use super::support::{TOPIC, partition, record, server_error, soon};

/// rskafka is built without its own codecs.
const CODECS: [Compression; 1] = [Compression::NoCompression];

async fn with(change: impl FnOnce(&mut TopicConfig)) -> (Sandbox, PartitionClient) {
    let sandbox = Sandbox::start().await.unwrap();
    let mut config = TopicConfig::new(1);
    change(&mut config);
    sandbox.create_topic_with(TOPIC, config).unwrap();
    let partition = partition(&sandbox).await;
    (sandbox, partition)
}

fn dated(from_now: chrono::TimeDelta) -> Record {
    Record { timestamp: now() + from_now, ..record("dated") }
}

fn now() -> DateTime<Utc> {
    std::time::SystemTime::now().into()
}

async fn refused(partition: &PartitionClient, records: Vec<Record>, codec: Compression) -> ProtocolError {
    server_error(soon(partition.produce(records, codec)).await)
}

#[tokio::test]
async fn a_timestamp_out_of_reach_refuses_its_batch() {
    let (sandbox, partition) = with(|config| config.timestamp_before_max_ms = Some(60_000)).await;
    for codec in CODECS {
        for minutes in [-2, 61] {
            let records = vec![dated(chrono::TimeDelta::zero()), dated(chrono::TimeDelta::minutes(minutes))];
            let error = refused(&partition, records, codec).await;
            assert_eq!(error, ProtocolError::InvalidTimestamp, "{minutes} minutes");
        }
        soon(partition.produce(vec![dated(chrono::TimeDelta::minutes(59))], codec)).await.unwrap();
    }
    assert_eq!(sandbox.end_offset(TOPIC, 0).unwrap(), 1);
}

#[tokio::test]
async fn a_topic_takes_old_timestamps_and_an_hour_ahead_unless_told_otherwise() {
    let (_sandbox, partition) = with(|_| ()).await;
    let unknown = Record { timestamp: DateTime::from_timestamp_millis(-1).unwrap(), ..record("unknown") };
    for record in [unknown, dated(chrono::TimeDelta::days(-4000)), dated(chrono::TimeDelta::minutes(59))] {
        soon(partition.produce(vec![record], Compression::NoCompression)).await.unwrap();
    }
    let ahead = vec![dated(chrono::TimeDelta::minutes(61))];
    assert_eq!(refused(&partition, ahead, Compression::NoCompression).await, ProtocolError::InvalidTimestamp);
}

#[tokio::test]
async fn a_compacted_topic_refuses_a_batch_with_a_null_key() {
    let (sandbox, partition) = with(|config| config.compacted = true).await;
    for codec in CODECS {
        let keyless = Record { key: None, ..record("keyless") };
        let error = refused(&partition, vec![record("keyed"), keyless], codec).await;
        assert_eq!(error, ProtocolError::InvalidRecord);
        soon(partition.produce(vec![record("keyed")], codec)).await.unwrap();
    }
    assert_eq!(sandbox.end_offset(TOPIC, 0).unwrap(), 1);
}

#[tokio::test]
async fn too_few_nodes_are_too_few_replicas() {
    let sandbox = Sandbox::builder().nodes(2).start().await.unwrap();
    let config = TopicConfig { min_insync_replicas: 2, ..TopicConfig::new(1) };
    sandbox.create_topic_with(TOPIC, config).unwrap();
    let partition = partition(&sandbox).await;
    let leader = sandbox.leader(TOPIC, 0).unwrap();
    soon(partition.produce(vec![record("two")], Compression::NoCompression)).await.unwrap();
    sandbox.crash(3 - leader).await.unwrap();
    let error = refused(&partition, vec![record("one")], Compression::NoCompression).await;
    assert_eq!(error, ProtocolError::NotEnoughReplicas);
    sandbox.restart(3 - leader).await.unwrap();
    soon(partition.produce(vec![record("two")], Compression::NoCompression)).await.unwrap();
    assert_eq!(sandbox.end_offset(TOPIC, 0).unwrap(), 2);
}
