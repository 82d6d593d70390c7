//! The classic protocol: members join, one of them, the leader, shares the partitions, and the
//! coordinator hands each its part. With an eager assignor everybody gives up everything before
//! joining again; with a cooperative one only what moves is given up, in a round of its own.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest,
    SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;
use tracing::warn;

use super::assignor::{Assignor, Member, Members};
use super::consumer::fenced_instance;
use super::member::{Cause, Described, Event, Holdings, Membership, Request, Response, Settings, Step};
use super::subscription::{Partitions, Subscription, decode_assignment, encode_assignment};
use crate::broker::Error;
use crate::broker::wire::Identity;

const PROTOCOL_TYPE: &str = "consumer";
/// In place of a generation before the first.
const NO_GENERATION: i32 = -1;

/// A member by the classic protocol.
#[derive(Debug)]
pub struct Classic {
    settings: Settings,
    /// Given by the coordinator.
    member_id: String,
    generation: i32,
    /// The assignor that the coordinator chose.
    protocol: String,
    phase: Phase,
    holdings: Holdings,
    /// Whether this member leads the group.
    leads: bool,
    /// As the leader: the topics and numbers of partitions that it shared by.
    shared: Option<BTreeMap<String, i32>>,
    /// Until when what is revoked must be released, or the group goes on without this member.
    release_by: Option<Instant>,
    due: Option<Instant>,
    lease: Option<Instant>,
    leaving: bool,
}

/// What the member does next, or waits for.
#[derive(Debug, Clone, PartialEq)]
enum Phase {
    /// To join, as soon as what is being given up is released.
    Unjoined,
    /// Its join is under way.
    Joining,
    /// To share the partitions, once the topics are described.
    Sharing(Members),
    /// To ask for its part, or to hand out all parts.
    Unsynced(BTreeMap<String, Partitions>),
    /// That is under way.
    Syncing,
    /// It has its part.
    Stable,
    /// It is leaving, and has said so.
    Left,
}

