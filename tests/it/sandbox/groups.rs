//! Consumer groups over the wire: each version, each fault, a coordinator that moves.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ApiVersionsRequest, ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, DescribeGroupsRequest,
    FindCoordinatorRequest, GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use kafka_sandbox::{Action, Api, ConsumerGroupOptions, Fault, Sandbox};
use tokio::time::timeout;

use super::support::{TOPIC, soon, with_topic};
use super::typed::Typed;

const GROUP: &str = "readers";

const NONE: i16 = 0;
const LOADING: i16 = 14;
const NOT_AVAILABLE: i16 = 15;
const NOT_COORDINATOR: i16 = 16;
const UNKNOWN_MEMBER: i16 = 25;
const REBALANCING: i16 = 27;
const ID_REQUIRED: i16 = 79;
const INCONSISTENT_PROTOCOL: i16 = 23;
const UNSUPPORTED_VERSION: i16 = 35;
const INVALID_REQUEST: i16 = 42;
const GROUP_ID_NOT_FOUND: i16 = 69;
const STALE_EPOCH: i16 = 113;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group() -> GroupId {
    GroupId(text(GROUP))
}

fn join(member_id: &str, version: i16) -> JoinGroupRequest {
    let protocol =
        JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(Bytes::from_static(b"meta"));
    let request = JoinGroupRequest::default()
        .with_group_id(group())
        .with_session_timeout_ms(1000)
        .with_rebalance_timeout_ms(2000)
        .with_member_id(text(member_id))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol]);
    if version >= 8 { request.with_reason(Some(text("because"))) } else { request }
}

fn sync(joined: &JoinGroupResponse, part: &'static [u8], version: i16) -> SyncGroupRequest {
    let assignment = SyncGroupRequestAssignment::default()
        .with_member_id(joined.member_id.clone())
        .with_assignment(Bytes::from_static(part));
    let request = SyncGroupRequest::default()
        .with_group_id(group())
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_assignments(vec![assignment]);
    if version >= 5 {
        request.with_protocol_type(Some(text("consumer"))).with_protocol_name(Some(text("range")))
    } else {
        request
    }
}

fn heartbeat(joined: &JoinGroupResponse) -> HeartbeatRequest {
    HeartbeatRequest::default()
        .with_group_id(group())
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
}

/// Of partition 0 of a topic, by a member or by nobody.
fn commit(member: Option<&JoinGroupResponse>, topic: &str, offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_committed_offset(offset)
        .with_committed_metadata(Some(text("note")));
    let topic = OffsetCommitRequestTopic::default().with_name(TopicName(text(topic))).with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default().with_group_id(group()).with_topics(vec![topic]);
    match member {
        Some(joined) => {
            request.with_generation_id_or_member_epoch(joined.generation_id).with_member_id(joined.member_id.clone())
        }
        None => request,
    }
}

async fn commit_code(client: &mut Typed, request: &OffsetCommitRequest) -> i16 {
    client.ask(request, 8).await.topics[0].partitions[0].error_code
}

/// The offset, its note and the error of partition 0; of the group where it is the group's.
async fn fetched(client: &mut Typed, version: i16) -> (i64, String, i16) {
    let name = TopicName(text(TOPIC));
    let note = |note: Option<StrBytes>| note.unwrap_or_default().to_string();
    if version >= 8 {
        let topic = OffsetFetchRequestTopics::default().with_name(name).with_partition_indexes(vec![0]);
        let asked = OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(Some(vec![topic]));
        let answer = client.ask(&OffsetFetchRequest::default().with_groups(vec![asked]), version).await;
        let partition = answer.groups[0].topics[0].partitions[0].clone();
        let code = answer.groups[0].error_code.max(partition.error_code);
        return (partition.committed_offset, note(partition.metadata), code);
    }
    let topic = OffsetFetchRequestTopic::default().with_name(name).with_partition_indexes(vec![0]);
    let asked = OffsetFetchRequest::default().with_group_id(group()).with_topics(Some(vec![topic]));
    let answer = client.ask(&asked, version).await;
    let partition = answer.topics[0].partitions[0].clone();
    (partition.committed_offset, note(partition.metadata), answer.error_code.max(partition.error_code))
}

