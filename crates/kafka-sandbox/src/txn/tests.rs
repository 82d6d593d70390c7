//! The coordinator's machine alone.

use std::time::Duration;

use kafka_records::batch::ProducerId;
use tokio::time::Instant;

use super::machine::TransactionVersion::{V1, V2};
use super::machine::{Participant, State, Transaction, TransactionVersion};
use crate::error_codes::{
    CONCURRENT_TRANSACTIONS, INVALID_PRODUCER_ID_MAPPING, INVALID_TXN_STATE, PRODUCER_FENCED, TRANSACTION_ABORTABLE,
};

const TIMEOUT: Duration = Duration::from_secs(60);
const FIRST: ProducerId = ProducerId { id: 7, epoch: 0 };
const LAST_EPOCH: i16 = i16::MAX - 1;

fn output(partition: i32) -> Participant {
    Participant::Partition("out".to_owned(), partition)
}

fn offsets() -> Participant {
    Participant::Offsets("group".to_owned())
}

fn at(epoch: i16) -> ProducerId {
    ProducerId { id: 7, epoch }
}

fn no_id() -> i64 {
    panic!("another id is asked for")
}

fn init(it: &mut Transaction, version: TransactionVersion) -> Result<ProducerId, i16> {
    it.handle_init(None, TIMEOUT, version, no_id)
}

fn add(it: &mut Transaction, producer: ProducerId) -> Result<(), i16> {
    it.handle_add(producer, [output(0), offsets()], Instant::now())
}

fn end(it: &mut Transaction, by: ProducerId, commit: bool, version: TransactionVersion) -> Result<ProducerId, i16> {
    it.handle_end(by, commit, version, no_id)
}

/// Tells all participants.
fn mark(it: &mut Transaction) {
    let (_, participants) = it.markers().unwrap();
    for participant in participants {
        it.marked(&participant);
    }
    it.complete_if_all_heard();
}

/// A producer that has begun.
fn begun(version: TransactionVersion) -> Transaction {
    let mut it = Transaction::new(7);
    assert_eq!(init(&mut it, version), Ok(FIRST));
    add(&mut it, FIRST).unwrap();
    assert_eq!(it.state(), State::Ongoing);
    it
}

#[test]
fn a_transaction_is_over_when_all_have_heard() {
    let mut it = begun(V1);
    assert_eq!(it.markers(), None);
    assert_eq!(end(&mut it, FIRST, true, V1), Ok(FIRST));
    let (marker, participants) = it.markers().unwrap();
    assert_eq!((marker.producer, marker.commit), (FIRST, true));
    assert_eq!(participants, [output(0), offsets()]);
    it.marked(&output(0));
    it.complete_if_all_heard();
    assert_eq!(it.state(), State::PrepareCommit);
    // Meanwhile nobody begins, and nothing is added.
    assert_eq!(end(&mut it, FIRST, true, V1), Err(CONCURRENT_TRANSACTIONS));
    assert_eq!(end(&mut it, FIRST, false, V1), Err(INVALID_TXN_STATE));
    assert_eq!(add(&mut it, FIRST), Err(CONCURRENT_TRANSACTIONS));
    assert_eq!(init(&mut it, V1), Err(CONCURRENT_TRANSACTIONS));
    mark(&mut it);
    assert_eq!((it.state(), it.markers()), (State::CompleteCommit, None));
    add(&mut it, FIRST).unwrap();
    assert_eq!(it.state(), State::Ongoing);
}

#[test]
fn who_begins_ends_what_another_left_open_and_fences_it() {
    for version in [V1, V2] {
        let mut it = begun(version);
        assert_eq!(init(&mut it, version), Err(CONCURRENT_TRANSACTIONS));
        let (marker, _) = it.markers().unwrap();
        assert!(!marker.commit && marker.producer.epoch > 0, "{marker:?}");
        assert_eq!(end(&mut it, FIRST, true, V1), Err(PRODUCER_FENCED));
        mark(&mut it);
        assert_eq!(it.state(), State::CompleteAbort);
        assert_eq!(init(&mut it, version), Ok(at(2)));
        for fenced in [FIRST, at(1)] {
            assert_eq!(add(&mut it, fenced), Err(PRODUCER_FENCED));
            assert_eq!(it.handle_verify(fenced, &output(0)), Err(PRODUCER_FENCED));
            assert_eq!(end(&mut it, fenced, true, version), Err(PRODUCER_FENCED));
        }
        assert_eq!(add(&mut it, ProducerId { id: 8, epoch: 0 }), Err(INVALID_PRODUCER_ID_MAPPING));
    }
}

#[test]
fn only_what_was_added_is_part_of_it() {
    let mut it = begun(V1);
    it.handle_verify(FIRST, &output(0)).unwrap();
    assert_eq!(it.handle_verify(FIRST, &output(1)), Err(TRANSACTION_ABORTABLE));
    end(&mut it, FIRST, true, V1).unwrap();
    assert_eq!(it.handle_verify(FIRST, &output(0)), Err(CONCURRENT_TRANSACTIONS));
    mark(&mut it);
    assert_eq!(it.handle_verify(FIRST, &output(0)), Err(TRANSACTION_ABORTABLE));
}

