//! Writing to one partition: one batch after another, each sent until it is acknowledged or refused for good.

use std::time::Duration;

use bytes::Bytes;
use kafka_client::producer::{Producer, Verdict, sequence_after};
use kafka_protocol::ResponseError;
use kafka_records::batch::{BatchBuilder, Finished, Stamp, restamped};
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::writer::Writer;
use super::{Cause, Destination, Ending, Error, Trouble};
use crate::observe::count;
use crate::ownership::PartitionOwnership;

/// So often must a broker find the same bytes damaged before that is its judgement of the records, and no
/// accident of their way there.
const DAMAGED: u32 = 5;

/// Why a batch is not written, for good.
#[derive(Debug)]
pub(super) enum Unwritten {
    /// The broker will never take it, or its partition is no longer there.
    Refused(Error),
    /// The transaction that it is part of can't be committed any more.
    Aborted(Error),
}

/// What became of a batch that is refused for what it is.
enum Poison {
    Refused(Unwritten),
    Written,
    /// It can't be told yet.
    Unknown,
}

/// Writes to one partition for one worker.
pub(super) struct PartitionWriter<'w> {
    writer: &'w Writer,
    producer: &'w Producer,
    ownership: &'w PartitionOwnership,
    to: Destination,
    trouble: Option<Trouble>,
}

impl<'w> PartitionWriter<'w> {
    pub fn new(writer: &'w Writer, producer: &'w Producer, ownership: &'w PartitionOwnership, to: Destination) -> Self {
        Self { writer, producer, ownership, to, trouble: None }
    }

    /// Writes one batch, however often it takes, and returns the buffer that it was in.
    ///
    /// # Errors
    /// Where it never will be written. Anything else is tried again.
    pub async fn write(&mut self, batch: BatchBuilder) -> Result<Vec<u8>, Unwritten> {
        let records = batch.count();
        let mut stamp = self.stamp().await;
        let Finished { batch: mut encoded, failed } = batch.finish_as(self.writer.compression(), stamp);
        if let Some(error) = failed {
            warn!(%error, "a batch can't be compressed: it goes out as it is");
        }
        let mut ending = Ending::default();
        let mut damaged = 0;
        // Whether an earlier attempt may have written it, of which nobody has heard.
        let mut in_doubt = false;
        loop {
            self.ownership.held().await;
            let begun = Instant::now();
            let error = match self.send(encoded.clone()).await {
                Ok(()) => {
                    self.note_written(&stamp, records, encoded.len(), begun.elapsed());
                    // An attempt that was given up may still hold the bytes: then there is no buffer.
                    return Ok(encoded.try_into_mut().map(Vec::from).unwrap_or_default());
                }
                Err(error) => {
                    damaged += u32::from(error.is(ResponseError::CorruptMessage));
                    error
                }
            };
            if error.refuses_records() || damaged >= DAMAGED {
                match self.judge_poison(error, in_doubt, &stamp, records).await {
                    Poison::Refused(unwritten) => return Err(unwritten),
                    Poison::Written => {
                        self.note_written(&stamp, records, encoded.len(), begun.elapsed());
                        return Ok(Vec::new());
                    }
                    Poison::Unknown => continue,
                }
            }
            if error.is(ResponseError::UnknownTopicOrPartition) && self.writer.has_gone(self.to).await {
                return Err(Unwritten::Refused(error));
            }
            in_doubt |= error.leaves_doubt();
            match self.producer.failed(&stamp, &error) {
                Verdict::Written => {
                    self.note_written(&stamp, records, encoded.len(), begun.elapsed());
                    return Ok(Vec::new());
                }
                Verdict::Again => match ending.pause(&error) {
                    Some(pause) => sleep(pause).await,
                    None => self.pause(&error).await,
                },
                Verdict::Anew => {
                    self.pause(&error).await;
                    stamp = self.stamp().await;
                    encoded = restamped(encoded, stamp);
                    in_doubt = false;
                }
                Verdict::Aborted => return Err(Unwritten::Aborted(error)),
            }
        }
    }

    /// What to make of a batch that its topic refuses for what it is. A broker looks at that before it looks
    /// whether it has the batch already: after an attempt without answer it may have been written, under
    /// settings or at a time when it was not refused.
    async fn judge_poison(&mut self, error: Error, in_doubt: bool, stamp: &Stamp, records: i32) -> Poison {
        if !in_doubt || *stamp == Stamp::PLAIN {
            return Poison::Refused(Unwritten::Refused(error));
        }
        if stamp.transactional {
            return Poison::Refused(Unwritten::Aborted(error));
        }
        match self.writer.last_sequence(self.to, stamp.producer).await {
            Ok(last) if last == Some(sequence_after(stamp.sequence, records - 1)) => Poison::Written,
            Ok(_) => Poison::Refused(Unwritten::Refused(error)),
            Err(unknown) => {
                self.pause(&unknown).await;
                Poison::Unknown
            }
        }
    }

    async fn send(&self, batch: Bytes) -> Result<(), Error> {
        self.writer.send(self.to, batch, self.producer, self.ownership).await.map(drop)
    }

    fn note_written(&mut self, stamp: &Stamp, records: i32, bytes: usize, took: Duration) {
        self.producer.written(self.to, stamp, records);
        let sum = (usize::try_from(records).map_or(0, count), count(bytes));
        self.writer.note_written(self.to, sum, took, self.producer);
        self.trouble.iter_mut().for_each(Trouble::passed);
    }

    /// The stamp of the next batch. Where the producer has no id yet, it gets one, however long that
    /// takes.
    async fn stamp(&mut self) -> Stamp {
        loop {
            if let Some(stamp) = self.producer.stamp(self.to) {
                return stamp;
            }
            let _asking = self.producer.turn_to_ask().await;
            if self.producer.stamp(self.to).is_some() {
                continue;
            }
            match self.writer.cluster().init_producer_id().await {
                Ok(id) => self.producer.identified(id),
                Err(error) if are_no_ids_given(&error) => {
                    let error = Error::from(error);
                    warn!(%error, "no idempotence: a batch whose answer is lost may be written twice");
                    self.producer.refused();
                }
                Err(error) => self.pause(&error.into()).await,
            }
        }
    }

    async fn pause(&mut self, error: &Error) {
        let trouble = self.trouble.get_or_insert_with(|| self.writer.trouble(self.to));
        sleep(trouble.failed(error)).await;
    }
}

/// Whether brokers are too old for idempotence, or don't let this client have it.
fn are_no_ids_given(error: &kafka_client::Error) -> bool {
    error.is(ResponseError::ClusterAuthorizationFailed) || matches!(error.cause, Cause::Unsupported(_))
}
