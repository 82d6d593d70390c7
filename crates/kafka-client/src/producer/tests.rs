//! The numbers against a model of the brokers that loses, delays and repeats.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::super::TransactionVersion;
use super::*;

const FIRST: ProducerId = ProducerId { id: 7, epoch: 0 };

fn to(partition: i32) -> Destination {
    Destination { topic: 0, partition }
}

fn state(producer: ProducerId, sequence: i32) -> ProducerState {
    ProducerState { producer, sequence, transactional: false }
}

fn code(code: ResponseError) -> Error {
    Error::code("produce to", "t/0", code)
}

fn identified() -> Producer {
    let producer = Producer::default();
    producer.identified(FIRST);
    producer
}

#[test]
fn numbers_are_counted_for_each_partition() {
    let producer = Producer::default();
    assert_eq!(producer.next_state(to(0)), None, "an id comes first");
    producer.identified(FIRST);
    let first = producer.next_state(to(0)).unwrap();
    assert_eq!(first, state(FIRST, 0));
    assert_eq!(producer.next_state(to(0)), Some(first), "a number is taken only once its batch is written");
    producer.written(to(0), &first, 3);
    assert_eq!(producer.next_state(to(0)).unwrap().sequence, 3);
    assert_eq!(producer.next_state(to(1)).unwrap().sequence, 0);
}

#[test]
fn numbers_begin_again_behind_the_last() {
    let last = state(FIRST, i32::MAX - 1);
    let producer = identified();
    producer.written(to(0), &last, 2);
    assert_eq!(producer.next_state(to(0)).unwrap().sequence, 0);
    producer.written(to(0), &last, 5);
    assert_eq!(producer.next_state(to(0)).unwrap().sequence, 3);
}

#[test]
fn what_each_answer_means() {
    use ResponseError as Code;
    let cases = [
        (Code::DuplicateSequenceNumber, Verdict::Written, true),
        (Code::NotLeaderOrFollower, Verdict::Again, true),
        (Code::RequestTimedOut, Verdict::Again, true),
        (Code::TopicAuthorizationFailed, Verdict::Again, true),
        (Code::OutOfOrderSequenceNumber, Verdict::Anew, false),
        (Code::UnknownProducerId, Verdict::Anew, false),
        (Code::InvalidProducerEpoch, Verdict::Anew, false),
        (Code::ProducerFenced, Verdict::Anew, false),
    ];
    for (answer, verdict, keeps_id) in cases {
        let producer = identified();
        let state = producer.next_state(to(0)).unwrap();
        assert_eq!(producer.failed(&state, &code(answer)), verdict, "{answer:?}");
        assert_eq!(producer.next_state(to(0)).is_some(), keeps_id, "{answer:?}");
    }
}

#[test]
fn without_permission_batches_go_plain() {
    let producer = identified();
    let state = producer.next_state(to(0)).unwrap();
    assert_eq!(producer.failed(&state, &code(ResponseError::ClusterAuthorizationFailed)), Verdict::Anew);
    assert_eq!(producer.next_state(to(0)), Some(ProducerState::PLAIN));
    let verdict = producer.failed(&ProducerState::PLAIN, &code(ResponseError::ClusterAuthorizationFailed));
    assert_eq!(verdict, Verdict::Again, "then it is the topic that is forbidden");
}

#[test]
fn within_a_transaction_there_is_no_other_id() {
    use ResponseError as Code;
    let cases = [
        (Code::DuplicateSequenceNumber, Verdict::Written),
        (Code::NotLeaderOrFollower, Verdict::Again),
        (Code::ConcurrentTransactions, Verdict::Again),
        (Code::ClusterAuthorizationFailed, Verdict::Again),
        (Code::ConcurrentTransactions, Verdict::Again),
        (Code::OutOfOrderSequenceNumber, Verdict::Aborted),
        (Code::InvalidProducerEpoch, Verdict::Aborted),
        (Code::ProducerFenced, Verdict::Aborted),
        (Code::InvalidTxnState, Verdict::Aborted),
        (Code::TransactionAbortable, Verdict::Aborted),
    ];
    let lacking = Error { doing: "produce to", on: "t/0".to_owned(), cause: Cause::Unsupported(String::new()) };
    for (version, lacks) in [(TransactionVersion::V1, Verdict::Again), (TransactionVersion::V2, Verdict::Aborted)] {
        let producer = Producer::transactional(WithinTransaction { transactional_id: "id".into(), version }, FIRST);
        let state = producer.next_state(to(0)).unwrap();
        assert!(state.transactional && state.producer == FIRST);
        for (answer, verdict) in cases {
            assert_eq!(producer.failed(&state, &code(answer)), verdict, "{answer:?}");
            assert_eq!(producer.next_state(to(0)), Some(state), "{answer:?}");
        }
        assert_eq!(producer.failed(&state, &lacking), lacks);
    }
}

