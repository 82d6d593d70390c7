use bytes::Bytes;
use kafka_records::batch::{BatchBuilder, Outgoing};
use kafka_records::compression::Compression;
use kafka_records::record::Headers;

use super::*;
use crate::testing::batch;

fn brought(batches: &[Vec<u8>], aborted: &[(i64, i64)]) -> Fetched {
    let aborted = aborted.iter().map(|(producer, first)| (*producer, Offset(*first))).collect();
    let (high_watermark, end) = (Offset(100), Offset(100));
    Fetched { high_watermark, end, aborted, leader_epoch: Some(7), batches: batches.concat().into() }
}

/// The offsets that come of an answer, where reading goes on, and why no more come.
fn read(answer: &mut Answer) -> (Vec<i64>, i64, Left) {
    let (fetched, left) = answer.read(&mut Window::unlimited()).unwrap();
    let offsets = fetched.records.iter().map(|found| found.record.offset.0).collect();
    (offsets, fetched.next.to().offset.0, left)
}

fn from(at: i64, is_boundary: bool, batches: &[Vec<u8>]) -> (Vec<i64>, i64, Left) {
    read(&mut Answer::new(brought(batches, &[]), Offset(at).into(), is_boundary, false))
}

fn odd(found: (Vec<i64>, i64, Left)) -> String {
    match found {
        (offsets, 10, Left::Odd(why)) if offsets.is_empty() => why,
        found => panic!("{found:?}"),
    }
}

#[test]
fn batches_follow_each_other() {
    let whole = |offsets: &[i64], next| (offsets.to_vec(), next, Left::Nothing);
    assert_eq!(from(10, true, &[batch(10, 2), batch(12, 1)]), whole(&[10, 11, 12], 13));
    assert_eq!(from(10, true, &[batch(10, 2), batch(20, 1), batch(21, 1)]), whole(&[10, 11, 20, 21], 22), "a hole");
    assert_eq!(from(10, true, &[]), whole(&[], 10));
    // What does not follow is left for a closer look.
    assert_eq!(from(10, true, &[batch(10, 2), batch(11, 1)]), whole(&[10, 11], 12), "it overlaps");
    assert_eq!(from(10, true, &[batch(10, 2), batch(5, 1)]), whole(&[10, 11], 12));
    assert_eq!(from(10, true, &[batch(10, 2), batch(20, 1)]), whole(&[10, 11], 12), "nothing stands behind the hole");
    assert_eq!(from(10, true, &[batch(10, 2), batch(20, 9), batch(25, 1)]), whole(&[10, 11], 12));
    assert_eq!(from(10, true, &[batch(10, 2), batch(99, 1)]), whole(&[10, 11, 99], 100), "the end of the log");
    assert_eq!(from(10, true, &[batch(10, 2), batch(99, 2)]), whole(&[10, 11], 12));
}

#[test]
fn what_can_not_be_first_is_odd() {
    let mut damaged = batch(10, 1);
    damaged[20] ^= 1;
    assert!(odd(from(10, true, &[damaged.clone(), batch(11, 1)])).contains("checksum"));
    assert!(odd(from(10, true, &[batch(9, 2)])).contains("ends at 10"), "a batch ended there");
    assert!(odd(from(10, false, &[batch(9, 2)])).contains("before 10"), "where it may be so is looked at");
    assert!(odd(from(10, true, &[batch(12, 2)])).contains("10 was asked for"));
    assert!(odd(from(10, false, &[batch(7, 1)])).contains("before 10"));
    assert!(odd(from(10, true, &[batch(i64::MAX, 1)])).contains("10 was asked for"));
    assert!(odd(from(10, true, &[batch(10, 1)[..40].to_vec()])).contains("cut short"));
    assert_eq!(from(10, true, &[batch(10, 1), damaged]).1, 11, "and what is odd later is first then");
}

#[test]
fn a_batch_that_was_closed_is_gone_on_with_where_it_was() {
    for codec in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let mut builder = BatchBuilder::default();
        for _ in 0..50 {
            builder.append(&Outgoing { timestamp_ms: 5, key: None, value: Some(b"value") }, Headers::NONE);
        }
        let mut packed = builder.finish(codec).unwrap().to_vec();
        packed[..8].copy_from_slice(&10i64.to_be_bytes());
        let mut answer = Answer::new(brought(&[packed, batch(60, 2)], &[]), Offset(10).into(), true, false);
        let mut found = Vec::new();
        loop {
            let mut window = Window { records: 7, ..Window::unlimited() };
            let (fetched, left) = answer.read(&mut window).unwrap();
            found.extend(fetched.records.iter().map(|found| found.record.offset.0));
            assert_eq!(answer.at().offset.0, found.last().map_or(10, |last| last + 1));
            if left == Left::Nothing {
                break;
            }
            let was_at_boundary = answer.is_at_boundary();
            answer.close();
            assert_eq!((answer.codec_needs(), answer.is_at_boundary()), (0, was_at_boundary), "{codec:?}");
        }
        assert_eq!(found, (10..62).collect::<Vec<_>>(), "{codec:?}");
    }
}

