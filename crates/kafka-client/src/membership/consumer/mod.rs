//! The protocol of KIP-848: the coordinator assigns, and tells each member in the answers to its
//! heartbeats what to take and what to give up. Nobody stops for the others.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::consumer_group_heartbeat_response::Assignment;
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, GroupId, TopicName};
use kafka_records::topic::TopicId;
use tokio::time::Instant;
use tracing::warn;
use uuid::Uuid;

use super::holdings::Holdings;
use super::member::{Described, Event, Membership, RebalanceCause, Step};
use super::options::MemberOptions;
use super::request::{Request, Response};
use crate::{Cause, Error, Identity, text};

/// The epochs that join and leave.
const JOIN: i32 = 0;
const LEAVE: i32 = -1;
const LEAVE_FOR_NOW: i32 = -2; // a static member, which comes back

const HEARTBEAT: &str = "heartbeat to the coordinator of group";

/// Heartbeats are no closer than this, whatever a broker asks for.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// A member by KIP-848.
#[derive(Debug)]
pub struct Consumer {
    options: MemberOptions,
    member_id: String,
    /// The member's epoch; [`JOIN`] while it is none.
    epoch: i32,
    /// Set once others know by which identity to commit.
    identified: bool,
    holdings: Holdings,
    /// The topic's id as the brokers last described it, which the holdings are of.
    topic_id: Option<TopicId>,
    /// The assignment as last told, until it is reached.
    target: Option<Vec<(TopicId, BTreeSet<i32>)>>,
    /// Set while the target names a topic that is not described yet.
    describe: bool,
    /// The holdings as the coordinator was last told them.
    acknowledged: Option<BTreeSet<i32>>,
    /// The holdings as the request under way tells them.
    telling: Option<BTreeSet<i32>>,
    /// Set where the next heartbeat says everything: the coordinator may have missed the last.
    full: bool,
    due: Option<Instant>,
    interval: Duration,
    /// The time at which the first request was sent that has had no answer since the last answer: the
    /// coordinator may have taken it, and have told in vain what is to be given up.
    asked: Option<Instant>,
    session_until: Option<Instant>,
    /// The time by which the coordinator must hear that what is revoked is given up, or it expels this
    /// member, whatever else it holds.
    revoke_by: Option<Instant>,
    leaving: Leaving,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    No,
    Draining,
    Told,
    Left,
}

impl Consumer {
    /// A member that has not joined yet.
    pub fn new(options: MemberOptions) -> Self {
        let interval = options.heartbeat_interval;
        Self {
            options,
            member_id: new_member_id(),
            epoch: JOIN,
            identified: false,
            holdings: Holdings::default(),
            topic_id: None,
            target: None,
            describe: false,
            acknowledged: None,
            telling: None,
            full: true,
            due: None,
            interval,
            asked: None,
            session_until: None,
            revoke_by: None,
            leaving: Leaving::No,
        }
    }

    fn heartbeat(&mut self) -> Request {
        let joining = self.epoch == JOIN;
        let group_id = GroupId(text(&self.options.group_id));
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(group_id)
            .with_member_id(text(&self.member_id))
            .with_member_epoch(self.epoch)
            .with_instance_id(self.options.instance_id.as_deref().map(text));
        let full = std::mem::take(&mut self.full) || joining;
        let request = if full {
            let timeout = i32::try_from(self.options.rebalance_timeout.as_millis()).unwrap_or(i32::MAX);
            request
                .with_rebalance_timeout_ms(timeout)
                .with_subscribed_topic_names(Some(vec![TopicName(text(&self.options.topic))]))
                .with_server_assignor(self.options.server_assignor.as_deref().map(text))
        } else {
            request
        };
        let owned = if joining { BTreeSet::new() } else { self.holdings.owned().clone() };
        let untold = self.acknowledged.as_ref() != Some(&owned);
        if !full && !untold {
            return Request::ConsumerHeartbeat(request);
        }
        let topic = self.topic_id.filter(|_| !owned.is_empty()).map(|id| {
            let partitions = owned.iter().copied().collect();
            TopicPartitions::default().with_topic_id(Uuid::from_bytes(id.0)).with_partitions(partitions)
        });
        self.telling = Some(owned);
        Request::ConsumerHeartbeat(request.with_topic_partitions(Some(topic.into_iter().collect())))
    }

