//! How long records take, by the broker's clock alone: when each was appended to the output, minus
//! when it was appended to the source. Both topics have `message.timestamp.type=LogAppendTime`.
//!
//! ```text
//! latency BROKERS SOURCE OUTPUT WARM_UP_SECONDS
//!
//! source p: a b c d …      no record is bad, and partition p goes to partition p: the n-th
//! output p: a'b'c'd'…      output is the n-th source record, and begins with the same bytes
//! ```
//!
//! Prints p50, p99, p99.9, the longest and the mean of the records that were appended to the source
//! after so many seconds. Kafka's clock here has milliseconds: one of them more or less is chance,
//! which the mean evens out.

use std::error::Error;
use std::sync::Arc;

use kafka_client::{Cluster, Options};
use login_pipeline::config::{Config, Sources};
use login_pipeline::source::{PartitionReader, ReaderConfig, Reserve, RskafkaClients};

type AnyError = Box<dyn Error + Send + Sync>;

const FETCH_BYTES: usize = 4 * 1024 * 1024;
/// As much of a value as tells one event from another: its user comes first.
const BEGINNING: usize = 64;

/// A record of the source or of the output.
struct Appended {
    at_ms: i64,
    beginning: Vec<u8>,
}

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [brokers, source, output, warm_up] = arguments.as_slice() else {
        return Err("usage: latency BROKERS SOURCE OUTPUT WARM_UP_SECONDS".into());
    };
    let warm_up_ms = warm_up.parse::<i64>()? * 1_000;
    let (sent, written) = (read(brokers, source).await?, read(brokers, output).await?);
    let begun = sent.iter().flatten().map(|record| record.at_ms).min().ok_or("the source is empty")?;
    let mut latencies = Vec::new();
    for (partition, (sent, written)) in sent.iter().zip(&written).enumerate() {
        if sent.len() != written.len() {
            return Err(format!("partition {partition}: {} records became {}", sent.len(), written.len()).into());
        }
        for (sent, written) in sent.iter().zip(written) {
            if sent.beginning != written.beginning {
                return Err(format!("partition {partition}: the outputs are not the source's records in order").into());
            }
            if sent.at_ms >= begun + warm_up_ms {
                latencies.push(written.at_ms - sent.at_ms);
            }
        }
    }
    latencies.sort_unstable();
    let [p50, p99, p999, longest] =
        [500, 990, 999, 1_000].map(|permille| latencies.get((latencies.len() * permille).div_ceil(1_000).max(1) - 1));
    let (Some(p50), Some(p99), Some(p999), Some(longest)) = (p50, p99, p999, longest) else {
        return Err("no record came after the warm-up".into());
    };
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let mean = latencies.iter().sum::<i64>() as f64 / latencies.len() as f64;
    println!(
        "{} records: p50 {p50} ms, p99 {p99} ms, p99.9 {p999} ms, longest {longest} ms, mean {mean:.2} ms",
        latencies.len()
    );
    Ok(())
}

/// Everything that a topic holds now, by partition.
async fn read(brokers: &str, topic: &str) -> Result<Vec<Vec<Appended>>, AnyError> {
    let flags = [("kafka.brokers", brokers), ("source.topic", topic), ("source.reader", "wire")];
    let flags = flags.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    let config = Config::load(Sources { flags, ..Sources::default() })?;
    let cluster = Arc::new(Cluster::new(Options::from(&config.kafka)));
    let clients = Arc::new(RskafkaClients::new(cluster.options(), 1 << 20));
    let found = cluster.topics(&[topic]).await?.remove(topic).ok_or("no answer about the topic")??;
    let mut partitions = Vec::new();
    for partition in found.partitions {
        let (clients, cluster) = (Arc::clone(&clients), Arc::clone(&cluster));
        let reader = ReaderConfig {
            kafka: &config.kafka,
            source: &config.source,
            rskafka_cannot: None,
            max_record_bytes: config.pipeline.max_record_bytes.as_usize(),
        };
        let reserve = Reserve::new(config.pipeline.max_in_flight_bytes.as_usize());
        let reader = PartitionReader::new(None, partition.index, clients, cluster, reserve, reader);
        partitions.push(read_partition(reader).await?);
    }
    Ok(partitions)
}

async fn read_partition(mut reader: PartitionReader) -> Result<Vec<Appended>, AnyError> {
    let (mut next, end) = (reader.earliest().await?, reader.latest().await?);
    let mut records = Vec::new();
    while next < end {
        let batch = reader.fetch(next.into(), FETCH_BYTES).await?;
        next = batch.range.end;
        for entry in (0..batch.len()).filter_map(|index| batch.entry(index)) {
            let value = entry.record.value.unwrap_or_default();
            let beginning = value.get(..BEGINNING).unwrap_or(value).to_vec();
            records.push(Appended { at_ms: entry.record.timestamp_ms, beginning });
        }
    }
    Ok(records)
}