/// Joins alone and takes a part.
async fn alone(client: &mut Typed) -> JoinGroupResponse {
    let joined = client.ask(&join("", 3), 3).await;
    assert_eq!(joined.error_code, NONE);
    let synced = client.ask(&sync(&joined, b"mine", 3), 3).await;
    assert_eq!((synced.error_code, &synced.assignment[..]), (NONE, &b"mine"[..]));
    joined
}

async fn heartbeat_code(client: &mut Typed, joined: &JoinGroupResponse) -> i16 {
    client.ask(&heartbeat(joined), 4).await.error_code
}

#[tokio::test]
async fn every_version_of_a_membership_is_answered() {
    let sandbox = with_topic().await;
    let mut client = Typed::to(&sandbox).await;
    for version in 2..=9 {
        let mut joined = client.ask(&join("", version), version).await;
        if version >= 4 {
            assert_eq!(joined.error_code, ID_REQUIRED);
            joined = client.ask(&join(&joined.member_id, version), version).await;
        }
        assert_eq!((joined.error_code, joined.protocol_name.as_deref()), (NONE, Some("range")), "{version}");
        assert_eq!((joined.leader.clone(), joined.members.len()), (joined.member_id.clone(), 1));
        assert_eq!(joined.members[0].metadata, "meta");

        let synced = client.ask(&sync(&joined, b"part", version.min(5)), version.min(5)).await;
        assert_eq!((synced.error_code, &synced.assignment[..]), (NONE, &b"part"[..]));
        assert_eq!(client.ask(&heartbeat(&joined), (version - 2).min(4)).await.error_code, NONE);
        assert_eq!(commit_code(&mut client, &commit(None, TOPIC, 1)).await, UNKNOWN_MEMBER, "somebody is in it");
        let committed = client.ask(&commit(Some(&joined), TOPIC, version.into()), version).await;
        assert_eq!(committed.topics[0].partitions[0].error_code, NONE);

        let describe = (version - 2).min(5);
        let asked = DescribeGroupsRequest::default().with_groups(vec![group(), GroupId(text("other"))]);
        let told = client.ask(&asked, describe).await;
        assert_eq!((&*told.groups[0].group_state, &*told.groups[1].group_state), ("Stable", "Dead"));
        assert_eq!((&*told.groups[0].protocol_data, &*told.groups[0].members[0].client_id), ("range", "typed"));
        assert_eq!(told.groups[0].members[0].member_assignment, "part");

        let left = if version >= 3 {
            let member = MemberIdentity::default().with_member_id(joined.member_id.clone());
            let leave = LeaveGroupRequest::default().with_group_id(group()).with_members(vec![member]);
            let answer = client.ask(&leave, version.min(5)).await;
            answer.error_code.max(answer.members[0].error_code)
        } else {
            let leave = LeaveGroupRequest::default().with_group_id(group()).with_member_id(joined.member_id.clone());
            client.ask(&leave, version).await.error_code
        };
        assert_eq!(left, NONE);
        assert_eq!(heartbeat_code(&mut client, &joined).await, UNKNOWN_MEMBER);
        assert_eq!(sandbox.group(GROUP).unwrap().state, "Empty");
        for fetch in 1..=9 {
            assert_eq!(fetched(&mut client, fetch).await, (version.into(), "note".to_owned(), NONE), "{fetch}");
        }
    }
}

#[tokio::test]
async fn a_coordinator_is_found_in_every_version() {
    let sandbox = Sandbox::builder().nodes(2).start().await.unwrap();
    let node = sandbox.coordinator(GROUP).unwrap();
    let mut client = Typed::to(&sandbox).await;
    for version in 0..=3 {
        let found = client.ask(&FindCoordinatorRequest::default().with_key(text(GROUP)), version).await;
        assert_eq!((found.error_code, found.node_id.0), (NONE, node));
        assert!(sandbox.bootstrap().contains(&format!("{}:{}", &*found.host, found.port)));
    }
    let asked = FindCoordinatorRequest::default().with_coordinator_keys(vec![text(GROUP), text("other")]);
    let found = client.ask(&asked, 4).await.coordinators;
    assert_eq!((found.len(), &*found[0].key, found[0].node_id.0), (2, GROUP, node));
    // A transactional id of the same name is kept somewhere else.
    sandbox.move_transaction_coordinator(GROUP, 3 - node).unwrap();
    let transaction = client.ask(&asked.clone().with_key_type(1), 4).await.coordinators;
    assert_eq!((transaction[0].error_code, transaction[0].node_id.0), (NONE, 3 - node));
    sandbox.crash(3 - node).await.unwrap();
    let mut client = Typed::to_node(&sandbox, usize::try_from(node - 1).unwrap()).await;
    let transaction = client.ask(&asked.with_key_type(1), 4).await.coordinators;
    assert_eq!(transaction[0].error_code, NOT_AVAILABLE);
}

