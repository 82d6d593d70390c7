//! The independent audit: reads the source, all outputs and the dead letters whole, and accounts
//! for every source record. It shares no code with the pipeline.
//!
//! Outputs carry no offset of their source; an output belongs to the source record of the same
//! user, device and time. Dead letters name partition and offset in their headers. Of a record
//! only hashes are kept, about 150 bytes, so a million of them is no trouble.

use std::collections::HashMap;
use std::fmt;

use anyhow::Result;

use super::oracle::{Asked, Expected, Output, hash, judge_as};
use super::records::RawRecord;
use super::wire;

/// What to read and what to hold it to.
#[derive(Debug, Clone)]
pub struct AuditPlan {
    pub bootstrap: String,
    pub source: String,
    /// All topics that good records may be in.
    pub outputs: Vec<String>,
    pub dead_letter: String,
    pub header_prefix: String,
    /// Whether source partition p must be written to partition p mod n.
    pub same_partition: bool,
    /// Whether good records may be dead letters, as when the output refuses them for their size.
    pub good_may_be_dead: bool,
    /// What is asked for beyond the usual.
    pub asked: Asked,
}

impl AuditPlan {
    /// With the program's defaults for the rest.
    pub fn new(bootstrap: &str, source: &str, output: &str, dead_letter: &str) -> Self {
        Self {
            bootstrap: bootstrap.to_owned(),
            source: source.to_owned(),
            outputs: vec![output.to_owned()],
            dead_letter: dead_letter.to_owned(),
            header_prefix: "__dlq.errors.".to_owned(),
            same_partition: true,
            good_may_be_dead: false,
            asked: Asked::default(),
        }
    }

    /// Reads everything that is there now. Only what is committed counts; transactions that are ending are
    /// waited for.
    pub async fn run(&self) -> Result<Audit> {
        let mut ledger = Ledger::new(self);
        for partition in wire::partitions(&self.bootstrap, &self.source).await? {
            let visit = |record| ledger.source(partition, &record);
            wire::read_partition(&self.bootstrap, &self.source, partition, visit).await?;
        }
        for topic in &self.outputs {
            let partitions = wire::partitions(&self.bootstrap, topic).await?;
            for partition in &partitions {
                let at = Place { topic, partition: *partition, partitions: partitions.len() };
                wire::settled(&self.bootstrap, topic, *partition).await?;
                wire::read_partition(&self.bootstrap, topic, *partition, |record| ledger.output(at, &record)).await?;
            }
        }
        let partitions = wire::partitions(&self.bootstrap, &self.dead_letter).await?;
        for partition in &partitions {
            let at = Place { topic: &self.dead_letter, partition: *partition, partitions: partitions.len() };
            let visit = |record| ledger.dead(at, &record);
            wire::settled(&self.bootstrap, &self.dead_letter, *partition).await?;
            wire::read_partition(&self.bootstrap, &self.dead_letter, *partition, visit).await?;
        }
        Ok(ledger.close())
    }
}

/// What became of the source records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Records in the source.
    pub source: u64,
    /// Records in the outputs.
    pub output: u64,
    /// Records in the dead-letter topic.
    pub dead: u64,
    /// Source records that are in neither.
    pub lost: u64,
    /// Copies beyond the one that each source record has.
    pub doubled: u64,
    /// Of the stretches of a partition that were written twice, how long the longest took the first
    /// time, in milliseconds: what a crash repeated is one of these.
    pub longest_repeat_ms: i64,
    /// Records that stand behind a later one of their source partition, repeats aside.
    pub out_of_order: u64,
    /// Outputs that are not what they had to become: fields, key, headers or timestamp.
    pub wrong_fields: u64,
    /// Dead letters that are not what they were, or that lack a header that says why.
    pub dlq_bytes_differ: u64,
    /// Outputs or dead letters without a source record, or in the wrong one of the two.
    pub unexpected: u64,
    /// Outputs in another partition than their source's.
    pub misplaced: u64,
    /// The first few of what is wrong.
    pub examples: Vec<String>,
}

impl Audit {
    /// Every record exactly once, in order, as it had to become.
    #[track_caller]
    pub fn assert_clean(&self) {
        self.assert_doubled_at_most(0);
    }

    /// As [`Self::assert_clean`], but a crash may have repeated so many.
    #[track_caller]
    pub fn assert_doubled_at_most(&self, most: u64) {
        let wrong =
            [self.lost, self.out_of_order, self.wrong_fields, self.dlq_bytes_differ, self.unexpected, self.misplaced];
        assert!(wrong == [0; 6] && self.doubled <= most, "at most {most} may be doubled, but:\n{self}");
    }

    fn wrong(&mut self, what: impl FnOnce() -> String) {
        if self.examples.len() < 10 {
            self.examples.push(what());
        }
    }
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "source {} = output {} + dead {}", self.source, self.output, self.dead)?;
        write!(f, "lost {}, doubled {}", self.lost, self.doubled)?;
        writeln!(f, " (longest stretch {} ms), out of order {}", self.longest_repeat_ms, self.out_of_order)?;
        write!(f, "wrong fields {}, dead letters that differ {}", self.wrong_fields, self.dlq_bytes_differ)?;
        writeln!(f, ", unexpected {}, misplaced {}", self.unexpected, self.misplaced)?;
        self.examples.iter().try_for_each(|example| writeln!(f, "  {example}"))
    }
}

