//! What a fetch brought, whichever way it came.

use std::ops::Range;

use rskafka::record::{Record, RecordAndOffset};

use crate::broker::wire::{Damaged, Found, Stretch};
use crate::record::{Headers, Offset, Position, RecordView};

/// Records as they were fetched, with the offsets they cover.
#[derive(Debug)]
pub struct SourceBatch {
    /// The offsets covered, holes included: the next fetch begins at its end.
    pub range: Range<Offset>,
    /// The offset behind the last record that all in-sync replicas have.
    pub high_watermark: Offset,
    /// The leader epoch of the last batch covered, where the reader tells.
    leader_epoch: Option<i32>,
    entries: Entries,
    bytes: usize,
}

#[derive(Debug)]
enum Entries {
    Rskafka(Vec<RecordAndOffset>),
    Wire(Stretch),
}

/// One thing that was fetched: a record, or bytes that are none.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// The record; of bytes that are none, the bytes as its value.
    pub record: RecordView<'a>,
    /// Why these bytes are no record.
    pub damage: Option<&'a str>,
}

impl SourceBatch {
    /// Of records as rskafka gives them.
    pub(super) fn of_rskafka(range: Range<Offset>, high_watermark: Offset, records: Vec<RecordAndOffset>) -> Self {
        let bytes = records.iter().map(held_bytes).sum();
        // rskafka throws away in which epoch they were written.
        Self { range, high_watermark, leader_epoch: None, entries: Entries::Rskafka(records), bytes }
    }

    /// Of a stretch that was read by the wire.
    pub(super) fn of_wire(range: Range<Offset>, high_watermark: Offset, stretch: Stretch) -> Self {
        let (bytes, leader_epoch) = (stretch.bytes(), stretch.leader_epoch);
        Self { range, high_watermark, leader_epoch, entries: Entries::Wire(stretch), bytes }
    }

    /// Nothing at all, where reading goes on.
    pub fn empty_at(position: Position) -> Self {
        let Position { offset, leader_epoch } = position;
        Self::of_wire(offset..offset, offset, Stretch { leader_epoch, ..Stretch::default() })
    }

    /// Where reading goes on behind it.
    pub fn end(&self) -> Position {
        Position { offset: self.range.end, leader_epoch: self.leader_epoch }
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        match &self.entries {
            Entries::Rskafka(records) => records.len(),
            Entries::Wire(stretch) => stretch.len(),
        }
    }

    /// Whether there are none; the range may still cover a hole.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of its records: keys, values and headers.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// An entry, in the order of the log.
    pub fn entry(&self, index: usize) -> Option<Entry<'_>> {
        match &self.entries {
            Entries::Rskafka(records) => records.get(index).map(|record| Entry { record: view(record), damage: None }),
            Entries::Wire(stretch) => stretch.found(index).map(|found| match found {
                Found::Record(record) => Entry { record, damage: None },
                Found::Damaged(found) => damaged(found),
            }),
        }
    }

    /// Whether it was read by the wire and holds what makes rskafka fail.
    pub(super) fn baffles_rskafka(&self) -> bool {
        matches!(&self.entries, Entries::Wire(stretch) if stretch.baffles_rskafka())
    }
}

fn view(found: &RecordAndOffset) -> RecordView<'_> {
    RecordView {
        offset: Offset(found.offset),
        timestamp_ms: found.record.timestamp.timestamp_millis(),
        key: found.record.key.as_deref(),
        value: found.record.value.as_deref(),
        headers: Headers::Map(&found.record.headers),
    }
}

fn damaged(damaged: &Damaged) -> Entry<'_> {
    let value = Some(&damaged.bytes[..]);
    let record = RecordView { offset: damaged.offset, timestamp_ms: -1, key: None, value, headers: Headers::NONE };
    Entry { record, damage: Some(&damaged.why) }
}

fn held_bytes(found: &RecordAndOffset) -> usize {
    let Record { key, value, headers, .. } = &found.record;
    let headers = headers.iter().map(|(name, value)| name.len() + value.len());
    length(key.as_deref()) + length(value.as_deref()) + headers.sum::<usize>()
}

fn length(field: Option<&[u8]>) -> usize {
    field.map_or(0, <[u8]>::len)
}
