//! What the brokers refuse: records that are too large, and clients that may not.

use kafka_sandbox::{Action, Api, Fault, NewRecord};
use login_pipeline::config::ReaderKind::{Rskafka, Wire};
use login_pipeline::config::{Oversize, ReaderKind};
use rstest::rstest;

use crate::pipeline::support::{DLQ, Dead, Fate, GOOD, OUTPUT, SOURCE, World, dead};

const UNKNOWN_TOPIC: i16 = 3;
const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
const INVALID_RECORD: i16 = 87;
const LARGE: usize = 1 << 20;

/// A good record made this much larger.
fn padded(world: &World, bytes: usize) -> NewRecord {
    let (mut record, _) = world.good();
    let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
    record.value = Some(value.replacen('{', &format!("{{\"pad\":\"{}\",", "x".repeat(bytes)), 1).into());
    record
}

fn too_large() -> Fate {
    dead("produce", "too_large")
}

#[rstest]
#[tokio::test]
async fn a_batch_too_large_for_its_topic_is_split(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::with_limits(reader, 2_000, LARGE).await;
    world.append(0, (0..100).map(|_| world.good()).collect());
    let (audit, _) = world.run_and_audit().await;
    assert_eq!((audit.good, audit.dead, audit.doubled), (100, 0, 0));
}

#[rstest]
#[tokio::test]
async fn a_record_too_large_for_its_topic_becomes_a_dead_letter(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::with_limits(reader, 2_000, LARGE).await;
    let mixed = (0..60).map(|n| if n % 7 == 3 { (padded(&world, 2_000), too_large()) } else { world.generated() });
    world.append(0, mixed.collect());
    world.append(0, vec![(padded(&world, 5_000), too_large())]);
    let pipeline = world.start().await;
    world.until_done(&pipeline).await;
    let counted = pipeline.metric("login_pipeline_dead_letters_total", "too_large");
    let (audit, summary) = world.finish(pipeline).await;
    audit.assert_once();
    assert_eq!(counted, 10);
    assert_eq!(summary.counted.totals.records_dead, audit.dead as u64);
    assert_eq!(summary.counted.totals.records_out, audit.good as u64);
}

