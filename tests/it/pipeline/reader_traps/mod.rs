//! What a reader meets in a log and from brokers that it must not believe, or not pass over: each test
//! has the name of the trap. What comes out is judged by what went in, never by what the pipeline says.

mod damage;
mod going_back;
mod records;

use std::collections::BTreeMap;
use std::ops::Range;

use kafka_sandbox::{Api, Damage, NewBatch, NewRecord, StoredRecord};
use login_pipeline::config::ReaderKind;
use login_pipeline::record::Header;

use crate::pipeline::support::{DLQ, ID, OUTPUT, Pipeline, SOURCE, World};

/// How much a fetch asks for: many batches, and less than one.
pub(super) const FETCHES: [&str; 2] = ["1MiB", "1KiB"];
/// How many records are in a batch, unless it matters.
pub(super) const EACH: usize = 5;

/// One partition of good records, some of them damaged.
pub(super) struct Trap {
    pub world: World,
    /// By their ids: where they stand.
    good: BTreeMap<Vec<u8>, i64>,
    damaged: Vec<Spoilt>,
}

/// A batch, or a part of one, that no longer can be read.
struct Spoilt {
    offsets: Range<i64>,
    ids: Vec<Vec<u8>>,
    may_come_out: bool,
}

/// What came of the log.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The source offset and reason of each dead letter.
    pub dead: Vec<(i64, String)>,
    /// How many records of damaged batches are in the output.
    pub spoilt: usize,
}

impl Trap {
    pub(super) async fn new(reader: ReaderKind, max_fetch_bytes: &str) -> Self {
        let mut world = World::new(reader, 1).await;
        world.config.source.max_fetch_bytes = max_fetch_bytes.parse().unwrap();
        Self::of(world)
    }

    pub(super) fn of(world: World) -> Self {
        Self { world, good: BTreeMap::new(), damaged: Vec::new() }
    }

    /// Appends a batch of good records.
    pub(super) fn batch(&mut self) -> Range<i64> {
        let records = (0..EACH).map(|_| self.world.good().0).collect();
        self.append(NewBatch::new(records))
    }

    /// Appends so many of them.
    pub(super) fn batches(&mut self, count: usize) -> Vec<Range<i64>> {
        (0..count).map(|_| self.batch()).collect()
    }

    /// Appends a batch, all records of which must come out.
    pub(super) fn append(&mut self, batch: NewBatch) -> Range<i64> {
        let base = self.world.sandbox.append_batch(SOURCE, 0, &batch).unwrap();
        self.expect(base, &batch.records)
    }

    /// The same of one that is encoded already.
    pub(super) fn expect(&mut self, base: i64, records: &[NewRecord]) -> Range<i64> {
        self.good.extend(records.iter().map(|record| id(&record.headers)).zip(base..));
        base..base + i64::try_from(records.len()).unwrap()
    }

    /// Appends so many segments of so many batches; the last one is the active one.
    pub(super) fn segments(&mut self, segments: usize, batches: usize) -> Vec<Vec<Range<i64>>> {
        let mut all = Vec::new();
        for _ in 0..segments {
            self.roll();
            all.push(self.batches(batches));
        }
        assert_eq!(self.world.sandbox.segments(SOURCE, 0).unwrap().len(), segments);
        all
    }

    pub(super) fn roll(&self) {
        self.world.sandbox.roll_segment(SOURCE, 0).unwrap();
    }

    /// Damages a batch so that all its records are one dead letter.
    pub(super) fn damage(&mut self, batch: &Range<i64>, damage: &Damage) {
        self.spoil(batch, damage, false);
    }

    /// Damages a batch so that its records may come out all the same.
    pub(super) fn damage_slightly(&mut self, batch: &Range<i64>, damage: &Damage) {
        self.spoil(batch, damage, true);
    }

    fn spoil(&mut self, batch: &Range<i64>, damage: &Damage, may_come_out: bool) {
        self.world.sandbox.damage(SOURCE, 0, batch.start, damage).unwrap();
        self.give_up(batch, may_come_out);
    }

    /// No longer wants these records out.
    pub(super) fn give_up(&mut self, offsets: &Range<i64>, may_come_out: bool) {
        let taken = self.good.extract_if(.., |_, offset| offsets.contains(offset));
        let ids = taken.map(|(id, _)| id).collect();
        self.damaged.push(Spoilt { offsets: offsets.clone(), ids, may_come_out });
    }

    /// Runs a pipeline to the end of the log, and some fetches on.
    pub(super) async fn run(&self) -> Outcome {
        let pipeline = self.world.start().await;
        self.until_read(&pipeline).await;
        pipeline.stop().await;
        self.judge()
    }

    /// Each damaged batch is one dead letter, and every other record is out, once.
    pub(super) async fn assert_costs_the_damaged_alone(&self) {
        let outcome = self.run().await;
        self.assert_one_dead_letter_each(&outcome);
    }

