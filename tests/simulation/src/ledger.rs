//! What was sent, and what became of it, told by the brokers as it is written: the account at the end, and what must hold
//! at every moment.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use kafka_sandbox::{NewRecord, StoredRecord};
use test_support::oracle::{Expected, Output, judge};

use crate::release::Rules;

/// The header that tells records apart.
const ID: &str = "id";
/// What begins the names of the headers that a dead letter has.
const PREFIX: &str = "__dlq.errors.";

/// The topics' names.
pub(crate) const SOURCE: &str = "user-login";
/// Of good records.
pub(crate) const OUTPUT: &str = "processed-user-login";
/// Of those that a rule sends there.
pub(crate) const ABROAD: &str = "user-login-abroad";
/// Of dead letters.
pub(crate) const DEAD: &str = "user-login-dlq";

/// The most that is told of what is wrong.
const TOLD: usize = 12;

/// What must become of a record.
#[derive(Debug, Clone)]
enum Fate {
    /// It is written, enriched.
    Good(Expected),
    /// It is a dead letter.
    Dead,
    /// One or the other: its output may refuse it.
    Either(Expected),
    /// Whatever: the source has lost it, or what it was.
    Any(Option<Expected>),
    /// It is nowhere: its transaction was aborted.
    Absent,
}

/// A record of the source.
#[derive(Debug, Clone)]
struct Sent {
    partition: i32,
    offset: i64,
    record: NewRecord,
    fate: Fate,
    /// When it was written, each time.
    copies: Vec<Duration>,
}

impl Sent {
    /// Whether it has come to where it must, or need not.
    fn is_done(&self) -> bool {
        !self.copies.is_empty() || matches!(self.fate, Fate::Any(_) | Fate::Absent)
    }
}

/// Everything that was sent, and what became of it.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// By the number that is in their header.
    sent: Vec<Sent>,
    /// The numbers of what each partition has, in order.
    logs: BTreeMap<i32, BTreeMap<i64, usize>>,
    /// Offsets of the source that were damaged, by partition.
    damaged: BTreeMap<i32, Vec<Range<i64>>>,
    /// How far each partition of an output has come in each partition of the source.
    furthest: BTreeMap<(String, i32, i32), usize>,
    /// What is wrong.
    wrong: Vec<String>,
    wrongs: usize,
    /// Up to where the records of each partition are done.
    done: BTreeMap<i32, i64>,
    /// What was last seen stored of each partition.
    stored: BTreeMap<i32, i64>,
    /// Until then what is sent may lie about, and be carried out late.
    late_until: Duration,
    /// Whether an offset of former times may be told.
    is_told_old: bool,
    /// Partitions whose log went back: what is stored may be of before.
    gone_back: BTreeSet<i32>,
    /// A number drawn from all that was written, and when.
    fingerprint: DefaultHasher,
    /// The largest batch that the output takes.
    output_max_bytes: usize,
    /// By what records are written, where that is more than the usual.
    rules: Option<Rules>,
    /// By what those from a number on are, once nothing changes any more.
    last_rules: Option<(usize, Rules)>,
}

impl Ledger {
    /// Nothing sent yet, through an output that takes batches of so many bytes, by these rules.
    pub(crate) fn new(output_max_bytes: usize, rules: Option<Rules>) -> Self {
        Self { output_max_bytes, rules, ..Self::default() }
    }

    /// By what records are written, where that is more than the usual.
    pub(crate) fn rules(&mut self) -> Option<&mut Rules> {
        self.rules.as_mut()
    }

    /// Has whatever is sent from now on be written by these rules only.
    pub(crate) fn settle_rules(&mut self, rules: Rules) {
        self.last_rules = Some((self.sent.len(), rules));
    }

    /// Notes that what is sent may be carried out long after that, until then.
    pub(crate) fn may_be_late(&mut self, until: Duration) {
        self.late_until = self.late_until.max(until);
    }

    /// Notes that an offset of former times may be told: what came after it is written once more.
    pub(crate) fn may_be_told_old(&mut self) {
        self.is_told_old = true;
    }

    /// A record with a header that tells it from any other.
    pub(crate) fn name(&self, index: usize, record: NewRecord) -> NewRecord {
        record.header(ID, Some((self.sent.len() + index).to_string().as_bytes()))
    }

