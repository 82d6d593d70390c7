//! A dead letter as a line of JSON that holds each of its bytes.
//!
//! ```text
//! {"topic":"dead","partition":0,"offset":7,"timestamp":5,"key":null,"value":{"base64":"/w=="},"headers":[["a","1"]]}
//! ```
//! What is UTF-8 is a string, what is not an object with its base64, and null is null: no two of these
//! are the same. Headers are pairs in their order, names that occur again and nulls included; a name,
//! too, is an object where it is not UTF-8.

use std::fmt;
use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{self, Deserializer, MapAccess, Unexpected, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use serde_json::ser::Formatter;

use crate::record::{Header, Headers, Offset, RecordView};

/// A dead letter that was read from a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The dead-letter topic that it was exported from.
    pub topic: String,
    /// Its partition there.
    pub partition: i32,
    /// Its offset there.
    pub offset: Offset,
    /// Its timestamp there, milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
    /// Its headers.
    pub headers: Vec<Header>,
}

/// Why a line is no dead letter. It tells nothing of what stands there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {cause}")]
pub struct Broken {
    /// The byte of the line where that shows, from 1.
    pub column: usize,
    /// What is wrong.
    pub cause: String,
    /// The line ends before its object does.
    pub is_cut: bool,
}

/// Writes a dead letter as a line, its end included.
///
/// # Errors
/// Where `out` takes nothing.
pub fn export(out: &mut dyn Write, topic: &str, partition: i32, record: &RecordView<'_>) -> io::Result<()> {
    let line = Line {
        topic,
        partition,
        offset: record.offset,
        timestamp: record.timestamp_ms,
        key: Field(record.key),
        value: Field(record.value),
        headers: Pairs(record.headers),
    };
    write_line(out, &line)
}

/// Writes JSON on a line of its own, with whatever a terminal would obey escaped.
///
/// # Errors
/// Where `out` takes nothing.
pub fn write_line(out: &mut dyn Write, line: &impl Serialize) -> io::Result<()> {
    line.serialize(&mut serde_json::Serializer::with_formatter(&mut *out, OneLine))?;
    out.write_all(b"\n")
}

impl Exported {
    /// Reads a line, with its end or without.
    ///
    /// # Errors
    /// Where it is not what [`export`] writes.
    pub fn read(line: &[u8]) -> Result<Self, Broken> {
        let read: ReadLine = serde_json::from_slice(line).map_err(|error| Broken::of(&error))?;
        let headers = read.headers.into_iter().map(|(name, value)| Header { name: name.0, value: value.0 });
        Ok(Self {
            topic: read.topic,
            partition: read.partition,
            offset: Offset(read.offset),
            timestamp_ms: read.timestamp,
            key: read.key.0,
            value: read.value.0,
            headers: headers.collect(),
        })
    }

    /// The record at this offset of what it is read from.
    pub fn record(&self, offset: Offset) -> RecordView<'_> {
        RecordView {
            offset,
            timestamp_ms: self.timestamp_ms,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: Headers::List(&self.headers),
        }
    }
}

impl Broken {
    /// Of the two halves of what serde says, what was found and what was expected, the first may be the
    /// record's.
    fn of(error: &serde_json::Error) -> Self {
        let said = error.to_string();
        let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(said, _)| said);
        let cause = match (error.classify(), said.rsplit_once(", expected ")) {
            (Category::Data, Some((_, expected))) => format!("expected {expected}"),
            _ => said.to_owned(),
        };
        Self { column: error.column(), cause, is_cut: error.is_eof() }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    topic: &'a str,
    partition: i32,
    offset: Offset,
    timestamp: i64,
    key: Field<'a>,
    value: Field<'a>,
    headers: Pairs<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadLine {
    topic: String,
    #[serde(deserialize_with = "natural")]
    partition: i32,
    #[serde(deserialize_with = "natural")]
    offset: i64,
    timestamp: i64,
    key: ReadField,
    value: ReadField,
    headers: Vec<(ReadName, ReadField)>,
}

/// The member that holds what is not UTF-8.
const BASE64: &str = "base64";

/// Bytes as a line has them: text, or an object with their base64; null is null.
pub struct Field<'a>(pub Option<&'a [u8]>);

