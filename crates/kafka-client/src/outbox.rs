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

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_response::BatchIndexAndErrorMessage;
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};
use kafka_protocol::protocol::Request;
use kafka_records::record::Offset;
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit, oneshot};

use super::buf_chain::BufChain;
use super::outbound::{Body, Outbound};
use super::versions::Offered;
use super::{Connection, TransactionVersion};
use crate::Permit;
use crate::{Cause, Error};

const DOING: &str = "produce to";

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
    /// Whose.
    pub transactional_id: Arc<str>,
    /// In version 2 the first batch for a partition makes that part of the transaction.
    pub version: TransactionVersion,
}

/// Batches for the partitions that one broker leads.
#[derive(Debug)]
pub(super) struct Outbox {
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
pub(super) struct Outgoing {
    /// Its number in the outbox.
    pub(super) number: u64,
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    pub(super) batch: Bytes,
    pub(super) permit: Arc<dyn Permit>,
    pub(super) within: Option<WithinTransaction>,
    pub(super) done: oneshot::Sender<Result<Produced, Error>>,
}

impl Default for Outbox {
    fn default() -> Self {
        Self { waiting: Mutex::default(), turns: Semaphore::new(IN_FLIGHT as usize) }
    }
}

impl Outbox {
    /// Adds a batch, and gives its number.
    pub(super) fn push(&self, outgoing: Outgoing) -> u64 {
        let mut waiting = self.lock();
        let number = waiting.next;
        waiting.next += 1;
        waiting.batches.push(Outgoing { number, ..outgoing });
        number
    }

    /// Room for a request, or for all that there may be while the broker pauses.
    pub(super) async fn turn(&self, connection: &Connection) -> Result<SemaphorePermit<'_>, AcquireError> {
        loop {
            let alone = connection.is_throttled();
            let turn = self.turns.acquire_many(if alone { IN_FLIGHT } else { 1 }).await?;
            if alone || !connection.is_throttled() {
                return Ok(turn);
            }
        }
    }

    /// Takes a batch back; false where it is on its way already.
    pub(super) fn withdraw(&self, number: u64) -> bool {
        self.lock().batches.extract_if(.., |outgoing| outgoing.number == number).next().is_some()
    }

    /// What goes out together: of each partition one batch, the oldest, and all of one transaction or of
    /// none. What nobody waits for any more is dropped, and what may no longer be written is refused.
    fn take(&self) -> Vec<Outgoing> {
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
    fn answer(self, result: Result<Produced, Error>) {
        let _ = self.done.send(result); // whoever waited may have been stopped
    }
}

/// What became of an attempt to send what waits.
pub(super) enum Sent {
    /// Batches were taken, and each was told what became of it.
    Some,
    /// There was nothing left to send.
    None,
    /// Nothing was taken, since nothing could be sent.
    Failed(Error),
}

/// A request of whatever may go out once it is written.
struct Together<'a> {
    outbox: &'a Outbox,
    offered: &'a Offered,
    timeout: Duration,
    /// What was taken.
    topics: BTreeMap<Arc<str>, Vec<Outgoing>>,
}

impl Outbound for Together<'_> {
    fn body(&mut self) -> Result<Body, Cause> {
        for outgoing in self.outbox.take() {
            self.topics.entry(Arc::clone(&outgoing.topic)).or_default().push(outgoing);
        }
        let first = self.topics.values().flatten().next().ok_or(Cause::NotHeld)?;
        let within = first.within.as_ref();
        let transaction = within.map(|within| within.version).unwrap_or_default();
        let version = self.offered.within(transaction, ProduceRequest::KEY)?;
        let chain = body(&self.topics, within, self.timeout, version);
        Ok(Body { bytes: chain.map_err(|error| Cause::Undecodable(error.to_string()))?, version })
    }

    fn may_go_on(&self) -> bool {
        self.topics.values().flatten().all(|outgoing| outgoing.permit.holds())
    }
}

