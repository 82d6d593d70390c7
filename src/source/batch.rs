//! A batch of source records, whichever reader fetched it.

use std::ops::Range;

use kafka_client::FetchedRecords;
use kafka_client::admission::Taken;
use kafka_records::records::Flaw;
use kafka_records::step::{Relocation, Step};
use rskafka::record::{Record, RecordAndOffset};

use crate::record::{Headers, Offset, Position, RecordView};

pub use kafka_records::records::Entry;

/// Records as they were fetched, with the offsets they cover.
#[derive(Debug)]
pub struct SourceBatch {
    /// The offsets covered, holes included: the next fetch begins at its end.
    pub range: Range<Offset>,
    /// The offset behind the last record that all in-sync replicas have.
    pub high_watermark: Offset,
    next: Step,
    entries: Entries,
    bytes: usize,
    /// Memory beyond the partition's share, until the batch is done.
    held: Option<Taken>,
}

#[derive(Debug)]
enum Entries {
    Rskafka(Vec<RecordAndOffset>),
    Wire(FetchedRecords),
}

impl SourceBatch {
    /// A batch of records as rskafka gives them, the first of them at `from` and each behind the one before.
    pub(super) fn of_rskafka(from: Position, high_watermark: Offset, records: Vec<RecordAndOffset>) -> Self {
        let bytes = records.iter().map(held_bytes).sum();
        // rskafka throws away in which epoch they were written.
        let next = records.last().map_or(Step::stay(from), |last| Step::behind(Offset(last.offset), None));
        Self {
            range: from.offset..next.to().offset,
            high_watermark,
            next,
            entries: Entries::Rskafka(records),
            bytes,
            held: None,
        }
    }

    /// A batch of what was read by the wire from an offset on.
    pub(super) fn of_wire(from: Offset, high_watermark: Offset, fetched: FetchedRecords) -> Self {
        let (bytes, next) = (fetched.records.bytes(), fetched.next);
        Self { range: from..next.to().offset, high_watermark, next, entries: Entries::Wire(fetched), bytes, held: None }
    }

    /// An empty batch, where reading goes on.
    pub(super) fn nothing(position: Position, high_watermark: Offset) -> Self {
        Self::of_wire(position.offset, high_watermark, FetchedRecords::empty_at(position))
    }

    /// An empty batch, where a policy says that reading goes on.
    pub fn relocated(relocation: Relocation) -> Self {
        let at = relocation.to;
        let fetched = FetchedRecords { next: relocation.step(), ..FetchedRecords::empty_at(at) };
        Self::of_wire(at.offset, at.offset, fetched)
    }

    /// This batch with memory that is given back when it is dropped.
    pub(super) fn holding(self, held: Option<Taken>) -> Self {
        Self { held, ..self }
    }

    /// The position behind it, where reading goes on.
    pub fn end(&self) -> Position {
        self.next.to()
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        match &self.entries {
            Entries::Rskafka(records) => records.len(),
            Entries::Wire(fetched) => fetched.records.len(),
        }
    }

    /// Tells whether there are none; the range may still cover a hole.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of its records: keys, values and headers.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The flaws that keep entries from being processed.
    pub fn flaws(&self) -> &[Flaw] {
        match &self.entries {
            Entries::Rskafka(_) => &[],
            Entries::Wire(fetched) => fetched.records.flaws(),
        }
    }

    /// An entry, in the order of the log.
    pub fn entry(&self, index: usize) -> Option<Entry<'_>> {
        match &self.entries {
            Entries::Rskafka(records) => records.get(index).map(|record| Entry { record: view(record), flaw: None }),
            Entries::Wire(fetched) => fetched.records.get(index),
        }
    }

    /// Tells whether it was read by the wire and holds what makes rskafka fail, or what it takes more
    /// memory for than there is `room`.
    pub(super) fn is_beyond_rskafka(&self, room: usize) -> bool {
        let Entries::Wire(fetched) = &self.entries else { return false };
        let beyond = |(name, value): (&[u8], Option<&[u8]>)| value.is_none() || std::str::from_utf8(name).is_err();
        let is_odd = |record: RecordView<'_>| record.headers.iter().any(beyond);
        fetched.controls > 0
            || fetched.compressed
            || self.bytes > room
            || self.held.is_some()
            || !fetched.records.flaws().is_empty()
            || fetched.records.iter().any(|found| is_odd(found.record))
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

fn held_bytes(found: &RecordAndOffset) -> usize {
    let Record { key, value, headers, .. } = &found.record;
    let headers = headers.iter().map(|(name, value)| name.len() + value.len());
    length(key.as_deref()) + length(value.as_deref()) + headers.sum::<usize>()
}

fn length(field: Option<&[u8]>) -> usize {
    field.map_or(0, <[u8]>::len)
}
