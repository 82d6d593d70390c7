//! A record pays for itself alone: whatever is odd about one of them, its neighbours come out.

use kafka_client::clock::unix_ms;
use kafka_records::record::NO_TIMESTAMP;
use kafka_sandbox::{Action, Api, Fault, NewRecord, StoredRecord, TopicConfig};
use login_pipeline::config::ReaderKind;
use login_pipeline::config::ReaderKind::{Rskafka, Wire};
use rstest::rstest;

use crate::pipeline::support::{DLQ, Dead, Fate, GOOD, OUTPUT, SOURCE, World, dead};

const HOUR_MS: i64 = 3_600_000;
const CORRUPT_MESSAGE: i16 = 2;

/// A header whose name is not UTF-8, as librdkafka's clients may write it.
fn with_latin_1_name(record: NewRecord) -> NewRecord {
    record.header(b"caf\xe9", Some(b"x"))
}

/// rskafka fails the whole fetch on such a name, and our own reader took the whole batch for damaged.
#[rstest]
#[tokio::test]
async fn a_header_name_that_is_not_utf_8_goes_through_as_it_is(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::new(reader, 1).await;
    let mut batch: Vec<_> = (0..500).map(|_| world.good()).collect();
    batch[250].0 = with_latin_1_name(batch[250].0.clone());
    let bad = with_latin_1_name(world.named(Some(b"key".to_vec()), Some(b"bad".to_vec())));
    batch.push((bad, dead("validate", "malformed_json")));
    world.append(0, batch);
    world.append(0, vec![(world.good().0, GOOD)]);
    let (audit, _) = world.run_and_audit().await;
    audit.assert_once();
    assert_eq!((audit.good, audit.dead), (501, 1));
}

/// Topics of one partition; the output and the dead-letter topic with these settings.
async fn world(reader: ReaderKind, output: TopicConfig, dead_letter: TopicConfig) -> World {
    let world = World::without_topics(reader, 1).await;
    world.sandbox.create_topic(SOURCE, 1).unwrap();
    world.sandbox.create_topic_with(OUTPUT, output).unwrap();
    world.sandbox.create_topic_with(DLQ, dead_letter).unwrap();
    world
}

/// Kafka 4's default.
fn an_hour_ahead() -> TopicConfig {
    TopicConfig { timestamp_after_max_ms: Some(HOUR_MS), ..TopicConfig::new(1) }
}

fn compacted() -> TopicConfig {
    TopicConfig { compacted: true, ..TopicConfig::new(1) }
}

fn without_a_key(world: &World, good: bool) -> NewRecord {
    let value = if good { world.good().0.value.unwrap().to_vec() } else { b"bad".to_vec() };
    world.named(None, Some(value))
}

/// There are dead letters, and the messages of all have these words.
fn assert_all_say(world: &World, words: &[&str]) {
    let message = |record: StoredRecord| {
        let header = record.headers.into_iter().find(|header| header.name == "__dlq.errors.message").unwrap();
        String::from_utf8(header.value.unwrap().to_vec()).unwrap()
    };
    let messages: Vec<_> = world.sandbox.read(DLQ, 0).unwrap().into_iter().map(message).collect();
    let says = |message: &String| words.iter().all(|word| message.contains(word));
    assert!(!messages.is_empty() && messages.iter().all(says), "{messages:?}");
}

/// The output refused it, the dead-letter topic refused its dead letter for the same reason, and the partition
/// stood still until somebody came.
#[rstest]
#[tokio::test]
async fn a_record_dated_ahead_costs_itself_alone(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = world(reader, an_hour_ahead(), an_hour_ahead()).await;
    let refused = || dead("produce", "refused_by_topic");
    let mut batch: Vec<_> = (0..500).map(|_| world.good()).collect();
    for (at, hours) in [(7, 2), (250, 3), (499, 100_000)] {
        batch[at] = (batch[at].0.clone().timestamp(unix_ms() + hours * HOUR_MS), refused());
    }
    world.append(0, batch);
    world.append(0, vec![world.good()]);
    let pipeline = world.start().await;
    world.until_done(&pipeline).await;
    let produced = world.sandbox.requests(Api::Produce);
    let (audit, _) = world.finish(pipeline).await;
    audit.assert_once();
    assert_eq!((audit.good, audit.dead), (498, 3));
    assert!(produced < 10, "{produced} requests: the broker names the records that it refuses");
    assert_all_say(&world, &["InvalidTimestamp (code 32)", "message.timestamp.after.max.ms"]);
}

/// A topic that keeps a day threw the dead letters of older records away within seconds.
#[rstest]
#[tokio::test]
async fn the_dead_letter_of_an_old_record_bears_the_time_of_now(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let recent = TopicConfig { timestamp_before_max_ms: Some(HOUR_MS), ..TopicConfig::new(1) };
    let world = world(reader, TopicConfig::new(1), recent).await;
    world.send(0, 100);
    let (audit, _) = world.run_and_audit().await;
    audit.assert_once();
    assert!(audit.dead > 10, "{audit:?}");
}

/// This machine's clock is wrong, or the broker's, or the limits are odd.
#[rstest]
#[tokio::test]
async fn a_dead_letter_whose_time_is_refused_is_written_without_one(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let none = TopicConfig { timestamp_after_max_ms: Some(-HOUR_MS), ..TopicConfig::new(1) };
    let world = world(reader, TopicConfig::new(1), none).await;
    world.append(0, vec![world.good(), (world.named(None, Some(b"bad".to_vec())), dead("validate", "malformed_json"))]);
    let pipeline = world.start().await;
    world.until_done(&pipeline).await;
    pipeline.stop().await;
    let dead = world.sandbox.read(DLQ, 0).unwrap();
    assert_eq!(dead.iter().map(|record| record.timestamp_ms).collect::<Vec<_>>(), [NO_TIMESTAMP]);
    assert_eq!(world.sandbox.read(OUTPUT, 0).unwrap().len(), 1);
}