/// Sends in one request what may go out, and tells each batch what became of it.
pub(super) async fn send(connection: &Connection, outbox: &Outbox, timeout: Duration) -> Sent {
    let mut together = Together { outbox, offered: connection.offered(), timeout, topics: BTreeMap::new() };
    let deadline = connection.request_timeout();
    let answer = connection.request_outbound::<ProduceRequest>(DOING, &mut together, deadline).await;
    match &answer {
        // rskafka would wait and send the batch again, which the broker has already taken.
        Ok(response) => connection.throttle_ms(response.throttle_time_ms),
        Err(error) if together.topics.is_empty() => {
            return match error.cause {
                Cause::NotHeld => Sent::None,
                _ => Sent::Failed(error.clone()),
            };
        }
        Err(_) => {}
    }
    for outgoing in together.topics.into_values().flatten() {
        let result = match &answer {
            Ok(response) => outcome(response, &outgoing.topic, outgoing.partition),
            Err(error) => Err(error.clone()),
        };
        outgoing.answer(result);
    }
    Sent::Some
}

/// What the answer says of one partition.
fn outcome(response: &ProduceResponse, topic: &str, partition: i32) -> Result<Produced, Error> {
    let found = response.responses.iter().filter(|found| found.name.0.as_str() == topic);
    let found = found.flat_map(|found| &found.partition_responses).find(|found| found.index == partition);
    let silent = || failed(topic, partition, Cause::Undecodable("it names another partition".to_owned()));
    let found = found.ok_or_else(silent)?;
    match ResponseError::try_from_code(found.error_code) {
        None => Ok(Produced { base_offset: Offset(found.base_offset) }),
        Some(code) => Err(failed(topic, partition, refusal(code, &found.record_errors))),
    }
}

/// A code, and the records that it is about. What the broker says of them may quote them: it stays here.
fn refusal(code: ResponseError, records: &[BatchIndexAndErrorMessage]) -> Cause {
    let records: Arc<[usize]> = records.iter().filter_map(|named| usize::try_from(named.batch_index).ok()).collect();
    if records.is_empty() { Cause::Code(code) } else { Cause::Records { code, records } }
}

pub(super) fn failed(topic: &str, partition: i32, cause: Cause) -> Error {
    Error { doing: DOING, on: format!("{topic}/{partition}"), cause }
}

/// The request in the layout of versions 3 to 12, the batches where they lie. The codec would copy
/// them. <https://kafka.apache.org/protocol#The_Messages_Produce>
fn body(
    topics: &BTreeMap<Arc<str>, Vec<Outgoing>>,
    within: Option<&WithinTransaction>,
    timeout: Duration,
    version: i16,
) -> anyhow::Result<BufChain> {
    let mut chain = BufChain::default();
    let mut glue = Glue { bytes: BytesMut::with_capacity(64), flexible: version >= FLEXIBLE };
    glue.text(within.map(|within| &*within.transactional_id))?;
    glue.bytes.put_i16(-1); // acks=all
    glue.bytes.put_i32(i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX));
    glue.length(topics.len())?;
    for (topic, batches) in topics {
        glue.text(Some(topic))?;
        glue.length(batches.len())?;
        for Outgoing { partition, batch, .. } in batches {
            glue.bytes.put_i32(*partition);
            glue.length(batch.len())?;
            chain.push(glue.bytes.split().freeze());
            chain.push(batch.clone());
            glue.tags();
        }
        glue.tags();
    }
    glue.tags();
    if !glue.bytes.is_empty() {
        chain.push(glue.bytes.freeze());
    }
    Ok(chain)
}

/// The first version of Produce whose lengths are compact and whose structures end in tags (KIP-482).
const FLEXIBLE: i16 = 9;

/// What stands between the batches.
struct Glue {
    bytes: BytesMut,
    flexible: bool,
}

