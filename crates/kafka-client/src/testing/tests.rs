//! Whatever a broker answers is an error that says so, or is passed over; never a wrong offset.

use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::consumer_group_describe_response::DescribedGroup;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::find_coordinator_response::Coordinator as Found;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    BrokerId, ConsumerGroupDescribeResponse, DescribeConfigsResponse, FetchRequest, FindCoordinatorResponse, GroupId,
    OffsetFetchResponse, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, ProduceResponse, RequestHeader,
};
use kafka_protocol::protocol::Decodable;
use kafka_records::record::{Offset, Position};

use super::*;
use crate::ErrorClass;
use crate::admission::Reserve;
use crate::{Ask, At, Coordinator, Isolation, LeaderConnection};
use crate::{Cause, Error};

#[track_caller]
fn undecodable<T: std::fmt::Debug>(result: Result<T, Error>, why: &str) {
    let error = result.unwrap_err();
    assert!(matches!(&error.cause, Cause::Undecodable(found) if found.contains(why)), "{error}");
}

#[tokio::test]
async fn a_lying_count_is_an_error_and_the_connection_lives() {
    let claims = |_, _| Bytes::from_static(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0]);
    let cluster = ScriptedBroker::new().respond_bytes(ApiKey::ListOffsets, claims).start();
    let connection = cluster.leader("t", 0).await.unwrap();
    for _ in 0..2 {
        let asked = cluster.offset_at("t", 0, At::Latest).await;
        undecodable(asked, "the ListOffsets answer (version 7) does not hold what it claims");
    }
    assert!(!connection.is_broken());
}

#[tokio::test]
async fn versions_that_do_not_hold_what_they_claim_are_asked_for_once_more_and_given_up() {
    let claims = |_, _| Bytes::from_static(&[0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0]);
    let cluster = ScriptedBroker::new().respond_bytes(ApiKey::ApiVersions, claims).start();
    undecodable(cluster.topics(&["t"]).await, "the ApiVersions answer (version 0) does not hold what it claims");
}

#[tokio::test]
async fn an_answer_without_a_correlation_id_breaks_the_connection_at_once() {
    let network = Network::default();
    let mut listener = network.listen("broker:9092");
    tokio::spawn(async move {
        let mut stream = listener.accept().await.unwrap();
        stream.write_all(&[0, 0, 0, 2, 7, 7]).await.unwrap();
        std::future::pending::<()>().await;
    });
    let opened = crate::Connection::open("broker:9092", &network.options("client", &[])).await;
    assert!(matches!(opened.unwrap_err().cause, Cause::Disconnected(_)));
}

#[tokio::test]
async fn a_leader_at_no_address_is_an_error() {
    for (host, port, why) in [("", 9092, "no host"), ("a\nb", 9092, "neither"), ("kafka", 0, "port 0")] {
        let broker = ScriptedBroker::new().respond(ApiKey::Metadata, move |asked| {
            let mut answer = metadata(asked, &[0]);
            answer.brokers[0] = answer.brokers[0].clone().with_host(text(host)).with_port(port);
            answer
        });
        let cluster = broker.start();
        undecodable(cluster.leader("t", 0).await, why);
        undecodable(cluster.controller().await, why);
    }
}

#[tokio::test]
async fn a_leader_that_nobody_knows_is_asked_for_anew() {
    let asked = std::sync::atomic::AtomicI32::new(0);
    let broker = ScriptedBroker::new().respond(ApiKey::Metadata, move |port| {
        let mut answer = metadata(port, &[0]);
        let first = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        answer.topics[0].partitions[0].leader_id = BrokerId(if first { 77 } else { 0 });
        answer
    });
    let cluster = broker.start();
    assert!(cluster.leader("t", 0).await.unwrap_err().is(ResponseError::LeaderNotAvailable));
    cluster.leader("t", 0).await.unwrap();
}

#[tokio::test]
async fn partitions_are_numbered_without_a_gap() {
    for wrong in [&[][..], &[1], &[0, 2], &[0, 0], &[-1, 0], &[i32::MAX]] {
        let cluster = ScriptedBroker::new().respond(ApiKey::Metadata, |port| metadata(port, wrong)).start();
        undecodable(cluster.topics(&["t"]).await.unwrap().remove("t").unwrap(), "not numbered");
    }
    let cluster = ScriptedBroker::new().respond(ApiKey::Metadata, |port| metadata(port, &[1, 0])).start();
    assert_eq!(cluster.topics(&["t"]).await.unwrap()["t"].as_ref().unwrap().partition_count(), 2);
}

#[tokio::test]
async fn topics_that_nobody_asked_for_are_passed_over() {
    let cluster = ScriptedBroker::new().start();
    assert!(cluster.topics(&["u"]).await.unwrap().is_empty());
    assert!(cluster.leader("u", 0).await.unwrap_err().is(ResponseError::UnknownTopicOrPartition));
}