/// Where an output or dead letter was found.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub topic: &'a str,
    pub partition: i32,
    /// How many partitions the topic has.
    pub partitions: usize,
}

/// The account itself; [`AuditPlan::run`] fills it from Kafka: first all of the source, then the
/// rest, partition by partition, each in order.
pub struct Ledger<'a> {
    plan: &'a AuditPlan,
    /// By partition and offset.
    entries: Vec<Entry>,
    by_identity: HashMap<u64, usize>,
    /// The furthest entry of a source partition seen in an output or dead-letter partition.
    furthest: HashMap<(u64, i32, i32), usize>,
    audit: Audit,
}

/// A source record.
struct Entry {
    partition: i32,
    offset: i64,
    /// What it must become; `None` must be a dead letter.
    expected: Option<Expected>,
    /// Hash of key, headers and timestamp.
    envelope: u64,
    /// Hash of all of it.
    whole: u64,
    outputs: u32,
    dead: u32,
    /// When the first output was processed.
    processed_at_ms: Option<i64>,
    /// The next source record of the same identity: a source may hold an event twice.
    twin: Option<usize>,
}

impl<'a> Ledger<'a> {
    pub fn new(plan: &'a AuditPlan) -> Self {
        Self {
            plan,
            entries: Vec::new(),
            by_identity: HashMap::new(),
            furthest: HashMap::new(),
            audit: Audit::default(),
        }
    }

    pub fn source(&mut self, partition: i32, record: &RawRecord) {
        self.audit.source += 1;
        let expected = judge_as(record.value.as_deref(), &self.plan.asked).ok();
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        let key = match expected {
            Some(_) => self.plan.asked.key(key, value),
            None => key.map(<[u8]>::to_vec),
        };
        let at = self.entries.len();
        let twin = expected.as_ref().and_then(|expected| self.by_identity.insert(expected.identity, at));
        let last = self.entries.last().map(|last| (last.partition, last.offset));
        assert!(last < Some((partition, record.offset)), "the source must be read in order");
        self.entries.push(Entry {
            partition,
            offset: record.offset,
            expected,
            envelope: envelope_with(key, record),
            whole: whole(record, &self.plan.header_prefix, record.timestamp_ms),
            outputs: 0,
            dead: 0,
            processed_at_ms: None,
            twin,
        });
    }

    pub fn output(&mut self, place: Place<'_>, record: &RawRecord) {
        self.audit.output += 1;
        let found = format!("{}-{} offset {}", place.topic, place.partition, record.offset);
        let output = match Output::parse(record.value.as_deref()) {
            Ok(output) => output,
            Err(why) => {
                self.audit.wrong_fields += 1;
                return self.audit.wrong(|| format!("{found} is no output: {why}"));
            }
        };
        let Some(at) = self.source_of(&output, record) else {
            self.audit.unexpected += 1;
            return self.audit.wrong(|| format!("{found} has no good source record"));
        };
        self.check_order(place, at);
        let entry = &mut self.entries[at];
        entry.outputs += 1;
        entry.processed_at_ms.get_or_insert(output.processed_at_ms);
        let (partition, offset) = (entry.partition, entry.offset);
        let mut right = entry.expected.as_ref().map_or(Ok(()), |expected| output.check(expected));
        if entry.envelope != envelope(record) {
            right = right.and(Err("key, headers or timestamp differ".to_owned()));
        }
        if let Err(why) = right {
            self.audit.wrong_fields += 1;
            self.audit.wrong(|| format!("{found}, from {partition} offset {offset}: {why}"));
        }
        let theirs = usize::try_from(partition).ok().map(|partition| partition % place.partitions.max(1));
        if self.plan.same_partition && theirs != usize::try_from(place.partition).ok() {
            self.audit.misplaced += 1;
            self.audit.wrong(|| format!("{found} comes from partition {partition}"));
        }
    }

    pub fn dead(&mut self, place: Place<'_>, record: &RawRecord) {
        self.audit.dead += 1;
        let found = format!("{}-{} offset {}", place.topic, place.partition, record.offset);
        let prefix = &self.plan.header_prefix;
        let header = |name: &str| record.header(&format!("{prefix}{name}"));
        let lacking = dead_letter_headers(&header, &self.plan.source);
        let partition = header("partition").and_then(|text| text.parse().ok());
        let from = partition.zip(header("offset").and_then(|text| text.parse().ok()));
        let Some(at) = from.and_then(|from| self.position(from)) else {
            self.audit.unexpected += 1;
            return self.audit.wrong(|| format!("{found} names no source record: {from:?}"));
        };
        let timestamp_ms = header("timestamp").and_then(|text| text.parse().ok()).unwrap_or(record.timestamp_ms);
        let same = self.entries[at].whole == whole(record, prefix, timestamp_ms);
        if let Err(why) = if same { lacking } else { Err("it differs from its source record".to_owned()) } {
            self.audit.dlq_bytes_differ += 1;
            self.audit.wrong(|| format!("{found}, from {from:?}: {why}"));
        }
        self.check_order(place, at);
        let entry = &mut self.entries[at];
        entry.dead += 1;
        if entry.expected.is_some() && !self.plan.good_may_be_dead {
            self.audit.unexpected += 1;
            self.audit.wrong(|| format!("{found}, from {from:?}, is good"));
        }
    }

