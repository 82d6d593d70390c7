use bytes::BytesMut;
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{Compression as Codec, Record, RecordBatchDecoder};
use kafka_protocol::records::{RecordBatchEncoder, RecordEncodeOptions, TimestampType};
use proptest::prelude::*;

use super::*;
use crate::batch::{BatchBuilder, Outgoing};
use crate::compression::{self, Compression};
use crate::record::Header;

fn with_right_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c(&bytes[AFTER_CRC..]);
    bytes[AFTER_CRC - 4..AFTER_CRC].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// A record that the other encoder can write: its batches ascend by one.
fn record(index: i64, base: i64) -> impl Strategy<Value = Record> {
    let bytes = || prop::option::of(prop::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from));
    let headers = prop::collection::vec(("[a-cé]{0,3}", bytes()), 0..4);
    (bytes(), bytes(), headers, 0..1_i64 << 40).prop_map(move |(key, value, headers, timestamp)| Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 3,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset: base + index,
        sequence: i32::try_from(index).unwrap(),
        timestamp,
        key,
        value,
        headers: headers.into_iter().map(|(name, value)| (StrBytes::from_string(name), value)).collect(),
    })
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    (1..40_i64, 0..1_i64 << 50).prop_flat_map(|(count, base)| (0..count).map(|i| record(i, base)).collect::<Vec<_>>())
}

/// The same batch, its records packed by a codec.
fn compressed(batch: &[u8], codec: Compression) -> Bytes {
    let mut bytes = batch[..HEADER_BYTES].to_vec();
    compression::compress(codec, &batch[HEADER_BYTES..], &mut bytes).unwrap();
    let length = i32::try_from(bytes.len() - AFTER_LENGTH).unwrap();
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[21..23].copy_from_slice(&compression::attribute(codec).to_be_bytes());
    with_right_checksum(bytes).into()
}

/// Each codec, by our name and by theirs.
const CODECS: [(Compression, Codec); 5] = [
    (Compression::None, Codec::None),
    (Compression::Gzip, Codec::Gzip),
    (Compression::Snappy, Codec::Snappy),
    (Compression::Lz4, Codec::Lz4),
    (Compression::Zstd, Codec::Zstd),
];

/// The batch that our encoder makes of their records.
fn written(records: &[Record], codec: Compression) -> Bytes {
    let mut builder = BatchBuilder::default();
    for record in records {
        let headers = record
            .headers
            .iter()
            .map(|(name, value)| Header { name: Bytes::from(name.to_string()), value: value.clone() });
        let headers: Vec<_> = headers.collect();
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        let outgoing = Outgoing { timestamp_ms: record.timestamp, key, value };
        builder.append(&outgoing, Headers::List(&headers));
    }
    builder.finish(codec).unwrap()
}

/// A record in neither decoder's form.
type Plain = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

fn ours(found: Entry<'_>) -> Plain {
    let view = found.record;
    let vec = |bytes: &[u8]| bytes.to_vec();
    let headers = view.headers.iter().map(|(name, value)| (name.to_vec(), value.map(vec))).collect();
    (view.offset.0, view.timestamp_ms, view.key.map(vec), view.value.map(vec), headers)
}

