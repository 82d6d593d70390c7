//! A batch that is refused is staged again, in parts and perhaps much later: each record comes out as it did, and goes where
//! it did.

use std::path::Path;
use std::time::Duration;

use kafka_client::clock::unix_ms;
use kafka_sandbox::{Action, Api, Fault, FaultHandle, NewBatch, NewRecord};
use login_pipeline::config::{Condition, ReaderKind, RouteAction, RouteRule, Test};
use serde_json::Value;
use tokio::time::sleep;

use crate::pipeline::support::{OUTPUT, Pipeline, SOURCE, World};

/// One that passes, and one that is about the batch.
const NOT_ENOUGH_REPLICAS: i16 = 19;
const MESSAGE_TOO_LARGE: i16 = 10;

const ELSEWHERE: &str = "elsewhere";
const DATABASE: &[u8] = include_bytes!("../../data/countries.mmdb");

/// A login at this time, from an address that is British in the database.
fn login(timestamp_ms: i64) -> NewRecord {
    let value = format!(
        r#"{{"user_id":"u","app_version":"2.3.0","ip":"81.2.69.1","locale":"RU","device_id":"d","timestamp":{timestamp_ms},"device_type":"iOS"}}"#
    );
    NewRecord::new("k", value)
}

async fn world(rule: Condition, action: RouteAction) -> World {
    let mut world = World::new(ReaderKind::Rskafka, 1).await;
    world.sandbox.create_topic(ELSEWHERE, 1).unwrap();
    world.config.route = vec![RouteRule { name: "rule".to_owned(), when: rule, action }];
    world
}

/// Whatever is written waits until this is removed.
fn held(world: &World) -> FaultHandle {
    world.sandbox.fault(Fault::on(Api::Produce).forever(), Action::Error(NOT_ENOUGH_REPLICAS))
}

/// Refuses the batch as a whole, so that it is staged again in halves.
fn refuse(world: &World, held: &FaultHandle) -> FaultHandle {
    let refused = world.sandbox.fault(Fault::on(Api::Produce).times(1), Action::Error(MESSAGE_TOO_LARGE));
    held.remove();
    refused
}

fn events(world: &World, topic: &str) -> Vec<Value> {
    let records = world.sandbox.read(topic, 0).unwrap();
    records.iter().map(|record| serde_json::from_slice(record.value.as_ref().unwrap()).unwrap()).collect()
}

async fn until_read(world: &World, pipeline: &Pipeline, records: i64) {
    pipeline.until("the batch is done", || world.stored(0) == Some(records)).await;
}

#[tokio::test]
async fn a_record_is_as_late_as_when_it_was_first_looked_at() {
    const LATE_MS: i64 = 60_000;
    /// So soon they will be late.
    const LEFT_MS: i64 = 1_500;
    let late = Condition::field("latency_ms", Test::Gt(60_000.0));
    let world = world(late, RouteAction::Topic(ELSEWHERE.to_owned())).await;
    let held = held(&world);
    let pipeline = world.start().await;
    pipeline.until_ready().await;
    let timestamp = unix_ms() - LATE_MS + LEFT_MS;
    let batch = NewBatch::new(vec![login(timestamp); 4]);
    world.sandbox.append_batch(SOURCE, 0, &batch).unwrap();
    pipeline.until("it is written", || held.fired() > 0).await;
    while unix_ms() <= timestamp + LATE_MS + LEFT_MS {
        sleep(Duration::from_millis(20)).await;
    }
    let refused = refuse(&world, &held);
    until_read(&world, &pipeline, 4).await;
    assert_eq!(refused.fired(), 1);

    let (in_time, late) = (events(&world, OUTPUT), events(&world, ELSEWHERE));
    let all: Vec<&Value> = in_time.iter().chain(&late).collect();
    assert_eq!(all.len(), 4, "each once");
    assert!(all.iter().all(|event| event["processed_at"] == all[0]["processed_at"]), "of one time: {all:?}");
    let latency = all[0]["latency_ms"].as_i64().unwrap();
    let processed_at = chrono::DateTime::parse_from_rfc3339(all[0]["processed_at"].as_str().unwrap()).unwrap();
    assert_eq!(processed_at.timestamp_millis() - timestamp, latency);
    assert!(latency < LATE_MS + LEFT_MS, "it was looked at before it was held: {latency}");
    // Where the machine is that slow they may have been late at once; then all of them were.
    assert_eq!(late.len(), if latency > LATE_MS { 4 } else { 0 }, "{latency}");
    assert_eq!(pipeline.metric("login_pipeline_rule_records_total", "\"rule\""), late.len() as u64);
    pipeline.stop().await;
}

fn put(bytes: &[u8], path: &Path) {
    let new = path.with_extension("new");
    std::fs::write(&new, bytes).unwrap();
    std::fs::rename(&new, path).unwrap();
}

/// A rule that would drop it by the database that came meanwhile loses no record that is counted as written.
#[tokio::test]
async fn a_record_is_of_the_country_that_it_was_first_of() {
    let irish = Condition::field("country", Test::Equals("IE".to_owned()));
    let mut world = world(irish, RouteAction::Drop).await;
    let file = world.offsets().join("countries.mmdb");
    put(DATABASE, &file);
    world.config.enrich.geoip.file = Some(file.clone());
    world.config.enrich.geoip.check_interval = Duration::from_millis(50);
    let held = held(&world);
    let pipeline = world.start().await;
    let loaded = |times| move |it: &Pipeline| it.metric("login_pipeline_geoip_loads_total", "ok") == times;
    pipeline.until("the first database is loaded", || loaded(1)(&pipeline)).await;
    let batch = NewBatch::new(vec![login(unix_ms()); 4]);
    world.sandbox.append_batch(SOURCE, 0, &batch).unwrap();
    pipeline.until("it is written", || held.fired() > 0).await;
    let mut irish = DATABASE.to_vec();
    let at = irish.windows(3).position(|three| three == b"BGB").unwrap();
    irish[at + 1..at + 3].copy_from_slice(b"IE");
    put(&irish, &file);
    pipeline.until("the second database is loaded", || loaded(2)(&pipeline)).await;
    refuse(&world, &held);
    until_read(&world, &pipeline, 4).await;
    let written = events(&world, OUTPUT);
    assert_eq!(written.iter().map(|event| event["country"].as_str()).collect::<Vec<_>>(), [Some("GB"); 4]);
    assert_eq!(pipeline.metric("login_pipeline_rule_records_total", "\"rule\""), 0);

    // The next batch is looked at by the new one.
    world.sandbox.append_batch(SOURCE, 0, &batch).unwrap();
    until_read(&world, &pipeline, 8).await;
    assert_eq!(
        (events(&world, OUTPUT).len(), pipeline.metric("login_pipeline_rule_records_total", "\"rule\"")),
        (4, 4)
    );
    pipeline.stop().await;
}
