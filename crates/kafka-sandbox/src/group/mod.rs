//! Consumer groups: their coordinators, members and offsets.
//!
//! ```text
//! api ── ticket ──► Groups ──► classic (pure) ── ticket, reply ──► whoever holds the ticket
//!                     │ ▲
//!                     │ clock, whenever a session or a rebalance runs out
//!                     └──► consumer (pure, KIP-848) ── response, at once
//! ```
//!
//! The two machines know no clock and no socket: a simulation of members drives them as the sandbox does. A group has
//! members by one protocol at a time, as with `group.consumer.migration.policy=disabled`.

pub mod classic;
mod clock;
pub mod consumer;
pub mod member;
mod membership;
mod offsets;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

pub(super) use clock::run as keep_time;
pub use offsets::CommittedOffset;

use crate::error_codes;
use crate::placement::Placement;
use classic::{ClassicGroup, ClassicGroupState};
use consumer::{ConsumerGroup, ConsumerGroupOptions};
use member::{Claim, Join, Reply, Ticket};
use offsets::Offsets;

/// The time that a group that was empty waits for more members; Kafka's default is three seconds.
pub(super) const INITIAL_REBALANCE_DELAY: Duration = Duration::from_millis(100);

/// A group as a test sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    /// By Kafka's names: `Empty`, `Stable`, while a classic group rebalances `PreparingRebalance` or
    /// `CompletingRebalance`, and a group of the consumer protocol `Assigning` or `Reconciling`.
    pub state: &'static str,
    /// Counts its rebalances: the generation of a classic group, the epoch of one by the consumer protocol.
    pub generation: i32,
    /// Its members' ids.
    pub members: Vec<String>,
}

/// All groups.
#[derive(Debug)]
pub(super) struct Groups {
    pub initial_delay: Duration,
    /// Settings of the consumer protocol, where the cluster has it.
    pub consumer_protocol: Option<ConsumerGroupOptions>,
    groups: BTreeMap<String, Entry>,
    /// Requests that wait for their answers.
    held: BTreeMap<Ticket, oneshot::Sender<Reply>>,
    last_ticket: Ticket,
    last_member: u64,
    /// Told when a deadline may have changed.
    changed: Arc<Notify>,
}

/// A group, and where it is kept.
#[derive(Debug)]
pub(super) struct Entry {
    pub machine: ClassicGroup,
    pub consumer: ConsumerGroup,
    pub offsets: Offsets,
    pub placement: Placement,
}

impl Groups {
    pub(crate) fn new() -> Self {
        Self {
            initial_delay: INITIAL_REBALANCE_DELAY,
            consumer_protocol: None,
            groups: BTreeMap::new(),
            held: BTreeMap::new(),
            last_ticket: 0,
            last_member: 0,
            changed: Arc::default(),
        }
    }

    /// The group of that id, made where there is none.
    fn entry(&mut self, group: &str) -> &mut Entry {
        let (delay, options) = (self.initial_delay, self.consumer_protocol.unwrap_or_default());
        self.groups.entry(group.to_owned()).or_insert_with(|| Entry {
            machine: ClassicGroup::new(delay, Instant::now()),
            consumer: ConsumerGroup::new(options),
            offsets: Offsets::default(),
            placement: Placement::default(),
        })
    }

    /// The offsets, and who keeps them; no members.
    pub(crate) fn frozen(&self) -> Self {
        let (initial_delay, consumer_protocol) = (self.initial_delay, self.consumer_protocol);
        let mut frozen = Self { initial_delay, consumer_protocol, ..Self::new() };
        for (id, entry) in &self.groups {
            let copy = frozen.entry(id);
            (copy.offsets, copy.placement) = (entry.offsets.clone(), entry.placement);
        }
        frozen
    }

    pub(crate) fn find(&self, group: &str) -> Option<&Entry> {
        self.groups.get(group)
    }

    pub(crate) fn placement(&self, group: &str) -> Placement {
        self.find(group).map(|entry| entry.placement).unwrap_or_default()
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        self.groups.keys().cloned().collect()
    }

    /// A ticket for a request that may be held back, and where its answer will be. What ends without
    /// one is never answered.
    pub(crate) fn ticket(&mut self) -> (Ticket, oneshot::Receiver<Reply>) {
        let (sender, receiver) = oneshot::channel();
        self.last_ticket += 1;
        self.held.insert(self.last_ticket, sender);
        (self.last_ticket, receiver)
    }