#[tokio::test]
async fn offsets_are_kept_for_topics_that_exist_and_go_with_them() {
    let sandbox = with_topic().await;
    let mut client = Typed::to(&sandbox).await;
    assert_eq!(fetched(&mut client, 9).await, (-1, String::new(), NONE));
    assert_eq!(commit_code(&mut client, &commit(None, "nowhere", 5)).await, 3, "UNKNOWN_TOPIC_OR_PARTITION");
    assert_eq!(commit_code(&mut client, &commit(None, TOPIC, 5)).await, NONE);
    let all = OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(None);
    let all = client.ask(&OffsetFetchRequest::default().with_groups(vec![all]), 8).await;
    assert_eq!((&*all.groups[0].topics[0].name.0, all.groups[0].topics.len()), (TOPIC, 1));
    assert_eq!(sandbox.committed(GROUP, TOPIC, 0).map(|found| found.offset), Some(5));
    sandbox.delete_topic(TOPIC).unwrap();
    sandbox.create_topic(TOPIC, 1).unwrap();
    assert_eq!(fetched(&mut client, 9).await, (-1, String::new(), NONE));
}

#[tokio::test]
async fn faults_hit_the_group_and_the_partition_that_they_name() {
    let sandbox = with_topic().await;
    let mut client = Typed::to(&sandbox).await;
    let joined = alone(&mut client).await;
    sandbox.fault(Fault::any().group("other").forever(), Action::Error(LOADING));
    sandbox.fault(Fault::on(Api::Heartbeat).group(GROUP), Action::Error(REBALANCING));
    assert_eq!(heartbeat_code(&mut client, &joined).await, REBALANCING);
    assert_eq!(heartbeat_code(&mut client, &joined).await, NONE);
    for (api, code) in [(Api::JoinGroup, NOT_COORDINATOR), (Api::SyncGroup, REBALANCING), (Api::LeaveGroup, LOADING)] {
        sandbox.fault(Fault::on(api), Action::Error(code));
    }
    let refused = client.ask(&join(&joined.member_id, 7), 7).await;
    assert_eq!((refused.error_code, refused.member_id), (NOT_COORDINATOR, joined.member_id.clone()));
    assert_eq!(client.ask(&sync(&joined, b"", 3), 3).await.error_code, REBALANCING);
    assert_eq!(client.ask(&LeaveGroupRequest::default().with_group_id(group()), 4).await.error_code, LOADING);

    sandbox.fault(Fault::on(Api::OffsetCommit).topic(TOPIC).partition(0), Action::Error(REBALANCING));
    assert_eq!(commit_code(&mut client, &commit(Some(&joined), TOPIC, 7)).await, REBALANCING);
    assert_eq!(fetched(&mut client, 9).await.0, -1, "nothing was done");
    sandbox.fault(Fault::on(Api::OffsetFetch), Action::Error(NOT_COORDINATOR));
    assert_eq!(fetched(&mut client, 5).await.2, NOT_COORDINATOR);
    sandbox.fault(Fault::on(Api::OffsetFetch).partition(0), Action::Error(88));
    assert_eq!(fetched(&mut client, 9).await.2, 88, "UNSTABLE_OFFSET_COMMIT");
    sandbox.fault(Fault::on(Api::FindCoordinator).group(GROUP), Action::Error(NOT_AVAILABLE));
    let found = client.ask(&FindCoordinatorRequest::default().with_key(text(GROUP)), 2).await;
    assert_eq!((found.error_code, found.port), (NOT_AVAILABLE, -1));
}

