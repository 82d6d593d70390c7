use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use kafka_records::records::{Bounds, Flaw, FlawKind, Frames, OpenBatch, Records, Window};

use super::*;
use crate::config::{Compression, Condition, Config, LogFormat, RouteAction, RouteRule, Test};
use crate::observe::Tally;
use crate::observe::logs::testing;
use crate::output::Expected;
use crate::record::{Header, Headers, Offset};

const GOOD: &str = r#"{"user_id":"u","app_version":"2.3.0","ip":"10.0.0.1","locale":"RU","device_id":"d","timestamp":1694479551,"device_type":"iOS"}"#;

fn entry(value: &[u8]) -> Entry<'_> {
    let record =
        RecordView { offset: Offset(7), timestamp_ms: 5, key: Some(b"k"), value: Some(value), headers: Headers::NONE };
    Entry { record, flaw: None }
}

fn routes(rules: Vec<RouteRule>) -> Arc<Routes> {
    Arc::new(Routes::new(&Config { route: rules, ..Config::default() }).unwrap())
}

fn decoded(batch: Bytes) -> Records {
    let bounds = Bounds { offsets: Offset(0)..Offset(i64::MAX), least_epoch: None, greatest_epoch: None };
    let batch = Frames::new(batch).next().unwrap().sound(&bounds).unwrap();
    let mut records = Records::default();
    OpenBatch::new(batch, Offset(0)).unwrap().read(&mut Window::unlimited(), &mut records).unwrap();
    records
}

fn envelope() -> Envelope {
    Envelope::new("__dlq.errors.", "login-pipeline", "user-login", 5)
}

struct Staged {
    /// (topic, partition, value, headers) of each record.
    records: Vec<(usize, i32, String, Vec<String>)>,
    counts: Counts,
}

/// Runs entries through the stages of source partition 5, with outputs of 4, 3 and 2 partitions.
fn run(stages: &mut dyn Stages, entries: &[Entry<'_>]) -> Staged {
    let now = Now::from_unix_ms(1_694_479_552_500);
    let mut out = OutputBatch::new(1 << 20, Expected::default());
    let mut counts = Counts::default();
    let mut tally = Tally::new(Login::DIMENSIONS);
    let mut batch = Batch {
        now: &now,
        dead_ms: now.unix_ms,
        partitions: &[4, 3, 2],
        out: &mut out,
        counts: &mut counts,
        tally: &mut tally,
    };
    for (index, entry) in entries.iter().enumerate() {
        stages.process(entry, index, Fit::default(), &mut batch);
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut found = Vec::new();
    for part in out.into_parts() {
        for record in decoded(part.batch.finish(Compression::None).unwrap()).iter().map(|found| found.record) {
            let header =
                |(name, value): (&[u8], Option<&[u8]>)| format!("{}={}", text(name), text(value.unwrap_or_default()));
            let headers = record.headers.iter().map(header).collect();
            found.push((part.to.topic, part.to.partition, text(record.value.unwrap_or_default()), headers));
        }
    }
    Staged { records: found, counts }
}

#[test]
fn good_records_go_to_the_output_and_bad_ones_to_the_dead_letters() {
    let mut stages = ProcessorStages::new(Login, routes(vec![]), envelope(), 5);
    let staged = run(&mut stages, &[entry(GOOD.as_bytes()), entry(b"{}"), entry(GOOD.as_bytes())]);
    let places: Vec<_> = staged.records.iter().map(|(topic, partition, ..)| (*topic, *partition)).collect();
    assert_eq!(places, [(OUTPUT, 1), (OUTPUT, 1), (DEAD_LETTER, 2)], "partition 5 mod 4, and 5 mod 3");
    assert!(
        staged.records[0]
            .2
            .ends_with(r#""device_type":"ios","processed_at":"2023-09-12T00:45:52.500Z","latency_ms":1500}"#)
    );
    assert!(staged.records[0].3.is_empty());
    let (.., value, headers) = &staged.records[2];
    assert_eq!(value, "{}");
    assert!(headers.contains(&"__dlq.errors.reason=missing_field".to_owned()));
    assert!(headers.contains(&"__dlq.errors.stage=validate".to_owned()));
    assert_eq!(staged.counts.dead().collect::<Vec<_>>(), [(Reason::MissingField, 1)]);
}

#[test]
fn rules_send_elsewhere_or_drop_and_drops_are_counted() {
    let rule = |text: &str, action| {
        let when = Condition::field("device_type", Test::Equals(text.to_owned()));
        RouteRule { name: text.to_owned(), when, action }
    };
    let rules = vec![rule("ios", RouteAction::Topic("apple".to_owned())), rule("unknown", RouteAction::Drop)];
    let mut stages = ProcessorStages::new(Login, routes(rules), envelope(), 5);
    let nameless = GOOD.replace("iOS", "");
    let staged = run(&mut stages, &[entry(GOOD.as_bytes()), entry(nameless.as_bytes())]);
    assert_eq!(staged.records.len(), 1);
    assert_eq!((staged.records[0].0, staged.records[0].1), (2, 1));
    assert_eq!(staged.counts.dropped, 1);
}

#[test]
fn an_event_from_the_future_is_clamped_and_counted() {
    let mut stages = ProcessorStages::new(Login, routes(vec![]), envelope(), 5);
    let future = GOOD.replace("1694479551", "1999999999");
    let staged = run(&mut stages, &[entry(future.as_bytes())]);
    assert!(staged.records[0].2.contains(r#""latency_ms":0}"#));
    assert_eq!(staged.counts.clock_skewed, 1);
}

#[test]
fn bytes_that_are_no_records_are_dead_letters_too() {
    let mut stages = ProcessorStages::new(Login, routes(vec![]), envelope(), 5);
    let flaw = Flaw::new(FlawKind::Corrupt, "its checksum is wrong");
    let staged = run(&mut stages, &[Entry { flaw: Some(&flaw), ..entry(b"raw") }]);
    let (topic, _, value, headers) = &staged.records[0];
    assert_eq!((*topic, value.as_str()), (DEAD_LETTER, "raw"));
    for expected in ["reason=corrupt_batch", "stage=fetch", "message=its checksum is wrong", "offset=7"] {
        assert!(headers.contains(&format!("__dlq.errors.{expected}")), "{expected} in {headers:?}");
    }
}

#[test]
fn a_refused_record_is_buried_with_its_reason_and_cut() {
    let mut stages = ProcessorStages::new(Login, routes(vec![]), envelope(), 5);
    let now = Now::from_unix_ms(1_000);
    let (mut out, mut counts, mut tally) =
        (OutputBatch::new(1 << 20, Expected::default()), Counts::default(), Tally::new(Login::DIMENSIONS));
    let mut batch = Batch {
        now: &now,
        dead_ms: now.unix_ms,
        partitions: &[4, 3],
        out: &mut out,
        counts: &mut counts,
        tally: &mut tally,
    };
    let rejection = Rejection::record(Reason::TooLarge, "too large");
    stages.refuse(&entry(b"0123456789"), 0, &rejection, Fit { value: Some(4), ..Fit::default() }, &mut batch);
    let part = out.into_parts().remove(0);
    assert_eq!(part.to, Destination { topic: DEAD_LETTER, partition: 2 });
    let records = decoded(part.batch.finish(Compression::None).unwrap());
    let record = records.get(0).unwrap().record;
    assert_eq!(record.value, Some(&b"0123"[..]));
    assert_eq!(record.timestamp_ms, 1_000, "the time of now, not the record's");
    let truncated = record.headers.iter().find(|(name, _)| name.ends_with(b"truncated.from")).unwrap();
    assert_eq!(truncated.1, Some(&b"10"[..]));
}

/// Panics where it is told to.
struct Panicky;

impl Processor for Panicky {
    type Event<'a> = &'a [u8];
    const NAME: &'static str = "panicky";
    const DIMENSIONS: &'static [&'static str] = &[];

    fn validate<'a>(&self, record: &RecordView<'a>) -> Result<&'a [u8], Rejection> {
        let value = record.value.unwrap_or_default();
        assert_ne!(value, b"validate", "told to");
        Ok(value)
    }

    fn enrich(&self, event: &&[u8], _: &Now, out: &mut Vec<u8>) -> Enriched {
        out.extend_from_slice(event);
        assert_ne!(*event, b"enrich", "told to");
        Enriched { clock_skewed: false }
    }

    fn field<'e>(&self, event: &'e &[u8], _: &str, _: &Now) -> Option<Cow<'e, str>> {
        assert_ne!(*event, b"field", "told to");
        None
    }

    fn key<'k>(&self, event: &'k &[u8], key: Option<&'k [u8]>) -> Option<&'k [u8]> {
        assert_ne!(*event, b"key", "told to");
        key
    }

    fn count(&self, event: &&[u8], _: &mut Tally) {
        assert_ne!(*event, b"count", "told to");
    }
}

