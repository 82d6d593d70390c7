//! The rules of the event's fields.

use std::borrow::Cow;
use std::net::IpAddr;

use super::ipv4::is_ipv4;
use crate::{Kind, Reason, Rejection, Text, Value, are_digits};

/// Whole seconds lie below this, milliseconds at or above it: it is the year 5138 in the one and
/// 1973 in the other.
const FIRST_MILLISECONDS: i64 = 100_000_000_000;

/// The first millisecond behind the year 2100. What lies there is micro- or nanoseconds, or a clock that
/// has gone wild: no login is of that time, and a latency from it says nothing.
const FIRST_BEYOND: i64 = 4_133_980_800_000;

/// The longest of the three identifying texts, in bytes.
pub(super) const MAX_TEXT: usize = 256;

pub(super) const USER_ID: TextRule = TextRule::of_length(MAX_TEXT);

pub(super) const DEVICE_ID: TextRule = TextRule::of_length(MAX_TEXT);

/// A locale is no longer than what BCP 47 asks everyone to have room for.
pub(super) const LOCALE: TextRule = TextRule::of_length(35);

pub(super) const APP_VERSION: TextRule =
    TextRule { most: 64, holds: is_version, otherwise: "app_version is not major.minor[.patch[.build]] in digits" };

pub(super) const IP: TextRule =
    TextRule { most: MAX_TEXT, holds: is_ip, otherwise: "ip is neither an IPv4 nor an IPv6 address" };

/// The rule of a required text field, by which the scanner and the fast path go.
pub(super) struct TextRule {
    /// The longest text, in bytes. The shortest is one.
    pub(super) most: usize,
    /// What else must hold of it.
    pub(super) holds: fn(&[u8]) -> bool,
    /// What a sender is told where that does not hold.
    otherwise: &'static str,
}

impl TextRule {
    const fn of_length(most: usize) -> Self {
        Self { most, holds: |_| true, otherwise: "" }
    }

    /// Checks a field without taking its text.
    #[inline(always)]
    pub(super) fn check(&self, text: &str, named: Named) -> Result<(), Rejection> {
        let is_right = |value: Value| {
            let inside = || value.raw(text).as_bytes().split_first().and_then(|(_, rest)| rest.split_last());
            value.kind == (Kind::String { escaped: false })
                && (3..=self.most + 2).contains(&value.span.bytes())
                && inside().is_some_and(|(_, inside)| (self.holds)(inside))
        };
        if named.1.is_some_and(is_right) { Ok(()) } else { self.text_of(text, named).map(drop) }
    }

    /// The text of a field.
    #[inline(always)]
    pub(super) fn text_of<'t>(&self, text: &'t str, named: Named) -> Result<Cow<'t, str>, Rejection> {
        let found = string_of(text, named.0, required(named)?)?;
        if found.is_empty() || found.len() > self.most {
            return Err(too_long_or_empty(named.0, self.most));
        }
        if !(self.holds)(found.as_bytes()) {
            return Err(invalid(named.0, self.otherwise));
        }
        Ok(found)
    }
}

/// A field's name and its value, where it has one.
pub(super) type Named = (&'static str, Option<Value>);

pub(super) fn invalid(field: &'static str, message: impl Into<Cow<'static, str>>) -> Rejection {
    Rejection::field(Reason::InvalidValue, field, message)
}

#[inline]
fn required((field, value): Named) -> Result<Value, Rejection> {
    match value {
        Some(value) if value.kind != Kind::Null => Ok(value),
        value => Err(missing(field, value)),
    }
}

/// The text of an optional field; `None` where it is absent, null or empty.
#[inline]
pub(super) fn optional_text(text: &str, (field, value): Named) -> Result<Option<Cow<'_, str>>, Rejection> {
    let Some(value) = value.filter(|value| value.kind != Kind::Null) else { return Ok(None) };
    let found = string_of(text, field, value)?;
    if found.len() > MAX_TEXT {
        return Err(invalid(field, format!("{field} is longer than {MAX_TEXT} bytes")));
    }
    Ok(Some(found).filter(|found| !found.is_empty()))
}

#[inline]
fn string_of<'a>(text: &'a str, field: &'static str, value: Value) -> Result<Cow<'a, str>, Rejection> {
    value.text(text).ok_or_else(|| not_text(field, value))
}

