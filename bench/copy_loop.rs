//! The yardstick of `make bench`: a plain rskafka copy loop. It fetches and produces records
//! unchanged, one task a partition, and looks into none of them.
//!
//! ```text
//! copy_loop BROKERS SOURCE OUTPUT
//! ```
//!
//! Prints `drained N` when it has written all that was there when it began, and then waits for
//! the end of its input, so that whoever measures can read its memory and CPU time.

use std::error::Error;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use tokio::task::JoinSet;
use tokio::time::timeout;

type AnyError = Box<dyn Error + Send + Sync>;

/// The pipeline's default for `source.max_fetch_bytes`.
const FETCH_BYTES: i32 = 512 * 1024;
const DEADLINE: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [brokers, source, output] = arguments.as_slice() else {
        return Err("usage: copy_loop BROKERS SOURCE OUTPUT".into());
    };
    let brokers = brokers.split(',').map(str::to_owned).collect();
    let client = Arc::new(timeout(DEADLINE, ClientBuilder::new(brokers).build()).await??);
    let topics = timeout(DEADLINE, client.list_topics()).await??;
    let found = topics.into_iter().find(|topic| topic.name == *source);
    let partitions = found.ok_or_else(|| format!("there is no topic {source:?}"))?.partitions;
    let mut copies = JoinSet::new();
    for partition in partitions {
        let (client, source, output) = (Arc::clone(&client), source.clone(), output.clone());
        copies.spawn(async move { copy(&client, &source, &output, partition).await });
    }
    let mut records = 0;
    while let Some(copied) = copies.join_next().await {
        records += copied??;
    }
    println!("drained {records}");
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    Ok(())
}

/// Copies what a partition holds now, and says how many records that was.
async fn copy(client: &Client, source: &str, output: &str, partition: i32) -> Result<usize, AnyError> {
    let from = open(client, source, partition).await?;
    let to = open(client, output, partition).await?;
    let mut next = timeout(DEADLINE, from.get_offset(OffsetAt::Earliest)).await??;
    let end = timeout(DEADLINE, from.get_offset(OffsetAt::Latest)).await??;
    let mut copied = 0;
    while next < end {
        let (fetched, _) = timeout(DEADLINE, from.fetch_records(next, 1..FETCH_BYTES, 500)).await??;
        let Some(last) = fetched.last() else { continue };
        next = last.offset + 1;
        copied += fetched.len();
        let records = fetched.into_iter().map(|fetched| fetched.record).collect();
        timeout(DEADLINE, to.produce(records, Compression::NoCompression)).await??;
    }
    Ok(copied)
}

async fn open(client: &Client, topic: &str, partition: i32) -> Result<PartitionClient, AnyError> {
    Ok(timeout(DEADLINE, client.partition_client(topic, partition, UnknownTopicHandling::Retry)).await??)
}