    /// An id for a new member, as Kafka makes them, but counted.
    pub(crate) fn member_id(&mut self, name: &str) -> String {
        self.last_member += 1;
        format!("{name}-{:08}", self.last_member)
    }

    /// Lets time pass in a group, does something to it, and hands out the answers that are due.
    pub(crate) fn with<T>(&mut self, group: &str, work: impl FnOnce(&mut Entry, Instant) -> T) -> T {
        self.apply(group, |entry, now| {
            entry.machine.tick(now);
            entry.consumer.tick(now);
            work(entry, now)
        })
    }

    /// Lets a coordinator begin with what is written down: the time without one ends no session.
    pub(crate) fn reload(&mut self, group: &str, change: impl FnOnce(&mut Entry)) {
        self.apply(group, |entry, now| {
            change(entry);
            entry.machine.reload(now);
            entry.consumer.reload(now);
        });
    }

    fn apply<T>(&mut self, group: &str, work: impl FnOnce(&mut Entry, Instant) -> T) -> T {
        let entry = self.entry(group);
        let done = work(entry, Instant::now());
        let mut due = Vec::new();
        while let Some(reply) = entry.machine.poll_reply() {
            due.push(reply);
        }
        for (ticket, reply) in due {
            let holder = self.held.remove(&ticket);
            if let Some(holder) = holder.filter(|_| reply != Reply::Superseded) {
                let _ = holder.send(reply); // a connection that has closed wants no answer
            }
        }
        self.changed.notify_one();
        done
    }

    /// A topic is gone, and the offsets committed for it.
    pub(crate) fn forget_topic(&mut self, topic: &str) {
        self.groups.values_mut().for_each(|entry| entry.offsets.forget(topic));
    }
}

impl Entry {
    /// Returns whether it is a group of the consumer protocol: its members, or the last ones, were of that.
    pub(crate) fn is_of_consumers(&self) -> bool {
        self.consumer.exists() && self.machine.state() == ClassicGroupState::Empty
    }

    /// Lets a member join by the classic protocol: what was an empty group of the other is one of this.
    pub(crate) fn handle_join(&mut self, ticket: Ticket, join: Join, now: Instant) {
        self.consumer.forget();
        self.machine.handle_join(ticket, join, now);
    }

    /// The next time that something is to be done though nobody asks.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        [self.machine.deadline(), self.consumer.deadline()].into_iter().flatten().min()
    }

    /// Checks whether an offset is taken of whoever commits it, by the protocol of the group's members.
    ///
    /// # Errors
    /// The code to answer with.
    pub(crate) fn handle_commit(&mut self, claim: &Claim, now: Instant) -> Result<(), i16> {
        if self.consumer.members().is_empty() {
            return self.machine.handle_commit(claim, now);
        }
        self.consumer.handle_commit(&claim.member_id, claim.generation)
    }

    /// As [`Entry::handle_commit`], within a transaction; as nobody, from anybody. It counts for no heartbeat.
    ///
    /// # Errors
    /// The code to answer with.
    pub(crate) fn handle_transactional_commit(&self, claim: &Claim) -> Result<(), i16> {
        let claims = claim.generation >= 0 || !claim.member_id.is_empty() || claim.instance_id.is_some();
        if !claims {
            return Ok(());
        }
        if self.consumer.members().is_empty() {
            return self.machine.handle_transactional_commit(claim);
        }
        let taken = self.consumer.handle_commit(&claim.member_id, claim.generation);
        // Producers know no epochs of members.
        taken.map_err(
            |code| if code == error_codes::STALE_MEMBER_EPOCH { error_codes::ILLEGAL_GENERATION } else { code },
        )
    }

    pub(crate) fn describe(&self) -> GroupDescription {
        if self.is_of_consumers() {
            return GroupDescription {
                state: self.consumer.state().as_str(),
                generation: self.consumer.epoch(),
                members: self.consumer.members().keys().cloned().collect(),
            };
        }
        let membership = self.machine.membership();
        GroupDescription {
            state: self.machine.state().as_str(),
            generation: membership.generation,
            members: membership.members.keys().cloned().collect(),
        }
    }
}