    /// Enters a batch that was appended to the source.
    pub(crate) fn enter(&mut self, partition: i32, base: i64, records: Vec<NewRecord>, may_be_refused: bool) {
        for (record, offset) in records.into_iter().zip(base..) {
            let large = record.value.as_ref().map_or(0, Bytes::len) + 2_048 > self.output_max_bytes;
            let fate = match judge(record.value.as_deref()) {
                Ok(expected) if may_be_refused || large => Fate::Either(expected),
                Ok(expected) => Fate::Good(expected),
                Err(_) => Fate::Dead,
            };
            self.push(partition, offset, record, fate);
        }
    }

    /// Enters a batch of a transaction that is aborted, which is not to be read.
    pub(crate) fn enter_aborted(&mut self, partition: i32, base: i64, records: Vec<NewRecord>) {
        for (record, offset) in records.into_iter().zip(base..) {
            self.push(partition, offset, record, Fate::Absent);
        }
    }

    fn push(&mut self, partition: i32, offset: i64, record: NewRecord, fate: Fate) {
        self.logs.entry(partition).or_default().insert(offset, self.sent.len());
        self.sent.push(Sent { partition, offset, record, fate, copies: Vec::new() });
    }

    /// Lets go of what the source lacks from now on: nobody can ask for it any more.
    pub(crate) fn forget(&mut self, partition: i32, offsets: Range<i64>) {
        let log = self.logs.entry(partition).or_default();
        let gone: Vec<_> = log.extract_if(offsets, |_, _| true).map(|(_, number)| number).collect();
        gone.into_iter().for_each(|number| self.release(number));
    }

    /// Notes that these offsets hold what nobody wrote.
    pub(crate) fn damage(&mut self, partition: i32, offsets: Range<i64>) {
        let numbers: Vec<_> =
            self.logs.get(&partition).into_iter().flat_map(|log| log.range(offsets.clone())).map(|(_, n)| *n).collect();
        numbers.into_iter().for_each(|number| self.release(number));
        self.damaged.entry(partition).or_default().push(offsets);
    }

    fn release(&mut self, number: usize) {
        let fate = &mut self.sent[number].fate;
        *fate = Fate::Any(match fate {
            Fate::Good(expected) | Fate::Either(expected) => Some(expected.clone()),
            Fate::Any(expected) => expected.take(),
            Fate::Dead | Fate::Absent => None,
        });
    }

    /// Hears of a batch that counts from now on.
    pub(crate) fn written(
        &mut self,
        topic: &str,
        partition: i32,
        partitions: i32,
        records: &[StoredRecord],
        at: Duration,
    ) {
        (topic, partition, at).hash(&mut self.fingerprint);
        for record in records {
            (record.offset, &record.value).hash(&mut self.fingerprint);
            if ![OUTPUT, ABROAD, DEAD].contains(&topic) {
                continue;
            }
            if let Err(why) = self.one_written(topic, partition, partitions, record, at) {
                self.note(format!("{topic}-{partition}/{} at {:.3} s: {why}", record.offset, at.as_secs_f64()));
            }
        }
    }

