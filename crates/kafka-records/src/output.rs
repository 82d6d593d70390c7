//! A stage's output: batches under construction, one or more for each partition written to.

use std::collections::BTreeSet;

use crate::batch::{BatchBuilder, Outgoing};
use crate::record::Headers;

/// A partition that is written to. The topic is an index into the writer's topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destination {
    /// Which of the writer's topics.
    pub topic: usize,
    /// Which of its partitions.
    pub partition: i32,
}

/// The outputs of one source batch, encoded where they stay.
#[derive(Debug)]
pub struct OutputBatch {
    parts: Vec<Part>,
    /// The part that the last record went to: most often the next one's too.
    last: usize,
    max_batch_bytes: usize,
    /// About what the first part, which is nearly everything's, will hold.
    expected: Expected,
    /// What the first part is written in.
    buffer: Vec<u8>,
}

/// How much is likely to come.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expected {
    /// Records.
    pub records: usize,
    /// Bytes of their encoding.
    pub bytes: usize,
}

/// One record batch for one partition.
#[derive(Debug)]
pub struct Part {
    /// The destination.
    pub to: Destination,
    /// The records.
    pub batch: BatchBuilder,
    /// The index in the source batch of each record's source.
    pub sources: Vec<usize>,
}

impl Part {
    /// Whether nothing came of what it was begun for.
    fn is_empty(&self) -> bool {
        self.batch.count() == 0
    }
}

impl OutputBatch {
    /// Empty; a part is closed before it grows past `max_batch_bytes`.
    pub fn new(max_batch_bytes: usize, expected: Expected) -> Self {
        Self { parts: Vec::new(), last: 0, max_batch_bytes, expected, buffer: Vec::new() }
    }

    /// Begins within a buffer that has served before: its memory is mapped already.
    pub fn within(self, buffer: Vec<u8>) -> Self {
        Self { buffer, ..self }
    }

    /// Writes a record, which came of the source record at index `source`, at the end of what
    /// goes to `to`.
    pub fn append(&mut self, to: Destination, source: usize, record: &Outgoing<'_>, headers: Headers<'_>) {
        let part = self.part(to, BatchBuilder::bytes_of(record));
        part.batch.append(record, headers);
        part.sources.push(source);
    }

    /// Appends a record with the value that `write` appends to the bytes that it is given. It may be called
    /// twice.
    pub fn append_with(
        &mut self,
        to: Destination,
        source: usize,
        record: &Outgoing<'_>,
        headers: Headers<'_>,
        write: &mut dyn FnMut(&mut Vec<u8>),
    ) {
        let max_batch_bytes = self.max_batch_bytes;
        let mut part = self.part(to, BatchBuilder::bytes_of(record));
        let mark = part.batch.mark();
        part.batch.append_with(record, headers, write);
        // What was expected to fit may have grown.
        if part.batch.bytes() > max_batch_bytes && part.batch.count() > 1 {
            part.batch.rewind(mark);
            part = self.new_part(to);
            part.batch.append_with(record, headers, write);
        }
        part.sources.push(source);
    }

    /// The destinations of its parts.
    pub fn destinations(&self) -> BTreeSet<Destination> {
        self.parts.iter().filter(|part| !part.is_empty()).map(|part| part.to).collect()
    }

    /// The parts, those for one partition in the order they must be written in.
    pub fn into_parts(mut self) -> Vec<Part> {
        self.parts.retain(|part| !part.is_empty());
        self.parts
    }

    /// The part of `to` that has room for `bytes` more, or a new one.
    fn part(&mut self, to: Destination, bytes: usize) -> &mut Part {
        let last = self.parts.get(self.last).is_some_and(|part| part.to == to);
        if !last {
            let found = self.parts.iter().rposition(|part| part.to == to);
            self.last = found.unwrap_or(self.parts.len());
        }
        let has_room = |part: &Part| part.batch.count() == 0 || part.batch.bytes() + bytes <= self.max_batch_bytes;
        if !self.parts.get(self.last).is_some_and(has_room) {
            return self.new_part(to);
        }
        let last = self.last;
        &mut self.parts[last]
    }

    fn new_part(&mut self, to: Destination) -> &mut Part {
        self.last = self.parts.len();
        let Expected { records, bytes } = std::mem::take(&mut self.expected);
        let buffer = std::mem::take(&mut self.buffer);
        let batch = BatchBuilder::within(buffer, bytes.min(self.max_batch_bytes));
        self.parts.push(Part { to, batch, sources: Vec::with_capacity(records) });
        &mut self.parts[self.last]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(batch: &mut OutputBatch, topic: usize, source: usize) {
        let record = Outgoing { timestamp_ms: 1, key: None, value: Some(&[7; 100]) };
        batch.append(Destination { topic, partition: 0 }, source, &record, Headers::NONE);
    }

    #[test]
    fn parts_are_split_by_destination_and_size_and_keep_their_order() {
        let mut batch = OutputBatch::new(300, Expected::default());
        for source in 0..6 {
            append(&mut batch, source % 2, source);
        }
        assert_eq!(batch.destinations().into_iter().map(|to| to.topic).collect::<Vec<_>>(), [0, 1]);
        let parts: Vec<_> = batch.into_parts().into_iter().map(|part| (part.to.topic, part.sources)).collect();
        assert_eq!(parts, [(0, vec![0, 2]), (1, vec![1, 3]), (0, vec![4]), (1, vec![5])]);
    }

    #[test]
    fn a_value_that_grows_past_the_limit_begins_a_part() {
        let mut batch = OutputBatch::new(300, Expected::default());
        let record = Outgoing { timestamp_ms: 1, key: None, value: Some(&[7; 100]) };
        for source in 0..3 {
            let to = Destination { topic: 0, partition: 0 };
            batch.append_with(to, source, &record, Headers::NONE, &mut |out| out.extend_from_slice(&[7; 180]));
        }
        let parts: Vec<_> = batch.into_parts().into_iter().map(|part| (part.batch.count(), part.sources)).collect();
        assert_eq!(parts, [(1, vec![0]), (1, vec![1]), (1, vec![2])]);
    }

    #[test]
    fn a_record_larger_than_the_limit_has_a_part_of_its_own() {
        let mut batch = OutputBatch::new(10, Expected::default());
        append(&mut batch, 0, 0);
        append(&mut batch, 0, 1);
        assert_eq!(batch.into_parts().len(), 2);
    }
}
