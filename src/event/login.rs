//! The login event and its rules.

use std::borrow::Cow;
use std::net::IpAddr;
use std::ops::Range;

use super::{Kind, MAX_DEPTH, Members, Names, Reason, Rejection, ScanError, Step, Value};
use crate::splice::{Pieces, Splice};

/// Whole seconds lie below this, milliseconds at or above it: it is the year 5138 in the one and
/// 1973 in the other.
const FIRST_MILLISECONDS: i64 = 100_000_000_000;

/// The longest of the three identifying texts, in bytes.
const MAX_TEXT: usize = 256;

/// The longest locale, in bytes: what BCP 47 asks everyone to have room for.
const MAX_LOCALE: usize = 35;

/// The longest app version, in bytes.
const MAX_VERSION: usize = 64;

/// A valid login event, borrowed from the record's value.
#[derive(Debug, Clone)]
pub struct LoginEvent<'a> {
    /// `device_type` in lower case; `unknown` where it is absent, null or empty.
    pub device_type: Cow<'a, str>,
    /// `app_version`.
    pub app_version: Cow<'a, str>,
    /// `locale`.
    pub locale: Cow<'a, str>,
    /// `timestamp`, in milliseconds since the Unix epoch, whatever unit it came in.
    pub timestamp_ms: i64,
    text: &'a str,
    close: usize,
    device_type_stays: bool,
    device_type_at: Option<Range<usize>>,
    processed_at_at: Option<Range<usize>>,
    latency_ms_at: Option<Range<usize>>,
}

impl<'a> LoginEvent<'a> {
    /// Parses a record's value and checks every rule of the event.
    ///
    /// # Errors
    /// The first rule that is broken: first of the text, then of the object, then of its fields in
    /// the order of the documentation.
    pub fn parse(value: &'a [u8]) -> Result<Self, Rejection> {
        if value.is_empty() {
            return Err(Rejection::record(Reason::Tombstone, "the value is empty"));
        }
        let text = std::str::from_utf8(value).map_err(|error| {
            Rejection::record(Reason::InvalidUtf8, format!("the value is not UTF-8 at byte {}", error.valid_up_to()))
        })?;
        let mut fields = Fields::default();
        let close = fields.scan(text)?;
        let Fields { user_id, app_version, device_type, ip, locale, device_id, timestamp, processed_at, latency_ms } =
            fields;

        text_of("user_id", user_id, MAX_TEXT)?;
        let app_version = text_of("app_version", app_version, MAX_VERSION)?;
        if !is_version(&app_version) {
            return Err(invalid("app_version", "app_version is not major.minor[.patch[.build]] in digits"));
        }
        let device_type_at = device_type.map(|value| value.span());
        let came = optional_text("device_type", device_type)?;
        let device_type = came.clone().map_or(Cow::Borrowed("unknown"), lower_cased);
        let device_type_stays = came.as_ref() == Some(&device_type);
        if text_of("ip", ip, MAX_TEXT)?.parse::<IpAddr>().is_err() {
            return Err(invalid("ip", "ip is neither an IPv4 nor an IPv6 address"));
        }
        let locale = text_of("locale", locale, MAX_LOCALE)?;
        text_of("device_id", device_id, MAX_TEXT)?;
        let timestamp_ms = timestamp_of(timestamp)?;
        Ok(Self {
            device_type,
            app_version,
            locale,
            timestamp_ms,
            text,
            close,
            device_type_stays,
            device_type_at,
            processed_at_at: processed_at.map(|value| value.span()),
            latency_ms_at: latency_ms.map(|value| value.span()),
        })
    }

