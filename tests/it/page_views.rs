//! The processor of docs/guides/extending.md on the whole engine: by the library's public API alone.

#[path = "../../examples/page_views.rs"]
#[allow(dead_code, reason = "its main is the program's")]
mod example;

use std::collections::BTreeMap;
use std::time::Duration;

use self::example::PageViews;
use kafka_sandbox::{NewBatch, NewRecord, Sandbox, StoredRecord};
use login_pipeline::app::{App, AppError};
use login_pipeline::config::{AssignmentMode, Config, IpPrivacy, OffsetStoreKind, ReaderKind};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

const SOURCE: &str = "page-views";
const OUTPUT: &str = "processed-page-views";
const DLQ: &str = "page-views-dlq";
/// 2023-09-12T00:45:51Z
const VIEWED: i64 = 1_694_479_551_000;

fn config(sandbox: &Sandbox, folder: &TempDir) -> Config {
    let mut config = Config::default();
    config.kafka.brokers = vec![sandbox.bootstrap()];
    config.source.topic = SOURCE.to_owned();
    config.source.max_wait = Duration::from_millis(50);
    config.output.topic = OUTPUT.to_owned();
    config.dead_letter.topic = DLQ.to_owned();
    config.assignment.mode = AssignmentMode::Static { partitions: None };
    config.offsets.store = OffsetStoreKind::File;
    config.offsets.path = folder.path().to_owned();
    config.admin.listen = ([127, 0, 0, 1], 0).into();
    config
}

