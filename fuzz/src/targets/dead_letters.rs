//! Dead letters: whatever headers a record has, its dead letter says where it is from, holds the record as it came, and
//! is replayed as it came; cut down to nothing it has the parts that fit, and says what is missing.
//!
//! An input: the place, key, value and headers of a record; it dies, is replayed, and dies again.

use bytes::Bytes;
use login_pipeline::dead_letter::{Envelope, ErrorHeaders, Fit, Letter, Replayed, Stage};
use login_pipeline::event::{Reason, Rejection};
use login_pipeline::record::{Header, Headers, Offset, RecordView};

use super::{MIB, Target};
use crate::input::{Input, put_field, put_nullable};

/// See the module.
pub const TARGET: Target = Target {
    name: "dead_letters",
    about: "envelopes of dead letters, and their replay",
    run,
    seeds,
    words: &["__dlq.errors.", "topic", "partition", "offset", "timestamp", "reason", "replay.count", "truncated.from", "truncated.key.from", "truncated.headers", "key.null", "true", "\u{ff}"],
    longest: 2 * 1024,
    memory: 16 * MIB,
};

const PREFIX: &str = "__dlq.errors.";
const TOPIC: &str = "user-login";

type Named<'a> = (&'a [u8], Option<&'a [u8]>);

fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let (offset, timestamp_ms) = (Offset(input.i64() & i64::MAX), input.i64());
    let partition = i32::from(input.u16());
    let keyed = input.byte() % 2 == 1;
    let (key, value) = (input.nullable(), input.nullable());
    let mut headers = Vec::new();
    while !input.is_empty() && headers.len() < 64 {
        let (name, value) = (Bytes::copy_from_slice(input.field()), input.nullable().map(Bytes::copy_from_slice));
        headers.push(Header { name, value });
    }
    let record = RecordView { offset, timestamp_ms, key, value, headers: Headers::List(&headers) };
    // Whoever may write to the topic wrote them.
    let _ = ErrorHeaders::of(&record, PREFIX);

    let envelope = Envelope::new(PREFIX, "login-pipeline", TOPIC, partition);
    let message = String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
    let rejection = Rejection::field(Reason::InvalidValue, "ip", message);
    let mut fit = Fit { keyed, ..Fit::default() };
    let whole = envelope.letter(&record, Stage::Validate, &rejection, fit, None);
    let own = |headers: Headers<'_>| {
        let own = headers.iter().filter(|(name, _)| !name.starts_with(PREFIX.as_bytes()));
        own.map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec))).collect::<Vec<_>>()
    };
    let came = own(record.headers);
    dies(&whole, &record, partition, &came);

    let mut sizes = vec![size(&whole)];
    while let Some(smaller) = envelope.smaller(fit, &record) {
        fit = smaller;
        let cut = envelope.letter(&record, Stage::Produce, &rejection, fit, None);
        let headers = owned(cut.headers());
        let dead = RecordView { key: cut.key(), value: cut.value(), headers: Headers::List(&headers), ..record };
        assert!(ErrorHeaders::of(&dead, PREFIX).is_truncated(), "something is cut, and nothing says so");
        sizes.push(size(&cut));
        assert!(sizes.len() < 200, "it is cut for ever");
    }
    assert!(sizes.last() <= sizes.first(), "smaller ones are larger: {sizes:?}");
}

/// A whole dead letter holds the record, and is replayed as it came.
fn dies(letter: &Letter<'_>, record: &RecordView<'_>, partition: i32, came: &[(Vec<u8>, Option<Vec<u8>>)]) {
    let headers = owned(letter.headers());
    let dead = RecordView { key: letter.key(), value: letter.value(), headers: Headers::List(&headers), ..*record };
    assert_eq!(dead.value, record.value);
    let said = ErrorHeaders::of(&dead, PREFIX);
    assert_eq!((said.topic, said.partition, said.offset), (Some(TOPIC), Some(partition), Some(record.offset.0)));
    assert_eq!((said.reason, said.field, said.stage), (Some("invalid_value"), Some("ip"), Some("validate")));
    assert_eq!((said.time(&dead), said.key(&dead), said.is_truncated()), (record.timestamp_ms, record.key, false));

    let replayed = Replayed::new(PREFIX, said.replays);
    let again = owned(replayed.headers(&dead));
    let (count, own) = again.split_last().expect("the count of replays");
    let own: Vec<_> = own.iter().map(|header| (header.name.to_vec(), header.value.as_deref().map(<[u8]>::to_vec))).collect();
    assert_eq!(own, came, "it is replayed with other headers than it came with");
    assert_eq!(count.value.as_deref(), Some(said.replays.saturating_add(1).to_string().as_bytes()));
    let names = |headers: &[Header]| headers.iter().filter(|header| header.name.starts_with(PREFIX.as_bytes())).count();
    assert!(names(&headers) <= 15 && names(&again) == 1, "our own headers grow");
}

fn owned<'a>(headers: impl Iterator<Item = Named<'a>>) -> Vec<Header> {
    let header = |(name, value): Named<'a>| Header { name: Bytes::copy_from_slice(name), value: value.map(Bytes::copy_from_slice) };
    headers.map(header).collect()
}

/// The bytes of a dead letter that are the record's.
fn size(letter: &Letter<'_>) -> usize {
    let own = letter.headers().filter(|(name, _)| !name.starts_with(PREFIX.as_bytes()));
    let headers: usize = own.map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len)).sum();
    letter.key().map_or(0, <[u8]>::len) + letter.value().map_or(0, <[u8]>::len) + headers
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let record = |key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Named<'_>]| {
        let mut out = [&42_i64.to_be_bytes()[..], &1_700_000_000_000_i64.to_be_bytes(), &[0, 3, 1]].concat();
        put_nullable(&mut out, key);
        put_nullable(&mut out, value);
        for (name, value) in headers {
            put_field(&mut out, name);
            put_nullable(&mut out, *value);
        }
        out
    };
    let own: &[Named<'_>] = &[(b"trace", Some(b"1")), (b"caf\xe9", None), (b"trace", Some(b""))];
    let died: &[Named<'_>] = &[(b"a", Some(b"1")), (b"__dlq.errors.replay.count", Some(b"3")), (b"__dlq.errors.topic", Some(b"x y"))];
    vec![
        ("seed-plain".to_owned(), record(Some(b"key"), Some(b"value"), own)),
        ("seed-null".to_owned(), record(None, None, &[])),
        ("seed-died-before".to_owned(), record(None, Some("värdet".as_bytes()), died)),
    ]
}