#[test]
fn a_batch_under_an_id_of_before_changes_no_number() {
    let producer = identified();
    let (ours, others) = (producer.next_state(to(0)).unwrap(), producer.next_state(to(1)).unwrap());
    producer.failed(&ours, &code(ResponseError::UnknownProducerId));
    let second = ProducerId { id: 8, epoch: 0 };
    producer.identified(second);
    producer.written(to(1), &others, 5);
    assert_eq!(producer.next_state(to(1)), Some(state(second, 0)));
    assert_eq!(producer.failed(&others, &code(ResponseError::UnknownProducerId)), Verdict::Anew);
    assert_eq!(producer.next_state(to(0)), Some(state(second, 0)), "the new id stays");
}

/// One partition's log, and what it remembers of producers, by the rules of Kafka's
/// `ProducerStateManager`.
#[derive(Default)]
struct Broker {
    log: Vec<usize>,
    remembered: HashMap<i64, VecDeque<(i32, i32)>>,
}

/// A batch on its way.
#[derive(Clone, Copy)]
struct Attempt {
    batch: usize,
    records: i32,
    state: ProducerState,
}

impl Broker {
    fn append(&mut self, attempt: Attempt) -> Result<(), ResponseError> {
        let Attempt { batch, records, state } = attempt;
        let known = self.remembered.entry(state.producer.id).or_default();
        let range = (state.sequence, sequence_after(state.sequence, records));
        if known.contains(&range) {
            return Ok(());
        }
        match known.back() {
            Some((_, next)) if *next != state.sequence => return Err(ResponseError::OutOfOrderSequenceNumber),
            None if state.sequence != 0 => return Err(ResponseError::UnknownProducerId),
            _ => known.push_back(range),
        }
        if known.len() > 5 {
            known.pop_front();
        }
        self.log.push(batch);
        Ok(())
    }
}

/// What becomes of an attempt.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Answered,
    LostOnTheWay,
    AnswerLost,
    /// It comes after later ones.
    Late,
    /// The broker has forgotten its producers.
    Forgotten,
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        3 => Just(Fate::Answered),
        1 => Just(Fate::LostOnTheWay),
        2 => Just(Fate::AnswerLost),
        2 => Just(Fate::Late),
        1 => Just(Fate::Forgotten),
    ];
    prop::collection::vec(fate, 0..60)
}

proptest! {
    #[test]
    fn every_batch_is_written_once_and_in_order(
        fates in fates(),
        sizes in prop::collection::vec(1..4_i32, 1..25),
        start in prop_oneof![Just(0), i32::MAX - 8..=i32::MAX],
        arrive in prop::collection::vec(any::<prop::sample::Index>(), 60),
    ) {
        let lost = || Error { doing: "", on: String::new(), cause: Cause::Disconnected(String::new()) };
        let producer = identified();
        let mut broker = Broker::default();
        if start > 0 {
            let before = state(FIRST, start);
            producer.written(to(0), &before, 1);
            broker.remembered.insert(FIRST.id, VecDeque::from([(start, sequence_after(start, 1))]));
        }
        let (mut fates, mut arrive) = (fates.into_iter(), arrive.into_iter());
        let (mut late, mut ids) = (VecDeque::new(), FIRST.id + 1..);
        for (batch, records) in sizes.iter().copied().enumerate() {
            let mut state = producer.next_state(to(0)).unwrap();
            let mut in_doubt = false;
            loop {
                let attempt = Attempt { batch, records, state };
                let answer = match fates.next().unwrap_or(Fate::Answered) {
                    Fate::LostOnTheWay => Err(lost()),
                    Fate::AnswerLost => {
                        let _ = broker.append(attempt);
                        Err(lost())
                    }
                    Fate::Late => {
                        late.push_back(attempt);
                        Err(lost())
                    }
                    // What a broker forgets while an attempt is in doubt, nobody can tell it.
                    Fate::Forgotten if !in_doubt && late.is_empty() => {
                        broker.remembered.clear();
                        broker.append(attempt).map_err(code)
                    }
                    Fate::Forgotten | Fate::Answered => broker.append(attempt).map_err(code),
                };
                let arrives = arrive.next().filter(|_| late.len() > 1);
                if let Some(attempt) = arrives.and_then(|index| late.remove(index.index(late.len()))) {
                    let _ = broker.append(attempt);
                }
                let Err(error) = answer else {
                    producer.written(to(0), &state, records);
                    break;
                };
                in_doubt |= matches!(error.cause, Cause::Disconnected(_));
                match producer.failed(&state, &error) {
                    Verdict::Written | Verdict::Aborted => panic!("no such answer here"),
                    Verdict::Again => {}
                    Verdict::Anew => {
                        producer.identified(ProducerId { id: ids.next().unwrap(), epoch: 0 });
                        state = producer.next_state(to(0)).unwrap();
                    }
                }
            }
        }
        for attempt in late {
            let _ = broker.append(attempt);
        }
        prop_assert_eq!(broker.log, (0..sizes.len()).collect::<Vec<_>>());
    }
}
