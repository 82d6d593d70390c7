//! Instances of one consumer group, by the classic protocol and by KIP-848: partitions move when they come, go, die
//! or fall silent, and whatever the coordinator answers, nothing is lost.

use std::collections::BTreeSet;
use std::time::Duration;

use kafka_sandbox::{Action, Api, ConsumerGroupOptions, Fault, Sandbox};
use login_pipeline::app::AppError;
use login_pipeline::config::ReaderKind::{Rskafka, Wire};
use login_pipeline::config::{AssignmentMode, AssignorKind, GroupProtocol, OffsetStoreKind, ReaderKind};
use rstest::rstest;
use tokio::time::sleep;

use crate::pipeline::support::{Pipeline, SOURCE, World};

const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
const NOT_COORDINATOR: i16 = 16;
const UNKNOWN_MEMBER_ID: i16 = 25;
const REBALANCE_IN_PROGRESS: i16 = 27;
const UNSUPPORTED_VERSION: i16 = 35;
const FENCED_MEMBER_EPOCH: i16 = 110;

const SESSION: Duration = Duration::from_secs(1);

/// A world whose pipelines form a group.
async fn world(reader: ReaderKind, nodes: usize, partitions: i32) -> World {
    grouped(World::with_nodes(reader, nodes, partitions).await)
}

pub(super) fn grouped(mut world: World) -> World {
    let config = &mut world.config;
    config.assignment.mode = AssignmentMode::Group;
    config.offsets.store = OffsetStoreKind::Group;
    config.group.session_timeout = SESSION;
    config.group.heartbeat_interval = Duration::from_millis(100);
    config.group.rebalance_timeout = Duration::from_secs(3);
    world
}

/// A world whose brokers offer KIP-848, and whose pipelines form a group by it.
async fn consumers(reader: ReaderKind, nodes: usize, partitions: i32) -> World {
    let options = ConsumerGroupOptions { session_timeout: SESSION, heartbeat_interval: Duration::from_millis(100) };
    let broker = Sandbox::builder().nodes(nodes).consumer_groups(options);
    let mut world = grouped(World::on(reader, broker, partitions).await);
    world.config.group.protocol = GroupProtocol::Consumer;
    world
}

fn protocol(pipeline: &Pipeline) -> &'static str {
    pipeline.observe.status().group.map_or("", |group| group.protocol)
}

/// Waits until each has its share, and nobody another's.
async fn until_shared(pipelines: &[&Pipeline], shares: &[usize]) {
    let shared = || {
        let owned: Vec<_> = pipelines.iter().map(|pipeline| pipeline.owned()).collect();
        let all: BTreeSet<i32> = owned.iter().flatten().copied().collect();
        let sizes: Vec<_> = owned.iter().map(Vec::len).collect();
        sizes == shares && all.len() == shares.iter().sum::<usize>()
    };
    pipelines[0].until(&format!("shares of {shares:?}"), shared).await;
}

#[rstest]
#[tokio::test]
async fn two_share_and_one_takes_over_when_the_other_leaves(#[values(Rskafka, Wire)] reader: ReaderKind) {
    for assignor in [AssignorKind::CooperativeSticky, AssignorKind::Range] {
        let mut world = world(reader, 1, 4).await;
        world.config.group.assignors = vec![assignor];
        let first = world.start_alone("first").await;
        world.fill(40);
        until_shared(&[&first], &[4]).await;
        let second = world.start_alone("second").await;
        world.fill(40);
        until_shared(&[&first, &second], &[2, 2]).await;
        world.fill(40);
        world.until_done(&first).await;
        world.fill(40);
        second.stop().await;
        until_shared(&[&first], &[4]).await;
        world.fill(40);
        world.finish(first).await.0.assert_once();
    }
}