#[tokio::test]
async fn a_commit_is_done_or_not_whatever_is_answered() {
    let sandbox = with_topic().await;
    for (offset, action, done) in [
        (1, Action::DisconnectBefore, false),
        (2, Action::Silence, false),
        (3, Action::DisconnectAfter, true),
        (4, Action::SilenceAfter, true),
    ] {
        let mut client = Typed::to(&sandbox).await;
        sandbox.fault(Fault::on(Api::OffsetCommit), action.clone());
        client.send(&commit(None, TOPIC, offset), 8).await;
        let answer = timeout(Duration::from_millis(100), client.answer::<OffsetCommitRequest>(8)).await;
        assert!(!matches!(answer, Ok(Some(_))), "{action:?}");
        let committed = sandbox.committed(GROUP, TOPIC, 0).map(|found| found.offset);
        assert_eq!(committed == Some(offset), done, "{action:?}");
    }
}

#[tokio::test]
async fn a_coordinator_that_moves_takes_members_and_offsets_with_it() {
    let sandbox = Sandbox::builder().nodes(2).start().await.unwrap();
    sandbox.create_topic(TOPIC, 1).unwrap();
    sandbox.move_coordinator(GROUP, 1).unwrap();
    let (mut old, mut new) = (Typed::to_node(&sandbox, 0).await, Typed::to_node(&sandbox, 1).await);
    let joined = alone(&mut old).await;
    assert_eq!(commit_code(&mut old, &commit(Some(&joined), TOPIC, 7)).await, NONE);
    assert_eq!(heartbeat_code(&mut new, &joined).await, NOT_COORDINATOR);

    // One who waits for the others is told, too.
    let mut third = Typed::to_node(&sandbox, 0).await;
    third.send(&join("", 3), 3).await;
    while sandbox.group(GROUP).unwrap().state == "Stable" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    sandbox.move_coordinator(GROUP, 2).unwrap();
    let told = soon(third.answer::<JoinGroupRequest>(3)).await.unwrap();
    assert_eq!(told.error_code, NOT_COORDINATOR);
    assert_eq!(heartbeat_code(&mut old, &joined).await, NOT_COORDINATOR);
    assert_eq!(commit_code(&mut old, &commit(Some(&joined), TOPIC, 8)).await, NOT_COORDINATOR);
    assert_eq!(heartbeat_code(&mut new, &joined).await, NONE);
    assert_eq!(fetched(&mut new, 9).await.0, 7);

    sandbox.set_loading(GROUP, true);
    assert_eq!(heartbeat_code(&mut new, &joined).await, LOADING);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    sandbox.set_loading(GROUP, false);
    assert_eq!(heartbeat_code(&mut new, &joined).await, NONE, "its session stood still meanwhile");
}

#[tokio::test]
async fn a_node_that_crashes_keeps_its_groups() {
    let sandbox = with_topic().await;
    let joined = alone(&mut Typed::to(&sandbox).await).await;
    sandbox.crash(1).await.unwrap();
    assert!(sandbox.coordinator(GROUP).is_err());
    tokio::time::sleep(Duration::from_millis(1200)).await;
    sandbox.restart(1).await.unwrap();
    assert_eq!(heartbeat_code(&mut Typed::to(&sandbox).await, &joined).await, NONE);
}

#[tokio::test]
async fn a_session_ends_though_nobody_asks() {
    let sandbox = with_topic().await;
    alone(&mut Typed::to(&sandbox).await).await;
    let ended = async {
        while sandbox.group(GROUP).unwrap().state != "Empty" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(5), ended).await.expect("the session lasts for ever");
}

fn consumer(member_id: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    let request = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group())
        .with_member_id(text(member_id))
        .with_member_epoch(epoch);
    if epoch != 0 {
        return request;
    }
    request
        .with_rebalance_timeout_ms(2000)
        .with_subscribed_topic_names(Some(vec![TopicName(text(TOPIC))]))
        .with_topic_partitions(Some(Vec::new()))
}

/// A sandbox that offers KIP-848, and a topic.
async fn with_consumer_groups() -> Sandbox {
    let sandbox = Sandbox::builder().consumer_groups(ConsumerGroupOptions::default()).start().await.unwrap();
    sandbox.create_topic(TOPIC, 2).unwrap();
    sandbox
}

