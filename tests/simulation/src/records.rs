//! What is written to the source.

use bytes::Bytes;
use fastrand::Rng;
use kafka_records::batch::{BatchBuilder, Outgoing, ProducerId, ProducerState};
use kafka_records::compression::Compression;
use kafka_records::record::Headers;
use kafka_sandbox::NewRecord;
use login_pipeline::generator::{EventGenerator, GeneratorConfig, RecordKind};

use crate::scenario::Kind;

/// How many records are bad.
const BAD: f64 = 0.25;
/// The size of a large record's value.
const LARGE: usize = 100 << 10;
/// What a bomb unpacks to.
const BOMB: usize = 1 << 20;

/// Makes records.
#[derive(Debug)]
pub(crate) struct Records {
    generator: EventGenerator,
    random: Rng,
}

impl Records {
    /// Those of a seed.
    ///
    /// # Panics
    /// Never: the share of bad records is one.
    pub(crate) fn new(seed: u64) -> Self {
        let config = GeneratorConfig { seed, bad: BAD, keyed: true, ..GeneratorConfig::default() };
        Self { generator: EventGenerator::new(config).expect("a share"), random: Rng::with_seed(seed) }
    }

    /// A record, written at that time.
    pub(crate) fn next(&mut self, kind: Kind, now_ms: i64) -> NewRecord {
        let generated = match kind {
            Kind::Usual | Kind::Transactions => self.generator.next_record(),
            _ => loop {
                let generated = self.generator.next_record();
                if generated.kind == RecordKind::Good {
                    break generated;
                }
            },
        };
        let mut record = NewRecord {
            key: generated.key.map(Bytes::from),
            value: generated.value.map(Bytes::from),
            headers: Vec::new(),
            timestamp_ms: now_ms,
        };
        match kind {
            Kind::Usual | Kind::Transactions => {}
            Kind::Large => record.value = record.value.map(|value| self.padded(&value, LARGE)),
            Kind::OddHeaders => {
                record = record.header("twice", Some(b"1")).header("twice", None).header(b"\xff\x00", Some(b"\x80"));
                record = record.header("", Some(b""));
            }
            Kind::OddTimes => {
                let times = [-1, 0, 1, now_ms - 1_000_000_000_000, now_ms + 30 * 24 * 3_600_000, i64::MAX / 2];
                record.timestamp_ms = times[self.random.usize(..times.len())];
            }
            Kind::Bomb => record.value = Some(vec![0; BOMB].into()),
        }
        record
    }

    /// An event with a field that makes it so long.
    fn padded(&mut self, event: &[u8], bytes: usize) -> Bytes {
        let mut padded = event[..event.len().saturating_sub(1)].to_vec();
        padded.extend_from_slice(b",\"padding\":\"");
        padded.extend((0..bytes).map(|_| self.random.alphanumeric().try_into().unwrap_or(b'-')));
        padded.extend_from_slice(b"\"}");
        padded.into()
    }
}

/// A batch of records, packed.
///
/// # Panics
/// Where a codec fails.
pub(crate) fn packed(records: &[NewRecord], codec: Compression) -> Bytes {
    packed_as(records, codec, ProducerState::PLAIN)
}

/// A batch of records, which a producer writes in a transaction.
///
/// # Panics
/// Where a codec fails.
pub(crate) fn packed_in_transaction(records: &[NewRecord], codec: Compression, producer: i64, sequence: i32) -> Bytes {
    let producer = ProducerId { id: producer, epoch: 0 };
    packed_as(records, codec, ProducerState { producer, sequence, transactional: true })
}

fn packed_as(records: &[NewRecord], codec: Compression, state: ProducerState) -> Bytes {
    let mut batch = BatchBuilder::default();
    for record in records {
        let outgoing =
            Outgoing { timestamp_ms: record.timestamp_ms, key: record.key.as_deref(), value: record.value.as_deref() };
        batch.append(&outgoing, Headers::List(&record.headers));
    }
    let finished = batch.finish_as(codec, state);
    assert!(finished.failed.is_none(), "a codec");
    finished.batch
}
