//! The sandbox's coordinator of a classic group, asked by simulated members.

use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{
    HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;
use kafka_sandbox::group::classic::ClassicGroup;
use kafka_sandbox::group::member::{Claim, Join, Joined, Listed, NotJoined, Reply, Sync, Synced};
use tokio::time::Instant;

use super::{SimulatedCoordinator, Token, text};
use crate::Identity;
use crate::membership::{Described, Request, Response};

/// The time that the first join of an empty group waits for others.
const INITIAL_DELAY: Duration = Duration::from_millis(300);

#[derive(Debug)]
pub(crate) struct ClassicCoordinator {
    group: ClassicGroup,
    ids: u32,
    answers: Vec<(Token, Response)>,
    /// Set where members that come must ask for an id first (JoinGroup from version 4 on).
    asks_for_ids: bool,
}

impl ClassicCoordinator {
    pub(crate) fn new(asks_for_ids: bool) -> Self {
        Self { group: ClassicGroup::new(INITIAL_DELAY, Instant::now()), ids: 0, answers: Vec::new(), asks_for_ids }
    }

    fn join(&mut self, request: JoinGroupRequest) -> Join {
        self.ids += 1;
        Join {
            member_id: request.member_id.to_string(),
            new_member_id: format!("member-{}", self.ids),
            instance_id: request.group_instance_id.map(|id| id.to_string()),
            client_id: String::new(),
            session_timeout: millis(request.session_timeout_ms),
            rebalance_timeout: millis(request.rebalance_timeout_ms),
            protocol_type: request.protocol_type.to_string(),
            protocols: request.protocols.into_iter().map(|of| (of.name.to_string(), of.metadata)).collect(),
            id_required: self.asks_for_ids,
            may_skip: true,
        }
    }

    fn answer(&mut self, token: Token, code: Result<(), i16>, response: impl FnOnce(i16) -> Response) {
        self.answers.push((token, response(code.err().unwrap_or(0))));
    }

    /// Answers what is due of the requests that were held back.
    fn collect(&mut self) {
        while let Some((token, reply)) = self.group.poll_reply() {
            let response = match reply {
                Reply::Joined(joined) => Response::Join(joined.map_or_else(not_joined, |joined| told_joined(&joined))),
                Reply::Synced(Ok(Synced { assignment, .. })) => {
                    Response::Sync(SyncGroupResponse::default().with_assignment(assignment))
                }
                Reply::Synced(Err(code)) => Response::Sync(SyncGroupResponse::default().with_error_code(code)),
                Reply::Superseded => continue,
            };
            self.answers.push((token, response));
        }
    }
}

impl SimulatedCoordinator for ClassicCoordinator {
    fn receive(&mut self, token: Token, request: Request, now: Instant) {
        match request {
            Request::Join(request) => {
                let join = self.join(request);
                self.group.handle_join(token, join, now);
            }
            Request::Sync(request) => self.group.handle_sync(token, sync(request), now),
            Request::Heartbeat(request) => {
                let claim = claim(&request.member_id, request.group_instance_id.as_ref(), request.generation_id);
                let outcome = self.group.handle_heartbeat(&claim, now);
                self.answer(token, outcome, |code| {
                    Response::Heartbeat(HeartbeatResponse::default().with_error_code(code))
                });
            }
            Request::Leave(request) => {
                for member in &request.members {
                    let instance = member.group_instance_id.as_deref();
                    let _ = self.group.handle_leave(&member.member_id, instance, now); // no member hears of it
                }
                self.answer(token, Ok(()), |code| Response::Leave(LeaveGroupResponse::default().with_error_code(code)));
            }
            Request::ConsumerHeartbeat(_) => unreachable!("a classic member sends none"),
        }
    }

    fn tick(&mut self, now: Instant) {
        self.group.tick(now);
    }

    fn answers(&mut self) -> Vec<(Token, Response)> {
        self.collect();
        std::mem::take(&mut self.answers)
    }

    fn topic_changed(&mut self, _: Option<Described>) {}

    fn fail_over(&mut self, now: Instant) {
        self.group.reload(now);
    }

    fn takes_commits_of(&mut self, identity: &Identity, now: Instant) -> bool {
        let claim = Claim {
            member_id: identity.member_id.clone(),
            instance_id: identity.instance_id.clone(),
            generation: identity.generation_or_epoch,
        };
        self.group.handle_commit(&claim, now).is_ok()
    }
}

fn told_joined(joined: &Joined) -> JoinGroupResponse {
    let member = |member: &Listed| {
        JoinGroupResponseMember::default()
            .with_member_id(text(&member.member_id))
            .with_group_instance_id(member.instance_id.as_deref().map(text))
            .with_metadata(member.metadata.clone())
    };
    JoinGroupResponse::default()
        .with_generation_id(joined.generation)
        .with_protocol_type(joined.protocol_type.as_deref().map(text))
        .with_protocol_name(joined.protocol.as_deref().map(text))
        .with_leader(text(&joined.leader))
        .with_skip_assignment(joined.skip_assignment)
        .with_member_id(text(&joined.member_id))
        .with_members(joined.members.iter().map(member).collect())
}

fn not_joined(NotJoined { code, member_id }: NotJoined) -> JoinGroupResponse {
    assert!(ResponseError::try_from_code(code).is_some(), "refused without a reason");
    JoinGroupResponse::default().with_error_code(code).with_member_id(text(&member_id))
}

fn sync(request: SyncGroupRequest) -> Sync {
    let assignments = request.assignments.into_iter().map(|part| (part.member_id.to_string(), part.assignment));
    Sync {
        member: claim(&request.member_id, request.group_instance_id.as_ref(), request.generation_id),
        protocol_type: request.protocol_type.map(|text| text.to_string()),
        protocol: request.protocol_name.map(|text| text.to_string()),
        assignments: assignments.collect(),
    }
}

fn claim(member_id: &StrBytes, instance_id: Option<&StrBytes>, generation: i32) -> Claim {
    Claim { member_id: member_id.to_string(), instance_id: instance_id.map(ToString::to_string), generation }
}

fn millis(millis: i32) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap())
}
