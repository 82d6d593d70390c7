//! Batches on their way to one broker: together where they can be, and taken back where they may no longer go.
//!
//! ```text
//! worker ─┐                ┌─ one request with whatever has come meanwhile ─┐
//! worker ─┼─► outbox of ───┤                                                ├─► broker
//! worker ─┘   a broker     └─ at most two on their way ─────────────────────┘
//! ```
//!
//! A broker answers the requests of a connection one after another, so batches for several of its
//! partitions are quicker together than in a row. There is no task and no timer: whoever finds a
//! free turn sends what lies there, its own and the others'. A lone batch never waits. A request
//! names one transactional id: batches of different transactions go one request after another.
//!
//! While a broker asks for pauses there is one at a time: the second would lie there unread for as long as the
//! next pause lasts, where nobody can take it back.
//!
//! What goes out is taken from the outbox when the broker's pause is over and the connection's writer is
//! free, as the last thing before the bytes leave: a batch whose partition was lost while it waited stays.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use kafka_records::record::Offset;
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit, oneshot};

use crate::{Cause, Connection, Error, Permit, TransactionVersion};

/// What is done, for errors.
pub(crate) const DOING: &str = "produce to";

/// Requests on their way to one broker: one that it works on, and one that is there when it is done.
const IN_FLIGHT: u32 = 2;

/// The most bytes of batches in one request, unless it has one batch only.
const MOST_BYTES: usize = 8 * 1024 * 1024;

/// An acknowledged batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Produced {
    /// The offset of its first record.
    pub base_offset: Offset,
}

/// The transaction that a batch is part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WithinTransaction {
    /// The transactional id.
    pub transactional_id: Arc<str>,
    /// The version: in version 2 the first batch for a partition makes that part of the transaction.
    pub version: TransactionVersion,
}

/// Batches for the partitions that one broker leads.
#[derive(Debug)]
pub(crate) struct Outbox {
    waiting: Mutex<Waiting>,
    turns: Semaphore,
}

#[derive(Debug, Default)]
struct Waiting {
    batches: Vec<Outgoing>,
    /// The number of the batch that comes next.
    next: u64,
}

/// A batch on its way, and who waits for it.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// Its number in the outbox.
    pub(crate) number: u64,
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) batch: Bytes,
    pub(crate) permit: Arc<dyn Permit>,
    pub(crate) within: Option<WithinTransaction>,
    pub(crate) done: oneshot::Sender<Result<Produced, Error>>,
}

impl Default for Outbox {
    fn default() -> Self {
        Self { waiting: Mutex::default(), turns: Semaphore::new(IN_FLIGHT as usize) }
    }
}

impl Outbox {
    /// Adds a batch, and gives its number.
    pub(crate) fn push(&self, outgoing: Outgoing) -> u64 {
        let mut waiting = self.lock();
        let number = waiting.next;
        waiting.next += 1;
        waiting.batches.push(Outgoing { number, ..outgoing });
        number
    }

