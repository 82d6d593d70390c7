//! Writing a whole output batch: partitions side by side, and to each one record batch after another.

use std::collections::BTreeMap;

use futures::future::join_all;
use kafka_client::producer::Producer;
use kafka_protocol::ResponseError;
use kafka_records::output::{Destination, OutputBatch, Part};

use super::partition_writer::{PartitionWriter, Unwritten};
use super::topics::OutputTopics;
use crate::kafka::Error;
use crate::ownership::PartitionOwnership;

/// A record batch that its topic will never take: too large, against its rules, or for a partition that is no longer
/// there.
#[derive(Debug)]
pub struct Refused {
    /// The partition that it was for.
    pub to: Destination,
    /// The sources of its records.
    pub sources: Vec<usize>,
    /// The sources of what was to follow it there, not written either.
    pub behind: Vec<usize>,
    /// The broker's answer.
    pub error: Error,
}

impl Refused {
    /// Tells whether the topic was recreated with fewer partitions: its records have another place now.
    pub fn has_gone(&self) -> bool {
        self.error.is(ResponseError::UnknownTopicOrPartition)
    }
}

/// The outcome of writing an output batch.
#[derive(Debug, Default)]
pub struct Written {
    /// The batches that are not written and never will be.
    pub refused: Vec<Refused>,
    /// Why it is not written to the end: its transaction can't be committed any more, another has overtaken this
    /// partition, or its producer is gone.
    pub aborted: Option<Error>,
    /// The largest of the buffers that were written, for the next batch.
    pub buffer: Vec<u8>,
}

impl Written {
    /// The outcome where the rest is not to be written, for this reason.
    pub fn aborted_by(error: Error) -> Self {
        Self { aborted: Some(error), ..Self::default() }
    }

    fn and(mut self, other: Self) -> Self {
        self.refused.extend(other.refused);
        self.aborted = self.aborted.or(other.aborted);
        self.keep(other.buffer);
        self
    }

    fn keep(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() > self.buffer.capacity() {
            self.buffer = buffer;
        }
    }
}

/// Writes a whole output batch: partitions side by side, and to each one batch after another. Returns when everything is
/// acknowledged by all in-sync replicas, or refused for good; any other failure is retried for as long as it lasts.
///
/// All batches of one worker go by one `producer`, so that brokers tell them from their copies; where it writes
/// transactions of version 1, the partitions must be part of the open one. Without `ownership` nothing is sent: then this
/// waits, for a lease that is renewed or for being dropped.
pub async fn write(
    topics: &OutputTopics,
    batch: OutputBatch,
    producer: &Producer,
    ownership: &PartitionOwnership,
) -> Written {
    let mut to_each: BTreeMap<Destination, Vec<Part>> = BTreeMap::new();
    for part in batch.into_parts() {
        to_each.entry(part.to).or_default().push(part);
    }
    let write_to = |(to, parts)| write_in_order(PartitionWriter::new(topics, producer, ownership, to), to, parts);
    let writes = to_each.into_iter().map(write_to);
    join_all(writes).await.into_iter().fold(Written::default(), Written::and)
}

/// Writes to one partition, up to the first batch that is not to be written.
async fn write_in_order(mut writer: PartitionWriter<'_>, to: Destination, parts: Vec<Part>) -> Written {
    let mut written = Written::default();
    let mut parts = parts.into_iter();
    while let Some(Part { batch, sources, .. }) = parts.next() {
        match writer.write(batch).await {
            Ok(buffer) => written.keep(buffer),
            Err(Unwritten::Aborted(error)) => return written.and(Written::aborted_by(error)),
            Err(Unwritten::Refused(error)) => {
                let behind = parts.flat_map(|part| part.sources).collect();
                written.refused.push(Refused { to, sources, behind, error });
                break;
            }
        }
    }
    written
}