    /// The text of a field: of a string what it says, of anything else as it stands in the event;
    /// `None` where there is none.
    pub fn field(&self, name: &str) -> Option<Cow<'a, str>> {
        let mut members = Members::of(self.text).ok()?;
        while let Ok(Step::Member(found, value)) = members.step() {
            if found == name {
                return value.text().or(Some(Cow::Borrowed(value.raw)));
            }
        }
        None
    }

    /// The event with its enriched fields, every other byte as it came.
    ///
    /// `inserted` is room for what is new; what it held is lost.
    pub fn enriched<'o>(&self, enrichment: &Enrichment<'_>, inserted: &'o mut Vec<u8>) -> Pieces<'o>
    where
        'a: 'o,
    {
        inserted.clear();
        let device_type = self.write_device_type(inserted);
        let processed_at = written(inserted, |out| {
            out.push(b'"');
            out.extend_from_slice(enrichment.processed_at.as_bytes());
            out.push(b'"');
        });
        let latency_ms = written(inserted, |out| {
            out.extend_from_slice(itoa::Buffer::new().format(enrichment.latency_ms).as_bytes());
        });
        let members = [
            ("device_type", &self.device_type_at, device_type),
            ("processed_at", &self.processed_at_at, Some(processed_at)),
            ("latency_ms", &self.latency_ms_at, Some(latency_ms)),
        ];
        let appended = written(inserted, |out| {
            for (name, at, value) in &members {
                if let (None, Some(value)) = (at, value) {
                    out.extend_from_slice(b",\"");
                    out.extend_from_slice(name.as_bytes());
                    out.extend_from_slice(b"\":");
                    out.extend_from_within(value.clone());
                }
            }
        });
        let inserted: &'o [u8] = inserted;
        let text: &'o str = self.text;
        let mut splice = Splice::of(text).replace(self.close..self.close, &inserted[appended]);
        for (_, at, value) in members {
            if let (Some(at), Some(value)) = (at, value) {
                splice = splice.replace(at.clone(), &inserted[value]);
            }
        }
        splice.pieces()
    }

    /// Writes the value that `device_type` must have, in JSON; `None` where it has it.
    fn write_device_type(&self, out: &mut Vec<u8>) -> Option<Range<usize>> {
        if self.device_type_stays {
            return None;
        }
        let start = out.len();
        match serde_json::to_writer(&mut *out, &self.device_type) {
            Ok(()) => Some(start..out.len()),
            Err(_) => unreachable!("a string is always written to memory"),
        }
    }
}

/// What enrichment adds to an event.
#[derive(Debug, Clone, Copy)]
pub struct Enrichment<'a> {
    /// When the event was processed: RFC 3339, UTC, milliseconds.
    pub processed_at: &'a str,
    /// How long that was after the event's own timestamp; never negative.
    pub latency_ms: i64,
}

/// Runs `write` and says where in `out` its text lies.
fn written(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
    let start = out.len();
    write(out);
    start..out.len()
}

/// The members that the event knows, as they lie.
#[derive(Debug, Default)]
struct Fields<'a> {
    user_id: Option<Value<'a>>,
    app_version: Option<Value<'a>>,
    device_type: Option<Value<'a>>,
    ip: Option<Value<'a>>,
    locale: Option<Value<'a>>,
    device_id: Option<Value<'a>>,
    timestamp: Option<Value<'a>>,
    processed_at: Option<Value<'a>>,
    latency_ms: Option<Value<'a>>,
}