impl Serialize for Field<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(bytes) = self.0 else { return serializer.serialize_none() };
        if let Ok(text) = std::str::from_utf8(bytes) {
            return serializer.serialize_str(text);
        }
        let mut object = serializer.serialize_map(Some(1))?;
        object.serialize_entry(BASE64, &STANDARD.encode(bytes))?;
        object.end()
    }
}

/// Headers as a line has them.
pub struct Pairs<'a>(pub Headers<'a>);

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|(name, value)| (Field(Some(name)), Field(value))))
    }
}

/// Unlike an `Option`, it must be there.
struct ReadField(Option<Bytes>);

impl<'de> Deserialize<'de> for ReadField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldVisitor)
    }
}

/// A header's name: a field that is not null.
struct ReadName(Bytes);

impl<'de> Deserialize<'de> for ReadName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = ReadField::deserialize(deserializer)?.0;
        let null = || de::Error::invalid_type(Unexpected::Unit, &"a header's name, which is never null");
        name.map(Self).ok_or_else(null)
    }
}

struct FieldVisitor;

impl<'de> Visitor<'de> for FieldVisitor {
    type Value = ReadField;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a string, null or {{\"{BASE64}\": a string}}")
    }

    fn visit_unit<E: de::Error>(self) -> Result<ReadField, E> {
        Ok(ReadField(None))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ReadField, E> {
        Ok(ReadField(Some(Bytes::copy_from_slice(text.as_bytes()))))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<ReadField, E> {
        Ok(ReadField(Some(text.into())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ReadField, A::Error> {
        let wrong = || de::Error::invalid_type(Unexpected::Map, &self);
        if map.next_key::<String>()?.as_deref() != Some(BASE64) {
            return Err(wrong());
        }
        let text: String = map.next_value()?;
        if map.next_key::<String>()?.is_some() {
            return Err(wrong());
        }
        let bytes = STANDARD.decode(text);
        let bytes = bytes.map_err(|_| de::Error::invalid_value(Unexpected::Other("text"), &"padded base64"))?;
        Ok(ReadField(Some(bytes.into())))
    }
}

/// A number that is not negative.
fn natural<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + PartialOrd + Default,
    D: Deserializer<'de>,
{
    let number = T::deserialize(deserializer)?;
    if number < T::default() {
        return Err(de::Error::invalid_value(Unexpected::Other("a negative number"), &"one from 0 on"));
    }
    Ok(number)
}

/// Escapes what JSON lets through and a terminal obeys, or a reader of lines takes for an end.
struct OneLine;

impl Formatter for OneLine {
    fn write_string_fragment<W: Write + ?Sized>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut plain = 0;
        let special = |c: &char| matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        for (at, c) in fragment.char_indices().filter(|(_, c)| special(c)) {
            out.write_all(fragment.as_bytes().get(plain..at).unwrap_or_default())?;
            write!(out, "\\u{:04x}", u32::from(c))?;
            plain = at + c.len_utf8();
        }
        out.write_all(fragment.as_bytes().get(plain..).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn exported(record: &RecordView<'_>, partition: i32) -> Vec<u8> {
        let mut line = Vec::new();
        export(&mut line, "dead", partition, record).unwrap();
        line
    }

    fn field() -> impl Strategy<Value = Option<Bytes>> {
        let text = prop_oneof![Just(String::new()), ".{0,8}", "[\\x00-\\x1f\\x7f-\\u{9f}\"\\\\\u{2028}é𝄞]{1,8}"];
        let bytes = prop_oneof![text.prop_map(String::into_bytes), vec(any::<u8>(), 0..16)];
        option::of(bytes.prop_map(Bytes::from))
    }

    fn headers() -> impl Strategy<Value = Vec<Header>> {
        let text = prop_oneof![Just(String::new()), "[ab]", ".{0,4}"];
        let name = prop_oneof![text.prop_map(Bytes::from), vec(any::<u8>(), 0..4).prop_map(Bytes::from)];
        vec((name, field()).prop_map(|(name, value)| Header { name, value }), 0..6)
    }

    proptest! {
        #[test]
        fn every_byte_comes_back(
            key in field(), value in field(), headers in headers(),
            partition in 0..=i32::MAX, offset in 0..=i64::MAX, timestamp_ms in any::<i64>(),
        ) {
            let topic = "dead".to_owned();
            let letter = Exported { topic, partition, offset: Offset(offset), timestamp_ms, key, value, headers };
            let line = exported(&letter.record(letter.offset), partition);
            prop_assert_eq!(&Exported::read(&line).unwrap(), &letter);
            let text = std::str::from_utf8(&line).unwrap();
            prop_assert_eq!(text.lines().count(), 1);
            let steers = |c: char| c.is_control() || c == '\u{2028}';
            prop_assert!(!text.trim_end_matches('\n').contains(steers), "{:?}", text);
            // Cut anywhere, it is no other letter.
            for end in 0..line.len() - 1 {
                prop_assert!(Exported::read(&line[..end]).unwrap_err().is_cut, "{}", end);
            }
        }

        #[test]
        fn whatever_stands_there_is_refused_or_read(line in vec(any::<u8>(), 0..200)) {
            let _ = Exported::read(&line);
        }
    }

    const LINE: &str = r#"{"topic":"t","partition":0,"offset":1,"timestamp":5,"key":null,"value":"v","headers":[["a","1"],["a",null],["a",{"base64":"/w=="}],[{"base64":"/w=="},"x"]]}"#;

    #[test]
    fn a_line_looks_like_this() {
        let letter = Exported::read(LINE.as_bytes()).unwrap();
        assert_eq!(letter.headers[2].value.as_deref(), Some(&b"\xff"[..]));
        assert_eq!(letter.headers[3].name, b"\xff"[..]);
        let mut line = Vec::new();
        export(&mut line, "t", 0, &letter.record(letter.offset)).unwrap();
        assert_eq!(line, format!("{LINE}\n").as_bytes());
    }

    #[test]
    fn what_is_wrong_is_told_without_what_stands_there() {
        for (from, to, told) in [
            (r#""v""#, "7", r#"column 72: expected a string, null or {"base64": a string}"#),
            (r#""value":"v","#, "", "missing field `value`"),
            (r#""key":null"#, r#""CANARY":null"#, "expected one of `topic`"),
            (r#""key":null"#, r#""key":{"CANARY":"CANARY"}"#, "expected a string"),
            (r#""key":null"#, r#""key":{"base64":"CANARY!"}"#, "expected padded base64"),
            (r#""key":null"#, r#""key":{"base64":"","base64":""}"#, "expected a string"),
            (r#""partition":0"#, r#""partition":-1"#, "expected one from 0 on"),
            (r#""partition":0"#, r#""partition":"CANARY, expected CANARY""#, "expected i32"),
            (r#""offset":1"#, r#""offset":99999999999999999999"#, "expected i64"),
            (r#""offset":1"#, r#""offset":1,"offset":1"#, "duplicate field `offset`"),
            (r#"["a","1"]"#, r#"["CANARY"]"#, "expected a tuple of size 2"),
            (r#"["a","1"]"#, r#"["CANARY",null,null]"#, "trailing characters"),
            (r#"["a","1"]"#, r#"[null,"CANARY"]"#, "expected a header's name, which is never null"),
            (r#""v""#, "\"\\ud800\\u0041CANARY\"", "lone leading surrogate"),
            (r#""v""#, "\"\u{1}CANARY\"", "control character"),
            (r#""v""#, "CANARY", "expected value"),
        ] {
            let line = LINE.replacen(from, to, 1);
            let broken = Exported::read(line.as_bytes()).unwrap_err();
            let text = broken.to_string();
            assert!(text.contains(told) && !text.contains("CANARY"), "{line}: {text}");
            assert!(broken.column > 0 && !broken.is_cut, "{line}: {broken:?}");
        }
        let two = Exported::read(format!("{LINE}{LINE}").as_bytes()).unwrap_err();
        assert_eq!(two.to_string(), format!("column {}: trailing characters", LINE.len() + 1));
        assert!(Exported::read(b"\xff").is_err() && Exported::read(b"\n").unwrap_err().is_cut);
    }
}
