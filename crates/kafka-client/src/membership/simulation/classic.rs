//! A coordinator of classic groups, by the rules of Kafka's `GroupMetadataManager`: joins are held
//! back until all have come or the rebalance timeout is over, syncs until the leader has shared.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::Identity;
use bytes::Bytes;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{
    HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use super::{Model, Token, text};
use crate::membership::{Described, Request, Response};

/// How long the first join of an empty group waits for others.
const INITIAL_DELAY: Duration = Duration::from_millis(300);

#[derive(Debug, Clone, Default)]
pub struct ClassicModel {
    group: Group,
    /// What a coordinator that takes over knows.
    written: Group,
    /// Ids given out and not joined with yet, and until when they are kept.
    pending: BTreeMap<String, Instant>,
    ids: u32,
    answers: Vec<(Token, Response)>,
    /// Whether members that come must ask for an id first (JoinGroup from version 4 on).
    pub asks_for_ids: bool,
    /// Whether a leader that comes back is told that it needn't share (from version 9 on).
    pub skips_assignment: bool,
}

#[derive(Debug, Clone, Default)]
struct Group {
    state: State,
    generation: i32,
    protocol: String,
    leader: String,
    members: BTreeMap<String, Member>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum State {
    #[default]
    Empty,
    /// Until all have joined, at most until then.
    Preparing(Instant),
    /// Until the leader has shared, at most until then.
    Completing(Instant),
    Stable,
}

#[derive(Debug, Clone)]
struct Member {
    instance: Option<StrBytes>,
    protocols: Vec<(StrBytes, Bytes)>,
    session: Duration,
    rebalance: Duration,
    session_ends: Instant,
    joining: Option<Token>,
    syncing: Option<Token>,
    synced: bool,
    assignment: Bytes,
}

impl Member {
    fn is_heard(&self) -> bool {
        self.joining.is_some() || self.syncing.is_some()
    }
}

impl ClassicModel {
    fn new_id(&mut self) -> String {
        self.ids += 1;
        format!("member-{}", self.ids)
    }

    fn join(&mut self, token: Token, request: JoinGroupRequest, now: Instant) {
        let id = request.member_id.to_string();
        let instance = request.group_instance_id.clone();
        let same = self.of_instance(instance.as_ref());
        let protocols: Vec<_> = request.protocols.iter().map(|p| (p.name.clone(), p.metadata.clone())).collect();
        let shared = |members: &BTreeMap<String, Member>| {
            let others = members.iter().filter(|(other, _)| **other != id && Some(*other) != same.as_ref());
            others
                .clone()
                .all(|(_, other)| other.protocols.iter().any(|(name, _)| protocols.iter().any(|p| p.0 == *name)))
        };
        if protocols.is_empty() || !shared(&self.group.members) {
            return self.refuse_join(token, Code::InconsistentGroupProtocol, &id);
        }
        let known = self.group.members.get(&id).cloned();
        let member = Member {
            instance: instance.clone(),
            protocols,
            session: millis(request.session_timeout_ms),
            rebalance: millis(request.rebalance_timeout_ms),
            session_ends: now,
            joining: Some(token),
            syncing: None,
            synced: false,
            assignment: known.as_ref().map_or_else(Bytes::new, |known| known.assignment.clone()),
        };
        if id.is_empty() {
            match same {
                Some(old) => self.replace_static(&old, member, token, now),
                None if self.asks_for_ids && instance.is_none() => {
                    let id = self.new_id();
                    self.pending.insert(id.clone(), now + member.session);
                    self.refuse_join(token, Code::MemberIdRequired, &id);
                }
                None => {
                    let id = self.new_id();
                    self.add(id, member, now);
                }
            }
            return;
        }
        if instance.is_some() && same.as_ref() != Some(&id) {
            let code = if same.is_some() { Code::FencedInstanceId } else { Code::UnknownMemberId };
            return self.refuse_join(token, code, &id);
        }
        if self.pending.remove(&id).is_some() {
            return self.add(id, member, now);
        }
        let Some(known) = known else { return self.refuse_join(token, Code::UnknownMemberId, &id) };
        let unchanged = known.protocols == member.protocols;
        let leads = self.group.leader == id;
        let again = match self.group.state {
            State::Empty => return self.refuse_join(token, Code::UnknownMemberId, &id),
            State::Preparing(_) => false,
            State::Completing(_) => unchanged,
            State::Stable => unchanged && !leads,
        };
        self.group.members.insert(id.clone(), member);
        if again {
            if let Some(member) = self.group.members.get_mut(&id) {
                (member.joining, member.session_ends) = (None, now + member.session);
            }
            self.answer_join(token, &id, None, false);
            return;
        }
        self.rebalance(now);
    }

    fn add(&mut self, id: String, member: Member, now: Instant) {
        let instance = member.instance.as_ref();
        let written = self.written.members.iter().find(|(_, written)| written.instance.as_ref() == instance);
        if let Some(old) = written.filter(|_| instance.is_some()).map(|(old, _)| old.clone()) {
            self.note_renamed(&old, &id);
        }
        if self.group.members.is_empty() {
            self.group.leader.clone_from(&id);
        }
        self.group.members.insert(id, member);
        self.rebalance(now);
    }

    /// Kafka writes down who a static member is now with the next assignment only. A coordinator that
    /// dies before has the old id back, and the one member that there is is fenced by itself:
    /// nobody's mistake, and nothing that a client could tell from another one's joining.
    fn note_renamed(&mut self, old: &str, id: &str) {
        if let Some(before) = self.written.members.remove(old) {
            self.written.members.insert(id.to_owned(), before);
        }
        if self.written.leader == old {
            self.written.leader = id.to_owned();
        }
    }

    /// A static member comes back, with a new id.
    fn replace_static(&mut self, old: &str, mut member: Member, token: Token, now: Instant) {
        let Some(before) = self.group.members.remove(old) else { return };
        let refused = |code: Code| JoinGroupResponse::default().with_error_code(code.code());
        if let Some(token) = before.joining {
            self.answers.push((token, Response::Join(refused(Code::FencedInstanceId))));
        }
        if let Some(token) = before.syncing {
            let answer = SyncGroupResponse::default().with_error_code(Code::FencedInstanceId.code());
            self.answers.push((token, Response::Sync(answer)));
        }
        let id = self.new_id();
        let led = self.group.leader == old;
        if led {
            self.group.leader.clone_from(&id);
        }
        member.assignment = before.assignment;
        self.note_renamed(old, &id);
        let stays = self.group.state == State::Stable;
        if stays {
            (member.joining, member.session_ends) = (None, now + member.session);
        }
        self.group.members.insert(id.clone(), member);
        if stays && self.chosen() == self.group.protocol {
            let told_leader = (led && !self.skips_assignment).then_some(old);
            self.answer_join(token, &id, told_leader, led && self.skips_assignment);
            self.written = self.group.clone();
        } else {
            if let Some(member) = self.group.members.get_mut(&id) {
                member.joining = Some(token);
            }
            self.rebalance(now);
        }
    }

    fn of_instance(&self, instance: Option<&StrBytes>) -> Option<String> {
        let instance = instance?;
        let mut members = self.group.members.iter();
        members.find(|(_, member)| member.instance.as_ref() == Some(instance)).map(|(id, _)| id.clone())
    }

    fn refuse_join(&mut self, token: Token, code: Code, id: &str) {
        let answer = JoinGroupResponse::default().with_error_code(code.code()).with_member_id(text(id));
        self.answers.push((token, Response::Join(answer)));
    }

    fn answer_join(&mut self, token: Token, id: &str, leader: Option<&str>, skip: bool) {
        let Group { generation, protocol, leader: leads, members, .. } = &self.group;
        let leader = leader.unwrap_or(leads);
        let all = members.iter().filter(|_| leads == id && leader == id).map(|(id, member)| {
            let of_protocol = member.protocols.iter().find(|(name, _)| name.as_str() == protocol);
            JoinGroupResponseMember::default()
                .with_member_id(text(id))
                .with_group_instance_id(member.instance.clone())
                .with_metadata(of_protocol.map_or_else(Bytes::new, |(_, metadata)| metadata.clone()))
        });
        let answer = JoinGroupResponse::default()
            .with_generation_id(*generation)
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text(protocol)))
            .with_leader(text(leader))
            .with_skip_assignment(skip)
            .with_member_id(text(id))
            .with_members(all.collect());
        self.answers.push((token, Response::Join(answer)));
    }

    /// The protocol that all members know and that most of them like best.
    fn chosen(&self) -> String {
        let members: Vec<_> = self.group.members.values().collect();
        let by_all = |name: &StrBytes| members.iter().all(|member| member.protocols.iter().any(|p| p.0 == *name));
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in &members {
            if let Some((name, _)) = member.protocols.iter().find(|(name, _)| by_all(name)) {
                *votes.entry(name.as_str()).or_default() += 1;
            }
        }
        votes.into_iter().max_by_key(|(_, votes)| *votes).map_or_else(String::new, |(name, _)| name.to_owned())
    }

    fn rebalance(&mut self, now: Instant) {
        let longest = self.group.members.values().map(|member| member.rebalance).max().unwrap_or_default();
        match self.group.state {
            State::Preparing(_) => {}
            State::Empty => self.group.state = State::Preparing(now + INITIAL_DELAY),
            State::Completing(_) | State::Stable => {
                for member in self.group.members.values_mut() {
                    if let Some(token) = member.syncing.take() {
                        member.session_ends = now + member.session;
                        let answer = SyncGroupResponse::default().with_error_code(Code::RebalanceInProgress.code());
                        self.answers.push((token, Response::Sync(answer)));
                    }
                    member.synced = false;
                }
                self.group.state = State::Preparing(now + longest);
            }
        }
        self.maybe_complete_join(now);
    }

    fn maybe_complete_join(&mut self, now: Instant) {
        let State::Preparing(until) = self.group.state else { return };
        let all = self.pending.is_empty() && self.group.members.values().all(|member| member.joining.is_some());
        // The first round of all waits in any case.
        if now >= until || all && self.group.generation > 0 {
            self.complete_join(now);
        }
    }

    fn complete_join(&mut self, now: Instant) {
        let group = &mut self.group;
        group.members.retain(|_, member| member.joining.is_some() || member.instance.is_some());
        if group.members.is_empty() {
            group.state = State::Empty;
            group.generation += 1;
            self.written = self.group.clone();
            return;
        }
        let longest = group.members.values().map(|member| member.rebalance).max().unwrap_or_default();
        if group.members.get(&group.leader).is_none_or(|leader| leader.joining.is_none()) {
            match group.members.iter().find(|(_, member)| member.joining.is_some()) {
                Some((id, _)) => group.leader.clone_from(id),
                None => {
                    group.state = State::Preparing(now + longest);
                    return;
                }
            }
        }
        group.generation += 1;
        group.state = State::Completing(now + longest);
        self.group.protocol = self.chosen();
        let mut joined = Vec::new();
        for (id, member) in &mut self.group.members {
            member.synced = false;
            if let Some(token) = member.joining.take() {
                member.session_ends = now + member.session;
                joined.push((token, id.clone()));
            }
        }
        for (token, id) in joined {
            self.answer_join(token, &id, None, false);
        }
    }

    /// Whom the coordinator knows by these, or why not.
    fn member(&self, id: &str, generation: i32, instance: Option<&StrBytes>) -> Result<(), Code> {
        if instance.is_some() {
            match self.of_instance(instance) {
                None => return Err(Code::UnknownMemberId),
                Some(other) if other != id => return Err(Code::FencedInstanceId),
                Some(_) => {}
            }
        }
        if !self.group.members.contains_key(id) || self.group.state == State::Empty {
            return Err(Code::UnknownMemberId);
        }
        if generation == self.group.generation { Ok(()) } else { Err(Code::IllegalGeneration) }
    }

    fn sync(&mut self, token: Token, request: SyncGroupRequest, now: Instant) {
        let id = request.member_id.to_string();
        let known = self.member(&id, request.generation_id, request.group_instance_id.as_ref());
        let known = known.and_then(|()| match (&request.protocol_name, self.group.state) {
            (Some(name), _) if name.as_str() != self.group.protocol => Err(Code::InconsistentGroupProtocol),
            (_, State::Preparing(_)) => Err(Code::RebalanceInProgress),
            _ => Ok(()),
        });
        if let Err(code) = known {
            let answer = SyncGroupResponse::default().with_error_code(code.code());
            self.answers.push((token, Response::Sync(answer)));
            return;
        }
        if let Some(member) = self.group.members.get_mut(&id) {
            (member.syncing, member.synced) = (Some(token), true);
        }
        if self.group.leader == id && matches!(self.group.state, State::Completing(_)) {
            for (id, member) in &mut self.group.members {
                let given = request.assignments.iter().find(|given| given.member_id.as_str() == id);
                member.assignment = given.map_or_else(Bytes::new, |given| given.assignment.clone());
            }
            self.group.state = State::Stable;
        }
        if self.group.state == State::Stable {
            for member in self.group.members.values_mut() {
                let Some(token) = member.syncing.take() else { continue };
                member.session_ends = now + member.session;
                let answer = SyncGroupResponse::default().with_assignment(member.assignment.clone());
                self.answers.push((token, Response::Sync(answer)));
            }
            self.written = self.group.clone();
        }
    }

    fn remove(&mut self, id: &str, now: Instant) {
        self.group.members.remove(id);
        match self.group.state {
            State::Empty => {}
            State::Preparing(_) => self.maybe_complete_join(now),
            State::Completing(_) | State::Stable => self.rebalance(now),
        }
    }
}

