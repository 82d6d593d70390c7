//! The transactions of one producer, one after another (KIP-98), without socket, task or clock.
//!
//! ```text
//!                 write_to ──► AddPartitions              a lost answer: the same again, under a
//! Uninitialized      ┌────────────────────┐               doubt that the next id ends
//!   │ Initialize     │                    ▼
//!   └──────────► Ready ◄── End ── Committing ◄── commit ── InTransaction
//!   ▲                │      AddOffsets, CommitOffsets, End     │
//!   │ Initialize     ▼                                         │
//!   └──────────── Aborting ◄────────── abort, or an answer that says that it can't be committed
//! ```
//!
//! [`Transaction::poll`] says what to ask of the coordinators, and one of [`Transaction::initialized`],
//! [`Transaction::done`] and [`Transaction::failed`] hears what became of it.
//!
//! **A transaction is aborted by asking for the id again**, not by `EndTxn`: the coordinator throws
//! away what is open, and gives an id of a later epoch. A batch of the old one that is still on its
//! way can't get into a later transaction then, which an abort under the same id does not rule out.
//! The outputs are then made again from the offset that the group has.
//!
//! **A commit whose answer is lost is asked again** until the coordinator says what it is: it says so
//! as often as it is asked. Where it says that somebody else has this transactional id by now, the
//! group's offset tells, since it is committed with the rest or not at all.
//!
//! **After a lost answer the next transaction has another id**: the request may still lie somewhere,
//! and a late `EndTxn` would commit the half of what has come since. Under an old epoch it is refused.

use std::collections::BTreeSet;

use kafka_protocol::ResponseError;

use super::{Cause, Destination, Error};
use crate::record::Offset;
use crate::retry::ErrorClass;

/// The transactions under one transactional id.
#[derive(Debug)]
pub struct Transaction {
    state: State,
    /// Whether a request under this id may yet arrive whose answer was given up.
    is_in_doubt: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Without an id. Nothing is open that is to be committed.
    Uninitialized,
    Ready,
    InTransaction {
        added: BTreeSet<Destination>,
        missing: BTreeSet<Destination>,
    },
    Committing {
        offset: Offset,
        step: Step,
    },
    /// What was open, if anything, must not be committed.
    Aborting,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    AddOffsets,
    CommitOffsets,
    End,
}

/// What to ask next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// `InitProducerId`: who writes from now on; what was open is ended.
    Initialize,
    /// `AddPartitionsToTxn`, before anything is written to these.
    AddPartitions(BTreeSet<Destination>),
    /// `AddOffsetsToTxn`.
    AddOffsets,
    /// `TxnOffsetCommit`, to the group's coordinator: the next offset to read.
    CommitOffsets(Offset),
    /// `EndTxn`: commit.
    End,
}

/// What a failed request means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Ask the same again.
    Again,
    /// The transaction is not committed, or it can't be told here whether it is: begin anew at the
    /// offset that the group has, once there is an id.
    Aborted,
}

impl Default for Transaction {
    fn default() -> Self {
        Self { state: State::Uninitialized, is_in_doubt: false }
    }
}

impl Transaction {
    /// What to ask now; `None` where there is nothing to ask until more is wanted.
    pub fn poll(&self) -> Option<Request> {
        match &self.state {
            State::Uninitialized | State::Aborting => Some(Request::Initialize),
            State::Ready => None,
            State::InTransaction { missing, .. } if missing.is_empty() => None,
            State::InTransaction { missing, .. } => Some(Request::AddPartitions(missing.clone())),
            State::Committing { step: Step::AddOffsets, .. } => Some(Request::AddOffsets),
            State::Committing { step: Step::CommitOffsets, offset } => Some(Request::CommitOffsets(*offset)),
            State::Committing { step: Step::End, .. } => Some(Request::End),
        }
    }

    /// These partitions are to be written to. Nothing is, before [`Transaction::poll`] has no more to
    /// ask. Ignored unless there is an id and nothing is being ended.
    pub fn write_to(&mut self, partitions: impl IntoIterator<Item = Destination>) {
        if self.state == State::Ready {
            self.state = State::InTransaction { added: BTreeSet::new(), missing: BTreeSet::new() };
        }
        if let State::InTransaction { added, missing } = &mut self.state {
            missing.extend(partitions.into_iter().filter(|partition| !added.contains(partition)));
        }
    }

    /// What was written is to be committed, with this as the next offset to read. There may be
    /// nothing written: then the offset alone is. Ignored as [`Transaction::write_to`] is.
    pub fn commit(&mut self, offset: Offset) {
        if matches!(self.state, State::Ready | State::InTransaction { .. }) {
            self.state = State::Committing { offset, step: Step::AddOffsets };
        }
    }

    /// What was written is not to be committed.
    pub fn abort(&mut self) {
        self.state = State::Aborting;
    }

    /// The answer to [`Request::Initialize`] is an id. Sequence numbers begin again under it.
    pub fn initialized(&mut self) {
        if matches!(self.state, State::Uninitialized | State::Aborting) {
            self.state = State::Ready;
            self.is_in_doubt = false;
        }
    }

    /// The request that was polled last is answered without an error.
    pub fn done(&mut self) {
        match &mut self.state {
            State::InTransaction { added, missing } => added.append(missing),
            State::Committing { step: step @ Step::AddOffsets, .. } => *step = Step::CommitOffsets,
            State::Committing { step: step @ Step::CommitOffsets, .. } => *step = Step::End,
            State::Committing { step: Step::End, .. } => {
                self.state = if self.is_in_doubt { State::Uninitialized } else { State::Ready };
            }
            State::Uninitialized | State::Ready | State::Aborting => {}
        }
    }

    /// The request that was polled last is answered with an error, or not at all.
    pub fn failed(&mut self, error: &Error) -> Failure {
        if matches!(self.state, State::Uninitialized | State::Aborting) {
            return Failure::Again;
        }
        if let Cause::Code(code) = error.cause
            && is_aborted_by(code)
        {
            self.abort();
            return Failure::Aborted;
        }
        self.is_in_doubt |= error.class() == ErrorClass::Ambiguous;
        Failure::Again
    }
}

/// Whether a code says that the transaction can't be committed any more under this id. All others
/// pass, or last until someone mends them; the coordinator ends a transaction that waits too long.
pub(super) fn is_aborted_by(code: ResponseError) -> bool {
    use ResponseError as Code;
    is_fenced_by(code)
        || matches!(
            code,
            Code::InvalidTxnState
                | Code::TransactionAbortable
                | Code::InvalidProducerIdMapping
                | Code::UnknownProducerId
                | Code::OutOfOrderSequenceNumber
        )
}

/// Whether an error says that another has taken the transactional id, or that the coordinator has: it
/// does when a transaction was open for too long.
pub fn is_fenced(error: &Error) -> bool {
    matches!(error.cause, Cause::Code(code) if is_fenced_by(code))
}

fn is_fenced_by(code: ResponseError) -> bool {
    matches!(code, ResponseError::ProducerFenced | ResponseError::InvalidProducerEpoch)
}

#[cfg(test)]
mod tests;
