//! The audit, audited: on a log made by hand it must find exactly what was done to it.

use bytes::Bytes;
use login_pipeline::generator::{EventGenerator, GeneratorConfig, RecordKind};
use serde_json::Value;
use test_support::audit::{Audit, AuditPlan, Ledger, Place};
use test_support::oracle;
use test_support::records::RawRecord;

const PARTITIONS: i32 = 2;

fn plan() -> AuditPlan {
    AuditPlan::new("", "in", "out", "dead")
}

/// 200 records in two partitions.
fn source() -> Vec<(i32, RawRecord)> {
    let config = GeneratorConfig { seed: 5, bad: 0.2, keyed: true, ..Default::default() };
    let mut generator = EventGenerator::new(config).unwrap();
    let mut made = Vec::new();
    for partition in 0..PARTITIONS {
        for offset in 0..100 {
            let record = generator.next_record();
            let value = record.value.map(Bytes::from);
            let good = oracle::judge(value.as_deref()).is_ok();
            assert_eq!(good, record.kind == RecordKind::Good, "the oracle against the generator: {value:?}");
            let headers = vec![(Bytes::from_static(b"trace"), Some(Bytes::from_static(b"\xff")))];
            let key = record.key.map(Bytes::from);
            made.push((partition, RawRecord { offset, timestamp_ms: 1_700_000_000_000, key, value, headers }));
        }
    }
    made
}

/// What a right pipeline makes of it: outputs and dead letters, each with its partition.
fn processed(source: &[(i32, RawRecord)]) -> [Vec<(i32, RawRecord)>; 2] {
    let (mut outputs, mut dead) = (Vec::new(), Vec::new());
    for (partition, record) in source {
        let mut record = record.clone();
        if oracle::judge(record.value.as_deref()).is_ok() {
            record.value = record.value.map(|value| enriched(&value));
            outputs.push((*partition, record));
        } else {
            let offset = record.offset.to_string();
            record.timestamp_ms += 500; // the time of writing
            let partition_text = partition.to_string();
            let ours = [
                ("topic", "in"),
                ("partition", &partition_text),
                ("offset", &offset),
                ("timestamp", "1700000000000"),
                ("reason", "malformed_json"),
                ("message", "why"),
                ("stage", "validate"),
                ("application", "login-pipeline"),
                ("version", "0.1.0"),
            ];
            record.headers.extend(ours.map(|(name, value)| {
                (Bytes::from(format!("__dlq.errors.{name}")), Some(Bytes::copy_from_slice(value.as_bytes())))
            }));
            dead.push((*partition, record));
        }
    }
    [outputs, dead]
}

/// The event was at 1694479551 s; it is processed 1.5 s later.
fn enriched(value: &[u8]) -> Bytes {
    let text = std::str::from_utf8(value).unwrap();
    let event: Value = serde_json::from_str(text).unwrap();
    let cut = text.find(",\"device_type\"").unwrap_or(text.len() - 1);
    let device_type = event["device_type"].as_str().unwrap_or("unknown").to_lowercase();
    let added = "\"processed_at\":\"2023-09-12T00:45:52.500Z\",\"latency_ms\":1500}";
    Bytes::from(format!("{},\"device_type\":\"{device_type}\",{added}", &text[..cut]))
}

fn audit(source: &[(i32, RawRecord)], [outputs, dead]: &[Vec<(i32, RawRecord)>; 2]) -> Audit {
    let plan = plan();
    let mut ledger = Ledger::new(&plan);
    source.iter().for_each(|(partition, record)| ledger.source(*partition, record));
    let partitions = usize::try_from(PARTITIONS).unwrap();
    for (partition, record) in outputs {
        ledger.output(Place { topic: "out", partition: *partition, partitions }, record);
    }
    for (partition, record) in dead {
        ledger.dead(Place { topic: "dead", partition: *partition, partitions }, record);
    }
    ledger.close()
}

/// The audit after `spoil` did something to what a right pipeline made.
fn after(spoil: impl FnOnce(&mut [Vec<(i32, RawRecord)>; 2])) -> Audit {
    let source = source();
    let mut processed = processed(&source);
    spoil(&mut processed);
    audit(&source, &processed)
}

#[test]
fn a_right_pipeline_is_clean() {
    let audit = after(|_| {});
    audit.assert_clean();
    assert_eq!((audit.source, audit.output + audit.dead), (200, 200));
    assert!(audit.dead > 10, "{audit}");
}

#[test]
fn what_is_lost_is_found() {
    let audit = after(|[outputs, dead]| {
        outputs.remove(17);
        dead.pop();
    });
    assert_eq!(audit.lost, 2, "{audit}");
    assert!(audit.to_string().contains("is lost"));
}

