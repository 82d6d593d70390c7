//! A dead letter: key, value and headers of the record as it came, as far as its topic takes them, and headers
//! that say why it is there. Their set is bounded: a record that goes round again has them replaced, never
//! appended.

use std::borrow::Cow;

use super::fit::{self, Fit};
use crate::event::Rejection;
use crate::record::RecordView;

/// The longest message in a header, in bytes.
const MAX_MESSAGE: usize = 256;

/// The stage that a record failed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Its bytes in the log can't be decoded.
    Fetch,
    /// A rule of its event is broken.
    Validate,
    /// It could not be enriched.
    Enrich,
    /// It could not be routed.
    Route,
    /// The output topic refuses it.
    Produce,
}

impl Stage {
    /// As dead letters and the log have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Validate => "validate",
            Self::Enrich => "enrich",
            Self::Route => "route",
            Self::Produce => "produce",
        }
    }
}

/// The names of the headers, under one prefix, and what is the same in all dead letters.
#[derive(Debug)]
pub struct Envelope {
    prefix: String,
    names: [String; NAMES.len()],
    changes: [String; CHANGES.len()],
    topic: String,
    partition: String,
    application: String,
}

const NAMES: [&str; 11] = [
    "topic",
    "partition",
    "offset",
    "timestamp",
    "reason",
    "field",
    "message",
    "stage",
    "application",
    "version",
    "replay.count",
];

/// The names of the headers that say how a dead letter differs from the record that it was. None of them is
/// there where its topic took all of it.
const CHANGES: [&str; 4] = [
    "truncated.from",     // the value was cut; it had so many bytes
    "truncated.key.from", // the key was cut; it had so many bytes
    "truncated.headers",  // so many of the record's own headers are left out
    "key.null",           // the record has no key; the dead letter bears its place as one
];

/// The value of a header that is there or not.
const TRUE: &[u8] = b"true";

/// One dead letter.
#[derive(Debug)]
pub struct Letter<'a> {
    envelope: &'a Envelope,
    record: RecordView<'a>,
    fit: Fit,
    key: Option<Cow<'a, [u8]>>,
    value: Option<&'a [u8]>,
    /// Values of the names, in their order; a name without one has no header.
    values: [Option<Cow<'a, [u8]>>; NAMES.len()],
    changes: [Option<Cow<'a, [u8]>>; CHANGES.len()],
}

impl Envelope {
    /// An envelope for dead letters of one source partition.
    pub fn new(prefix: &str, application: &str, topic: &str, partition: i32) -> Self {
        Self {
            prefix: prefix.to_owned(),
            names: NAMES.map(|name| format!("{prefix}{name}")),
            changes: CHANGES.map(|name| format!("{prefix}{name}")),
            topic: topic.to_owned(),
            partition: partition.to_string(),
            application: application.to_owned(),
        }
    }

    /// The topic that the records are from.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// A dead letter that is smaller than one of this fit; `None` where nothing of the record is left to cut.
    pub fn smaller(&self, fit: Fit, record: &RecordView<'_>) -> Option<Fit> {
        fit.smaller(record, &self.prefix)
    }

    /// The dead letter of a record that failed at `stage`. Its value may have been cut before: from so
    /// many bytes.
    pub fn letter<'a>(
        &'a self,
        record: &RecordView<'a>,
        stage: Stage,
        rejection: &'a Rejection,
        fit: Fit,
        cut_from: Option<usize>,
    ) -> Letter<'a> {
        let text = |text: &'a str| Some(Cow::Borrowed(text.as_bytes()));
        let number = |number: i64| Some(Cow::Owned(itoa::Buffer::new().format(number).as_bytes().to_vec()));
        let length = |length: usize| Cow::Owned(length.to_string().into_bytes());
        let replays = self.replay_count(record);
        let values = [
            text(&self.topic),
            text(&self.partition),
            number(record.offset.0),
            number(record.timestamp_ms),
            text(rejection.reason.code()),
            rejection.field.and_then(text),
            text(cut(&rejection.message, MAX_MESSAGE)),
            text(stage.as_str()),
            text(&self.application),
            text(env!("CARGO_PKG_VERSION")),
            Some(replays),
        ];
        let (value, value_from) = fit::cut(record.value, fit.value);
        let (key, key_from) = fit::cut(record.key, fit.key);
        let left_out = fit
            .headers
            .map_or(0, |_| fit::own(record, &self.prefix).count() - fit.headers_of(record, &self.prefix).count());
        let takes_place = fit.keyed && record.key.is_none();
        let changes = [
            cut_from.or(value_from).map(length),
            key_from.map(length),
            (left_out > 0).then(|| length(left_out)),
            takes_place.then_some(Cow::Borrowed(TRUE)),
        ];
        let key = match takes_place {
            true => Some(Cow::Owned(format!("{}/{}/{}", self.topic, self.partition, record.offset).into_bytes())),
            false => key.map(Cow::Borrowed),
        };
        Letter { envelope: self, record: *record, fit, key, value, values, changes }
    }

    /// The number of replays of the record, as it says itself; 0 where it says nothing sensible.
    fn replay_count<'a>(&self, record: &RecordView<'a>) -> Cow<'a, [u8]> {
        let name = self.names.last().map_or("", String::as_str);
        let count = record.headers.iter().find(|(found, _)| *found == name.as_bytes()).and_then(|(_, value)| value);
        let sensible = |count: &&[u8]| (1..=9).contains(&count.len()) && count.iter().all(u8::is_ascii_digit);
        Cow::Borrowed(count.filter(sensible).unwrap_or(b"0"))
    }
}