impl Model for ClassicModel {
    fn receive(&mut self, token: Token, request: Request, now: Instant) {
        match request {
            Request::Join(request) => self.join(token, request, now),
            Request::Sync(request) => self.sync(token, request, now),
            Request::Heartbeat(request) => {
                let id = request.member_id.as_str();
                let known = self.member(id, request.generation_id, request.group_instance_id.as_ref());
                let known = known.and_then(|()| {
                    if let Some(member) = self.group.members.get_mut(id) {
                        member.session_ends = now + member.session;
                    }
                    if matches!(self.group.state, State::Preparing(_)) {
                        Err(Code::RebalanceInProgress)
                    } else {
                        Ok(())
                    }
                });
                let code = known.err().map_or(0, |code| code.code());
                self.answers.push((token, Response::Heartbeat(HeartbeatResponse::default().with_error_code(code))));
            }
            Request::Leave(request) => {
                for member in &request.members {
                    let id = member.member_id.as_str();
                    self.pending.remove(id);
                    if self.group.members.contains_key(id) {
                        self.remove(id, now);
                    }
                }
                self.maybe_complete_join(now);
                self.answers.push((token, Response::Leave(LeaveGroupResponse::default())));
            }
            Request::ConsumerHeartbeat(_) => unreachable!("a classic member sends none"),
        }
    }

