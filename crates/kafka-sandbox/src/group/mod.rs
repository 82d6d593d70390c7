//! Consumer groups: who coordinates them, their members, their offsets.
//!
//! ```text
//! api::groups ── ticket ──► Groups ──► machine (pure) ── ticket, reply ──► whoever holds the ticket
//!                             ▲
//!                           clock, whenever a session or a rebalance runs out
//! ```

mod clock;
pub(super) mod machine;
pub(super) mod member;
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

use machine::Group;
use member::{Reply, Ticket};
use offsets::Offsets;

/// How long a group that was empty waits for more members, where Kafka's default is three seconds.
pub(super) const INITIAL_REBALANCE_DELAY: Duration = Duration::from_millis(100);

/// What a test sees of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    /// `Empty`, `PreparingRebalance`, `CompletingRebalance` or `Stable`.
    pub state: &'static str,
    /// Counts its rebalances.
    pub generation: i32,
    /// Its members' ids.
    pub members: Vec<String>,
}

/// All groups.
#[derive(Debug)]
pub(super) struct Groups {
    pub initial_delay: Duration,
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
    pub machine: Group,
    pub offsets: Offsets,
    /// Where it was moved to.
    pub moved_to: Option<i32>,
    /// Its coordinator has not read it yet.
    pub loading: bool,
}

impl Groups {
    pub fn new() -> Self {
        Self {
            initial_delay: INITIAL_REBALANCE_DELAY,
            groups: BTreeMap::new(),
            held: BTreeMap::new(),
            last_ticket: 0,
            last_member: 0,
            changed: Arc::default(),
        }
    }

    /// The group of that id, made where there is none.
    fn entry(&mut self, group: &str) -> &mut Entry {
        let delay = self.initial_delay;
        self.groups.entry(group.to_owned()).or_insert_with(|| Entry {
            machine: Group::new(delay, Instant::now()),
            offsets: Offsets::default(),
            moved_to: None,
            loading: false,
        })
    }

    /// The offsets, and who keeps them; no members.
    pub fn frozen(&self) -> Self {
        let mut frozen = Self { initial_delay: self.initial_delay, ..Self::new() };
        for (id, entry) in &self.groups {
            let copy = frozen.entry(id);
            (copy.offsets, copy.moved_to, copy.loading) = (entry.offsets.clone(), entry.moved_to, entry.loading);
        }
        frozen
    }

    pub fn find(&self, group: &str) -> Option<&Entry> {
        self.groups.get(group)
    }

    pub fn ids(&self) -> Vec<String> {
        self.groups.keys().cloned().collect()
    }

    /// A ticket for a request that may be held back, and where its answer will be. What ends without
    /// one is never answered.
    pub fn ticket(&mut self) -> (Ticket, oneshot::Receiver<Reply>) {
        let (sender, receiver) = oneshot::channel();
        self.last_ticket += 1;
        self.held.insert(self.last_ticket, sender);
        (self.last_ticket, receiver)
    }

    /// An id for a new member, as Kafka makes them, but counted.
    pub fn member_id(&mut self, name: &str) -> String {
        self.last_member += 1;
        format!("{name}-{:08}", self.last_member)
    }

    /// Lets time pass in a group, does something to it, and hands out the answers that are due.
    pub fn with<T>(&mut self, group: &str, work: impl FnOnce(&mut Entry, Instant) -> T) -> T {
        self.apply(group, |entry, now| {
            entry.machine.tick(now);
            work(entry, now)
        })
    }

    /// Lets a coordinator begin with what is written down: the time without one ends no session.
    pub fn reload(&mut self, group: &str, change: impl FnOnce(&mut Entry)) {
        self.apply(group, |entry, now| {
            change(entry);
            entry.machine.reload(now);
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
    pub fn forget_topic(&mut self, topic: &str) {
        self.groups.values_mut().for_each(|entry| entry.offsets.forget(topic));
    }
}

impl Entry {
    pub fn describe(&self) -> GroupDescription {
        let membership = self.machine.membership();
        GroupDescription {
            state: self.machine.state().as_str(),
            generation: membership.generation,
            members: membership.members.keys().cloned().collect(),
        }
    }
}
