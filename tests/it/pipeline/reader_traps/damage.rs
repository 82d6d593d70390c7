//! Bits that a disk flipped, where a checksum finds them and where none covers them.

use std::ops::Range;

use kafka_sandbox::{Damage, NewBatch};
use login_pipeline::config::ReaderKind;
use login_pipeline::config::ReaderKind::{Rskafka, Wire};
use rstest::rstest;

use super::{EACH, FETCHES, Trap};
use crate::pipeline::support::{SOURCE, World};

/// A bit of a record: the batch's checksum finds it.
const FLIP: Damage = Damage::Flip { at: 100, mask: 1 };

/// The first, a middle and the last one of a segment.
fn places(segment: &[Range<i64>]) -> [Range<i64>; 3] {
    [0, segment.len() / 2, segment.len() - 1].map(|index| segment[index].clone())
}

#[rstest]
#[tokio::test]
async fn a_flipped_bit_in_the_last_batch_of_a_segment_costs_that_batch_alone(
    #[values(Rskafka, Wire)] reader: ReaderKind,
) {
    for fetch in FETCHES {
        let mut trap = Trap::new(reader, fetch).await;
        let segments = trap.segments(4, 6);
        trap.damage(segments[0].last().unwrap(), &FLIP);
        trap.damage(segments[2].last().unwrap(), &FLIP);
        trap.assert_costs_the_damaged_alone().await;
    }
}

#[rstest]
#[tokio::test]
async fn a_broker_that_sends_whole_batches_only_makes_no_difference(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let sandbox = kafka_sandbox::Sandbox::builder().whole_batches().fetch_max_bytes(4096);
    let mut trap = Trap::of(World::on(reader, sandbox, 1).await);
    let segments = trap.segments(4, 6);
    for batch in places(&segments[1]) {
        trap.damage(&batch, &FLIP);
    }
    trap.assert_costs_the_damaged_alone().await;
}

/// Behind such a batch no offset of its segment finds another one: the broker looks for the first batch
/// that says that it begins behind what is asked for.
#[rstest]
#[tokio::test]
async fn a_base_offset_beyond_the_high_watermark_is_damage_and_no_leap(#[values(Rskafka, Wire)] reader: ReaderKind) {
    for fetch in FETCHES {
        for place in 0..3 {
            for bit in [10, 40, 62] {
                let mut trap = Trap::new(reader, fetch).await;
                let segments = trap.segments(3, 6);
                trap.damage(&places(&segments[1])[place], &Damage::BaseOffsetBit(bit));
                trap.assert_costs_the_damaged_alone().await;
            }
        }
    }
}

/// In the middle of what a fetch brings; what a fetch begins with is found by what it says.
#[rstest]
#[tokio::test]
async fn a_base_offset_below_the_position_is_damage(#[values(Rskafka, Wire)] reader: ReaderKind) {
    for damage in [Damage::BaseOffsetBit(63), Damage::BaseOffset(0), Damage::BaseOffset(43)] {
        let mut trap = Trap::new(reader, FETCHES[0]).await;
        let segments = trap.segments(3, 6);
        let batch = &segments[1][3];
        assert_eq!(*batch, 45..50);
        trap.damage(batch, &damage);
        trap.assert_costs_the_damaged_alone().await;
    }
}

/// A fetch that begins there: the broker sends it as the batch that holds the position, or, where its
/// offsets end before that, the one behind it, as if it were not there.
#[rstest]
#[tokio::test]
async fn a_base_offset_just_below_the_position_loses_none_of_its_neighbours(
    #[values(Rskafka, Wire)] reader: ReaderKind,
) {
    for place in 0..3 {
        for below in [1, 2, 4] {
            let mut trap = Trap::new(reader, FETCHES[1]).await;
            let segments = trap.segments(3, 6);
            let batch = &places(&segments[1])[place];
            trap.damage_slightly(batch, &Damage::BaseOffset(batch.start - below));
            let outcome = trap.run().await;
            assert_eq!(outcome.dead_within(batch) + outcome.spoilt / EACH, 1, "{place}, {below}: {outcome:?}");
        }
    }
}