impl Classic {
    /// A member that has not joined yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            member_id: String::new(),
            generation: NO_GENERATION,
            protocol: String::new(),
            phase: Phase::Unjoined,
            holdings: Holdings::default(),
            leads: false,
            shared: None,
            release_by: None,
            due: None,
            lease: None,
            leaving: false,
        }
    }

    /// Whether partitions are kept while the group rebalances: only if every assignor that may be
    /// chosen bears that.
    fn is_cooperative(&self) -> bool {
        self.settings.assignors.iter().all(|assignor| assignor.is_cooperative())
    }

    fn is_member(&self) -> bool {
        self.generation != NO_GENERATION
    }

    fn join(&self) -> Request {
        let owned = self.holdings.owned().clone();
        let subscription = Subscription {
            topics: BTreeSet::from([self.settings.topic.clone()]),
            owned: if owned.is_empty() {
                Partitions::new()
            } else {
                Partitions::from([(self.settings.topic.clone(), owned)])
            },
            generation: Some(self.generation).filter(|_| self.is_member()),
            rack: None,
        };
        let metadata = subscription.encode();
        let protocol = |assignor: &Assignor| {
            let name = StrBytes::from_static_str(assignor.name());
            JoinGroupRequestProtocol::default().with_name(name).with_metadata(metadata.clone())
        };
        let request = JoinGroupRequest::default()
            .with_group_id(self.group_id())
            .with_session_timeout_ms(millis(self.settings.session_timeout))
            .with_rebalance_timeout_ms(millis(self.settings.rebalance_timeout))
            .with_member_id(text(&self.member_id))
            .with_group_instance_id(self.instance_id())
            .with_protocol_type(StrBytes::from_static_str(PROTOCOL_TYPE))
            .with_protocols(self.settings.assignors.iter().map(protocol).collect());
        Request::Join(request)
    }

    fn sync(&self, shares: &BTreeMap<String, Partitions>) -> Request {
        let share = |(member, partitions): (&String, &Partitions)| {
            SyncGroupRequestAssignment::default()
                .with_member_id(text(member))
                .with_assignment(encode_assignment(partitions))
        };
        let request = SyncGroupRequest::default()
            .with_group_id(self.group_id())
            .with_generation_id(self.generation)
            .with_member_id(text(&self.member_id))
            .with_group_instance_id(self.instance_id())
            .with_protocol_type(Some(StrBytes::from_static_str(PROTOCOL_TYPE)))
            .with_protocol_name(Some(text(&self.protocol)))
            .with_assignments(shares.iter().map(share).collect());
        Request::Sync(request)
    }

    fn heartbeat(&self) -> Request {
        let request = HeartbeatRequest::default()
            .with_group_id(self.group_id())
            .with_generation_id(self.generation)
            .with_member_id(text(&self.member_id))
            .with_group_instance_id(self.instance_id());
        Request::Heartbeat(request)
    }

    fn leave_request(&self) -> Request {
        let member = MemberIdentity::default().with_member_id(text(&self.member_id));
        let request = LeaveGroupRequest::default().with_group_id(self.group_id()).with_members(vec![member]);
        Request::Leave(request)
    }

    fn joined(&mut self, response: &JoinGroupResponse) {
        let cause = if self.is_member() { Cause::MembersChanged } else { Cause::Joined };
        self.holdings.tell(Event::Rebalance(cause));
        self.member_id = response.member_id.to_string();
        self.generation = response.generation_id;
        self.protocol = response.protocol_name.as_ref().map_or_else(String::new, ToString::to_string);
        let identity = Identity {
            member_id: self.member_id.clone(),
            generation_or_epoch: self.generation,
            instance_id: self.settings.instance_id.clone(),
        };
        self.holdings.tell(Event::Identity(Some(identity)));
        self.leads = response.leader == response.member_id;
        self.shared = None;
        self.phase = if self.leads && !response.skip_assignment {
            Phase::Sharing(response.members.iter().map(|member| self.member(member)).collect())
        } else {
            Phase::Unsynced(BTreeMap::new())
        };
    }

    fn member(
        &self,
        member: &kafka_protocol::messages::join_group_response::JoinGroupResponseMember,
    ) -> (String, Member) {
        let subscription = Subscription::decode(&member.metadata).unwrap_or_else(|error| {
            let (group, member) = (&self.settings.group_id, &*member.member_id);
            warn!(group, member, %error, "this member's subscription can't be read: it gets nothing");
            Subscription::default()
        });
        let instance_id = member.group_instance_id.as_ref().map(ToString::to_string);
        (member.member_id.to_string(), Member { instance_id, subscription })
    }

    /// As the leader: shares the partitions of the described topics among the members.
    fn share(&mut self, members: &Members, topics: &BTreeMap<String, i32>) {
        let Some(assignor) = Assignor::by_name(&self.protocol) else {
            // The coordinator chooses of those that every member offers.
            let (group, assignor) = (&self.settings.group_id, &self.protocol);
            warn!(group, assignor, "the coordinator chose an assignor that this member does not know");
            self.phase = Phase::Unjoined;
            return;
        };
        self.phase = Phase::Unsynced(assignor.assign(members, topics));
        self.shared = Some(topics.clone());
    }

    fn synced(&mut self, response: &SyncGroupResponse, now: Instant) -> Result<(), Error> {
        let given = decode_assignment(&response.assignment).map_err(|error| {
            let cause = crate::broker::Cause::Undecodable(format!("assignment: {error}"));
            Error { doing: "take the part in group", on: self.settings.group_id.clone(), cause }
        });
        let mut given = match given {
            Ok(given) => given,
            Err(error) => {
                self.phase = Phase::Unjoined;
                return Err(error);
            }
        };
        let ours = given.remove(&self.settings.topic).unwrap_or_default();
        if !given.is_empty() {
            warn!(topics = given.len(), "the leader gave this member topics that it does not read");
        }
        self.phase = Phase::Stable;
        if self.leaving {
            return Ok(());
        }
        let revoked = self.holdings.keep_only(&ours);
        self.holdings.assign(&ours);
        if revoked {
            self.begin_release(now);
        }
        Ok(())
    }

    /// The group rebalances: join again, after giving up what must be given up first.
    fn rejoin(&mut self, now: Instant) {
        self.phase = Phase::Unjoined;
        if !self.is_cooperative() && self.holdings.keep_only(&BTreeSet::new()) {
            self.begin_release(now);
        }
        if !self.holdings.is_releasing() {
            self.due = None;
        }
    }

    fn begin_release(&mut self, now: Instant) {
        // The coordinator began to count when it noticed, up to a heartbeat ago.
        let margin = (2 * self.settings.heartbeat_interval).min(self.settings.rebalance_timeout / 2);
        self.release_by.get_or_insert(now + self.settings.rebalance_timeout - margin);
    }

    /// The coordinator does not count this member in any more: everything is lost, and begins anew.
    fn expelled(&mut self, cause: Cause, forget_id: bool) {
        self.holdings.tell(Event::Rebalance(cause));
        self.holdings.tell(Event::Identity(None));
        self.holdings.lose_all();
        self.generation = NO_GENERATION;
        self.phase = Phase::Unjoined;
        self.leads = false;
        self.release_by = None;
        self.lease = None;
        self.due = None;
        if forget_id {
            self.member_id.clear();
        }
    }

    /// What an error code means wherever it comes from.
    fn refused(&mut self, code: ResponseError, doing: &'static str, now: Instant) -> Result<(), Error> {
        use ResponseError as Code;
        match code {
            Code::RebalanceInProgress => self.rejoin(now),
            Code::UnknownMemberId | Code::IllegalGeneration => {
                self.expelled(Cause::Expelled, code == Code::UnknownMemberId);
                self.pause(now + self.settings.heartbeat_interval / 10);
            }
            Code::FencedInstanceId => {
                self.expelled(Cause::Expelled, false);
                self.holdings.tell(Event::Failed(fenced_instance(&self.settings)));
                self.phase = Phase::Left;
            }
            code => {
                self.unanswered();
                return Err(Error::code(doing, self.settings.group_id.as_str(), code));
            }
        }
        Ok(())
    }

    fn group_id(&self) -> GroupId {
        GroupId(text(&self.settings.group_id))
    }

    fn instance_id(&self) -> Option<StrBytes> {
        self.settings.instance_id.as_deref().map(text)
    }

    /// A heartbeat, where one is due.
    fn beat(&mut self, now: Instant) -> Option<Step> {
        let due = self.due.unwrap_or(now);
        (due <= now).then(|| Step::Send(self.heartbeat()))
    }

    fn wait(&self, now: Instant, describe: BTreeSet<String>) -> Step {
        let next = self.due.filter(|due| *due > now).unwrap_or(now + self.settings.heartbeat_interval);
        let until = [self.lease, self.release_by].into_iter().flatten().fold(next, Instant::min);
        Step::Wait { until, describe }
    }

    fn poll_leaving(&mut self, now: Instant) -> Option<Step> {
        if !self.leaving || !self.holdings.owned().is_empty() {
            return None;
        }
        let (was_member, is_static) = (!self.member_id.is_empty(), self.settings.instance_id.is_some());
        self.phase = Phase::Left;
        self.lease = None;
        self.due = Some(now);
        // A static member comes back to what it had: nobody is told that it goes.
        Some(if was_member && !is_static { Step::Send(self.leave_request()) } else { Step::Left })
    }
}

