//! What can stand in a log beside good batches: holes, markers, damage, and nothing where there was
//! something.

use kafka_sandbox::{Action, Api, Fault, NewBatch, NewRecord};
use login_pipeline::config::ReaderKind::{Rskafka, Wire};
use login_pipeline::config::{Isolation, OutOfRange, ReaderKind};
use rstest::rstest;

use crate::pipeline::support::{DLQ, Dead, Fate, OUTPUT, Pipeline, SOURCE, Sent, World, dead};

async fn one_partition(reader: ReaderKind) -> World {
    World::new(reader, 1).await
}

#[rstest]
#[tokio::test]
async fn holes_are_stepped_over(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = one_partition(reader).await;
    world.sandbox.append_hole(SOURCE, 0, 1000).unwrap();
    world.send(0, 20);
    world.sandbox.append_hole(SOURCE, 0, 7).unwrap();
    let compacted = (0..5).map(|_| world.good()).collect();
    world.append_as(0, compacted, |batch| batch.last_offset_delta(40));
    let pipeline = world.start().await;
    world.until_done(&pipeline).await;
    world.sandbox.append_hole(SOURCE, 0, 3).unwrap();
    world.send(0, 20);
    world.finish(pipeline).await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn a_batch_that_compaction_emptied_is_stepped_over(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = one_partition(reader).await;
    world.send(0, 5);
    world.sandbox.append_batch(SOURCE, 0, &NewBatch::new(Vec::new()).last_offset_delta(9)).unwrap();
    let pipeline = world.start().await;
    pipeline.until("its end is stored", || world.stored(0) == Some(15)).await;
    world.send(0, 5);
    world.finish(pipeline).await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn control_batches_between_records(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = one_partition(reader).await;
    world.send(0, 10);
    let pipeline = world.start().await;
    // The first fetch goes by the wire in any case.
    world.until_done(&pipeline).await;
    for producer in 1..30 {
        let records = (0..4).map(|_| world.generated()).collect();
        world.append_as(0, records, |batch| batch.in_transaction(producer));
        world.sandbox.append_control_batch(SOURCE, 0, producer, true).unwrap();
        if producer % 3 == 0 {
            world.send(0, 3);
        }
    }
    world.until_done(&pipeline).await;
    pipeline.until("the last marker is passed", || world.stored(0) == world.sandbox.end_offset(SOURCE, 0).ok()).await;
    let undecodable = pipeline.metric("login_pipeline_source_undecodable_stretches_total", "");
    assert_eq!(undecodable > 0, reader == ReaderKind::Rskafka, "only rskafka has its trouble");
    world.send(0, 10);
    world.finish(pipeline).await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn markers_of_aborted_transactions_are_stepped_over(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = one_partition(reader).await;
    for producer in 1..10 {
        // Their records are delivered: nobody asks for what is committed only.
        let records = (0..2).map(|_| world.good()).collect();
        world.append_as(0, records, |batch| batch.in_transaction(producer));
        world.sandbox.append_control_batch(SOURCE, 0, producer, false).unwrap();
        world.send(0, 2);
    }
    world.run_and_audit().await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn a_topic_of_nothing_but_markers_is_read_to_its_end(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = one_partition(reader).await;
    for producer in 0..200 {
        world.sandbox.append_control_batch(SOURCE, 0, producer, producer % 2 == 0).unwrap();
    }
    let pipeline = world.start().await;
    pipeline.until("its end is stored", || world.stored(0) == Some(200)).await;
    world.send(0, 10);
    world.until_done(&pipeline).await;
    world.sandbox.append_control_batch(SOURCE, 0, 7, true).unwrap();
    pipeline.until("its end is stored", || world.stored(0) == Some(211)).await;
    assert_eq!(pipeline.unready(), "");
    world.finish(pipeline).await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn an_open_transaction_holds_back_what_follows(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut world = one_partition(reader).await;
    if reader == ReaderKind::Wire {
        world.config.source.isolation = Isolation::ReadCommitted;
    }
    world.send(0, 10);
    let records = (0..3).map(|_| world.good()).collect();
    let open = world.append_as(0, records, |batch| batch.in_transaction(7));
    world.send(0, 10);
    let pipeline = world.start().await;
    pipeline.until("what is decided is stored", || world.stored(0) == Some(open)).await;
    assert_eq!(world.missing(), 13);
    world.sandbox.append_control_batch(SOURCE, 0, 7, true).unwrap();
    world.finish(pipeline).await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn a_null_header_is_read_with_its_neighbours_and_written_on(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = one_partition(reader).await;
    let nulled = |(record, fate): (NewRecord, Fate)| (record.header("nothing", None).header("trace", Some(b"2")), fate);
    for _ in 0..5 {
        let records = vec![world.good(), nulled(world.good()), world.good(), nulled(world.generated())];
        world.append(0, records);
        world.send(0, 5);
    }
    // The audit compares headers: order, repeats and nulls included.
    world.run_and_audit().await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn a_dead_letter_that_goes_round_again_has_its_headers_replaced(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = one_partition(reader).await;
    let (record, fate) = (world.named(None, Some(b"bad".to_vec())), dead("validate", "malformed_json"));
    let record = record.header("__dlq.errors.offset", Some(b"7")).header("__dlq.errors.other", None);
    world.append(0, vec![(record, fate)]);
    world.run_and_audit().await.0.assert_once();
}

/// Appends a batch and damages it for good; the ledger has it as one dead letter of all its bytes.
fn append_corrupt(world: &World, records: usize) -> i64 {
    let records = (0..records).map(|_| world.good().0).collect();
    let batch = NewBatch::new(records);
    let base = world.sandbox.append_batch(SOURCE, 0, &batch).unwrap();
    world.sandbox.corrupt_stored(SOURCE, 0, base).unwrap();
    let mut bytes = batch.to_bytes().to_vec();
    bytes[..8].copy_from_slice(&base.to_be_bytes());
    bytes[12..16].copy_from_slice(&0_i32.to_be_bytes()); // leader epoch
    *bytes.last_mut().unwrap() ^= 0xff;
    let record = NewRecord { key: None, value: Some(bytes.into()), headers: Vec::new(), timestamp_ms: -1 };
    let fate = Fate::Dead(Dead { reasons: vec!["corrupt_batch"], stage: "fetch", truncated: false });
    world.enter(Sent { partition: 0, offset: base, record, fate });
    base
}

#[rstest]
#[tokio::test]
async fn a_stored_corrupt_batch_becomes_a_dead_letter_and_its_neighbours_arrive(
    #[values(Rskafka, Wire)] reader: ReaderKind,
) {
    let world = one_partition(reader).await;
    world.send(0, 30);
    append_corrupt(&world, 5);
    world.send(0, 30);
    append_corrupt(&world, 1);
    append_corrupt(&world, 3);
    world.send(0, 30);
    let (audit, _) = world.run_and_audit().await;
    audit.assert_once();
    assert_eq!(world.stored(0), world.sandbox.end_offset(SOURCE, 0).ok());
}

#[rstest]
#[tokio::test]
async fn a_corrupt_batch_at_the_end_of_the_log_holds_nothing_up(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = one_partition(reader).await;
    world.send(0, 30);
    append_corrupt(&world, 5);
    let pipeline = world.start().await;
    pipeline.until("its end is stored", || world.stored(0) == Some(35)).await;
    world.send(0, 30);
    world.until_done(&pipeline).await;
    append_corrupt(&world, 2);
    world.until_done(&pipeline).await;
    world.send(0, 3);
    world.finish(pipeline).await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn a_corrupt_batch_before_markers_and_a_hole(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = one_partition(reader).await;
    append_corrupt(&world, 5);
    world.sandbox.append_control_batch(SOURCE, 0, 7, true).unwrap();
    append_corrupt(&world, 2);
    world.sandbox.append_hole(SOURCE, 0, 10).unwrap();
    world.send(0, 10);
    world.run_and_audit().await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn corruption_on_the_way_makes_no_dead_letter(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = one_partition(reader).await;
    let pipeline = world.start().await;
    for round in 0..4 {
        let corrupt = world.sandbox.fault(Fault::on(Api::Fetch).topic(SOURCE).skip(round % 2), Action::CorruptRecords);
        world.append(0, (0..20).map(|_| world.good()).collect());
        world.until_done(&pipeline).await;
        world.append(0, (0..20).map(|_| world.good()).collect());
        world.until_done(&pipeline).await;
        assert_eq!(corrupt.fired(), 1);
    }
    let (audit, _) = world.finish(pipeline).await;
    assert_eq!((audit.good, audit.dead, audit.doubled), (160, 0, 0));
}

#[rstest]
#[tokio::test]
async fn corruption_of_two_fetches_in_a_row_makes_no_dead_letter(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = one_partition(reader).await;
    let corrupt = world.sandbox.fault(Fault::on(Api::Fetch).times(2), Action::CorruptRecords);
    world.append(0, (0..20).map(|_| world.good()).collect());
    let (audit, _) = world.run_and_audit().await;
    assert_eq!((corrupt.fired(), audit.dead, audit.doubled), (2, 0, 0));
}

/// Delivers 30 records, stops, lets retention take 20 more, of which `kept` are left to read.
async fn out_of_range(reader: ReaderKind, policy: OutOfRange) -> World {
    let mut world = one_partition(reader).await;
    world.config.source.on_offset_out_of_range = policy;
    world.send(0, 30);
    world.run_and_audit().await.0.assert_once();
    world.send(0, 40);
    world.sandbox.delete_records(SOURCE, 0, 50).unwrap();
    world.forget(|sent| (30..50).contains(&sent.offset));
    world
}

fn expired(pipeline: &Pipeline) -> u64 {
    pipeline.metric("login_pipeline_source_records_expired_total", "")
}

#[rstest]
#[tokio::test]
async fn earliest_goes_on_at_what_retention_left_and_counts_the_rest(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = out_of_range(reader, OutOfRange::Earliest).await;
    let pipeline = world.start().await;
    world.until_done(&pipeline).await;
    assert_eq!(expired(&pipeline), 20);
    world.finish(pipeline).await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn latest_goes_on_at_the_end_and_keeps_that_place(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = out_of_range(reader, OutOfRange::Latest).await;
    world.forget(|sent| (50..70).contains(&sent.offset));
    let pipeline = world.start().await;
    pipeline.until("where it goes on is stored", || world.stored(0) == Some(70)).await;
    assert_eq!(expired(&pipeline), 40);
    pipeline.stop().await;
    // Retention takes everything once more, but what is written from now on is to be read.
    world.send(0, 20);
    world.run_and_audit().await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn fail_waits_and_says_so_until_someone_decides(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut world = out_of_range(reader, OutOfRange::Fail).await;
    let pipeline = world.start().await;
    pipeline.until_unready("source.on_offset_out_of_range").await;
    assert_eq!((world.stored(0), world.missing()), (Some(30), 20), "nothing is passed over");
    pipeline.stop().await;
    assert_eq!(world.stored(0), Some(30));
    world.config.source.on_offset_out_of_range = OutOfRange::Earliest;
    world.run_and_audit().await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn retention_overtakes_a_pipeline_that_runs(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = one_partition(reader).await;
    world.send(0, 10);
    let pipeline = world.start().await;
    world.until_done(&pipeline).await;
    let away = world.sandbox.fault(Fault::on(Api::Fetch).forever(), Action::Error(56));
    pipeline.until("it can't read", || away.fired() > 1).await;
    world.send(0, 40);
    world.sandbox.delete_records(SOURCE, 0, 30).unwrap();
    world.forget(|sent| (10..30).contains(&sent.offset));
    away.remove();
    world.until_done(&pipeline).await;
    assert_eq!(expired(&pipeline), 20);
    world.finish(pipeline).await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn a_topic_made_anew_is_read_from_its_start(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = one_partition(reader).await;
    world.send(0, 50);
    let pipeline = world.start().await;
    world.until_done(&pipeline).await;
    for topic in [SOURCE, OUTPUT, DLQ] {
        world.sandbox.delete_topic(topic).unwrap();
        world.sandbox.create_topic(topic, 1).unwrap();
    }
    world.forget(|_| true);
    world.send(0, 20);
    pipeline.until("the smaller offset is stored", || world.stored(0) == Some(20)).await;
    world.finish(pipeline).await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn a_topic_made_anew_while_nothing_runs_is_read_from_its_start(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = one_partition(reader).await;
    world.send(0, 50);
    world.run_and_audit().await.0.assert_once();
    world.sandbox.delete_topic(SOURCE).unwrap();
    world.sandbox.create_topic(SOURCE, 1).unwrap();
    for topic in [OUTPUT, DLQ] {
        world.sandbox.delete_topic(topic).unwrap();
        world.sandbox.create_topic(topic, 1).unwrap();
    }
    world.forget(|_| true);
    world.send(0, 20);
    let pipeline = world.start().await;
    pipeline.until("the smaller offset is stored", || world.stored(0) == Some(20)).await;
    world.finish(pipeline).await.0.assert_once();
}
