//! The machine against the sandbox's coordinator and one output partition, without sockets or clocks.

use std::collections::VecDeque;
use std::time::Duration;

use kafka_records::batch::{ProducerId, ProducerState};
use kafka_sandbox::txn::machine::{self, Participant, State as Stage};
use proptest::prelude::*;
use tokio::time::Instant;

use super::super::super::WithinTransaction;
use super::super::super::producer::{Producer, Verdict};
use super::*;

/// As whom a client writes, and in which version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Id {
    producer: ProducerId,
    version: TransactionVersion,
}

/// What a client asks.
#[derive(Debug, Clone, Copy)]
enum Call {
    Initialize,
    Renew(ProducerId),
    Add(ProducerId),
    Write { version: TransactionVersion, state: ProducerState, first: i64, records: i32 },
    AddOffsets(ProducerId),
    CommitOffsets(Id, Offset),
    End(Id),
}

/// An id has so few epochs here that it comes to its last one.
const LAST_EPOCH: i16 = 6;

/// A coordinator, and the output's leader and the group's coordinator, which ask it whether what they are sent is part
/// of a transaction. Records are numbers, in the order of the source.
struct Cluster {
    /// The version that the cluster has.
    version: TransactionVersion,
    transaction: machine::Transaction,
    newest_id: i64,
    pending: Vec<i64>,
    pending_offset: Option<Offset>,
    /// The last batches, and by whom.
    written: (ProducerId, VecDeque<(i32, i32)>),
    committed: Vec<i64>,
    offset: Offset,
}

impl Cluster {
    fn new(version: TransactionVersion) -> Self {
        let transaction = machine::Transaction::with_last_epoch(7, LAST_EPOCH);
        Self {
            version,
            written: (transaction.producer(), VecDeque::new()),
            transaction,
            newest_id: 7,
            pending: Vec::new(),
            pending_offset: None,
            committed: Vec::new(),
            offset: Offset(0),
        }
    }

    fn carry_out(&mut self, call: Call) -> Result<Option<Id>, ResponseError> {
        let answer = self.answer(call).map_err(|code| ResponseError::try_from_code(code).unwrap());
        self.tell();
        answer
    }

    fn answer(&mut self, call: Call) -> Result<Option<Id>, i16> {
        match call {
            Call::Initialize => return self.initialize(None).map(Some),
            Call::Renew(before) => return self.initialize(Some(before)).map(Some),
            Call::Add(producer) => self.transaction.handle_add(producer, [output()], Instant::now())?,
            Call::AddOffsets(producer) => self.transaction.handle_add(producer, [offsets()], Instant::now())?,
            Call::Write { version, state, first, records } => {
                self.admit(Id { producer: state.producer, version }, output())?;
                self.write(state, first, records).map_err(|code| code.code())?;
            }
            Call::CommitOffsets(id, offset) => {
                self.admit(id, offsets())?;
                self.pending_offset = Some(offset);
            }
            Call::End(Id { producer, version }) => {
                let Self { transaction, newest_id, .. } = self;
                let next = transaction.handle_end(producer, true, of_machine(version), || next_id(newest_id))?;
                return Ok((version == V2).then_some(Id { producer: next, version }));
            }
        }
        Ok(None)
    }

    fn initialize(&mut self, before: Option<ProducerId>) -> Result<Id, i16> {
        let Self { transaction, newest_id, version, .. } = self;
        let cluster = of_machine(*version);
        let producer = transaction.handle_init(before, Duration::from_secs(60), cluster, || next_id(newest_id))?;
        Ok(Id { producer, version: *version })
    }

    fn admit(&mut self, Id { producer, version }: Id, participant: Participant) -> Result<(), i16> {
        self.transaction.handle_admit(producer, participant, of_machine(version), Instant::now())
    }

    fn write(&mut self, state: ProducerState, first: i64, records: i32) -> Result<(), ResponseError> {
        if self.written.0 != state.producer {
            self.written = (state.producer, VecDeque::new());
        }
        let range = (state.sequence, state.sequence + records);
        if self.written.1.contains(&range) {
            return Ok(());
        }
        if self.written.1.back().map_or(0, |(_, next)| *next) != state.sequence {
            return Err(ResponseError::OutOfOrderSequenceNumber);
        }
        self.written.1.push_back(range);
        if self.written.1.len() > 5 {
            self.written.1.pop_front();
        }
        self.pending.extend((first..).take(usize::try_from(records).unwrap()));
        Ok(())
    }

