//! What operators see, and what nobody may see: personal data.

use std::io;
use std::sync::{Arc, Mutex};

use kafka_sandbox::{Action, Api, Fault};
use login_pipeline::config::ReaderKind;
use login_pipeline::config::ReaderKind::{Rskafka, Wire};
use login_pipeline::observe::{PartitionReport, logs};
use rstest::rstest;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;

use crate::pipeline::support::{DLQ, GOOD, OUTPUT, World, dead};

#[rstest]
#[tokio::test]
async fn readiness_and_metrics_show_a_fault_while_it_lasts(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::new(reader, 2).await;
    world.fill(20);
    let pipeline = world.start().await;
    world.until_done(&pipeline).await;
    let ready = pipeline.page("/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 200") && ready.ends_with("ready\n"), "{ready}");

    let denied = world.sandbox.fault(Fault::on(Api::Produce).topic(OUTPUT).forever(), Action::Error(29));
    world.fill(20);
    pipeline.until_unready(&format!("write to {OUTPUT}/0")).await;
    let unready = pipeline.page("/readyz").await;
    assert!(unready.starts_with("HTTP/1.1 503"), "{unready}");
    assert!(unready.contains("(code 29)"), "{unready}");
    assert!(pipeline.page("/livez").await.starts_with("HTTP/1.1 200"), "a restart would not help");
    let metrics = pipeline.page("/metrics").await;
    let retries = "login_pipeline_retries_total{operation=\"produce\",class=\"fatal\"} ";
    assert!(metrics.contains(retries), "{metrics}");

    denied.remove();
    world.until_done(&pipeline).await;
    pipeline.until_ready().await;
    assert!(pipeline.page("/readyz").await.starts_with("HTTP/1.1 200"));
    // What is stored is told a moment later.
    let lag = |it: &PartitionReport| it.lag == Some(0);
    pipeline.until("no lag", || pipeline.observe.partitions.partitions().iter().all(lag)).await;
    let metrics = pipeline.page("/metrics").await;
    for partition in 0..2 {
        let labels = format!("{{topic=\"user-login\",partition=\"{partition}\"}}");
        assert!(metrics.contains(&format!("login_pipeline_source_records_total{labels} 40\n")), "{metrics}");
        assert!(metrics.contains(&format!("login_pipeline_source_lag_records{labels} 0\n")), "{metrics}");
    }
    world.finish(pipeline).await.0.assert_once();
}

/// A value that stands in for all personal data.
const MARKER: &str = "zq-marker-31337";

/// Log lines, kept.
#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[rstest]
#[tokio::test]
async fn personal_data_is_in_no_metric_page_log_or_header(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(lines.clone())
        .with_ansi(false)
        .finish()
        .with(logs::filter("trace").unwrap());
    // All of this test runs on this thread.
    let _guard = tracing::subscriber::set_default(subscriber);
    // Other tests, on threads without a subscriber, may have said first that nobody listens.
    tracing::callsite::rebuild_interest_cache();

    let world = World::with_limits(reader, 2_000, 1 << 20).await;
    let event = |ip: &str, rest: &str| {
        format!(
            r#"{{"user_id":"{MARKER}","app_version":"2.3","ip":"{ip}","locale":"RU","device_id":"{MARKER}","timestamp":1694479551{rest}}}"#
        )
    };
    let long = format!(r#","pad":"{}""#, "x".repeat(3_000));
    for (value, fate) in [
        (event("::1", ""), GOOD),
        (event("::1", &long), dead("produce", "too_large")),
        (event(MARKER, ""), dead("validate", "invalid_value")),
        (event("::1", &format!(r#","device_type":["{MARKER}"]"#)), dead("validate", "wrong_type")),
        (event("::1", &format!(r#","{MARKER}":1,"{MARKER}":2"#)), dead("validate", "duplicate_field")),
        (event("::1", "").replace("2.3", MARKER), dead("validate", "invalid_value")),
        (event("::1", "").replace("RU", &MARKER.repeat(9)), dead("validate", "invalid_value")),
        (event("::1", "").replace("1694479551", &format!("\"{MARKER}\"")), dead("validate", "invalid_value")),
        (format!("{} {MARKER}", event("::1", "")), dead("validate", "malformed_json")),
        (format!("\"{MARKER}\""), dead("validate", "not_an_object")),
        (MARKER.to_owned(), dead("validate", "malformed_json")),
    ] {
        let mut record = world.named(Some(MARKER.into()), Some(value.into_bytes()));
        record.headers.retain(|header| header.name == "id");
        world.append(0, vec![(record, fate)]);
    }
    let passing = world.sandbox.fault(Fault::on(Api::Produce).times(3), Action::Error(19));
    let cut = world.sandbox.fault(Fault::on(Api::Fetch).skip(1).times(2), Action::TruncatedFrame);
    let corrupt = world.sandbox.fault(Fault::on(Api::Fetch).times(2), Action::CorruptRecords);
    let pipeline = world.start().await;
    let mut readiness = String::new();
    let denied = world.sandbox.fault(Fault::on(Api::Produce).topic(DLQ).forever(), Action::Error(29));
    pipeline.until_unready(DLQ).await;
    for path in ["/readyz", "/status", "/metrics"] {
        readiness.push_str(&pipeline.page(path).await);
    }
    denied.remove();
    world.until_done(&pipeline).await;
    pipeline.until("all faults have fired", || passing.fired() + cut.fired() + corrupt.fired() == 7).await;
    let mut shown = readiness;
    for path in ["/metrics", "/status", "/readyz", "/livez", "/"] {
        shown.push_str(&pipeline.page(path).await);
    }
    let (audit, _) = world.finish(pipeline).await;
    assert_eq!((audit.good, audit.dead), (1, 10));

    assert!(!shown.contains(MARKER), "{shown}");
    let logged = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("trying again"), "the log was listened to: {logged}");
    let telling: Vec<_> = logged.lines().filter(|line| line.contains(MARKER)).collect();
    assert!(telling.is_empty(), "{telling:#?}");
    for letter in world.sandbox.read(DLQ, 0).unwrap() {
        for header in &letter.headers {
            let value = String::from_utf8_lossy(header.value.as_deref().unwrap());
            assert!(!String::from_utf8_lossy(&header.name).contains(MARKER) && !value.contains(MARKER), "{header:?}");
        }
    }
}
