//! Kafka's record batches (format 2) in place: written, read, unpacked through a window.
//!
//! ```text
//!  records ─► batch::BatchBuilder ─► compression ─► bytes of a Produce request
//!
//!  bytes of a Fetch response ─► records::Frames ─► RawBatch ─► SoundBatch ─► OpenBatch ─► Records ─► RecordView
//!                                                   checksum,                 a window      borrowed slices
//!                                                   offsets                   (unpack)
//! ```
//!
//! Bytes in, bytes out: no I/O, no clock, no configuration. Any bytes are safe to read: what can't be decoded
//! is handed out as a [`Flaw`](records::Flaw) among its neighbours, and memory is bounded by the
//! [`Window`](records::Window), whatever a batch unpacks to. [`schema`] holds whole messages against their
//! lengths before a codec allocates by them.
//!
//! Sources: <https://kafka.apache.org/documentation/#recordbatch>, KIP-98 (format 2), KIP-482 (flexible versions).
//!
//! It is a crate of its own so that the static binary can have it at full speed, and the rest small.
//!
//! ```
//! use kafka_records::batch::{BatchBuilder, Outgoing};
//! use kafka_records::compression::Compression;
//! use kafka_records::record::{Headers, Offset};
//! use kafka_records::records::{Bounds, Frames, OpenBatch, Records, Window};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut batch = BatchBuilder::default();
//! batch.append(&Outgoing { timestamp_ms: 0, key: None, value: Some(b"value") }, Headers::NONE);
//! let fetched = batch.finish(Compression::Lz4)?;
//!
//! let bounds = Bounds { offsets: Offset(0)..Offset(i64::MAX), least_epoch: None, greatest_epoch: None };
//! let mut records = Records::default();
//! for raw in Frames::new(fetched) {
//!     OpenBatch::new(raw.sound(&bounds)?, Offset(0))?.read(&mut Window::unlimited(), &mut records)?;
//! }
//! assert_eq!(records.get(0).and_then(|found| found.record.value), Some(&b"value"[..]));
//! # Ok(())
//! # }
//! ```

pub mod batch;
pub mod compression;
pub mod murmur2;
pub mod output;
pub mod record;
pub mod records;
pub mod schema;
pub mod step;
pub mod topic;
pub mod unpack;