impl Membership for Classic {
    fn poll(&mut self, now: Instant) -> Step {
        if self.phase == Phase::Left {
            return Step::Left;
        }
        if self.lease.is_some_and(|lease| now >= lease) {
            self.expelled(Cause::Expired, false);
        }
        if self.release_by.is_some_and(|by| now >= by) {
            self.holdings.tell(Event::Rebalance(Cause::NotReleased));
            self.holdings.lose_releasing();
            self.release_by = None;
            self.phase = Phase::Unjoined;
            self.due = None;
        }
        if let Some(step) = self.poll_leaving(now) {
            return step;
        }
        match &self.phase {
            // What is being given up is finished under the old generation, which heartbeats keep.
            Phase::Unjoined if self.holdings.is_releasing() && self.is_member() => {
                self.beat(now).unwrap_or_else(|| self.wait(now, BTreeSet::new()))
            }
            Phase::Unjoined | Phase::Joining | Phase::Syncing => match self.due.filter(|due| *due > now) {
                Some(_) => self.wait(now, BTreeSet::new()),
                None => {
                    self.phase = Phase::Joining;
                    Step::Send(self.join())
                }
            },
            Phase::Sharing(members) => {
                let topics = members.values().flat_map(|member| member.subscription.topics.iter().cloned()).collect();
                self.wait(now, topics)
            }
            Phase::Unsynced(shares) => {
                let request = self.sync(shares);
                self.phase = Phase::Syncing;
                Step::Send(request)
            }
            Phase::Stable => self.beat(now).unwrap_or_else(|| self.wait(now, BTreeSet::new())),
            Phase::Left => Step::Left,
        }
    }