fn theirs(record: &Record) -> Plain {
    let vec = |bytes: &Bytes| bytes.to_vec();
    let headers: &IndexMap<StrBytes, Option<Bytes>> = &record.headers;
    let headers = headers.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_ref().map(vec))).collect();
    (record.offset, record.timestamp, record.key.as_ref().map(vec), record.value.as_ref().map(vec), headers)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Batches and codecs are both sides' own.
    #[test]
    fn each_side_reads_what_the_other_writes_in_every_codec(records in records()) {
        let base = records[0].offset;
        let expected: Vec<Plain> = records.iter().map(theirs).collect();
        let from_zero = |(offset, timestamp, key, value, headers): Plain| (offset - base, timestamp, key, value, headers);
        let expected_from_zero: Vec<Plain> = expected.iter().cloned().map(from_zero).collect();
        for (codec, their_codec) in CODECS {
            let mut encoded = BytesMut::new();
            let options = RecordEncodeOptions { version: 2, compression: their_codec };
            RecordBatchEncoder::encode(&mut encoded, &records, &options).unwrap();
            let found: Vec<Plain> = decoded(encoded.freeze()).iter().map(ours).collect();
            prop_assert_eq!(&found, &expected, "{:?}, theirs read by us", codec);

            let found = RecordBatchDecoder::decode(&mut written(&records, codec)).unwrap();
            let found: Vec<Plain> = found.records.iter().map(theirs).collect();
            prop_assert_eq!(&found, &expected_from_zero, "{:?}, ours read by them", codec);
        }
    }

    /// The other side wrote the records, and reads them too.
    #[test]
    fn finds_what_kafka_protocol_finds_in_every_codec(records in records(), from in any::<prop::sample::Index>()) {
        let mut encoded = BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression: Codec::None };
        RecordBatchEncoder::encode(&mut encoded, &records, &options).unwrap();
        for codec in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            let encoded = compressed(&encoded, codec);
            let unpack = |bytes: &mut Bytes, _: Codec| match codec {
                Compression::None => Ok(bytes.clone()),
                _ => unpacked(codec, bytes.clone()),
            };
            let oracle = RecordBatchDecoder::decode_with_custom_compression(&mut encoded.clone(), Some(unpack)).unwrap();
            let oracle: Vec<Plain> = oracle.records.iter().map(theirs).collect();
            let found = decoded(encoded.clone());
            prop_assert_eq!(found.len(), records.len());
            prop_assert_eq!(&found.iter().map(ours).collect::<Vec<_>>(), &oracle);

            let from = from.index(oracle.len());
            let found = read(&encoded, Offset(oracle[from].0), &Window::unlimited());
            prop_assert_eq!(&found.iter().map(ours).collect::<Vec<_>>(), &oracle[from..]);
        }
    }

    /// Windows of any size hand out the same records, each once, in their order.
    #[test]
    fn windows_of_any_size_give_the_same_records(
        records in records(), bytes in 0..400_usize, most in 1..9_usize, from in any::<prop::sample::Index>(),
    ) {
        let mut encoded = BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression: Codec::None };
        RecordBatchEncoder::encode(&mut encoded, &records, &options).unwrap();
        for codec in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            let encoded = compressed(&encoded, codec);
            let all: Vec<_> = decoded(encoded.clone()).iter().map(ours).collect();
            let from = from.index(all.len());
            let window = Window { bytes, records: most, ..Window::unlimited() };
            let found = read(&encoded, Offset(all[from].0), &window);
            prop_assert!(found.flaws().is_empty());
            prop_assert_eq!(&found.iter().map(ours).collect::<Vec<_>>(), &all[from..]);
        }
    }

    #[test]
    fn any_bytes_are_framed_and_decoded_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), length in 0..200_u8, count in 0..9_u8) {
        let mut bytes = bytes;
        if bytes.len() > HEADER_BYTES {
            bytes[..12].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, length]);
            bytes[16] = 2;
            bytes[57..61].copy_from_slice(&[0, 0, 0, count]);
        }
        for batch in Frames::new(bytes.into()) {
            let whole = with_right_checksum(batch.bytes.to_vec());
            let Ok(batch) = raw(whole.clone()).sound(&anywhere()) else { continue };
            let found = read(&whole.into(), Offset(0), &Window { records: 2, ..Window::unlimited() });
            for found in found.iter() {
                prop_assert!(batch.base_offset() <= found.record.offset && found.record.offset < batch.next_offset());
                let _ = found.record.headers.iter().count();
            }
        }
    }

    /// Whatever is flipped in a record, those beside it come out as they are, as far as they can be found.
    #[test]
    fn a_record_that_errs_costs_itself_alone(at in any::<prop::sample::Index>(), bits in 1..=255_u8) {
        let mut flipped = batch(5, 3);
        let record = (flipped.len() - HEADER_BYTES) / 3;
        // Behind its length, by which the next one is found.
        let at = HEADER_BYTES + record + 1 + at.index(record - 1);
        flipped[at] ^= bits;
        let found = read(&with_right_checksum(flipped).into(), Offset(0), &Window::unlimited());
        let before = decoded(batch(5, 3).into());
        prop_assert_eq!(found.len(), 3);
        for index in [0, 2] {
            prop_assert!(found.get(index).unwrap().flaw.is_none());
            prop_assert_eq!(ours(found.get(index).unwrap()), ours(before.get(index).unwrap()));
        }
        prop_assert_eq!(found.get(1).unwrap().record.offset, Offset(6));
    }
}

/// What comes out of packed bytes.
fn unpacked(codec: Compression, packed: Bytes) -> anyhow::Result<Bytes> {
    let mut plain = Vec::new();
    crate::unpack::Unpacker::new(compression::attribute(codec), packed)?.unpack(&mut plain, 1 << 20)?;
    Ok(plain.into())
}

fn anywhere() -> Bounds {
    Bounds { offsets: Offset(0)..Offset(i64::MAX), least_epoch: None, greatest_epoch: None }
}

