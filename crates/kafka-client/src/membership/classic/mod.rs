//! The classic protocol: members join, one of them, the leader, shares the partitions, and the
//! coordinator hands each its part. With an eager assignor everybody gives up everything before
//! joining again; with a cooperative one only what moves is given up, in a round of its own.

mod requests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{JoinGroupResponse, SyncGroupResponse};
use tokio::time::Instant;
use tracing::warn;

use super::assignor::{Assignor, Member, Members};
use super::holdings::Holdings;
use super::member::{Described, Event, Membership, RebalanceCause, Step};
use super::options::MemberOptions;
use super::request::Response;
use super::subscription::{Assignment, Partitions, Subscription, decode_assignment};
use crate::{Cause, Error, Identity};

const PROTOCOL_TYPE: &str = "consumer";
/// In place of a generation before the first.
const NO_GENERATION: i32 = -1;

/// A member by the classic protocol.
#[derive(Debug)]
pub struct Classic {
    options: MemberOptions,
    /// The id that the coordinator gave.
    member_id: String,
    generation: i32,
    /// The assignor that the coordinator chose.
    protocol: String,
    phase: Phase,
    holdings: Holdings,
    /// Set while this member leads the group.
    leads: bool,
    /// As the leader: the topics and numbers of partitions that it shared by.
    shared: Option<BTreeMap<String, i32>>,
    /// The topic as last described. Nothing is joined before: a partition whose log is not known
    /// could be read from another log's offset.
    topic: Option<Described>,
    /// The time at which the request was sent whose answer last showed that nobody waits for this member to
    /// join again. A rebalance begins after it, and may be over a rebalance timeout later.
    quiet_since: Option<Instant>,
    /// The time since which partitions are being given up for others.
    releasing_since: Option<Instant>,
    due: Option<Instant>,
    session: Option<Session>,
    leaving: bool,
}

/// The time for which the coordinator counts this member in after its last answer.
#[derive(Debug, Clone, Copy)]
struct Session {
    /// At least until then: the coordinator counts from some time after the request was sent.
    certain_until: Instant,
    /// At most until then, as far as can be seen here: it counts from the answer, which may have
    /// been held back for long. That one which lies ready when a stopped process wakes is an old
    /// one can't be seen.
    possible_until: Instant,
}

