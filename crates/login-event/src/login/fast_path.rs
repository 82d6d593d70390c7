//! The fast path: an event as nearly all senders write it, read and checked at a fraction of the scanner's cost:
//! plain ASCII, no escapes, no white space, the fields in the usual order and no others. What differs
//! in anything, or breaks a rule, is left to the scanner; a test holds the two against each other.

use super::ipv4::{holds_ipv4, window};
use super::rules::{APP_VERSION, DEVICE_ID, LOCALE, MAX_TEXT, TextRule, USER_ID, decimal, lower_cased, milliseconds};
use super::{LoginEvent, UNKNOWN};
use crate::{Span, Text, are_digits};

/// Reads an event of the one form that nearly all have; `None` for any other.
#[inline]
pub(super) fn parse(value: &[u8]) -> Option<LoginEvent<'_>> {
    if !is_plain(value) {
        return None;
    }
    let mut cursor = Cursor { bytes: value, at: 0 };
    cursor.text(b"{\"user_id\":\"", &USER_ID)?;
    let app_version = cursor.text(b",\"app_version\":\"", &APP_VERSION)?;
    let ip = cursor.string(b",\"ip\":\"", MAX_TEXT)?;
    let locale = cursor.text(b",\"locale\":\"", &LOCALE)?;
    cursor.text(b",\"device_id\":\"", &DEVICE_ID)?;
    let timestamp = cursor.digits(b",\"timestamp\":")?;
    let device_type = cursor.string(b",\"device_type\":\"", MAX_TEXT);
    if value.get(cursor.at..)? != b"}" {
        return None;
    }
    if !holds_ipv4(window(value, ip.start)?, ip.length()) {
        return None;
    }
    let (lower, stays) = device_type.map_or((UNKNOWN.into(), false), |inside| lower_cased(inside.of(value)));
    Some(LoginEvent {
        device_type: lower,
        app_version: app_version.of(value),
        locale: locale.of(value),
        timestamp_ms: milliseconds(decimal(timestamp)?)?,
        text: value,
        close: cursor.at,
        device_type_stays: stays,
        device_type_at: device_type.map(|inside| Span::new(inside.start - 1, inside.end + 1)),
        processed_at_at: None,
        latency_ms_at: None,
    })
}

/// Tells whether all is ASCII without control characters and backslashes. Without a branch for each byte,
/// and whole chunks only: the last overlaps the one before it.
#[inline]
fn is_plain(bytes: &[u8]) -> bool {
    const LAST_CONTROL: i8 = 0x1f;
    // What is no ASCII is negative.
    let plain = |byte: u8| (byte.cast_signed() > LAST_CONTROL) & (byte != b'\\');
    let all_plain = |chunk: &[u8; 32]| chunk.iter().fold(true, |all, byte| all & plain(*byte));
    let (chunks, _) = bytes.as_chunks();
    bytes.last_chunk().is_some_and(all_plain) && chunks.iter().fold(true, |all, chunk| all & all_plain(chunk))
}

/// Where the inside of a string lies.
#[derive(Debug, Clone, Copy)]
struct Inside {
    start: usize,
    end: usize,
}

impl Inside {
    #[inline(always)]
    fn length(self) -> usize {
        self.end - self.start
    }

    #[inline(always)]
    fn of(self, value: &[u8]) -> Text<'_> {
        Text::known(value.get(self.start..self.end).unwrap_or_default())
    }
}