impl<'a> Fields<'a> {
    /// Finds the fields and returns the place of the closing brace.
    ///
    /// A duplicate is told only when the whole text has proved to be JSON.
    fn scan(&mut self, text: &'a str) -> Result<usize, Rejection> {
        let mut members = Members::of(text).map_err(unreadable)?;
        let mut others: Option<Names<'_>> = None;
        let mut duplicate = None;
        loop {
            match members.step().map_err(unreadable)? {
                Step::End(close) => return duplicate.map_or(Ok(close), Err),
                Step::Member(name, value) => {
                    let twice = match self.slot(&name) {
                        Some((known, slot)) => slot.replace(value).is_some().then_some(Some(known)),
                        None => (!others.get_or_insert_default().insert(name)).then_some(None),
                    };
                    if let (Some(field), None) = (twice, &duplicate) {
                        let message = Cow::Borrowed("a field occurs twice");
                        duplicate = Some(Rejection { reason: Reason::DuplicateField, field, message });
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn slot(&mut self, name: &str) -> Option<(&'static str, &mut Option<Value<'a>>)> {
        Some(match name {
            "user_id" => ("user_id", &mut self.user_id),
            "app_version" => ("app_version", &mut self.app_version),
            "device_type" => ("device_type", &mut self.device_type),
            "ip" => ("ip", &mut self.ip),
            "locale" => ("locale", &mut self.locale),
            "device_id" => ("device_id", &mut self.device_id),
            "timestamp" => ("timestamp", &mut self.timestamp),
            "processed_at" => ("processed_at", &mut self.processed_at),
            "latency_ms" => ("latency_ms", &mut self.latency_ms),
            _ => return None,
        })
    }
}

fn unreadable(error: ScanError) -> Rejection {
    match error {
        ScanError::Malformed(at) => {
            Rejection::record(Reason::MalformedJson, format!("the value is not JSON at byte {at}"))
        }
        ScanError::NotAnObject => Rejection::record(Reason::NotAnObject, "the value is JSON, but not an object"),
        ScanError::TooDeep => Rejection::record(Reason::TooDeep, format!("the value nests deeper than {MAX_DEPTH}")),
    }
}

fn invalid(field: &'static str, message: impl Into<Cow<'static, str>>) -> Rejection {
    Rejection::field(Reason::InvalidValue, field, message)
}

#[inline(always)]
fn required<'a>(field: &'static str, value: Option<Value<'a>>) -> Result<Value<'a>, Rejection> {
    match value {
        None => Err(Rejection::field(Reason::MissingField, field, format!("{field} is missing"))),
        Some(value) if value.kind == Kind::Null => {
            Err(Rejection::field(Reason::MissingField, field, format!("{field} is null")))
        }
        Some(value) => Ok(value),
    }
}

/// The text of a required field that is 1 to `most` bytes long.
#[inline(always)]
fn text_of<'a>(field: &'static str, value: Option<Value<'a>>, most: usize) -> Result<Cow<'a, str>, Rejection> {
    let text = string_of(field, required(field, value)?)?;
    if text.is_empty() || text.len() > most {
        return Err(invalid(field, format!("{field} is not 1 to {most} bytes long")));
    }
    Ok(text)
}

/// The text of an optional field; `None` where it is absent, null or empty.
fn optional_text<'a>(field: &'static str, value: Option<Value<'a>>) -> Result<Option<Cow<'a, str>>, Rejection> {
    let Some(value) = value.filter(|value| value.kind != Kind::Null) else { return Ok(None) };
    let text = string_of(field, value)?;
    if text.len() > MAX_TEXT {
        return Err(invalid(field, format!("{field} is longer than {MAX_TEXT} bytes")));
    }
    Ok(Some(text).filter(|text| !text.is_empty()))
}

#[inline(always)]
fn string_of<'a>(field: &'static str, value: Value<'a>) -> Result<Cow<'a, str>, Rejection> {
    if !matches!(value.kind, Kind::String { .. }) {
        return Err(Rejection::field(Reason::WrongType, field, format!("{field} is not a string")));
    }
    value.text().ok_or_else(|| invalid(field, format!("{field} holds half of a surrogate pair")))
}

fn lower_cased(text: Cow<'_, str>) -> Cow<'_, str> {
    if text == "iOS" {
        return Cow::Borrowed("ios"); // half of all events: spare the allocation
    }
    if text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        return text;
    }
    Cow::Owned(text.to_lowercase())
}

fn is_version(text: &str) -> bool {
    let (mut dots, mut digits) = (0, 0);
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' => digits += 1,
            b'.' if digits > 0 => (dots, digits) = (dots + 1, 0),
            _ => return false,
        }
    }
    digits > 0 && (1..=3).contains(&dots)
}

fn timestamp_of(value: Option<Value<'_>>) -> Result<i64, Rejection> {
    const FIELD: &str = "timestamp";
    let value = required(FIELD, value)?;
    let text = match value.kind {
        Kind::Number if !value.raw.contains(['.', 'e', 'E']) => Cow::Borrowed(value.raw),
        Kind::String { .. } => string_of(FIELD, value)?,
        _ => return Err(Rejection::field(Reason::WrongType, FIELD, "timestamp is not an integer")),
    };
    let number = decimal(&text).ok_or_else(|| invalid(FIELD, "timestamp is not a positive integer below 2^63"))?;
    match number {
        0 => Err(invalid(FIELD, "timestamp is zero")),
        FIRST_MILLISECONDS.. => Ok(number),
        seconds => Ok(seconds.saturating_mul(1000)),
    }
}

/// The number that digits, and nothing else, write.
fn decimal(text: &str) -> Option<i64> {
    let mut digits = text.bytes().map(|byte| byte.is_ascii_digit().then(|| i64::from(byte - b'0')));
    let number = digits.try_fold(0_i64, |number, digit| number.checked_mul(10)?.checked_add(digit?));
    number.filter(|_| !text.is_empty())
}

#[cfg(test)]
mod tests;