#[test]
fn an_end_that_is_asked_for_again_is_told_again() {
    let mut it = begun(V1);
    end(&mut it, FIRST, true, V1).unwrap();
    mark(&mut it);
    assert_eq!(end(&mut it, FIRST, true, V1), Ok(FIRST));
    assert_eq!(end(&mut it, FIRST, false, V1), Err(INVALID_TXN_STATE));

    let mut it = begun(V2);
    assert_eq!(end(&mut it, FIRST, true, V2), Ok(at(1)));
    assert_eq!(it.markers().unwrap().0.producer, at(1), "in the next epoch");
    assert_eq!(end(&mut it, FIRST, true, V2), Err(CONCURRENT_TRANSACTIONS));
    mark(&mut it);
    assert_eq!(end(&mut it, FIRST, true, V2), Ok(at(1)));
    assert_eq!(end(&mut it, FIRST, false, V2), Err(INVALID_TXN_STATE));
    assert_eq!(end(&mut it, at(1), true, V2), Err(INVALID_TXN_STATE), "the next has not begun");
    // Late: the next has begun.
    add(&mut it, at(1)).unwrap();
    assert_eq!(end(&mut it, FIRST, true, V2), Err(PRODUCER_FENCED));
    assert_eq!(it.state(), State::Ongoing);
}

#[test]
fn what_has_not_begun_is_not_committed_and_in_version_2_given_up() {
    let mut it = Transaction::new(7);
    init(&mut it, V1).unwrap();
    assert_eq!(end(&mut it, FIRST, true, V1), Err(INVALID_TXN_STATE));
    assert_eq!(end(&mut it, FIRST, false, V1), Err(INVALID_TXN_STATE));
    assert_eq!(end(&mut it, FIRST, true, V2), Err(INVALID_TXN_STATE));
    assert_eq!(end(&mut it, FIRST, false, V2), Ok(at(1)));
    it.complete_if_all_heard();
    assert_eq!(it.state(), State::CompleteAbort);
    assert_eq!(end(&mut it, FIRST, false, V2), Ok(at(1)), "again");
}

/// KIP-360.
#[test]
fn a_producer_that_names_itself_goes_on_and_may_ask_twice() {
    let mut it = Transaction::new(7);
    init(&mut it, V1).unwrap();
    let renew = |it: &mut Transaction, by| it.handle_init(Some(by), TIMEOUT, V1, no_id);
    assert_eq!(renew(&mut it, FIRST), Ok(at(1)));
    assert_eq!(renew(&mut it, FIRST), Ok(at(1)), "nobody has heard of it");
    assert_eq!(renew(&mut it, at(1)), Ok(at(2)));
    assert_eq!(renew(&mut it, FIRST), Err(PRODUCER_FENCED));
    assert_eq!(init(&mut it, V1), Ok(at(3)));
    assert_eq!(renew(&mut it, at(2)), Err(PRODUCER_FENCED), "another has begun");
    assert_eq!(renew(&mut it, ProducerId { id: 6, epoch: 3 }), Err(PRODUCER_FENCED));
}

#[test]
fn an_id_whose_epochs_are_used_up_is_followed_by_another() {
    let mut it = Transaction::new(7);
    for _ in 0..=LAST_EPOCH {
        init(&mut it, V1).unwrap();
    }
    assert_eq!(it.producer(), at(LAST_EPOCH));
    let next = ProducerId { id: 8, epoch: 0 };
    assert_eq!(it.clone().handle_init(None, TIMEOUT, V1, || 8), Ok(next));
    let last = it.producer();
    assert_eq!(it.clone().handle_init(Some(last), TIMEOUT, V1, || 8), Ok(next));

    add(&mut it, last).unwrap();
    assert_eq!(it.handle_end(last, true, V2, || 8), Ok(next));
    assert_eq!(it.markers().unwrap().0.producer, at(i16::MAX), "nobody writes as that");
    mark(&mut it);
    assert_eq!(it.producer(), next);
    assert_eq!(end(&mut it, last, true, V2), Ok(next), "again");
    add(&mut it, next).unwrap();
    assert_eq!(end(&mut it, last, true, V2), Err(PRODUCER_FENCED));
}

#[test]
fn what_is_open_for_too_long_is_given_up_and_its_producer_fenced() {
    let mut it = Transaction::new(7);
    init(&mut it, V1).unwrap();
    assert_eq!(it.deadline(), None);
    let now = Instant::now();
    it.handle_add(FIRST, [output(0)], now).unwrap();
    it.handle_add(FIRST, [output(1)], now + TIMEOUT / 2).unwrap();
    assert_eq!(it.deadline(), Some(now + TIMEOUT), "counted from its beginning");
    it.tick(now + TIMEOUT / 2, V1);
    assert_eq!(it.state(), State::Ongoing);
    for (version, renewed) in [(V1, Err(PRODUCER_FENCED)), (V2, Ok(at(1)))] {
        let mut it = it.clone();
        it.tick(now + TIMEOUT, version);
        assert_eq!((it.state(), it.deadline()), (State::PrepareAbort, None));
        assert_eq!(end(&mut it, FIRST, true, V1), Err(PRODUCER_FENCED));
        mark(&mut it);
        assert_eq!(it.state(), State::CompleteAbort);
        // In version 2 nobody else is in its place yet.
        assert_eq!(it.handle_init(Some(FIRST), TIMEOUT, version, no_id), renewed);
    }
}
