//! What has been counted since the start: behind the statistics line and the status page.
//!
//! ```text
//! worker 0 ──► SharedTally ──┐
//! worker 1 ──► SharedTally ──┼──► TallyBoard ──► Snapshot
//!  (gone)  ──►    base     ──┘
//! ```
//! Each worker counts into a tally of its own, under a lock that only a snapshot ever contends for
//! and that it takes once per batch. A tally that is dropped leaves its counts on the board.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use login_event::distribution::{CAPACITY, Distribution};
use serde::Serialize;

use super::lock::lock;
use super::shape::is_shown;

/// The most values of a distribution that a [`Snapshot`] lists.
pub const TOP: usize = 20;

/// The names of the fields whose values are counted; an event type has its own.
pub type Dimensions = &'static [&'static str];

/// The name of the counts by rules of routing, which stand among those by the values of fields.
pub(super) const RULE: &str = "rule";

/// Counts of records, of errors by reason and of the values of some fields.
#[derive(Debug, Clone)]
pub struct Tally {
    dimensions: Dimensions,
    distributions: Vec<Distribution>,
    errors: BTreeMap<&'static str, u64>,
    rules: BTreeMap<Arc<str>, u64>,
    totals: Totals,
}

/// The numbers of records that came, and where they went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Totals {
    /// Records read.
    pub records_in: u64,
    /// Bytes of the keys and values read.
    pub bytes_in: u64,
    /// Records acknowledged by an output topic.
    pub records_out: u64,
    /// Records acknowledged by the dead-letter topic.
    pub records_dead: u64,
    /// Records dropped because the configuration asked for it.
    pub records_dropped: u64,
}

impl Totals {
    /// Adds another's counts.
    pub fn merge(&mut self, other: &Self) {
        self.records_in += other.records_in;
        self.bytes_in += other.bytes_in;
        self.records_out += other.records_out;
        self.records_dead += other.records_dead;
        self.records_dropped += other.records_dropped;
    }
}

impl Tally {
    /// Nothing counted yet.
    pub fn new(dimensions: Dimensions) -> Self {
        Self {
            dimensions,
            distributions: vec![Distribution::default(); dimensions.len()],
            errors: BTreeMap::new(),
            rules: BTreeMap::new(),
            totals: Totals::default(),
        }
    }

    /// Counts one text of the dimension with this index; an index that there is not counts nothing.
    pub fn count(&mut self, dimension: usize, value: impl AsRef<[u8]>) {
        debug_assert!(dimension < self.dimensions.len(), "there is no dimension {dimension}");
        if let Some(distribution) = self.distributions.get_mut(dimension) {
            distribution.count(value.as_ref());
        }
    }

    /// Counts bad records. Reasons come from a closed set, so this stays small.
    pub fn errors(&mut self, reason: &'static str, count: u64) {
        *self.errors.entry(reason).or_default() += count;
    }

    /// Counts records that a rule of routing has decided about; of none, it makes the rule known.
    pub fn rule(&mut self, name: &Arc<str>, count: u64) {
        match self.rules.get_mut(name) {
            Some(counted) => *counted += count,
            None => drop(self.rules.insert(Arc::clone(name), count)),
        }
    }

    /// The counts of records, to add to.
    pub fn totals(&mut self) -> &mut Totals {
        &mut self.totals
    }

    /// Adds another's counts. Both have the same dimensions.
    pub fn merge(&mut self, other: &Self) {
        debug_assert_eq!(self.dimensions, other.dimensions, "tallies of different events");
        self.totals.merge(&other.totals);
        for (reason, count) in &other.errors {
            *self.errors.entry(reason).or_default() += count;
        }
        for (name, count) in &other.rules {
            self.rule(name, *count);
        }
        for (mine, theirs) in self.distributions.iter_mut().zip(&other.distributions) {
            mine.merge(theirs);
        }
    }

    /// Forgets what was counted, and is the quicker for what it has seen.
    pub fn clear(&mut self) {
        self.distributions.iter_mut().for_each(Distribution::clear);
        self.errors.clear();
        self.rules.clear();
        self.totals = Totals::default();
    }

