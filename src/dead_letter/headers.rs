//! The headers of a dead letter that say what was wrong with it, and the record that it was.
//!
//! ```text
//! record as it came ──► Envelope ──► dead letter ──► ErrorHeaders ──► record as it came, replay.count + 1
//! ```

use crate::record::RecordView;
use crate::topic;

/// The error headers of a dead letter. Whoever may write to its topic wrote them: a value that makes no sense is taken
/// for none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ErrorHeaders<'a> {
    /// The topic that the record came from.
    pub topic: Option<&'a str>,
    /// Its partition there.
    pub partition: Option<i32>,
    /// Its offset there.
    pub offset: Option<i64>,
    /// Its timestamp there, milliseconds since the Unix epoch.
    pub timestamp_ms: Option<i64>,
    /// The short code of the reason.
    pub reason: Option<&'a str>,
    /// The field that is the reason.
    pub field: Option<&'a str>,
    /// What is wrong, for people.
    pub message: Option<&'a str>,
    /// The stage that it failed in.
    pub stage: Option<&'a str>,
    /// The number of replays before it died.
    pub replays: u32,
    /// The length that the value had, where it was cut.
    pub truncated_from: Option<u64>,
    /// The length that the key had, where it was cut.
    pub key_truncated_from: Option<u64>,
    /// The number of its own headers that are left out, where any are.
    pub truncated_headers: Option<u64>,
    /// The record has no key; what stands there is its place.
    pub key_was_null: bool,
}

impl<'a> ErrorHeaders<'a> {
    /// Reads the headers under `prefix`.
    pub fn of(record: &RecordView<'a>, prefix: &str) -> Self {
        let mut error_headers = Self::default();
        for (name, value) in record.headers.iter() {
            let Some(name) = name.strip_prefix(prefix.as_bytes()) else { continue };
            let Some(text) = value.and_then(|value| std::str::from_utf8(value).ok()) else { continue };
            match name {
                b"topic" => error_headers.topic = Some(text).filter(|topic| topic::is_name(topic)),
                b"partition" => error_headers.partition = text.parse().ok().filter(|partition| *partition >= 0),
                b"offset" => error_headers.offset = text.parse().ok(),
                b"timestamp" => error_headers.timestamp_ms = text.parse().ok(),
                b"reason" => error_headers.reason = Some(text),
                b"field" => error_headers.field = Some(text),
                b"message" => error_headers.message = Some(text),
                b"stage" => error_headers.stage = Some(text),
                b"replay.count" => error_headers.replays = text.parse().unwrap_or(0),
                b"truncated.from" => error_headers.truncated_from = Some(text.parse().unwrap_or(0)),
                b"truncated.key.from" => error_headers.key_truncated_from = Some(text.parse().unwrap_or(0)),
                b"truncated.headers" => error_headers.truncated_headers = Some(text.parse().unwrap_or(0)),
                b"key.null" => error_headers.key_was_null = text == "true",
                _ => {}
            }
        }
        error_headers
    }

    /// Tells whether some of the record is not there.
    pub fn is_truncated(&self) -> bool {
        self.truncated_from.or(self.key_truncated_from).or(self.truncated_headers).is_some()
    }

    /// The record's key.
    pub fn key<'r>(&self, record: &RecordView<'r>) -> Option<&'r [u8]> {
        record.key.filter(|_| !self.key_was_null)
    }

    /// The time that the record was made at; what its topic says where the headers don't.
    pub fn time(&self, record: &RecordView<'_>) -> i64 {
        self.timestamp_ms.unwrap_or(record.timestamp_ms)
    }
}

/// The headers of the record that a dead letter was, in their order, and how often it has been
/// replayed with this time: if it dies again, its dead letter says so.
#[derive(Debug)]
pub struct Replayed<'a> {
    prefix: &'a str,
    name: String,
    count: String,
}

impl<'a> Replayed<'a> {
    /// The headers of a record that was replayed `before` times.
    pub fn new(prefix: &'a str, before: u32) -> Self {
        let count = before.saturating_add(1).to_string();
        Self { prefix, name: format!("{prefix}replay.count"), count }
    }

