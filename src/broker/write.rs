//! Writing a whole output batch: partitions side by side, and to each one record batch after another.

use std::collections::BTreeMap;

use futures::future::join_all;
use kafka_protocol::ResponseError;

use super::partition_writer::{PartitionWriter, Unwritten};
use super::{Destination, Error, OutputBatch, Part, Producer, Writer};
use crate::ownership::PartitionOwnership;

/// A record batch that its topic will never take: too large, against its rules, or for a partition
/// that is no longer there.
#[derive(Debug)]
pub struct Refused {
    /// Where it was to go.
    pub to: Destination,
    /// The sources of its records.
    pub sources: Vec<usize>,
    /// The sources of what was to follow it there, not written either.
    pub behind: Vec<usize>,
    /// Why.
    pub error: Error,
}

impl Refused {
    /// Whether the topic was made anew with fewer partitions: its records have another place now.
    pub fn has_gone(&self) -> bool {
        self.error.is(ResponseError::UnknownTopicOrPartition)
    }
}

/// What became of an output batch.
#[derive(Debug, Default)]
pub struct Written {
    /// What is not written and never will be.
    pub refused: Vec<Refused>,
    /// Why the transaction that it is part of can't be committed any more, where it can't.
    pub aborted: Option<Error>,
    /// The largest of the buffers that were written, for the next batch.
    pub buffer: Vec<u8>,
}

impl Written {
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

impl Writer {
    /// Writes a whole output batch: partitions side by side, and to each one batch after another.
    /// Returns when everything is acknowledged by all in-sync replicas, or refused for good;
    /// anything else is tried again for as long as it takes. All batches of one worker go by one
    /// `producer`, so that brokers tell them from their copies; where it writes transactions of version 1,
    /// the partitions must be part of the open one. Without `ownership` nothing is sent: then this waits,
    /// for a lease that is renewed or for being dropped.
    pub async fn write(&self, batch: OutputBatch, producer: &Producer, ownership: &PartitionOwnership) -> Written {
        let mut to_each: BTreeMap<Destination, Vec<Part>> = BTreeMap::new();
        for part in batch.into_parts() {
            to_each.entry(part.to).or_default().push(part);
        }
        let writes = to_each.into_iter().map(|(to, parts)| self.write_in_order(to, parts, producer, ownership));
        join_all(writes).await.into_iter().fold(Written::default(), Written::and)
    }

    async fn write_in_order(
        &self,
        to: Destination,
        parts: Vec<Part>,
        producer: &Producer,
        ownership: &PartitionOwnership,
    ) -> Written {
        let mut writer = PartitionWriter::new(self, producer, ownership, to);
        let mut written = Written::default();
        let mut parts = parts.into_iter();
        while let Some(Part { batch, sources, .. }) = parts.next() {
            match writer.write(batch).await {
                Ok(buffer) => written.keep(buffer),
                Err(Unwritten::Aborted(error)) => {
                    written.aborted = Some(error);
                    break;
                }
                Err(Unwritten::Refused(error)) => {
                    let behind = parts.flat_map(|part| part.sources).collect();
                    written.refused.push(Refused { to, sources, behind, error });
                    break;
                }
            }
        }
        written
    }
}
