//! The members, the coordinator, and what passes between them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka_protocol::ResponseError as Code;
use tokio::time::Instant;

use super::simulated_member::{InFlight, SimulatedMember};
use super::{
    Lost, MOST_AT_ONCE, REQUEST_TIMEOUT, RETRY, SETTLED_WITHIN, SHORT_REBALANCE, SimulatedCoordinator, TICK, Token,
    Upset, options, refusal,
};
use crate::membership::Assignor;
use crate::membership::{Described, MemberOptions, Membership, Request, Response, Step};
use kafka_records::topic::TopicId;

pub(crate) struct World<C> {
    pub now: Instant,
    pub coordinator: C,
    make: fn(MemberOptions) -> Box<dyn Membership>,
    options: MemberOptions,
    members: Vec<SimulatedMember>,
    topic: Option<Described>,
    topic_back: Option<(Instant, Described)>,
    refused_until: Option<(Code, Instant)>,
    /// Answers on their way.
    late: Vec<(Instant, Token, Response)>,
    tokens: Token,
    logs: u8,
    instances: u32,
}

impl<C: SimulatedCoordinator> World<C> {
    pub(crate) fn new(coordinator: C, assignors: &[Assignor], make: fn(MemberOptions) -> Box<dyn Membership>) -> Self {
        let mut world = Self {
            now: Instant::now(),
            coordinator,
            make,
            options: MemberOptions { assignors: assignors.to_vec(), ..options() },
            members: Vec::new(),
            topic: None,
            topic_back: None,
            refused_until: None,
            late: Vec::new(),
            tokens: 0,
            logs: 0,
            instances: 0,
        };
        world.recreate(5);
        world
    }

    /// With rebalances that are over before a session is, so that a member may be expelled that
    /// could still be heard.
    pub(crate) fn with_short_rebalances(mut self) -> Self {
        self.options.rebalance_timeout = SHORT_REBALANCE;
        self
    }

    /// A whole simulation: upsets, then peace, then everybody leaves.
    pub(crate) fn run(mut self, upsets: Vec<(Upset, u32)>) {
        self.join(false);
        for (upset, ticks) in upsets {
            self.upset(upset);
            self.pass(ticks);
        }
        self.settle();
        self.leave_all();
    }

    /// One member, slow answers and upsets: nothing panics, nothing loops, events make sense, and
    /// leaving ends.
    pub(crate) fn endure(mut self, upsets: Vec<(Upset, u32)>) {
        self.join(false);
        for (upset, ticks) in upsets {
            self.members[0].slow_until = self.now + Duration::from_secs(3600);
            if !matches!(upset, Upset::Join { .. } | Upset::Die(_) | Upset::Leave(_)) {
                self.upset(upset);
            }
            self.pass(ticks);
        }
        self.leave_all();
    }

    pub(crate) fn upset(&mut self, upset: Upset) {
        let ticks = |count: u32| self.now + TICK * count;
        let alive: Vec<usize> = (0..self.members.len()).filter(|at| !self.members[*at].left).collect();
        let which = |who: usize| alive.get(who % alive.len().max(1)).copied();
        match upset {
            Upset::Nothing => {}
            Upset::Join { is_static } => {
                if alive.len() < 4 {
                    self.join(is_static);
                }
            }
            Upset::Leave(who) => {
                if let Some(at) = which(who) {
                    self.leave(at);
                }
            }
            Upset::Die(who) => {
                if let Some(at) = which(who) {
                    self.members.remove(at);
                }
            }
            Upset::Hang(who, count) => {
                let until = ticks(count);
                which(who).into_iter().for_each(|at| self.members[at].hung_until = until);
            }
            Upset::Lose(who, lost, count) => {
                let until = ticks(count);
                which(who).into_iter().for_each(|at| self.members[at].lost = Some((lost, until)));
            }
            Upset::Slow(who, count) => {
                let until = ticks(count);
                which(who).into_iter().for_each(|at| self.members[at].slow_until = until);
            }
            Upset::Move(code, count) => {
                self.refused_until = Some((code, ticks(count)));
                self.coordinator.fail_over(self.now);
                // What was held back is answered by the broker that lets go.
                for member in &mut self.members {
                    if let Some(in_flight) = member.in_flight.as_mut().filter(|in_flight| in_flight.held_back) {
                        in_flight.give_up = self.now;
                    }
                }
            }
            Upset::AddPartition => {
                if let Some(topic) = self.topic.filter(|topic| topic.partitions < 8) {
                    self.set_topic(Some(Described { partitions: topic.partitions + 1, ..topic }));
                }
            }
            Upset::Delete(count) => {
                if self.topic.is_some() {
                    let until = ticks(count);
                    let partitions = 4;
                    self.topic_back = Some((until, self.new_log(partitions)));
                    self.set_topic(None);
                }
            }
            Upset::Recreate(partitions) => self.recreate(partitions),
            Upset::Releases(who, after) => which(who).into_iter().for_each(|at| self.members[at].release_after = after),
            Upset::Doubt(who) => {
                let now = self.now;
                if let Some(member) = which(who).map(|at| &mut self.members[at])
                    && member.in_flight.is_none()
                {
                    member.machine.doubt(now);
                    member.wake = now;
                }
            }
        }
        self.check_exclusive();
    }

