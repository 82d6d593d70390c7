use serde_json::json;

use super::cell::MAX_MESSAGE_BYTES;
use super::*;
use crate::observe::Tally;
use crate::observe::health::Severity;

#[tokio::test(start_paused = true)]
async fn the_page_in_json() {
    let board = StatusBoard::new("1.2.3", json!({"source": {"topic": "user-login"}}));
    let second = board.partition("user-login", 10);
    let first = board.partition("user-login", 2);
    first.state(PartitionState::Running);
    first.position(Offset(40));
    first.high_watermark(Offset(100));
    first.checkpointed(Offset(30));
    first.in_flight_bytes(2_100);
    second.failed("fatal", "not allowed to read");
    tokio::time::advance(Duration::from_secs(61)).await;

    let status = board.status(Phase::Running, Tally::new(&["device_type"]).snapshot());
    let mut page = serde_json::to_value(status).unwrap();
    assert_eq!(
        page["partitions"][0],
        json!({
            "topic": "user-login", "partition": 2, "state": "running", "position": 40, "committed": 30,
            "high_watermark": 100, "lag": 70, "lag_ms": null, "in_flight_bytes": 2100, "last_error": null,
            "checkpoint_age_seconds": 61,
        })
    );
    assert!(page["partitions"][1]["last_error"]["at"].take().as_str().unwrap().ends_with('Z'));
    assert_eq!(
        page["partitions"][1],
        json!({
            "topic": "user-login", "partition": 10, "state": "starting", "position": null, "committed": null,
            "high_watermark": null, "lag": null, "lag_ms": null, "in_flight_bytes": 0,
            "last_error": {"class": "fatal", "message": "not allowed to read", "at": null},
            "checkpoint_age_seconds": null,
        })
    );
    assert_eq!(page["state"], "running");
    assert_eq!(page["uptime_seconds"], 61);
    assert_eq!(page["configuration"]["source"]["topic"], "user-login");
    assert_eq!(page["tally"]["records_in"], 0);
}

#[tokio::test(start_paused = true)]
async fn lag_is_from_what_is_stored_and_unknown_once_nobody_tells_the_end() {
    let board = StatusBoard::new("1.2.3", Value::Null);
    board.watermarks_last(Duration::from_secs(30));
    let partition = board.partition("user-login", 0);
    let (lag, lag_ms) = (|| board.partitions()[0].lag, || board.partitions()[0].lag_ms);
    partition.position(Offset(40));
    assert_eq!(lag(), None);
    board.high_watermarks("user-login", &[(0, Offset(100))].into());
    assert_eq!(lag(), None, "where nothing is known to be stored");
    partition.committed(Offset(30));
    assert_eq!((lag(), lag_ms()), (Some(70), None), "what is read is not done");
    partition.oldest(1_700_000_000_000);
    assert!(lag_ms().is_some_and(|age| age > 30_000_000_000), "since November 2023: {:?}", lag_ms());
    board.high_watermarks("user-login", &[(1, Offset(7))].into());
    board.high_watermarks("another", &[(0, Offset(7))].into());
    assert_eq!(lag(), Some(70));
    partition.done(Offset(101));
    assert_eq!((lag(), lag_ms()), (Some(70), Some(0)), "what is done is not stored yet");
    partition.checkpointed(Offset(101));
    assert_eq!(lag(), Some(0), "what is done stands in the log");
    assert_eq!(lag_ms(), Some(0), "however old the last record is");
    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(lag(), Some(0));
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!((lag(), board.partitions()[0].high_watermark), (None, None));
    partition.high_watermark(Offset(103));
    assert_eq!(lag(), Some(2), "a fetch tells it, too");
    let waits = lag_ms().unwrap();
    assert!((30_001..60_000).contains(&waits), "since all was done, not since 2023: {waits}");
}

#[test]
fn the_worst_trouble_is_what_a_partition_shows() {
    let board = StatusBoard::new("1.2.3", Value::Null);
    let partition = board.partition("user-login", 0);
    let state = || board.partitions()[0].state;
    let of = TopicPartition::new("user-login", 0);
    let mut fetch = board.troubles_of(&of).unwrap().begin(Severity::Passing);
    assert_eq!(state(), PartitionState::Retrying, "before it runs, too");
    partition.state(PartitionState::Running);
    let write = partition.troubles().begin(Severity::Fatal);
    assert_eq!(state(), PartitionState::Blocked);
    drop(write);
    assert_eq!(state(), PartitionState::Retrying);
    fetch.failed("fatal", Severity::Fatal, "not allowed to read");
    assert_eq!(state(), PartitionState::Blocked);
    assert_eq!(board.partitions()[0].last_error.as_ref().unwrap().class, "fatal");
    partition.state(PartitionState::Paused);
    assert_eq!(state(), PartitionState::Paused, "which someone has to end");
    partition.state(PartitionState::Running);
    fetch.failed("transient", Severity::Passing, "no answer within 30s");
    drop(fetch);
    assert_eq!(state(), PartitionState::Running);
    assert_eq!(board.partitions()[0].last_error.as_ref().unwrap().class, "transient", "the last error stays");
    partition.state(PartitionState::Draining);
    partition.state(PartitionState::Running);
    let _late = partition.troubles().begin(Severity::Fatal);
    assert_eq!(state(), PartitionState::Draining);
    assert!(board.troubles_of(&TopicPartition::new("processed-user-login", 0)).is_none());
}

#[test]
fn what_happens_is_marked_once() {
    let board = StatusBoard::new("1.2.3", Value::Null);
    let partition = board.partition("user-login", 0);
    let trouble = partition.troubles().begin(Severity::Passing);
    let _more = partition.troubles().begin(Severity::Fatal);
    let report = |joined| GroupReport { rebalances: [("member_joined", joined)].into(), ..GroupReport::default() };
    [1, 1, 1].into_iter().for_each(|joined| board.group(report(joined)));
    drop(trouble);
    let marks: Vec<_> = board.timeline().marks().iter().map(|mark| (mark.kind, mark.about, mark.count)).collect();
    let rebalance = (MarkKind::Rebalance, "member_joined", 1);
    assert_eq!(marks, [(MarkKind::Start, "process", 1), (MarkKind::Retry, "failure", 1), rebalance]);
}

#[test]
fn a_dropped_partition_leaves_the_page() {
    let board = StatusBoard::new("1.2.3", Value::Null);
    let partition = board.partition("user-login", 0);
    partition.failed("transient", &"é".repeat(400));
    assert_eq!(board.partitions()[0].last_error.as_ref().unwrap().message.len(), MAX_MESSAGE_BYTES);
    drop(partition);
    assert!(board.partitions().is_empty());
}
