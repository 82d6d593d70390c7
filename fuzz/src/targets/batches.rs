//! Record batches as they are fetched. What comes out of windows of one size comes out of those of another; a batch that has
//! no flaw is read the same by kafka-protocol's decoder and by the sandbox's, each with codecs of its own.
//!
//! An input: flags, a window, a position, and then a fetched buffer; or the records of one batch, which the target packs
//! by a codec, so that mutations reach what lies inside of one. Checksums are made right.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use kafka_protocol::compression::{Compressor, Gzip, Lz4, Snappy, Zstd};
use kafka_protocol::records::{Record, RecordBatchDecoder};
use kafka_records::batch::{BatchBuilder, Outgoing};
use kafka_records::compression::Compression;
use kafka_records::record::{Header, Headers, Offset};
use kafka_records::records::{Bounds, Entry, FlawKind, Frames, OpenBatch, Progress, RawBatch, Records, SoundBatch, Window};
use kafka_sandbox::NewBatch;

use super::{MIB, Target};
use crate::input::Input;

/// See the module.
pub const TARGET: Target = Target {
    name: "batches",
    about: "record batches of a fetch, in every codec",
    run,
    seeds,
    words: &["\u{2}", "SNAPPY\0", "\0\0\0\u{1}\0\0\0\u{1}", "\u{1}\0\0\0"],
    longest: 8 * 1024,
    memory: 96 * MIB,
};

/// The buffer is one batch, whose length is made right.
const ONE: u8 = 1;
/// What follows are the records of one batch, to be packed.
const PACK: u8 = 2;
/// The buffer stays as it is, wrong checksums included.
const AS_IT_IS: u8 = 4;

const HEADER_BYTES: usize = 61;
const MAX_RECORD_BYTES: usize = MIB;

/// What is read of one batch, at most: a bomb is read no further.
const MOST_ENTRIES: usize = 20_000;
const MOST_BYTES: usize = 4 * MIB;
/// Calls in a row that pass over bytes and hand out nothing. Each passes over megabytes, and no input unpacks to more.
const MOST_IDLE_CALLS: usize = 1_000;

fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let flags = input.byte();
    let window = Window {
        bytes: usize::from(input.u16()).max(1),
        records: usize::from(input.byte()).max(1),
        max_record_bytes: MAX_RECORD_BYTES,
        granted: 0,
    };
    let position = Offset(input.byte().into());
    let buffer = match flags {
        flags if flags & PACK != 0 => packed(input),
        flags if flags & AS_IT_IS != 0 => input.rest().to_vec().into(),
        flags => sealed(input.rest(), flags & ONE != 0),
    };
    let bounds = Bounds { offsets: Offset(0)..Offset(i64::MAX), least_epoch: None, greatest_epoch: None };
    for raw in Frames::new(buffer) {
        let RawBatch { bytes, .. } = raw.clone();
        if let Ok(batch) = raw.sound(&bounds) {
            read_in_two_ways(&batch, &window, position);
            compare(&batch, &bytes);
        }
    }
}

/// The batch of an input's records, by the codec that it names.
fn packed(mut input: Input<'_>) -> Bytes {
    let (codec, count) = (input.byte() % 5, input.byte());
    let plain = input.rest();
    let mut packed = BytesMut::new();
    let put = |out: &mut BytesMut| -> anyhow::Result<()> {
        out.extend_from_slice(plain);
        Ok(())
    };
    let done = match codec {
        1 => Gzip::compress(&mut packed, put),
        2 => Snappy::compress(&mut packed, put),
        3 => Lz4::compress(&mut packed, put),
        4 => Zstd::compress(&mut packed, put),
        _ => put(&mut packed),
    };
    done.unwrap_or_else(|error| panic!("can't compress: {error}"));
    NewBatch::packed(codec.into(), count.into(), packed.freeze()).to_bytes()
}

/// The buffer, format and checksum of each batch made right.
fn sealed(buffer: &[u8], one: bool) -> Bytes {
    let mut buffer = buffer.to_vec();
    let mut at = 0;
    while buffer.len() - at >= HEADER_BYTES {
        let batch = &mut buffer[at..];
        if one {
            let length = i32::try_from(batch.len() - 12).unwrap_or(i32::MAX);
            batch[8..12].copy_from_slice(&length.to_be_bytes());
        }
        let length = batch[8..12].first_chunk().map_or(0, |length| i32::from_be_bytes(*length));
        let Ok(length) = usize::try_from(length) else { break };
        let Some(batch) = batch.get_mut(..length.saturating_add(12)).filter(|batch| batch.len() >= HEADER_BYTES) else { break };
        batch[16] = 2;
        let crc = crc32c::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        at += batch.len();
    }
    buffer.into()
}