/// The member's next action, or what it waits for.
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
    pub fn new(options: MemberOptions) -> Self {
        Self {
            options,
            member_id: String::new(),
            generation: NO_GENERATION,
            protocol: String::new(),
            phase: Phase::Unjoined,
            holdings: Holdings::default(),
            leads: false,
            shared: None,
            topic: None,
            quiet_since: None,
            releasing_since: None,
            due: None,
            session: None,
            leaving: false,
        }
    }

    /// Returns whether partitions are kept while the group rebalances: only if every assignor that may be
    /// chosen bears that.
    fn is_cooperative(&self) -> bool {
        self.options.assignors.iter().all(|assignor| assignor.is_cooperative())
    }

    fn is_member(&self) -> bool {
        self.generation != NO_GENERATION
    }

    fn joined(&mut self, response: &JoinGroupResponse, sent: Instant, now: Instant) -> Result<(), Error> {
        let protocol = response.protocol_name.as_ref().map_or("", |name| name.as_str());
        let offered = self.options.assignors.iter().any(|assignor| assignor.name() == protocol);
        if response.member_id.is_empty() || response.generation_id < 0 || !offered {
            let (member, generation) = (response.member_id.as_str(), response.generation_id);
            let told = format!("member {member:?}, generation {generation}, assignor {protocol:?}");
            return Err(self.malformed("join group", told));
        }
        self.counted(sent, now);
        self.quiet_since = Some(sent);
        let is_next = self.generation.checked_add(1) == Some(response.generation_id);
        let cause = if self.is_member() { RebalanceCause::MembersChanged } else { RebalanceCause::Joined };
        self.holdings.tell(Event::Rebalance(cause));
        self.member_id = response.member_id.to_string();
        self.generation = response.generation_id;
        self.protocol = protocol.to_owned();
        let identity = Identity {
            member_id: self.member_id.clone(),
            generation_or_epoch: self.generation,
            instance_id: self.options.instance_id.clone(),
        };
        self.holdings.tell(Event::Identity(Some(identity)));
        self.leads = response.leader == response.member_id;
        self.shared = None;
        if !is_next && !self.holdings.owned().is_empty() {
            // A round was over without this member's hearing of it: what it holds may be another's.
            // It has just claimed all of that, so it claims anew, or what it lost would stay nobody's.
            self.holdings.lose_all();
            self.releasing_since = None;
            self.phase = Phase::Unjoined;
            self.due = None;
            return Ok(());
        }
        self.phase = if self.leads && !response.skip_assignment {
            Phase::Sharing(response.members.iter().map(|member| self.member(member)).collect())
        } else {
            Phase::Unsynced(BTreeMap::new())
        };
        Ok(())
    }

    fn member(
        &self,
        member: &kafka_protocol::messages::join_group_response::JoinGroupResponseMember,
    ) -> (String, Member) {
        let subscription = Subscription::decode(&member.metadata).unwrap_or_else(|error| {
            let (group, member) = (&self.options.group_id, &*member.member_id);
            warn!(group, member, %error, "this member's subscription can't be read: it gets nothing");
            Subscription::default()
        });
        let instance_id = member.group_instance_id.as_ref().map(ToString::to_string);
        (member.member_id.to_string(), Member { instance_id, subscription })
    }

    /// Shares, as the leader, the partitions of the described topics among the members.
    fn share(&mut self, members: &Members, topics: BTreeMap<String, i32>) {
        let shares = Assignor::by_name(&self.protocol).map(|assignor| assignor.assign(members, &topics));
        self.phase = Phase::Unsynced(shares.unwrap_or_default()); // it is one that this member offered
        self.shared = Some(topics);
    }

    fn synced(&mut self, response: &SyncGroupResponse, sent: Instant, now: Instant) -> Result<(), Error> {
        let given = decode_assignment(&response.assignment);
        let given = given.map_err(|error| self.malformed("take the part in group", format!("assignment: {error}")))?;
        self.counted(sent, now);
        self.quiet_since = Some(sent);
        self.due = Some(sent + self.options.heartbeat_interval);
        let Assignment { mut partitions, shared } = given;
        if self.leads && self.shared.is_none() {
            self.shared = shared; // an assignment of before this static member came back
        }
        let mut ours = partitions.remove(&self.options.topic).unwrap_or_default();
        let given = ours.len();
        ours.retain(|partition| *partition >= 0);
        if !partitions.is_empty() || ours.len() < given {
            let group = &self.options.group_id;
            warn!(group, "the leader gave this member topics that it does not read, or partitions that can't be");
        }
        self.phase = Phase::Stable;
        if self.leaving {
            return Ok(());
        }
        let revoked = self.holdings.keep_only(&ours);
        self.holdings.assign(&ours);
        if revoked {
            self.releasing_since.get_or_insert(now);
        }
        Ok(())
    }

    /// The error for a response that has no error code and can't be right. Nothing of it counts.
    fn malformed(&mut self, doing: &'static str, told: String) -> Error {
        self.unanswered();
        Error { doing, on: self.options.group_id.clone(), cause: Cause::Undecodable(told) }
    }

    /// Notes that the coordinator counted this member in when it answered now.
    fn counted(&mut self, sent: Instant, answered: Instant) {
        let timeout = self.options.session_timeout;
        self.session = Some(Session { certain_until: sent + timeout, possible_until: answered + timeout });
    }

    /// Joins again, since the group rebalances, after giving up what must be given up first.
    fn rejoin(&mut self, now: Instant) {
        self.phase = Phase::Unjoined;
        if !self.is_cooperative() && self.holdings.keep_only(&BTreeSet::new()) {
            self.releasing_since.get_or_insert(now);
        }
        if !self.holdings.is_releasing() {
            self.due = None;
        }
    }

    /// Returns until when what is revoked must be released, or the group goes on without this member.
    fn release_by(&self) -> Option<Instant> {
        if !self.holdings.is_releasing() {
            return None;
        }
        let begun = [self.quiet_since, self.releasing_since].into_iter().flatten().min()?;
        // Time to join again before that.
        let margin = self.options.heartbeat_interval.min(self.options.rebalance_timeout / 2);
        Some(begun + self.options.rebalance_timeout - margin)
    }

    /// Goes on once nothing is being given up any more: another round gives it on.
    fn after_release(&mut self) {
        self.releasing_since = None;
        if !self.leaving {
            if self.phase == Phase::Stable {
                self.phase = Phase::Unjoined;
            }
            self.due = None;
        }
    }

    /// Notes the topic as it is now. One of another id is another log: what was held is of the old one.
    fn note_topic(&mut self, found: Described) {
        let before = self.topic.replace(found);
        let anew = before.and_then(|before| before.id).zip(found.id).is_some_and(|(old, new)| old != new);
        if !anew || self.holdings.owned().is_empty() {
            return;
        }
        self.holdings.tell(Event::Rebalance(RebalanceCause::TopicChanged));
        let was_releasing = self.holdings.is_releasing();
        self.holdings.begin_again();
        if was_releasing {
            self.after_release();
        }
    }

    /// Begins again, since the coordinator does not count this member in any more: everything is lost.
    fn expelled(&mut self, cause: RebalanceCause, forget_id: bool) {
        self.holdings.tell(Event::Rebalance(cause));
        self.holdings.tell(Event::Identity(None));
        self.holdings.lose_all();
        self.generation = NO_GENERATION;
        self.phase = Phase::Unjoined;
        self.leads = false;
        self.releasing_since = None;
        self.session = None;
        self.quiet_since = None;
        self.due = None;
        if forget_id {
            self.member_id.clear();
        }
    }

    /// Acts on an error code that means the same wherever it comes from.
    fn refused(&mut self, code: ResponseError, doing: &'static str, now: Instant) -> Result<(), Error> {
        use ResponseError as Code;
        match code {
            Code::RebalanceInProgress => self.rejoin(now),
            Code::UnknownMemberId | Code::IllegalGeneration => {
                self.expelled(RebalanceCause::Expelled, code == Code::UnknownMemberId);
                self.pause(now + self.options.heartbeat_interval / 10);
            }
            Code::FencedInstanceId => {
                self.expelled(RebalanceCause::Expelled, false);
                self.holdings.tell(Event::Fenced);
                self.phase = Phase::Left;
            }
            code => {
                self.unanswered();
                return Err(Error::code(doing, self.options.group_id.as_str(), code));
            }
        }
        Ok(())
    }

    /// Returns a heartbeat, where one is due.
    fn beat(&mut self, now: Instant) -> Option<Step> {
        let due = self.due.unwrap_or(now);
        (due <= now).then(|| Step::Send(self.heartbeat()))
    }

    fn wait(&self, now: Instant, describe: BTreeSet<String>) -> Step {
        let next = self.due.filter(|due| *due > now).unwrap_or(now + self.options.heartbeat_interval);
        let ends = self.session.map(|session| session.possible_until);
        let until = [ends, self.release_by()].into_iter().flatten().fold(next, Instant::min);
        Step::Wait { until, describe }
    }

    fn poll_leaving(&mut self) -> Option<Step> {
        if !self.leaving || !self.holdings.owned().is_empty() {
            return None;
        }
        let (was_member, is_static) = (!self.member_id.is_empty(), self.options.instance_id.is_some());
        self.phase = Phase::Left;
        self.session = None;
        if self.is_member() {
            self.holdings.tell(Event::Identity(None));
        }
        // A static member comes back to what it had: nobody is told that it goes.
        Some(if was_member && !is_static { Step::Send(self.leave_request()) } else { Step::Left })
    }
}