#[tokio::test]
async fn a_place_has_an_offset() {
    let listed = async |partition, said, at| {
        let cluster = ScriptedBroker::new().respond(ApiKey::ListOffsets, offset(partition, said)).start();
        cluster.offset_at("t", 0, at).await
    };
    assert_eq!(listed(0, 7, At::Earliest).await.unwrap(), Some(Offset(7)));
    assert_eq!(listed(0, -1, At::Timestamp(5)).await.unwrap(), None);
    for (said, at) in [(-1, At::Earliest), (-1, At::Latest), (-5, At::Timestamp(5)), (i64::MIN, At::Latest)] {
        undecodable(listed(0, said, at).await, "is no offset");
    }
    undecodable(listed(3, 7, At::Earliest).await, "another partition");
}

#[tokio::test]
async fn an_error_code_that_nobody_knows_is_said() {
    let broker = ScriptedBroker::new().respond(ApiKey::ListOffsets, |port| {
        let mut answer = offset(0, 7)(port);
        answer.topics[0].partitions[0].error_code = i16::MAX;
        answer
    });
    let error = broker.start().offset_at("t", 0, At::Latest).await.unwrap_err();
    assert!(error.to_string().contains("code 32767"), "{error}");
    assert_eq!(error.class(), ErrorClass::Fatal);
}

fn ask(isolation: Isolation, offset: i64) -> Ask<'static> {
    Ask { topic: "t", partition: 0, isolation, offset: Offset(offset), max_bytes: 1000, max_wait_ms: 0 }
}

#[tokio::test]
async fn a_fetch_tells_of_its_partition_and_of_its_end() {
    let fetch = async |partition| {
        let cluster = ScriptedBroker::new().respond(ApiKey::Fetch, fetched(partition)).start();
        cluster.fetch(&ask(Isolation::Committed, 5)).await
    };
    let whole = PartitionData::default().with_high_watermark(3).with_last_stable_offset(-1);
    assert_eq!(fetch(whole.clone()).await.unwrap().high_watermark, Offset(3), "below the position: truncated");
    let ends = async |isolation| {
        let ends = PartitionData::default().with_high_watermark(9).with_last_stable_offset(7);
        let cluster = ScriptedBroker::new().respond(ApiKey::Fetch, fetched(ends)).start();
        cluster.fetch(&ask(isolation, 5)).await.unwrap().end
    };
    assert_eq!((ends(Isolation::Committed).await, ends(Isolation::Uncommitted).await), (Offset(7), Offset(9)));
    undecodable(fetch(whole.clone().with_high_watermark(-1)).await, "high watermark is negative");
    undecodable(fetch(whole.with_partition_index(1)).await, "another partition");
}

#[tokio::test]
async fn a_fetch_tells_the_leaders_epoch_and_asks_anew_when_that_has_passed() {
    let epochs = Arc::new(std::sync::Mutex::new(Vec::new()));
    let asked = Arc::new(std::sync::atomic::AtomicI32::new(0));
    let counted = Arc::clone(&asked);
    let broker = ScriptedBroker::new().respond(ApiKey::Metadata, move |port| {
        let mut told = metadata(port, &[0]);
        let epoch = counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        told.topics[0].partitions[0].leader_epoch = epoch;
        told
    });
    let seen = Arc::clone(&epochs);
    let broker = broker.expect(ApiKey::Fetch, move |version, request| {
        let header = RequestHeader::decode(request, 1).unwrap();
        let request = FetchRequest::decode(request, version).unwrap();
        let epoch = request.topics[0].partitions[0].current_leader_epoch;
        seen.lock().unwrap().push((header.request_api_version, epoch));
        let code = if epoch == 0 { ResponseError::FencedLeaderEpoch.code() } else { 0 };
        let partition = PartitionData::default().with_high_watermark(5).with_last_stable_offset(5);
        fetched(partition.with_error_code(code))(0)
    });
    let mut leader = LeaderConnection::new(broker.start(), Reserve::new(1 << 20));
    leader.open("t", 0, Offset(5).into()).await.unwrap();
    let error = leader.fetch(&ask(Isolation::Committed, 5)).await.unwrap_err();
    assert!(error.is(ResponseError::FencedLeaderEpoch) && error.class() == ErrorClass::Transient, "{error}");
    assert!(!leader.is_open());
    leader.open("t", 0, Offset(5).into()).await.unwrap();
    assert!(leader.fetch(&ask(Isolation::Committed, 5)).await.is_ok() && leader.is_open());
    assert_eq!(*epochs.lock().unwrap(), [(11, 0), (11, 1)]);
}

