//! Writes three records into a batch, and reads them back as a client does that fetched it.
//!
//! ```text
//! cargo run -p kafka-records --example round_trip
//! ```

use std::error::Error;

use kafka_records::batch::{BatchBuilder, Outgoing};
use kafka_records::compression::Compression;
use kafka_records::record::{Headers, Offset};
use kafka_records::records::{Bounds, Frames, OpenBatch, Progress, Records, Window};

fn main() -> Result<(), Box<dyn Error>> {
    let mut batch = BatchBuilder::default();
    for (key, value) in [("a", "first"), ("b", "second"), ("c", "third")] {
        let record =
            Outgoing { timestamp_ms: 1_694_479_551_000, key: Some(key.as_bytes()), value: Some(value.as_bytes()) };
        batch.append(&record, Headers::NONE);
    }
    let bytes = batch.finish(Compression::Zstd)?;
    println!("{} bytes on the wire", bytes.len());

    // What was asked for: offset 0 and what follows.
    let bounds = Bounds { offsets: Offset(0)..Offset(i64::MAX), least_epoch: None, greatest_epoch: None };
    let mut records = Records::default();
    for raw in Frames::new(bytes) {
        let mut open = OpenBatch::new(raw.sound(&bounds)?, Offset(0))?;
        while open.read(&mut Window::unlimited(), &mut records)? != Progress::Done {}
    }
    for found in records.iter() {
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        println!("{}: {} = {}", found.record.offset, text(found.record.key), text(found.record.value));
    }
    Ok(())
}