impl Letter<'_> {
    /// Its key: the record's own, unless its topic takes no null.
    pub fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    /// Its value: the record's own, or as much of that as is to be written.
    pub fn value(&self) -> Option<&[u8]> {
        self.value
    }

    /// Every header to write: the record's own, then those that say why.
    pub fn headers(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> + Clone {
        let own = self.fit.headers_of(&self.record, &self.envelope.prefix);
        let why = self.envelope.names.iter().zip(&self.values);
        let ours = why.chain(self.envelope.changes.iter().zip(&self.changes));
        own.chain(ours.filter_map(|(name, value)| Some((name.as_bytes(), Some(value.as_deref()?)))))
    }
}

/// As much of `text` as fits `most` bytes.
fn cut(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;

    use super::*;
    use crate::event::Reason;
    use crate::record::{Header, Headers, Offset};

    fn headers_of(record: &RecordView<'_>, fit: Fit) -> Vec<(String, Option<String>)> {
        let envelope = Envelope::new("__dlq.errors.", "login-pipeline", "user-login", 3);
        let rejection = Rejection::field(Reason::MissingField, "ip", "é".repeat(200));
        let letter = envelope.letter(record, Stage::Validate, &rejection, fit, None);
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
        letter.headers().map(|(name, value)| (text(name), value.map(text))).collect()
    }

    fn header(name: &'static str, value: Option<&'static str>) -> Header {
        Header { name: name.into(), value: value.map(Bytes::from) }
    }

    fn record<'a>(headers: &'a [Header]) -> RecordView<'a> {
        let value = Some(&b"12345"[..]);
        RecordView { offset: Offset(42), timestamp_ms: 1_000, key: None, value, headers: Headers::List(headers) }
    }

    #[test]
    fn says_what_where_and_why() {
        let found: BTreeMap<_, _> = headers_of(&record(&[]), Fit::default()).into_iter().collect();
        let expected = [
            ("topic", "user-login"),
            ("partition", "3"),
            ("offset", "42"),
            ("timestamp", "1000"),
            ("reason", "missing_field"),
            ("field", "ip"),
            ("message", &"é".repeat(128)),
            ("stage", "validate"),
            ("application", "login-pipeline"),
            ("version", env!("CARGO_PKG_VERSION")),
            ("replay.count", "0"),
        ];
        assert_eq!(found.len(), expected.len());
        for (name, value) in expected {
            assert_eq!(found[&format!("__dlq.errors.{name}")].as_deref(), Some(value));
        }
    }

    #[test]
    fn the_records_own_headers_stay_in_order_with_repeats_and_nulls() {
        let own = [header("b", None), header("a", Some("1")), header("b", Some("2"))];
        let found = headers_of(&record(&own), Fit::default());
        let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let own: Vec<_> = own.map(|h| (text(h.name), h.value.map(text))).to_vec();
        assert_eq!(found[..3], own);
    }

    #[test]
    fn a_second_round_replaces_and_keeps_the_count() {
        let own = [
            header("__dlq.errors.offset", Some("7")),
            header("__dlq.errors.replay.count", Some("2")),
            header("__dlq.errors.x", None),
        ];
        let found = headers_of(&record(&own), Fit::default());
        assert_eq!(found.len(), NAMES.len());
        assert!(found.contains(&("__dlq.errors.offset".to_owned(), Some("42".to_owned()))));
        assert!(found.contains(&("__dlq.errors.replay.count".to_owned(), Some("2".to_owned()))));
        let hostile = [header("__dlq.errors.replay.count", Some("many, so many"))];
        assert!(
            headers_of(&record(&hostile), Fit::default())
                .contains(&("__dlq.errors.replay.count".to_owned(), Some("0".to_owned())))
        );
    }

    #[test]
    fn what_is_cut_is_said() {
        let own = [header("a", Some("1")), header("b", Some("too long")), header("c", None)];
        let cut = Fit { value: Some(2), key: Some(1), headers: Some(10), ..Fit::default() };
        let record = RecordView { key: Some(b"key"), ..record(&own) };
        let envelope = Envelope::new("__dlq.errors.", "login-pipeline", "user-login", 3);
        let rejection = Rejection::record(Reason::TooLarge, "too large");
        let letter = envelope.letter(&record, Stage::Produce, &rejection, cut, None);
        assert_eq!((letter.key(), letter.value()), (Some(&b"k"[..]), Some(&b"12"[..])));
        let found = headers_of(&record, cut);
        assert_eq!(found[..2], [("a".to_owned(), Some("1".to_owned())), ("c".to_owned(), None)]);
        for (name, value) in [("truncated.from", "5"), ("truncated.key.from", "3"), ("truncated.headers", "1")] {
            assert!(found.contains(&(format!("__dlq.errors.{name}"), Some(value.to_owned()))), "{name}: {found:?}");
        }
        let whole = headers_of(
            &record,
            Fit { value: Some(5), key: Some(3), headers: Some(1_000), keyed: true, ..Fit::default() },
        );
        assert!(!whole.iter().any(|(name, _)| name.contains("truncated") || name.contains("null")), "{whole:?}");
    }

    #[test]
    fn a_null_key_gives_way_to_the_records_place() {
        let envelope = Envelope::new("__dlq.errors.", "login-pipeline", "user-login", 3);
        let rejection = Rejection::record(Reason::TooLarge, "too large");
        let record = record(&[]);
        let letter = envelope.letter(&record, Stage::Produce, &rejection, Fit { keyed: true, ..Fit::default() }, None);
        assert_eq!(letter.key(), Some(&b"user-login/3/42"[..]));
        assert!(letter.headers().any(|header| header == (b"__dlq.errors.key.null", Some(b"true"))));
    }
}
