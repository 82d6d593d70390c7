//! The record as every stage sees it: borrowed slices, whoever read it.
//!
//! A reader owns the bytes (rskafka's owned records, or one fetch buffer); everything above looks
//! at them through [`RecordView`], so that a faster reader changes no stage.

mod fields;
mod headers;
mod trace;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use fields::Fields;
pub use headers::{Header, Headers, RawHeaders};
pub use trace::{TraceParent, trace_id, trace_parent};

/// The timestamp of a record that bears none (Kafka's `RecordBatch.NO_TIMESTAMP`).
pub const NO_TIMESTAMP: i64 = -1;

/// A position in a partition's log, as Kafka counts it: the first record has offset 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub i64);

impl Offset {
    /// The offset that follows this one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The number of offsets between `earlier` and this one; 0 where `earlier` is not earlier.
    pub fn since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}

/// Where reading goes on, and what tells that place from the same offset of another log (KIP-320).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// The offset of the next record.
    pub offset: Offset,
    /// The leader epoch in which what stands before it was written, where it is known.
    pub leader_epoch: Option<i32>,
}

/// A place of which nothing is known but its offset.
impl From<Offset> for Position {
    fn from(offset: Offset) -> Self {
        Self { offset, leader_epoch: None }
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
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
