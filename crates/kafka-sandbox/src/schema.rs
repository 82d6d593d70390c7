//! A request's bytes are walked over before anything is decoded from them, by the tables beside the
//! handlers.

use bytes::{Buf, Bytes};

pub(super) use kafka_records::schema::Field;
use kafka_records::schema::{self, Version};

/// Whether `body` is exactly these fields of one version.
pub(super) fn fits(fields: &[Field], flexible: bool, body: Bytes) -> bool {
    schema::fits(fields, version(flexible), &body)
}

/// The client id of a request header, empty where it is null, and the bytes after it (and the tags).
pub(super) fn client_id(flexible: bool, mut at: Bytes) -> Option<(String, Bytes)> {
    // The client id never became compact.
    let length = usize::try_from(at.try_get_i16().ok()?).unwrap_or(0);
    let (id, rest) = at.split_at_checked(length)?;
    let body = schema::after(&[], version(flexible), rest)?;
    Some((String::from_utf8_lossy(id).into_owned(), at.slice_ref(body)))
}

/// The sandbox has a table for each version: none of their fields asks for the number.
fn version(flexible: bool) -> Version {
    Version { number: i16::MAX, flexible }
}