    pub fn close(mut self) -> Audit {
        for entry in &self.entries {
            let copies = u64::from(entry.outputs) + u64::from(entry.dead);
            if copies == 0 {
                self.audit.lost += 1;
                let Entry { partition, offset, .. } = *entry;
                self.audit.wrong(|| format!("partition {partition} offset {offset} is lost"));
            }
            if copies > 1 {
                let Entry { partition, offset, .. } = *entry;
                self.audit.wrong(|| format!("partition {partition} offset {offset} was written {copies} times"));
            }
            self.audit.doubled += copies.saturating_sub(1);
        }
        let again = |entry: &Entry| entry.outputs + entry.dead > 1;
        let stretches = self.entries.chunk_by(|a, b| a.partition == b.partition && again(a) == again(b));
        let took = stretches.filter(|stretch| again(&stretch[0])).filter_map(|stretch| {
            let mut times = stretch.iter().filter_map(|entry| entry.processed_at_ms);
            let first = times.next()?;
            Some(times.next_back().unwrap_or(first) - first)
        });
        self.audit.longest_repeat_ms = took.max().unwrap_or(0);
        self.audit
    }

    fn position(&self, source: (i32, i64)) -> Option<usize> {
        self.entries.binary_search_by_key(&source, |entry| (entry.partition, entry.offset)).ok()
    }

    /// The source record of an output: of twins the oldest that has none yet and fits.
    fn source_of(&self, output: &Output, record: &RawRecord) -> Option<usize> {
        let newest = self.by_identity.get(&output.identity).copied()?;
        let mut twins: Vec<usize> = std::iter::successors(Some(newest), |at| self.entries[*at].twin).collect();
        twins.reverse();
        let waiting = |at: &&usize| self.entries[**at].outputs == 0;
        let fits = |at: &&usize| {
            let entry = &self.entries[**at];
            entry.envelope == envelope(record) && entry.expected.as_ref().is_some_and(|e| e.fields == output.fields)
        };
        let best = twins.iter().filter(waiting).find(fits).or_else(|| twins.iter().find(waiting));
        best.or(twins.first()).copied()
    }

    /// First occurrences of a source partition's records stand in its order.
    fn check_order(&mut self, place: Place<'_>, at: usize) {
        let entry = &self.entries[at];
        if entry.outputs + entry.dead > 0 {
            return;
        }
        let lane = (hash(&place.topic), place.partition, entry.partition);
        let furthest = self.furthest.entry(lane).or_insert(at);
        if at < *furthest {
            self.audit.out_of_order += 1;
            let Place { topic, partition, .. } = place;
            let (from, offset) = (entry.partition, entry.offset);
            self.audit.wrong(|| format!("{topic}-{partition}: offset {offset} of partition {from} is out of order"));
        }
        *furthest = at.max(*furthest);
    }
}

/// Whether a dead letter says where it came from and why it is one.
fn dead_letter_headers<'h>(header: &impl Fn(&str) -> Option<&'h str>, source: &str) -> Result<(), String> {
    for name in ["topic", "partition", "offset", "timestamp", "reason", "message", "stage", "application", "version"] {
        if header(name).is_none_or(str::is_empty) {
            return Err(format!("the header {name:?} is missing"));
        }
    }
    if header("topic") != Some(source) {
        return Err(format!("it names the topic {:?}", header("topic")));
    }
    if !matches!(header("stage"), Some("validate" | "enrich" | "route" | "produce")) {
        return Err(format!("it names the stage {:?}", header("stage")));
    }
    if header("message").is_some_and(|message| message.len() > 256) {
        return Err("its message is longer than 256 bytes".to_owned());
    }
    Ok(())
}

fn envelope(record: &RawRecord) -> u64 {
    envelope_with(record.key.as_ref().map(|key| key.to_vec()), record)
}

/// The same, with another key.
fn envelope_with(key: Option<Vec<u8>>, record: &RawRecord) -> u64 {
    hash(&(key, &record.headers, record.timestamp_ms))
}

/// All of a record, without the headers that begin with `prefix`, and with the time that it was made.
fn whole(record: &RawRecord, prefix: &str, timestamp_ms: i64) -> u64 {
    let headers: Vec<_> = record.headers.iter().filter(|(name, _)| !name.starts_with(prefix.as_bytes())).collect();
    hash(&(&record.key, &record.value, headers, timestamp_ms))
}
