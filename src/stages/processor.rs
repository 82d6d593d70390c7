//! What an event type is to the engine: a [`Processor`].

use std::borrow::Cow;

use crate::event::Rejection;
use crate::observe::{Dimensions, Tally};
use crate::record::RecordView;

/// The rules of one event type. Pure: no clock, no I/O, nothing remembered between records, so
/// that a batch may be processed again and give the same.
///
/// A panic in any of these is caught, and the record dead-lettered.
pub trait Processor: Send + Sync + 'static {
    /// The event, borrowed from the record.
    type Event<'a>;

    /// The names of what [`Processor::count`] counts, in its order.
    const DIMENSIONS: Dimensions;

    /// Parses a record and checks every rule.
    ///
    /// # Errors
    /// The first rule that is broken.
    fn validate<'a>(&self, record: &RecordView<'a>) -> Result<Self::Event<'a>, Rejection>;

    /// Appends the value to write to `out`.
    fn enrich(&self, event: &Self::Event<'_>, now: &Now, out: &mut Vec<u8>) -> Enriched;

    /// The text of a field, for route rules; `None` where the event has none of that name.
    fn field<'e>(&self, event: &'e Self::Event<'_>, name: &str) -> Option<Cow<'e, str>>;

    /// Counts what people watch of a good event: one value for each of its dimensions.
    fn count(&self, event: &Self::Event<'_>, tally: &mut Tally);
}

/// What a processor says of a good event.
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
    /// The same as RFC 3339, UTC, with milliseconds; a JSON string, quotes included.
    pub rfc3339_json: String,
}

impl Now {
    /// The given time, milliseconds since the Unix epoch.
    pub fn from_unix_ms(unix_ms: i64) -> Self {
        let time = chrono::DateTime::from_timestamp_millis(unix_ms).unwrap_or_default();
        Self { unix_ms, rfc3339_json: time.format("\"%Y-%m-%dT%H:%M:%S%.3fZ\"").to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_has_milliseconds_always() {
        assert_eq!(Now::from_unix_ms(1_694_479_551_000).rfc3339_json, "\"2023-09-12T00:45:51.000Z\"");
        assert_eq!(Now::from_unix_ms(1_694_479_551_007).rfc3339_json, "\"2023-09-12T00:45:51.007Z\"");
    }
}
