//! `dlq stats`: how many there are, by what.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;

use super::chart::{chart, columns};
use super::counted::Counted;
use super::reader::{Log, Reader};
use super::state::{State, StateCounts, States};
use super::times::Times;
use super::told::told;
use super::{Context, Failure, Filter, StatsDlq, for_people};
use crate::dead_letter::{ErrorHeaders, write_line};
use crate::record::RecordView;

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
    /// What became of them, where the brokers tell.
    state: Option<Became>,
}

/// What became of dead letters.
#[derive(Debug, Default, Serialize)]
struct Became {
    /// By the progress of these groups.
    groups: Vec<String>,
    #[serde(flatten)]
    all: StateCounts,
    /// By partition of the dead-letter topic.
    partitions: BTreeMap<i32, StateCounts>,
}

impl Became {
    fn count(&mut self, partition: i32, state: State) {
        self.all.count(state);
        self.partitions.entry(partition).or_default().count(state);
    }

    fn print(&self, out: &mut dyn Write, topic: &str) -> std::io::Result<()> {
        let StateCounts { open, replayed, given_up } = self.all;
        let groups = self.groups.join(" and ");
        writeln!(out, "{open} open, {replayed} replayed or retried, {given_up} given up: by the progress of {groups}")?;
        let label = |partition: &i32| format!("{topic}/{partition}");
        let width = self
            .partitions
            .keys()
            .map(|partition| label(partition).len())
            .chain(["PARTITION".len()])
            .max()
            .unwrap_or(0);
        if self.partitions.is_empty() {
            return Ok(());
        }
        writeln!(out, "\n{:<width$}  {:>9}  {:>9}  {:>9}", "PARTITION", "OPEN", "REPLAYED", "GIVEN UP")?;
        for (partition, StateCounts { open, replayed, given_up }) in &self.partitions {
            writeln!(out, "{:<width$}  {open:>9}  {replayed:>9}  {given_up:>9}", label(partition))?;
        }
        Ok(())
    }
}

pub(super) async fn run(args: &StatsDlq, context: &Context, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let log = Log::ask(context, &args.filter.partition).await?;
    let states = States::ask(context, &log, &args.filter, args.group.as_deref()).await;
    let states = states.inspect_err(|why| tell!("login-pipeline: which of them are open is not known: {why}")).ok();
    let state = states.as_ref().map(|states| Became { groups: states.groups.clone(), ..Became::default() });
    let mut stats = Stats { topic: context.topic().to_owned(), state, ..Stats::default() };
    for (partition, stretch) in log.stretches {
        let mut reader = Reader::new(context, log.topic_id, partition, stretch);
        while let Some(batch) = reader.next().await? {
            for entry in reader.entries(&batch) {
                match entry.flaw {
                    Some(_) => stats.damaged += 1,
                    None => stats.count(partition, &entry.record, context.prefix(), &args.filter, states.as_ref()),
                }
            }
        }
    }
    if args.table || (for_people() && !args.json) {
        stats.print(out)?;
    } else {
        write_line(out, &stats)?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Stats {
    fn count(
        &mut self,
        partition: i32,
        record: &RecordView<'_>,
        prefix: &str,
        filter: &Filter,
        states: Option<&States>,
    ) {
        let error_headers = ErrorHeaders::of(record, prefix);
        if !filter.takes(record, &error_headers) {
            return;
        }
        let length = |field: Option<&[u8]>| field.map_or(0, <[u8]>::len);
        self.records += 1;
        self.bytes += crate::observe::count(length(record.key) + length(record.value));
        self.truncated += u64::from(error_headers.truncated_from.is_some());
        let told = told(&error_headers);
        self.reasons.count(told.reason);
        if told.field != "-" {
            self.fields.count(told.field);
        }
        self.source_partitions.count(told.source_partition);
        self.times.count(error_headers.time(record));
        if let Some((state, states)) = self.state.as_mut().zip(states) {
            state.count(partition, states.of(partition, record.offset, &error_headers));
        }
    }

    fn print(&self, out: &mut dyn Write) -> std::io::Result<()> {
        writeln!(out, "{}: {} dead letters, {} bytes", self.topic, self.records, self.bytes)?;
        for (count, what) in [(self.truncated, "have a value that was cut"), (self.damaged, "can't be decoded")] {
            if count > 0 {
                writeln!(out, "{count} of them {what}")?;
            }
        }
        if let Some(state) = &self.state {
            state.print(out, &self.topic)?;
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
    use super::super::counted::MOST;
    use super::*;

    #[test]
    fn counts_are_bounded() {
        let mut counted = Counted::default();
        (0..5_000).for_each(|n| counted.count(format!("{n:04}")));
        assert_eq!(counted.iter().count(), MOST + 1);
        assert_eq!(counted.iter().map(|(_, count)| count).sum::<u64>(), 5_000);
    }
}
