//! Records that are odd, and batches that unpack to much: each pays for itself alone.

use std::time::Duration;

use bytes::Bytes;
use kafka_records::batch::{BatchBuilder, Outgoing};
use kafka_sandbox::{Damage, NewBatch, NewRecord, TopicConfig};
use login_pipeline::config::ReaderKind::{Rskafka, Wire};
use login_pipeline::config::{Compression, ReaderKind};
use login_pipeline::record::Headers;
use rstest::rstest;

use super::{FETCHES, Trap, id};
use crate::pipeline::support::{DLQ, OUTPUT, SOURCE, World};

const CODECS: [Compression; 4] = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
const MIB: usize = 1 << 20;

#[rstest]
#[tokio::test]
async fn a_header_name_that_is_not_utf8_comes_through_as_it_is(#[values(Rskafka, Wire)] reader: ReaderKind) {
    for fetch in FETCHES {
        let mut trap = Trap::new(reader, fetch).await;
        trap.batch();
        let mut records: Vec<_> = (0..5).map(|_| trap.world.good().0).collect();
        records[2] = records[2].clone().header("caf_", Some(b"x"));
        let odd = id(&records[2].headers);
        let batch = trap.append(NewBatch::new(records));
        let stored = trap.world.sandbox.stored_batch(SOURCE, 0, batch.start).unwrap();
        let at = stored.windows(4).position(|found| found == b"caf_").unwrap() + 3;
        trap.world.sandbox.damage(SOURCE, 0, batch.start, &Damage::FlipSealed { at, mask: b'_' ^ 0xe9 }).unwrap();
        trap.batch();
        let outcome = trap.run().await;
        assert!(outcome.dead.is_empty(), "{outcome:?}");
        let out = trap.world.sandbox.read(OUTPUT, 0).unwrap();
        let out = out.iter().find(|record| id(&record.headers) == odd).unwrap();
        let names: Vec<&[u8]> = out.headers.iter().map(|header| header.name.as_ref()).collect();
        assert_eq!(names.last(), Some(&&b"caf\xe9"[..]));
    }
}

#[rstest]
#[tokio::test]
async fn a_record_that_cannot_be_decoded_within_a_sound_batch_is_one_dead_letter(
    #[values(Rskafka, Wire)] reader: ReaderKind,
) {
    for index in [0, 2, 4] {
        let mut trap = Trap::new(reader, FETCHES[0]).await;
        trap.batch();
        let batch = trap.batch();
        trap.batch();
        let offset = batch.start + i64::try_from(index).unwrap();
        trap.world.sandbox.damage(SOURCE, 0, offset, &Damage::Record(index)).unwrap();
        trap.give_up(&(offset..offset + 1), false);
        trap.assert_costs_the_damaged_alone().await;
    }
}

#[rstest]
#[tokio::test]
async fn a_batch_that_claims_more_records_than_it_has_costs_no_other_batch(
    #[values(Rskafka, Wire)] reader: ReaderKind,
) {
    for count in [6, i32::MAX, 4, 0, -1] {
        let mut trap = Trap::new(reader, FETCHES[0]).await;
        trap.batch();
        let batch = trap.batch();
        trap.roll();
        trap.batch();
        trap.world.sandbox.damage(SOURCE, 0, batch.start, &Damage::RecordCount(count)).unwrap();
        // Its own records may come out as far as they are there.
        batch.for_each(|offset| trap.give_up(&(offset..offset + 1), true));
        let outcome = trap.run().await;
        assert!(outcome.dead.len() <= 1, "{count}: {outcome:?}");
    }
}

/// Appends a batch, compressed.
fn append_packed(trap: &mut Trap, records: &[NewRecord], codec: Compression) {
    let base = trap.world.sandbox.append_encoded(SOURCE, 0, &packed(records, codec)).unwrap();
    trap.expect(base, records);
}

fn packed(records: &[NewRecord], codec: Compression) -> Bytes {
    let mut batch = BatchBuilder::default();
    for record in records {
        let NewRecord { key, value, headers, timestamp_ms } = record;
        let outgoing = Outgoing { timestamp_ms: *timestamp_ms, key: key.as_deref(), value: value.as_deref() };
        batch.append(&outgoing, Headers::List(headers));
    }
    batch.finish(codec).unwrap()
}

/// A good record with so much more in it.
fn padded(world: &World, bytes: usize) -> NewRecord {
    let (mut record, _) = world.good();
    let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
    record.value = Some(value.replacen('{', &format!("{{\"pad\":\"{}\",", "x".repeat(bytes)), 1).into());
    record
}