#[rstest]
#[tokio::test]
async fn a_dead_letter_too_large_for_its_topic_is_cut(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::with_limits(reader, LARGE, 4_000).await;
    let cut = |reason| Fate::Dead(Dead { reasons: vec![reason], stage: "validate", truncated: true });
    let garbage = world.named(Some(b"key".to_vec()), Some(vec![b'x'; 50_000]));
    world.append(0, vec![world.good(), (garbage, cut("malformed_json")), world.good(), world.generated()]);
    world.send(0, 40);
    world.run_and_audit().await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn a_record_too_large_for_both_topics_is_cut(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::with_limits(reader, 3_000, 4_000).await;
    let cut = Fate::Dead(Dead { reasons: vec!["too_large"], stage: "produce", truncated: true });
    world.append(0, vec![world.good(), (padded(&world, 20_000), cut), world.good()]);
    world.send(0, 20);
    world.run_and_audit().await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn a_dead_letter_that_must_stay_whole_blocks_and_says_so(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut world = World::with_limits(reader, LARGE, 4_000).await;
    world.config.dead_letter.oversize = Oversize::Block;
    world.send(0, 10);
    let garbage = world.named(None, Some(vec![b'x'; 50_000]));
    let stuck = world.append(0, vec![(garbage, dead("validate", "malformed_json"))]);
    let pipeline = world.start().await;
    pipeline.until_unready("dead letters of user-login/0").await;
    assert!(world.stored(0).is_none_or(|stored| stored <= stuck));
    // A topic that takes it is what was waited for.
    let larger = world.sandbox.read(DLQ, 0).unwrap();
    world.sandbox.delete_topic(DLQ).unwrap();
    world.sandbox.create_topic(DLQ, 1).unwrap();
    let dead: Vec<_> = larger.iter().filter_map(|record| record.headers[0].value.clone()).collect();
    world.forget(|sent| sent.record.headers[0].value.as_ref().is_some_and(|id| dead.contains(id)));
    pipeline.until_ready().await;
    world.finish(pipeline).await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn a_dead_letter_refused_for_another_reason_is_not_cut(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::new(reader, 1).await;
    world.send(0, 40);
    let refused = world.sandbox.fault(Fault::on(Api::Produce).topic(DLQ).forever(), Action::Error(INVALID_RECORD));
    let pipeline = world.start().await;
    pipeline.until_unready("InvalidRecord").await;
    pipeline.until("it is tried again and again", || refused.fired() > 12).await;
    refused.remove();
    world.finish(pipeline).await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn a_dead_letter_topic_that_is_down_is_backpressure(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::new(reader, 1).await;
    world.send(0, 20);
    let pipeline = world.start().await;
    world.until_done(&pipeline).await;
    let down = world.sandbox.fault(Fault::on(Api::Produce).topic(DLQ).forever(), Action::Error(19));
    let bad = world.named(None, Some(b"bad".to_vec()));
    let stuck = world.append(0, vec![world.good(), (bad, dead("validate", "malformed_json")), world.good()]);
    for _ in 0..30 {
        world.append(0, vec![world.good()]);
    }
    pipeline.until("it is tried again and again", || down.fired() > 10).await;
    assert_eq!(world.stored(0), Some(stuck), "the offset never passes it");
    assert!(world.missing() > 0 && pipeline.is_running());
    down.remove();
    world.finish(pipeline).await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn a_client_that_may_not_read_waits_and_heals(#[values(Rskafka, Wire)] reader: ReaderKind) {
    for api in [Api::Fetch, Api::Metadata, Api::ListOffsets] {
        let world = World::new(reader, 1).await;
        world.send(0, 20);
        let denied =
            world.sandbox.fault(Fault::on(api).topic(SOURCE).forever(), Action::Error(TOPIC_AUTHORIZATION_FAILED));
        let pipeline = world.start().await;
        pipeline.until_unready("TopicAuthorizationFailed").await;
        assert!(pipeline.unready().contains(SOURCE) && denied.fired() > 0);
        denied.remove();
        pipeline.until_ready().await;
        world.finish(pipeline).await.0.assert_once();
    }
}

#[rstest]
#[tokio::test]
async fn a_client_that_may_not_write_waits_and_heals(#[values(Rskafka, Wire)] reader: ReaderKind) {
    for (api, topic) in [(Api::Produce, OUTPUT), (Api::Metadata, OUTPUT), (Api::Produce, DLQ), (Api::Metadata, DLQ)] {
        let world = World::new(reader, 1).await;
        world.send(0, 40);
        let denied =
            world.sandbox.fault(Fault::on(api).topic(topic).forever(), Action::Error(TOPIC_AUTHORIZATION_FAILED));
        let pipeline = world.start().await;
        pipeline.until_unready("TopicAuthorizationFailed").await;
        assert!(pipeline.unready().contains(topic) && denied.fired() > 0);
        assert_eq!(world.stored(0).unwrap_or(0), 0);
        denied.remove();
        pipeline.until_ready().await;
        world.finish(pipeline).await.0.assert_once();
    }
}

#[rstest]
#[tokio::test]
async fn an_unknown_output_topic_is_waited_for(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut world = World::without_topics(reader, 1).await;
    world.config.kafka.unknown_topic_grace = std::time::Duration::from_millis(200);
    world.sandbox.create_topic(SOURCE, 2).unwrap();
    world.sandbox.create_topic(DLQ, 2).unwrap();
    world.fill(20);
    let pipeline = world.start().await;
    pipeline.until_unready("create the topic").await;
    assert!(pipeline.unready().contains(OUTPUT), "{}", pipeline.unready());
    world.sandbox.create_topic(OUTPUT, 2).unwrap();
    pipeline.until_ready().await;
    world.finish(pipeline).await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn an_unknown_source_topic_is_waited_for(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut world = World::without_topics(reader, 1).await;
    world.config.kafka.unknown_topic_grace = std::time::Duration::from_millis(200);
    let pipeline = world.start().await;
    pipeline.until_unready("create the topic").await;
    for topic in [SOURCE, OUTPUT, DLQ] {
        world.sandbox.create_topic(topic, 2).unwrap();
    }
    world.fill(20);
    pipeline.until_ready().await;
    world.finish(pipeline).await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn a_topic_that_is_unknown_for_a_moment_makes_no_noise(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::new(reader, 1).await;
    let unknown = world.sandbox.fault(Fault::on(Api::Produce).times(3), Action::Error(UNKNOWN_TOPIC));
    world.append(0, vec![(world.good().0, GOOD)]);
    let pipeline = world.start().await;
    pipeline.until("it is over", || unknown.fired() == 3).await;
    assert_eq!(pipeline.unready(), "");
    world.finish(pipeline).await.0.assert_once();
}