    fn leave_request(&self) -> Request {
        let epoch = if self.options.instance_id.is_some() { LEAVE_FOR_NOW } else { LEAVE };
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(text(&self.options.group_id)))
            .with_member_id(text(&self.member_id))
            .with_instance_id(self.options.instance_id.as_deref().map(text))
            .with_member_epoch(epoch);
        Request::ConsumerHeartbeat(request)
    }

    /// # Errors
    /// The answer can't be one.
    fn accept(&mut self, response: &ConsumerGroupHeartbeatResponse, sent: Instant) -> Result<(), Error> {
        if response.member_epoch <= JOIN {
            self.unanswered();
            let cause = Cause::Undecodable(format!("member epoch {}", response.member_epoch));
            return Err(Error { doing: HEARTBEAT, on: self.options.group_id.clone(), cause });
        }
        if let Some(member_id) = response.member_id.as_ref().filter(|id| !id.is_empty()) {
            self.identified &= member_id.as_str() == self.member_id;
            self.member_id = member_id.to_string();
        }
        if response.member_epoch != self.epoch {
            let cause = if self.epoch == JOIN { RebalanceCause::Joined } else { RebalanceCause::MembersChanged };
            self.epoch = response.member_epoch;
            self.identified = false;
            self.holdings.tell(Event::Rebalance(cause));
        }
        self.identify();
        if let Ok(interval @ 1..) = u64::try_from(response.heartbeat_interval_ms) {
            // What would flood the coordinator, or outlast the session, is a mistake of the broker's.
            let longest = (self.options.session_timeout / 2).max(SHORTEST_INTERVAL);
            self.interval = Duration::from_millis(interval).clamp(SHORTEST_INTERVAL, longest);
        }
        let asked = self.asked.take().unwrap_or(sent);
        self.session_until = Some(sent + self.options.session_timeout);
        self.due = Some(sent + self.interval);
        if let Some(told) = self.telling.take() {
            if !self.holdings.is_releasing() && told == *self.holdings.owned() {
                self.revoke_by = None;
            }
            self.acknowledged = Some(told);
        }
        if let Some(assignment) = &response.assignment {
            self.target = Some(target(assignment));
        }
        self.reconcile();
        if self.holdings.is_releasing() && (self.leaving == Leaving::No || self.is_wanted_by_others()) {
            self.revoke_by.get_or_insert(asked + self.options.rebalance_timeout);
        }
        Ok(())
    }

    /// Returns, while leaving, whether the coordinator waits for something of what is given up.
    fn is_wanted_by_others(&self) -> bool {
        self.target.as_ref().is_some_and(|target| {
            let of_topic = target.iter().find(|(id, _)| Some(*id) == self.topic_id);
            of_topic.is_none_or(|(_, left)| !self.holdings.owned().is_subset(left))
        })
    }

    fn identify(&mut self) {
        if !std::mem::replace(&mut self.identified, true) {
            let identity = Identity {
                member_id: self.member_id.clone(),
                generation_or_epoch: self.epoch,
                instance_id: self.options.instance_id.clone(),
            };
            self.holdings.tell(Event::Identity(Some(identity)));
        }
    }

    fn unidentify(&mut self) {
        if std::mem::take(&mut self.identified) {
            self.holdings.tell(Event::Identity(None));
        }
    }

    /// Takes the next step from the holdings to the target: first what is to be given up, and once
    /// that is finished the rest.
    fn reconcile(&mut self) {
        if self.leaving != Leaving::No || self.holdings.is_releasing() {
            return;
        }
        if let Some(target) = self.target.take() {
            let of_topic = target.iter().find(|(id, _)| Some(*id) == self.topic_id);
            if of_topic.is_none() && !target.is_empty() {
                // Of a topic that is new, or was recreated since it was described.
                self.describe = true;
                self.target = Some(target);
                return;
            }
            let wanted = of_topic.map(|(_, partitions)| partitions.clone()).unwrap_or_default();
            if self.holdings.keep_only(&wanted) {
                self.target = Some(target);
            } else {
                self.holdings.assign(&wanted);
            }
        }
        let untold = self.acknowledged.as_ref() != Some(self.holdings.owned());
        if untold && self.session_until.is_some() {
            self.due = None; // at once: others may wait for what was given up
        }
    }

    /// Counts everything as lost, since it is no longer certain that the coordinator counts this member in. The
    /// coordinator says whether it does, and then assigns again.
    fn lapsed(&mut self, cause: RebalanceCause) {
        self.holdings.tell(Event::Rebalance(cause));
        self.unidentify();
        self.holdings.lose_all();
        self.target = None;
        self.describe = false;
        self.acknowledged = None;
        self.telling = None;
        self.full = true;
        self.due = None;
        self.session_until = None;
        self.revoke_by = None;
    }

    /// Begins again, since the coordinator does not count this member in any more: everything is lost.
    fn expelled(&mut self) {
        self.lapsed(RebalanceCause::Expelled);
        self.epoch = JOIN;
        self.asked = None;
    }
}

