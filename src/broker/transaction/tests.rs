//! The machine against a model of the coordinators and one output partition, which loses, delays and
//! repeats, and whose clients die and come back as zombies.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::super::producer::{Producer, Verdict};
use super::super::wire::batch::{ProducerId, Stamp};
use super::*;

const OUTPUT: Destination = Destination { topic: 0, partition: 0 };
const DEAD_LETTERS: Destination = Destination { topic: 1, partition: 0 };

fn code(code: ResponseError) -> Error {
    Error::code("ask", "id", code)
}

fn lost() -> Error {
    Error { doing: "ask", on: "id".to_owned(), cause: Cause::Disconnected(String::new()) }
}

/// In a transaction that writes to the output.
fn begun() -> Transaction {
    let mut machine = Transaction::default();
    assert_eq!(machine.poll(), Some(Request::Initialize));
    machine.initialized();
    machine.write_to([OUTPUT]);
    machine.done();
    machine
}

fn committing_in(step: Step) -> Transaction {
    let mut machine = begun();
    machine.commit(Offset(5));
    while machine.state != (State::Committing { offset: Offset(5), step }) {
        machine.done();
    }
    machine
}

#[test]
fn partitions_are_added_once_before_they_are_written_to() {
    let mut machine = Transaction::default();
    machine.initialized();
    assert_eq!(machine.poll(), None);
    machine.write_to([OUTPUT]);
    assert_eq!(machine.poll(), Some(Request::AddPartitions(BTreeSet::from([OUTPUT]))));
    machine.done();
    assert_eq!(machine.poll(), None);
    machine.write_to([OUTPUT, DEAD_LETTERS]);
    assert_eq!(machine.poll(), Some(Request::AddPartitions(BTreeSet::from([DEAD_LETTERS]))));
    machine.done();
    machine.commit(Offset(3));
    for request in [Request::AddOffsets, Request::CommitOffsets(Offset(3)), Request::End] {
        assert_eq!(machine.poll(), Some(request));
        machine.done();
    }
    assert_eq!(machine.poll(), None);
    machine.write_to([OUTPUT]);
    assert_eq!(machine.poll(), Some(Request::AddPartitions(BTreeSet::from([OUTPUT]))), "in each transaction anew");
}

#[test]
fn an_offset_is_committed_without_outputs_too() {
    let mut machine = Transaction::default();
    machine.initialized();
    machine.commit(Offset(9));
    assert_eq!(machine.poll(), Some(Request::AddOffsets));
}

#[test]
fn what_each_code_means() {
    use ResponseError as Code;
    let again = [
        Code::CoordinatorLoadInProgress,
        Code::CoordinatorNotAvailable,
        Code::NotCoordinator,
        Code::ConcurrentTransactions,
        Code::RequestTimedOut,
        Code::UnknownTopicOrPartition,
        Code::IllegalGeneration,
        Code::StaleMemberEpoch,
        Code::UnknownMemberId,
        Code::GroupAuthorizationFailed,
        Code::TransactionalIdAuthorizationFailed,
    ];
    let aborted = [
        Code::ProducerFenced,
        Code::InvalidProducerEpoch,
        Code::InvalidProducerIdMapping,
        Code::InvalidTxnState,
        Code::TransactionAbortable,
    ];
    for step in [Step::AddOffsets, Step::CommitOffsets, Step::End] {
        for answer in again {
            let mut machine = committing_in(step);
            let before = machine.poll();
            assert_eq!(machine.failed(&code(answer)), Failure::Again, "{answer:?}");
            assert_eq!(machine.poll(), before, "{answer:?}");
        }
        for answer in aborted {
            let mut machine = committing_in(step);
            assert_eq!(machine.failed(&code(answer)), Failure::Aborted, "{answer:?}");
            assert_eq!(machine.poll(), Some(Request::Initialize), "{answer:?}");
        }
    }
}

