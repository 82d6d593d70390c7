//! Accounts for every source record, by the event's description alone: no code of the pipeline.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::NaiveDateTime;
use kafka_sandbox::StoredRecord;
use login_pipeline::generator::BadKind;
use serde_json::Value;

use crate::pipeline::support::{DLQ, Dead, Fate, ID, OUTPUT, SOURCE, Sent, World};

const PREFIX: &str = "__dlq.errors.";

/// What became of the records of the ledger.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Audit {
    pub good: usize,
    pub dead: usize,
    pub dropped: usize,
    /// Copies beyond the first.
    pub doubled: usize,
}

/// Where a record was found.
struct Found {
    topic: String,
    partition: i32,
    record: StoredRecord,
}

/// The partition and offset of every record that has arrived somewhere.
pub(super) fn delivered(world: &World) -> BTreeSet<(i32, i64)> {
    let ledger = world.ledger();
    let ids: HashMap<_, _> = ledger.iter().map(|sent| (id(&sent.record.headers), at(sent))).collect();
    outputs(world, &ledger).iter().filter_map(|found| resolve(&place(found)?, &ids)).collect()
}

/// Accounts for every record, and fails where one is lost, misplaced, out of order, changed where
/// it must not be, or not changed where it must.
pub(super) fn audit(world: &World) -> Audit {
    let ledger = world.ledger();
    let ids: HashMap<_, _> = ledger.iter().map(|sent| (id(&sent.record.headers), at(sent))).collect();
    let sent: BTreeMap<_, _> = ledger.iter().map(|sent| (at(sent), sent)).collect();
    assert_eq!(sent.len(), ledger.len(), "the ledger has one entry for each place");
    let mut copies: BTreeMap<(i32, i64), usize> = BTreeMap::new();
    let mut last: HashMap<(i32, String, i32), i64> = HashMap::new();
    for found in outputs(world, &ledger) {
        let place = place(&found).expect("a record that nobody sent");
        let place = resolve(&place, &ids).expect("a record that nobody sent");
        let sent = sent.get(&place).unwrap_or_else(|| panic!("{place:?} must not be read"));
        check(world, sent, &found);
        let copies = copies.entry(place).or_default();
        *copies += 1;
        // What an output refused is buried when the dead letters beside it are written already.
        let refused = matches!(&sent.fate, Fate::Dead(dead) if dead.stage == "produce");
        if *copies == 1 && !refused {
            let last = last.entry((sent.partition, found.topic, found.partition)).or_insert(-1);
            assert!(*last < sent.offset, "{}/{}: {} after {last}", SOURCE, sent.partition, sent.offset);
            *last = sent.offset;
        }
    }
    let mut audit = Audit::default();
    for (place, sent) in sent {
        let copies = copies.get(&place).copied().unwrap_or(0);
        match &sent.fate {
            Fate::Dropped => {
                assert_eq!(copies, 0, "{place:?} must be dropped");
                audit.dropped += 1;
                continue;
            }
            Fate::Good(_) => audit.good += 1,
            Fate::Dead(_) => audit.dead += 1,
        }
        assert!(copies > 0, "{place:?} is lost");
        audit.doubled += copies - 1;
    }
    audit
}

impl Audit {
    /// Nothing was written twice.
    pub(super) fn assert_once(self) {
        assert_eq!(self.doubled, 0, "{self:?}");
    }
}

fn at(sent: &Sent) -> (i32, i64) {
    (sent.partition, sent.offset)
}

fn id(headers: &[login_pipeline::record::Header]) -> Option<Vec<u8>> {
    headers.iter().find(|header| header.name == ID)?.value.as_ref().map(|value| value.to_vec())
}

/// All that counts in the topics that are written to.
fn outputs(world: &World, ledger: &[Sent]) -> Vec<Found> {
    let mut topics = BTreeSet::from([OUTPUT, DLQ]);
    topics.extend(ledger.iter().filter_map(|sent| match sent.fate {
        Fate::Good(topic) => Some(topic),
        _ => None,
    }));
    let mut found = Vec::new();
    for topic in topics {
        for partition in 0..world.sandbox.partitions(topic) {
            let records = world.sandbox.read_committed(topic, partition).unwrap();
            found.extend(records.into_iter().map(|record| Found { topic: topic.to_owned(), partition, record }));
        }
    }
    found
}

/// What a record says of where it came from: a dead letter its place, any other its id.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Is(i32, i64),
    Of(Vec<u8>),
}

