//! The headers of a dead letter. Their set is bounded: a record that goes round again has them
//! replaced, never appended.

use std::borrow::Cow;

use crate::event::Rejection;
use crate::record::RecordView;

/// The longest message in a header, in bytes.
const MAX_MESSAGE: usize = 256;

/// Where a record failed.
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
    truncated_from: String,
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

/// The headers of one dead letter.
#[derive(Debug)]
pub struct Letter<'a> {
    envelope: &'a Envelope,
    record: RecordView<'a>,
    /// Values of the names, in their order; a name without one has no header.
    values: [Option<Cow<'a, [u8]>>; NAMES.len()],
    truncated_from: Option<Cow<'a, [u8]>>,
}

impl Envelope {
    /// For dead letters of one source partition.
    pub fn new(prefix: &str, application: &str, topic: &str, partition: i32) -> Self {
        Self {
            prefix: prefix.to_owned(),
            names: NAMES.map(|name| format!("{prefix}{name}")),
            truncated_from: format!("{prefix}truncated.from"),
            topic: topic.to_owned(),
            partition: partition.to_string(),
            application: application.to_owned(),
        }
    }

    /// The topic that the records are from.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The headers for a record that failed at `stage`, and whose value is written cut to
    /// `truncated` bytes where that is given.
    pub fn letter<'a>(
        &'a self,
        record: &RecordView<'a>,
        stage: Stage,
        rejection: &'a Rejection,
        truncated: bool,
    ) -> Letter<'a> {
        let text = |text: &'a str| Some(Cow::Borrowed(text.as_bytes()));
        let number = |number: i64| Some(Cow::Owned(itoa::Buffer::new().format(number).as_bytes().to_vec()));
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
        let bytes = record.value.map_or(0, <[u8]>::len);
        let truncated_from = truncated.then(|| Cow::Owned(bytes.to_string().into_bytes()));
        Letter { envelope: self, record: *record, values, truncated_from }
    }

    /// How often the record was replayed, as it says itself; 0 where it says nothing sensible.
    fn replay_count<'a>(&self, record: &RecordView<'a>) -> Cow<'a, [u8]> {
        let name = self.names.last().map_or("", String::as_str);
        let count = record.headers.iter().find(|(found, _)| *found == name.as_bytes()).and_then(|(_, value)| value);
        let sensible = |count: &&[u8]| (1..=9).contains(&count.len()) && count.iter().all(u8::is_ascii_digit);
        Cow::Borrowed(count.filter(sensible).unwrap_or(b"0"))
    }
}

impl Letter<'_> {
    /// Every header to write: the record's own, then those that say why.
    pub fn headers(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> + Clone {
        let prefix = self.envelope.prefix.as_bytes();
        let own = self.record.headers.iter().filter(move |(name, _)| !name.starts_with(prefix));
        let ours = self.envelope.names.iter().zip(&self.values);
        let truncated = std::iter::once((&self.envelope.truncated_from, &self.truncated_from));
        own.chain(ours.chain(truncated).filter_map(|(name, value)| Some((name.as_bytes(), Some(value.as_deref()?)))))
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

    fn headers_of(record: &RecordView<'_>, truncated: bool) -> Vec<(String, Option<String>)> {
        let envelope = Envelope::new("__dlq.errors.", "login-pipeline", "user-login", 3);
        let rejection = Rejection::field(Reason::MissingField, "ip", "é".repeat(200));
        let letter = envelope.letter(record, Stage::Validate, &rejection, truncated);
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
        let found: BTreeMap<_, _> = headers_of(&record(&[]), false).into_iter().collect();
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
        let found = headers_of(&record(&own), false);
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
        let found = headers_of(&record(&own), false);
        assert_eq!(found.len(), NAMES.len());
        assert!(found.contains(&("__dlq.errors.offset".to_owned(), Some("42".to_owned()))));
        assert!(found.contains(&("__dlq.errors.replay.count".to_owned(), Some("2".to_owned()))));
        let hostile = [header("__dlq.errors.replay.count", Some("many, so many"))];
        assert!(
            headers_of(&record(&hostile), false)
                .contains(&("__dlq.errors.replay.count".to_owned(), Some("0".to_owned())))
        );
    }

    #[test]
    fn a_cut_value_says_how_long_it_was() {
        let found = headers_of(&record(&[]), true);
        assert!(found.contains(&("__dlq.errors.truncated.from".to_owned(), Some("5".to_owned()))));
    }
}