impl Glue {
    fn text(&mut self, text: Option<&str>) -> anyhow::Result<()> {
        let length = text.map(|text| i16::try_from(text.len())).transpose()?;
        if self.flexible {
            self.compact(length.map(u32::try_from).transpose()?);
        } else {
            self.bytes.put_i16(length.unwrap_or(-1));
        }
        self.bytes.put_slice(text.unwrap_or_default().as_bytes());
        Ok(())
    }

    /// Of an array, or of bytes.
    fn length(&mut self, length: usize) -> anyhow::Result<()> {
        let length = i32::try_from(length)?;
        if self.flexible {
            self.compact(Some(u32::try_from(length)?));
        } else {
            self.bytes.put_i32(length);
        }
        Ok(())
    }

    /// One more than the length, as a varint; 0 is null.
    fn compact(&mut self, length: Option<u32>) {
        let mut rest = length.map_or(0, |length| length + 1);
        loop {
            let [low, ..] = rest.to_le_bytes();
            rest >>= 7;
            if rest == 0 {
                return self.bytes.put_u8(low & 0x7f);
            }
            self.bytes.put_u8(low | 0x80);
        }
    }

    /// None are known.
    fn tags(&mut self) {
        if self.flexible {
            self.bytes.put_u8(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf;
    use kafka_protocol::protocol::{Decodable, StrBytes};

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

    /// Longer than one byte of a varint tells, and than two.
    const LONG: &[u8] = &[7; 40_000];

    fn within(id: &str) -> WithinTransaction {
        WithinTransaction { transactional_id: id.into(), version: TransactionVersion::V2 }
    }

    #[test]
    fn the_codec_reads_what_is_sent() {
        let mut topics: BTreeMap<Arc<str>, Vec<Outgoing>> = BTreeMap::new();
        for (topic, partition, batch) in [("b", 7, &b"one"[..]), ("a", 0, b"two"), ("b", 8, b""), ("b", 9, LONG)] {
            topics.entry(topic.into()).or_default().push(outgoing(topic, partition, batch).0);
        }
        for (version, id) in (3..=12).flat_map(|version| [(version, None), (version, Some("id"))]) {
            let within = id.map(within);
            let mut chain = body(&topics, within.as_ref(), Duration::from_secs(5), version).unwrap();
            let mut bytes = chain.copy_to_bytes(chain.remaining());
            let request = ProduceRequest::decode(&mut bytes, version).unwrap();
            assert!(bytes.is_empty());
            assert_eq!((request.acks, request.timeout_ms), (-1, 5_000));
            assert_eq!(request.transactional_id.as_ref().map(|found| found.0.as_str()), id);
            let sent: Vec<_> = request
                .topic_data
                .iter()
                .flat_map(|topic| {
                    topic.partition_data.iter().map(|data| (topic.name.0.as_str(), data.index, data.records.as_deref()))
                })
                .collect();
            let long = Some(LONG);
            assert_eq!(
                sent,
                [("a", 0, Some(&b"two"[..])), ("b", 7, Some(b"one")), ("b", 8, Some(b"")), ("b", 9, long)]
            );
        }
    }

    #[test]
    fn a_refusal_names_its_records_and_nothing_that_is_said_of_them() {
        let named = |at| {
            let why = Some(StrBytes::from_static_str("CANARY"));
            BatchIndexAndErrorMessage::default().with_batch_index(at).with_batch_index_error_message(why)
        };
        let cause = refusal(ResponseError::InvalidTimestamp, &[named(3), named(-1), named(0)]);
        assert!(!format!("{cause} {cause:?}").contains("CANARY"), "{cause:?}");
        let Cause::Records { code, records } = cause else { panic!("{cause:?}") };
        assert_eq!((code, &*records), (ResponseError::InvalidTimestamp, &[3, 0][..]));
        let cause = refusal(ResponseError::InvalidTimestamp, &[named(-1)]);
        assert!(matches!(cause, Cause::Code(ResponseError::InvalidTimestamp)), "{cause:?}");
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