fn place(found: &Found) -> Option<Place> {
    let header = |name: &str| text(&found.record, name)?.parse::<i64>().ok();
    if found.topic == DLQ {
        let partition = header(&format!("{PREFIX}partition"))?;
        return Some(Place::Is(i32::try_from(partition).ok()?, header(&format!("{PREFIX}offset"))?));
    }
    id(&found.record.headers).map(Place::Of)
}

fn resolve(place: &Place, ids: &HashMap<Option<Vec<u8>>, (i32, i64)>) -> Option<(i32, i64)> {
    match place {
        Place::Is(partition, offset) => Some((*partition, *offset)),
        Place::Of(id) => ids.get(&Some(id.clone())).copied(),
    }
}

fn text(record: &StoredRecord, name: &str) -> Option<String> {
    let header = record.headers.iter().find(|header| header.name == name)?;
    Some(String::from_utf8(header.value.as_ref()?.to_vec()).expect("a header of text"))
}

fn check(world: &World, sent: &Sent, found: &Found) {
    let record = &found.record;
    match &sent.fate {
        Fate::Good(topic) => {
            assert_eq!(record.key, sent.record.key, "{sent:?}");
            assert_eq!(record.timestamp_ms, sent.record.timestamp_ms, "{sent:?}");
            assert_eq!(found.topic, *topic, "{sent:?}");
            assert_eq!(record.headers, sent.record.headers, "{sent:?}");
            if world.config.output.partitioner == login_pipeline::config::Partitioner::Source {
                assert_eq!(found.partition, sent.partition % world.sandbox.partitions(topic), "{sent:?}");
            }
            check_enriched(sent, record);
        }
        Fate::Dead(dead) => {
            assert_eq!(found.topic, DLQ, "{sent:?}");
            assert_eq!(found.partition, sent.partition % world.sandbox.partitions(DLQ), "{sent:?}");
            check_letter(world, sent, dead, record);
        }
        Fate::Dropped => {}
    }
}

/// The event as it came, `device_type` in lower case or `unknown`, and the two new fields.
fn check_enriched(sent: &Sent, record: &StoredRecord) {
    let parse = |value: &Option<bytes::Bytes>| serde_json::from_slice::<Value>(value.as_ref().unwrap()).unwrap();
    let mut expected = parse(&sent.record.value);
    let mut found = parse(&record.value);
    let (came, fields) = (expected.as_object_mut().unwrap(), found.as_object_mut().unwrap());
    for name in ["processed_at", "latency_ms"] {
        let written = String::from_utf8_lossy(record.value.as_ref().unwrap()).matches(&format!("\"{name}\":")).count();
        assert_eq!(written, 1, "{name}");
        came.remove(name);
    }
    let device_type = match came.get("device_type").and_then(Value::as_str) {
        None | Some("") => "unknown".to_owned(),
        Some(text) => text.to_lowercase(),
    };
    came.insert("device_type".to_owned(), device_type.into());

    let processed_at = fields.remove("processed_at").unwrap();
    let processed_at = processed_at.as_str().unwrap();
    assert_eq!(processed_at.len(), "2026-01-01T00:00:00.000Z".len(), "{processed_at}");
    let processed_at = NaiveDateTime::parse_from_str(processed_at, "%Y-%m-%dT%H:%M:%S%.3fZ").unwrap();
    let processed_at = processed_at.and_utc().timestamp_millis();
    let timestamp = match &came["timestamp"] {
        Value::String(text) => text.parse::<i64>().unwrap(),
        number => number.as_i64().unwrap(),
    };
    let timestamp = if timestamp >= 100_000_000_000 { timestamp } else { timestamp * 1_000 };
    let latency = fields.remove("latency_ms").unwrap().as_i64();
    assert_eq!(latency, Some((processed_at - timestamp).max(0)), "{sent:?}");
    assert_eq!(fields, came);
}

/// A field is whole, or a header says how long it was.
fn check_kept(
    whole: &Option<bytes::Bytes>,
    kept: &Option<bytes::Bytes>,
    name: &str,
    names: &mut BTreeSet<&str>,
    header: &impl Fn(&str) -> String,
) {
    if !names.remove(name) {
        return assert_eq!(kept, whole);
    }
    let (whole, kept) = (whole.as_deref().unwrap(), kept.as_deref().unwrap());
    assert!(kept.len() < whole.len() && whole.starts_with(kept), "{} of {}", kept.len(), whole.len());
    assert_eq!(header(name), whole.len().to_string());
}