#[test]
fn a_panic_costs_one_record() {
    const PLACES: [&str; 5] = ["validate", "field", "count", "key", "enrich"];
    let when = Condition::field("any", Test::Equals("x".to_owned()));
    let rules = vec![RouteRule { name: "x".to_owned(), when, action: RouteAction::Drop }];
    let mut stages = ProcessorStages::new(Panicky, routes(rules), envelope(), 5);
    let mut entries = vec![entry(b"a")];
    entries.extend(PLACES.iter().map(|place| entry(place.as_bytes())));
    entries.push(entry(b"b"));
    let staged = run(&mut stages, &entries);
    let out: Vec<_> = staged.records.iter().map(|(topic, _, value, _)| (*topic, value.as_str())).collect();
    let dead = PLACES.map(|place| (DEAD_LETTER, place));
    assert_eq!(out, [&[(OUTPUT, "a"), (OUTPUT, "b")], &dead[..]].concat());
    assert_eq!(staged.counts.dead().collect::<Vec<_>>(), [(Reason::ProcessorPanic, 5)]);
}

#[test]
fn a_dead_letter_is_logged_with_its_trace_and_nothing_else_of_the_record() {
    let (lines, _guard) = testing::captured_as(LogFormat::Json, "debug");
    let mut stages = ProcessorStages::new(Login, routes(vec![]), envelope(), 5);
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let value = br#"{"user_id":"424cdd21","app_version":7}"#;
    for header in [format!("00-{trace}-00f067aa0ba902b7-01"), "00-424cdd21-00f067aa0ba902b7-01".to_owned()] {
        let headers = [Header { name: "traceparent".into(), value: Some(header.into()) }];
        let record = RecordView { headers: Headers::List(&headers), ..entry(value).record };
        run(&mut stages, &[Entry { record, flaw: None }]);
    }
    let logged = lines.json();
    assert_eq!(logged.len(), 2);
    assert_eq!((&logged[0]["trace_id"], logged[1].get("trace_id")), (&trace.into(), None));
    for line in logged {
        assert_eq!((&line["message"], &line["topic"]), (&"dead letter".into(), &"user-login".into()));
        assert_eq!((&line["partition"], &line["offset"]), (&5.into(), &7.into()));
        assert!(line["reason"].is_string() && !line.to_string().contains("424cdd21"), "{line}");
    }
}
