//! What the machine asks, step by step; and in [`simulation`], against the sandbox's coordinator and an output
//! partition, on ways that lose, delay and repeat, and with clients that die and come back as zombies.

use super::TransactionVersion::{V1, V2};
use super::*;

mod simulation;

const OUTPUT: Destination = Destination { topic: 0, partition: 0 };
const DEAD_LETTERS: Destination = Destination { topic: 1, partition: 0 };

fn code(code: ResponseError) -> Error {
    Error::code("ask", "id", code)
}

fn lost() -> Error {
    Error { doing: "ask", on: "id".to_owned(), cause: Cause::Disconnected(String::new()) }
}

/// In a transaction that writes to the output.
fn begun(version: TransactionVersion) -> Transaction {
    let mut machine = Transaction::default();
    assert_eq!(machine.poll(), Some(Request::Initialize));
    machine.initialized(version);
    machine.write_to([OUTPUT]);
    if version == V1 {
        machine.done();
    }
    machine
}

/// Each place in a commit, in both versions.
const COMMITTING: [(TransactionVersion, Step); 5] =
    [(V1, Step::AddOffsets), (V1, Step::CommitOffsets), (V1, Step::End), (V2, Step::CommitOffsets), (V2, Step::End)];

fn committing_in(version: TransactionVersion, step: Step) -> Transaction {
    let mut machine = begun(version);
    machine.commit(Offset(5));
    while machine.state != (State::Committing { offset: Offset(5), step }) {
        machine.done();
    }
    machine
}

#[test]
fn partitions_are_added_once_before_they_are_written_to() {
    let mut machine = Transaction::default();
    machine.initialized(V1);
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
fn in_version_2_nothing_is_added_before_it_is_written() {
    let mut machine = begun(V2);
    for offset in [3, 5] {
        assert_eq!(machine.poll(), None);
        machine.write_to([OUTPUT, DEAD_LETTERS]);
        assert_eq!(machine.poll(), None);
        machine.commit(Offset(offset));
        for request in [Request::CommitOffsets(Offset(offset)), Request::End] {
            assert_eq!(machine.poll(), Some(request));
            machine.done();
        }
    }
}

#[test]
fn an_offset_is_committed_without_outputs_too() {
    for (version, first) in [(V1, Request::AddOffsets), (V2, Request::CommitOffsets(Offset(9)))] {
        let mut machine = Transaction::default();
        machine.initialized(version);
        machine.commit(Offset(9));
        assert_eq!(machine.poll(), Some(first), "so that there is something to end");
    }
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
    for (version, step) in COMMITTING {
        for answer in again {
            let mut machine = committing_in(version, step);
            let before = machine.poll();
            assert_eq!(machine.failed(&code(answer)), Failure::Again, "{answer:?}");
            assert_eq!(machine.poll(), before, "{answer:?}");
        }
        for answer in aborted {
            let mut machine = committing_in(version, step);
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
    machine.initialized(V2);
    assert_eq!(machine.poll(), None);
}

/// As where the cluster's brokers go back to an older version, one after another.
#[test]
fn a_request_that_a_broker_lacks_ends_a_transaction_of_version_2() {
    let lacking = Error { doing: "ask", on: "id".to_owned(), cause: Cause::Unsupported(String::new()) };
    for (version, step) in COMMITTING {
        let mut machine = committing_in(version, step);
        let aborts = if version == V2 { Failure::Aborted } else { Failure::Again };
        assert_eq!(machine.failed(&lacking), aborts);
        assert_eq!(machine.poll() == Some(Request::Initialize), version == V2);
    }
    let mut machine = Transaction::default();
    assert_eq!(machine.failed(&lacking), Failure::Again);
}

#[test]
fn a_commit_whose_answer_is_lost_is_asked_again_and_the_next_has_another_id() {
    let mut machine = committing_in(V1, Step::End);
    assert_eq!(machine.failed(&lost()), Failure::Again);
    assert_eq!(machine.poll(), Some(Request::End));
    machine.done();
    assert_eq!(machine.poll(), Some(Request::Renew), "what was lost may still come");
    assert_eq!(machine.failed(&lost()), Failure::Again);
    assert_eq!(machine.poll(), Some(Request::Renew), "in the same one's place");
    machine.initialized(V1);
    assert_eq!(machine.poll(), None, "nothing is to be done again");
    let mut machine = committing_in(V2, Step::End);
    assert_eq!(machine.failed(&lost()), Failure::Again);
    assert_eq!(machine.poll(), Some(Request::End));
    machine.done();
    assert_eq!(machine.poll(), None, "what was lost is of another epoch");
}

#[test]
fn who_is_fenced_before_the_next_id_begins_anew() {
    let mut machine = committing_in(V1, Step::End);
    machine.failed(&lost());
    machine.done();
    assert_eq!(machine.failed(&code(ResponseError::ProducerFenced)), Failure::Aborted);
    assert_eq!(machine.poll(), Some(Request::Initialize), "in nobody's place");
}

/// The program knows whether the broker has a request by what it was told: an answer that can't be taken,
/// or that is broken on the way, leaves that open.
#[test]
fn an_answer_that_tls_breaks_costs_the_id_of_version_1() {
    let options = [
        Cause::Disconnected("TLS: received fatal alert: BadRecordMac".to_owned()),
        Cause::FrameTooLarge { limit: 1, actual: 2 },
        Cause::Undecodable(String::new()),
    ];
    for cause in options {
        let mut machine = committing_in(V1, Step::End);
        assert_eq!(machine.failed(&Error { doing: "ask", on: "id".to_owned(), cause }), Failure::Again);
        machine.done();
        assert_eq!(machine.poll(), Some(Request::Renew));
    }
}

#[test]
fn what_is_aborted_is_ended_by_the_next_id() {
    for version in [V1, V2] {
        let mut machine = begun(version);
        machine.abort();
        machine.write_to([DEAD_LETTERS]);
        machine.commit(Offset(9));
        assert_eq!(machine.poll(), Some(Request::Initialize), "nothing else counts");
    }
}
