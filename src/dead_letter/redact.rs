//! Redacts a record, so that it may be shown to anybody: its shape, and nothing that its sender chose.
//!
//! Personal data stands in any field of a bad record, also in one that should hold another, and in
//! names. So nothing is shown but the names that the event has, types and lengths.

use std::fmt;

use crate::config::OWN_FIELDS;
use crate::event::{Kind, Members, Step};

/// As many members are told of one by one.
const MOST: usize = 32;

/// Bytes, shown by how many there are.
#[derive(Debug, Clone, Copy)]
pub struct RedactedBytes<'a>(pub Option<&'a [u8]>);

impl fmt::Display for RedactedBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("null"),
            Some(bytes) => write!(f, "<{} bytes>", bytes.len()),
        }
    }
}

/// A value, shown by its shape where it is a JSON object.
#[derive(Debug, Clone, Copy)]
pub struct RedactedValue<'a>(pub Option<&'a [u8]>);

impl fmt::Display for RedactedValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(value) = self.0 else { return f.write_str("null") };
        let shape = match std::str::from_utf8(value) {
            Err(_) => "not UTF-8".to_owned(),
            Ok(text) => shape(text).unwrap_or_else(|| "no JSON object".to_owned()),
        };
        write!(f, "<{} bytes, {shape}>", value.len())
    }
}

/// The members of an object; `None` where it is none, whole.
fn shape(text: &str) -> Option<String> {
    let mut members = Members::of(text).ok()?;
    let (mut told, mut count) = (Vec::new(), 0_usize);
    while let Step::Member(name, value) = members.step().ok()? {
        count += 1;
        if told.len() == MOST {
            continue;
        }
        let name = OWN_FIELDS.into_iter().find(|known| name == *known).unwrap_or("<other>");
        told.push(match value.kind {
            Kind::String { .. } => format!("{name}: string of {} bytes", value.span.bytes().saturating_sub(2)),
            Kind::Number { .. } => format!("{name}: number"),
            Kind::Bool => format!("{name}: bool"),
            Kind::Null => format!("{name}: null"),
            Kind::Container => format!("{name}: {} bytes of array or object", value.span.bytes()),
        });
    }
    let more = count - told.len();
    let more = if more > 0 { format!(", {more} more") } else { String::new() };
    Some(format!("{{{}{more}}}", told.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_shown_by_its_shape() {
        for (value, shown) in [
            (None, "null"),
            (Some(&b""[..]), "<0 bytes, no JSON object>"),
            (Some(b"\xff\xfe"), "<2 bytes, not UTF-8>"),
            (Some(br#"{"ip":"CANARY""#), "<14 bytes, no JSON object>"),
            (
                Some(br#"{"ip":"CANARY","CANARY":[1],"locale":null,"timestamp":123}"#),
                "<58 bytes, {ip: string of 6 bytes, <other>: 3 bytes of array or object, locale: null, timestamp: number}>",
            ),
        ] {
            assert_eq!(RedactedValue(value).to_string(), shown);
        }
    }

    #[test]
    fn an_object_of_many_members_is_told_in_short() {
        let members: Vec<_> = (0..1_000).map(|n| format!("\"CANARY{n}\":{n}")).collect();
        let shown = RedactedValue(Some(format!("{{{}}}", members.join(",")).as_bytes())).to_string();
        assert!(shown.ends_with("968 more}>") && !shown.contains("CANARY"), "{shown}");
    }
}
