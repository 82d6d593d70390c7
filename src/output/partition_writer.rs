//! Writing to one partition: one batch after another, each sent until it is acknowledged or refused for good.

use std::time::Duration;

use kafka_client::concurrent_transactions::Ending;
use kafka_client::producer::{Producer, Verdict, sequence_after};
use kafka_protocol::ResponseError;
use kafka_records::batch::{BatchBuilder, Finished, ProducerState, with_producer_state};
use kafka_records::output::Destination;
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::topics::OutputTopics;
use crate::kafka::{Cause, Error};
use crate::observe::count;
use crate::ownership::PartitionOwnership;
use crate::retry::Operation;

/// Attempts after which CORRUPT_MESSAGE is the broker's judgement of the records, and no accident of their way there.
const DAMAGED: u32 = 5;

/// Why a batch will never be written.
#[derive(Debug)]
pub(super) enum Unwritten {
    /// The broker will never take it, or its partition is no longer there.
    Refused(Error),
    /// The transaction that it is part of can't be committed any more.
    Aborted(Error),
}

/// The fate of a batch that is refused for what it is.
enum Poison {
    Refused(Unwritten),
    /// An earlier attempt has written it.
    Written,
    /// No broker tells yet.
    Unknown,
}

/// Writes to one partition for one worker.
pub(super) struct PartitionWriter<'w> {
    topics: &'w OutputTopics,
    producer: &'w Producer,
    ownership: &'w PartitionOwnership,
    to: Destination,
    operation: Option<Operation>,
}

impl<'w> PartitionWriter<'w> {
    pub(super) fn new(
        topics: &'w OutputTopics,
        producer: &'w Producer,
        ownership: &'w PartitionOwnership,
        to: Destination,
    ) -> Self {
        Self { topics, producer, ownership, to, operation: None }
    }

    /// Writes one batch, retried until it is acknowledged, and returns the buffer that it was in.
    ///
    /// # Errors
    /// [`Unwritten`] where it never will be written.
    pub(super) async fn write(&mut self, batch: BatchBuilder) -> Result<Vec<u8>, Unwritten> {
        let records = batch.count();
        let mut state = self.next_state().await;
        let Finished { batch: mut encoded, failed } = batch.finish_as(self.topics.compression(), state);
        if let Some(error) = failed {
            warn!(%error, "compression of a batch failed: it is written uncompressed");
        }
        let mut ending = Ending::default();
        let mut damaged = 0;
        // Set once an attempt that was never answered may have written it.
        let mut in_doubt = false;
        loop {
            self.ownership.held().await;
            let begun = Instant::now();
            let attempt = self.topics.produce(self.to, encoded.clone(), self.producer, self.ownership);
            let error = match attempt.await {
                Ok(_) => {
                    self.note_written(&state, records, encoded.len(), begun.elapsed());
                    // An attempt that was given up may still hold the bytes: then there is no buffer.
                    return Ok(encoded.try_into_mut().map(Vec::from).unwrap_or_default());
                }
                Err(error) => {
                    damaged += u32::from(error.is(ResponseError::CorruptMessage));
                    error
                }
            };
            if error.refuses_records() || damaged >= DAMAGED {
                match self.judge_poison(error, in_doubt, &state, records).await {
                    Poison::Refused(unwritten) => return Err(unwritten),
                    Poison::Written => {
                        self.note_written(&state, records, encoded.len(), begun.elapsed());
                        return Ok(Vec::new());
                    }
                    Poison::Unknown => continue,
                }
            }
            if error.is(ResponseError::UnknownTopicOrPartition) && self.topics.has_gone(self.to).await {
                return Err(Unwritten::Refused(error));
            }
            in_doubt |= error.leaves_doubt();
            match self.producer.failed(&state, &error) {
                Verdict::Written => {
                    self.note_written(&state, records, encoded.len(), begun.elapsed());
                    return Ok(Vec::new());
                }
                Verdict::Again => match ending.pause(&error) {
                    Some(pause) => sleep(pause).await,
                    None => self.pause(&error).await,
                },
                Verdict::Anew => {
                    self.pause(&error).await;
                    state = self.next_state().await;
                    encoded = with_producer_state(encoded, state);
                    in_doubt = false;
                }
                Verdict::Aborted => return Err(Unwritten::Aborted(error)),
            }
        }
    }

    /// Judges a batch that its topic refuses for what it is. A broker looks at that before it looks
    /// whether it has the batch already: after an attempt without answer it may have been written, under
    /// settings or at a time when it was not refused.
    async fn judge_poison(&mut self, error: Error, in_doubt: bool, state: &ProducerState, records: i32) -> Poison {
        if !in_doubt || *state == ProducerState::PLAIN {
            return Poison::Refused(Unwritten::Refused(error));
        }
        if state.transactional {
            return Poison::Refused(Unwritten::Aborted(error));
        }
        match self.topics.last_sequence(self.to, state.producer).await {
            Ok(last) if last == Some(sequence_after(state.sequence, records - 1)) => Poison::Written,
            Ok(_) => Poison::Refused(Unwritten::Refused(error)),
            Err(unknown) => {
                self.pause(&unknown).await;
                Poison::Unknown
            }
        }
    }

    fn note_written(&mut self, state: &ProducerState, records: i32, bytes: usize, took: Duration) {
        self.producer.written(self.to, state, records);
        let sum = (usize::try_from(records).map_or(0, count), count(bytes));
        self.topics.count_written(self.to, sum, took, self.producer);
        self.operation.iter_mut().for_each(Operation::succeeded);
    }

    /// The producer state of the next batch. A producer without an id gets one first, retried until it has.
    async fn next_state(&mut self) -> ProducerState {
        loop {
            if let Some(state) = self.producer.next_state(self.to) {
                return state;
            }
            let _asking = self.producer.turn_to_ask().await;
            if self.producer.next_state(self.to).is_some() {
                continue;
            }
            match self.topics.init_producer_id().await {
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
        let operation = self.operation.get_or_insert_with(|| self.topics.operation(self.to));
        sleep(operation.failed(error)).await;
    }
}

/// Tells whether brokers are too old for idempotence, or don't let this client have it.
fn are_no_ids_given(error: &kafka_client::Error) -> bool {
    error.is(ResponseError::ClusterAuthorizationFailed) || matches!(error.cause, Cause::Unsupported(_))
}