#[tokio::test]
async fn every_version_of_a_consumer_is_answered() {
    let sandbox = with_consumer_groups().await;
    let mut client = Typed::to(&sandbox).await;
    let unknown = client.ask(&consumer("stranger", 1), 1).await;
    assert_eq!(unknown.error_code, GROUP_ID_NOT_FOUND);
    assert_eq!(
        client.ask(&consumer("", 0), 1).await.error_code,
        INVALID_REQUEST,
        "the member makes its id from here on"
    );
    for version in 0..=1 {
        let name = if version == 0 { "" } else { "mine" };
        let joined = client.ask(&consumer(name, 0), version).await;
        let id = joined.member_id.unwrap();
        assert_eq!((joined.error_code, joined.heartbeat_interval_ms, id.is_empty()), (NONE, 5000, false));
        assert_eq!(joined.assignment.unwrap().topic_partitions[0].partitions, [0, 1]);
        let stays = client.ask(&consumer(&id, joined.member_epoch), version).await;
        assert_eq!((stays.error_code, stays.member_epoch, stays.assignment), (NONE, joined.member_epoch, None));

        let member = JoinGroupResponse::default().with_member_id(id.clone()).with_generation_id(joined.member_epoch);
        assert_eq!(commit_code(&mut client, &commit(Some(&member), TOPIC, 7)).await, NONE);
        let stale = member.clone().with_generation_id(joined.member_epoch - 1);
        assert_eq!(commit_code(&mut client, &commit(Some(&stale), TOPIC, 8)).await, STALE_EPOCH);

        let asked = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group(), GroupId(text("other"))]);
        let told = client.ask(&asked, version).await.groups;
        assert_eq!((told[0].error_code, &*told[0].group_state, told[0].members.len()), (NONE, "Stable", 1));
        assert_eq!((told[0].group_epoch, told[1].error_code), (joined.member_epoch, GROUP_ID_NOT_FOUND));
        let member = &told[0].members[0];
        assert_eq!((&*member.client_id, member.member_type), ("typed", if version == 0 { -1 } else { 1 }));
        let has = &member.assignment.topic_partitions[0];
        assert_eq!((has.topic_name.as_str(), &has.partitions[..]), (TOPIC, &[0, 1][..]));
        let classic = DescribeGroupsRequest::default().with_groups(vec![group()]);
        assert_eq!(&*client.ask(&classic, 5).await.groups[0].group_state, "Dead", "it is none of that protocol");

        assert_eq!(client.ask(&consumer(&id, -1), version).await.error_code, NONE);
        assert_eq!(client.ask(&consumer(&id, joined.member_epoch), version).await.error_code, UNKNOWN_MEMBER);
        assert_eq!(sandbox.group(GROUP).unwrap().state, "Empty");
    }
}

#[tokio::test]
async fn a_group_has_members_by_one_protocol_at_a_time() {
    let sandbox = with_consumer_groups().await;
    let mut client = Typed::to(&sandbox).await;
    let id = client.ask(&consumer("mine", 0), 1).await.member_id.unwrap();
    assert_eq!(client.ask(&join("", 3), 3).await.error_code, INCONSISTENT_PROTOCOL);
    client.ask(&consumer(&id, -1), 1).await;
    let joined = alone(&mut client).await;
    assert_eq!(client.ask(&consumer("mine", 0), 1).await.error_code, GROUP_ID_NOT_FOUND);
    assert_eq!(heartbeat_code(&mut client, &joined).await, NONE);
    let asked = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group()]);
    assert_eq!(client.ask(&asked, 1).await.groups[0].error_code, GROUP_ID_NOT_FOUND);
    let member = MemberIdentity::default().with_member_id(joined.member_id);
    client.ask(&LeaveGroupRequest::default().with_group_id(group()).with_members(vec![member]), 5).await;
    assert_eq!(client.ask(&asked, 1).await.groups[0].error_code, GROUP_ID_NOT_FOUND, "the last ones were of the other");
    assert_eq!(client.ask(&consumer("mine", 0), 1).await.member_epoch, 1);
}

#[tokio::test]
async fn the_consumer_protocol_is_hidden_unless_it_is_switched_on() {
    for (sandbox, offered) in [(with_topic().await, false), (with_consumer_groups().await, true)] {
        let mut client = Typed::to(&sandbox).await;
        let told = client.ask(&ApiVersionsRequest::default(), 0).await;
        for api in [Api::ConsumerGroupHeartbeat, Api::ConsumerGroupDescribe] {
            assert_eq!(told.api_keys.iter().any(|told| told.api_key == api as i16), offered, "{api:?}");
        }
        let code = client.ask(&consumer("mine", 0), 1).await.error_code;
        assert_eq!(code, if offered { NONE } else { UNSUPPORTED_VERSION });
    }
}