#[tokio::test]
async fn a_leader_that_has_been_deposed_and_does_not_know_truncates_nothing() {
    let leads = Arc::new(std::sync::atomic::AtomicI32::new(5));
    let lead = |epoch| leads.store(epoch, std::sync::atomic::Ordering::Relaxed);
    let told = Arc::clone(&leads);
    let broker = ScriptedBroker::new().respond(ApiKey::Metadata, move |port| {
        let mut metadata = metadata(port, &[0]);
        metadata.topics[0].partitions[0].leader_epoch = told.load(std::sync::atomic::Ordering::Relaxed);
        metadata
    });
    let broker = broker.expect(ApiKey::OffsetForLeaderEpoch, move |version, request| {
        RequestHeader::decode(request, 2).unwrap();
        let request = OffsetForLeaderEpochRequest::decode(request, version).unwrap();
        let (epoch, end) = if request.topics[0].partitions[0].current_leader_epoch == 7 { (6, 10) } else { (5, 8) };
        let end = EpochEndOffset::default().with_leader_epoch(epoch).with_end_offset(end);
        let topic = OffsetForLeaderTopicResult::default().with_topic(topic("t")).with_partitions(vec![end]);
        OffsetForLeaderEpochResponse::default().with_topics(vec![topic])
    });
    let cluster = broker.start();
    let mut leader = LeaderConnection::new(Arc::clone(&cluster), Reserve::new(1 << 20));
    let position = Position { offset: Offset(10), leader_epoch: Some(6) };
    let doubted = async |leader: &mut LeaderConnection| {
        // However often it is asked.
        for _ in 0..50 {
            let error = leader.open("t", 0, position).await.unwrap_err();
            assert!(error.is(ResponseError::UnknownLeaderEpoch) && error.class() == ErrorClass::Transient, "{error}");
        }
    };
    let half_a_minute = async || {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(30)).await;
        tokio::time::resume();
    };
    doubted(&mut leader).await;
    half_a_minute().await;
    lead(7);
    leader.open("t", 0, position).await.unwrap();
    assert!(leader.is_open());
    lead(5);
    cluster.forget_leader("t", 0);
    doubted(&mut leader).await;
    half_a_minute().await;
    // Nobody does not know for so long: it is another log.
    let error = leader.open("t", 0, position).await.unwrap_err();
    let diverged = Position { offset: Offset(8), leader_epoch: Some(5) };
    assert!(matches!(error.cause, Cause::Truncated { diverged: Some(at), .. } if at == diverged), "{error}");
}

/// Opens a leader to a leader in epoch 7 that says this of the epoch 5 of a position at 10.
async fn opened(answer: impl Fn() -> EpochEndOffset + Send + Sync + 'static) -> (Result<(), Error>, LeaderConnection) {
    let broker = ScriptedBroker::new().respond(ApiKey::Metadata, |port| {
        let mut told = metadata(port, &[0]);
        told.topics[0].partitions[0].leader_epoch = 7;
        told
    });
    let broker = broker.expect(ApiKey::OffsetForLeaderEpoch, move |version, request| {
        RequestHeader::decode(request, 2).unwrap();
        let request = OffsetForLeaderEpochRequest::decode(request, version).unwrap();
        let asked = &request.topics[0].partitions[0];
        assert_eq!((asked.current_leader_epoch, asked.leader_epoch, request.replica_id.0), (7, 5, -1));
        let topic = OffsetForLeaderTopicResult::default().with_topic(topic("t")).with_partitions(vec![answer()]);
        OffsetForLeaderEpochResponse::default().with_topics(vec![topic])
    });
    let mut leader = LeaderConnection::new(broker.start(), Reserve::new(1 << 20));
    let position = Position { offset: Offset(10), leader_epoch: Some(5) };
    (leader.open("t", 0, position).await, leader)
}

#[tokio::test]
async fn no_connection_opens_to_a_leader_that_does_not_have_what_was_read() {
    let says = async |epoch, end| {
        opened(move || EpochEndOffset::default().with_leader_epoch(epoch).with_end_offset(end)).await
    };
    let (outcome, leader) = says(5, 10).await;
    outcome.unwrap();
    assert!(leader.is_open());
    let (outcome, leader) = says(4, 8).await;
    let diverged = Position { offset: Offset(8), leader_epoch: Some(4) };
    let error = outcome.unwrap_err();
    assert!(matches!(error.cause, Cause::Truncated { diverged: Some(at), .. } if at == diverged), "{error}");
    assert!(!leader.is_open() && error.class() == ErrorClass::Fatal);
    undecodable(says(6, 10).await.0, "it tells of leader epoch 6, asked for 5");
    undecodable(says(5, -9).await.0, "-9 is no offset");
    undecodable(opened(|| EpochEndOffset::default().with_partition(1)).await.0, "another partition");
    let fenced = opened(|| EpochEndOffset::default().with_error_code(ResponseError::FencedLeaderEpoch.code()));
    let (outcome, leader) = fenced.await;
    let error = outcome.unwrap_err();
    assert!(error.is(ResponseError::FencedLeaderEpoch) && error.class() == ErrorClass::Transient, "{error}");
    assert!(!leader.is_open());
}

