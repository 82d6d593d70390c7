//! A simulated member, as its driver and its workers would treat it.

use std::collections::{BTreeMap, BTreeSet};

use crate::Identity;
use tokio::time::Instant;

use super::{DISCOVERY, Lost, TICK, Token};
use crate::membership::{Described, Event, Membership, Response};
use kafka_records::topic::TopicId;

/// A member, and what the simulation knows of it.
pub(super) struct SimulatedMember {
    pub machine: Box<dyn Membership>,
    pub instance: Option<String>,
    pub in_flight: Option<InFlight>,
    pub inbox: Option<Response>,
    pub wake: Instant,
    pub describe: bool,
    pub next_look: Instant,
    pub last_look: Option<Instant>,
    pub seen: Option<TopicId>,
    /// The partitions that it works on, each of which log.
    pub held: BTreeMap<i32, Option<TopicId>>,
    /// The partitions that it is giving up, and when that is done.
    pub releasing: BTreeMap<i32, Option<Instant>>,
    pub release_after: Option<u32>,
    pub identity: Option<Identity>,
    pub lease: Option<Instant>,
    pub hung_until: Instant,
    pub lost: Option<(Lost, Instant)>,
    pub slow_until: Instant,
    pub leaving: bool,
    pub left: bool,
    pub fenced: bool,
    pub sent_at: Instant,
    pub sent: usize,
    /// Requests of its life.
    pub requests: usize,
}

pub(super) struct InFlight {
    pub token: Token,
    pub sent: Instant,
    pub give_up: Instant,
    pub held_back: bool,
    pub answer_is_lost: bool,
}

impl SimulatedMember {
    pub(super) fn waits_for(&self, token: Token) -> bool {
        self.in_flight.as_ref().is_some_and(|in_flight| in_flight.token == token && !in_flight.answer_is_lost)
    }

    pub(super) fn finish_releases(&mut self, now: Instant) -> bool {
        let done: BTreeSet<i32> =
            self.releasing.iter().filter(|(_, at)| at.is_some_and(|at| now >= at)).map(|(p, _)| *p).collect();
        for partition in &done {
            self.releasing.remove(partition);
            self.held.remove(partition);
        }
        self.machine.released(&done);
        !done.is_empty()
    }

    pub(super) fn look(&mut self, topic: Option<Described>, now: Instant) -> bool {
        let wanted = self.describe && self.last_look.is_none_or(|last| now >= last + TICK * 2);
        if self.lost.is_some() || !wanted && now < self.next_look {
            return false;
        }
        (self.last_look, self.next_look) = (Some(now), now + DISCOVERY);
        self.seen = topic.and_then(|topic| topic.id).or(self.seen);
        self.machine.described(&BTreeMap::from([("t".to_owned(), topic)]), now);
        true
    }

    /// Events come in an order that makes sense: assigned is what is not held, revoked what is, and
    /// lost ends both. Without an identity nothing is held.
    pub(super) fn note(&mut self, now: Instant) {
        while let Some(event) = self.machine.next_event() {
            match event {
                Event::Identity(identity) => self.identity = identity,
                Event::Assigned(partitions) => {
                    assert!(self.identity.is_some(), "assigned {partitions:?} without an identity");
                    for partition in partitions {
                        assert!(self.held.insert(partition, self.seen).is_none(), "assigned twice: {partition}");
                    }
                }
                Event::Revoked(partitions) => {
                    for partition in partitions {
                        assert!(self.held.contains_key(&partition), "revoked and not held: {partition}");
                        let at = self.release_after.map(|after| now + TICK * after);
                        assert!(self.releasing.insert(partition, at).is_none(), "revoked twice: {partition}");
                    }
                }
                Event::Lost(partitions) => {
                    for partition in partitions {
                        assert!(self.held.remove(&partition).is_some(), "lost and not held: {partition}");
                        self.releasing.remove(&partition);
                    }
                }
                Event::Rebalance(_) => {}
                Event::Fenced => self.fenced = true,
            }
        }
        assert!(self.identity.is_some() || self.held.is_empty(), "something is held without an identity");
        self.lease = self.machine.lease().or(self.lease);
    }
}