/// A record in nobody's form.
type Plain = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

fn plain(entry: &Entry<'_>) -> Plain {
    let record = entry.record;
    let vec = <[u8]>::to_vec;
    let headers = record.headers.iter().map(|(name, value)| (name.to_vec(), value.map(vec))).collect();
    (record.offset.0, record.timestamp_ms, record.key.map(vec), record.value.map(vec), headers)
}

/// All that comes out of a batch.
#[derive(Debug, Default, PartialEq)]
struct Read {
    records: Vec<Plain>,
    flaws: Vec<Option<FlawKind>>,
    /// It was a bomb: there is more.
    more: bool,
}

impl Read {
    fn is_whole(&self) -> bool {
        !self.more && self.flaws.iter().all(Option::is_none)
    }
}

/// Reads a batch as a worker does: a window at a time, each given up before the next.
fn read(batch: &SoundBatch, position: Offset, window: &Window) -> Read {
    let mut open = OpenBatch::new(batch.clone(), position).unwrap_or_else(|error| panic!("{error}"));
    let (mut read, mut bytes, mut idle, mut granted) = (Read::default(), 0, 0, window.granted);
    loop {
        let mut records = Records::default();
        let mut next = Window { granted, ..window.clone() };
        let progress = open.read(&mut next, &mut records).unwrap_or_else(|error| panic!("{error}"));
        // What is left of a batch that is damaged is an entry more.
        let most = window.records + usize::from(!records.flaws().is_empty() && progress == Progress::Done);
        assert!(records.len() <= most, "{} records for a window of {}", records.len(), window.records);
        for entry in records.iter() {
            let (offset, last) = (entry.record.offset, read.records.last().map(|last| last.0));
            assert!(batch.base_offset() <= offset && offset < batch.next_offset(), "{offset} is beyond its batch");
            assert!(offset >= position || batch.next_offset() <= position, "{offset} is not wanted");
            assert!(last.is_none_or(|last| last <= offset.0), "{offset} behind {last:?}");
            read.flaws.push(entry.flaw.map(|flaw| flaw.kind));
            read.records.push(plain(&entry));
        }
        bytes += records.bytes();
        idle = if records.is_empty() { idle + 1 } else { 0 };
        match progress {
            Progress::Done => return read,
            Progress::Full => {}
            Progress::Needs(needed) => {
                assert!(needed > granted && needed <= MAX_RECORD_BYTES, "it asks for {needed} after {granted}");
                granted = needed;
            }
        }
        assert!(idle < MOST_IDLE_CALLS, "nothing comes, and no end");
        if read.records.len() > MOST_ENTRIES || bytes > MOST_BYTES {
            return Read { more: true, ..read };
        }
    }
}

fn read_in_two_ways(batch: &SoundBatch, small: &Window, position: Offset) {
    if batch.is_control() {
        let _ = batch.is_abort_marker();
        return;
    }
    let large = Window { bytes: MIB, records: 1_000, ..small.clone() };
    let (large, small) = (read(batch, position, &large), read(batch, position, small));
    // A bomb is left where it has given enough, which is not the same place.
    let both = large.records.len().min(small.records.len());
    if large.more || small.more {
        assert_eq!(large.records[..both], small.records[..both], "windows of two sizes");
    } else {
        assert_eq!(large, small, "windows of two sizes");
    }
}

