use proptest::prelude::*;

use super::super::record::tests::{checkpoint, key};
use super::*;

const TOPIC: &str = "user-login";

/// The log that all instances share: what compaction has taken is `None`.
#[derive(Debug, Clone, Default)]
struct Log(Vec<Option<Written>>);

impl Log {
    fn append(&mut self, records: impl IntoIterator<Item = Written>) {
        self.0.extend(records.into_iter().map(Some));
    }

    /// Keeps the last record of each key among the first `below`.
    fn compact(&mut self, below: usize) {
        let keys: Vec<_> = self.0.iter().map(|record| record.as_ref().map(|record| record.key.clone())).collect();
        for at in 0..below.min(keys.len()) {
            if keys[at].is_some() && keys[at + 1..below.min(keys.len())].contains(&keys[at]) {
                self.0[at] = None;
            }
        }
    }

    fn read(&self, ledger: &mut Ledger, from: usize) -> usize {
        for (at, record) in self.0.iter().enumerate().skip(from) {
            let Some(record) = record else { continue };
            ledger.apply(offset(at), Some(record.key.as_bytes()), record.value.as_ref().map(String::as_bytes));
        }
        self.0.len()
    }
}

fn offset(at: usize) -> Offset {
    Offset(i64::try_from(at).unwrap())
}

fn entry(next_offset: i64) -> Entry {
    Entry { state: State::Held, checkpoint: Some(checkpoint(0, next_offset)) }
}

/// A process: its ledger, and how far it has read. What it decides may be older than the log.
struct Instance {
    ledger: Ledger,
    read: usize,
}

impl Instance {
    fn new(number: u64) -> Self {
        Self { ledger: Ledger::new("offsets", "g", number), read: 0 }
    }

    fn read_on(&mut self, log: &Log) {
        self.read = log.read(&mut self.ledger, self.read);
    }

    fn standing(&self) -> Standing {
        self.ledger.standing(TOPIC, 0)
    }

    fn next_offset(&self) -> Option<i64> {
        self.ledger.checkpoint(TOPIC, 0).unwrap().map(|checkpoint| checkpoint.next_offset.0)
    }

    fn claim(&self, log: &mut Log) {
        let checkpoint = self.ledger.checkpoint(TOPIC, 0).unwrap().cloned();
        log.append(self.ledger.claim(TOPIC, 0, &Entry { state: State::Held, checkpoint }));
    }

    /// As a process does that read the log, stood still, and writes now.
    fn store(&self, log: &mut Log, next_offset: i64) -> bool {
        let Standing::Held(owner) = self.standing() else { return false };
        log.append([self.ledger.update(TOPIC, 0, owner, &entry(next_offset))]);
        true
    }
}

#[test]
fn takes_over_and_fences() {
    let mut log = Log::default();
    let (mut a, mut b) = (Instance::new(1), Instance::new(2));
    assert_eq!((a.standing(), a.next_offset()), (Standing::Unclaimed, None));
    a.claim(&mut log);
    a.read_on(&log);
    let ours = Owner { epoch: 1, instance: 1 };
    assert_eq!((a.standing(), a.next_offset()), (Standing::Held(ours), None), "a claim alone says no offset");
    assert!(a.store(&mut log, 10));
    b.read_on(&log);
    assert_eq!((b.standing(), b.next_offset()), (Standing::Unclaimed, Some(10)));
    assert_eq!(b.ledger.holder(TOPIC, 0).unwrap(), Some(ours));
    b.claim(&mut log);
    b.read_on(&log);
    let by = Owner { epoch: 2, instance: 2 };
    assert_eq!((b.standing(), b.next_offset()), (Standing::Held(by), Some(10)));
    assert!(a.store(&mut log, 15), "it has not read on");
    assert!(b.store(&mut log, 20));
    a.store(&mut log, 16);
    a.read_on(&log);
    b.read_on(&log);
    assert_eq!((a.standing(), a.next_offset()), (Standing::Fenced { ours, by }, Some(20)));
    assert_eq!((b.standing(), b.next_offset()), (Standing::Held(by), Some(20)));
    assert!(!a.store(&mut log, 17));
}

#[test]
fn of_two_that_start_at_once_one_is_fenced_before_it_begins() {
    let mut log = Log::default();
    let (mut a, mut b) = (Instance::new(1), Instance::new(2));
    a.claim(&mut log);
    b.claim(&mut log);
    a.read_on(&log);
    b.read_on(&log);
    assert!(matches!(a.standing(), Standing::Fenced { .. }));
    assert!(matches!(b.standing(), Standing::Held(_)));
}

#[test]
fn a_late_record_survives_compaction_and_counts_for_nothing() {
    let mut log = Log::default();
    let (mut a, mut b) = (Instance::new(1), Instance::new(2));
    a.claim(&mut log);
    a.read_on(&log);
    a.store(&mut log, 10);
    b.read_on(&log);
    b.claim(&mut log);
    b.read_on(&log);
    b.store(&mut log, 20);
    a.store(&mut log, 11);
    log.compact(log.0.len());
    let mut c = Instance::new(3);
    c.read_on(&log);
    assert_eq!(c.next_offset(), Some(20));
}

#[test]
fn a_new_owner_deletes_what_was_before_it() {
    let mut log = Log::default();
    for number in 1..=5 {
        let mut instance = Instance::new(number);
        instance.read_on(&log);
        instance.claim(&mut log);
        instance.read_on(&log);
        instance.store(&mut log, i64::try_from(number).unwrap());
    }
    log.compact(log.0.len());
    let values: Vec<_> = log.0.iter().flatten().filter(|record| record.value.is_some()).collect();
    assert_eq!(values.len(), 1);
    let mut last = Instance::new(6);
    last.read_on(&log);
    assert_eq!(last.next_offset(), Some(5));
}

