//! The sequence numbers of one idempotent producer (KIP-98, KIP-360): the brokers write a batch once
//! however often it is sent, and refuse one that comes out of its turn.
//!
//! ```text
//! state ──► batch ──► broker ──┬─ written, or a duplicate ──► written: the next number
//!   ▲                          ├─ answer lost ──────────────► again: the same bytes
//!   └────── a new id ◄─────────┴─ id or number unknown ─────► anew
//! ```
//!
//! Each worker is a producer of its own and has one batch at a time on its way to a partition, so
//! that a number is never skipped: it is taken only once its batch is known to be written. A batch
//! keeps its id and number until the broker has decided about it. Only an answer that says that the
//! batch is *not* written, and can't be under this id, gives it another; an earlier attempt that is
//! still on its way somewhere is refused for the same reason.
//!
//! Within a transaction there is no other id: such an answer ends the transaction, and all of it is
//! done again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kafka_protocol::ResponseError;
use kafka_records::batch::{ProducerId, ProducerState};
use kafka_records::output::Destination;

use super::WithinTransaction;
use super::{Cause, Error, transaction};

/// An idempotent producer. All its writes go through `&self`: those to several partitions run side by side.
#[derive(Debug)]
pub struct Producer {
    sequences: Mutex<Sequences>,
    /// Held by the one write that asks for an id; the others wait for what it hears.
    asking: tokio::sync::Mutex<()>,
    /// Set where all that it writes is part of transactions.
    within: Option<WithinTransaction>,
    /// What is written of the open transaction, which counts once that is committed.
    uncounted: Mutex<Uncounted>,
}

/// Records and bytes written to each partition.
pub type Uncounted = HashMap<Destination, (u64, u64)>;

#[derive(Debug)]
struct Sequences {
    id: Id,
    /// The next number for each partition under this id; 0 where there is none yet.
    next: HashMap<Destination, i32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Id {
    /// To be asked for.
    Unknown,
    Known(ProducerId),
    /// The brokers don't let this client have one.
    Refused,
}

/// The verdict on a failed attempt: what it means for the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is written all the same.
    Written,
    /// Send the same bytes again.
    Again,
    /// It is not written, and never will be under this state: give it the next one.
    Anew,
    /// The transaction that it is part of can't be committed any more.
    Aborted,
}

impl Default for Producer {
    fn default() -> Self {
        let sequences = Mutex::new(Sequences { id: Id::Unknown, next: HashMap::new() });
        Self { sequences, asking: tokio::sync::Mutex::default(), within: None, uncounted: Mutex::default() }
    }
}

impl Producer {
    /// The turn to ask for an id, of which there is one: the others wait for what it hears.
    pub async fn turn_to_ask(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.asking.lock().await
    }

    /// A producer that writes within transactions, as this id.
    pub fn transactional(within: WithinTransaction, id: ProducerId) -> Self {
        let sequences = Mutex::new(Sequences { id: Id::Known(id), next: HashMap::new() });
        let (asking, uncounted) = (tokio::sync::Mutex::default(), Mutex::default());
        Self { sequences, asking, within: Some(within), uncounted }
    }

    /// The transactions that all it writes is part of, where it is.
    pub fn within(&self) -> Option<&WithinTransaction> {
        self.within.as_ref()
    }

    /// Notes what is to be counted once the transaction is committed.
    pub fn count_later(&self, to: Destination, records: u64, bytes: u64) {
        let mut uncounted = self.uncounted.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = uncounted.entry(to).or_default();
        (sum.0, sum.1) = (sum.0 + records, sum.1 + bytes);
    }

    /// Takes what is to be counted now that the transaction is committed.
    pub fn take_uncounted(&self) -> Uncounted {
        std::mem::take(&mut self.uncounted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The producer state of the next batch for a partition; `None` while an id is to be asked for.
    pub fn next_state(&self, to: Destination) -> Option<ProducerState> {
        let sequences = self.lock();
        match sequences.id {
            Id::Unknown => None,
            Id::Known(producer) => {
                let sequence = sequences.next.get(&to).copied().unwrap_or(0);
                Some(ProducerState { producer, sequence, transactional: self.within.is_some() })
            }
            Id::Refused => Some(ProducerState::PLAIN),
        }
    }

    /// Takes the id that the brokers gave. Numbers begin again under it.
    pub fn identified(&self, id: ProducerId) {
        let mut sequences = self.lock();
        if sequences.id == Id::Unknown {
            sequences.id = Id::Known(id);
            sequences.next.clear();
        }
    }

    /// Notes that the brokers give no id: batches go without from now on.
    pub fn refused(&self) {
        self.lock().id = Id::Refused;
    }

    /// Notes that a batch of so many records is written.
    pub fn written(&self, to: Destination, state: &ProducerState, records: i32) {
        let mut sequences = self.lock();
        if sequences.id == Id::Known(state.producer) {
            sequences.next.insert(to, sequence_after(state.sequence, records));
        }
    }

    /// Decides what a failed attempt to write a batch under this state means for it.
    pub fn failed(&self, state: &ProducerState, error: &Error) -> Verdict {
        use ResponseError as Code;
        if error.is(Code::DuplicateSequenceNumber) {
            return Verdict::Written;
        }
        if let Some(within) = &self.within {
            let aborted = transaction::is_aborted_by(error, within.version);
            return if aborted { Verdict::Aborted } else { Verdict::Again };
        }
        match error.cause {
            Cause::Code(
                Code::OutOfOrderSequenceNumber
                | Code::UnknownProducerId
                | Code::InvalidProducerEpoch
                | Code::InvalidProducerIdMapping
                | Code::ProducerFenced,
            ) if *state != ProducerState::PLAIN => {
                let mut sequences = self.lock();
                if sequences.id == Id::Known(state.producer) {
                    sequences.id = Id::Unknown;
                }
                Verdict::Anew
            }
            Cause::Code(Code::ClusterAuthorizationFailed) if *state != ProducerState::PLAIN => {
                self.refused();
                Verdict::Anew
            }
            _ => Verdict::Again,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sequences> {
        self.sequences.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sequence number behind so many records: numbers go from `i32::MAX` on to 0.
pub fn sequence_after(sequence: i32, records: i32) -> i32 {
    let next = (i64::from(sequence) + i64::from(records)) & i64::from(i32::MAX);
    i32::try_from(next).unwrap_or(0)
}

#[cfg(test)]
mod tests;
