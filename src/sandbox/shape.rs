//! Walks over a request's bytes before anything is decoded from them. Pure.
//!
//! The codec allocates an array by the length that the bytes claim; four bytes of garbage would cost
//! gigabytes, and an allocation that fails ends the process. What has passed here holds every element
//! that it claims, and not one byte more.

use bytes::{Buf, Bytes};

/// No sane request has more; what an array claims is bounded by it.
const MAX_ITEMS: usize = 100_000;

/// One field of a request, as far as its length is concerned.
#[derive(Debug, Clone, Copy)]
pub(super) enum Field {
    /// So many bytes.
    Fixed(usize),
    /// A string, null or not.
    Text,
    /// Bytes with a length of 32 bits (compact in flexible versions), null or not.
    Blob,
    /// An array of structures, each of these fields.
    Structs(&'static [Field]),
    /// An array of plain values.
    Values(&'static Field),
}

/// Whether `body` is exactly these fields. Flexible versions have compact lengths and tagged fields.
pub(super) fn fits(fields: &[Field], flexible: bool, mut body: Bytes) -> bool {
    walk(fields, flexible, &mut body).is_some() && body.is_empty()
}

/// The client id of a request header, empty where it is null, and the bytes after it (and the tags).
pub(super) fn client_id(flexible: bool, mut at: Bytes) -> Option<(String, Bytes)> {
    // The client id never became compact.
    let length = at.try_get_i16().ok()?;
    let length = usize::try_from(length).unwrap_or(0);
    let id = at.get(..length)?;
    let id = String::from_utf8_lossy(id).into_owned();
    at.advance(length);
    if flexible {
        skip_tags(&mut at)?;
    }
    Some((id, at))
}

fn walk(fields: &[Field], flexible: bool, at: &mut Bytes) -> Option<()> {
    for field in fields {
        step(field, flexible, at)?;
    }
    if flexible { skip_tags(at) } else { Some(()) }
}

fn step(field: &Field, flexible: bool, at: &mut Bytes) -> Option<()> {
    match field {
        Field::Fixed(bytes) => skip(at, *bytes),
        Field::Text | Field::Blob if flexible => {
            let length = compact_length(at)?;
            skip(at, length)
        }
        Field::Text => {
            let length = at.try_get_i16().ok()?;
            skip(at, usize::try_from(length).unwrap_or(0))
        }
        Field::Blob => {
            let length = at.try_get_i32().ok()?;
            skip(at, usize::try_from(length).unwrap_or(0))
        }
        Field::Structs(fields) => (0..items(flexible, at)?).try_for_each(|_| walk(fields, flexible, at)),
        Field::Values(field) => (0..items(flexible, at)?).try_for_each(|_| step(field, flexible, at)),
    }
}

fn items(flexible: bool, at: &mut Bytes) -> Option<usize> {
    let items = if flexible { compact_length(at)? } else { usize::try_from(at.try_get_i32().ok()?).unwrap_or(0) };
    (items <= MAX_ITEMS.min(at.len())).then_some(items)
}

fn skip_tags(at: &mut Bytes) -> Option<()> {
    for _ in 0..unsigned_varint(at)? {
        unsigned_varint(at)?;
        let size = usize::try_from(unsigned_varint(at)?).ok()?;
        skip(at, size)?;
    }
    Some(())
}

/// Compact lengths are one more than the length; 0 is null.
fn compact_length(at: &mut Bytes) -> Option<usize> {
    usize::try_from(unsigned_varint(at)?.saturating_sub(1)).ok()
}

fn unsigned_varint(at: &mut Bytes) -> Option<u32> {
    let mut value = 0u32;
    for shift in (0..32).step_by(7) {
        let byte = at.try_get_u8().ok()?;
        value |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn skip(at: &mut Bytes, bytes: usize) -> Option<()> {
    (bytes <= at.len()).then(|| at.advance(bytes))
}

#[cfg(test)]
mod tests {
    use super::Field::{Fixed, Structs, Text, Values};
    use super::*;

    const TOPICS: &[Field] = &[Structs(&[Text, Values(&Fixed(4))]), Fixed(1)];

    #[test]
    fn takes_what_is_whole_and_nothing_else() {
        let whole = b"\0\0\0\x01\0\x01x\0\0\0\x02aaaabbbb!";
        assert!(fits(TOPICS, false, Bytes::from_static(whole)));
        for end in 0..whole.len() {
            assert!(!fits(TOPICS, false, Bytes::from_static(&whole[..end])));
        }
        assert!(!fits(TOPICS, false, Bytes::from_static(b"\0\0\0\0!!")));
    }

    #[test]
    fn a_claim_of_billions_is_refused() {
        assert!(!fits(TOPICS, false, Bytes::from_static(b"\x7f\xff\xff\xff\0\x01x!")));
        assert!(!fits(TOPICS, true, Bytes::from_static(b"\xff\xff\xff\xff\x0f\x02x!")));
    }

    #[test]
    fn flexible_versions_have_tags() {
        let whole = b"\x02\x02x\x02aaaa\0!\x01\x05\x02zz";
        assert!(fits(TOPICS, true, Bytes::from_static(whole)));
    }
}
