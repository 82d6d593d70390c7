//! Bad records: one way to be wrong each, otherwise as real as the good ones.

use fastrand::Rng;

use super::fields::{Event, push};

macro_rules! bad_kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)+) => {
        /// The defect of a bad record.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum BadKind {
            $($(#[$doc])* $kind,)+
        }

        impl BadKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)+];

            /// A short name, for counts and logs.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }
        }
    };
}

bad_kinds! {
    /// The event, cut off somewhere.
    Truncated = "truncated",
    /// A required field is absent.
    MissingField = "missing_field",
    /// A field has another type than it must.
    WrongType = "wrong_type",
    /// A required field is null.
    NullField = "null_field",
    /// A field occurs twice.
    DuplicateField = "duplicate_field",
    /// A byte that no UTF-8 text has.
    BadUtf8 = "bad_utf8",
    /// JSON, but no object.
    NotAnObject = "not_an_object",
    /// A null value.
    Tombstone = "tombstone",
    /// A value of no bytes.
    Empty = "empty",
    /// An address that is none.
    InvalidIp = "invalid_ip",
    /// A version that is none.
    InvalidVersion = "invalid_version",
    /// A time before there was any.
    InvalidTimestamp = "invalid_timestamp",
    /// A required field of no characters.
    EmptyField = "empty_field",
    /// A field longer than it may be.
    LongField = "long_field",
    /// An unknown field, nested deeper than 128.
    TooDeep = "too_deep",
    /// A good event, and something after it.
    TrailingBytes = "trailing_bytes",
    /// No JSON at all.
    Garbage = "garbage",
}

const REQUIRED: [&str; 6] = ["user_id", "app_version", "ip", "locale", "device_id", "timestamp"];

/// The bytes of `event`, made wrong in one way.
pub(super) fn spoil(event: &Event, kind: BadKind, random: &mut Rng) -> Option<Vec<u8>> {
    let field = REQUIRED[random.usize(..REQUIRED.len())];
    let good = event.to_json();
    let value = match kind {
        BadKind::Tombstone => return None,
        BadKind::Empty => Vec::new(),
        BadKind::Truncated => good[..random.usize(1..good.len())].to_vec(),
        BadKind::MissingField => with_field(&good, field, Change::Remove),
        BadKind::WrongType => with_field(&good, field, Change::Value(["true", "[]", "{}"][random.usize(..3)])),
        BadKind::NullField => with_field(&good, field, Change::Value("null")),
        BadKind::DuplicateField => with_field(&good, field, Change::Twice),
        BadKind::BadUtf8 => {
            let mut out = event.open();
            push(&mut out, &[b",\"device_type\":\"andr\xc3\x28id\"}"]);
            out
        }
        BadKind::NotAnObject => {
            let mut out = vec![b'['];
            push(&mut out, &[&good, b"]"]);
            out
        }
        BadKind::InvalidIp => {
            with_field(&good, "ip", Change::Value(["\"256.1.2.3\"", "\"10.0.0\"", "\"localhost\""][random.usize(..3)]))
        }
        BadKind::InvalidVersion => {
            with_field(&good, "app_version", Change::Value(["\"2\"", "\"v2.3\"", "\"2.3.0-rc1\""][random.usize(..3)]))
        }
        BadKind::InvalidTimestamp => {
            with_field(&good, "timestamp", Change::Value(["0", "-5", "\"yesterday\""][random.usize(..3)]))
        }
        BadKind::EmptyField => with_field(&good, field, Change::Value("\"\"")),
        BadKind::LongField => {
            let long = format!("\"{}\"", "x".repeat(300));
            with_field(&good, ["user_id", "locale", "device_id"][random.usize(..3)], Change::Value(&long))
        }
        BadKind::TooDeep => {
            let depth = 200;
            let mut out = event.open();
            push(&mut out, &[b",\"extra\":", "[".repeat(depth).as_bytes(), "]".repeat(depth).as_bytes(), b"}"]);
            out
        }
        BadKind::TrailingBytes => {
            let mut out = good;
            push(&mut out, &[[b" x".as_slice(), b"{}", b"\0"][random.usize(..3)]]);
            out
        }
        BadKind::Garbage => (0..random.usize(1..200)).map(|_| random.u8(..)).collect(),
    };
    Some(value)
}

enum Change<'a> {
    Remove,
    Value(&'a str),
    Twice,
}

/// `event` with one of its fields changed. It relies on how the generator writes events: no
/// blanks, and no comma or brace within a value.
fn with_field(event: &[u8], name: &str, change: Change<'_>) -> Vec<u8> {
    let inner = &event[1..event.len() - 1];
    let label = format!("\"{name}\":");
    let mut out = vec![b'{'];
    for member in inner.split(|byte| *byte == b',') {
        let members: &[&[u8]] = match (&change, member.starts_with(label.as_bytes())) {
            (_, false) => &[member],
            (Change::Remove, true) => &[],
            (Change::Value(value), true) => {
                separate(&mut out);
                push(&mut out, &[label.as_bytes(), value.as_bytes()]);
                &[]
            }
            (Change::Twice, true) => &[member, member],
        };
        for member in members {
            separate(&mut out);
            push(&mut out, &[member]);
        }
    }
    out.push(b'}');
    out
}

fn separate(out: &mut Vec<u8>) {
    if out.len() > 1 {
        out.push(b',');
    }
}

#[cfg(test)]
mod tests {
    use super::super::{EventGenerator, GeneratorConfig, RecordKind};
    use super::*;

    /// The pipeline's own verdict is not asked here: only what every reader of JSON must say.
    #[test]
    fn every_kind_is_made_and_is_what_it_says() {
        let config = GeneratorConfig { bad: 1.0, ..Default::default() };
        let mut generator = EventGenerator::new(config).unwrap();
        for round in 0..50 {
            for expected in BadKind::ALL {
                let record = generator.next_record();
                assert_eq!(record.kind, RecordKind::Bad(*expected), "round {round}");
                let Some(value) = record.value else {
                    assert_eq!(*expected, BadKind::Tombstone);
                    continue;
                };
                let parsed = serde_json::from_slice::<serde_json::Value>(&value);
                let text = String::from_utf8_lossy(&value);
                match expected {
                    BadKind::Tombstone => panic!("a tombstone has no value"),
                    BadKind::Truncated
                    | BadKind::BadUtf8
                    | BadKind::Empty
                    | BadKind::TooDeep
                    | BadKind::TrailingBytes => assert!(parsed.is_err(), "{text}"),
                    BadKind::NotAnObject => assert!(parsed.unwrap().is_array(), "{text}"),
                    BadKind::Garbage => {}
                    BadKind::MissingField => {
                        let members = parsed.unwrap().as_object().unwrap().len();
                        assert!(matches!(members, 5 | 6), "{text}");
                    }
                    BadKind::DuplicateField => {
                        parsed.unwrap();
                        let twice = REQUIRED.iter().filter(|n| text.matches(&format!("\"{n}\":")).count() == 2);
                        assert_eq!(twice.count(), 1, "{text}");
                    }
                    _ => assert!(parsed.unwrap().is_object(), "{text}"),
                }
            }
        }
    }
}