impl Membership for Classic {
    fn poll(&mut self, now: Instant) -> Step {
        if self.phase == Phase::Left {
            return Step::Left;
        }
        if self.session.is_some_and(|session| now >= session.possible_until) {
            self.expelled(RebalanceCause::Expired, false);
        }
        if self.release_by().is_some_and(|by| now >= by) {
            self.holdings.tell(Event::Rebalance(RebalanceCause::NotReleased));
            self.holdings.lose_releasing();
            self.after_release();
        }
        if let Some(step) = self.poll_leaving() {
            return step;
        }
        match &self.phase {
            // What is being given up is finished under the old generation, which heartbeats keep.
            Phase::Unjoined if self.holdings.is_releasing() && self.is_member() => {
                self.beat(now).unwrap_or_else(|| self.wait(now, BTreeSet::new()))
            }
            Phase::Unjoined if self.topic.is_none() => self.wait(now, BTreeSet::from([self.options.topic.clone()])),
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
        match (response, code) {
            // Once: the id is to be used, not asked for again.
            (Response::Join(response), Some(ResponseError::MemberIdRequired))
                if self.member_id.is_empty() && !response.member_id.is_empty() =>
            {
                self.member_id = response.member_id.to_string();
                self.unanswered();
                Ok(())
            }
            (Response::Join(response), None) => self.joined(&response, sent, now),
            (Response::Sync(response), None) => self.synced(&response, sent, now),
            (Response::Heartbeat(_), None) => {
                self.counted(sent, sent);
                self.quiet_since = Some(sent);
                self.due = Some(sent + self.options.heartbeat_interval);
                Ok(())
            }
            (Response::Heartbeat(_), Some(ResponseError::RebalanceInProgress)) => {
                self.counted(sent, sent);
                self.due = Some(sent + self.options.heartbeat_interval);
                // Once is enough: while it gives up partitions each heartbeat hears the same.
                if self.phase == Phase::Stable {
                    self.rejoin(now);
                }
                Ok(())
            }
            (Response::Join(_), Some(code)) => self.refused(code, "join group", now),
            (Response::Sync(_), Some(code)) => {
                self.phase = Phase::Unjoined;
                self.refused(code, "take the part in group", now)
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
        if let Some(Some(found)) = topics.get(&self.options.topic) {
            self.note_topic(*found);
        }
        match &self.phase {
            Phase::Sharing(members) => {
                let wanted: BTreeSet<_> = members.values().flat_map(|member| &member.subscription.topics).collect();
                if !wanted.iter().all(|name| topics.contains_key(*name)) {
                    return;
                }
                let count = |name: &String| Some((name.clone(), topics.get(name)?.as_ref()?.partitions.max(0)));
                let counts = wanted.into_iter().filter_map(count).collect();
                let members = members.clone();
                self.share(&members, counts);
            }
            Phase::Stable if self.leads && !self.leaving => {
                let name = &self.options.topic;
                let Some(found) = topics.get(name) else { return };
                let found: BTreeMap<_, _> = found.iter().map(|found| (name.clone(), found.partitions.max(0))).collect();
                match &self.shared {
                    // Shared by another, of another client, before this static member came back.
                    None => self.shared = Some(found),
                    Some(shared) if shared.get(name) != found.get(name) => {
                        self.holdings.tell(Event::Rebalance(RebalanceCause::TopicChanged));
                        self.rejoin(now);
                    }
                    Some(_) => {}
                }
            }
            _ => {}
        }
    }

    fn released(&mut self, partitions: &BTreeSet<i32>) {
        if self.holdings.released(partitions) && !self.holdings.is_releasing() {
            self.after_release();
        }
    }

    fn leave(&mut self) {
        if !self.leaving {
            self.leaving = true;
            self.releasing_since = None; // from here on the shutdown's deadline counts
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
        // What it does not hear of, be it that nothing comes through, may be a rebalance that goes
        // on without it.
        let missed = self.quiet_since? + self.options.rebalance_timeout;
        Some(self.session?.certain_until.min(missed))
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
