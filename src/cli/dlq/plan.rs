//! What a replay does with each dead letter, and what it comes to: told before anything is written.

use std::collections::BTreeMap;
use std::io::Write;

use super::input::Found;
use super::judge::Judge;
use super::stats::Counted;
use super::{Context, ReplayDlq};
use crate::dead_letter::Marks;
use crate::event::{Reason, Rejection};
use crate::stages::{Passed, Route};

/// What becomes of one dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate<'a> {
    /// The record that it was is written to this topic.
    Replay(&'a str),
    /// It was replayed too often: it goes to the quarantine topic as it is.
    Quarantine(&'a str),
    /// It stays where it is, and is passed over.
    Skip(Skip),
}

/// Why one is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Skip {
    /// The filter does not take it.
    Filtered,
    /// Its value or key was cut, or headers left out.
    Truncated,
    /// It never was a record, but a batch that can't be decoded; or it can't be decoded itself.
    Damaged,
    /// It does not say where it came from.
    NoTopic,
    /// It says that it came from a topic that is not the source, and that nobody allowed.
    Elsewhere,
    /// Its topic refuses it for good.
    Refused,
}

impl Skip {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Filtered => "not what the filters ask for",
            Self::Truncated => "truncated: not all of the record is there",
            Self::Damaged => "no record: bytes that can't be decoded",
            Self::NoTopic => "without a topic that it came from: --to names one",
            Self::Elsewhere => "from a topic other than source.topic: --allow-topic allows one, --to names one for all",
            Self::Refused => "refused by the topic for good",
        }
    }
}

/// Decides.
pub struct Rules<'a> {
    /// The command line.
    pub args: &'a ReplayDlq,
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
    pub fn new(args: &'a ReplayDlq, context: &'a Context) -> Self {
        let default = || format!("{}-quarantine", context.topic());
        let quarantine = args.quarantine_topic.clone().unwrap_or_else(default);
        Self { args, prefix: context.prefix(), quarantine, source: &context.config.source.topic }
    }

    /// Where a record goes that came from this topic, as its dead letter says.
    fn target<'e>(&'e self, came_from: Option<&'e str>) -> Fate<'e> {
        match (self.args.to.as_deref(), came_from) {
            (Some(to), _) => Fate::Replay(to),
            (None, None) => Fate::Skip(Skip::NoTopic),
            (None, Some(topic)) if topic == self.source || self.args.allow_topic.iter().any(|it| it == topic) => {
                Fate::Replay(topic)
            }
            (None, Some(_)) => Fate::Skip(Skip::Elsewhere),
        }
    }

    /// What becomes of a dead letter with these marks.
    pub fn fate<'e>(&'e self, Found { entry, partition }: &Found<'e>, marks: &Marks<'e>) -> Fate<'e> {
        if entry.flaw.is_some() {
            return Fate::Skip(Skip::Damaged);
        }
        if !self.args.filter.takes_partition(*partition) || !self.args.filter.takes(&entry.record, marks) {
            return Fate::Skip(Skip::Filtered);
        }
        if marks.is_truncated() {
            return Fate::Skip(Skip::Truncated);
        }
        if marks.reason == Some(Reason::CorruptBatch.code()) {
            return Fate::Skip(Skip::Damaged);
        }
        if marks.replays >= self.args.max_replays.get() {
            return Fate::Quarantine(&self.quarantine);
        }
        self.target(marks.topic)
    }
}

/// What is done, or would be.
#[derive(Debug, Default)]
pub struct Plan {
    /// Records by the topic that they are written to.
    pub topics: BTreeMap<String, u64>,
    /// Of these, those that are quarantined.
    pub quarantined: u64,
    /// Dead letters that are passed over.
    pub skipped: BTreeMap<Skip, u64>,
    /// What the rules in force make of the records that are replayed.
    pub verdicts: Counted,
    /// How many of these they let through to a topic, and how many there are.
    pub passing: (u64, u64),
    /// How many of them a rule drops.
    pub dropped: u64,
}

impl Plan {
    /// Notes what becomes of one.
    pub fn note(&mut self, fate: Fate<'_>) {
        match fate {
            Fate::Skip(why) => *self.skipped.entry(why).or_default() += 1,
            Fate::Replay(topic) | Fate::Quarantine(topic) => {
                self.quarantined += u64::from(matches!(fate, Fate::Quarantine(_)));
                match self.topics.get_mut(topic) {
                    Some(count) => *count += 1,
                    None => drop(self.topics.insert(topic.to_owned(), 1)),
                }
            }
        }
    }

    /// Notes that its topic refuses one that was noted before.
    pub fn refused(&mut self, fate: Fate<'_>) {
        if let Fate::Replay(topic) | Fate::Quarantine(topic) = fate
            && let Some(count) = self.topics.get_mut(topic)
        {
            *count -= 1;
        }
        self.quarantined -= u64::from(matches!(fate, Fate::Quarantine(_)));
        self.note(Fate::Skip(Skip::Refused));
    }

    /// Notes what the rules in force make of a record.
    pub fn judged(&mut self, verdict: &Result<Passed, Rejection>, judge: &Judge<'_>) {
        let is_dropped = verdict.as_ref().is_ok_and(|passed| passed.route == Route::Drop);
        self.passing.0 += u64::from(verdict.is_ok() && !is_dropped);
        self.passing.1 += 1;
        self.dropped += u64::from(is_dropped);
        self.verdicts.count(judge.words(verdict));
    }

    /// Notes what was done besides.
    pub fn add(&mut self, other: Self) {
        for (topic, count) in other.topics {
            *self.topics.entry(topic).or_default() += count;
        }
        for (why, count) in other.skipped {
            *self.skipped.entry(why).or_default() += count;
        }
        self.quarantined += other.quarantined;
    }

    /// How many would pass now.
    ///
    /// # Errors
    /// Where `out` takes nothing.
    pub fn print_passing(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let (passing, all) = self.passing;
        write!(out, "{passing} of {all} would pass now")?;
        if self.dropped > 0 {
            write!(out, ", {} would be dropped by a rule", self.dropped)?;
        }
        Ok(())
    }

    /// How many records are written.
    pub fn records(&self) -> u64 {
        self.topics.values().sum()
    }

    /// What is done, in `verb`'s time.
    ///
    /// # Errors
    /// Where `out` takes nothing.
    pub fn print(&self, out: &mut dyn Write, verb: &str) -> std::io::Result<()> {
        for (topic, count) in &self.topics {
            writeln!(out, "{count} records {verb} to {topic}")?;
        }
        if self.topics.is_empty() {
            writeln!(out, "0 records {verb}")?;
        }
        if self.quarantined > 0 {
            writeln!(out, "{} of them are quarantined", self.quarantined)?;
        }
        for (why, count) in &self.skipped {
            writeln!(out, "{count} dead letters stay, {}", why.as_str())?;
        }
        Ok(())
    }
}