fn coordinator(port: u16) -> FindCoordinatorResponse {
    let found = Found::default().with_key(text("g")).with_host(text("127.0.0.1")).with_port(i32::from(port));
    FindCoordinatorResponse::default().with_coordinators(vec![found])
}

#[tokio::test]
async fn a_coordinator_is_of_the_group_and_at_an_address() {
    let find = async |change: fn(Found) -> Found| {
        let broker = ScriptedBroker::new().respond(ApiKey::FindCoordinator, move |port| {
            let mut answer = coordinator(port);
            answer.coordinators[0] = change(answer.coordinators[0].clone());
            answer
        });
        Coordinator::new(broker.start(), "g").connection().await
    };
    find(|found| found).await.unwrap();
    undecodable(find(|found| found.with_key(text("h"))).await, "another group");
    undecodable(find(|found| found.with_port(0)).await, "port 0");
    undecodable(find(|found| found.with_host(text(""))).await, "no host");
    let error = find(|found| found.with_host(text("")).with_port(-1).with_error_code(15)).await.unwrap_err();
    assert!(error.is(ResponseError::CoordinatorNotAvailable), "{error}");
    let nobody = ScriptedBroker::new().respond(ApiKey::FindCoordinator, |_| FindCoordinatorResponse::default());
    undecodable(Coordinator::new(nobody.start(), "g").connection().await, "no host");
}

#[tokio::test]
async fn a_partition_that_an_answer_leaves_out_is_not_taken_for_new() {
    let committed = async |group, offsets: &'static [(i32, i64)]| {
        let broker = ScriptedBroker::new().respond(ApiKey::FindCoordinator, coordinator).respond(
            ApiKey::OffsetFetch,
            move |_| {
                let partition = |(index, offset): &(i32, i64)| {
                    OffsetFetchResponsePartitions::default().with_partition_index(*index).with_committed_offset(*offset)
                };
                let partitions = offsets.iter().map(partition).collect();
                let topic = OffsetFetchResponseTopics::default().with_name(topic("t")).with_partitions(partitions);
                let group = OffsetFetchResponseGroup::default().with_group_id(GroupId(text(group)));
                OffsetFetchResponse::default().with_groups(vec![group.with_topics(vec![topic])])
            },
        );
        Coordinator::new(broker.start(), "g").committed("t", &[0, 1]).await
    };
    let found = committed("g", &[(0, 7), (1, -1), (2, 9)]).await.unwrap();
    assert_eq!(found.into_iter().map(|(partition, found)| (partition, found.offset.0)).collect::<Vec<_>>(), [(0, 7)]);
    undecodable(committed("g", &[(0, 7)]).await, "does not tell of partition 1 of t");
    undecodable(committed("g", &[(0, -2), (1, 3)]).await, "is no offset");
    undecodable(committed("h", &[(0, 7), (1, 3)]).await, "another group");
}

#[tokio::test]
async fn a_group_that_an_answer_leaves_out_is_not_taken_for_none() {
    for named in [None, Some("h")] {
        let broker = ScriptedBroker::new().respond(ApiKey::FindCoordinator, coordinator);
        let broker = broker.respond(ApiKey::ConsumerGroupDescribe, move |_| {
            let group = |name| DescribedGroup::default().with_group_id(GroupId(text(name)));
            ConsumerGroupDescribeResponse::default().with_groups(named.map(group).into_iter().collect())
        });
        undecodable(Coordinator::new(broker.start(), "g").describe().await, "another group");
    }
}

#[tokio::test]
async fn settings_are_of_the_topic() {
    let broker = ScriptedBroker::new().respond(ApiKey::DescribeConfigs, |_| {
        let other = DescribeConfigsResult::default().with_resource_name(text("u"));
        DescribeConfigsResponse::default().with_results(vec![other])
    });
    undecodable(broker.start().topic_setting("t", "cleanup.policy").await, "another topic");
}

#[tokio::test]
async fn an_acknowledgement_is_of_the_partition() {
    let broker = ScriptedBroker::new().respond(ApiKey::Produce, |_| {
        let other = PartitionProduceResponse::default().with_index(1);
        let topic = TopicProduceResponse::default().with_name(topic("t")).with_partition_responses(vec![other]);
        ProduceResponse::default().with_responses(vec![topic])
    });
    let written = broker.start().produce("t", 0, batch(0, 1).into(), Duration::from_secs(1)).await;
    undecodable(written, "another partition");
}
