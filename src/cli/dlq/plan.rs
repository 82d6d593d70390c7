//! What a replay or a retry does with each dead letter, and what it comes to: told before anything is written.

use std::collections::BTreeMap;
use std::io::Write;

use super::args::{Again, MAX_REPLAYS};
use super::counted::Counted;
use super::input::Found;
use super::judge;
use super::skip::Skip;
use super::{Context, ReplayDlq};
use crate::dead_letter::ErrorHeaders;
use crate::event::Rejection;
use crate::stages::{Passed, Route, Routes};

/// The fate of one dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate<'a> {
    /// The record that it was is written to this topic, to be read once more.
    Replay(&'a str),
    /// What the stages make of it is to be written.
    Retry,
    /// It was replayed too often: it goes to the quarantine topic as it is.
    Quarantine(&'a str),
    /// It stays where it is, and is passed over.
    Skip(Skip),
}

/// The way that dead letters go.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way<'a> {
    /// To the topic that they came from, or to another.
    Source(&'a ReplayDlq),
    /// To the outputs, by the routes in force.
    Outputs,
}

/// Decides.
pub(super) struct Rules<'a> {
    /// What the command line says.
    pub args: &'a Again,
    /// Where they go.
    pub way: Way<'a>,
    /// What dead letters' own headers begin with.
    pub prefix: &'a str,
    /// Where those go that were replayed too often.
    pub quarantine: String,
    /// What the pipeline reads. Whoever writes to the dead-letter topic chooses the headers: a record goes nowhere
    /// else by what they say, unless an operator allows it.
    source: &'a str,
}

impl<'a> Rules<'a> {
    /// For dead letters of this configuration's topic.
    pub(super) fn new(args: &'a Again, way: Way<'a>, context: &'a Context) -> Self {
        let named = match way {
            Way::Source(replay) => replay.quarantine_topic.clone(),
            Way::Outputs => None,
        };
        let quarantine = named.unwrap_or_else(|| format!("{}-quarantine", context.topic()));
        Self { args, way, prefix: context.prefix(), quarantine, source: &context.config.source.topic }
    }

    /// The topic that all of them are written to, where one is named.
    pub(super) fn to(&self) -> Option<&'a str> {
        match self.way {
            Way::Source(replay) => replay.to.as_deref(),
            Way::Outputs => None,
        }
    }

    /// So often a record may have been replayed.
    pub(super) fn max_replays(&self) -> u32 {
        match self.way {
            Way::Source(replay) => replay.max_replays.get(),
            Way::Outputs => MAX_REPLAYS.get(),
        }
    }

    /// The topic that a record goes back to which came from this one, as its dead letter says.
    fn back<'e>(&'e self, came_from: Option<&'e str>) -> Result<&'e str, Skip> {
        match (self.to(), came_from) {
            (Some(to), _) => Ok(to),
            (None, None) => Err(Skip::NoTopic),
            (None, Some(topic)) if topic == self.source || self.args.allow_topic.iter().any(|it| it == topic) => {
                Ok(topic)
            }
            (None, Some(_)) => Err(Skip::Elsewhere),
        }
    }

    /// The fate of a dead letter with these error headers.
    pub(super) fn fate<'e>(
        &'e self,
        Found { entry, partition }: &Found<'e>,
        error_headers: &ErrorHeaders<'e>,
    ) -> Fate<'e> {
        if entry.flaw.is_some() {
            return Fate::Skip(Skip::Damaged);
        }
        if !self.args.filter.takes_partition(*partition) || !self.args.filter.takes(&entry.record, error_headers) {
            return Fate::Skip(Skip::Filtered);
        }
        self.fate_of(error_headers)
    }

    /// The fate of one that the filter takes.
    pub(super) fn fate_of<'e>(&'e self, error_headers: &ErrorHeaders<'e>) -> Fate<'e> {
        if let Some(why) = Skip::of(error_headers) {
            return Fate::Skip(why);
        }
        match self.way {
            Way::Source(_) if error_headers.replays >= self.max_replays() => Fate::Quarantine(&self.quarantine),
            Way::Source(_) => self.back(error_headers.topic).map_or_else(Fate::Skip, Fate::Replay),
            // What passes now has died often enough; what does not is no more often replayed by that.
            Way::Outputs => self.back(error_headers.topic).map_or_else(Fate::Skip, |_| Fate::Retry),
        }
    }
}

/// The counts of what is done, or would be.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Records by the topic that they are written to.
    pub topics: BTreeMap<String, u64>,
    /// Of these, those that are quarantined.
    pub quarantined: u64,
    /// Dead letters that are passed over.
    pub skipped: BTreeMap<Skip, u64>,
    /// Records that were to be written, and that their topic refuses for good: they stay open.
    pub refused: u64,
    /// What a retry leaves open: they would be dead letters once more.
    pub failing: u64,
    /// What a retry is done with, since a rule drops it.
    pub dropped: u64,
    /// What the rules in force make of the records.
    pub verdicts: Counted,
    /// How many of these they let through to a topic, how many they drop, and how many there are.
    passing: (u64, u64, u64),
}