/// What has no flaw is the same to two other decoders.
fn compare(batch: &SoundBatch, bytes: &Bytes) {
    if batch.is_control() {
        return;
    }
    let ours = read(batch, Offset(0), &Window { bytes: MIB, records: 1_000, max_record_bytes: MAX_RECORD_BYTES, granted: 0 });
    // Where nothing came, nothing is lost: the others refuse fewer records than none, and a codec that packed nothing.
    if !ours.is_whole() || ours.records.is_empty() {
        return;
    }
    let stamped = bytes[22] & (1 << 3) != 0;
    let theirs = kafka_sandbox::records_of(bytes).unwrap_or_else(|error| panic!("the sandbox refuses it: {error}"));
    let theirs: Vec<Plain> = theirs
        .into_iter()
        .map(|record| {
            let vec = |bytes: Bytes| bytes.to_vec();
            let headers = record.headers.into_iter().map(|header| (header.name.to_vec(), header.value.map(vec)));
            (record.offset, record.timestamp_ms, record.key.map(vec), record.value.map(vec), headers.collect())
        })
        .collect();
    same(&ours.records, &theirs, stamped, "the sandbox");

    // kafka-protocol adds without a look at the bounds, and knows neither names twice nor any that are not UTF-8.
    let base = bytes[27..35].first_chunk().map_or(0, |base| i64::from_be_bytes(*base));
    let sane = |time: i64| time.unsigned_abs() < 1 << 60;
    let named = |record: &Plain| {
        let names: BTreeSet<_> = record.4.iter().map(|(name, _)| name).collect();
        names.len() == record.4.len() && names.into_iter().all(|name| std::str::from_utf8(name).is_ok())
    };
    // It knows snappy-java's frames of one version only.
    const XERIAL: &[u8] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
    let is_other_snappy = bytes[22] & 7 == 2 && bytes[HEADER_BYTES..].starts_with(&XERIAL[..8]) && !bytes[HEADER_BYTES..].starts_with(XERIAL);
    if is_other_snappy || !sane(base) || !ours.records.iter().all(|record| (stamped || sane(record.1)) && named(record)) || stamped {
        return;
    }
    let theirs = RecordBatchDecoder::decode(&mut bytes.clone()).unwrap_or_else(|error| panic!("kafka-protocol refuses it: {error:#}"));
    let theirs: Vec<Plain> = theirs.records.iter().map(of_kafka_protocol).collect();
    same(&ours.records, &theirs, stamped, "kafka-protocol");
}

fn of_kafka_protocol(record: &Record) -> Plain {
    let vec = |bytes: &Bytes| bytes.to_vec();
    let headers = record.headers.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_ref().map(vec))).collect();
    (record.offset, record.timestamp, record.key.as_ref().map(vec), record.value.as_ref().map(vec), headers)
}

/// The others know no time but each record's own.
fn same(ours: &[Plain], theirs: &[Plain], stamped: bool, whose: &str) {
    assert_eq!(ours.len(), theirs.len(), "{whose}: the number of records");
    for (ours, theirs) in ours.iter().zip(theirs) {
        let theirs = if stamped { (theirs.0, ours.1, theirs.2.clone(), theirs.3.clone(), theirs.4.clone()) } else { theirs.clone() };
        assert_eq!(*ours, theirs, "{whose}");
    }
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let codecs =
        [("none", Compression::None), ("gzip", Compression::Gzip), ("snappy", Compression::Snappy), ("lz4", Compression::Lz4), ("zstd", Compression::Zstd)];
    let headers = [
        Header { name: "trace".into(), value: Some("1".into()) },
        Header { name: "trace".into(), value: None },
        Header { name: Bytes::from_static(b"caf\xe9"), value: Some("".into()) },
    ];
    let batch = |records: i64, codec: Compression| {
        let mut builder = BatchBuilder::default();
        for n in 0..records {
            let value = format!("value {n}").repeat(usize::try_from(n % 5).unwrap_or(0));
            let (key, value) = (Some(&b"key"[..]).filter(|_| n % 3 > 0), Some(value.as_bytes()).filter(|_| n % 4 > 0));
            let headers = if n % 2 == 0 { Headers::List(&headers[..usize::try_from(n % 4).unwrap_or(0)]) } else { Headers::NONE };
            builder.append(&Outgoing { timestamp_ms: 1_700_000_000_000 + n, key, value }, headers);
        }
        builder.finish(codec).unwrap_or_else(|error| panic!("{error}")).to_vec()
    };
    let mut seeds = Vec::new();
    for (number, (name, codec)) in (0_u8..).zip(codecs) {
        seeds.push((format!("seed-one-{name}"), [&[ONE, 0, 40, 3, 2][..], &batch(9, codec)].concat()));
        let two = [batch(3, codec), batch(2, Compression::None)].concat();
        seeds.push((format!("seed-two-{name}"), [&[0, 1, 0, 9, 0][..], &two].concat()));
        let plain = batch(5, Compression::None)[HEADER_BYTES..].to_vec();
        seeds.push((format!("seed-packed-{name}"), [&[PACK, 0, 30, 2, 0, number, 5][..], &plain].concat()));
    }
    let control = NewBatch::control(7, false, 5).to_bytes();
    seeds.push(("seed-control".to_owned(), [&[ONE, 0, 1, 1, 0][..], &control].concat()));
    seeds.push(("seed-as-it-is".to_owned(), [&[AS_IT_IS, 0, 1, 1, 0][..], &batch(2, Compression::None)].concat()));
    seeds
}