impl Membership for Consumer {
    fn poll(&mut self, now: Instant) -> Step {
        if self.session_until.is_some_and(|until| now >= until) {
            self.lapsed(RebalanceCause::Expired);
        } else if self.revoke_by.is_some_and(|by| now >= by) {
            self.lapsed(RebalanceCause::NotReleased);
        }
        match self.leaving {
            Leaving::No => {}
            Leaving::Draining if self.holdings.owned().is_empty() => {
                self.unidentify();
                self.session_until = None;
                self.revoke_by = None;
                // One that asked to join without hearing may have joined.
                if self.epoch == JOIN && self.asked.is_none() {
                    self.leaving = Leaving::Left;
                    return Step::Left;
                }
                self.leaving = Leaving::Told;
                return Step::Send(self.leave_request());
            }
            Leaving::Draining => {}
            Leaving::Told | Leaving::Left => {
                self.leaving = Leaving::Left;
                return Step::Left;
            }
        }
        let due = self.due.unwrap_or(now);
        if due <= now {
            self.asked.get_or_insert(now);
            return Step::Send(self.heartbeat());
        }
        let describe = self.describe.then(|| self.options.topic.clone()).into_iter().collect();
        Step::Wait {
            until: [self.session_until, self.revoke_by].into_iter().flatten().fold(due, Instant::min),
            describe,
        }
    }

    fn answered(&mut self, response: Response, sent: Instant, now: Instant) -> Result<(), Error> {
        use ResponseError as Code;
        let Response::ConsumerHeartbeat(response) = response else {
            self.unanswered();
            return Ok(());
        };
        if self.leaving == Leaving::Told {
            self.leaving = Leaving::Left; // whatever it said
            return Ok(());
        }
        match ResponseError::try_from_code(response.error_code) {
            None => self.accept(&response, sent),
            Some(Code::UnknownMemberId | Code::FencedMemberEpoch) => {
                self.expelled();
                self.pause(now + self.interval / 10);
                Ok(())
            }
            // An empty group is forgotten some day: only a member that joins can be told why not.
            Some(Code::GroupIdNotFound) if self.epoch != JOIN => {
                self.expelled();
                self.pause(now + self.interval / 10);
                Ok(())
            }
            Some(Code::FencedInstanceId) => {
                self.expelled();
                self.holdings.tell(Event::Fenced);
                self.leaving = Leaving::Left;
                Ok(())
            }
            Some(code) => {
                self.unanswered();
                Err(Error::code(HEARTBEAT, self.options.group_id.as_str(), code))
            }
        }
    }

    fn unanswered(&mut self) {
        self.telling = None;
        self.full = true;
        self.due = None;
    }

    fn pause(&mut self, until: Instant) {
        self.due = Some(until);
    }

    fn described(&mut self, topics: &BTreeMap<String, Option<Described>>, _: Instant) {
        let Some(Some(topic)) = topics.get(&self.options.topic) else { return };
        self.describe = false;
        let before = self.topic_id;
        self.topic_id = topic.id.or(before);
        if before != self.topic_id && !self.holdings.owned().is_empty() {
            // Lost with the log that they are of. Should the coordinator have told already what
            // comes instead, it is asked to say it again.
            self.holdings.tell(Event::Rebalance(RebalanceCause::TopicChanged));
            self.holdings.lose_all();
            self.full = true;
            self.due = None;
        }
        if self.target.is_some() {
            self.reconcile();
        }
    }

    fn released(&mut self, partitions: &BTreeSet<i32>) {
        if self.holdings.released(partitions) {
            self.reconcile();
        }
    }

    fn leave(&mut self) {
        if self.leaving == Leaving::No {
            self.leaving = Leaving::Draining;
            self.holdings.keep_only(&BTreeSet::new());
        }
    }

    fn doubt(&mut self, now: Instant) {
        self.pause(now);
    }

    fn abandons_request(&self) -> bool {
        false
    }

    fn next_event(&mut self) -> Option<Event> {
        self.holdings.next_event()
    }

    fn lease(&self) -> Option<Instant> {
        let in_vain = self.asked.map(|asked| asked + self.options.rebalance_timeout);
        let bounds = [self.revoke_by, in_vain];
        self.session_until.map(|until| bounds.into_iter().flatten().fold(until, Instant::min))
    }

    fn state(&self) -> &'static str {
        match self.leaving {
            Leaving::No if self.epoch == JOIN => "joining",
            Leaving::No if self.holdings.is_releasing() || self.target.is_some() => "reconciling",
            Leaving::No => "stable",
            Leaving::Draining | Leaving::Told => "leaving",
            Leaving::Left => "left",
        }
    }

    fn owned(&self) -> &BTreeSet<i32> {
        self.holdings.owned()
    }
}

fn target(assignment: &Assignment) -> Vec<(TopicId, BTreeSet<i32>)> {
    let topics = assignment.topic_partitions.iter();
    let topics = topics.filter(|topic| !topic.partitions.is_empty());
    let partitions = |partitions: &[i32]| partitions.iter().copied().filter(|partition| *partition >= 0).collect();
    let topics: Vec<_> =
        topics.map(|topic| (TopicId(*topic.topic_id.as_bytes()), partitions(&topic.partitions))).collect();
    if topics.len() > 1 {
        warn!(topics = topics.len(), "the coordinator assigned partitions of more topics than this member reads");
    }
    topics
}

/// A random id as Kafka's clients make them.
fn new_member_id() -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..22).map(|_| char::from(DIGITS[fastrand::usize(..DIGITS.len())])).collect()
}