#[test]
fn an_id_is_asked_for_until_there_is_one() {
    let mut machine = Transaction::default();
    for answer in [lost(), code(ResponseError::ConcurrentTransactions), code(ResponseError::ProducerFenced)] {
        assert_eq!(machine.failed(&answer), Failure::Again);
        assert_eq!(machine.poll(), Some(Request::Initialize));
    }
    machine.initialized();
    assert_eq!(machine.poll(), None);
}

#[test]
fn a_commit_whose_answer_is_lost_is_asked_again_and_the_next_has_another_id() {
    let mut machine = committing_in(Step::End);
    assert_eq!(machine.failed(&lost()), Failure::Again);
    assert_eq!(machine.poll(), Some(Request::End));
    machine.done();
    assert_eq!(machine.poll(), Some(Request::Initialize), "what was lost may still come");
    machine.initialized();
    assert_eq!(machine.poll(), None, "nothing is to be done again");
}

#[test]
fn what_is_aborted_is_ended_by_the_next_id() {
    let mut machine = begun();
    machine.abort();
    machine.write_to([DEAD_LETTERS]);
    machine.commit(Offset(9));
    assert_eq!(machine.poll(), Some(Request::Initialize), "nothing else counts");
}

/// What a client asks; who it is stands in the stamp or beside.
#[derive(Debug, Clone, Copy)]
enum Call {
    Initialize,
    Add(ProducerId),
    Write { stamp: Stamp, first: i64, records: i32 },
    AddOffsets(ProducerId),
    CommitOffsets(ProducerId, Offset),
    End(ProducerId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Empty,
    Ongoing,
    Committed,
    Aborted,
}

/// The coordinators, and the output's leader, which asks them about each transactional batch, as
/// Kafka's since 3.6 does. Records are numbers, in the order of the source.
struct Cluster {
    epoch: i16,
    status: Status,
    has_output: bool,
    has_offsets: bool,
    pending: Vec<i64>,
    pending_offset: Option<Offset>,
    /// The last batches, under the epoch that they were written in.
    written: (i16, VecDeque<(i32, i32)>),
    committed: Vec<i64>,
    offset: Offset,
}

impl Cluster {
    fn new() -> Self {
        Self {
            epoch: -1,
            status: Status::Empty,
            has_output: false,
            has_offsets: false,
            pending: Vec::new(),
            pending_offset: None,
            written: (-1, VecDeque::new()),
            committed: Vec::new(),
            offset: Offset(0),
        }
    }

    fn carry_out(&mut self, call: Call) -> Result<Option<ProducerId>, ResponseError> {
        match call {
            Call::Initialize => {
                self.throw_away();
                return Ok(Some(ProducerId { id: 7, epoch: self.epoch }));
            }
            Call::Add(producer) => {
                self.known(producer)?;
                self.begin();
                self.has_output = true;
            }
            Call::Write { stamp, first, records } => {
                self.known(stamp.producer)?;
                self.write(stamp, first, records)?;
            }
            Call::AddOffsets(producer) => {
                self.known(producer)?;
                self.begin();
                self.has_offsets = true;
            }
            Call::CommitOffsets(producer, offset) => {
                self.known(producer)?;
                if self.status != Status::Ongoing || !self.has_offsets {
                    return Err(ResponseError::InvalidTxnState);
                }
                self.pending_offset = Some(offset);
            }
            Call::End(producer) => {
                self.known(producer)?;
                match self.status {
                    Status::Ongoing => self.commit(),
                    Status::Committed => {}
                    Status::Empty | Status::Aborted => return Err(ResponseError::InvalidTxnState),
                }
            }
        }
        Ok(None)
    }

    fn known(&self, producer: ProducerId) -> Result<(), ResponseError> {
        if producer.epoch == self.epoch { Ok(()) } else { Err(ResponseError::InvalidProducerEpoch) }
    }

    fn begin(&mut self) {
        if self.status != Status::Ongoing {
            self.status = Status::Ongoing;
            (self.has_output, self.has_offsets) = (false, false);
        }
    }

