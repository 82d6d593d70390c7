//! `dlq stats`: how many there are, by what.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;

use super::chart::{Row, chart, columns};
use super::list::told;
use super::reading::{Log, Reading};
use super::times::Times;
use super::{Context, Failure, Filter, StatsDlq, for_people};
use crate::dead_letter::Marks;
use crate::record::RecordView;

/// As many values of a kind are told apart; what comes on top is counted as others.
const MOST: usize = 1_000;

/// Counts by value, bounded.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Counted(BTreeMap<String, u64>);

impl Counted {
    /// Counts one.
    pub fn count(&mut self, value: impl Into<String>) {
        let mut value = value.into();
        if self.0.len() >= MOST && !self.0.contains_key(&value) {
            value = "(others)".to_owned();
        }
        *self.0.entry(value).or_default() += 1;
    }

    /// Value and count, in the values' order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(value, count)| (value.as_str(), *count))
    }

    fn rows(&self, by_count: bool) -> Vec<Row> {
        let mut rows: Vec<_> = self.iter().map(|(label, count)| Row { label: label.to_owned(), count }).collect();
        if by_count {
            rows.sort_by_key(|row| std::cmp::Reverse(row.count));
        }
        rows
    }
}

/// What is counted.
#[derive(Debug, Default, Serialize)]
struct Stats {
    topic: String,
    records: u64,
    bytes: u64,
    /// Of which the value was cut: they can't be replayed as they were.
    truncated: u64,
    /// Of which the batch can't be decoded.
    damaged: u64,
    reasons: Counted,
    fields: Counted,
    source_partitions: Counted,
    /// By the time that the record is of.
    times: Times,
}

pub(super) async fn run(args: &StatsDlq, context: &Context, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let log = Log::ask(context, &args.filter.partition).await?;
    let mut stats = Stats { topic: context.topic().to_owned(), ..Stats::default() };
    for (partition, stretch) in log.stretches {
        let mut reading = Reading::new(context, partition, stretch);
        while let Some(batch) = reading.next().await? {
            for entry in reading.entries(&batch) {
                match entry.flaw {
                    Some(_) => stats.damaged += 1,
                    None => stats.count(&entry.record, context.prefix(), &args.filter),
                }
            }
        }
    }
    if args.table || (for_people() && !args.json) {
        stats.print(out)?;
    } else {
        serde_json::to_writer_pretty(&mut *out, &stats)?;
        writeln!(out)?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Stats {
    fn count(&mut self, record: &RecordView<'_>, prefix: &str, filter: &Filter) {
        let marks = Marks::of(record, prefix);
        if !filter.takes(record, &marks) {
            return;
        }
        let length = |field: Option<&[u8]>| field.map_or(0, <[u8]>::len);
        self.records += 1;
        self.bytes += crate::observe::count(length(record.key) + length(record.value));
        self.truncated += u64::from(marks.truncated_from.is_some());
        let told = told(&marks);
        self.reasons.count(told.reason);
        if told.field != "-" {
            self.fields.count(told.field);
        }
        self.source_partitions.count(told.source_partition);
        self.times.count(marks.time(record));
    }

    fn print(&self, out: &mut dyn Write) -> std::io::Result<()> {
        writeln!(out, "{}: {} dead letters, {} bytes", self.topic, self.records, self.bytes)?;
        for (count, what) in [(self.truncated, "have a value that was cut"), (self.damaged, "can't be decoded")] {
            if count > 0 {
                writeln!(out, "{count} of them {what}")?;
            }
        }
        writeln!(out)?;
        let width = columns();
        chart(out, "REASON", &self.reasons.rows(true), width)?;
        chart(out, "FIELD", &self.fields.rows(true), width)?;
        chart(out, "SOURCE", &self.source_partitions.rows(false), width)?;
        chart(out, &self.times.title(), &self.times.rows(), width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_bounded() {
        let mut counted = Counted::default();
        (0..5_000).for_each(|n| counted.count(format!("{n:04}")));
        assert_eq!(counted.iter().count(), MOST + 1);
        assert_eq!(counted.iter().map(|(_, count)| count).sum::<u64>(), 5_000);
    }
}