#[rstest]
#[tokio::test]
async fn the_page_names_the_other_members_while_somebody_looks(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = world(reader, 1, 4).await;
    let first = world.start_alone("first").await;
    let second = world.start_alone("second").await;
    until_shared(&[&first, &second], &[2, 2]).await;
    let mine = first.observe.status().group.and_then(|group| group.member_id).unwrap();
    let others = async {
        loop {
            // The first look has them asked for.
            let page = first.ask("GET / HTTP/1.1\r\naccept: text/html\r\n").await;
            let members = page.split("id=\"members\"").nth(1).and_then(|rest| rest.split("</tbody>").next());
            match members.filter(|members| members.contains("<td>127.0.0.1</td><td class=\"n\">2</td>")) {
                Some(members) => return members.to_owned(),
                None => sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let others = tokio::time::timeout(Duration::from_secs(30), others).await.expect("the other is named");
    assert_eq!(others.matches("<tr>").count(), 1, "{mine} is not another: {others}");
    second.stop().await;
    first.stop().await;
}

#[rstest]
#[tokio::test]
async fn one_that_is_killed_is_replaced_after_its_session(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = world(reader, 1, 4).await;
    let first = world.start_alone("first").await;
    let second = world.start_alone("second").await;
    until_shared(&[&first, &second], &[2, 2]).await;
    world.fill(200);
    first.until("a part is done", || world.missing() < 700).await;
    second.kill();
    world.fill(100);
    assert_eq!(world.sandbox.group(&world.config.group.id).unwrap().members.len(), 2, "nobody said goodbye");
    until_shared(&[&first], &[4]).await;
    world.fill(20);
    world.finish(first).await;
}

#[rstest]
#[tokio::test]
async fn the_one_that_leads_is_killed(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = world(reader, 1, 3).await;
    let first = world.start_alone("first").await;
    until_shared(&[&first], &[3]).await;
    let second = world.start_alone("second").await;
    let third = world.start_alone("third").await;
    until_shared(&[&first, &second, &third], &[1, 1, 1]).await;
    world.fill(100);
    first.kill();
    world.fill(100);
    until_shared(&[&second, &third], &[2, 1]).await;
    third.stop().await;
    world.finish(second).await;
}

#[rstest]
#[tokio::test]
async fn commits_with_every_kind_of_answer_lose_and_double_nothing(#[values(Rskafka, Wire)] reader: ReaderKind) {
    for action in [
        Action::Error(REBALANCE_IN_PROGRESS),
        Action::Error(COORDINATOR_LOAD_IN_PROGRESS),
        Action::Error(NOT_COORDINATOR),
        Action::DisconnectBefore,
        Action::DisconnectAfter,
        Action::Delay(Duration::from_millis(200)),
        Action::Throttle(100),
        Action::TruncatedFrame,
        Action::Silence,
        Action::SilenceAfter,
    ] {
        let world = world(reader, 1, 2).await;
        let fault = world.sandbox.fault(Fault::on(Api::OffsetCommit).skip(2).times(3), action.clone());
        let pipeline = world.start_alone("one").await;
        // In pieces, so that there are commits enough.
        while fault.fired() < 3 {
            world.fill(20);
            sleep(Duration::from_millis(30)).await;
        }
        world.finish(pipeline).await.0.assert_once();
    }
}

#[rstest]
#[tokio::test]
async fn every_request_of_a_membership_may_fail(#[values(Rskafka, Wire)] reader: ReaderKind) {
    for action in [
        Action::Error(COORDINATOR_LOAD_IN_PROGRESS),
        Action::Error(NOT_COORDINATOR),
        Action::DisconnectBefore,
        Action::DisconnectAfter,
        Action::Silence,
    ] {
        let world = world(reader, 1, 4).await;
        let first = world.start_alone("first").await;
        until_shared(&[&first], &[4]).await;
        for api in [Api::FindCoordinator, Api::OffsetFetch, Api::JoinGroup, Api::SyncGroup, Api::Heartbeat] {
            world.sandbox.fault(Fault::on(api).times(2), action.clone());
        }
        world.fill(50);
        let second = world.start_alone("second").await;
        until_shared(&[&first, &second], &[2, 2]).await;
        world.fill(50);
        world.until_done(&first).await;
        second.stop().await;
        world.finish(first).await;
    }
}

#[rstest]
#[tokio::test]
async fn one_that_is_expelled_drops_its_partitions_and_joins_again(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = world(reader, 1, 4).await;
    let pipeline = world.start_alone("one").await;
    until_shared(&[&pipeline], &[4]).await;
    world.fill(50);
    world.until_done(&pipeline).await;
    world.sandbox.fault(Fault::on(Api::Heartbeat), Action::Error(UNKNOWN_MEMBER_ID));
    pipeline.until("it was expelled", || pipeline.rebalances("expelled") == 1).await;
    world.fill(50);
    // The member that it was still counts until its session ends; then everything comes back.
    until_shared(&[&pipeline], &[4]).await;
    world.finish(pipeline).await;
}

#[rstest]
#[tokio::test]
async fn one_that_falls_silent_gives_up_before_another_takes_over(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = world(reader, 1, 4).await;
    let first = world.start_alone("first").await;
    let second = world.start_alone("second").await;
    until_shared(&[&first, &second], &[2, 2]).await;
    world.fill(50);
    world.until_done(&first).await;

    let silent = world.client("second");
    for api in [Api::Heartbeat, Api::JoinGroup, Api::SyncGroup] {
        world.sandbox.fault(Fault::on(api).client(&silent).forever(), Action::Silence);
    }
    until_shared(&[&first], &[4]).await;
    // Before it knows that it was expelled, it knows that it has not been heard for a session.
    let counted = |api| world.sandbox.fault(Fault::on(api).client(&silent).forever(), Action::Delay(Duration::ZERO));
    let said = [counted(Api::Produce), counted(Api::OffsetCommit)];
    world.fill(50);
    world.until_done(&first).await;
    assert_eq!(said.map(|said| said.fired()), [0, 0], "it writes and commits nothing of what is another's");
    second.until("it gives up", || second.owned().is_empty()).await;
    world.sandbox.clear_faults();
    until_shared(&[&first, &second], &[2, 2]).await;
    assert!(second.rebalances("expired") + second.rebalances("expelled") >= 1);
    world.fill(50);
    world.until_done(&first).await;
    second.stop().await;
    world.finish(first).await;
}

#[rstest]
#[tokio::test]
async fn heartbeats_without_answers_end_the_lease_and_not_the_pipeline(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = world(reader, 1, 2).await;
    let pipeline = world.start_alone("one").await;
    until_shared(&[&pipeline], &[2]).await;
    let silence = world.sandbox.fault(Fault::on(Api::Heartbeat).forever(), Action::Silence);
    pipeline.until("everything is lost", || pipeline.rebalances("expired") >= 1).await;
    world.fill(50);
    silence.remove();
    until_shared(&[&pipeline], &[2]).await;
    world.finish(pipeline).await;
}

#[rstest]
#[tokio::test]
async fn a_coordinator_that_moves_or_loads_is_followed(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = world(reader, 3, 4).await;
    let group = world.config.group.id.clone();
    let first = world.start_alone("first").await;
    let second = world.start_alone("second").await;
    until_shared(&[&first, &second], &[2, 2]).await;
    for node in [2, 3, 1] {
        world.fill(30);
        world.sandbox.move_coordinator(&group, node).unwrap();
        sleep(Duration::from_millis(150)).await;
    }
    world.sandbox.set_loading(&group, true);
    world.fill(30);
    sleep(Duration::from_millis(300)).await;
    world.sandbox.set_loading(&group, false);
    world.until_done(&first).await;
    until_shared(&[&first, &second], &[2, 2]).await;
    second.stop().await;
    until_shared(&[&first], &[4]).await;
    world.fill(30);
    world.finish(first).await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn a_coordinator_that_crashes_is_waited_for(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = world(reader, 2, 4).await;
    let group = world.config.group.id.clone();
    world.sandbox.move_coordinator(&group, 2).unwrap();
    let first = world.start_alone("first").await;
    let second = world.start_alone("second").await;
    until_shared(&[&first, &second], &[2, 2]).await;
    world.fill(50);
    world.sandbox.crash(2).await.unwrap();
    sleep(2 * SESSION).await;
    world.sandbox.restart(2).await.unwrap();
    world.fill(50);
    until_shared(&[&first, &second], &[2, 2]).await;
    world.until_done(&first).await;
    second.stop().await;
    world.finish(first).await;
}

#[rstest]
#[tokio::test]
async fn a_second_of_the_same_instance_id_ends_the_first(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut world = world(reader, 1, 2).await;
    world.config.group.instance_id = Some("pod-0".to_owned());
    let first = world.start_alone("first").await;
    until_shared(&[&first], &[2]).await;
    world.fill(50);
    let second = world.start_alone("second").await;
    let ended = first.ended().await;
    assert!(matches!(&ended, Err(AppError::Assignment(_))), "{ended:?}");
    until_shared(&[&second], &[2]).await;
    world.fill(50);
    world.finish(second).await;
}

#[rstest]
#[tokio::test]
async fn a_static_member_comes_back_to_what_it_had(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut world = world(reader, 1, 4).await;
    world.config.group.instance_id = Some("pod-0".to_owned());
    world.config.group.session_timeout = Duration::from_secs(20);
    let first = world.start_alone("first").await;
    world.config.group.instance_id = Some("pod-1".to_owned());
    let second = world.start_alone("second").await;
    until_shared(&[&first, &second], &[2, 2]).await;
    let generation = || world.sandbox.group(&world.config.group.id).unwrap().generation;
    let before = generation();
    world.fill(50);
    let had = second.owned();
    second.stop().await;
    world.fill(50);
    let second = world.start_alone("second").await;
    second.until("its old part", || second.owned() == had).await;
    assert_eq!(generation(), before, "nobody else noticed");
    world.until_done(&first).await;
    second.stop().await;
    first.stop().await;
    world.audit().assert_once();
}

#[rstest]
#[tokio::test]
async fn offsets_in_a_group_without_members_serve_a_static_assignment(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut world = World::new(reader, 2).await;
    world.config.offsets.store = OffsetStoreKind::Group;
    for code in [COORDINATOR_LOAD_IN_PROGRESS, NOT_COORDINATOR] {
        world.sandbox.fault(Fault::on(Api::OffsetFetch), Action::Error(code));
        world.sandbox.fault(Fault::on(Api::OffsetCommit).times(2), Action::Error(code));
    }
    world.sandbox.fault(Fault::on(Api::OffsetCommit).skip(6).times(2), Action::SilenceAfter);
    for _ in 0..3 {
        let pipeline = world.start_alone("one").await;
        world.fill(60);
        world.until_done(&pipeline).await;
        pipeline.stop().await;
    }
    world.audit().assert_once();
    let topic_id = world.sandbox.committed(&world.config.group.id, SOURCE, 0).unwrap().metadata;
    assert!(topic_id.starts_with("topic-id="), "{topic_id}");
    assert_eq!(world.sandbox.requests(Api::JoinGroup), 0);
}

#[rstest]
#[tokio::test]
async fn two_static_instances_with_one_groups_store_say_so(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut world = World::new(reader, 2).await;
    world.config.offsets.store = OffsetStoreKind::Group;
    let first = world.start_alone("first").await;
    world.fill(20);
    world.until_done(&first).await;
    first.until_ready().await;
    let second = world.start_alone("second").await;
    second.until_ready().await;
    // Both read all of it; one of them at least finds the other's commit where its own should be.
    let told = || {
        let unready = [first.unready(), second.unready()];
        unready.iter().any(|why| why.contains("another instance, or a tool, commits the offset of"))
    };
    for _ in 0..20 {
        if told() {
            break;
        }
        world.fill(20);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(told(), "{} {}", first.unready(), second.unready());
    second.stop().await;
    first.stop().await;
}

#[rstest]
#[tokio::test]
async fn consumers_share_and_one_takes_over_when_the_other_leaves(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut world = consumers(reader, 1, 4).await;
    // What `auto` makes of brokers that offer it.
    world.config.group.protocol = GroupProtocol::Auto;
    let first = world.start_alone("first").await;
    world.fill(40);
    until_shared(&[&first], &[4]).await;
    assert_eq!(protocol(&first), "consumer");
    let second = world.start_alone("second").await;
    world.fill(40);
    until_shared(&[&first, &second], &[2, 2]).await;
    let described = || world.sandbox.group(&world.config.group.id).unwrap();
    first.until("the coordinator has heard of it", || described().state == "Stable").await;
    assert_eq!(described().members.len(), 2);
    world.fill(40);
    world.until_done(&first).await;
    second.stop().await;
    until_shared(&[&first], &[4]).await;
    assert_eq!(described().members.len(), 1);
    world.fill(40);
    world.finish(first).await.0.assert_once();
    assert_eq!((described().state, world.sandbox.requests(Api::JoinGroup)), ("Empty", 0));
}

#[rstest]
#[tokio::test]
async fn a_consumer_that_is_killed_is_replaced_after_its_session(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = consumers(reader, 1, 4).await;
    let first = world.start_alone("first").await;
    let second = world.start_alone("second").await;
    until_shared(&[&first, &second], &[2, 2]).await;
    world.fill(200);
    first.until("a part is done", || world.missing() < 700).await;
    second.kill();
    world.fill(100);
    until_shared(&[&first], &[4]).await;
    world.fill(20);
    world.finish(first).await;
}

#[tokio::test]
async fn every_heartbeat_of_a_consumer_may_fail() {
    for action in [
        Action::Error(COORDINATOR_LOAD_IN_PROGRESS),
        Action::Error(NOT_COORDINATOR),
        Action::Error(FENCED_MEMBER_EPOCH),
        Action::Error(UNKNOWN_MEMBER_ID),
        Action::DisconnectBefore,
        Action::DisconnectAfter,
        Action::Silence,
        Action::SilenceAfter,
    ] {
        let world = consumers(Wire, 1, 4).await;
        let first = world.start_alone("first").await;
        until_shared(&[&first], &[4]).await;
        let failures = world.sandbox.fault(Fault::on(Api::ConsumerGroupHeartbeat).times(3), action.clone());
        world.fill(50);
        let second = world.start_alone("second").await;
        first.until(&format!("{action:?}"), || failures.fired() == 3).await;
        until_shared(&[&first, &second], &[2, 2]).await;
        world.fill(50);
        world.until_done(&first).await;
        second.stop().await;
        world.finish(first).await;
    }
}

#[tokio::test]
async fn consumers_follow_a_coordinator_that_moves() {
    let world = consumers(Wire, 3, 4).await;
    let group = world.config.group.id.clone();
    let first = world.start_alone("first").await;
    let second = world.start_alone("second").await;
    until_shared(&[&first, &second], &[2, 2]).await;
    for node in [2, 3, 1] {
        world.fill(30);
        world.sandbox.move_coordinator(&group, node).unwrap();
        sleep(Duration::from_millis(150)).await;
    }
    world.until_done(&first).await;
    until_shared(&[&first, &second], &[2, 2]).await;
    second.stop().await;
    until_shared(&[&first], &[4]).await;
    world.finish(first).await.0.assert_once();
}

#[tokio::test]
async fn a_static_consumer_comes_back_to_what_it_had() {
    let mut world = consumers(Wire, 1, 4).await;
    world.config.group.instance_id = Some("pod-0".to_owned());
    let first = world.start_alone("first").await;
    world.config.group.instance_id = Some("pod-1".to_owned());
    let second = world.start_alone("second").await;
    until_shared(&[&first, &second], &[2, 2]).await;
    let epoch = || world.sandbox.group(&world.config.group.id).unwrap().generation;
    let before = epoch();
    let had = second.owned();
    second.stop().await;
    world.fill(50);
    let second = world.start_alone("second").await;
    second.until("its old part", || second.owned() == had).await;
    assert_eq!(epoch(), before, "nobody else noticed");
    world.until_done(&first).await;
    second.stop().await;
    first.stop().await;
    world.audit().assert_once();
}

#[tokio::test]
async fn auto_falls_back_where_the_consumer_protocol_is_switched_off() {
    let mut world = consumers(Wire, 1, 2).await;
    world.config.group.protocol = GroupProtocol::Auto;
    world.sandbox.fault(Fault::on(Api::ConsumerGroupHeartbeat).forever(), Action::Error(UNSUPPORTED_VERSION));
    let pipeline = world.start_alone("one").await;
    until_shared(&[&pipeline], &[2]).await;
    assert_eq!(protocol(&pipeline), "classic");
    world.fill(20);
    world.finish(pipeline).await.0.assert_once();
}

#[tokio::test]
async fn the_page_names_the_other_consumers() {
    let world = consumers(Wire, 1, 4).await;
    let first = world.start_alone("first").await;
    let second = world.start_alone("second").await;
    until_shared(&[&first, &second], &[2, 2]).await;
    let named = async {
        loop {
            let page = first.ask("GET / HTTP/1.1\r\naccept: text/html\r\n").await;
            let members = page.split("id=\"members\"").nth(1).and_then(|rest| rest.split("</tbody>").next());
            if members.is_some_and(|members| members.contains("<td>127.0.0.1</td><td class=\"n\">2</td>")) {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), named).await.expect("the other is named");
    second.stop().await;
    first.stop().await;
}