    fn write(&mut self, stamp: Stamp, first: i64, records: i32) -> Result<(), ResponseError> {
        if self.written.0 != stamp.producer.epoch {
            self.written = (stamp.producer.epoch, VecDeque::new());
        }
        let range = (stamp.sequence, stamp.sequence + records);
        if self.written.1.contains(&range) {
            return Ok(());
        }
        if self.status != Status::Ongoing || !self.has_output {
            return Err(ResponseError::InvalidTxnState);
        }
        if self.written.1.back().map_or(0, |(_, next)| *next) != stamp.sequence {
            return Err(ResponseError::OutOfOrderSequenceNumber);
        }
        self.written.1.push_back(range);
        if self.written.1.len() > 5 {
            self.written.1.pop_front();
        }
        self.pending.extend((first..).take(usize::try_from(records).unwrap()));
        Ok(())
    }

    fn commit(&mut self) {
        self.status = Status::Committed;
        self.committed.append(&mut self.pending);
        self.offset = self.pending_offset.take().unwrap_or(self.offset);
    }

    /// For a later id, or because it was open for too long.
    fn throw_away(&mut self) {
        if self.status == Status::Ongoing {
            self.status = Status::Aborted;
        }
        self.pending.clear();
        self.pending_offset = None;
        self.epoch += 1;
    }
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
    producer: Option<Producer>,
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
            let by = self.producer.as_ref().map(|producer| producer.stamp(OUTPUT).unwrap().producer);
            let call = match (request, by) {
                (Request::Initialize, _) => Call::Initialize,
                (Request::AddPartitions(_), Some(by)) => Call::Add(by),
                (Request::AddOffsets, Some(by)) => Call::AddOffsets(by),
                (Request::CommitOffsets(offset), Some(by)) => Call::CommitOffsets(by, offset),
                (Request::End, Some(by)) => Call::End(by),
                (request, None) => panic!("{request:?} without an id"),
            };
            match world.send(call, fate) {
                Ok(Some(id)) => {
                    self.machine.initialized();
                    self.producer = Some(Producer::transactional("id".into(), id));
                }
                Ok(None) => self.machine.done(),
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
        let producer = self.producer.as_ref().unwrap();
        let stamp = producer.stamp(OUTPUT).unwrap();
        let verdict = match world.send(Call::Write { stamp, first, records }, fate) {
            Ok(_) => Verdict::Written,
            Err(error) => producer.failed(&stamp, &error),
        };
        match verdict {
            Verdict::Written => {
                producer.written(OUTPUT, &stamp, records);
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
    fn send(&mut self, call: Call, fate: Fate) -> Result<Option<ProducerId>, Error> {
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
}

fn fate() -> impl Strategy<Value = Fate> {
    let refusal = prop_oneof![
        Just(ResponseError::CoordinatorLoadInProgress),
        Just(ResponseError::NotCoordinator),
        Just(ResponseError::ConcurrentTransactions),
        Just(ResponseError::NotEnoughReplicas),
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
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]
    #[test]
    fn every_record_counts_once_and_the_offset_with_it(
        records in 1..40_i64,
        batches_each in 1..4_usize,
        events in prop::collection::vec(event(), 0..250),
    ) {
        let mut world = World { cluster: Cluster::new(), records, batches_each, late: Vec::new() };
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
                Event::TimesOut if world.cluster.status == Status::Ongoing => world.cluster.throw_away(),
                Event::Zombie(..) | Event::TimesOut => {}
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

/// The reason for another id after a lost answer, played by hand.
#[test]
fn a_commit_that_comes_late_does_not_commit_half_of_the_next_transaction() {
    let mut world = World { cluster: Cluster::new(), records: 12, batches_each: 2, late: Vec::new() };
    let mut process = Process::default();
    while process.machine.poll() != Some(Request::End) {
        process.step(&mut world, Fate::Answered);
    }
    process.step(&mut world, Fate::Late);
    let committed = world.cluster.committed.len();
    while world.cluster.pending.is_empty() || world.cluster.committed.len() == committed {
        process.step(&mut world, Fate::Answered);
    }
    let before = world.cluster.committed.len();
    let late = world.late.remove(0);
    assert_eq!(world.cluster.carry_out(late), Err(ResponseError::InvalidProducerEpoch));
    assert_eq!(world.cluster.committed.len(), before);
    world.check();
}
