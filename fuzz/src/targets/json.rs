//! The JSON scanner: it takes the objects that serde_json takes, up to its depth, and finds the same members.

use std::fmt;

use login_event::{Kind, MAX_DEPTH, Members, ScanError, Step};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{MIB, Target};

/// See the module.
pub const TARGET: Target = Target {
    name: "json",
    about: "the JSON scanner, against serde_json",
    run,
    seeds,
    words: &["{", "}", "[", "]", "\":", ",\"", "\\u00e9", "\\ud83d\\ude00", "\\ud800", "\\\"", "true", "false", "null", "-0", "1e5", "1.", "\u{feff}", "é"],
    longest: 4 * 1024,
    memory: 16 * MIB,
};

fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let is_json = serde_json::from_str::<IgnoredAny>(text).is_ok();
    match scan(text) {
        Ok(found) => {
            let Object(members) = serde_json::from_str(text).unwrap_or_else(|error| panic!("accepted: {error}"));
            assert_eq!(found.len(), members.len());
            for ((name, raw), (expected, value)) in found.iter().zip(&members) {
                assert_eq!(*raw, value.get());
                let expected = serde_json::from_str::<String>(expected.get());
                // A name that no text can hold keeps its escapes.
                assert!(expected.map_or_else(|_| name.contains('\\'), |expected| expected == *name), "{name}");
            }
        }
        Err(ScanError::NotAnObject) => assert!(is_json && !text.trim_ascii_start().starts_with('{'), "not an object"),
        Err(ScanError::Malformed(at)) => assert!(!is_json && at <= text.len(), "refused at {at}"),
        Err(ScanError::ByteOrderMark) => assert!(!is_json && text.starts_with('\u{feff}'), "refused for its mark"),
        Err(ScanError::TooDeep) => {
            // What is no object counts as if it stood in one.
            let open = text.bytes().filter(|byte| matches!(byte, b'{' | b'[')).count();
            assert!(u32::try_from(open).is_ok_and(|open| open >= MAX_DEPTH), "not so deep");
        }
    }
}

fn scan(text: &str) -> Result<Vec<(String, &str)>, ScanError> {
    let mut members = Members::of(text)?;
    let mut found = Vec::new();
    loop {
        match members.step()? {
            Step::Member(name, value) => {
                let raw = value.raw(text);
                assert_eq!(value.span.bytes(), raw.len());
                match value.kind {
                    Kind::String { escaped } => {
                        assert_eq!(escaped, raw.contains('\\'));
                        assert_eq!(value.text(text).map(|text| text.into_owned()), serde_json::from_str::<String>(raw).ok());
                    }
                    Kind::Number { integer } => assert_eq!(integer, !raw.contains(['.', 'e', 'E'])),
                    Kind::Bool => assert!(raw == "true" || raw == "false"),
                    Kind::Null => assert_eq!(raw, "null"),
                    Kind::Container => assert!(raw.starts_with(['{', '['])),
                }
                found.push((name.into_owned(), raw));
            }
            Step::End(close) => {
                assert_eq!(text.as_bytes()[close], b'}');
                assert!(text[close + 1..].trim_ascii().is_empty());
                return Ok(found);
            }
        }
    }
}

/// The members of an object as serde_json finds them, names as they are written.
struct Object<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;

        impl<'de> Visitor<'de> for Each {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Object(members))
            }
        }

        deserializer.deserialize_map(Each)
    }
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
    [
        ("event", r#"{"user_id":"424cdd21-063a-43a7-b91b-7ca1a833afae","app_version":"2.3.0","ip":"199.172.111.135","locale":"RU","device_id":"593-47-5928","timestamp":1694479551,"device_type":"iOS"}"#.to_owned()),
        ("kinds", " { \"a\" : 1.5e3 , \"b\\u0063\":[{},[ ],{\"x\":[1,-0.0,true,null]}] ,\"s\":\"q\\\"\",\"f\":false}\n".to_owned()),
        ("surrogates", r#"{"\ud83d\ude00":"\ud800","é":"\u00e9\n","":""}"#.to_owned()),
        ("deep", nested(128)),
        ("too-deep", nested(129)),
        ("mark", "\u{feff}{}".to_owned()),
        ("array", "[{}]".to_owned()),
    ]
    .map(|(name, text)| (format!("seed-{name}"), text.into_bytes()))
    .to_vec()
}