/// Six times what a frame may have, and more than any multiple that a reader might allow it.
#[rstest]
#[tokio::test]
async fn a_valid_batch_that_unpacks_to_many_frames_comes_out_whole(#[values(Rskafka, Wire)] reader: ReaderKind) {
    for codec in CODECS {
        for last in [false, true] {
            let mut trap = Trap::new(reader, "64KiB").await;
            trap.world.config.kafka.max_frame_bytes = "128KiB".parse().unwrap();
            trap.world.config.output.max_batch_bytes = "64KiB".parse().unwrap();
            trap.batch();
            let records: Vec<_> = (0..100).map(|_| padded(&trap.world, 10_000)).collect();
            append_packed(&mut trap, &records, codec);
            if last {
                trap.roll();
            }
            trap.batch();
            let outcome = trap.run().await;
            assert!(outcome.dead.is_empty(), "{codec:?}: {outcome:?}");
        }
    }
}

/// What rskafka holds several times over and refuses by its length, behind more usual batches than it is distrusted for.
#[rstest]
#[tokio::test]
async fn a_large_batch_among_usual_ones_comes_out_whole(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut trap = Trap::new(reader, "64KiB").await;
    for _ in 0..2 {
        for _ in 0..40 {
            trap.batch();
        }
        let records: Vec<_> = (0..100).map(|_| padded(&trap.world, 30_000)).collect();
        let bytes = NewBatch::new(records.clone()).to_bytes();
        let base = trap.world.sandbox.append_encoded(SOURCE, 0, &bytes).unwrap();
        trap.expect(base, &records);
    }
    trap.batch();
    let outcome = trap.run().await;
    assert!(outcome.dead.is_empty(), "{outcome:?}");
}

/// As librdkafka writes snappy: one block, without frames.
#[rstest]
#[tokio::test]
async fn a_bare_block_of_snappy_comes_out_whole(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut trap = Trap::new(reader, "64KiB").await;
    trap.world.config.kafka.max_frame_bytes = "128KiB".parse().unwrap();
    trap.world.config.output.max_batch_bytes = "64KiB".parse().unwrap();
    let records: Vec<_> = (0..100).map(|_| padded(&trap.world, 10_000)).collect();
    let plain = NewBatch::new(records.clone()).plain();
    let block = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
    let base = trap.world.sandbox.append_batch(SOURCE, 0, &NewBatch::packed(2, 100, block)).unwrap();
    trap.expect(base, &records);
    trap.batch();
    let outcome = trap.run().await;
    assert!(outcome.dead.is_empty(), "{outcome:?}");
}

async fn with_large_dead_letters(reader: ReaderKind) -> Trap {
    let world = World::without_topics(reader, 1).await;
    for topic in [SOURCE, OUTPUT] {
        world.sandbox.create_topic(topic, 1).unwrap();
    }
    let config = TopicConfig { max_message_bytes: 4 * MIB, ..TopicConfig::new(1) };
    world.sandbox.create_topic_with(DLQ, config).unwrap();
    Trap::of(world)
}

/// 24 MiB of zeros, in every codec: the records are dead letters each, and what stands around is out.
/// (The memory that it takes is measured at the program.)
#[rstest]
#[tokio::test]
async fn a_bomb_is_as_many_dead_letters_as_it_has_records(#[values(Rskafka, Wire)] reader: ReaderKind) {
    for codec in CODECS {
        let mut trap = with_large_dead_letters(reader).await;
        trap.world.config.kafka.request_timeout = Duration::from_secs(10);
        trap.world.config.kafka.max_frame_bytes = "4MiB".parse().unwrap();
        trap.batch();
        let zeros = NewRecord { key: None, value: Some(vec![0; MIB].into()), ..NewRecord::default() };
        let bomb = packed(&vec![zeros; 24], codec);
        let base = trap.world.sandbox.append_encoded(SOURCE, 0, &bomb).unwrap();
        (0..24).for_each(|n| trap.give_up(&(base + n..base + n + 1), false));
        trap.batch();
        trap.assert_costs_the_damaged_alone().await;
    }
}

/// Larger than any record may be by default (`pipeline.max_record_bytes`).
#[rstest]
#[tokio::test]
async fn a_record_that_is_too_large_is_a_dead_letter_and_its_neighbours_come_out(
    #[values(Rskafka, Wire)] reader: ReaderKind,
) {
    // The others take their time to pack it.
    for codec in [Compression::Lz4, Compression::Zstd] {
        let mut trap = with_large_dead_letters(reader).await;
        trap.world.config.kafka.request_timeout = Duration::from_secs(10);
        trap.batch();
        let mut records: Vec<_> = (0..4).map(|_| trap.world.good().0).collect();
        let large = NewRecord { key: None, value: Some(vec![0; 64 * MIB].into()), ..NewRecord::default() };
        records.insert(2, large);
        let base = trap.world.sandbox.append_encoded(SOURCE, 0, &packed(&records, codec)).unwrap();
        records.remove(2);
        trap.expect(base, &records[..2]);
        trap.expect(base + 3, &records[2..]);
        trap.give_up(&(base + 2..base + 3), false);
        trap.batch();
        let outcome = trap.run().await;
        assert_eq!(outcome.dead, [(base + 2, "too_large".to_owned())], "{codec:?}");
    }
}