#[test]
fn other_groups_and_other_partitions_are_no_matter() {
    let mut log = Log::default();
    let mut other = Ledger::new("offsets", "other", 9);
    log.append(other.claim(TOPIC, 0, &entry(7)));
    log.read(&mut other, 0);
    let mut ours = Instance::new(1);
    log.append(ours.ledger.claim(TOPIC, 1, &Entry { state: State::Released, checkpoint: Some(checkpoint(1, 8)) }));
    ours.read_on(&log);
    assert_eq!((ours.standing(), ours.next_offset()), (Standing::Unclaimed, None));
    assert_eq!(ours.ledger.partitions(TOPIC).collect::<Vec<_>>(), [1]);
    assert_eq!(ours.ledger.holder(TOPIC, 1).unwrap(), None, "it was released");
    assert_eq!(ours.ledger.held().collect::<Vec<_>>(), [(TOPIC, 1)]);
}

#[test]
fn what_is_damaged_deleted_or_foreign_is_told_and_mended_by_a_new_owner() {
    let text = key(0, 1, 1).encode();
    let bytes = text.as_bytes();
    let told = |ledger: &Ledger| ledger.checkpoint(TOPIC, 0).unwrap_err();
    let mut ledger = Ledger::new("offsets", "g", 2);
    ledger.apply(Offset(4), Some(bytes), Some(b"42"));
    assert!(matches!(told(&ledger), TopicError::Damaged { at: Offset(4), partition: 0, .. }));
    assert!(told(&ledger).to_string().contains("offsets/0 holds no whole offset of user-login/0 at offset 4"));
    ledger.apply(Offset(5), Some(bytes), None);
    assert!(matches!(told(&ledger), TopicError::Deleted { at: Offset(5), .. }));

    let claimed = ledger.claim(TOPIC, 0, &entry(3));
    assert_eq!(claimed.len(), 1, "what is deleted needs no tombstone");
    for record in &claimed {
        ledger.apply(Offset(6), Some(record.key.as_bytes()), record.value.as_ref().map(String::as_bytes));
    }
    assert_eq!(ledger.checkpoint(TOPIC, 0).unwrap().unwrap().next_offset, Offset(3));

    let junk = &b"junk"[..];
    ledger.apply(Offset(7), Some(junk), Some(b"x"));
    assert!(matches!(told(&ledger), TopicError::Stranger { at: Offset(7), .. }));
    assert!(matches!(ledger.standing(TOPIC, 0), Standing::Held(_)), "whoever works goes on");
    ledger.apply(Offset(8), Some(junk), None);
    assert!(ledger.checkpoint(TOPIC, 0).is_ok());
    ledger.apply(Offset(9), None, Some(b"x"));
    assert!(matches!(told(&ledger), TopicError::Stranger { at: Offset(9), .. }));
}

/// What happens to three instances that all want one partition.
#[derive(Debug, Clone, Copy)]
enum Act {
    ReadOn(usize),
    Claim(usize),
    Store(usize),
    Compact(prop::sample::Index),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        (0..3_usize).prop_map(Act::ReadOn),
        (0..3_usize).prop_map(Act::Claim),
        (0..3_usize).prop_map(Act::Store),
        any::<prop::sample::Index>().prop_map(Act::Compact),
    ];
    prop::collection::vec(act, 0..60)
}

proptest! {
    /// Whatever is done in whatever order on views however old: one owns it at most, all agree on
    /// the offset, it is the last that the owner stored or took over, and compaction changes nothing.
    #[test]
    fn one_owner_and_its_last_offset_whatever_happens(acts in acts()) {
        let mut log = Log::default();
        let mut whole = Log::default();
        let mut instances: Vec<_> = (1..=3).map(Instance::new).collect();
        // Of each owner: the last that it wrote.
        let mut written: BTreeMap<Owner, Option<i64>> = BTreeMap::new();
        for (next_offset, act) in (1_i64..).zip(acts) {
            let before = log.0.len();
            match act {
                Act::ReadOn(who) => instances[who].read_on(&log),
                Act::Compact(at) => log.compact(at.index(before + 1)),
                Act::Claim(who) => {
                    let it = &instances[who];
                    if it.standing() == Standing::Unclaimed {
                        it.claim(&mut log);
                        let claim = log.0[before].as_ref().unwrap();
                        written.insert(Key::decode(claim.key.as_bytes()).unwrap().owner, it.next_offset());
                    }
                }
                Act::Store(who) => {
                    if let Standing::Held(owner) = instances[who].standing() {
                        instances[who].store(&mut log, next_offset);
                        written.insert(owner, Some(next_offset));
                    }
                }
            }
            whole.0.extend_from_slice(&log.0[before..]);
        }
        let mut uncompacted = Instance::new(9);
        uncompacted.read_on(&whole);
        for it in &mut instances {
            it.read_on(&log);
        }
        let mut fresh = Instance::new(8);
        fresh.read_on(&log);
        prop_assert_eq!(fresh.next_offset(), uncompacted.next_offset());
        prop_assert_eq!(fresh.next_offset(), written.last_key_value().and_then(|(_, offset)| *offset));
        let held = instances.iter().filter(|it| matches!(it.standing(), Standing::Held(_))).count();
        prop_assert_eq!(held, usize::from(!written.is_empty()));
        prop_assert!(instances.iter().all(|it| it.next_offset() == fresh.next_offset()));
    }
}