    fn one_written(
        &mut self,
        topic: &str,
        partition: i32,
        partitions: i32,
        record: &StoredRecord,
        at: Duration,
    ) -> Result<(), String> {
        let Some(number) = header(record, ID).and_then(|text| text.parse::<usize>().ok()) else {
            return self.stretch(record);
        };
        let is_dead = topic == DEAD;
        let sent = self.sent.get(number).ok_or("a record that nobody sent")?;
        let place = (sent.partition, sent.offset);
        let says = |what: &str| format!("{what}: record {number}, offset {} of partition {}", place.1, place.0);
        if partition != sent.partition % partitions {
            return Err(says("in the wrong partition"));
        }
        match (&sent.fate, is_dead) {
            (Fate::Good(_), true) => return Err(says(&format!("a good one is dead ({})", why(record)))),
            (Fate::Dead, false) => return Err(says("a bad one is written")),
            (Fate::Absent, _) => return Err(says("one of an aborted transaction is written")),
            (Fate::Good(expected) | Fate::Either(expected) | Fate::Any(Some(expected)), false) => {
                self.check_event(number, topic, expected, record).map_err(|why| says(&why))?;
                check_around(sent, record).map_err(|why| says(&why))?;
            }
            (Fate::Any(None), false) => {}
            (Fate::Dead | Fate::Either(_) | Fate::Any(_), true) => {
                check_dead(sent, record).map_err(|why| says(&why))?;
            }
        }
        let is_first = sent.copies.is_empty();
        let is_final = at >= self.late_until && !self.is_told_old && !self.gone_back.contains(&place.0);
        if !is_first && is_final && self.stored.get(&place.0).is_some_and(|stored| place.1 < *stored) {
            return Err(says("written again, though the offset behind it was stored"));
        }
        // What an output refused is written when those behind it may be already.
        let is_ordered = is_first && !matches!(sent.fate, Fate::Either(_) | Fate::Any(_));
        self.sent[number].copies.push(at);
        if is_ordered {
            let furthest = self.furthest.entry((topic.to_owned(), partition, place.0)).or_insert(number);
            let before = std::mem::replace(furthest, number.max(*furthest));
            if before > number {
                return Err(says("out of order"));
            }
        }
        Ok(())
    }

    /// Holds an event's fields against those that it was sent with.
    fn check_event(
        &self,
        number: usize,
        topic: &str,
        expected: &Expected,
        record: &StoredRecord,
    ) -> Result<(), String> {
        let last = self.last_rules.as_ref().filter(|(from, _)| number >= *from).map(|(_, rules)| rules);
        match last.or(self.rules.as_ref()) {
            Some(rules) => rules.check(topic, self.sent[number].record.value.as_deref(), record.value.as_deref()),
            None => Output::parse(record.value.as_deref())?.check(expected),
        }
    }

    /// A dead letter without a record's header, which is that of a damaged stretch.
    fn stretch(&self, record: &StoredRecord) -> Result<(), String> {
        let number = |name: &str| header(record, &format!("{PREFIX}{name}"))?.parse::<i64>().ok();
        let place = number("partition").zip(number("offset"));
        let (partition, offset) = place.ok_or("a record that nobody sent, and that says nothing of its source")?;
        let damaged = i32::try_from(partition).ok().and_then(|partition| self.damaged.get(&partition));
        // Or right behind one, where what is damaged no longer says that it ends there.
        match damaged.is_some_and(|all| all.iter().any(|offsets| (offsets.start..=offsets.end).contains(&offset))) {
            true => Ok(()),
            false => Err(format!("offset {offset} of partition {partition} is no damaged one ({})", why(record))),
        }
    }

    /// Holds a stored offset against what was written. What brokers store may be carried out late.
    pub(crate) fn stored(&mut self, partition: i32, offset: i64, at: Duration, is_sent: bool) {
        if self.gone_back.contains(&partition) {
            return;
        }
        let before = self.stored.insert(partition, offset);
        if let Some(before) = before.filter(|before| (!is_sent || at >= self.late_until) && *before > offset) {
            let at = at.as_secs_f64();
            self.note(format!("at {at:.3} s offset {offset} of partition {partition} is stored, and {before} was"));
        }
        let done = self.done(partition);
        if offset > done {
            self.note(format!(
                "at {:.3} s offset {offset} of partition {partition} is stored, but {done} is written nowhere",
                at.as_secs_f64()
            ));
        }
    }

    /// The first offset of a partition that is not where it must be.
    fn done(&mut self, partition: i32) -> i64 {
        let Some(log) = self.logs.get(&partition) else { return i64::MAX };
        let from = self.done.get(&partition).copied().unwrap_or(0);
        // What was done once stays so.
        let open = log.range(from..).find(|(_, number)| !self.sent[**number].is_done());
        let done = open.map_or(i64::MAX, |(offset, _)| *offset);
        if done != i64::MAX {
            self.done.insert(partition, done);
        }
        done
    }

    /// Notes that a partition's log lacks what it had, and will have other records at those offsets.
    pub(crate) fn went_back(&mut self, partition: i32) {
        self.gone_back.insert(partition);
    }