    pub(super) fn assert_one_dead_letter_each(&self, outcome: &Outcome) {
        let places: Vec<bool> = self.damaged.iter().map(|spoilt| outcome.dead_within(&spoilt.offsets) == 1).collect();
        assert!(places.iter().all(|one| *one), "one dead letter each: {places:?}: {outcome:?}");
        assert_eq!(outcome.dead.len(), self.damaged.len(), "{outcome:?}");
        assert!(outcome.spoilt == 0 || self.world.config.source.reader == ReaderKind::Rskafka, "{outcome:?}");
    }

    /// Waits until the end of the log is stored, which is when all before it is out, and for some fetches
    /// more.
    pub(super) async fn until_read(&self, pipeline: &Pipeline) {
        let sandbox = &self.world.sandbox;
        let most = 3 * (self.good.len() + self.damaged.iter().map(|spoilt| spoilt.ids.len()).sum::<usize>());
        let end = sandbox.end_offset(SOURCE, 0).unwrap();
        let stored = || {
            let out = usize::try_from(sandbox.end_offset(OUTPUT, 0).unwrap()).unwrap();
            assert!(out <= most, "{out} records are out of {most} at most: it goes round in circles");
            self.world.stored(0) == Some(end)
        };
        let state = || format!("{:?} is stored", self.world.stored(0));
        pipeline.until_or(&format!("the end is stored: {end}"), stored, state).await;
        let fetches = sandbox.requests(Api::Fetch);
        pipeline.until("it reads on", || sandbox.requests(Api::Fetch) >= fetches + 5).await;
        assert_eq!(self.world.stored(0), Some(end));
    }

    /// How often each record is in the output.
    pub(super) fn copies(&self) -> BTreeMap<Vec<u8>, usize> {
        let mut copies = BTreeMap::new();
        for record in self.world.sandbox.read(OUTPUT, 0).unwrap() {
            *copies.entry(id(&record.headers)).or_default() += 1;
        }
        copies
    }

    /// Nothing that is good is lost or out twice; nothing else is out that must not be.
    pub(super) fn judge(&self) -> Outcome {
        let copies = self.copies();
        let of = |id: &Vec<u8>| copies.get(id).copied().unwrap_or(0);
        let mut wrong: Vec<_> = self.good.iter().filter(|(id, _)| of(id) != 1).map(|(id, at)| (*at, of(id))).collect();
        wrong.sort_unstable();
        assert!(wrong.is_empty(), "offset, and how often it is out instead of once: {wrong:?}");
        let dead = self.world.sandbox.read(DLQ, 0).unwrap();
        let dead = dead.iter().map(|letter| {
            let offset = why(letter, "offset").parse().unwrap();
            (offset, why(letter, "reason"))
        });
        let dead: Vec<(i64, String)> = dead.collect();
        for spoilt in &self.damaged {
            let out: Vec<usize> = spoilt.ids.iter().map(of).collect();
            let whole = out.iter().all(|copies| *copies == 1);
            let none = out.iter().all(|copies| *copies == 0);
            // rskafka tells of no batch: what it gave of one that begins too early stands, beside the dead letter.
            let is_read_before =
                self.world.config.source.reader == ReaderKind::Rskafka && outcome_has(&dead, &spoilt.offsets);
            assert!(none || whole && spoilt.may_come_out || is_read_before, "{:?}: {out:?}", spoilt.offsets);
        }
        let spoilt = self.damaged.iter().flat_map(|spoilt| &spoilt.ids).map(of).sum();
        Outcome { dead, spoilt }
    }
}

impl Outcome {
    pub(super) fn dead_within(&self, offsets: &Range<i64>) -> usize {
        self.dead.iter().filter(|(offset, _)| offsets.contains(offset)).count()
    }
}

/// A record's own header, by which it is told from others.
pub(super) fn id(headers: &[Header]) -> Vec<u8> {
    let found = headers.iter().find(|header| AsRef::<[u8]>::as_ref(&header.name) == ID.as_bytes());
    found.and_then(|header| header.value.as_ref()).map(|value| value.to_vec()).expect("an id")
}

/// What a dead letter says of itself.
fn why(letter: &StoredRecord, word: &str) -> String {
    let name = format!("__dlq.errors.{word}");
    let found = letter.headers.iter().find(|header| AsRef::<[u8]>::as_ref(&header.name) == name.as_bytes());
    let value = found.and_then(|header| header.value.clone()).unwrap_or_else(|| panic!("no {name}"));
    String::from_utf8(value.to_vec()).unwrap()
}

fn outcome_has(dead: &[(i64, String)], offsets: &Range<i64>) -> bool {
    dead.iter().any(|(offset, _)| offsets.contains(offset))
}