    fn tick(&mut self, now: Instant) {
        self.pending.retain(|_, until| now < *until);
        let gone: BTreeSet<String> = self
            .group
            .members
            .iter()
            .filter(|(_, member)| !member.is_heard() && now >= member.session_ends)
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            self.remove(&id, now);
        }
        if let State::Completing(until) = self.group.state
            && now >= until
        {
            let unsynced: Vec<_> =
                self.group.members.iter().filter(|(_, m)| !m.synced).map(|(id, _)| id.clone()).collect();
            unsynced.iter().for_each(|id| drop(self.group.members.remove(id)));
            self.rebalance(now);
        }
        self.maybe_complete_join(now);
    }

    fn answers(&mut self) -> Vec<(Token, Response)> {
        std::mem::take(&mut self.answers)
    }

    fn topic_changed(&mut self, _: Option<Described>) {}

    fn fail_over(&mut self, now: Instant) {
        self.group = self.written.clone();
        self.pending.clear();
        for member in self.group.members.values_mut() {
            (member.joining, member.syncing, member.session_ends) = (None, None, now + member.session);
        }
    }

    fn takes_commits_of(&self, identity: &Identity) -> bool {
        let instance = identity.instance_id.as_deref().map(text);
        let known = self.member(&identity.member_id, identity.generation_or_epoch, instance.as_ref());
        known.is_ok() && !matches!(self.group.state, State::Completing(_))
    }
}

fn millis(millis: i32) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap())
}