#[rstest]
#[tokio::test]
async fn a_record_without_a_key_for_a_compacted_output_is_a_dead_letter_that_says_so(
    #[values(Rskafka, Wire)] reader: ReaderKind,
) {
    let world = world(reader, compacted(), TopicConfig::new(1)).await;
    let mut batch: Vec<_> = (0..100).map(|_| world.good()).collect();
    batch[50] = (without_a_key(&world, true), dead("produce", "refused_by_topic"));
    batch.retain(|(record, fate)| record.key.is_some() || *fate != GOOD);
    world.append(0, batch);
    world.run_and_audit().await.0.assert_once();
    assert_all_say(&world, &["the record, which has no key", "InvalidRecord (code 87)", "cleanup.policy"]);
}

/// It held the partition for good.
#[rstest]
#[tokio::test]
async fn a_compacted_dead_letter_topic_takes_dead_letters_without_a_key(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = world(reader, TopicConfig::new(1), compacted()).await;
    let bad = |record| (record, dead("validate", "malformed_json"));
    let keyed = world.named(Some(b"key".to_vec()), Some(b"bad".to_vec()));
    world.append(
        0,
        vec![bad(without_a_key(&world, false)), bad(keyed), bad(without_a_key(&world, false)), world.good()],
    );
    world.append(0, vec![world.good()]);
    let (audit, _) = world.run_and_audit().await;
    audit.assert_once();
    let keys: Vec<_> = world.sandbox.read(DLQ, 0).unwrap().into_iter().map(|record| record.key.unwrap()).collect();
    assert_eq!(keys, ["user-login/0/0", "key", "user-login/0/2"], "in the order of the log");
}

/// Its value was cut to nothing, and that did not help.
#[rstest]
#[tokio::test]
async fn headers_and_keys_too_large_for_the_dead_letter_topic_are_cut(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let small = TopicConfig { max_message_bytes: 4_000, ..TopicConfig::new(1) };
    let world = world(reader, TopicConfig::new(1), small).await;
    let cut = || Fate::Dead(Dead { reasons: vec!["malformed_json"], stage: "validate", truncated: true });
    let large = world.named(Some(b"key".to_vec()), Some(b"bad".to_vec())).header("large", Some(&[7; 900_000]));
    let large = large.header("small", Some(b"x"));
    let many = (0..20_000).fold(world.named(None, Some(b"bad".to_vec())), |record, _| record.header("", None));
    let key = world.named(Some(vec![b'k'; 50_000]), Some(b"bad".to_vec()));
    let all = world.named(Some(vec![b'k'; 50_000]), Some(vec![b'x'; 60_000])).header("large", Some(&[7; 70_000]));
    world.append(
        0,
        vec![world.good(), (large, cut()), world.good(), (many, cut()), (key, cut()), (all, cut()), world.good()],
    );
    let (audit, _) = world.run_and_audit().await;
    audit.assert_once();
    let first = world.sandbox.read(DLQ, 0).unwrap().remove(0);
    assert_eq!((first.key.as_deref(), first.value.as_deref()), (Some(&b"key"[..]), Some(&b"bad"[..])));
    assert!(first.headers.iter().any(|header| header.name == "small"), "only what is large is left out");
}

/// One answer is an accident of the way; the same again and again is about the record.
#[rstest]
#[tokio::test]
async fn a_record_that_the_broker_finds_damaged_each_time_is_a_dead_letter(
    #[values(Rskafka, Wire)] reader: ReaderKind,
) {
    let world = World::new(reader, 1).await;
    let damaged = world.sandbox.fault(Fault::on(Api::Produce).topic(OUTPUT).times(5), Action::Error(CORRUPT_MESSAGE));
    world.append(0, vec![(world.good().0, dead("produce", "refused_by_topic"))]);
    let pipeline = world.start().await;
    world.until_done(&pipeline).await;
    assert_eq!(damaged.fired(), 5);
    world.sandbox.fault(Fault::on(Api::Produce).topic(OUTPUT).times(4), Action::Error(CORRUPT_MESSAGE));
    world.append(0, vec![world.good()]);
    world.finish(pipeline).await.0.assert_once();
}

/// As a broker's or a topic's policy does, and an older broker, which names no record.
#[rstest]
#[tokio::test]
async fn whatever_a_topic_refuses_a_record_for_costs_that_record(#[values(Rskafka, Wire)] reader: ReaderKind) {
    const RECORD_LIST_TOO_LARGE: i16 = 18;
    const POLICY_VIOLATION: i16 = 44;
    for (code, reason) in
        [(RECORD_LIST_TOO_LARGE, "too_large"), (POLICY_VIOLATION, "refused_by_topic"), (87, "refused_by_topic")]
    {
        let world = World::new(reader, 1).await;
        let refused = world.sandbox.fault(Fault::on(Api::Produce).topic(OUTPUT).times(3), Action::Error(code));
        // Four records: all, the first half, the first.
        let mut batch: Vec<_> = (0..4).map(|_| world.good()).collect();
        batch[0].1 = dead("produce", reason);
        world.append(0, batch);
        let pipeline = world.start().await;
        world.until_done(&pipeline).await;
        assert_eq!(refused.fired(), 3);
        world.finish(pipeline).await.0.assert_once();
    }
}