    /// The counts as they are now, for people.
    pub fn snapshot(&self) -> Snapshot {
        let named = self.dimensions.iter().zip(&self.distributions);
        Snapshot {
            totals: self.totals,
            errors: self.errors.clone(),
            distributions: named
                .map(|(name, counts)| DistributionSnapshot::new(name, counts))
                .chain(DistributionSnapshot::of_rules(&self.rules))
                .collect(),
        }
    }
}

/// The counts up to a moment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Snapshot {
    /// Records and bytes.
    #[serde(flatten)]
    pub totals: Totals,
    /// Bad records by reason.
    pub errors: BTreeMap<&'static str, u64>,
    /// The values of each dimension; where there are rules of routing, all of their names as well, as `rule`.
    pub distributions: Vec<DistributionSnapshot>,
}

/// The most frequent values of one dimension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DistributionSnapshot {
    /// The field's name.
    pub name: &'static str,
    /// How many values were counted.
    pub total: u64,
    /// At most [`TOP`] values, the most frequent first. Senders chose these texts; they have the shape of the field's.
    pub top: Vec<ValueCount>,
    /// What is counted and not in `top`.
    pub other: u64,
}

/// The number of times that a value occurs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ValueCount {
    /// The value, cut after 64 bytes.
    pub value: String,
    /// How often it occurred at least.
    pub count: u64,
}

impl DistributionSnapshot {
    fn new(name: &'static str, counts: &Distribution) -> Self {
        let shown = counts.top(CAPACITY).into_iter().filter(|(value, _)| is_shown(name, value)).take(TOP);
        let top: Vec<_> = shown.map(|(value, count)| ValueCount { value: value.to_string(), count }).collect();
        let listed: u64 = top.iter().map(|entry| entry.count).sum();
        Self { name, total: counts.total(), top, other: counts.total().saturating_sub(listed) }
    }
}

impl DistributionSnapshot {
    fn of_rules(rules: &BTreeMap<Arc<str>, u64>) -> Option<Self> {
        let total = rules.values().sum();
        let mut top: Vec<_> =
            rules.iter().map(|(name, count)| ValueCount { value: name.to_string(), count: *count }).collect();
        top.sort_by_key(|entry| std::cmp::Reverse(entry.count));
        (!rules.is_empty()).then_some(Self { name: RULE, total, top, other: 0 })
    }
}

/// All workers' tallies, and what those who are gone have counted.
#[derive(Debug, Clone)]
pub struct TallyBoard {
    inner: Arc<Mutex<Board>>,
    dimensions: Dimensions,
}

#[derive(Debug)]
struct Board {
    /// The sum of the tallies that were dropped.
    base: Tally,
    live: Vec<Arc<Mutex<Tally>>>,
}

impl TallyBoard {
    /// An empty board for events with these dimensions.
    pub fn new(dimensions: Dimensions) -> Self {
        let board = Board { base: Tally::new(dimensions), live: Vec::new() };
        Self { inner: Arc::new(Mutex::new(board)), dimensions }
    }

    /// A worker's own tally, on the board until it is dropped.
    pub fn register(&self) -> SharedTally {
        let tally = Arc::new(Mutex::new(Tally::new(self.dimensions)));
        lock(&self.inner).live.push(Arc::clone(&tally));
        SharedTally { tally, board: self.clone() }
    }

    /// The sum of everything counted up to now, for people.
    pub fn snapshot(&self) -> Snapshot {
        self.sum().snapshot()
    }

    /// The sum of everything counted up to now.
    pub fn sum(&self) -> Tally {
        let board = lock(&self.inner);
        let mut sum = board.base.clone();
        let live = board.live.clone();
        // The sum is complete without the board's lock: a tally that is dropped from now on is
        // still held here, and merged once.
        drop(board);
        for tally in &live {
            sum.merge(&lock(tally));
        }
        sum
    }
}

/// One worker's tally. Its counts stay on the board when it is dropped.
#[derive(Debug)]
pub struct SharedTally {
    tally: Arc<Mutex<Tally>>,
    board: TallyBoard,
}