/// Views that are good, and others with the reason and field that tell why they are not.
fn views() -> (Vec<String>, Vec<(&'static str, &'static str, &'static str)>) {
    let good = [
        format!(r#"{{"visitor_id":"v-1","url":"https://Shop.example/basket?step=2","viewed_at":{VIEWED}}}"#),
        format!(
            r#"{{"big":12345678901234567890, "url":"http://a.example:8080","viewed_at":{VIEWED},"visitor_id":"v"}} "#
        ),
        format!(r#"{{"visitor_id":"\u0076","url":"https:\/\/shop.example","viewed_at":{VIEWED},"referrer":null}}"#),
    ];
    let bad = [
        ("", "tombstone", ""),
        ("view", "malformed_json", ""),
        ("[1]", "not_an_object", ""),
        (r#"{"url":"https://shop.example","viewed_at":1}"#, "missing_field", "visitor_id"),
        (r#"{"visitor_id":"v","url":null,"viewed_at":1}"#, "missing_field", "url"),
        (r#"{"visitor_id":"v","url":"ftp://shop.example","viewed_at":1}"#, "invalid_value", "url"),
        (r#"{"visitor_id":"v","url":"https://user@shop.example","viewed_at":1}"#, "invalid_value", "url"),
        (r#"{"visitor_id":7,"url":"https://shop.example","viewed_at":1}"#, "wrong_type", "visitor_id"),
        (r#"{"visitor_id":"","url":"https://shop.example","viewed_at":1}"#, "invalid_value", "visitor_id"),
        (r#"{"visitor_id":"v","url":"https://shop.example","viewed_at":"1"}"#, "wrong_type", "viewed_at"),
        (r#"{"visitor_id":"v","url":"https://shop.example","viewed_at":-1}"#, "invalid_value", "viewed_at"),
        (
            r#"{"visitor_id":"v","url":"https://shop.example","url":"https://a","viewed_at":1}"#,
            "duplicate_field",
            "url",
        ),
        (r#"{"visitor_id":"v","url":"https://shop.example","viewed_at":1,"host":"h"}"#, "invalid_value", "host"),
    ];
    (good.into(), bad.into())
}

fn record(number: usize, value: &str) -> NewRecord {
    let record = NewRecord::new(format!("key-{number}"), value.to_owned()).timestamp(VIEWED + 5);
    record.header("trace", Some(b"\x00\xff")).header("trace", None)
}

fn headers(record: &StoredRecord) -> BTreeMap<&str, &[u8]> {
    record
        .headers
        .iter()
        .map(|header| (std::str::from_utf8(&header.name).unwrap(), header.value.as_deref().unwrap_or_default()))
        .collect()
}

#[tokio::test]
async fn good_views_come_out_enriched_and_bad_ones_as_dead_letters() {
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), tempfile::tempdir().unwrap());
    [SOURCE, OUTPUT, DLQ].iter().for_each(|topic| sandbox.create_topic(topic, 1).unwrap());
    let mut config = config(&sandbox, &folder);
    // rskafka knows one header of a name, and no null.
    config.source.reader = ReaderKind::Wire;
    let (good, bad) = views();
    let values = good.iter().map(String::as_str).chain(bad.iter().map(|(value, ..)| *value));
    let sent: Vec<_> = values.enumerate().map(|(number, value)| record(number, value)).collect();
    let batch = NewBatch::new(sent.clone());
    sandbox.append_batch(SOURCE, 0, &batch).unwrap();

    let app = App::open_with(config, PageViews).await.unwrap();
    let (observe, stop) = (app.observe().clone(), CancellationToken::new());
    let run = tokio::spawn(app.run(stop.clone()));
    let lengths = || [OUTPUT, DLQ].map(|topic| sandbox.read(topic, 0).unwrap().len());
    let all_out = async {
        while lengths() != [good.len(), bad.len()] {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(30), all_out).await.unwrap_or_else(|_| panic!("only {:?}", lengths()));
    stop.cancel();
    let summary = run.await.unwrap().unwrap();

    for ((out, sent), host) in
        sandbox.read(OUTPUT, 0).unwrap().iter().zip(&sent).zip(["shop.example", "a.example", "shop.example"])
    {
        assert_eq!((&out.key, &out.headers, out.timestamp_ms), (&sent.key, &sent.headers, sent.timestamp_ms));
        let (out, came) = (out.value.as_deref().unwrap(), sent.value.as_deref().unwrap());
        let kept = came.trim_ascii_end().strip_suffix(b"}").unwrap();
        assert!(out.starts_with(kept), "every byte stays: {}", String::from_utf8_lossy(out));
        let out: Value = serde_json::from_slice(out).unwrap();
        assert_eq!(out["host"], host);
        assert!(out["processed_at"].as_str().unwrap().ends_with('Z'));
    }
    let dead = sandbox.read(DLQ, 0).unwrap();
    for ((dead, sent), (value, reason, field)) in dead.iter().zip(&sent[good.len()..]).zip(&bad) {
        assert_eq!((&dead.key, &dead.value), (&sent.key, &sent.value));
        assert!(dead.timestamp_ms > sent.timestamp_ms, "the time of writing");
        assert_eq!(dead.headers[..2], sent.headers, "{value}");
        let headers = headers(dead);
        let text = |name: &str| headers.get(name).map_or("", |text| std::str::from_utf8(text).unwrap());
        let why = (text("__dlq.errors.reason"), text("__dlq.errors.field"), text("__dlq.errors.stage"));
        assert_eq!(why, (*reason, *field, "validate"), "{value}");
    }

    assert_eq!(summary.counted.distributions[0].name, "host");
    let status = serde_json::to_value(observe.status()).unwrap();
    assert_eq!(status["configuration"]["pipeline"]["processor"], "page_views");
    let hosts: Vec<_> = summary.counted.distributions[0].top.iter().map(|host| (&*host.value, host.count)).collect();
    assert_eq!(hosts, [("shop.example", 2), ("a.example", 1)]);
}

#[tokio::test]
async fn rules_that_only_logins_have_are_refused() {
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), tempfile::tempdir().unwrap());
    let mut config = config(&sandbox, &folder);
    config.privacy.ip = IpPrivacy::Truncate;
    let refused = App::open_with(config, PageViews).await.map(drop).unwrap_err();
    assert!(matches!(refused, AppError::ForLogins { processor: "page_views" }), "{refused}");
}