/// It says that it takes offsets of the batch behind it, which stands beside it in the answer.
#[rstest]
#[tokio::test]
async fn a_base_offset_slightly_above_the_position_is_damage(#[values(Rskafka, Wire)] reader: ReaderKind) {
    for place in 0..2 {
        for above in [1, 4] {
            let mut trap = Trap::new(reader, FETCHES[0]).await;
            let segments = trap.segments(3, 6);
            let batch = &places(&segments[1])[place];
            trap.damage_slightly(batch, &Damage::BaseOffset(batch.start + above));
            let outcome = trap.run().await;
            assert_eq!(outcome.dead_within(batch) + outcome.spoilt / EACH, 1, "{place}, {above}: {outcome:?}");
        }
    }
}

/// It comes alone: it may have been compacted so. That the batch behind it begins before its end shows when
/// that is fetched, and says that it was the one before it that lied.
#[rstest]
#[tokio::test]
async fn a_base_offset_slightly_above_that_shows_too_late_loses_none_of_its_neighbours(
    #[values(Rskafka, Wire)] reader: ReaderKind,
) {
    for (fetch, place) in [(FETCHES[1], 0), (FETCHES[1], 1), (FETCHES[1], 2), (FETCHES[0], 2)] {
        for above in [1, 4] {
            let mut trap = Trap::new(reader, fetch).await;
            let segments = trap.segments(3, 6);
            let batch = &places(&segments[1])[place];
            trap.damage_slightly(batch, &Damage::BaseOffset(batch.start + above));
            let outcome = trap.run().await;
            assert!(outcome.dead_within(batch) + outcome.spoilt / EACH >= 1, "{fetch}, {place}, {above}: {outcome:?}");
        }
    }
}

/// The broker sends what it says as the last one of its segment, cut short, and does not find it any more.
#[rstest]
#[tokio::test]
async fn a_length_beyond_the_end_of_the_segment_costs_no_other_segment(#[values(Rskafka, Wire)] reader: ReaderKind) {
    for length in [1 << 20, i32::MAX] {
        let mut trap = Trap::new(reader, FETCHES[0]).await;
        let segments = trap.segments(3, 6);
        trap.damage(segments[1].last().unwrap(), &Damage::Length(length));
        let outcome = trap.run().await;
        assert!(outcome.dead.len() <= 1, "{length}: {outcome:?}");
    }
}

/// The broker stumbles over it itself: it answers whoever asks for it with `CORRUPT_MESSAGE`.
#[rstest]
#[tokio::test]
async fn a_length_that_no_batch_has_holds_the_partition_visibly(#[values(Rskafka, Wire)] reader: ReaderKind) {
    for length in [0, -1] {
        let mut trap = Trap::new(reader, FETCHES[0]).await;
        let segments = trap.segments(3, 6);
        let damaged = segments[1].last().unwrap();
        trap.damage(damaged, &Damage::Length(length));
        let pipeline = trap.world.start().await;
        pipeline.until_unready("CorruptMessage").await;
        pipeline.until("what comes before is stored", || trap.world.stored(0) == Some(damaged.start)).await;
        pipeline.stop().await;
    }
}

#[rstest]
#[tokio::test]
async fn an_offset_delta_beyond_the_high_watermark_is_damage_though_the_checksum_is_right(
    #[values(Rskafka, Wire)] reader: ReaderKind,
) {
    for fetch in FETCHES {
        for place in 0..3 {
            let mut trap = Trap::new(reader, fetch).await;
            let segments = trap.segments(3, 6);
            let batch = &places(&segments[1])[place];
            trap.damage_slightly(batch, &Damage::LastOffsetDelta(1 << 20));
            let outcome = trap.run().await;
            assert!(outcome.dead_within(batch) + outcome.spoilt / EACH >= 1, "{place}: {outcome:?}");
        }
    }
}

#[rstest]
#[tokio::test]
async fn a_leader_epoch_above_the_leaders_own_is_not_believed(#[values(Rskafka, Wire)] reader: ReaderKind) {
    for epoch in [7, i32::MAX] {
        let mut trap = Trap::new(reader, FETCHES[0]).await;
        let segments = trap.segments(2, 3);
        let last = segments[1].last().unwrap();
        trap.damage_slightly(last, &Damage::LeaderEpoch(epoch));
        let outcome = trap.run().await;
        assert_eq!(outcome.dead_within(last) + outcome.spoilt / EACH, 1, "{outcome:?}");
        // The epoch of the last batch is stored, and asked about when a leader is found anew.
        for _ in 0..2 {
            trap.batch();
            let pipeline = trap.world.start().await;
            trap.until_read(&pipeline).await;
            assert_eq!(pipeline.metric("login_pipeline_source_log_truncations_total", ""), 0);
            pipeline.stop().await;
            trap.judge();
        }
    }
}

