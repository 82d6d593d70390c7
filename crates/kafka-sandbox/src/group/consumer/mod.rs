//! The coordinator of one group, by the consumer protocol (KIP-848). Pure: no clock, no socket; heartbeats go in, each is
//! answered at once, and time passes by `tick`.
//!
//! ```text
//!              the target has less              it owns nothing of that any more
//!   Stable ──────────────────────► Unrevoked ────────────────────────────────────┐
//!     ▲  ▲                                                                       ▼
//!     │  └───────────────────── the target is free ◄──────────────────── the target's epoch
//!     └── Unreleased ◄────────── another still has some of it ◄──────────────────┘
//! ```
//!
//! As Kafka's `GroupMetadataManager` and `CurrentAssignmentBuilder` have it: each change of members, subscriptions or
//! topics is a new epoch of the group, with a target for each member, which the member reaches by heartbeats of its own.
//! All that was answered is written down before: a coordinator that takes over knows all but when members were heard.
//! It lacks subscriptions by a pattern, racks, the assignor `range`, and members that move from the classic protocol one by
//! one (`group.consumer.migration.policy`).

mod assignor;
#[cfg(test)]
mod tests;
mod topics;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka_protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;
use uuid::Uuid;

use crate::error_codes;
use assignor::Target;

/// The name of the one assignor that there is.
pub use assignor::UNIFORM;
pub use topics::{Partition, TopicMetadata, Topics};

/// The epochs in a request that leave the group: for good, and, for a static member, for now.
const LEAVE: i32 = -1;
const LEAVE_FOR_NOW: i32 = -2;

/// Settings of all groups of the consumer protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsumerGroupOptions {
    /// A member that is not heard for this long is expelled (`group.consumer.session.timeout.ms`).
    pub session_timeout: Duration,
    /// The interval of heartbeats that members are told (`group.consumer.heartbeat.interval.ms`).
    pub heartbeat_interval: Duration,
}

/// Kafka's defaults.
impl Default for ConsumerGroupOptions {
    fn default() -> Self {
        Self { session_timeout: Duration::from_secs(45), heartbeat_interval: Duration::from_secs(5) }
    }
}

/// A group's state, by Kafka's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsumerGroupState {
    /// It has no members.
    Empty,
    /// Members have changed, and the next heartbeat computes who is to have what.
    Assigning,
    /// Some member has not reached its target.
    Reconciling,
    /// Every member has what it is to have.
    Stable,
}

impl ConsumerGroupState {
    /// The name in Kafka.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
        }
    }
}

/// One group.
#[derive(Debug)]
pub struct ConsumerGroup {
    options: ConsumerGroupOptions,
    /// The group's epoch; 0 before it has had a member.
    epoch: i32,
    /// The epoch of the targets.
    assignment_epoch: i32,
    /// The topics that members subscribe to, as of the epoch.
    topics: Topics,
    target: Target,
    members: BTreeMap<String, ConsumerMember>,
}

/// A member as the coordinator keeps it.
#[derive(Debug, Clone)]
pub struct ConsumerMember {
    /// The id that survives restarts: the member is static.
    pub instance_id: Option<String>,
    /// The client's name for itself.
    pub client_id: String,
    /// The topics that it subscribes to.
    pub subscribed: BTreeSet<String>,
    /// The epoch that it has reached; -2 while a static member is away for now.
    pub epoch: i32,
    /// The partitions that it may work on.
    pub assigned: BTreeSet<Partition>,
    previous_epoch: i32,
    state: MemberState,
    /// The partitions that it is to give up, before it is given any.
    revoking: BTreeSet<Partition>,
    rebalance_timeout: Duration,
    expires: Instant,
    /// The time by which it has given up what it is to, or is expelled.
    revoke_by: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MemberState {
    Stable,
    Unrevoked,
    Unreleased,
}

/// The sender of a heartbeat.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// The client's name for itself.
    pub client_id: String,
    /// The id to give it where it has none.
    pub new_member_id: String,
}

impl ConsumerGroup {
    /// A group that has had no member yet.
    pub fn new(options: ConsumerGroupOptions) -> Self {
        Self {
            options,
            epoch: 0,
            assignment_epoch: 0,
            topics: Topics::new(),
            target: Target::new(),
            members: BTreeMap::new(),
        }
    }

    /// `ConsumerGroupHeartbeat`, of a cluster that has these topics.
    pub fn handle_heartbeat(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
        caller: Caller,
        topics: &Topics,
        now: Instant,
    ) -> ConsumerGroupHeartbeatResponse {
        let answer = check(request).and_then(|()| {
            if request.member_epoch < 0 { self.leave(request) } else { self.heartbeat(request, caller, topics, now) }
        });
        answer.unwrap_or_else(|code| ConsumerGroupHeartbeatResponse::default().with_error_code(code))
    }