    fn answered(&mut self, response: Response, sent: Instant, now: Instant) -> Result<(), Error> {
        let code = match &response {
            Response::Join(response) => response.error_code,
            Response::Sync(response) => response.error_code,
            Response::Heartbeat(response) => response.error_code,
            Response::Leave(_) | Response::ConsumerHeartbeat(_) => return Ok(()), // whatever it said
        };
        let code = ResponseError::try_from_code(code);
        let heard = matches!(code, None | Some(ResponseError::RebalanceInProgress));
        if heard && self.is_member() || code.is_none() {
            // An answer that was held back says that the member counted until it came.
            let counted = if matches!(response, Response::Heartbeat(_)) { sent } else { now };
            self.lease = Some(counted + self.settings.session_timeout);
            self.due = Some(sent + self.settings.heartbeat_interval);
        }
        match (response, code) {
            (Response::Join(response), Some(ResponseError::MemberIdRequired)) => {
                self.member_id = response.member_id.to_string();
                self.unanswered();
                Ok(())
            }
            (Response::Join(response), None) => {
                self.joined(&response);
                Ok(())
            }
            (Response::Sync(response), None) => self.synced(&response, now),
            (Response::Join(_), Some(code)) => self.refused(code, "join group", now),
            (Response::Sync(_), Some(code)) => {
                self.phase = Phase::Unjoined;
                self.refused(code, "take the part in group", now)
            }
            // Once is enough: while it gives up partitions each heartbeat hears the same.
            (Response::Heartbeat(_), Some(ResponseError::RebalanceInProgress)) => {
                if self.phase == Phase::Stable {
                    self.rejoin(now);
                }
                Ok(())
            }
            (Response::Heartbeat(_), Some(code)) => self.refused(code, "heartbeat to the coordinator of group", now),
            _ => Ok(()),
        }
    }

    fn unanswered(&mut self) {
        if matches!(self.phase, Phase::Joining | Phase::Syncing) {
            self.phase = Phase::Unjoined;
        }
        self.due = None;
    }

    fn pause(&mut self, until: Instant) {
        self.due = Some(until);
    }

    fn described(&mut self, topics: &BTreeMap<String, Option<Described>>, now: Instant) {
        match &self.phase {
            Phase::Sharing(members) => {
                let wanted: BTreeSet<_> = members.values().flat_map(|member| &member.subscription.topics).collect();
                if !wanted.iter().all(|name| topics.contains_key(*name)) {
                    return;
                }
                let count = |name: &String| Some((name.clone(), topics.get(name)?.as_ref()?.partitions));
                let counts = wanted.into_iter().filter_map(count).collect();
                let members = members.clone();
                self.share(&members, &counts);
            }
            Phase::Stable if self.leads && !self.leaving => {
                let name = &self.settings.topic;
                let Some(found) = topics.get(name) else { return };
                let found: BTreeMap<_, _> = found.iter().map(|found| (name.clone(), found.partitions)).collect();
                match &self.shared {
                    // The assignment is one of before this member came back: it was shared by this.
                    None => self.shared = Some(found),
                    Some(shared) if shared.get(name) != found.get(name) => {
                        self.holdings.tell(Event::Rebalance(Cause::TopicChanged));
                        self.rejoin(now);
                    }
                    Some(_) => {}
                }
            }
            _ => {}
        }
    }

    fn released(&mut self, partitions: &BTreeSet<i32>) {
        self.holdings.released(partitions);
        if !self.holdings.is_releasing() && self.release_by.take().is_some() && !self.leaving {
            // Another round gives on what was given up.
            if self.phase == Phase::Stable {
                self.phase = Phase::Unjoined;
            }
            self.due = None;
        }
    }

    fn leave(&mut self) {
        if !self.leaving {
            self.leaving = true;
            self.release_by = None; // from here on the shutdown's deadline counts
            self.holdings.keep_only(&BTreeSet::new());
        }
    }

    fn doubt(&mut self, now: Instant) {
        self.pause(now);
    }

    fn abandons_request(&self) -> bool {
        let held = matches!(self.phase, Phase::Joining | Phase::Syncing);
        held && self.leaving && self.holdings.owned().is_empty()
    }

    fn next_event(&mut self) -> Option<Event> {
        self.holdings.next_event()
    }

    fn lease(&self) -> Option<Instant> {
        self.lease
    }

    fn state(&self) -> &'static str {
        match &self.phase {
            Phase::Left => "left",
            _ if self.leaving => "leaving",
            _ if self.holdings.is_releasing() => "revoking",
            Phase::Unjoined | Phase::Joining => "joining",
            Phase::Sharing(_) | Phase::Unsynced(_) | Phase::Syncing => "syncing",
            Phase::Stable => "stable",
        }
    }

    fn owned(&self) -> &BTreeSet<i32> {
        self.holdings.owned()
    }
}

fn millis(duration: std::time::Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