    /// All headers to write.
    pub fn headers<'h>(
        &'h self,
        record: &RecordView<'h>,
    ) -> impl Iterator<Item = (&'h [u8], Option<&'h [u8]>)> + Clone {
        let prefix = self.prefix.as_bytes();
        let own = record.headers.iter().filter(move |(name, _)| !name.starts_with(prefix));
        own.chain(std::iter::once((self.name.as_bytes(), Some(self.count.as_bytes()))))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::dead_letter::{Envelope, Fit, Stage};
    use crate::event::{Reason, Rejection};
    use crate::record::{Header, Headers, Offset};

    const PREFIX: &str = "__dlq.errors.";

    fn owned<'a>(headers: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>) -> Vec<Header> {
        headers
            .map(|(name, value)| Header {
                name: Bytes::copy_from_slice(name),
                value: value.map(Bytes::copy_from_slice),
            })
            .collect()
    }

    #[test]
    fn a_record_dies_is_replayed_and_counted() {
        let own = [(&b"b"[..], None), (b"caf\xe9", Some(&b"1"[..])), (b"b", Some(b""))];
        let came = owned(own.into_iter());
        let mut headers = came.clone();
        let rejection = Rejection::field(Reason::MissingField, "ip", "ip is missing");
        let envelope = Envelope::new(PREFIX, "login-pipeline", "user-login", 3);
        for before in 0..3 {
            let list = headers.clone();
            let record = |headers| RecordView {
                offset: Offset(42),
                timestamp_ms: 1_000,
                key: None,
                value: Some(b"x"),
                headers: Headers::List(headers),
            };
            let dead =
                owned(envelope.letter(&record(&list), Stage::Validate, &rejection, Fit::default(), None).headers());
            let dead = record(&dead);
            let error_headers = ErrorHeaders::of(&dead, PREFIX);
            assert_eq!(
                (error_headers.topic, error_headers.partition, error_headers.offset),
                (Some("user-login"), Some(3), Some(42))
            );
            assert_eq!((error_headers.reason, error_headers.field), (Some("missing_field"), Some("ip")));
            assert_eq!(
                (error_headers.replays, error_headers.truncated_from, error_headers.time(&dead)),
                (before, None, 1_000)
            );
            headers = owned(Replayed::new(PREFIX, error_headers.replays).headers(&dead));
            assert_eq!(headers[..3], came);
            assert_eq!(headers.len(), 4, "one header is added, however often");
        }
        assert_eq!(headers[3].value.as_deref(), Some(&b"3"[..]));
    }

    #[test]
    fn what_was_changed_is_read_back() {
        let envelope = Envelope::new(PREFIX, "login-pipeline", "user-login", 3);
        let rejection = Rejection::record(Reason::TooLarge, "too large");
        let own = [Header { name: "a".into(), value: Some("1".into()) }];
        let record = RecordView {
            offset: Offset(42),
            timestamp_ms: 5,
            key: Some(b"key"),
            value: Some(b"value"),
            headers: Headers::List(&own),
        };
        let none = Fit::default();
        for (fit, key, is_truncated) in [
            (none, Some(&b"key"[..]), false),
            (Fit { keyed: true, ..none }, Some(b"key"), false),
            (Fit { value: Some(1), ..none }, Some(b"key"), true),
            (Fit { key: Some(1), ..none }, Some(b"k"), true),
            (Fit { headers: Some(1), ..none }, Some(b"key"), true),
            (Fit { keyed: true, ..none }, None, false),
        ] {
            let record = RecordView { key: key.and(record.key), ..record };
            let letter = envelope.letter(&record, Stage::Produce, &rejection, fit, None);
            let headers = owned(letter.headers());
            let dead = RecordView { key: letter.key(), headers: Headers::List(&headers), ..record };
            assert!(dead.key.is_some() || !fit.keyed, "no dead letter without a key");
            let error_headers = ErrorHeaders::of(&dead, PREFIX);
            assert_eq!((error_headers.key(&dead), error_headers.is_truncated()), (key, is_truncated), "{fit:?}");
        }
    }

    #[test]
    fn nonsense_is_none() {
        let text = |name: &str, value: &'static str| Header {
            name: format!("{PREFIX}{name}").into(),
            value: Some(value.into()),
        };
        let headers = [text("topic", "a b"), text("partition", "-1"), text("offset", "x"), text("replay.count", "-7")];
        let record =
            RecordView { offset: Offset(0), timestamp_ms: 5, key: None, value: None, headers: Headers::List(&headers) };
        assert_eq!(ErrorHeaders::of(&record, PREFIX), ErrorHeaders::default());
    }
}