/// The records of a batch from `position` on, taken by windows of this size.
fn read(batch: &Bytes, position: Offset, window: &Window) -> Records {
    let batch = raw(batch.to_vec()).sound(&anywhere()).unwrap();
    let mut records = Records::default();
    let mut open = OpenBatch::new(batch, position).unwrap();
    let mut granted = window.granted;
    for _ in 0..100_000 {
        let before = records.len();
        let mut next = Window { granted, ..window.clone() };
        match open.read(&mut next, &mut records).unwrap() {
            Progress::Done => return records,
            Progress::Full => {}
            Progress::Needs(bytes) => granted = bytes,
        }
        assert!(records.len() - before <= window.records, "more than there was room for");
    }
    panic!("no end")
}

fn raw(bytes: Vec<u8>) -> RawBatch {
    Frames::new(bytes.into()).next().unwrap()
}

fn flaws(records: &Records) -> Vec<String> {
    records.flaws().iter().map(|flaw| flaw.why.clone()).collect()
}

fn batch(base: i64, records: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::default();
    let header = Header { name: "n".into(), value: None };
    for n in 0..records {
        let record = Outgoing { timestamp_ms: n, key: None, value: Some(b"value") };
        builder.append(&record, Headers::List(std::slice::from_ref(&header)));
    }
    let mut bytes = builder.finish(Compression::None).unwrap().to_vec();
    bytes[..8].copy_from_slice(&base.to_be_bytes());
    bytes
}

#[test]
fn a_record_takes_no_more_than_its_slot() {
    assert_eq!(size_of::<Slot>(), 48);
}

#[test]
fn a_count_is_held_against_the_bytes() {
    for (count, good, why) in [
        (i32::MAX, 3, "record 4 of 2147483647 can't be found"),
        (-1, 0, "stand behind its last record, of 0"),
        (4, 3, "record 4 of 4 can't be found"),
        (2, 2, "stand behind its last record, of 2"),
    ] {
        let mut bytes = batch(0, 3);
        bytes[57..61].copy_from_slice(&count.to_be_bytes());
        for codec in [Compression::None, Compression::Zstd] {
            let found = read(&compressed(&with_right_checksum(bytes.clone()), codec), Offset(0), &Window::unlimited());
            assert_eq!(found.len(), good + 1, "{count}");
            assert!(flaws(&found).concat().contains(why), "{:?}", flaws(&found));
            assert_eq!(found.get(good).unwrap().record.offset, Offset(i64::try_from(good).unwrap().min(2)));
        }
    }
}

#[test]
fn offsets_ascend_within_the_batch() {
    let mut bytes = batch(7, 2);
    let second = HEADER_BYTES + (bytes.len() - HEADER_BYTES) / 2;
    assert_eq!(bytes[second + 3], 2, "the second record's offset delta, 1 in zigzag");
    for delta in [0, 1, 4] {
        bytes[second + 3] = delta;
        let found = read(&with_right_checksum(bytes.clone()).into(), Offset(0), &Window::unlimited());
        assert_eq!(flaws(&found), ["record 2 of 2 can't be decoded"], "{delta}");
        assert_eq!(found.get(1).unwrap().record.offset, Offset(8));
    }
}

/// One that claims the next one's offset is wrong itself: what stands behind it would have none left.
#[test]
fn an_offset_that_leaves_none_for_the_next_ones_is_wrong() {
    let mut bytes = batch(5, 3);
    let second = HEADER_BYTES + (bytes.len() - HEADER_BYTES) / 3;
    bytes[second + 3] = 4;
    let found = read(&with_right_checksum(bytes).into(), Offset(0), &Window::unlimited());
    assert_eq!(flaws(&found), ["record 2 of 3 can't be decoded"]);
    let offsets: Vec<_> = found.iter().map(|entry| entry.record.offset).collect();
    assert_eq!(offsets, [Offset(5), Offset(6), Offset(7)]);
}

#[test]
fn the_append_time_is_of_all_records() {
    let mut bytes = batch(7, 2);
    bytes[22] |= 1 << 3;
    bytes[35..43].copy_from_slice(&99_i64.to_be_bytes());
    let records = decoded(with_right_checksum(bytes).into());
    assert!(records.iter().all(|found| found.record.timestamp_ms == 99));
}

