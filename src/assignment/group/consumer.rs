//! The protocol of KIP-848: the coordinator assigns, and tells each member in the answers to its
//! heartbeats what to take and what to give up. Nobody stops for the others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::consumer_group_heartbeat_response::Assignment;
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, GroupId, TopicName};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;
use tracing::warn;
use uuid::Uuid;

use super::member::{Cause, Described, Event, Holdings, Membership, Request, Response, Settings, Step};
use crate::broker::Error;
use crate::broker::wire::Identity;
use crate::record::TopicId;

/// The epochs that join and leave.
const JOIN: i32 = 0;
const LEAVE: i32 = -1;
const LEAVE_FOR_NOW: i32 = -2; // a static member, which comes back

/// A member by KIP-848.
#[derive(Debug)]
pub struct Consumer {
    settings: Settings,
    member_id: String,
    /// The member's epoch; [`JOIN`] while it is none.
    epoch: i32,
    holdings: Holdings,
    /// The topic's id as the brokers last described it.
    topic_id: Option<TopicId>,
    /// The id of the topic that the holdings are of.
    held_id: Option<TopicId>,
    /// The assignment as last told, until it is reached.
    target: Option<Vec<(TopicId, BTreeSet<i32>)>>,
    /// Set while the target names a topic that is not described yet.
    describe: bool,
    /// What the coordinator was last told of the holdings.
    acknowledged: Option<BTreeSet<i32>>,
    /// What the request under way tells of them.
    telling: Option<BTreeSet<i32>>,
    /// Whether the next heartbeat says everything: the coordinator may have missed the last.
    full: bool,
    due: Option<Instant>,
    interval: Duration,
    lease: Option<Instant>,
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
    pub fn new(settings: Settings) -> Self {
        let interval = settings.heartbeat_interval;
        Self {
            settings,
            member_id: new_member_id(),
            epoch: JOIN,
            holdings: Holdings::default(),
            topic_id: None,
            held_id: None,
            target: None,
            describe: false,
            acknowledged: None,
            telling: None,
            full: true,
            due: None,
            interval,
            lease: None,
            leaving: Leaving::No,
        }
    }

    fn heartbeat(&mut self) -> Request {
        let joining = self.epoch == JOIN;
        let group_id = GroupId(text(&self.settings.group_id));
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(group_id)
            .with_member_id(text(&self.member_id))
            .with_member_epoch(self.epoch)
            .with_instance_id(self.settings.instance_id.as_deref().map(text));
        let request = if joining || self.full {
            let timeout = i32::try_from(self.settings.rebalance_timeout.as_millis()).unwrap_or(i32::MAX);
            request
                .with_rebalance_timeout_ms(timeout)
                .with_subscribed_topic_names(Some(vec![TopicName(text(&self.settings.topic))]))
                .with_server_assignor(self.settings.server_assignor.as_deref().map(text))
        } else {
            request
        };
        // While partitions are being given up the coordinator goes by what it was told last.
        let owned = if joining { BTreeSet::new() } else { self.holdings.owned().clone() };
        let untold = !self.holdings.is_releasing() && self.acknowledged.as_ref() != Some(&owned);
        if !(joining || self.full || untold) {
            return Request::ConsumerHeartbeat(request);
        }
        let topic = self.held_id.filter(|_| !owned.is_empty()).map(|id| {
            let partitions = owned.iter().copied().collect();
            TopicPartitions::default().with_topic_id(Uuid::from_bytes(id.0)).with_partitions(partitions)
        });
        self.telling = Some(owned);
        Request::ConsumerHeartbeat(request.with_topic_partitions(Some(topic.into_iter().collect())))
    }

