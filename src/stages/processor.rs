//! An event type, as the engine sees it: a [`Processor`].

use std::borrow::Cow;

use crate::event::{Rejection, Rfc3339Json};
use crate::observe::{Dimensions, Tally};
use crate::record::RecordView;

/// The rules of one event type. Pure: no clock, no I/O, nothing remembered between records, so
/// that a batch may be processed again and give the same. What changes by itself, such as a database, is held for that
/// long.
///
/// A panic in any of these is caught, and the record dead-lettered.
pub trait Processor: Send + Sync + 'static {
    /// The event, borrowed from the record.
    type Event<'a>;

    /// The name in logs and on the status page.
    const NAME: &'static str;

    /// The names of what [`Processor::count`] counts, in its order. Values are shown that are short names (48
    /// bytes); addresses, UUIDs and all else count as `(other)`.
    const DIMENSIONS: Dimensions;

    /// Holds what changes by itself as it is now, until [`Processor::release`].
    fn hold(&mut self) {}

    /// Lets go of what it holds.
    fn release(&mut self) {}

    /// Parses a record and checks every rule.
    ///
    /// # Errors
    /// The first rule that is broken.
    fn validate<'a>(&self, record: &RecordView<'a>) -> Result<Self::Event<'a>, Rejection>;

    /// Appends the value to write to `out`.
    fn enrich(&self, event: &Self::Event<'_>, now: &Now, out: &mut Vec<u8>) -> Enriched;

    /// The text of a field as it is written now, for route rules; `None` where it is not written.
    fn field<'e>(&self, event: &'e Self::Event<'_>, name: &str, now: &Now) -> Option<Cow<'e, str>>;

    /// Counts what people watch of a good event: one value for each of its dimensions.
    fn count(&self, event: &Self::Event<'_>, tally: &mut Tally);

    /// The key that the output is written with: the record's own, unless that says what the value is
    /// not to say.
    #[inline]
    fn key<'k>(&self, _event: &'k Self::Event<'_>, key: Option<&'k [u8]>) -> Option<&'k [u8]> {
        key
    }
}

/// The findings of a processor about a good event.
#[derive(Debug, Clone, Copy)]
pub struct Enriched {
    /// Whether the event claims to come from the future.
    pub clock_skewed: bool,
}

/// The time at which a batch is processed, read once for all its records.
#[derive(Debug, Clone)]
pub struct Now {
    /// Milliseconds since the Unix epoch.
    pub unix_ms: i64,
    /// The time for people.
    pub rfc3339_json: Rfc3339Json,
}

impl Now {
    /// The time for people, as `2026-01-02T03:04:05.678Z`.
    pub fn rfc3339(&self) -> &str {
        std::str::from_utf8(&self.rfc3339_json).unwrap_or_default().trim_matches('"')
    }
}

impl Now {
    /// The given time, milliseconds since the Unix epoch. One that RFC 3339 has no text for, of a year
    /// without four digits, reads as the epoch's.
    pub fn from_unix_ms(unix_ms: i64) -> Self {
        let time = chrono::DateTime::from_timestamp_millis(unix_ms).unwrap_or_default();
        let text = format!("\"{}\"", time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true));
        Self { unix_ms, rfc3339_json: text.as_bytes().try_into().unwrap_or(*b"\"1970-01-01T00:00:00.000Z\"") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_has_milliseconds_always() {
        assert_eq!(Now::from_unix_ms(1_694_479_551_000).rfc3339_json, *b"\"2023-09-12T00:45:51.000Z\"");
        assert_eq!(Now::from_unix_ms(i64::MAX).rfc3339_json, *b"\"1970-01-01T00:00:00.000Z\"");
        assert_eq!(Now::from_unix_ms(253_402_300_800_000).rfc3339_json, *b"\"1970-01-01T00:00:00.000Z\"");
        assert_eq!(Now::from_unix_ms(1_694_479_551_007).rfc3339_json, *b"\"2023-09-12T00:45:51.007Z\"");
    }
}
