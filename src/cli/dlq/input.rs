//! What a replay reads: the dead-letter topic, or an export of it.

use std::collections::BTreeMap;

use super::args::Again;
use super::file::{ExportFile, Lines};
use super::reader::{Log, Reader, is_missing};
use super::{Context, Failure};
use crate::dead_letter::Exported;
use crate::record::Offset;
use crate::source::{Entry, SourceBatch};

/// As many lines are taken at a time.
const LINES: usize = 1_000;

/// The dead letters to read, as they were at the start.
pub(super) struct Input<'c> {
    context: &'c Context,
    /// Its partitions. A file is one, 0, whose offsets are lines.
    pub log: Log,
    file: Option<ExportFile>,
}

/// A dead letter, and the partition of the dead-letter topic that it lies in, or was exported from.
pub(super) struct Found<'b> {
    /// Its place in what is read, and the record.
    pub entry: Entry<'b>,
    /// The partition.
    pub partition: i32,
}

/// One partition that is read.
pub(super) enum Source<'c> {
    /// Of the topic.
    Topic(i32, Box<Reader<'c>>),
    /// Of a file.
    File(Box<Lines>),
}

/// Some dead letters, one after the other.
pub(super) enum Batch {
    /// Of the topic.
    Topic(SourceBatch),
    /// Of a file, from this line on.
    File(Offset, Vec<Exported>),
}

impl<'c> Input<'c> {
    /// Finds out what there is.
    ///
    /// # Errors
    /// Where the topic is not there, the brokers don't tell, or the file can't be read.
    pub(super) async fn ask(args: &Again, context: &'c Context) -> Result<Self, Failure> {
        let Some(path) = &args.from_file else {
            let log = Log::ask(context, &args.filter.partition).await?;
            return Ok(Self { context, log, file: None });
        };
        let file = ExportFile::open(path).await?;
        // Kafka keeps offsets of topics that are there.
        let topic = context.topic();
        match context.patiently(|| async { context.describe(topic).await }).await {
            Err(error) if is_missing(&error) => {
                return Err(format!(
                    "how far a file is replayed is kept as an offset of the dead-letter topic, but {topic} is not there: \
                     create it, or name one that is by --dead_letter.topic"
                )
                .into());
            }
            found => drop(found?),
        }
        // It outlives the topic that it came from, so that the topic's id is of no importance.
        let log = Log { topic_id: None, stretches: BTreeMap::from([(0, (Offset(0), file.lines))]) };
        Ok(Self { context, log, file: Some(file) })
    }

    /// The digest that tells a file from every other.
    pub(super) fn sha256(&self) -> Option<&str> {
        self.file.as_ref().map(|file| file.sha256.as_str())
    }

    /// Reads a stretch of a partition.
    ///
    /// # Errors
    /// Where the file can't be read.
    pub(super) async fn read(&self, partition: i32, stretch: (Offset, Offset)) -> Result<Source<'c>, Failure> {
        let Some(file) = &self.file else {
            let reader = Reader::new(self.context, self.log.topic_id, partition, stretch);
            return Ok(Source::Topic(partition, Box::new(reader)));
        };
        // A control character has one byte in the record and six in JSON.
        let frame = self.context.config.kafka.max_frame_bytes.as_usize();
        Ok(Source::File(Box::new(file.lines_from(stretch.0, frame.saturating_mul(6)).await?)))
    }
}

impl Source<'_> {
    /// The next dead letters; `None` at the end.
    ///
    /// # Errors
    /// What lasts, or does not pass in time.
    pub(super) async fn next(&mut self) -> Result<Option<Batch>, Failure> {
        Ok(match self {
            Self::Topic(_, reader) => reader.next().await?.map(Batch::Topic),
            Self::File(lines) => {
                let first = lines.next;
                let letters = lines.read(LINES).await?;
                (!letters.is_empty()).then_some(Batch::File(first, letters))
            }
        })
    }

    /// The dead letters of a batch, in their order.
    pub(super) fn found<'b>(&self, batch: &'b Batch) -> Vec<Found<'b>> {
        match (self, batch) {
            (Self::Topic(partition, reader), Batch::Topic(batch)) => {
                reader.entries(batch).map(|entry| Found { entry, partition: *partition }).collect()
            }
            (_, Batch::File(first, letters)) => {
                let offsets = (first.0..).map(Offset);
                let entry = |(letter, offset): (&'b Exported, _)| Entry { record: letter.record(offset), flaw: None };
                let partitions = letters.iter().map(|letter| letter.partition);
                let entries = letters.iter().zip(offsets).map(entry);
                entries.zip(partitions).map(|(entry, partition)| Found { entry, partition }).collect()
            }
            (Self::File(_), Batch::Topic(_)) => Vec::new(), // no source's own
        }
    }
}