#[test]
fn a_cut_batch_at_the_end_is_left_for_the_next_fetch() {
    let whole = batch(0, 1);
    let mut two = whole.clone();
    two.extend_from_slice(&whole[..whole.len() - 1]);
    let mut frames = Frames::new(two.into());
    assert_eq!(frames.by_ref().map(|batch| batch.claimed_base).collect::<Vec<_>>(), [Offset(0)]);
    assert_eq!(frames.rest().len(), whole.len() - 1);
    assert!(Frames::new(Bytes::from(whole).slice(..40)).next().is_none());
}

/// What no checksum covers is held against what was asked and what the log holds.
#[test]
fn a_batch_that_can_not_stand_where_it_says_is_damage() {
    let bounds = Bounds { offsets: Offset(10)..Offset(20), least_epoch: Some(3), greatest_epoch: Some(5) };
    let at = |base: i64| raw(batch(base, 2)).sound(&bounds).map(|batch| batch.next_offset().0);
    assert_eq!((at(10), at(18)), (Ok(12), Ok(20)));
    for (base, why) in [(9, "what comes before it ends at 10"), (19, "the log ends at 20"), (-1, "no offset")] {
        assert!(at(base).unwrap_err().contains(why), "{base}: {:?}", at(base));
    }
    assert!(at(i64::MAX).is_err() && at(i64::MIN).is_err());
    let epoch = |epoch: i32| {
        let mut bytes = batch(10, 2);
        bytes[12..16].copy_from_slice(&epoch.to_be_bytes());
        raw(bytes).sound(&bounds).unwrap().leader_epoch()
    };
    assert_eq!([2, 3, 5, 6, -1].map(epoch), [None, Some(3), Some(5), None, None]);
}

/// Records of one batch: of so many bytes of value each.
fn sized(values: &[usize], codec: Compression) -> Bytes {
    let mut builder = BatchBuilder::default();
    let header = Header { name: "n".into(), value: Some(Bytes::from_static(b"v")) };
    for (timestamp_ms, bytes) in (0..).zip(values) {
        let value = vec![b'x'; *bytes];
        let record = Outgoing { timestamp_ms, key: Some(b"key"), value: Some(&value) };
        builder.append(&record, Headers::List(std::slice::from_ref(&header)));
    }
    builder.finish(codec).unwrap()
}

#[test]
fn a_record_that_is_too_large_is_cut_and_its_neighbours_come_out() {
    let window = Window { bytes: 10_000, records: 100, max_record_bytes: 1 << 20, granted: 0 };
    for (codec, _) in CODECS {
        for large in [(1 << 20) + 1, 5 << 20] {
            let found = read(&sized(&[5, large, 7], codec), Offset(0), &window);
            let lengths: Vec<_> = found.iter().map(|found| found.record.value.unwrap().len()).collect();
            assert!(lengths.len() == 3 && lengths[0] == 5 && lengths[2] == 7, "{codec:?}: {lengths:?}");
            assert!((60_000..=1 << 16).contains(&lengths[1]), "{codec:?}: {lengths:?}");
            let cut = found.get(1).unwrap();
            assert_eq!((cut.record.offset, cut.record.timestamp_ms, cut.record.key), (Offset(1), 1, Some(&b"key"[..])));
            assert_eq!(cut.record.headers.iter().count(), 1, "{codec:?}");
            let flaw = cut.flaw.unwrap();
            assert_eq!((flaw.kind, flaw.cut_from), (FlawKind::TooLarge, Some(large)));
            assert!(flaw.why.contains("are allowed"), "{}", flaw.why);
        }
    }
}

#[test]
fn a_record_larger_than_a_window_waits_until_memory_is_granted() {
    let window = Window { bytes: 1_000, records: 100, max_record_bytes: 1 << 20, granted: 0 };
    for (codec, _) in CODECS {
        let found = read(&sized(&[5, 300_000, 7], codec), Offset(0), &window);
        let lengths: Vec<_> = found.iter().map(|found| found.record.value.unwrap().len()).collect();
        assert_eq!(lengths, [5, 300_000, 7], "{codec:?}");
        assert!(found.flaws().is_empty());
    }
}

#[test]
fn where_a_codec_fails_what_came_before_is_handed_out() {
    let mut bytes = sized(&[50_000; 20], Compression::Gzip).to_vec();
    let end = bytes.len() - 12;
    bytes[end..].fill(0xff);
    let found = read(&with_right_checksum(bytes).into(), Offset(0), &Window { bytes: 60_000, ..Window::unlimited() });
    assert!(found.len() > 1, "{}", found.len());
    let last = found.get(found.len() - 1).unwrap();
    assert_eq!(last.flaw.unwrap().kind, FlawKind::Corrupt);
    assert!(last.flaw.unwrap().why.contains("decompression failed"), "{:?}", last.flaw);
}