    /// Tells who is part of a transaction how it ended, where it has.
    fn tell(&mut self) {
        let Some((marker, participants)) = self.transaction.markers() else { return };
        let (pending, offset) = (std::mem::take(&mut self.pending), self.pending_offset.take());
        if marker.commit {
            self.committed.extend(pending);
            self.offset = offset.unwrap_or(self.offset);
        }
        participants.iter().for_each(|participant| self.transaction.marked(participant));
        self.transaction.complete_if_all_heard();
    }

    /// Lets a transaction be open for too long, where one is.
    fn time_out(&mut self) {
        if let Some(deadline) = self.transaction.deadline() {
            self.transaction.tick(deadline, of_machine(self.version));
            self.tell();
        }
    }
}

fn output() -> Participant {
    Participant::Partition("output".to_owned(), 0)
}

fn offsets() -> Participant {
    Participant::Offsets("group".to_owned())
}

fn of_machine(version: TransactionVersion) -> machine::TransactionVersion {
    match version {
        V1 => machine::TransactionVersion::V1,
        V2 => machine::TransactionVersion::V2,
    }
}

fn next_id(newest: &mut i64) -> i64 {
    *newest += 1;
    *newest
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Answered,
    LostOnTheWay,
    AnswerLost,
    /// Given up, and carried out after later ones.
    Late,
    /// Carried out, and again after later ones.
    Twice,
    Refused(ResponseError),
}

/// A process that has the partition, or believes it has.
#[derive(Default)]
struct Process {
    machine: Transaction,
    producer: Option<(Id, Producer)>,
    /// The next record to write; `None` until the group's offset is known.
    position: Option<i64>,
    /// A batch that is to be written before anything else: its first record, and how many.
    writing: Option<(i64, i32)>,
    uncommitted: usize,
}

impl Process {
    /// Sends one request and hears what becomes of it. False where there is nothing left to do.
    fn step(&mut self, world: &mut World, fate: Fate) -> bool {
        if let Some(request) = self.machine.poll() {
            let by = self.producer.as_ref().map(|(id, _)| *id);
            let call = match (&request, by) {
                (Request::Initialize, _) => Call::Initialize,
                (Request::Renew, Some(by)) => Call::Renew(by.producer),
                (Request::AddPartitions(_), Some(by)) => Call::Add(by.producer),
                (Request::AddOffsets, Some(by)) => Call::AddOffsets(by.producer),
                (Request::CommitOffsets(offset), Some(by)) => Call::CommitOffsets(by, *offset),
                (Request::End, Some(by)) => Call::End(by),
                (request, None) => panic!("{request:?} without an id"),
            };
            match world.send(call, fate) {
                Ok(id) => {
                    if let Some(id) = id {
                        let within = WithinTransaction { transactional_id: "id".into(), version: id.version };
                        self.producer = Some((id, Producer::transactional(within, id.producer)));
                    }
                    match (request, id) {
                        (Request::Initialize | Request::Renew, Some(id)) => self.machine.initialized(id.version),
                        _ => self.machine.done(),
                    }
                }
                Err(error) => {
                    if self.machine.failed(&error) == Failure::Aborted {
                        self.begin_anew();
                    }
                }
            }
            return true;
        }
        let Some(position) = self.position else {
            self.position = Some(world.cluster.offset.0);
            return true;
        };
        if let Some((first, records)) = self.writing {
            self.write(world, fate, first, records);
        } else if self.uncommitted >= world.batches_each || (position == world.records && self.uncommitted > 0) {
            self.uncommitted = 0;
            self.machine.commit(Offset(position));
        } else if position < world.records {
            self.machine.write_to([OUTPUT]);
            let records = (position % 3 + 1).min(world.records - position);
            self.writing = Some((position, i32::try_from(records).unwrap()));
        } else {
            return false;
        }
        true
    }

    fn write(&mut self, world: &mut World, fate: Fate, first: i64, records: i32) {
        let (Id { version, .. }, producer) = self.producer.as_ref().unwrap();
        let state = producer.next_state(OUTPUT).unwrap();
        let verdict = match world.send(Call::Write { version: *version, state, first, records }, fate) {
            Ok(_) => Verdict::Written,
            Err(error) => producer.failed(&state, &error),
        };
        match verdict {
            Verdict::Written => {
                producer.written(OUTPUT, &state, records);
                self.writing = None;
                self.position = Some(first + i64::from(records));
                self.uncommitted += 1;
            }
            Verdict::Again => {}
            Verdict::Anew => panic!("not within a transaction"),
            Verdict::Aborted => {
                self.machine.abort();
                self.begin_anew();
            }
        }
    }

    fn begin_anew(&mut self) {
        self.position = None;
        self.writing = None;
        self.uncommitted = 0;
    }
}