    /// Room for a request, or for all that there may be while the broker pauses.
    pub(crate) async fn turn(&self, connection: &Connection) -> Result<SemaphorePermit<'_>, AcquireError> {
        loop {
            let alone = connection.is_throttled();
            let turn = self.turns.acquire_many(if alone { IN_FLIGHT } else { 1 }).await?;
            if alone || !connection.is_throttled() {
                return Ok(turn);
            }
        }
    }

    /// Takes a batch back; false where it is on its way already.
    pub(crate) fn withdraw(&self, number: u64) -> bool {
        self.lock().batches.extract_if(.., |outgoing| outgoing.number == number).next().is_some()
    }

    /// Takes what goes out together: of each partition one batch, the oldest, and all of one transaction or of
    /// none. What nobody waits for any more is dropped, and what may no longer be written is refused.
    pub(crate) fn take(&self) -> Vec<Outgoing> {
        let mut waiting = self.lock();
        let mut bytes = 0;
        let mut together: Vec<Outgoing> = Vec::new();
        for outgoing in std::mem::take(&mut waiting.batches) {
            if outgoing.done.is_closed() {
                continue;
            }
            if !outgoing.permit.holds() {
                let error = failed(&outgoing.topic, outgoing.partition, Cause::NotHeld);
                outgoing.answer(Err(error));
                continue;
            }
            let same = |other: &Outgoing| other.partition == outgoing.partition && other.topic == outgoing.topic;
            let fits = together
                .first()
                .is_none_or(|first| bytes + outgoing.batch.len() <= MOST_BYTES && first.within == outgoing.within);
            if fits && !together.iter().any(same) {
                bytes += outgoing.batch.len();
                together.push(outgoing);
            } else {
                waiting.batches.push(outgoing);
            }
        }
        together
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outgoing {
    /// Tells whoever waits what became of it.
    pub(crate) fn answer(self, result: Result<Produced, Error>) {
        let _ = self.done.send(result); // whoever waited may have been stopped
    }
}

/// The error of a batch for a partition.
pub(crate) fn failed(topic: &str, partition: i32, cause: Cause) -> Error {
    Error { doing: DOING, on: format!("{topic}/{partition}"), cause }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permit;
    use crate::testing::Revocable;

    fn outgoing(
        topic: &str,
        partition: i32,
        batch: &'static [u8],
    ) -> (Outgoing, oneshot::Receiver<Result<Produced, Error>>) {
        let (done, outcome) = oneshot::channel();
        let batch = Bytes::from_static(batch);
        let permit = permit::unlimited();
        (Outgoing { number: 0, topic: topic.into(), partition, batch, permit, within: None, done }, outcome)
    }

    fn within(id: &str) -> WithinTransaction {
        WithinTransaction { transactional_id: id.into(), version: TransactionVersion::V2 }
    }

    #[test]
    fn one_batch_of_a_partition_goes_out_at_a_time() {
        let outbox = Outbox::default();
        let batches = [("a", 0, &b"first"[..]), ("a", 0, b"second"), ("a", 1, b"other")];
        let kept = batches.map(|(topic, partition, batch)| outgoing(topic, partition, batch));
        let waiting = kept.map(|(outgoing, outcome)| {
            outbox.push(outgoing);
            outcome
        });
        let sent = |outbox: &Outbox| outbox.take().into_iter().map(|sent| sent.batch).collect::<Vec<_>>();
        assert_eq!(sent(&outbox), ["first", "other"]);
        assert_eq!(sent(&outbox), ["second"]);
        drop(waiting);
    }

    #[test]
    fn the_batches_of_a_transaction_go_out_with_no_others() {
        let outbox = Outbox::default();
        let batches =
            [(0, &b"plain"[..], None), (1, b"one", Some("a")), (2, b"other", Some("b")), (3, b"two", Some("a"))];
        let waiting = batches.map(|(partition, batch, id)| {
            let (outgoing, outcome) = outgoing("t", partition, batch);
            outbox.push(Outgoing { within: id.map(within), ..outgoing });
            outcome
        });
        let sent = |outbox: &Outbox| outbox.take().into_iter().map(|sent| sent.batch).collect::<Vec<_>>();
        assert_eq!(sent(&outbox), ["plain"]);
        assert_eq!(sent(&outbox), ["one", "two"]);
        assert_eq!(sent(&outbox), ["other"]);
        assert!(sent(&outbox).is_empty());
        drop(waiting);
    }

    #[test]
    fn a_batch_is_taken_back_once_and_only_before_it_is_on_its_way() {
        let outbox = Outbox::default();
        let kept = [("a", 0, &b"one"[..]), ("a", 1, b"two")].map(|(t, p, batch)| outgoing(t, p, batch));
        let [(one, _), (two, _)] = kept.map(|(outgoing, outcome)| (outbox.push(outgoing), outcome));
        assert!(outbox.withdraw(one) && !outbox.withdraw(one));
        assert!(!outbox.withdraw(two + 1));
        assert!(outbox.withdraw(two));
    }

    #[test]
    fn what_nobody_waits_for_and_what_is_anothers_is_not_sent() {
        let outbox = Outbox::default();
        let (gone, outcome) = outgoing("a", 0, b"gone");
        drop(outcome);
        outbox.push(gone);
        let (lost, mut outcome) = outgoing("a", 1, b"lost");
        let permit = Revocable::default();
        permit.revoke();
        outbox.push(Outgoing { permit: Arc::new(permit), ..lost });
        assert!(outbox.take().is_empty());
        assert!(matches!(outcome.try_recv(), Ok(Err(Error { cause: Cause::NotHeld, .. }))));
    }
}
