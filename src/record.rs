//! The record as every stage sees it: borrowed slices, whoever read it.
//!
//! A reader owns the bytes (rskafka's owned records, or one fetch buffer); everything above looks
//! at them through [`RecordView`], so that a faster reader changes no stage.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A position in a partition's log, as Kafka counts it: the first record has offset 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub i64);

impl Offset {
    /// The offset that follows this one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// How many offsets lie between `earlier` and this one; 0 where `earlier` is not earlier.
    pub fn since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A topic's id (KIP-516): a topic deleted and made anew has another. Shown in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicId(pub [u8; 16]);

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Text that is no topic id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a topic id has 32 hexadecimal digits")]
pub struct ParseTopicIdError;

impl FromStr for TopicId {
    type Err = ParseTopicIdError;

    fn from_str(text: &str) -> Result<Self, ParseTopicIdError> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = digits.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        number.map(|number| Self(number.to_be_bytes())).ok_or(ParseTopicIdError)
    }
}

impl Serialize for TopicId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One record, borrowed from whatever reader fetched it.
#[derive(Debug, Clone, Copy)]
pub struct RecordView<'a> {
    /// Its offset in the source partition.
    pub offset: Offset,
    /// Its timestamp, milliseconds since the Unix epoch, as the broker delivers it.
    pub timestamp_ms: i64,
    /// Its key; `None` where the key is null.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers, in the reader's order.
    pub headers: Headers<'a>,
}

/// The headers of a record, as the reader that made it holds them.
#[derive(Debug, Clone, Copy)]
pub enum Headers<'a> {
    /// rskafka's: sorted by name, one of a name, no null values.
    Map(&'a BTreeMap<String, Vec<u8>>),
    /// The wire reader's: in the order of the log, repeated names and null values included.
    List(&'a [Header]),
}

impl<'a> Headers<'a> {
    /// No headers at all.
    pub const NONE: Headers<'static> = Headers::List(&[]);

    /// Name and value of each header.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> + Clone {
        let (map, list) = match self {
            Headers::Map(map) => (Some(map), None),
            Headers::List(list) => (None, Some(list)),
        };
        let map = map.into_iter().flatten().map(|(name, value)| (name.as_str(), Some(value.as_slice())));
        let list = list.into_iter().flatten().map(|header| (header.name.as_str(), header.value.as_deref()));
        map.chain(list)
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        match self {
            Headers::Map(map) => map.is_empty(),
            Headers::List(list) => list.is_empty(),
        }
    }
}

/// One header as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The header's name. Kafka allows a name to occur more than once.
    pub name: String,
    /// The header's value; null is legal.
    pub value: Option<Bytes>,
}