impl SharedTally {
    /// The tally, to count a batch into. Hold it for the batch and not across an await.
    pub fn lock(&self) -> MutexGuard<'_, Tally> {
        lock(&self.tally)
    }
}

impl Drop for SharedTally {
    fn drop(&mut self) {
        let mut board = lock(&self.board.inner);
        board.live.retain(|live| !Arc::ptr_eq(live, &self.tally));
        board.base.merge(&lock(&self.tally));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIMENSIONS: Dimensions = &["device_type", "place"];

    #[test]
    fn what_does_not_look_like_its_field_is_among_the_rest() {
        let mut tally = Tally::new(&["locale"]);
        for (value, times) in [("ivan@mail.example", 9), ("10.0.0.7", 8), ("RU", 2), ("CA", 1)] {
            (0..times).for_each(|_| tally.count(0, value));
        }
        // Frequent ones that are not shown take no place from those that are.
        for n in 0..100 {
            (0..5).for_each(|_| tally.count(0, format!("someone-{n}@mail.example")));
        }
        let locale = &tally.snapshot().distributions[0];
        let top: Vec<_> = locale.top.iter().map(|entry| (entry.value.as_str(), entry.count)).collect();
        assert_eq!((&top[..], locale.other, locale.total), (&[("RU", 2), ("CA", 1)][..], 517, 520));
    }

    #[test]
    fn a_snapshot_lists_the_top_and_sums_up_the_rest() {
        let mut tally = Tally::new(DIMENSIONS);
        for n in 0..30 {
            for _ in 0..=n {
                tally.count(1, format!("L{n:02}"));
            }
        }
        let snapshot = tally.snapshot();
        let place = &snapshot.distributions[1];
        assert_eq!((place.name, place.total, place.top.len()), ("place", 465, TOP));
        assert_eq!(place.top[0], ValueCount { value: "L29".into(), count: 30 });
        assert_eq!(place.other, (1..=10).sum::<u64>());
        assert_eq!(snapshot.distributions[0].total, 0);
    }

    #[test]
    fn rules_are_counted_by_name() {
        let (mut tally, mut other) = (Tally::new(&[]), Tally::new(&[]));
        assert!(tally.snapshot().distributions.is_empty());
        let (east, drop) = (Arc::from("east"), Arc::from("drop"));
        tally.rule(&east, 0);
        other.rule(&drop, 2);
        other.rule(&east, 1);
        tally.merge(&other);
        let rules = &tally.snapshot().distributions[0];
        let counted: Vec<_> = rules.top.iter().map(|entry| (entry.value.as_str(), entry.count)).collect();
        assert_eq!((rules.name, rules.total, &counted[..]), (RULE, 3, &[("drop", 2), ("east", 1)][..]));
    }

    #[test]
    fn a_board_sums_live_and_dropped_tallies() {
        let board = TallyBoard::new(DIMENSIONS);
        let (first, second) = (board.register(), board.register());
        first.lock().count(0, "android");
        first.lock().errors("malformed_json", 1);
        first.lock().totals().records_in += 2;
        second.lock().count(0, "android");
        second.lock().count(0, "ios");
        second.lock().totals().records_in += 5;

        let before = board.snapshot();
        drop(first);
        let after = board.snapshot();
        assert_eq!(before, after);
        assert_eq!(after.totals.records_in, 7);
        assert_eq!(after.errors, BTreeMap::from([("malformed_json", 1)]));
        assert_eq!(after.distributions[0].top[0].count, 2);
        assert_eq!(lock(&board.inner).live.len(), 1);
    }

    #[test]
    fn a_snapshot_in_json_is_flat_where_numbers_are() {
        let mut tally = Tally::new(&["device_type"]);
        tally.count(0, "ios");
        tally.totals().records_out = 1;
        let json = serde_json::to_value(tally.snapshot()).unwrap();
        assert_eq!(json["records_out"], 1);
        assert_eq!(json["distributions"][0]["top"][0], serde_json::json!({"value": "ios", "count": 1}));
    }
}
