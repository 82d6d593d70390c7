//! Simulation of a group: one to four members, a coordinator that keeps Kafka's rules, and all that can come between
//! them. No socket, no task, no clock but its own. The coordinators are the machines of [`kafka_sandbox`], which the
//! sandbox answers by over TCP: what they do wrong shows here, where what must hold is checked by rules of its own.
//!
//! What must hold is checked after every step, each rule in one place:
//! - [`World::check_exclusive`]: no partition is two members' at a time;
//! - [`simulated_member::SimulatedMember::note`]: events come in an order that makes sense, and nothing is held without an
//!   identity;
//! - [`World::send`]: no busy loop;
//! - [`World::settle`]: once disturbances stop, everything is somebody's within bounded time;
//! - [`World::leave_all`]: leaving ends, whatever the coordinator does.

pub(super) mod byzantine;
pub(super) mod classic;
pub(super) mod consumer;
mod simulated_member;
mod world;

use std::time::Duration;

use crate::Identity;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatResponse, HeartbeatResponse, JoinGroupResponse, LeaveGroupResponse, SyncGroupResponse,
};
use proptest::prelude::*;
use tokio::time::Instant;

use super::{Assignor, Described, MemberOptions, Request, Response};

pub(super) use world::World;

pub(super) const TICK: Duration = Duration::from_millis(100);
pub(super) const SESSION: Duration = Duration::from_secs(6);
pub(super) const REBALANCE: Duration = Duration::from_secs(9);
/// Shorter than a session.
const SHORT_REBALANCE: Duration = Duration::from_secs(4);
pub(super) const HEARTBEAT: Duration = Duration::from_secs(1);
/// The interval of look-ups of the topic.
const DISCOVERY: Duration = Duration::from_secs(2);
/// A driver's deadline for an answer that nobody holds back.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// Its pause after a request that failed.
const RETRY: Duration = Duration::from_millis(500);
/// More requests than this of one member at one instant are a busy loop.
const MOST_AT_ONCE: usize = 8;
/// Within this everything is settled once disturbances stop: what is hung is expelled, what was
/// begun is over, and the rounds that follow are done.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// Names a request and its answer.
pub(super) type Token = u64;

/// A coordinator of one protocol, with which the members are simulated.
pub(super) trait SimulatedCoordinator {
    fn receive(&mut self, token: Token, request: Request, now: Instant);
    fn tick(&mut self, now: Instant);
    fn answers(&mut self) -> Vec<(Token, Response)>;
    fn topic_changed(&mut self, topic: Option<Described>);
    /// Another broker takes over, with what was written down.
    fn fail_over(&mut self, now: Instant);
    fn takes_commits_of(&mut self, identity: &Identity, now: Instant) -> bool;
}

/// A disturbance of the group. Members are named by their place among those that live.
#[derive(Debug, Clone)]
pub(super) enum Upset {
    Nothing,
    Join {
        is_static: bool,
    },
    Leave(usize),
    Die(usize),
    /// It gets no time.
    Hang(usize, u32),
    /// Its requests, or only the answers, are lost.
    Lose(usize, Lost, u32),
    /// Its answers come late.
    Slow(usize, u32),
    /// The coordinator moves, and answers this meanwhile.
    Move(Code, u32),
    AddPartition,
    Delete(u32),
    Recreate(i32),
    /// The time that it takes from now on to give up a partition.
    Releases(usize, Option<u32>),
    /// Someone doubts that it is a member.
    Doubt(usize),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Lost {
    Request,
    Answer,
}

/// Upsets, each with the ticks that pass after it.
pub(super) fn upsets() -> impl Strategy<Value = Vec<(Upset, u32)>> {
    let moved = prop_oneof![
        Just(Code::NotCoordinator),
        Just(Code::CoordinatorLoadInProgress),
        Just(Code::CoordinatorNotAvailable)
    ];
    let lost = prop_oneof![Just(Lost::Request), Just(Lost::Answer)];
    let one = prop_oneof![
        2 => Just(Upset::Nothing),
        4 => any::<bool>().prop_map(|is_static| Upset::Join { is_static }),
        2 => (0..4usize).prop_map(Upset::Leave),
        2 => (0..4usize).prop_map(Upset::Die),
        3 => (0..4usize, 1..200u32).prop_map(|(who, ticks)| Upset::Hang(who, ticks)),
        3 => (0..4usize, lost, 1..150u32).prop_map(|(who, lost, ticks)| Upset::Lose(who, lost, ticks)),
        2 => (0..4usize, 1..100u32).prop_map(|(who, ticks)| Upset::Slow(who, ticks)),
        2 => (moved, 0..60u32).prop_map(|(code, ticks)| Upset::Move(code, ticks)),
        1 => Just(Upset::AddPartition),
        1 => (1..100u32).prop_map(Upset::Delete),
        1 => (1..6i32).prop_map(Upset::Recreate),
        2 => (0..4usize, prop_oneof![Just(None), (0..150u32).prop_map(Some)])
            .prop_map(|(who, after)| Upset::Releases(who, after)),
        1 => (0..4usize).prop_map(Upset::Doubt),
    ];
    prop::collection::vec((one, prop_oneof![0..5u32, 0..120u32]), 1..25)
}

pub(super) fn options() -> MemberOptions {
    MemberOptions {
        group_id: "g".to_owned(),
        instance_id: None,
        topic: "t".to_owned(),
        session_timeout: SESSION,
        rebalance_timeout: REBALANCE,
        heartbeat_interval: HEARTBEAT,
        assignors: vec![Assignor::CooperativeSticky],
        server_assignor: None,
    }
}

/// The answer to a request that says nothing but this.
pub(super) fn refusal(request: &Request, code: Code) -> Response {
    let code = code.code();
    match request {
        Request::Join(_) => Response::Join(JoinGroupResponse::default().with_error_code(code)),
        Request::Sync(_) => Response::Sync(SyncGroupResponse::default().with_error_code(code)),
        Request::Heartbeat(_) => Response::Heartbeat(HeartbeatResponse::default().with_error_code(code)),
        Request::Leave(_) => Response::Leave(LeaveGroupResponse::default().with_error_code(code)),
        Request::ConsumerHeartbeat(_) => {
            Response::ConsumerHeartbeat(ConsumerGroupHeartbeatResponse::default().with_error_code(code))
        }
    }
}

pub(super) use crate::text;