/// A place in plain text.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The place behind `opening`, where that stands here.
    #[inline(always)]
    fn opened<const N: usize>(&self, opening: &[u8; N]) -> Option<usize> {
        let here: &[u8; N] = self.bytes.get(self.at..)?.first_chunk()?;
        (here == opening).then_some(self.at + N)
    }

    /// The string of which a rule holds, behind `opening`.
    #[inline(always)]
    fn text<const N: usize>(&mut self, opening: &[u8; N], rule: &TextRule) -> Option<Inside> {
        let inside = self.string(opening, rule.most)?;
        (rule.holds)(inside.of(self.bytes).as_bytes()).then_some(inside)
    }

    /// The string of 1 to `most` bytes whose first quote ends `opening`. Where there is none, it is not
    /// passed: what may be absent is not to be taken for that where it is wrong.
    #[inline(always)]
    fn string<const N: usize>(&mut self, opening: &[u8; N], most: usize) -> Option<Inside> {
        let start = self.opened(opening)?;
        let inside = Inside { start, end: self.quote(start)? };
        if !(1..=most).contains(&inside.length()) {
            return None;
        }
        self.at = inside.end + 1;
        Some(inside)
    }

    /// The digits behind `opening`, as JSON has them.
    #[inline(always)]
    fn digits<const N: usize>(&mut self, opening: &[u8; N]) -> Option<&'a [u8]> {
        self.at = self.opened(opening)?;
        let rest = self.bytes.get(self.at..)?;
        let eight = rest.first_chunk().is_some_and(|eight| are_digits(u64::from_le_bytes(*eight)));
        let sure = if eight { 8 } else { 0 };
        let count = sure + rest.get(sure..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        rest.get(..count).filter(|digits| digits.first() != Some(&b'0'))
    }

    /// Where the next quote stands from `at` on, looked for eight bytes at a time.
    #[inline(always)]
    fn quote(&self, mut at: usize) -> Option<usize> {
        const HIGH: u64 = 0x8080_8080_8080_8080;
        const QUOTES: u64 = 0x2222_2222_2222_2222;
        while let Some(eight) = self.bytes.get(at..).and_then(|rest| rest.first_chunk()) {
            // The quote alone becomes zero, and zero alone stays below the high bit: all is ASCII.
            let others = (u64::from_le_bytes(*eight) ^ QUOTES) + !HIGH;
            if others & HIGH != HIGH {
                let first = (!others & HIGH).trailing_zeros() / 8;
                return Some(at + usize::try_from(first).ok()?);
            }
            at += 8;
        }
        let rest = self.bytes.get(at..)?;
        rest.iter().position(|byte| *byte == b'"').map(|behind| at + behind)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REAL: &str = r#"{"user_id":"424cdd21-063a-43a7-b91b-7ca1a833afae","app_version":"2.3.0","ip":"199.172.111.135","locale":"RU","device_id":"593-47-5928","timestamp":1694479551,"device_type":"android"}"#;

    /// Holds the fast path against the scanner, which must give the same event. Returns whether it gave one.
    fn agrees(text: &str) -> Result<bool, TestCaseError> {
        let Some(event) = parse(text.as_bytes()) else { return Ok(false) };
        prop_assert_eq!(Ok(event), LoginEvent::parse_any(text.as_bytes()), "{}", text);
        Ok(true)
    }

    #[test]
    fn takes_real_events() {
        assert!(agrees(REAL).unwrap());
        assert!(agrees(&REAL.replace(",\"device_type\":\"android\"", "")).unwrap());
        for device_type in ["iOS", "ANDROID", "x"] {
            assert!(agrees(&REAL.replace("android", device_type)).unwrap());
        }
        assert!(agrees(&REAL.replace("199.172.111.135", "0.0.0.0")).unwrap());
        for timestamp in ["1694479551000", "4133980799", "4133980799999"] {
            assert!(agrees(&REAL.replace("1694479551", timestamp)).unwrap());
        }
    }

    /// The closing brace stands right where the value would begin: it was taken for that of an event without the field, and
    /// what was written was no JSON. Found by fuzzing.
    #[test]
    fn a_device_type_that_does_not_end_is_not_one_that_is_absent() {
        let unfinished = REAL.replace("android\"", "");
        assert!(unfinished.ends_with(",\"device_type\":\"}"));
        assert!(!agrees(&unfinished).unwrap());
        assert!(LoginEvent::parse(unfinished.as_bytes()).is_err());
    }

    #[test]
    fn leaves_the_rest_to_the_scanner() {
        let unusual = [
            REAL.replace("RU", "é"),
            REAL.replace("RU", "R\\u0055"),
            REAL.replace("RU", "R\u{1}"),
            REAL.replace("RU", ""),
            REAL.replace("RU", &"R".repeat(LOCALE.most + 1)),
            REAL.replace("2.3.0", "2"),
            REAL.replace("135", "256"),
            REAL.replace(":1694", ": 1694"),
            REAL.replace(":1694", ":01694"),
            REAL.replace("1694479551", "0"),
            REAL.replace("1694479551", "9223372036854775808"),
            REAL.replace("1694479551", "9223372036854775807"),
            REAL.replace("1694479551", "4133980800"),
            REAL.replace("1694479551", "4133980800000"),
            REAL.replace("1694479551", "1694479551000000"),
            REAL.replace(":1694479551", ":1694479551.0"),
            REAL.replace(":1694479551", ":\"1694479551\""),
            REAL.replace('}', "} "),
            REAL.replace('}', ",\"x\":1}"),
            REAL.replacen("user_id", "user", 1),
            REAL.replace("\"android\"", "null"),
            REAL.replace("android", ""),
            REAL.replace("android", &"a".repeat(MAX_TEXT + 1)),
        ];
        for text in unusual.iter().map(String::as_str).chain(["", "{", "{}"]) {
            assert!(!agrees(text).unwrap(), "{text}");
        }
        (0..REAL.len()).for_each(|end| assert!(!agrees(&REAL[..end]).unwrap()));
    }

    proptest! {
        #[test]
        fn agrees_with_the_scanner(at in 0..REAL.len(), end in 0..8_usize, piece in "[ -~]{0,9}") {
            let mut text = REAL.to_owned();
            text.replace_range(at..(at + end).min(REAL.len()), &piece);
            agrees(&text)?;
        }
    }
}
