//! `Produce`: writes batches, acknowledged by all in-sync replicas, tried once. From version 8 on a refusal names the records
//! that are its reason (KIP-467); version 12 is of transactions of version 2.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_response::BatchIndexAndErrorMessage;
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};
use kafka_records::record::Offset;
use kafka_records::schema::Field::{self, Fixed, Since, Struct, Structs, Tags, Text};
use tokio::sync::oneshot;

use crate::buf_chain::BufChain;
use crate::outbound::{Body, Outbound};
use crate::outbox::{DOING, Outbox, Outgoing, Produced, WithinTransaction, failed};
use crate::response_schema::{ERROR, THROTTLE};
use crate::versions::{Api, Offered};
use crate::{Cause, Cluster, Connection, Error, Permit, permit};

/// The API, as it is spoken here.
pub(crate) const API: Api = Api::of::<ProduceRequest>(3, 8, RESPONSE).with_transaction_v2(12);

const RESPONSE: &[Field] = &[
    Structs(&[
        Text,
        Structs(&[
            Fixed(4),
            ERROR,
            Fixed(8 + 8), // offset, time
            Since(5, &Fixed(8)),
            Since(8, &Structs(&[Fixed(4), Text])), // records that are the reason
            Since(8, &Text),
            Tags(&[(0, Struct(&[Fixed(4 + 4)]))]), // who leads
        ]),
    ]),
    THROTTLE,
    Tags(&[(0, Structs(&[Fixed(4), Text, Fixed(4), Text]))]), // where they listen
];

impl Cluster {
    /// Writes an encoded batch and waits for `acks=all`.
    ///
    /// # Errors
    /// Whatever kept the leader from answering, and every error code it gives. Of class ambiguous
    /// where the batch may have been written all the same.
    pub async fn produce(
        &self,
        topic: &str,
        partition: i32,
        batch: Bytes,
        timeout: Duration,
    ) -> Result<Produced, Error> {
        self.produce_under(&permit::unlimited(), None, &topic.into(), partition, batch, timeout).await
    }

    /// Writes an encoded batch as [`Cluster::produce`] does, as part of a transaction where there is one. Nothing is sent
    /// once `permit` does not hold any more.
    ///
    /// # Errors
    /// As [`Cluster::produce`], and [`Cause::NotHeld`].
    pub async fn produce_under(
        &self,
        permit: &Arc<dyn Permit>,
        within: Option<&WithinTransaction>,
        topic: &Arc<str>,
        partition: i32,
        batch: Bytes,
        timeout: Duration,
    ) -> Result<Produced, Error> {
        let (connection, outbox) = self.leader_outbox(topic, partition).await?;
        let (done, mut outcome) = oneshot::channel();
        let (permit, within) = (Arc::clone(permit), within.cloned());
        let topic_name = Arc::clone(topic);
        let number = outbox.push(Outgoing { number: 0, topic: topic_name, partition, batch, permit, within, done });
        let sent = loop {
            let turn = tokio::select! {
                biased;
                sent = &mut outcome => break sent,
                turn = outbox.turn(&connection) => turn,
            };
            match send(&connection, &outbox, timeout).await {
                // Its own may have had to stay behind: then this goes on until it is sent.
                Sent::Some => {}
                Sent::None => {
                    drop(turn);
                    break outcome.await; // it is on its way with others
                }
                Sent::Failed(error) => {
                    drop(turn);
                    // Another may have taken it meanwhile, by another connection.
                    if outbox.withdraw(number) {
                        break Ok(Err(error));
                    }
                    break outcome.await;
                }
            }
        };
        self.heard(topic, partition, sent).await
    }

    async fn heard(
        &self,
        topic: &Arc<str>,
        partition: i32,
        sent: Result<Result<Produced, Error>, oneshot::error::RecvError>,
    ) -> Result<Produced, Error> {
        // Whoever sent it was stopped: perhaps before, perhaps after.
        let result = sent.unwrap_or_else(|_| {
            let cause = Cause::Disconnected("the request was given up with the task that sent it".to_owned());
            Err(failed(topic, partition, cause))
        });
        if result.as_ref().is_err_and(Error::doubts_leader) {
            self.forget_leader(topic, partition);
        }
        result
    }
}

/// What became of an attempt to send what waits.
enum Sent {
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
        let version = self.offered.within(transaction, &API)?;
        let chain = body(&self.topics, within, self.timeout, version);
        Ok(Body { bytes: chain.map_err(|error| Cause::Undecodable(error.to_string()))?, version })
    }

    fn may_go_on(&self) -> bool {
        self.topics.values().flatten().all(|outgoing| outgoing.permit.holds())
    }
}

/// Sends in one request what may go out, and tells each batch what became of it.
async fn send(connection: &Connection, outbox: &Outbox, timeout: Duration) -> Sent {
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
    use crate::TransactionVersion;

    /// Longer than one byte of a varint tells, and than two.
    const LONG: &[u8] = &[7; 40_000];

    fn within(id: &str) -> WithinTransaction {
        WithinTransaction { transactional_id: id.into(), version: TransactionVersion::V2 }
    }

    fn outgoing(topic: &str, partition: i32, batch: &'static [u8]) -> Outgoing {
        let (done, _) = oneshot::channel();
        let (batch, permit) = (Bytes::from_static(batch), permit::unlimited());
        Outgoing { number: 0, topic: topic.into(), partition, batch, permit, within: None, done }
    }

    #[test]
    fn the_codec_reads_what_is_sent() {
        let mut topics: BTreeMap<Arc<str>, Vec<Outgoing>> = BTreeMap::new();
        for (topic, partition, batch) in [("b", 7, &b"one"[..]), ("a", 0, b"two"), ("b", 8, b""), ("b", 9, LONG)] {
            topics.entry(topic.into()).or_default().push(outgoing(topic, partition, batch));
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
}