#[test]
fn a_surveyed_batch_is_taken_from_the_middle() {
    let frames = Frames::new(Bytes::from([batch(9, 3), batch(12, 1)].concat()));
    let mut answer = Answer::new(brought(&[], &[]), Offset(10).into(), false, false).beginning_at(frames);
    assert_eq!(read(&mut answer), (vec![10, 11, 12], 13, Left::Nothing));
    assert!(answer.is_at_boundary());
}

#[test]
fn an_answer_is_handed_out_in_windows() {
    let mut answer = Answer::new(brought(&[batch(10, 3), batch(13, 3)], &[]), Offset(10).into(), true, false);
    let mut next = || {
        let mut window = Window { records: 2, ..Window::unlimited() };
        let (fetched, left) = answer.read(&mut window).unwrap();
        (fetched.records.len(), fetched.next.to().offset.0, left)
    };
    assert_eq!((next(), next()), ((2, 12, Left::More), (2, 14, Left::More)));
    assert_eq!((next(), next()), ((2, 16, Left::More), (0, 16, Left::Nothing)));
}

/// Makes a batch a transaction's, or its marker.
fn in_transaction(mut batch: Vec<u8>, producer: i64, marker: bool) -> Vec<u8> {
    batch[22] |= 1 << 4 | u8::from(marker) << 5;
    batch[43..51].copy_from_slice(&producer.to_be_bytes());
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

fn marker(base: i64, producer: i64, key: &[u8]) -> Vec<u8> {
    let mut builder = BatchBuilder::default();
    builder.append(&Outgoing { timestamp_ms: 5, key: Some(key), value: Some(&[0; 6]) }, Headers::NONE);
    let mut bytes = builder.finish(Compression::None).unwrap().to_vec();
    bytes[..8].copy_from_slice(&base.to_be_bytes());
    in_transaction(bytes, producer, true)
}

const ABORT: &[u8] = &[0, 0, 0, 0];
const COMMIT: &[u8] = &[0, 0, 0, 1];

#[test]
fn what_was_given_up_is_left_out() {
    let part = |base, producer| in_transaction(batch(base, 2), producer, false);
    let log = [part(11, 7), part(13, 8), marker(15, 8, ABORT), part(16, 8), marker(18, 8, COMMIT), batch(19, 1)];
    let committed = |batches: &[Vec<u8>], at: i64| {
        read(&mut Answer::new(brought(batches, &[(8, 3)]), Offset(at).into(), true, true))
    };
    assert_eq!(committed(&log, 11), (vec![11, 12, 16, 17, 19], 20, Left::Nothing));
    assert_eq!(from(11, true, &log).0, [11, 12, 13, 14, 16, 17, 19], "all, where nobody asks");
    assert_eq!(committed(&log[1..3], 13), (vec![], 16, Left::Nothing), "over what is left out, and the marker");
}

#[test]
fn behind_damage_the_broker_tells_anew_what_was_given_up() {
    let part = |base| in_transaction(batch(base, 1), 8, false);
    let mut damaged = marker(11, 8, ABORT);
    damaged[20] ^= 1;
    let committed = |batches: &[Vec<u8>], at: i64| {
        read(&mut Answer::new(brought(batches, &[(8, 10)]), Offset(at).into(), true, true))
    };
    assert_eq!(committed(&[part(10), damaged.clone(), part(12)], 10), (vec![], 11, Left::Nothing));
    assert!(matches!(committed(&[damaged], 11), (_, 11, Left::Odd(_))));
    let (_, _, left) = committed(&[marker(11, 8, &[0])], 11);
    assert!(matches!(&left, Left::Odd(why) if why.contains("does not say of what")), "{left:?}");
}

#[test]
fn what_is_read_has_the_epoch_of_its_last_batch_where_that_can_be() {
    let of = |base, epoch: i32| {
        let mut batch = batch(base, 1);
        batch[12..16].copy_from_slice(&epoch.to_be_bytes());
        batch
    };
    let epoch = |batches: &[Vec<u8>]| {
        let at = Position { offset: Offset(10), leader_epoch: Some(3) };
        let mut answer = Answer::new(brought(batches, &[]), at, true, false);
        answer.read(&mut Window::unlimited()).unwrap().0.next.to().leader_epoch
    };
    assert_eq!(epoch(&[of(10, 3), of(11, 5)]), Some(5));
    assert_eq!(epoch(&[of(10, 3), of(11, -1)]), None);
    assert_eq!(epoch(&[of(10, 8)]), None, "above the leader's own");
    assert_eq!(epoch(&[of(10, 2)]), None, "below that of what comes before it");
    assert_eq!(epoch(&[]), Some(3), "where nothing came nothing has changed");
}