/// Whether it is told what will be, or what was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tense {
    /// It will be.
    Future,
    /// It was.
    Past,
}

impl Plan {
    /// Notes what becomes of one: of one that is retried by the verdict, which is needed for those alone.
    pub(super) fn note(&mut self, fate: Fate<'_>, verdict: Option<&Result<Passed, Rejection>>, routes: &Routes) {
        match (fate, verdict) {
            (Fate::Skip(why), _) => *self.skipped.entry(why).or_default() += 1,
            (Fate::Replay(topic), _) => self.write_to(topic),
            (Fate::Quarantine(topic), _) => {
                self.quarantined += 1;
                self.write_to(topic);
            }
            (Fate::Retry, Some(Ok(passed))) => match judge::topic(routes, passed) {
                Some(topic) => self.write_to(topic),
                None => self.dropped += 1,
            },
            (Fate::Retry, _) => self.failing += 1,
        }
    }

    fn write_to(&mut self, topic: &str) {
        match self.topics.get_mut(topic) {
            Some(count) => *count += 1,
            None => drop(self.topics.insert(topic.to_owned(), 1)),
        }
    }

    /// Notes that its topic refuses one that was noted before.
    pub(super) fn refused(&mut self, topic: &str, is_quarantined: bool) {
        if let Some(count) = self.topics.get_mut(topic) {
            *count -= 1;
        }
        self.quarantined -= u64::from(is_quarantined);
        self.refused += 1;
    }

    /// Notes what the rules in force make of a record.
    pub(super) fn judged(&mut self, verdict: &Result<Passed, Rejection>, routes: &Routes) {
        let is_dropped = verdict.as_ref().is_ok_and(|passed| passed.route == Route::Drop);
        self.passing.0 += u64::from(verdict.is_ok() && !is_dropped);
        self.passing.1 += u64::from(is_dropped);
        self.passing.2 += 1;
        self.verdicts.count(judge::words(routes, verdict));
    }

    /// Notes what was done besides.
    pub(super) fn add(&mut self, other: Self) {
        for (topic, count) in other.topics {
            *self.topics.entry(topic).or_default() += count;
        }
        for (why, count) in other.skipped {
            *self.skipped.entry(why).or_default() += count;
        }
        self.quarantined += other.quarantined;
        self.refused += other.refused;
        self.failing += other.failing;
        self.dropped += other.dropped;
        self.verdicts.add(&other.verdicts);
    }

    /// The number of records that are written.
    pub(super) fn records(&self) -> u64 {
        self.topics.values().sum()
    }

    /// The number of those that would not be taken again, written or not: what a filter leaves out alone costs
    /// nobody anything.
    pub(super) fn done_with(&self) -> u64 {
        let skipped = self.skipped.iter().filter(|(why, _)| **why != Skip::Filtered).map(|(_, count)| count);
        self.records() + self.dropped + skipped.sum::<u64>()
    }

    /// Prints how many would pass now.
    ///
    /// # Errors
    /// Where `out` takes nothing.
    pub(super) fn print_passing(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let (passing, dropped, all) = self.passing;
        write!(out, "{passing} of {all} would pass now")?;
        match dropped {
            0 => Ok(()),
            _ => write!(out, ", {dropped} would be dropped by a rule"),
        }
    }

    /// Prints what is done.
    ///
    /// # Errors
    /// Where `out` takes nothing.
    pub(super) fn print(&self, out: &mut dyn Write, tense: Tense) -> std::io::Result<()> {
        let verb = if tense == Tense::Future { "are to be" } else { "were" };
        for (topic, count) in self.topics.iter().filter(|(_, count)| **count > 0) {
            writeln!(out, "{count} records {verb} written to {topic}")?;
        }
        if self.records() == 0 {
            writeln!(out, "0 records {verb} written")?;
        }
        if self.quarantined > 0 {
            writeln!(out, "{} of them are quarantined", self.quarantined)?;
        }
        if self.dropped > 0 {
            writeln!(out, "{} records {verb} dropped by a rule, and done with", self.dropped)?;
        }
        for (why, count) in &self.skipped {
            writeln!(out, "{count} dead letters stay, {}", why.as_str())?;
        }
        for (count, why) in
            [(self.refused, "refused by the topic for good"), (self.failing, "the rules refuse them still")]
        {
            if count > 0 {
                writeln!(out, "{count} dead letters stay open, {why}")?;
            }
        }
        Ok(())
    }

    /// Prints what the rules in force make of the records.
    ///
    /// # Errors
    /// Where `out` takes nothing.
    pub(super) fn print_verdicts(&self, out: &mut dyn Write) -> std::io::Result<()> {
        self.verdicts.iter().try_for_each(|(verdict, count)| writeln!(out, "  {count:>10}  {verdict}"))
    }
}
