//! The transactions of one producer, one after another, without socket, task or clock.
//!
//! ```text
//!                 write_to ──► AddPartitions (1)          a lost answer: the same again; in version 1
//! Uninitialized      ┌────────────────────┐               under a doubt that the next id ends
//!   │ Initialize     │                    ▼
//!   └──────────► Ready ◄── End ── Committing ◄── commit ── InTransaction
//!   ▲                │      AddOffsets (1), CommitOffsets, End │
//!   │ Initialize     ▼                                         │
//!   └──────────── Aborting ◄────────── abort, or an answer that says that it can't be committed
//! ```
//!
//! [`Transaction::poll`] says what to ask of the coordinators, and one of [`Transaction::initialized`],
//! [`Transaction::done`] and [`Transaction::failed`] hears what became of it.
//!
//! **Which version** is decided with each id. Version 1 (KIP-98) adds to a transaction what belongs to
//! it before that is written. In version 2 (KIP-890) the first batch for a partition does so by itself,
//! and so does the offset; and whoever has ended a transaction has another epoch.
//!
//! **A transaction is aborted by asking for the id again**, not by `EndTxn`: the coordinator throws
//! away what is open, and gives an id of a later epoch. A batch of the old one that is still on its
//! way can't get into a later transaction then, which an abort under the same id does not rule out.
//! The outputs are then made again from the offset that the group has.
//!
//! **A commit whose answer is lost is asked again** until the coordinator says what it is: it says so
//! as often as it is asked, in version 2 by the epoch that the commit ended. Where it says that somebody
//! else has this transactional id by now, the group's offset tells, since it is committed with the rest
//! or not at all.
//!
//! **After a lost answer the next transaction has another id**: the request may still lie somewhere,
//! and a late `EndTxn` would commit the half of what has come since. Under an old epoch it is refused.
//! It is asked for in the place of the one before (KIP-360): a late copy of that request fences nobody.
//! In version 2 every transaction has another epoch than the one before, so that nothing need be asked.
//!
//! **None is empty**: the offset is in each, also where nothing is written. So there is always something
//! to end.

use std::collections::BTreeSet;

use kafka_protocol::ResponseError;
use kafka_records::output::Destination;
use kafka_records::record::Offset;

use super::TransactionVersion;
use super::{Cause, Error};

/// The transactions under one transactional id.
#[derive(Debug)]
pub struct Transaction {
    state: State,
    /// That of the id.
    version: TransactionVersion,
    /// Whether a request under this id may yet arrive whose answer was given up.
    is_in_doubt: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Without an id. Nothing is open that is to be committed.
    Uninitialized,
    /// With an id that another is to take the place of. Nothing is open.
    Renewing,
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
    /// Asks for an id in the place of the one that there is (KIP-360), under which nothing is open.
    Renew,
    /// `AddPartitionsToTxn`, before anything is written to these. In version 1 only.
    AddPartitions(BTreeSet<Destination>),
    /// `AddOffsetsToTxn`. In version 1 only.
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
        Self { state: State::Uninitialized, version: TransactionVersion::V1, is_in_doubt: false }
    }
}

impl Transaction {
    /// Returns what to ask now; `None` where there is nothing to ask until more is wanted.
    pub fn poll(&self) -> Option<Request> {
        match &self.state {
            State::Uninitialized | State::Aborting => Some(Request::Initialize),
            State::Renewing => Some(Request::Renew),
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
        if let State::InTransaction { added, missing } = &mut self.state
            && self.version == TransactionVersion::V1
        {
            missing.extend(partitions.into_iter().filter(|partition| !added.contains(partition)));
        }
    }

    /// What was written is to be committed, with this as the next offset to read. There may be
    /// nothing written: then the offset alone is. Ignored as [`Transaction::write_to`] is.
    pub fn commit(&mut self, offset: Offset) {
        if matches!(self.state, State::Ready | State::InTransaction { .. }) {
            let step = match self.version {
                TransactionVersion::V1 => Step::AddOffsets,
                TransactionVersion::V2 => Step::CommitOffsets,
            };
            self.state = State::Committing { offset, step };
        }
    }

    /// Gives the transaction up: what was written is not to be committed.
    pub fn abort(&mut self) {
        self.state = State::Aborting;
    }

    /// The answer to [`Request::Initialize`] or [`Request::Renew`] is an id, for transactions of this
    /// version. Sequence numbers begin again under it.
    pub fn initialized(&mut self, version: TransactionVersion) {
        if matches!(self.state, State::Uninitialized | State::Renewing | State::Aborting) {
            self.state = State::Ready;
            self.version = version;
            self.is_in_doubt = false;
        }
    }

    /// The request that was polled last is answered without an error. The answer to [`Request::End`]
    /// has another id in version 2, under which sequence numbers begin again.
    pub fn done(&mut self) {
        match &mut self.state {
            State::InTransaction { added, missing } => added.append(missing),
            State::Committing { step: step @ Step::AddOffsets, .. } => *step = Step::CommitOffsets,
            State::Committing { step: step @ Step::CommitOffsets, .. } => *step = Step::End,
            State::Committing { step: Step::End, .. } => {
                let is_over = self.version == TransactionVersion::V2 || !self.is_in_doubt;
                self.state = if is_over { State::Ready } else { State::Renewing };
                self.is_in_doubt = false;
            }
            State::Uninitialized | State::Renewing | State::Ready | State::Aborting => {}
        }
    }

    /// The request that was polled last is answered with an error, or not at all.
    pub fn failed(&mut self, error: &Error) -> Failure {
        if matches!(self.state, State::Uninitialized | State::Aborting) {
            return Failure::Again;
        }
        if is_aborted_by(error, self.version) {
            self.abort();
            return Failure::Aborted;
        }
        self.is_in_doubt |= error.leaves_doubt();
        Failure::Again
    }
}

/// Whether an error says that the transaction can't be committed any more under this id. All others
/// pass, or last until someone mends them; the coordinator ends a transaction that waits too long.
pub(super) fn is_aborted_by(error: &Error, version: TransactionVersion) -> bool {
    use ResponseError as Code;
    match error.cause {
        // The cluster goes back to version 1: the next id is for that.
        Cause::Unsupported(_) => version == TransactionVersion::V2,
        Cause::Overtaken { .. } => true,
        Cause::Code(code) if is_fenced_by(code) => true,
        Cause::Code(code) => matches!(
            code,
            Code::InvalidTxnState
                | Code::TransactionAbortable
                | Code::InvalidProducerIdMapping
                | Code::UnknownProducerId
                | Code::OutOfOrderSequenceNumber
        ),
        _ => false,
    }
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
