//! Writing to the output topics: a batch goes to each of its partitions by one writer, and is done once every record is
//! acknowledged by all in-sync replicas, or refused for good.
//!
//! ```text
//! OutputBatch ──► write ── a partition each, side by side ──► PartitionWriter ── attempts, in order ──► topics ──► brokers
//! ```

mod partition_writer;
#[cfg(test)]
mod tests;
mod topics;
mod write;

pub use kafka_client::producer::Producer;
pub use kafka_records::output::{Destination, Expected, OutputBatch, Part};
pub use topics::{DEAD_LETTER, OUTPUT, Writer};
pub use write::{Refused, Written};