    /// Checks whether an offset is taken of whoever commits it.
    ///
    /// # Errors
    /// The code to answer with.
    pub fn handle_commit(&self, member_id: &str, epoch: i32) -> Result<(), i16> {
        if epoch < 0 && self.members.is_empty() {
            return Ok(());
        }
        let member = self.members.get(member_id).ok_or(error_codes::UNKNOWN_MEMBER_ID)?;
        if epoch == member.epoch { Ok(()) } else { Err(error_codes::STALE_MEMBER_EPOCH) }
    }

    /// The next time that `tick` has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.members.values().flat_map(|member| [Some(member.expires), member.revoke_by]).flatten().min()
    }

    /// Lets time pass until `now`.
    pub fn tick(&mut self, now: Instant) {
        let is_gone = |member: &ConsumerMember| {
            member.expires <= now || member.revoke_by.is_some_and(|revoke_by| revoke_by <= now)
        };
        let gone: Vec<_> =
            self.members.iter().filter(|(_, member)| is_gone(member)).map(|(id, _)| id.clone()).collect();
        gone.iter().for_each(|id| self.remove(id));
    }

    /// The coordinator moves, or its node comes back: all timeouts begin again.
    pub fn reload(&mut self, now: Instant) {
        for member in self.members.values_mut() {
            member.expires = now + self.options.session_timeout;
            member.revoke_by = member.revoke_by.map(|_| now + member.rebalance_timeout);
        }
    }

    /// The state by Kafka's rules.
    pub fn state(&self) -> ConsumerGroupState {
        let reached =
            |member: &ConsumerMember| member.state == MemberState::Stable && member.epoch == self.assignment_epoch;
        if self.members.is_empty() {
            ConsumerGroupState::Empty
        } else if self.epoch > self.assignment_epoch {
            ConsumerGroupState::Assigning
        } else if self.members.values().all(reached) {
            ConsumerGroupState::Stable
        } else {
            ConsumerGroupState::Reconciling
        }
    }

    /// Returns whether it has had a member: before, there is no such group.
    pub fn exists(&self) -> bool {
        self.epoch > 0
    }

    /// The group's epoch.
    pub fn epoch(&self) -> i32 {
        self.epoch
    }

    /// The epoch that the targets are of.
    pub fn assignment_epoch(&self) -> i32 {
        self.assignment_epoch
    }

    /// The members by their ids.
    pub fn members(&self) -> &BTreeMap<String, ConsumerMember> {
        &self.members
    }

    /// The partitions that a member is to have in the end.
    pub fn target(&self, member_id: &str) -> BTreeSet<Partition> {
        self.target.get(member_id).cloned().unwrap_or_default()
    }

    /// Forgets everything: members join by the classic protocol, and there is no such group any more.
    pub fn forget(&mut self) {
        *self = Self::new(self.options);
    }

    fn heartbeat(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
        caller: Caller,
        topics: &Topics,
        now: Instant,
    ) -> Result<ConsumerGroupHeartbeatResponse, i16> {
        let joins = request.member_epoch == 0;
        if !joins && !self.exists() {
            return Err(error_codes::GROUP_ID_NOT_FOUND);
        }
        let given = request.member_id.as_str();
        let id = if given.is_empty() { caller.new_member_id.clone() } else { given.to_owned() };
        let owned = owned(request);
        self.admit(request, &id, caller, owned.as_ref(), now)?;
        let changed = self.subscribe(request, &id);
        let topics = self.subscribed(topics);
        if changed || topics != self.topics {
            self.topics = topics;
            self.epoch += 1;
        }
        if self.epoch > self.assignment_epoch {
            self.assign();
        }
        let before = self.members.get(&id).map(|member| member.assigned.clone()).unwrap_or_default();
        self.reconcile(&id, owned.as_ref(), now);
        let member = self.members.get_mut(&id).ok_or(error_codes::UNKNOWN_MEMBER_ID)?;
        member.expires = now + self.options.session_timeout;
        let says_all =
            request.rebalance_timeout_ms != -1 && request.subscribed_topic_names.is_some() && owned.is_some();
        let told = (joins || says_all || before != member.assigned).then(|| assignment(&member.assigned));
        let interval = i32::try_from(self.options.heartbeat_interval.as_millis()).unwrap_or(i32::MAX);
        Ok(ConsumerGroupHeartbeatResponse::default()
            .with_member_epoch(member.epoch)
            .with_member_id(Some(StrBytes::from_string(id)))
            .with_heartbeat_interval_ms(interval)
            .with_assignment(told))
    }

    /// Lets the member in, as a new one or one that is known.
    fn admit(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
        id: &str,
        caller: Caller,
        owned: Option<&BTreeSet<Partition>>,
        now: Instant,
    ) -> Result<(), i16> {
        let joins = request.member_epoch == 0;
        let Some(instance_id) = request.instance_id.as_deref() else {
            if !self.members.contains_key(id) {
                if !joins {
                    return Err(error_codes::UNKNOWN_MEMBER_ID);
                }
                self.add(id, None, caller, now);
            }
            return self.check_epoch(id, request.member_epoch, owned);
        };
        match (self.with_instance(instance_id), joins) {
            (None, true) => self.add(id, Some(instance_id.to_owned()), caller, now),
            (None, false) => return Err(error_codes::UNKNOWN_MEMBER_ID),
            (Some(before), true) => self.replace(&before, id, caller)?,
            (Some(before), false) if before != id => return Err(error_codes::FENCED_INSTANCE_ID),
            (Some(_), false) => self.check_epoch(id, request.member_epoch, owned)?,
        }
        Ok(())
    }

    fn add(&mut self, id: &str, instance_id: Option<String>, caller: Caller, now: Instant) {
        let member = ConsumerMember {
            instance_id,
            client_id: caller.client_id,
            subscribed: BTreeSet::new(),
            epoch: 0,
            assigned: BTreeSet::new(),
            previous_epoch: 0,
            state: MemberState::Stable,
            revoking: BTreeSet::new(),
            rebalance_timeout: Duration::ZERO,
            expires: now + self.options.session_timeout,
            revoke_by: None,
        };
        self.members.insert(id.to_owned(), member);
    }

    /// A static member is back and has what it had, if the one before has said that it is away.
    fn replace(&mut self, before: &str, id: &str, caller: Caller) -> Result<(), i16> {
        if self.members.get(before).is_none_or(|member| member.epoch != LEAVE_FOR_NOW) {
            return Err(error_codes::UNRELEASED_INSTANCE_ID);
        }
        if let Some(member) = self.members.remove(before) {
            let target = self.target.remove(before).unwrap_or_default();
            self.target.insert(id.to_owned(), target);
            let member = ConsumerMember { client_id: caller.client_id, epoch: 0, previous_epoch: 0, ..member };
            self.members.insert(id.to_owned(), member);
        }
        Ok(())
    }

    /// A member is of its epoch, or of the one before: the answer with the new one may have been lost.
    fn check_epoch(&self, id: &str, epoch: i32, owned: Option<&BTreeSet<Partition>>) -> Result<(), i16> {
        let member = self.members.get(id).ok_or(error_codes::UNKNOWN_MEMBER_ID)?;
        let is_before = epoch < member.epoch
            && epoch == member.previous_epoch
            && owned.is_some_and(|owned| owned.is_subset(&member.assigned));
        if epoch == member.epoch || is_before { Ok(()) } else { Err(error_codes::FENCED_MEMBER_EPOCH) }
    }

    /// Takes over what the member says of itself. Returns whether its topics have changed.
    fn subscribe(&mut self, request: &ConsumerGroupHeartbeatRequest, id: &str) -> bool {
        let Some(member) = self.members.get_mut(id) else { return false };
        if let Ok(ms) = u64::try_from(request.rebalance_timeout_ms) {
            member.rebalance_timeout = Duration::from_millis(ms);
        }
        let Some(names) = &request.subscribed_topic_names else { return false };
        let names: BTreeSet<String> = names.iter().map(|name| name.to_string()).collect();
        let changed = names != member.subscribed;
        member.subscribed = names;
        changed
    }

    /// Those of the cluster's topics that somebody subscribes to.
    fn subscribed(&self, topics: &Topics) -> Topics {
        let names: BTreeSet<&String> = self.members.values().flat_map(|member| &member.subscribed).collect();
        topics.iter().filter(|(name, _)| names.contains(name)).map(|(name, topic)| (name.clone(), *topic)).collect()
    }

    fn assign(&mut self) {
        let subscribed = self.members.iter().map(|(id, member)| (id.clone(), member.subscribed.clone())).collect();
        self.target = assignor::uniform(&subscribed, &self.topics, &self.target);
        self.assignment_epoch = self.epoch;
    }

    /// Takes the member's next step towards its target.
    fn reconcile(&mut self, id: &str, owned: Option<&BTreeSet<Partition>>, now: Instant) {
        let target = self.target(id);
        let Some(member) = self.members.get(id) else { return };
        let owns = |partitions: &BTreeSet<Partition>| owned.is_none_or(|owned| !owned.is_disjoint(partitions));
        let epoch = match member.state {
            MemberState::Stable if member.epoch == self.assignment_epoch => return,
            MemberState::Unrevoked if owns(&member.revoking) => return,
            MemberState::Unrevoked => member.epoch + 1,
            MemberState::Stable | MemberState::Unreleased => member.epoch,
        };
        let held = self.members.values().flat_map(|other| other.assigned.iter().chain(&other.revoking));
        let held: BTreeSet<Partition> = held.copied().collect();
        let mut assigned: BTreeSet<Partition> = member.assigned.intersection(&target).copied().collect();
        let revoking: BTreeSet<Partition> = member.assigned.difference(&target).copied().collect();
        let wanted: Vec<Partition> = target.difference(&assigned).copied().collect();
        let Some(member) = self.members.get_mut(id) else { return };
        member.previous_epoch = member.epoch;
        // A member that has said that it owns none of it needn't give it up.
        if !revoking.is_empty() && owns(&revoking) {
            (member.epoch, member.state) = (epoch, MemberState::Unrevoked);
            (member.assigned, member.revoking) = (assigned, revoking);
            member.revoke_by = Some(now + member.rebalance_timeout);
            return;
        }
        let (free, unreleased): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|partition| !held.contains(partition));
        assigned.extend(free);
        member.epoch = self.assignment_epoch;
        member.state = if unreleased.is_empty() { MemberState::Stable } else { MemberState::Unreleased };
        (member.assigned, member.revoking, member.revoke_by) = (assigned, BTreeSet::new(), None);
    }

    fn leave(&mut self, request: &ConsumerGroupHeartbeatRequest) -> Result<ConsumerGroupHeartbeatResponse, i16> {
        if !self.exists() {
            return Err(error_codes::GROUP_ID_NOT_FOUND);
        }
        let id = request.member_id.as_str();
        if let Some(instance_id) = request.instance_id.as_deref() {
            match self.with_instance(instance_id) {
                None => return Err(error_codes::UNKNOWN_MEMBER_ID),
                Some(other) if other != id => return Err(error_codes::FENCED_INSTANCE_ID),
                Some(_) => {}
            }
        }
        let member = self.members.get_mut(id).ok_or(error_codes::UNKNOWN_MEMBER_ID)?;
        if request.member_epoch == LEAVE_FOR_NOW {
            member.epoch = LEAVE_FOR_NOW;
            member.revoking.clear();
            member.revoke_by = None;
        } else {
            self.remove(id);
        }
        let left = ConsumerGroupHeartbeatResponse::default().with_member_epoch(request.member_epoch);
        Ok(left.with_member_id(Some(request.member_id.clone())))
    }

    fn remove(&mut self, id: &str) {
        self.members.remove(id);
        self.target.remove(id);
        self.topics = self.subscribed(&self.topics);
        self.epoch += 1;
    }

    fn with_instance(&self, instance_id: &str) -> Option<String> {
        let found = self.members.iter().find(|(_, member)| member.instance_id.as_deref() == Some(instance_id));
        found.map(|(id, _)| id.clone())
    }
}