#[cold]
fn missing(field: &'static str, value: Option<Value>) -> Rejection {
    let message = if value.is_some() { "is null" } else { "is missing" };
    Rejection::field(Reason::MissingField, field, format!("{field} {message}"))
}

#[cold]
fn not_text(field: &'static str, value: Value) -> Rejection {
    match value.kind {
        Kind::String { .. } => invalid(field, format!("{field} holds half of a surrogate pair")),
        _ => Rejection::field(Reason::WrongType, field, format!("{field} is not a string")),
    }
}

#[cold]
fn too_long_or_empty(field: &'static str, most: usize) -> Rejection {
    invalid(field, format!("{field} is not 1 to {most} bytes long"))
}

/// The text in lower case, and whether it was. Nearly all are one of two.
#[inline(always)]
pub(super) fn lower_cased(text: Text<'_>) -> (Text<'_>, bool) {
    match text.as_bytes() {
        b"android" => (text, true),
        b"iOS" => (Text::known(b"ios"), false),
        _ => any_lower_cased(text),
    }
}

#[inline(never)]
fn any_lower_cased(text: Text<'_>) -> (Text<'_>, bool) {
    if text.as_bytes().iter().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        return (text, true);
    }
    let lower = Text::from(Cow::Owned(text.to_str().to_lowercase()));
    let same = lower == text;
    (lower, same)
}

fn is_version(text: &[u8]) -> bool {
    let (mut dots, mut digits) = (0, 0);
    for byte in text {
        match byte {
            b'0'..=b'9' => digits += 1,
            b'.' if digits > 0 => (dots, digits) = (dots + 1, 0),
            _ => return false,
        }
    }
    digits > 0 && (1..=3).contains(&dots)
}

pub(super) fn timestamp_of(text: &str, named: Named) -> Result<i64, Rejection> {
    const FIELD: &str = "timestamp";
    let value = required(named)?;
    let text = match value.kind {
        Kind::Number { integer: true } => Cow::Borrowed(value.raw(text)),
        Kind::String { .. } => string_of(text, FIELD, value)?,
        _ => return Err(Rejection::field(Reason::WrongType, FIELD, "timestamp is not an integer")),
    };
    let number = decimal(text.as_bytes());
    let number = number.ok_or_else(|| invalid(FIELD, "timestamp is not a positive integer below 2^63"))?;
    milliseconds(number).ok_or_else(|| {
        let beyond =
            "timestamp is beyond the year 2100: it is to be in seconds or milliseconds, not micro- or nanoseconds";
        invalid(FIELD, if number == 0 { "timestamp is zero" } else { beyond })
    })
}

/// A timestamp of either unit in milliseconds; `None` where it is zero, or beyond the year 2100.
pub(super) fn milliseconds(timestamp: i64) -> Option<i64> {
    let milliseconds = if timestamp < FIRST_MILLISECONDS { timestamp.saturating_mul(1000) } else { timestamp };
    (1..FIRST_BEYOND).contains(&milliseconds).then_some(milliseconds)
}

/// The number that digits, and nothing else, write.
pub(super) fn decimal(text: &[u8]) -> Option<i64> {
    const NEVER_TOO_LARGE: usize = 18;
    let mut rest = text;
    let mut number = 0_i64;
    if rest.len() <= NEVER_TOO_LARGE
        && let Some((eight, behind)) = rest.split_first_chunk()
    {
        number = eight_digits(u64::from_le_bytes(*eight))?;
        rest = behind;
    }
    let joined = rest.iter().try_fold(number, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 { None } else { number.checked_mul(10)?.checked_add(i64::from(digit)) }
    });
    joined.filter(|_| !text.is_empty())
}

/// The number that eight digits write, the first in the lowest byte: pairs are joined, then pairs of
/// pairs, then both halves.
fn eight_digits(text: u64) -> Option<i64> {
    if !are_digits(text) {
        return None;
    }
    let digits = text & 0x0f0f_0f0f_0f0f_0f0f;
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    let number = (fours * 10_000 + (fours >> 32)) & 0xffff_ffff;
    i64::try_from(number).ok()
}

/// Tells whether the text is an address as the standard library reads them; nearly all are IPv4, which
/// is told here at a fraction of the cost.
pub(super) fn is_ip(text: &[u8]) -> bool {
    is_ipv4(text) || std::str::from_utf8(text).is_ok_and(|text| text.parse::<IpAddr>().is_ok())
}