struct World {
    cluster: Cluster,
    records: i64,
    batches_each: usize,
    /// Calls that were given up and are still to come.
    late: Vec<Call>,
}

impl World {
    fn send(&mut self, call: Call, fate: Fate) -> Result<Option<Id>, Error> {
        match fate {
            Fate::Answered => self.cluster.carry_out(call).map_err(code),
            Fate::LostOnTheWay => Err(lost()),
            Fate::AnswerLost => {
                let _ = self.cluster.carry_out(call);
                Err(lost())
            }
            Fate::Late => {
                self.late.push(call);
                Err(lost())
            }
            Fate::Twice => {
                let _ = self.cluster.carry_out(call);
                self.late.push(call);
                Err(lost())
            }
            Fate::Refused(why) => Err(code(why)),
        }
    }

    fn arrive(&mut self, which: prop::sample::Index) {
        if !self.late.is_empty() {
            let call = self.late.swap_remove(which.index(self.late.len()));
            let _ = self.cluster.carry_out(call);
        }
    }

    /// The outputs that count are those of the source records below the offset that counts, each
    /// once and in order.
    fn check(&self) {
        let Cluster { committed, offset, .. } = &self.cluster;
        assert_eq!(*committed, (0..offset.0).collect::<Vec<_>>());
    }
}

#[derive(Debug, Clone, Copy)]
enum Event {
    /// The process goes on.
    Step(Fate),
    /// One that was replaced wakes, and goes on where it was.
    Zombie(prop::sample::Index, Fate),
    /// A call that was given up is carried out.
    Arrives(prop::sample::Index),
    /// The process dies, and another begins.
    Dies,
    /// Another takes the process's place, which does not know.
    Replaced,
    /// The transaction is open for too long.
    TimesOut,
    /// The cluster changes over to another version.
    Becomes(TransactionVersion),
}

fn fate() -> impl Strategy<Value = Fate> {
    let refusal = prop_oneof![
        Just(ResponseError::CoordinatorLoadInProgress),
        Just(ResponseError::NotCoordinator),
        Just(ResponseError::ConcurrentTransactions),
        Just(ResponseError::NotEnoughReplicas),
        Just(ResponseError::TransactionAbortable),
    ];
    prop_oneof![
        12 => Just(Fate::Answered),
        1 => Just(Fate::LostOnTheWay),
        2 => Just(Fate::AnswerLost),
        2 => Just(Fate::Late),
        2 => Just(Fate::Twice),
        1 => refusal.prop_map(Fate::Refused),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        40 => fate().prop_map(Event::Step),
        4 => (any::<prop::sample::Index>(), fate()).prop_map(|(which, fate)| Event::Zombie(which, fate)),
        6 => any::<prop::sample::Index>().prop_map(Event::Arrives),
        1 => Just(Event::Dies),
        1 => Just(Event::Replaced),
        1 => Just(Event::TimesOut),
        1 => version().prop_map(Event::Becomes),
    ]
}

fn version() -> impl Strategy<Value = TransactionVersion> {
    prop_oneof![Just(V1), Just(V2)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]
    #[test]
    fn every_record_counts_once_and_the_offset_with_it(
        version in version(),
        records in 1..40_i64,
        batches_each in 1..4_usize,
        events in prop::collection::vec(event(), 0..250),
    ) {
        let mut world = World { cluster: Cluster::new(version), records, batches_each, late: Vec::new() };
        let (mut process, mut zombies) = (Process::default(), Vec::<Process>::new());
        for event in events {
            match event {
                Event::Step(fate) => {
                    process.step(&mut world, fate);
                }
                Event::Zombie(which, fate) if !zombies.is_empty() => {
                    let zombie = which.index(zombies.len());
                    zombies[zombie].step(&mut world, fate);
                }
                Event::Arrives(which) => world.arrive(which),
                Event::Dies => process = Process::default(),
                Event::Replaced => zombies.push(std::mem::take(&mut process)),
                Event::Becomes(version) => world.cluster.version = version,
                Event::TimesOut => world.cluster.time_out(),
                Event::Zombie(..) => {}
            }
            world.check();
        }
        // Whatever was, one that is left in peace comes to the end.
        for _ in 0..2_000 {
            if !process.step(&mut world, Fate::Answered) {
                break;
            }
            world.check();
        }
        prop_assert_eq!(world.cluster.offset, Offset(records));
        while !world.late.is_empty() {
            let call = world.late.remove(0);
            let _ = world.cluster.carry_out(call);
            world.check();
        }
    }
}