#[rstest]
#[tokio::test]
async fn several_damaged_batches_in_a_row_over_the_end_of_a_segment(#[values(Rskafka, Wire)] reader: ReaderKind) {
    for fetch in FETCHES {
        let mut trap = Trap::new(reader, fetch).await;
        let segments = trap.segments(3, 6);
        let row = [&segments[0][4..], &segments[1][..3]].concat();
        for (batch, damage) in row.iter().zip([FLIP, FLIP, FLIP, Damage::BaseOffsetBit(30), FLIP]) {
            trap.damage(batch, &damage);
        }
        let outcome = trap.run().await;
        let all = segments[0][4].start..segments[1][2].end;
        assert_eq!(outcome.dead.len(), outcome.dead_within(&all), "{outcome:?}");
        assert!((1..=5).contains(&outcome.dead.len()), "{outcome:?}");
    }
}

#[rstest]
#[tokio::test]
async fn a_segment_of_nothing_but_damaged_batches(#[values(Rskafka, Wire)] reader: ReaderKind) {
    for fetch in FETCHES {
        let mut trap = Trap::new(reader, fetch).await;
        let segments = trap.segments(3, 4);
        for batch in &segments[1] {
            trap.damage(batch, &FLIP);
        }
        trap.assert_costs_the_damaged_alone().await;
    }
}

#[rstest]
#[tokio::test]
async fn a_damaged_batch_before_what_compaction_took(#[values(Rskafka, Wire)] reader: ReaderKind) {
    for fetch in FETCHES {
        for damage in [FLIP, Damage::BaseOffsetBit(40)] {
            let mut trap = Trap::new(reader, fetch).await;
            let segments = trap.segments(2, 4);
            trap.world.sandbox.append_hole(SOURCE, 0, 1000).unwrap();
            trap.roll();
            trap.batches(3);
            trap.damage(segments[0].last().unwrap(), &damage);
            trap.damage(segments[1].last().unwrap(), &damage);
            trap.assert_costs_the_damaged_alone().await;
        }
    }
}

/// Whoever looks behind a hole at what comes before it meets a batch that is out already.
#[rstest]
#[tokio::test]
async fn a_batch_that_is_damaged_once_it_was_read_costs_nothing_behind_a_hole(
    #[values(Rskafka, Wire)] reader: ReaderKind,
    #[values(false, true)] restarts: bool,
) {
    for fetch in FETCHES {
        let mut trap = Trap::new(reader, fetch).await;
        trap.batches(3);
        let mut pipeline = trap.world.start().await;
        trap.until_read(&pipeline).await;
        if restarts {
            pipeline.stop().await;
            pipeline = trap.world.start().await;
        }
        trap.world.sandbox.damage(SOURCE, 0, 12, &FLIP).unwrap();
        trap.world.sandbox.append_hole(SOURCE, 0, 20).unwrap();
        trap.batches(3);
        trap.until_read(&pipeline).await;
        pipeline.stop().await;
        assert_eq!(trap.judge().dead, [], "{fetch}");
    }
}

#[rstest]
#[tokio::test]
async fn a_damaged_batch_at_the_very_end_holds_nothing_up_that_comes_later(
    #[values(Rskafka, Wire)] reader: ReaderKind,
) {
    for fetch in FETCHES {
        for damage in [FLIP, Damage::BaseOffsetBit(40)] {
            for rolls in [false, true] {
                let mut trap = Trap::new(reader, fetch).await;
                let segments = trap.segments(2, 4);
                trap.damage(segments[1].last().unwrap(), &damage);
                let pipeline = trap.world.start().await;
                trap.until_read(&pipeline).await;
                if rolls {
                    trap.roll();
                }
                trap.batches(3);
                trap.until_read(&pipeline).await;
                pipeline.stop().await;
                trap.assert_one_dead_letter_each(&trap.judge());
            }
        }
    }
}

#[rstest]
#[tokio::test]
async fn a_damaged_batch_larger_than_a_fetch(#[values(Rskafka, Wire)] reader: ReaderKind) {
    for last in [false, true] {
        let mut trap = Trap::new(reader, "1KiB").await;
        trap.batches(3);
        let records = (0..200).map(|_| trap.world.good().0).collect();
        let large = trap.append(NewBatch::new(records));
        if last {
            trap.roll();
        }
        trap.batches(3);
        trap.damage(&large, &FLIP);
        trap.assert_costs_the_damaged_alone().await;
    }
}
