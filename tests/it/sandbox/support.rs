//! A sandbox with a topic, an rskafka that gives up soon, and what both have to say.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use chrono::DateTime;
use kafka_sandbox::Sandbox;
use rskafka::BackoffConfig;
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{Compression, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::{Record, RecordAndOffset};
use tokio::time::timeout;

pub(super) const TOPIC: &str = "logins";

/// One node with [`TOPIC`] of one partition.
pub(super) async fn with_topic() -> Sandbox {
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.create_topic(TOPIC, 1).unwrap();
    sandbox
}

pub(super) async fn client(sandbox: &Sandbox) -> Client {
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

pub(super) async fn partition(sandbox: &Sandbox) -> PartitionClient {
    let client = client(sandbox).await;
    let handling = UnknownTopicHandling::Error;
    soon(client.partition_client(TOPIC, 0, handling)).await.unwrap()
}

pub(super) async fn produce(partition: &PartitionClient, value: &str) -> Result<Vec<i64>, Error> {
    soon(partition.produce(vec![record(value)], Compression::NoCompression)).await
}

pub(super) async fn fetch(partition: &PartitionClient, offset: i64) -> Result<(Vec<RecordAndOffset>, i64), Error> {
    soon(partition.fetch_records(offset, 0..1_000_000, 1000)).await
}

pub(super) fn record(value: &str) -> Record {
    Record {
        key: Some(b"key".to_vec()),
        value: Some(value.as_bytes().to_vec()),
        headers: BTreeMap::from([("header".to_owned(), b"h".to_vec())]),
        timestamp: DateTime::from_timestamp_millis(1_700_000_000_123).unwrap(),
    }
}

pub(super) fn values(sandbox: &Sandbox, partition: i32) -> Vec<String> {
    let records = sandbox.read(TOPIC, partition).unwrap();
    let values = records.into_iter().map(|r| r.value.unwrap().to_vec());
    values.map(|v| String::from_utf8(v).unwrap()).collect()
}

pub(super) fn server_error<T: std::fmt::Debug>(result: Result<T, Error>) -> ProtocolError {
    match result {
        Err(Error::ServerError { protocol_error, .. }) => protocol_error,
        other => panic!("no server error: {other:?}"),
    }
}

/// No call of a test takes longer; what would, hangs.
pub(super) async fn soon<T>(call: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), call).await.expect("it hangs")
}
