//! The headers of a record, as whoever made the record holds them. Names are bytes: Kafka's brokers look at none,
//! and librdkafka writes and reads them so.

use std::collections::{BTreeMap, btree_map};
use std::slice;

use bytes::Bytes;

use super::Fields;

/// The headers of a record, as the reader that made it holds them.
#[derive(Debug, Clone, Copy)]
pub enum Headers<'a> {
    /// rskafka's: sorted by name, one of a name, no null values.
    Map(&'a BTreeMap<String, Vec<u8>>),
    /// Those of a record that was put together here, in their order.
    List(&'a [Header]),
    /// Headers that are all somebody else's.
    Borrowed(&'a [(&'a [u8], Option<&'a [u8]>)]),
    /// The wire reader's: as they stand in the log, repeated names and null values included.
    Raw(RawHeaders<'a>),
}

impl<'a> Headers<'a> {
    /// No headers at all.
    pub const NONE: Headers<'static> = Headers::List(&[]);

    /// Name and value of each header.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + Clone {
        match self {
            Headers::Map(map) => Iter::Map(map.iter()),
            Headers::List(list) => Iter::List(list.iter()),
            Headers::Borrowed(list) => Iter::Borrowed(list.iter()),
            Headers::Raw(raw) => Iter::Raw(raw),
        }
    }

    /// Returns whether there are none.
    pub fn is_empty(self) -> bool {
        match self {
            Headers::Map(map) => map.is_empty(),
            Headers::List(list) => list.is_empty(),
            Headers::Borrowed(list) => list.is_empty(),
            Headers::Raw(RawHeaders(bytes)) => bytes.is_empty(),
        }
    }
}

#[derive(Clone)]
enum Iter<'a> {
    Map(btree_map::Iter<'a, String, Vec<u8>>),
    List(slice::Iter<'a, Header>),
    Borrowed(slice::Iter<'a, (&'a [u8], Option<&'a [u8]>)>),
    Raw(RawHeaders<'a>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Map(headers) => headers.next().map(|(name, value)| (name.as_bytes(), Some(value.as_slice()))),
            Self::List(headers) => headers.next().map(|header| (&*header.name, header.value.as_deref())),
            Self::Borrowed(headers) => headers.next().copied(),
            Self::Raw(headers) => headers.take_next(),
        }
    }
}

/// Headers as their bytes in a batch, taken apart each time that someone looks at them. Most never
/// are: they go from one batch into the next.
#[derive(Debug, Clone, Copy)]
pub struct RawHeaders<'a>(&'a [u8]);

impl<'a> RawHeaders<'a> {
    /// Those that lie in `bytes`, of which [`RawHeaders::are`] has been asked. Of other bytes, those
    /// before the first that is no header.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Returns whether `bytes` are so many whole headers and nothing else.
    pub fn are(bytes: &[u8], count: usize) -> bool {
        let mut headers = RawHeaders(bytes);
        (0..count).all(|_| headers.take_next().is_some()) && headers.0.is_empty()
    }

    fn take_next(&mut self) -> Option<(&'a [u8], Option<&'a [u8]>)> {
        let mut fields = Fields::new(self.0);
        let name = fields.field()??;
        let value = fields.field()?;
        self.0 = fields.rest();
        Some((name, value))
    }
}

/// One header, with a name and a value of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The header's name: UTF-8 by custom, any bytes by the protocol. Kafka allows a name to occur more than once.
    pub name: Bytes,
    /// The header's value; null is legal.
    pub value: Option<Bytes>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a` twice, the second with a null value, and one without a name that has an empty value.
    const BYTES: &[u8] = &[2, b'a', 4, b'x', b'y', 2, b'a', 1, 0, 0];

    #[test]
    fn raw_headers_come_as_they_stand() {
        assert!(RawHeaders::are(BYTES, 3));
        let headers = Headers::Raw(RawHeaders::new(BYTES));
        assert!(!headers.is_empty());
        let found: Vec<_> = headers.iter().collect();
        assert_eq!(found, [(&b"a"[..], Some(&b"xy"[..])), (b"a", None), (b"", Some(b""))]);
        assert!(RawHeaders::are(&[], 0) && Headers::Raw(RawHeaders::new(&[])).is_empty());
    }

    #[test]
    fn what_is_not_so_many_headers_is_told() {
        for count in [0, 1, 2, 4, usize::MAX] {
            assert!(!RawHeaders::are(BYTES, count), "{count}");
        }
        for length in 1..BYTES.len() {
            assert!(!RawHeaders::are(&BYTES[..length], 3), "{length}");
        }
        assert!(!RawHeaders::are(&[1, 0], 1), "a name can't be null");
    }

    #[test]
    fn a_name_may_be_any_bytes() {
        const CAFE: &[u8] = &[8, b'c', b'a', b'f', 0xe9, 2, b'x'];
        assert!(RawHeaders::are(CAFE, 1));
        let found: Vec<_> = Headers::Raw(RawHeaders::new(CAFE)).iter().collect();
        assert_eq!(found, [(&b"caf\xe9"[..], Some(&b"x"[..]))]);
    }
}