    /// How many records are not where they must be.
    pub(crate) fn missing(&self) -> usize {
        self.sent.iter().filter(|sent| !sent.is_done()).count()
    }

    /// How many records there were.
    pub(crate) fn records(&self) -> usize {
        self.sent.len()
    }

    /// Copies beyond the first.
    pub(crate) fn repeated(&self) -> usize {
        self.sent.iter().map(|sent| sent.copies.len().saturating_sub(1)).sum()
    }

    /// The partitions that were sent to.
    pub(crate) fn partitions(&self) -> BTreeSet<i32> {
        self.logs.keys().copied().collect()
    }

    /// A number drawn from all that was written, and when.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint.finish()
    }

    /// Notes what is wrong.
    pub(crate) fn note(&mut self, what: String) {
        self.wrongs += 1;
        if self.wrong.len() < TOLD {
            self.wrong.push(what);
        }
    }

    /// Whether anything is.
    pub(crate) fn is_wrong(&self) -> bool {
        self.wrongs > 0
    }

    /// Some of what is wrong; nothing where all is well.
    pub(crate) fn wrong(&self) -> String {
        let mut told = self.wrong.join("\n");
        if self.wrongs > self.wrong.len() {
            let _ = write!(told, "\nand {} more", self.wrongs - self.wrong.len()); // into a text
        }
        told
    }

    /// Notes each record that is not where it must be.
    pub(crate) fn note_missing(&mut self, what: &str) {
        self.note_each(|sent| (!sent.is_done()).then(|| what.to_owned()));
    }

    /// Notes each record that was written more than once.
    pub(crate) fn note_repeated(&mut self) {
        self.note_each(|sent| {
            let at = sent.copies.iter().map(|at| format!("{:.3} s", at.as_secs_f64()));
            (sent.copies.len() > 1).then(|| format!("written at {}", at.collect::<Vec<_>>().join(", ")))
        });
    }

    /// Notes the records of which there is something to say.
    fn note_each(&mut self, say: impl Fn(&Sent) -> Option<String>) {
        let told = self.sent.iter().enumerate().filter_map(|(number, sent)| {
            let Sent { partition, offset, .. } = sent;
            Some(format!("{}: record {number}, offset {offset} of partition {partition}", say(sent)?))
        });
        told.collect::<Vec<_>>().into_iter().for_each(|told| self.note(told));
    }
}

fn header<'r>(record: &'r StoredRecord, name: &str) -> Option<&'r str> {
    let found = record.headers.iter().rev().find(|header| header.name == name.as_bytes())?;
    std::str::from_utf8(found.value.as_ref()?).ok()
}

/// Why a dead letter is one.
fn why(record: &StoredRecord) -> String {
    let said = |name: &str| header(record, &format!("{PREFIX}{name}")).unwrap_or("-").to_owned();
    format!("{}: {}", said("reason"), said("message"))
}

/// Holds what is beside a record's value against what was sent.
fn check_around(sent: &Sent, record: &StoredRecord) -> Result<(), String> {
    if record.key != sent.record.key {
        return Err("another key".to_owned());
    }
    if record.headers != sent.record.headers {
        return Err("other headers".to_owned());
    }
    if record.timestamp_ms != sent.record.timestamp_ms {
        return Err(format!("its time is {}, and was {}", record.timestamp_ms, sent.record.timestamp_ms));
    }
    Ok(())
}

fn check_dead(sent: &Sent, record: &StoredRecord) -> Result<(), String> {
    let said = |name: &str| header(record, &format!("{PREFIX}{name}"));
    for name in ["topic", "partition", "offset", "timestamp", "reason", "message", "stage"] {
        if said(name).is_none_or(str::is_empty) {
            return Err(format!("a dead letter without {name}"));
        }
    }
    let place = (said("partition"), said("offset"));
    let (partition, offset) = (sent.partition.to_string(), sent.offset.to_string());
    if place != (Some(partition.as_str()), Some(offset.as_str())) {
        return Err(format!("a dead letter that says {place:?}"));
    }
    let is_cut = said("truncated.from").is_some();
    if !is_cut && record.value != sent.record.value {
        return Err("a dead letter of another value".to_owned());
    }
    Ok(())
}
