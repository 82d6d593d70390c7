//! Writing to the output topics: a batch goes to each of its partitions by one writer, and is done once every record is
//! acknowledged by all in-sync replicas, or refused for good.
//!
//! ```text
//! OutputBatch ──► write ──► PartitionWriter, one a partition ──► OutputTopics ──► Cluster ──► brokers
//!               side by side   batches in order, retried        one attempt
//! ```

mod partition_writer;
#[cfg(test)]
mod tests;
mod topics;
mod write;

pub use kafka_client::producer::Producer;
pub use kafka_records::output::{Destination, Expected, OutputBatch, Part};
pub use topics::{DEAD_LETTER, OUTPUT, OutputTopics};
pub use write::{Refused, Written, write};