    fn leave_request(&self) -> Request {
        let epoch = if self.settings.instance_id.is_some() { LEAVE_FOR_NOW } else { LEAVE };
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(text(&self.settings.group_id)))
            .with_member_id(text(&self.member_id))
            .with_instance_id(self.settings.instance_id.as_deref().map(text))
            .with_member_epoch(epoch);
        Request::ConsumerHeartbeat(request)
    }

    fn accept(&mut self, response: &ConsumerGroupHeartbeatResponse, sent: Instant) {
        if let Some(member_id) = response.member_id.as_ref().filter(|id| !id.is_empty()) {
            self.member_id = member_id.to_string();
        }
        if response.member_epoch != self.epoch {
            let cause = if self.epoch == JOIN { Cause::Joined } else { Cause::MembersChanged };
            self.epoch = response.member_epoch;
            self.holdings.tell(Event::Rebalance(cause));
            let identity = Identity {
                member_id: self.member_id.clone(),
                generation_or_epoch: self.epoch,
                instance_id: self.settings.instance_id.clone(),
            };
            self.holdings.tell(Event::Identity(Some(identity)));
        }
        if let Ok(interval @ 1..) = u64::try_from(response.heartbeat_interval_ms) {
            self.interval = Duration::from_millis(interval);
        }
        self.full = false;
        self.acknowledged = self.telling.take().or(self.acknowledged.take());
        self.due = Some(sent + self.interval);
        self.lease = Some(sent + self.settings.session_timeout);
        if let Some(assignment) = &response.assignment {
            self.target = Some(target(assignment));
        }
        self.reconcile();
    }

    /// Takes the next step from the holdings to the target: first what is to be given up, and once
    /// that is finished the rest.
    fn reconcile(&mut self) {
        if self.leaving != Leaving::No || self.holdings.is_releasing() {
            return;
        }
        let Some(target) = self.target.take() else { return };
        let of_topic = target.iter().find(|(id, _)| Some(*id) == self.topic_id);
        if of_topic.is_none() && !target.is_empty() {
            // Of a topic that is new, or was made anew since it was described.
            self.describe = true;
            self.target = Some(target);
            return;
        }
        let wanted = of_topic.map(|(_, partitions)| partitions.clone()).unwrap_or_default();
        if self.held_id != self.topic_id {
            if !self.holdings.owned().is_empty() {
                self.holdings.tell(Event::Rebalance(Cause::TopicChanged));
                self.holdings.lose_all(); // with the log they are of
            }
            self.held_id = self.topic_id;
        }
        if self.holdings.keep_only(&wanted) {
            self.target = Some(target);
            return;
        }
        self.holdings.assign(&wanted);
        if self.acknowledged.as_ref() != Some(self.holdings.owned()) {
            self.due = None; // at once: others may wait for what was given up
        }
    }

    /// The coordinator does not count this member in any more: everything is lost, and begins anew.
    fn expelled(&mut self, cause: Cause) {
        self.holdings.tell(Event::Rebalance(cause));
        self.holdings.tell(Event::Identity(None));
        self.holdings.lose_all();
        self.epoch = JOIN;
        self.target = None;
        self.acknowledged = None;
        self.full = true;
        self.due = None;
        self.lease = None;
    }

    fn has_expired(&self, now: Instant) -> bool {
        self.lease.is_some_and(|lease| now >= lease)
    }
}

impl Membership for Consumer {
    fn poll(&mut self, now: Instant) -> Step {
        if self.has_expired(now) {
            self.expelled(Cause::Expired);
        }
        match self.leaving {
            Leaving::No => {}
            Leaving::Draining if self.holdings.owned().is_empty() => {
                if self.epoch == JOIN {
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
            return Step::Send(self.heartbeat());
        }
        let describe = self.describe.then(|| self.settings.topic.clone()).into_iter().collect();
        Step::Wait { until: self.lease.map_or(due, |lease| lease.min(due)), describe }
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
            None => {
                self.accept(&response, sent);
                Ok(())
            }
            Some(Code::UnknownMemberId | Code::FencedMemberEpoch) => {
                self.expelled(Cause::Expelled);
                self.pause(now + self.interval / 10);
                Ok(())
            }
            Some(Code::FencedInstanceId) => {
                self.expelled(Cause::Expelled);
                self.holdings.tell(Event::Failed(fenced_instance(&self.settings)));
                self.leaving = Leaving::Left;
                Ok(())
            }
            Some(code) => {
                self.unanswered();
                Err(Error::code("heartbeat to the coordinator of group", self.settings.group_id.as_str(), code))
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
        let Some(Some(topic)) = topics.get(&self.settings.topic) else { return };
        self.describe = false;
        self.topic_id = topic.id.or(self.topic_id);
        self.reconcile();
    }

    fn released(&mut self, partitions: &BTreeSet<i32>) {
        self.holdings.released(partitions);
        self.reconcile();
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
        self.lease
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

/// What ends a member whose instance id another has taken.
pub(super) fn fenced_instance(settings: &Settings) -> String {
    let instance = settings.instance_id.as_deref().unwrap_or_default();
    format!(
        "another member of group {} has joined as group.instance_id = {instance:?}: give each instance an id of its own",
        settings.group_id
    )
}

fn target(assignment: &Assignment) -> Vec<(TopicId, BTreeSet<i32>)> {
    let topics = assignment.topic_partitions.iter();
    let topics = topics.filter(|topic| !topic.partitions.is_empty());
    let topics: Vec<_> =
        topics.map(|topic| (TopicId(*topic.topic_id.as_bytes()), topic.partitions.iter().copied().collect())).collect();
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

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
