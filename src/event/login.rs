//! The login event and its rules.

mod classes;
mod fields;
mod ipv4;
mod rules;
mod usual;

use std::borrow::Cow;

use self::fields::{Field, Fields};
use self::rules::{
    MAX_LOCALE, MAX_TEXT, MAX_VERSION, check_text, invalid, is_ip, is_version, lower_cased, optional_text, text_of,
    timestamp_of,
};
use super::{Members, Reason, Rejection, Span, Step, Text};

/// What `device_type` becomes where there is none.
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
    pub fn parse(value: &'a [u8]) -> Result<Self, Rejection> {
        usual::parse(value).map_or_else(|| Self::parse_any(value), Ok)
    }

    #[inline(never)]
    fn parse_any(value: &'a [u8]) -> Result<Self, Rejection> {
        if value.is_empty() {
            return Err(Rejection::record(Reason::Tombstone, "the value is empty"));
        }
        let text = simdutf8::basic::from_utf8(value).map_err(|_| not_utf8(value))?;
        let mut fields = Fields::default();
        let close = fields.scan(text)?;
        let field = |field: Field| (field.name(), fields.get(field));
        let span = |field: Field| fields.get(field).map(|value| value.span);

        check_text(text, field(Field::UserId), MAX_TEXT)?;
        let app_version = text_of(text, field(Field::AppVersion), MAX_VERSION)?;
        if !is_version(app_version.as_bytes()) {
            return Err(invalid("app_version", "app_version is not major.minor[.patch[.build]] in digits"));
        }
        let came = optional_text(text, field(Field::DeviceType))?;
        let (device_type, device_type_stays) = match came {
            Some(came) => lower_cased(came.into()),
            None => (UNKNOWN.into(), false),
        };
        if !is_ip(&text_of(text, field(Field::Ip), MAX_TEXT)?) {
            return Err(invalid("ip", "ip is neither an IPv4 nor an IPv6 address"));
        }
        let locale = text_of(text, field(Field::Locale), MAX_LOCALE)?;
        check_text(text, field(Field::DeviceId), MAX_TEXT)?;
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
    pub fn write_enriched(&self, enrichment: &Enrichment<'_>, out: &mut Vec<u8>) {
        const ROOM: usize = 128; // for the new members, device_type as long as any usual one
        out.reserve(self.text.len() + ROOM);
        let text = self.text;
        let members = [
            (self.device_type_at, Added::DeviceType),
            (self.processed_at_at, Added::ProcessedAt),
            (self.latency_ms_at, Added::LatencyMs),
        ];
        let mut there = members;
        if self.processed_at_at.is_some() || self.latency_ms_at.is_some() {
            there.sort_by_key(|(at, _)| *at);
        }
        let mut copied = 0;
        for (at, member) in there {
            let Some(at) = at.map(Span::range) else { continue };
            if member == Added::DeviceType && self.device_type_stays {
                continue;
            }
            out.extend_from_slice(&text[copied..at.start]);
            self.write_value(member, enrichment, out);
            copied = at.end;
        }
        out.extend_from_slice(&text[copied..self.close]);
        for (_, member) in members.into_iter().filter(|(at, _)| at.is_none()) {
            out.extend_from_slice(member.name());
            self.write_value(member, enrichment, out);
        }
        out.extend_from_slice(&text[self.close..]);
    }

    #[inline]
    fn write_value(&self, member: Added, enrichment: &Enrichment<'_>, out: &mut Vec<u8>) {
        match member {
            Added::DeviceType => write_string(self.device_type.as_bytes(), out),
            Added::ProcessedAt => out.extend_from_slice(enrichment.processed_at.as_bytes()),
            Added::LatencyMs => {
                out.extend_from_slice(itoa::Buffer::new().format(enrichment.latency_ms).as_bytes());
            }
        }
    }
}

/// The members that enrichment writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Added {
    DeviceType,
    ProcessedAt,
    LatencyMs,
}

impl Added {
    /// Its name as it follows another member.
    fn name(self) -> &'static [u8] {
        match self {
            Self::DeviceType => b",\"device_type\":",
            Self::ProcessedAt => b",\"processed_at\":",
            Self::LatencyMs => b",\"latency_ms\":",
        }
    }
}

/// Looks again for the place, which is not told where the check was quick.
#[cold]
fn not_utf8(value: &[u8]) -> Rejection {
    let at = std::str::from_utf8(value).map_or_else(|error| error.valid_up_to(), str::len);
    Rejection::record(Reason::InvalidUtf8, format!("the value is not UTF-8 at byte {at}"))
}

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

/// What enrichment adds to an event.
#[derive(Debug, Clone, Copy)]
pub struct Enrichment<'a> {
    /// When the event was processed: RFC 3339, UTC, milliseconds; as JSON writes it, in quotes.
    pub processed_at: &'a str,
    /// How long that was after the event's own timestamp; never negative.
    pub latency_ms: i64,
}

#[cfg(test)]
mod tests;
