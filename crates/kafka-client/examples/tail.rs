//! Writes one record to partition 0 of a topic, and reads what is there from the beginning.
//!
//! ```text
//! cargo run -p kafka-client --example tail -- 127.0.0.1:9092 user-login
//! ```

use std::error::Error;
use std::time::Duration;

use kafka_client::{Ask, At, Cluster, Isolation, Options};
use kafka_records::batch::{BatchBuilder, Outgoing};
use kafka_records::compression::Compression;
use kafka_records::record::{Headers, Offset};
use kafka_records::records::{Bounds, Frames, OpenBatch, Progress, Records, Window};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(broker), Some(topic)) = (args.next(), args.next()) else { return Err("usage: tail BROKER TOPIC".into()) };
    let cluster = Cluster::new(Options { bootstrap: vec![broker], ..Options::default() });

    let mut batch = BatchBuilder::default();
    batch.append(&Outgoing { timestamp_ms: 0, key: None, value: Some(b"hello") }, Headers::NONE);
    let batch = batch.finish(Compression::Lz4)?;
    let written = cluster.produce(&topic, 0, batch, Duration::from_secs(10)).await?;
    println!("written at offset {}", written.base_offset);

    let mut offset = cluster.offset_at(&topic, 0, At::Earliest).await?.unwrap_or_default();
    while offset <= written.base_offset {
        let ask = Ask {
            topic: &topic,
            partition: 0,
            isolation: Isolation::Committed,
            offset,
            max_bytes: 1 << 20,
            max_wait_ms: 0,
        };
        let fetched = cluster.fetch(&ask).await?;
        let bounds =
            Bounds { offsets: Offset(0)..fetched.end, least_epoch: None, greatest_epoch: fetched.leader_epoch };
        for raw in Frames::new(fetched.batches) {
            let sound = raw.sound(&bounds)?;
            let next = sound.next_offset();
            if !sound.is_control() {
                let (mut open, mut records) = (OpenBatch::new(sound, offset)?, Records::default());
                while open.read(&mut Window::unlimited(), &mut records)? != Progress::Done {}
                for found in records.iter() {
                    let value = String::from_utf8_lossy(found.record.value.unwrap_or_default());
                    println!("{}: {value}", found.record.offset);
                }
            }
            offset = next;
        }
    }
    Ok(())
}
