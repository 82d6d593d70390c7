//! Which records of transactions are read.

use std::time::Duration;

use kafka_sandbox::{Damage, NewBatch};
use login_pipeline::config::{Isolation, ReaderKind};
use tokio::process::Command;

use crate::pipeline::reader_traps::Trap;
use crate::pipeline::support::{SOURCE, World};

async fn world(isolation: Isolation) -> World {
    let mut world = World::new(ReaderKind::Wire, 1).await;
    world.config.source.isolation = isolation;
    world
}

/// Appends records of a transaction that nobody must ever see.
fn append_doomed(world: &World, producer: i64, records: usize) {
    let records = (0..records).map(|_| world.good().0).collect();
    world.sandbox.append_batch(SOURCE, 0, &NewBatch::new(records).in_transaction(producer)).unwrap();
}

fn append_part(world: &World, producer: i64, records: usize) {
    let records = (0..records).map(|_| world.generated()).collect();
    world.append_as(0, records, |batch| batch.in_transaction(producer));
}

fn end(world: &World, producer: i64, commit: bool) {
    world.sandbox.append_control_batch(SOURCE, 0, producer, commit).unwrap();
}

#[tokio::test]
async fn what_transactions_gave_up_is_left_out() {
    let world = world(Isolation::ReadCommitted).await;
    for round in 0..20 {
        // The same producers over and over: one gives up, the other commits, then the other way.
        let (doomed, other) = if round % 2 == 0 { (7, 8) } else { (8, 7) };
        append_part(&world, other, 3);
        append_doomed(&world, doomed, 4);
        world.send(0, 2);
        append_part(&world, other, 1);
        append_doomed(&world, doomed, 1);
        end(&world, doomed, false);
        append_part(&world, other, 2);
        end(&world, other, true);
    }
    let (audit, _) = world.run_and_audit().await;
    audit.assert_once();
    assert_eq!(audit.good + audit.dead, 20 * 8);
}

#[tokio::test]
async fn small_fetches_begin_in_the_middle_of_what_was_given_up() {
    let mut world = world(Isolation::ReadCommitted).await;
    world.config.source.max_fetch_bytes = "1KiB".parse().unwrap();
    for _ in 0..3 {
        world.send(0, 5);
        (0..20).for_each(|_| append_doomed(&world, 7, 3));
        append_part(&world, 8, 5);
        end(&world, 7, false);
        append_part(&world, 7, 5);
        end(&world, 8, true);
        end(&world, 7, true);
    }
    let pipeline = world.start().await;
    world.until_done(&pipeline).await;
    pipeline.until("the last marker is passed", || world.stored(0) == world.sandbox.end_offset(SOURCE, 0).ok()).await;
    world.finish(pipeline).await.0.assert_once();
}

/// A flipped bit in a marker, or in a record of the transaction: the broker goes on telling what was given
/// up, and nothing behind it is taken for a part of that.
#[tokio::test]
async fn damage_at_the_end_of_a_segment_gives_up_no_more_than_what_was_given_up() {
    for damaged in 0..3 {
        let mut trap = Trap::of(world(Isolation::ReadCommitted).await);
        trap.batch();
        let first = doomed(&trap, 7);
        let second = doomed(&trap, 7);
        end(&trap.world, 7, false);
        let marker = second + 3..second + 4;
        trap.roll();
        let part = (0..3).map(|_| trap.world.good().0).collect();
        trap.append(NewBatch::new(part).in_transaction(7));
        end(&trap.world, 7, true);
        trap.batch();
        let batch = [first..first + 3, second..second + 3, marker][damaged].clone();
        trap.damage(&batch, &Damage::Flip { at: 70, mask: 1 });
        trap.assert_costs_the_damaged_alone().await;
    }
}

/// Appends a batch that must not come out; its base offset.
fn doomed(trap: &Trap, producer: i64) -> i64 {
    let records = (0..3).map(|_| trap.world.good().0).collect();
    trap.world.sandbox.append_batch(SOURCE, 0, &NewBatch::new(records).in_transaction(producer)).unwrap()
}

#[tokio::test]
async fn a_stop_in_the_middle_of_what_is_given_up_later_loses_nothing() {
    let world = world(Isolation::ReadCommitted).await;
    world.send(0, 5);
    append_doomed(&world, 7, 5);
    world.send(0, 5);
    let pipeline = world.start().await;
    pipeline.until("what is decided is stored", || world.stored(0) == Some(5)).await;
    pipeline.stop().await;
    append_doomed(&world, 7, 5);
    end(&world, 7, false);
    world.send(0, 5);
    let (audit, _) = world.run_and_audit().await;
    audit.assert_once();
    assert_eq!(audit.good + audit.dead, 15);
}

#[tokio::test]
async fn a_log_of_nothing_but_what_was_given_up_is_read_to_its_end() {
    let world = world(Isolation::ReadCommitted).await;
    (0..50).for_each(|_| append_doomed(&world, 7, 3));
    end(&world, 7, false);
    let pipeline = world.start().await;
    pipeline.until("its end is stored", || world.stored(0) == Some(151)).await;
    world.finish(pipeline).await.0.assert_once();
}

#[tokio::test]
async fn uncommitted_reads_are_of_open_transactions_too() {
    let world = world(Isolation::ReadUncommitted).await;
    world.send(0, 5);
    append_part(&world, 7, 5);
    world.send(0, 5);
    let pipeline = world.start().await;
    world.until_done(&pipeline).await;
    end(&world, 7, false);
    world.send(0, 5);
    world.finish(pipeline).await.0.assert_once();
}

/// Where the log ends for `offsets` is where it ends for the reader: an offset that was stored by the
/// one can be set by the other.
#[tokio::test]
async fn offsets_are_set_as_far_as_the_reader_reads() {
    let world = World::new(ReaderKind::Wire, 1).await;
    world.send(0, 5);
    append_part(&world, 7, 5);
    for (reader, isolation, end) in
        [("rskafka", "read_uncommitted", 5), ("wire", "read_committed", 5), ("wire", "read_uncommitted", 10)]
    {
        let offsets = Command::new(env!("CARGO_BIN_EXE_login-pipeline"))
            .args(["offsets", "set", "--partition", "all", "--to", "latest", "--kafka.brokers"])
            .arg(world.sandbox.bootstrap())
            .args(["--source.reader", reader, "--source.isolation", isolation])
            .args(["--assignment.mode", "static", "--offsets.path"])
            .arg(world.offsets())
            .output();
        let told = offsets.await.unwrap();
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        assert_eq!(world.stored(0), Some(end), "{reader}, {isolation}");
    }
}

/// One connection a partition carries its fetches: a long poll is before nothing else.
#[tokio::test]
async fn a_fetch_that_waits_holds_up_nothing() {
    let mut world = World::new(ReaderKind::Wire, 3).await;
    world.config.source.max_wait = Duration::from_secs(5);
    world.config.kafka.request_timeout = Duration::from_secs(10);
    world.fill(5);
    let pipeline = world.start().await;
    world.until_done(&pipeline).await;
    let begun = std::time::Instant::now();
    for _ in 0..3 {
        world.send(0, 3);
        world.until_done(&pipeline).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    world.finish(pipeline).await.0.assert_once();
}