/// What a header says, by its name.
fn why_of(name: &[u8]) -> &str {
    std::str::from_utf8(name).unwrap().strip_prefix(PREFIX).unwrap()
}

/// The record as it came, and headers that say why.
fn check_letter(world: &World, sent: &Sent, dead: &Dead, record: &StoredRecord) {
    // Whatever time the record is of, its dead letter is of now.
    let age_ms = kafka_client::clock::unix_ms() - record.timestamp_ms;
    assert!((-1_000..600_000).contains(&age_ms), "{age_ms} ms old: {sent:?}");
    let (why, came): (Vec<_>, Vec<_>) =
        record.headers.iter().partition(|header| header.name.starts_with(PREFIX.as_bytes()));
    let own = sent.record.headers.iter().filter(|header| !header.name.starts_with(PREFIX.as_bytes()));
    assert!(record.headers.starts_with(&came.iter().copied().cloned().collect::<Vec<_>>()), "its own come first");

    let mut names: BTreeSet<_> = why.iter().map(|header| why_of(&header.name)).collect();
    assert_eq!(names.len(), why.len(), "each once");
    let header = |name: &str| text(record, &format!("{PREFIX}{name}")).unwrap_or_else(|| panic!("no {name}"));
    let place = format!("{SOURCE}/{}/{}", sent.partition, sent.offset);
    match names.remove("key.null") {
        true => assert_eq!((&sent.record.key, record.key.as_deref()), (&None, Some(place.as_bytes())), "{sent:?}"),
        false => check_kept(&sent.record.key, &record.key, "truncated.key.from", &mut names, &header),
    }
    check_kept(&sent.record.value, &record.value, "truncated.from", &mut names, &header);
    let (mut left_out, mut kept) = (0, came.iter().peekable());
    for header in own {
        match kept.next_if(|kept| **kept == header) {
            Some(_) => {}
            None => left_out += 1,
        }
    }
    assert!(kept.next().is_none(), "in their order: {sent:?}");
    let said = names.remove("truncated.headers").then(|| header("truncated.headers"));
    assert_eq!(said, (left_out > 0).then(|| left_out.to_string()), "{sent:?}");
    let is_cut = why.iter().any(|header| why_of(&header.name).starts_with("truncated."));
    assert_eq!(is_cut, dead.truncated, "{sent:?}");
    for (name, value) in [
        ("topic", SOURCE.to_owned()),
        ("partition", sent.partition.to_string()),
        ("offset", sent.offset.to_string()),
        ("timestamp", sent.record.timestamp_ms.to_string()),
        ("stage", dead.stage.to_owned()),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("replay.count", "0".to_owned()),
    ] {
        assert_eq!(header(name), value, "{name} of {sent:?}");
        names.remove(name);
    }
    // One of several pipelines adds its name.
    assert!(header("application").starts_with(&world.config.kafka.client_id), "{sent:?}");
    names.remove("application");
    let reason = header("reason");
    assert!(dead.reasons.contains(&reason.as_str()), "{reason} is none of {:?}: {sent:?}", dead.reasons);
    assert!((1..=256).contains(&header("message").len()));
    for name in ["reason", "message", "field"] {
        names.remove(name);
    }
    assert!(names.is_empty(), "{names:?}");
}

/// The reasons that may be given for a generated bad record; where two rules are broken, the
/// description leaves open which applies first.
pub(super) fn reasons_of(kind: BadKind) -> Vec<&'static str> {
    match kind {
        BadKind::Truncated | BadKind::TrailingBytes => vec!["malformed_json"],
        BadKind::MissingField | BadKind::NullField => vec!["missing_field"],
        BadKind::WrongType => vec!["wrong_type"],
        BadKind::DuplicateField => vec!["duplicate_field"],
        BadKind::BadUtf8 => vec!["invalid_utf8"],
        BadKind::NotAnObject => vec!["not_an_object"],
        BadKind::Tombstone | BadKind::Empty => vec!["tombstone"],
        BadKind::InvalidIp | BadKind::InvalidVersion => vec!["invalid_value"],
        BadKind::InvalidTimestamp | BadKind::EmptyField => vec!["invalid_value", "wrong_type"],
        BadKind::LongField => vec!["invalid_value", "too_large"],
        BadKind::TooDeep => vec!["too_deep"],
        BadKind::Garbage => vec!["invalid_utf8", "malformed_json", "not_an_object"],
    }
}
