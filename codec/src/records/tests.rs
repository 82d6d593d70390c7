use bytes::BytesMut;
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{Compression as Codec, Record, RecordBatchDecoder};
use kafka_protocol::records::{RecordBatchEncoder, RecordEncodeOptions, TimestampType};
use proptest::prelude::*;

use super::*;
use crate::batch::{BatchBuilder, Outgoing};
use crate::compression::Compression;
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

fn ours(view: RecordView<'_>) -> Plain {
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
                _ => compression::decompress(compression::attribute(codec), bytes, 1 << 20).map(Bytes::from).map_err(anyhow::Error::msg),
            };
            let oracle = RecordBatchDecoder::decode_with_custom_compression(&mut encoded.clone(), Some(unpack)).unwrap();
            let oracle: Vec<Plain> = oracle.records.iter().map(theirs).collect();
            let found = decoded(encoded.clone());
            prop_assert_eq!(found.len(), records.len());
            prop_assert_eq!(&found.iter().map(ours).collect::<Vec<_>>(), &oracle);

            let from = from.index(oracle.len());
            let mut found = Records::default();
            found.add(&raw(encoded.into()), Offset(oracle[from].0), 1 << 20).unwrap();
            prop_assert_eq!(&found.iter().map(ours).collect::<Vec<_>>(), &oracle[from..]);
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
        for batch in batches(bytes.into()).flatten() {
            let _ = batch.check();
            let mut records = Records::default();
            if records.add(&batch, Offset(0), 1 << 16).is_err() {
                prop_assert!(records.is_empty() && records.buffers.is_empty());
            }
            for record in records.iter() {
                prop_assert!(batch.base_offset <= record.offset && record.offset < batch.next_offset());
                let _ = record.headers.iter().count();
            }
        }
    }

    /// Whatever is flipped in a batch's records, its neighbours' come out as they are.
    #[test]
    fn a_batch_that_errs_leaves_nothing_behind(at in any::<prop::sample::Index>(), bits in 1..=255_u8) {
        let whole = batch(5, 3);
        let mut flipped = whole.clone();
        let at = HEADER_BYTES + at.index(flipped.len() - HEADER_BYTES);
        flipped[at] ^= bits;
        let mut records = Records::default();
        records.add(&raw(whole.clone()), Offset(0), 1 << 16).unwrap();
        let (before, bytes) = (records.len(), records.bytes());
        let added = records.add(&raw(flipped), Offset(0), 1 << 16);
        if added.is_err() {
            prop_assert_eq!((records.len(), records.bytes(), records.buffers.len()), (before, bytes, 1));
        }
        let first: Vec<_> = records.iter().take(before).map(ours).collect();
        prop_assert_eq!(first, decoded(whole.into()).iter().map(ours).collect::<Vec<_>>());
    }
}

fn raw(bytes: Vec<u8>) -> RawBatch {
    batches(bytes.into()).next().unwrap().unwrap()
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
fn tiny_records_do_not_fill_the_memory() {
    let mut builder = BatchBuilder::default();
    for _ in 0..1000 {
        builder.append(&Outgoing { timestamp_ms: 5, key: None, value: None }, Headers::NONE);
    }
    let batch = raw(builder.finish(Compression::Zstd).unwrap().to_vec());
    assert!(Records::default().add(&batch, Offset(0), 1 << 20).is_ok());
    let error = Records::default().add(&batch, Offset(0), 16 << 10).unwrap_err();
    assert_eq!(error, "its records would take more than 16384 bytes of memory");
}

#[test]
fn a_count_is_held_against_the_bytes() {
    for (count, why) in [
        (i32::MAX, "can't be the 2147483647 records that it claims"),
        (-1, "a negative number of records"),
        (4, "record 3 of 4 can't be decoded"),
        (2, "bytes stand behind its last record"),
    ] {
        let mut bytes = batch(0, 3);
        bytes[57..61].copy_from_slice(&count.to_be_bytes());
        let batch = raw(with_right_checksum(bytes));
        batch.check().unwrap();
        let error = Records::default().add(&batch, Offset(0), 1 << 20).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn offsets_ascend_within_the_batch() {
    let mut bytes = batch(7, 2);
    let second = HEADER_BYTES + (bytes.len() - HEADER_BYTES) / 2;
    assert_eq!(bytes[second + 3], 2, "the second record's offset delta, 1 in zigzag");
    for (delta, why) in [(0, "don't ascend"), (1, "can't be decoded"), (4, "can't be decoded")] {
        bytes[second + 3] = delta;
        let error = Records::default().add(&raw(bytes.clone()), Offset(0), 1 << 20).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn the_append_time_is_of_all_records() {
    let mut bytes = batch(7, 2);
    bytes[22] |= 1 << 3;
    bytes[35..43].copy_from_slice(&99_i64.to_be_bytes());
    let records = decoded(with_right_checksum(bytes).into());
    assert!(records.iter().all(|record| record.timestamp_ms == 99));
}

#[test]
fn a_cut_batch_at_the_end_is_left_for_the_next_fetch() {
    let whole = batch(0, 1);
    let mut two = whole.clone();
    two.extend_from_slice(&whole[..whole.len() - 1]);
    assert_eq!(batches(two.into()).map(|batch| batch.unwrap().base_offset).collect::<Vec<_>>(), [Offset(0)]);
    assert!(batches(Bytes::from(whole).slice(..40)).next().unwrap().is_err());
}