    pub(crate) fn join(&mut self, is_static: bool) {
        // One of those that are gone comes back, or a new one.
        let running: BTreeSet<_> =
            self.members.iter().filter(|member| !member.left).filter_map(|s| s.instance.clone()).collect();
        let instance = is_static.then(|| {
            let free = (0..self.instances).map(|n| format!("instance-{n}")).find(|name| !running.contains(name));
            free.unwrap_or_else(|| {
                self.instances += 1;
                format!("instance-{}", self.instances - 1)
            })
        });
        let options = MemberOptions { instance_id: instance.clone(), ..self.options.clone() };
        self.members.push(SimulatedMember {
            machine: (self.make)(options),
            instance,
            in_flight: None,
            inbox: None,
            wake: self.now,
            describe: false,
            next_look: self.now,
            last_look: None,
            seen: None,
            held: BTreeMap::new(),
            releasing: BTreeMap::new(),
            release_after: Some(1),
            identity: None,
            lease: None,
            hung_until: self.now,
            lost: None,
            slow_until: self.now,
            leaving: false,
            left: false,
            fenced: false,
            sent_at: self.now,
            sent: 0,
            requests: 0,
        });
    }

    fn leave(&mut self, at: usize) {
        let member = &mut self.members[at];
        member.leaving = true;
        member.wake = self.now;
        member.machine.leave();
        member.note(self.now);
    }

    fn new_log(&mut self, partitions: i32) -> Described {
        self.logs += 1;
        Described { id: Some(TopicId([self.logs; 16])), partitions }
    }

    fn recreate(&mut self, partitions: i32) {
        let topic = self.new_log(partitions);
        self.topic_back = None;
        self.set_topic(Some(topic));
    }

    fn set_topic(&mut self, topic: Option<Described>) {
        self.topic = topic;
        self.coordinator.topic_changed(topic);
    }

    pub(crate) fn pass(&mut self, ticks: u32) {
        for _ in 0..ticks {
            self.step();
            self.now += TICK;
        }
    }

    /// Everything that happens at one instant.
    fn step(&mut self) {
        if let Some((_, topic)) = self.topic_back.take_if(|(at, _)| self.now >= *at) {
            self.set_topic(Some(topic));
        }
        self.refused_until.take_if(|(_, until)| self.now >= *until);
        self.coordinator.tick(self.now);
        loop {
            self.deliver();
            let mut moved = false;
            for at in 0..self.members.len() {
                moved |= self.step_member(at);
                self.check_exclusive();
            }
            if !moved && !self.late.iter().any(|(at, ..)| *at <= self.now) {
                break;
            }
        }
    }

    /// Answers come in; what came for those that no longer wait is dropped.
    fn deliver(&mut self) {
        for (token, response) in self.coordinator.answers() {
            let slow = self
                .members
                .iter()
                .find(|member| member.waits_for(token))
                .is_some_and(|member| self.now < member.slow_until);
            let delay = if slow { TICK * 7 } else { Duration::ZERO };
            self.late.push((self.now + delay, token, response));
        }
        let now = self.now;
        for (_, token, response) in self.late.extract_if(.., |(at, ..)| *at <= now) {
            if let Some(member) = self.members.iter_mut().find(|member| member.waits_for(token)) {
                member.inbox = Some(response);
            }
        }
    }

    /// Returns whether anything happened.
    fn step_member(&mut self, at: usize) -> bool {
        let now = self.now;
        let topic = self.topic;
        let member = &mut self.members[at];
        if member.left || now < member.hung_until {
            return false;
        }
        member.lost.take_if(|(_, until)| now >= *until);
        let mut told = false;
        if let Some(in_flight) = &member.in_flight {
            let (sent, give_up) = (in_flight.sent, in_flight.give_up);
            if let Some(response) = member.inbox.take() {
                member.in_flight = None;
                if member.machine.answered(response, sent, now).is_err() {
                    member.machine.pause(now + RETRY);
                }
                told = true;
            } else if now >= give_up {
                member.in_flight = None;
                member.machine.unanswered();
                member.machine.pause(now + RETRY);
                told = true;
            }
        }
        member.note(now); // what the answer took away is no longer there to be released
        told |= member.finish_releases(now);
        told |= member.look(topic, now);
        member.note(now);
        if member.in_flight.is_some() && member.machine.abandons_request() {
            (member.in_flight, member.inbox) = (None, None);
            member.machine.unanswered();
            told = true;
        }
        if member.in_flight.is_some() || !told && now < member.wake {
            return told;
        }
        let step = member.machine.poll(now);
        member.note(now);
        match step {
            Step::Send(request) => self.send(at, request),
            Step::Wait { until, describe } => {
                assert!(until > now, "it waits until an instant that is over: a busy loop");
                (member.wake, member.describe) = (until, !describe.is_empty());
                return told;
            }
            Step::Left => {
                assert!(member.leaving || member.fenced, "it left unasked");
                assert!(member.held.is_empty() && member.identity.is_none(), "it left with something in hand");
                member.left = true;
            }
        }
        true
    }

