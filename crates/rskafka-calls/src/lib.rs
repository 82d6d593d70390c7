//! rskafka's calls. An `async fn` is compiled where it is awaited, with all that it awaits; here each call
//! is boxed, and so made once, however often it is used.
//!
//! It is a crate of its own for the static binary, which has this faster than the rest: a fetch decodes
//! each record.

use std::ops::Range;

use futures::future::BoxFuture;
use rskafka::client::controller::ControllerClient;
use rskafka::client::error::Result;
use rskafka::client::partition::{Compression, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::{Record, RecordAndOffset};
use rskafka::topic::Topic;

/// [`ClientBuilder::build`]
pub fn connect(builder: ClientBuilder) -> BoxFuture<'static, Result<Client>> {
    Box::pin(builder.build())
}

/// [`Client::list_topics`]
pub fn list_topics(client: &Client) -> BoxFuture<'_, Result<Vec<Topic>>> {
    Box::pin(client.list_topics())
}

/// [`Client::partition_client`]
pub fn partition_client<'c>(
    client: &'c Client,
    topic: &'c str,
    partition: i32,
    unknown_topic: UnknownTopicHandling,
) -> BoxFuture<'c, Result<PartitionClient>> {
    Box::pin(client.partition_client(topic, partition, unknown_topic))
}

/// [`ControllerClient::create_topic`]
pub fn create_topic<'c>(
    controller: &'c ControllerClient,
    name: &'c str,
    partitions: i32,
    replication_factor: i16,
    timeout_ms: i32,
) -> BoxFuture<'c, Result<()>> {
    Box::pin(controller.create_topic(name, partitions, replication_factor, timeout_ms))
}

/// [`PartitionClient::fetch_records`]: the records and the high watermark.
pub fn fetch_records(
    client: &PartitionClient,
    offset: i64,
    bytes: Range<i32>,
    max_wait_ms: i32,
) -> BoxFuture<'_, Result<(Vec<RecordAndOffset>, i64)>> {
    Box::pin(client.fetch_records(offset, bytes, max_wait_ms))
}

/// [`PartitionClient::produce`]: the records' offsets.
pub fn produce(
    client: &PartitionClient,
    records: Vec<Record>,
    compression: Compression,
) -> BoxFuture<'_, Result<Vec<i64>>> {
    Box::pin(client.produce(records, compression))
}