/// Goes on until this is what it asks next.
fn until(process: &mut Process, world: &mut World, request: &Request) {
    while process.machine.poll().as_ref() != Some(request) {
        process.step(world, Fate::Answered);
    }
}

fn world(version: TransactionVersion) -> World {
    World { cluster: Cluster::new(version), records: 40, batches_each: 2, late: Vec::new() }
}

/// The reason for another id after a lost answer, played by hand; in version 2 each commit is one.
#[test]
fn a_commit_that_comes_late_does_not_commit_half_of_the_next_transaction() {
    for version in [V1, V2] {
        let (mut world, mut process) = (world(version), Process::default());
        until(&mut process, &mut world, &Request::End);
        process.step(&mut world, Fate::Late);
        let committed = world.cluster.committed.len();
        while world.cluster.pending.is_empty() || world.cluster.committed.len() == committed {
            process.step(&mut world, Fate::Answered);
        }
        let before = world.cluster.committed.len();
        let late = world.late.remove(0);
        assert_eq!(world.cluster.carry_out(late), Err(ResponseError::ProducerFenced));
        assert_eq!(world.cluster.committed.len(), before);
        world.check();
    }
}

/// KIP-360: the request that gave the id comes once more, after the next transaction.
#[test]
fn an_id_that_is_asked_for_twice_in_anothers_place_fences_nobody() {
    let (mut world, mut process) = (world(V1), Process::default());
    until(&mut process, &mut world, &Request::End);
    process.step(&mut world, Fate::AnswerLost);
    until(&mut process, &mut world, &Request::Renew);
    process.step(&mut world, Fate::Twice);
    assert_eq!(process.machine.poll(), Some(Request::Renew), "nobody has heard of it");
    process.step(&mut world, Fate::Answered);
    let id = process.producer.as_ref().unwrap().0;
    assert_eq!(id.producer, world.cluster.transaction.producer());
    let late = world.late.remove(0);
    let _ = world.cluster.carry_out(late);
    assert_eq!(id.producer, world.cluster.transaction.producer(), "the late one");
    until(&mut process, &mut world, &Request::End);
    process.step(&mut world, Fate::Answered);
    world.check();
}

#[test]
fn every_transaction_of_version_2_has_an_epoch_of_its_own_and_no_other_id_is_asked_for() {
    let (mut world, mut process) = (world(V2), Process::default());
    let mut epochs = Vec::new();
    // Each answer to a commit is lost once: what is asked again tells of the same epoch.
    for commit in 0..3 {
        until(&mut process, &mut world, &Request::End);
        assert_eq!(world.cluster.transaction.state(), Stage::Ongoing);
        epochs.push(process.producer.as_ref().unwrap().0.producer.epoch);
        process.step(&mut world, Fate::AnswerLost);
        assert_eq!(process.machine.poll(), Some(Request::End), "commit {commit}");
        process.step(&mut world, Fate::Answered);
        assert_eq!(process.machine.poll(), None);
        world.check();
    }
    assert_eq!(epochs, [0, 1, 2]);
}

#[test]
fn a_commit_in_the_last_epoch_is_told_of_another_id_as_often_as_it_is_asked() {
    let (mut world, mut process) = (world(V2), Process::default());
    loop {
        until(&mut process, &mut world, &Request::End);
        if world.cluster.transaction.producer().epoch == LAST_EPOCH {
            break;
        }
        process.step(&mut world, Fate::Answered);
    }
    process.step(&mut world, Fate::AnswerLost);
    process.step(&mut world, Fate::Answered);
    let id = process.producer.as_ref().unwrap().0.producer;
    assert_eq!(id, ProducerId { id: 8, epoch: 0 });
    until(&mut process, &mut world, &Request::End);
    process.step(&mut world, Fate::Answered);
    world.check();
}

/// One that was replaced while the answer to its commit was on its way hears that it is fenced, though
/// it has committed. Its place is taken from the group's offset.
#[test]
fn a_zombie_is_fenced_whether_it_has_committed_or_not() {
    for version in [V1, V2] {
        for fate in [Fate::AnswerLost, Fate::LostOnTheWay] {
            let (mut world, mut zombie) = (world(version), Process::default());
            until(&mut zombie, &mut world, &Request::End);
            zombie.step(&mut world, fate);
            let mut next = Process::default();
            next.step(&mut world, Fate::Answered);
            zombie.step(&mut world, Fate::Answered);
            assert_eq!((zombie.machine.poll(), zombie.position), (Some(Request::Initialize), None));
            until(&mut next, &mut world, &Request::End);
            next.step(&mut world, Fate::Answered);
            world.check();
        }
    }
}
