//! The login event and its rules.

mod byte_classes;
mod edits;
mod fast_path;
mod fields;
mod ipv4;
mod pseudonymize;
mod rules;

use std::borrow::Cow;

pub use self::edits::{EditOptions, EditPlan, Edits};
pub use self::fields::OWN_FIELDS;
use self::fields::{Field, Fields};
pub use self::pseudonymize::{IdPrivacy, IpPrivacy};
use self::rules::{APP_VERSION, DEVICE_ID, IP, LOCALE, USER_ID, lower_cased, optional_text, timestamp_of};
use super::{Members, Rejection, Span, Step, Text, utf8_text};

/// The `device_type` of an event that has none.
const UNKNOWN: Cow<'static, str> = Cow::Borrowed("unknown");

/// A valid login event, borrowed from the record's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginEvent<'a> {
    /// `device_type` in lower case; `unknown` where it is absent, null or empty.
    pub device_type: Text<'a>,
    /// `app_version`.
    pub app_version: Text<'a>,
    /// `locale`.
    pub locale: Text<'a>,
    /// `timestamp`, in milliseconds since the Unix epoch, whatever unit it came in.
    pub timestamp_ms: i64,
    /// The whole event, which is UTF-8.
    text: &'a [u8],
    close: usize,
    device_type_stays: bool,
    device_type_at: Option<Span>,
    processed_at_at: Option<Span>,
    latency_ms_at: Option<Span>,
}

impl<'a> LoginEvent<'a> {
    /// Parses a record's value and checks every rule of the event.
    ///
    /// # Errors
    /// The first rule that is broken: first of the text, then of the object, then of its fields in
    /// the order of the documentation.
    #[inline(never)] // in a caller that is made small it would be, too
    pub fn parse(value: &'a [u8]) -> Result<Self, Rejection> {
        fast_path::parse(value).map_or_else(|| Self::parse_any(value), Ok)
    }

    /// Parses by the scanner, which knows any event, and says what is wrong with any other text.
    #[inline(never)]
    fn parse_any(value: &'a [u8]) -> Result<Self, Rejection> {
        let text = utf8_text(Some(value))?;
        let mut fields = Fields::default();
        let close = fields.scan(text)?;
        let field = |field: Field| (field.name(), fields.get(field));
        let span = |field: Field| fields.get(field).map(|value| value.span);

        USER_ID.check(text, field(Field::UserId))?;
        let app_version = APP_VERSION.text_of(text, field(Field::AppVersion))?;
        let came = optional_text(text, field(Field::DeviceType))?;
        let (device_type, device_type_stays) = match came {
            Some(came) => lower_cased(came.into()),
            None => (UNKNOWN.into(), false),
        };
        IP.check(text, field(Field::Ip))?;
        let locale = LOCALE.text_of(text, field(Field::Locale))?;
        DEVICE_ID.check(text, field(Field::DeviceId))?;
        let timestamp_ms = timestamp_of(text, field(Field::Timestamp))?;
        Ok(Self {
            device_type,
            app_version: app_version.into(),
            locale: locale.into(),
            timestamp_ms,
            text: value,
            close,
            device_type_stays,
            device_type_at: span(Field::DeviceType),
            processed_at_at: span(Field::ProcessedAt),
            latency_ms_at: span(Field::LatencyMs),
        })
    }

    /// The text of a field: of a string what it says, of anything else as it stands in the event;
    /// `None` where there is none.
    pub fn field(&self, name: &str) -> Option<Cow<'a, str>> {
        let text = std::str::from_utf8(self.text).ok()?;
        let mut members = Members::of(text).ok()?;
        while let Ok(Step::Member(found, value)) = members.step() {
            if found == name {
                return value.text(text).or(Some(Cow::Borrowed(value.raw(text))));
            }
        }
        None
    }

    /// Appends the event with its enriched fields to `out`, every other byte as it came.
    #[inline(never)]
    pub fn write_enriched(&self, enrichment: &Enrichment<'_>, out: &mut Vec<u8>) {
        const ROOM: usize = 128; // for the new members, device_type as long as any usual one
        let text = self.text;
        out.reserve(text.len() + ROOM);
        let mut copied = 0;
        let mut replace = |at: Span, write: Write<'_>| {
            let at = at.range();
            out.extend_from_slice(&text[copied..at.start]);
            write(out);
            copied = at.end;
        };
        let device_type = |out: &mut Vec<u8>| write_string(self.device_type.as_bytes(), out);
        let processed_at = |out: &mut Vec<u8>| out.extend_from_slice(enrichment.processed_at);
        let latency_ms = |out: &mut Vec<u8>| write_number(enrichment.latency_ms, out);
        let changed = self.device_type_at.filter(|_| !self.device_type_stays);
        if self.processed_at_at.is_none() && self.latency_ms_at.is_none() {
            if let Some(at) = changed {
                replace(at, &device_type);
            }
        } else {
            let mut there: [(_, Write<'_>); 3] =
                [(changed, &device_type), (self.processed_at_at, &processed_at), (self.latency_ms_at, &latency_ms)];
            there.sort_by_key(|(at, _)| *at);
            there.iter().filter_map(|(at, write)| at.zip(Some(write))).for_each(|(at, write)| replace(at, write));
        }
        out.extend_from_slice(&text[copied..self.close]);
        if self.device_type_at.is_none() {
            out.extend_from_slice(b",\"device_type\":");
            device_type(out);
        }
        if self.processed_at_at.is_none() {
            out.extend_from_slice(b",\"processed_at\":");
            processed_at(out);
        }
        if self.latency_ms_at.is_none() {
            out.extend_from_slice(b",\"latency_ms\":");
            latency_ms(out);
        }
        match &text[self.close..] {
            b"}" => out.push(b'}'),
            rest => out.extend_from_slice(rest),
        }
    }
}

/// The writer of a member.
type Write<'w> = &'w dyn Fn(&mut Vec<u8>);

/// Writes a JSON string.
#[inline]
fn write_string(text: &[u8], out: &mut Vec<u8>) {
    let plain = |byte: &u8| *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
    if text.iter().all(plain) {
        out.push(b'"');
        out.extend_from_slice(text);
        out.push(b'"');
    } else if serde_json::to_writer(&mut *out, &String::from_utf8_lossy(text)).is_err() {
        unreachable!("a string is always written to memory");
    }
}

fn write_number(number: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// A time as RFC 3339 has it, UTC, with milliseconds; a JSON string, quotes included.
pub type Rfc3339Json = [u8; 26];

/// The fields that enrichment adds to an event.
#[derive(Debug, Clone, Copy)]
pub struct Enrichment<'a> {
    /// The time at which the event was processed.
    pub processed_at: &'a Rfc3339Json,
    /// The time from the event's own timestamp to that; never negative.
    pub latency_ms: i64,
}

#[cfg(test)]
mod tests;