    /// No busy loop: what is sent without time passing is bounded.
    fn send(&mut self, at: usize, request: Request) {
        self.tokens += 1;
        let token = self.tokens;
        let member = &mut self.members[at];
        if member.sent_at != self.now {
            (member.sent_at, member.sent) = (self.now, 0);
        }
        member.sent += 1;
        member.requests += 1;
        assert!(member.sent <= MOST_AT_ONCE, "a busy loop: {request:?}");
        let held_back = matches!(request, Request::Join(_) | Request::Sync(_));
        let timeout = if held_back { self.options.rebalance_timeout + REQUEST_TIMEOUT } else { REQUEST_TIMEOUT };
        let lost = member.lost.map(|(lost, _)| lost);
        // A connection that breaks is noticed soon, silence only at the deadline.
        let timeout = if lost.is_some() && token.is_multiple_of(2) { TICK } else { timeout };
        member.in_flight = Some(InFlight {
            token,
            sent: self.now,
            give_up: self.now + timeout,
            held_back,
            answer_is_lost: lost.is_some(),
        });
        if lost == Some(Lost::Request) {
            return;
        }
        match self.refused_until {
            Some((code, _)) => self.late.push((self.now, token, refusal(&request, code))),
            None => self.coordinator.receive(token, request, self.now),
        }
    }

    /// No partition is held by two members at a time. One whose lease has run out holds nothing.
    fn check_exclusive(&self) {
        let mut holders: BTreeMap<(Option<TopicId>, i32), usize> = BTreeMap::new();
        for (at, member) in self.members.iter().enumerate() {
            assert_eq!(member.held.keys().copied().collect::<BTreeSet<_>>(), *member.machine.owned());
            if member.left || member.lease.is_none_or(|until| self.now >= until) {
                continue;
            }
            for (partition, log) in &member.held {
                if let Some(other) = holders.insert((*log, *partition), at) {
                    panic!("partition {partition} is held by {other} and {at}");
                }
            }
        }
    }

    /// Disturbances stop. Whatever happened, the group is stable within bounded time, everything is
    /// somebody's, of the right log, nobody starves, and nobody is noisy.
    pub(crate) fn settle(&mut self) {
        if self.topic.is_none() {
            let (_, topic) = self.topic_back.take().unwrap();
            self.set_topic(Some(topic));
        }
        if self.members.iter().all(|member| member.left || member.leaving) {
            self.join(false);
        }
        self.refused_until = None;
        for member in &mut self.members {
            (member.hung_until, member.slow_until, member.lost) = (self.now, self.now, None);
            member.release_after = Some(1);
            if member.leaving {
                // The shutdown's deadline drops what is never finished.
                member.releasing.values_mut().for_each(|at| *at = Some(self.now));
            }
        }
        self.pass(ticks(SETTLED_WITHIN));
        assert!(self.members.iter().all(|member| member.left || !member.leaving), "leaving does not end");
        let before: Vec<_> = self.members.iter().map(|member| member.requests).collect();
        self.pass(100);
        let topic = self.topic.unwrap();
        let mut all = Vec::new();
        for (member, before) in self.members.iter().zip(before) {
            assert!(!member.fenced);
            if member.left {
                continue;
            }
            assert_eq!(member.machine.state(), "stable", "{:?}", member.machine.owned());
            assert!(member.requests - before <= 12, "{} requests in 10 s of peace", member.requests - before);
            assert!(
                member.held.values().all(|log| *log == topic.id),
                "a log of before: {:?} is {topic:?}",
                member.held
            );
            assert!(member.lease.is_some_and(|until| self.now < until), "no lease in peace");
            let identity = member.identity.as_ref().expect("an identity in peace");
            assert!(
                self.coordinator.takes_commits_of(identity, self.now),
                "commits are refused in peace: {identity:?}"
            );
            all.extend(member.held.keys().copied());
        }
        all.sort_unstable();
        assert_eq!(all, (0..topic.partitions).collect::<Vec<_>>(), "each partition is somebody's, once");
        let counts: Vec<_> =
            self.members.iter().filter(|member| !member.left).map(|member| member.held.len()).collect();
        if topic.partitions >= i32::try_from(counts.len()).unwrap() {
            assert!(counts.iter().all(|count| *count > 0), "somebody starves: {counts:?}");
        }
    }

    /// Everybody leaves, while the coordinator answers nothing at all.
    pub(crate) fn leave_all(&mut self) {
        for at in 0..self.members.len() {
            if !self.members[at].left {
                let member = &mut self.members[at];
                (member.hung_until, member.release_after) = (self.now, Some(1));
                member.releasing.values_mut().for_each(|at| *at = Some(self.now));
                self.members[at].lost = Some((Lost::Request, self.now + Duration::from_secs(3600)));
                self.leave(at);
            }
        }
        self.pass(ticks(REQUEST_TIMEOUT * 2) + 5);
        assert!(self.members.iter().all(|member| member.left), "leaving does not end");
    }
}

fn ticks(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis() / TICK.as_millis()).unwrap()
}