/// Checks what can be wrong with a request whoever sends it.
fn check(request: &ConsumerGroupHeartbeatRequest) -> Result<(), i16> {
    let is_empty = |text: &Option<StrBytes>| text.as_ref().is_some_and(|text| text.is_empty());
    let no_member_id = request.member_id.is_empty();
    let is_wrong = match request.member_epoch {
        1.. | LEAVE => no_member_id,
        0 => {
            let says_topics = request.subscribed_topic_names.as_ref().is_some_and(|names| !names.is_empty());
            let owns_nothing = request.topic_partitions.as_ref().is_some_and(Vec::is_empty);
            request.rebalance_timeout_ms == -1 || !says_topics || !owns_nothing
        }
        LEAVE_FOR_NOW => no_member_id || request.instance_id.is_none(),
        _ => true,
    };
    let has_pattern = request.subscribed_topic_regex.as_ref().is_some_and(|pattern| !pattern.is_empty());
    if is_wrong || has_pattern || is_empty(&request.instance_id) || is_empty(&request.rack_id) {
        return Err(error_codes::INVALID_REQUEST);
    }
    match request.server_assignor.as_deref() {
        None | Some(UNIFORM) => Ok(()),
        Some(_) => Err(error_codes::UNSUPPORTED_ASSIGNOR),
    }
}

/// The partitions that a member says it owns; `None` where nothing has changed.
fn owned(request: &ConsumerGroupHeartbeatRequest) -> Option<BTreeSet<Partition>> {
    let topics = request.topic_partitions.as_ref()?.iter();
    Some(topics.flat_map(|topic| topic.partitions.iter().map(|index| (topic.topic_id, *index))).collect())
}

fn assignment(assigned: &BTreeSet<Partition>) -> Assignment {
    let mut topics: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in assigned {
        topics.entry(*topic).or_default().push(*partition);
    }
    let topics = topics
        .into_iter()
        .map(|(topic, partitions)| TopicPartitions::default().with_topic_id(topic).with_partitions(partitions));
    Assignment::default().with_topic_partitions(topics.collect())
}
