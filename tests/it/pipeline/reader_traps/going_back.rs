//! Brokers that are behind, and policies that would go back for them again and again.

use std::time::Duration;

use kafka_sandbox::{Action, Api, Fault};
use login_pipeline::config::ReaderKind::{Rskafka, Wire};
use login_pipeline::config::{OutOfRange, ReaderKind};
use rstest::rstest;
use tokio::time::sleep;

use super::{FETCHES, Trap};
use crate::pipeline::support::{OUTPUT, SOURCE, World};

const OFFSET_OUT_OF_RANGE: i16 = 1;
const UNKNOWN_TOPIC: i16 = 3;

async fn two_nodes(reader: ReaderKind) -> Trap {
    Trap::of(World::with_nodes(reader, 2, 1).await)
}

/// A broker that refuses the position for ever, and lists an end that lies before it: each time the policy
/// sends the reader back to the start, all is written again.
#[rstest]
#[tokio::test]
async fn a_position_that_is_refused_for_ever_is_no_loop_that_writes(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut trap = Trap::new(reader, FETCHES[0]).await;
    trap.world.config.source.on_offset_out_of_range = OutOfRange::Earliest;
    trap.world.config.retry.initial = Duration::from_millis(200);
    trap.world.config.retry.max = Duration::from_secs(30);
    trap.batches(2);
    let behind = trap.world.sandbox.snapshot();
    trap.batches(2);
    let refused = Fault::on(Api::Fetch).topic(SOURCE).from_offset(20).forever();
    let refused = trap.world.sandbox.fault(refused, Action::Error(OFFSET_OUT_OF_RANGE));
    trap.world.sandbox.fault(Fault::on(Api::ListOffsets).topic(SOURCE).forever(), Action::Stale(behind));
    let pipeline = trap.world.start().await;
    pipeline.until("it is refused", || refused.fired() > 0).await;
    pipeline.until("it says so", || !pipeline.unready().is_empty()).await;
    sleep(Duration::from_secs(2)).await;
    let out = trap.world.sandbox.end_offset(OUTPUT, 0).unwrap();
    assert!(out <= 5 * 20, "{out} records are out of 20: {}", pipeline.unready());
    trap.world.sandbox.clear_faults();
    let last = trap.batch();
    pipeline.until("it reads on", || trap.world.stored(0) == Some(last.end)).await;
    pipeline.until_ready().await;
    pipeline.stop().await;
}

#[rstest]
#[tokio::test]
async fn a_position_that_is_refused_once_is_asked_for_again(#[values(Rskafka, Wire)] reader: ReaderKind) {
    for policy in [OutOfRange::Earliest, OutOfRange::Latest] {
        let mut trap = Trap::new(reader, FETCHES[0]).await;
        trap.world.config.source.on_offset_out_of_range = policy;
        trap.batches(3);
        let refused = Fault::on(Api::Fetch).topic(SOURCE).from_offset(1).times(2);
        trap.world.sandbox.fault(refused, Action::Error(OFFSET_OUT_OF_RANGE));
        let pipeline = trap.world.start().await;
        trap.until_read(&pipeline).await;
        trap.batch();
        trap.until_read(&pipeline).await;
        pipeline.stop().await;
        trap.judge();
    }
}

/// A leader that has just been elected may not know yet how far its followers are.
#[rstest]
#[tokio::test]
async fn a_high_watermark_that_goes_back_moves_nothing(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut trap = Trap::new(reader, FETCHES[0]).await;
    trap.world.config.source.on_offset_out_of_range = OutOfRange::Earliest;
    trap.batches(4);
    let pipeline = trap.world.start().await;
    trap.until_read(&pipeline).await;
    trap.world.sandbox.set_high_watermark(SOURCE, 0, Some(5)).unwrap();
    let asked = trap.world.sandbox.requests(Api::Fetch);
    pipeline.until("it asks on", || trap.world.sandbox.requests(Api::Fetch) > asked + 5).await;
    assert_eq!(trap.world.stored(0), Some(20));
    trap.world.sandbox.set_high_watermark(SOURCE, 0, None).unwrap();
    trap.batch();
    trap.until_read(&pipeline).await;
    pipeline.stop().await;
    trap.judge();
}

#[rstest]
#[tokio::test]
async fn metadata_that_lags_behind_sends_nobody_back(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut trap = two_nodes(reader).await;
    trap.batches(2);
    let before = trap.world.sandbox.snapshot();
    let pipeline = trap.world.start().await;
    trap.until_read(&pipeline).await;
    trap.world.sandbox.fault(Fault::on(Api::Metadata).topic(SOURCE).times(5), Action::Stale(before));
    trap.world.sandbox.move_leader(SOURCE, 0, 2).unwrap();
    trap.batches(2);
    trap.until_read(&pipeline).await;
    pipeline.stop().await;
    trap.judge();
}

/// A partition that is asked about before its broker has heard of it.
#[rstest]
#[tokio::test]
async fn a_start_that_is_listed_late_loses_nothing(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut trap = Trap::new(reader, FETCHES[0]).await;
    let before = trap.world.sandbox.snapshot();
    trap.batches(2);
    trap.world.sandbox.fault(Fault::on(Api::ListOffsets).topic(SOURCE), Action::Stale(before));
    trap.world.sandbox.fault(Fault::on(Api::Fetch).topic(SOURCE).times(3), Action::Stale(before));
    trap.world.sandbox.fault(Fault::on(Api::Fetch).topic(SOURCE), Action::Error(UNKNOWN_TOPIC));
    let outcome = trap.run().await;
    assert!(outcome.dead.is_empty());
}