#[test]
fn what_is_doubled_is_found_and_may_be_allowed() {
    let audit = after(|[outputs, dead]| {
        // As after a crash: a stretch comes again.
        let again = outputs[5..9].to_vec();
        outputs.splice(9..9, again);
        dead.push(dead.last().unwrap().clone());
    });
    assert_eq!((audit.doubled, audit.out_of_order), (5, 0), "{audit}");
    audit.assert_doubled_at_most(5);
}

#[test]
#[should_panic(expected = "doubled 1")]
fn a_clean_one_has_nothing_doubled() {
    after(|[outputs, _]| outputs.push(outputs[3].clone())).assert_clean();
}

#[test]
fn a_wrong_order_is_found() {
    let audit = after(|[outputs, dead]| {
        outputs.swap(10, 11);
        dead.swap(0, 1);
    });
    assert_eq!((audit.out_of_order, audit.lost, audit.doubled), (2, 0, 0), "{audit}");
}

#[test]
fn a_changed_output_is_found() {
    let replaced = |from: &str, to: &str| {
        after(|[outputs, _]| {
            let value = outputs[0].1.value.take().unwrap();
            let text = String::from_utf8(value.to_vec()).unwrap();
            assert!(text.contains(from), "{text}");
            outputs[0].1.value = Some(Bytes::from(text.replacen(from, to, 1)));
        })
    };
    for (from, to) in [
        ("\"latency_ms\":1500", "\"latency_ms\":1501"),
        ("\"latency_ms\":1500", "\"latency_ms\":1500.0"),
        ("52.500Z", "52.501Z"),
        ("52.500Z", "52.5Z"),
        ("52.500Z", "52.500+00:00"),
        ("\"app_version\":\"", "\"app_version\":\"1"),
        (",\"processed_at\"", ",\"extra\":1,\"processed_at\""),
        ("\"device_type\":\"", "\"device_type\":\"x"),
        ("\"ip\":", "\"ip\": \"1\", \"ip\":"),
    ] {
        assert_eq!(replaced(from, to).wrong_fields, 1, "{to}");
    }
    let of_another_user = replaced("{\"user_id\":\"", "{\"user_id\":\"x");
    assert_eq!((of_another_user.unexpected, of_another_user.lost), (1, 1), "{of_another_user}");

    for spoil in [
        |record: &mut RawRecord| record.key = None,
        |record: &mut RawRecord| record.headers.clear(),
        |record: &mut RawRecord| record.timestamp_ms += 1,
    ] {
        assert_eq!(after(|[outputs, _]| spoil(&mut outputs[0].1)).wrong_fields, 1);
    }
}

#[test]
fn a_changed_dead_letter_is_found() {
    for spoil in [
        |record: &mut RawRecord| record.value = Some(Bytes::from_static(b"?")),
        |record: &mut RawRecord| record.key = None,
        |record: &mut RawRecord| record.headers[4].1 = Some(Bytes::from_static(b"1700000000001")),
        |record: &mut RawRecord| drop(record.headers.remove(0)),
        |record: &mut RawRecord| drop(record.headers.pop()),
    ] {
        assert_eq!(after(|[_, dead]| spoil(&mut dead[0].1)).dlq_bytes_differ, 1);
    }
    let without_a_place = after(|[_, dead]| dead[0].1.headers.truncate(2));
    assert_eq!((without_a_place.unexpected, without_a_place.lost), (1, 1), "{without_a_place}");
}

#[test]
fn a_record_in_the_wrong_place_is_found() {
    let elsewhere = after(|[outputs, _]| outputs[0].0 = 1);
    assert_eq!(elsewhere.misplaced, 1, "{elsewhere}");

    let source = source();
    let mut processed = processed(&source);
    let good = processed[0].remove(0);
    let mut letter = processed[1][0].1.clone();
    for (name, value) in &mut letter.headers {
        if name == "__dlq.errors.offset" {
            *value = Some(Bytes::from(good.1.offset.to_string()));
        }
    }
    letter.key = good.1.key.clone();
    letter.value = source.iter().find(|(p, r)| (*p, r.offset) == (good.0, good.1.offset)).unwrap().1.value.clone();
    processed[1].insert(0, (good.0, letter));
    let audit = audit(&source, &processed);
    assert_eq!((audit.unexpected, audit.dlq_bytes_differ, audit.lost), (1, 0, 0), "{audit}");
}

#[test]
fn events_that_come_twice_in_the_source_are_two() {
    let mut source = source();
    let mut again = source.last().unwrap().clone();
    again.1.offset += 1;
    source.push(again);
    let made = processed(&source);
    audit(&source, &made).assert_clean();
}
