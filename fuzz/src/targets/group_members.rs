//! A member of a group, by either protocol, whose coordinator answers anything at any time: it never waits for what is
//! past, its events come in an order that makes sense, nothing is held without an identity, and it can leave.
//!
//! An input: the protocol, and then what happens, one after the other, each with what it needs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use kafka_client::membership::{
    Assignor, Classic, Consumer, Described, Event, MemberOptions, Membership, Partitions, Request, Response, Step,
};
use kafka_client::testing::{TESTED, assignment_bytes, response_to};
use kafka_protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{
    ApiKey, ConsumerGroupHeartbeatResponse, HeartbeatResponse, JoinGroupResponse, LeaveGroupResponse, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;
use login_pipeline::topic::TopicId;
use tokio::time::Instant;
use uuid::Uuid;

use super::{MIB, Target};
use crate::input::{Input, put_field};

/// See the module.
pub const TARGET: Target = Target {
    name: "group_members",
    about: "a group's coordinator, by both protocols, through the members' machines",
    run,
    seeds,
    words: &["range", "cooperative-sticky", "\u{1}\0\0", "\u{4}\u{1}\u{5}", "m", "t"],
    longest: 1024,
    memory: 16 * MIB,
};

const TOPIC: &str = "t";
const RETRY: Duration = Duration::from_millis(500);
/// Within so many rounds in which nothing is answered it has left.
const LEFT_WITHIN: usize = 200;

/// Of no error mostly, of those that mean something to a member, and of one that nobody knows.
const CODES: [i16; 16] = [0, 0, 0, 0, 0, 0, 27, 25, 22, 79, 82, 16, 14, 110, 69, 999];
const NAMES: [&str; 4] = ["m", "other", "", "t"];
const IDS: [Option<TopicId>; 3] = [Some(TopicId([1; 16])), Some(TopicId([2; 16])), None];

fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let kind = input.byte();
    let options = MemberOptions {
        group_id: "g".to_owned(),
        instance_id: (kind & 2 != 0).then(|| "instance".to_owned()),
        topic: TOPIC.to_owned(),
        session_timeout: Duration::from_secs(6),
        rebalance_timeout: Duration::from_secs(if kind & 4 != 0 { 4 } else { 9 }),
        heartbeat_interval: Duration::from_secs(1),
        assignors: if kind & 8 != 0 { vec![Assignor::Range, Assignor::RoundRobin] } else { vec![Assignor::CooperativeSticky] },
        server_assignor: None,
    };
    let machine: Box<dyn Membership> = match kind & 1 {
        0 => Box::new(Classic::new(options)),
        _ => Box::new(Consumer::new(options)),
    };
    let mut driven = Driven {
        machine,
        now: Instant::now(),
        under_way: None,
        held: BTreeSet::new(),
        releasing: BTreeSet::new(),
        has_identity: false,
        left: false,
    };
    driven.go_on();
    while !input.is_empty() && !driven.left {
        driven.happens(&mut input);
        driven.go_on();
    }
    driven.leave();
}

/// A machine, and what its driver and its workers know.
struct Driven {
    machine: Box<dyn Membership>,
    now: Instant,
    under_way: Option<(Request, Instant)>,
    held: BTreeSet<i32>,
    releasing: BTreeSet<i32>,
    has_identity: bool,
    left: bool,
}

impl Driven {
    fn happens(&mut self, input: &mut Input<'_>) {
        match input.byte() % 10 {
            0 | 1 => self.answered(|request| Some(answer(request, input))),
            2 => {
                let bytes = Bytes::copy_from_slice(input.field());
                self.answered(|request| response_to(request, &bytes));
            }
            3 => {
                if self.under_way.take().is_some() {
                    self.failed();
                }
            }
            4 => {
                let described = Described { id: input.one_of(&IDS), partitions: input.number().min(255) };
                let found = (input.byte() & 7 > 0).then_some(described);
                let mut topics = BTreeMap::from([(TOPIC.to_owned(), found)]);
                if input.byte() & 1 > 0 {
                    topics.insert("other".to_owned(), None);
                }
                self.machine.described(&topics, self.now);
            }
            5 => self.release(),
            6 => self.machine.leave(),
            7 => self.machine.doubt(self.now),
            _ => self.passes(Duration::from_millis(u64::from(input.byte()) * 50)),
        }
    }

    fn passes(&mut self, time: Duration) {
        self.now += time;
    }

    fn answered(&mut self, answer: impl FnOnce(&Request) -> Option<Response>) {
        let Some((request, sent)) = self.under_way.take() else { return };
        let heard = match answer(&request) {
            Some(response) => self.machine.answered(response, sent, self.now).is_ok(),
            None => false,
        };
        if !heard {
            self.failed();
        }
    }

    /// As the driver does: it tells the machine, and waits before the next request.
    fn failed(&mut self) {
        self.machine.unanswered();
        self.machine.pause(self.now + RETRY);
    }

    fn release(&mut self) {
        let released = std::mem::take(&mut self.releasing);
        self.held.retain(|partition| !released.contains(partition));
        self.machine.released(&released);
    }

    /// Hears what changed, and lets it send what is next.
    fn go_on(&mut self) {
        self.note();
        if self.under_way.is_none() && !self.left {
            match self.machine.poll(self.now) {
                Step::Send(request) => {
                    self.under_way = Some((request, self.now));
                }
                Step::Wait { until, .. } => assert!(until > self.now, "it waits for the past"),
                Step::Left => self.left = true,
            }
        }
        self.note();
        assert!(self.machine.owned() == &self.held, "it owns {:?}, and said {:?}", self.machine.owned(), self.held);
        let _ = (self.machine.lease(), self.machine.state(), self.machine.abandons_request());
    }

    fn note(&mut self) {
        while let Some(event) = self.machine.next_event() {
            match event {
                Event::Identity(identity) => self.has_identity = identity.is_some(),
                Event::Assigned(partitions) => {
                    assert!(self.has_identity, "assigned without an identity");
                    for partition in partitions {
                        assert!(partition >= 0, "assigned {partition}");
                        assert!(self.held.insert(partition), "assigned twice: {partition}");
                    }
                }
                Event::Revoked(partitions) => {
                    for partition in partitions {
                        assert!(self.held.contains(&partition), "revoked and not held: {partition}");
                        assert!(self.releasing.insert(partition), "revoked twice: {partition}");
                    }
                }
                Event::Lost(partitions) => {
                    for partition in partitions {
                        assert!(self.held.remove(&partition), "lost and not held: {partition}");
                        self.releasing.remove(&partition);
                    }
                }
                Event::Rebalance(_) | Event::Fenced => {}
            }
        }
        assert!(self.has_identity || self.held.is_empty(), "something is held without an identity");
    }

    fn leave(&mut self) {
        self.machine.leave();
        for _ in 0..LEFT_WITHIN {
            self.note();
            self.release();
            if self.under_way.take().is_some() {
                self.failed();
            }
            self.go_on();
            if self.left {
                return;
            }
            self.passes(RETRY);
        }
        panic!("it does not leave: {}", self.machine.state());
    }
}

/// A response that may well be one.
fn answer(request: &Request, input: &mut Input<'_>) -> Response {
    let code = input.one_of(&CODES);
    let text = |input: &mut Input<'_>| StrBytes::from_static_str(input.one_of(&NAMES));
    match request {
        Request::Join(_) => {
            let protocol = input.one_of(&["cooperative-sticky", "range", "roundrobin", "none"]);
            let (id, leader) = (text(input), text(input));
            let generation = input.number();
            let member = |input: &mut Input<'_>| {
                JoinGroupResponseMember::default()
                    .with_member_id(text(input))
                    .with_group_instance_id(input.byte().is_multiple_of(2).then(|| text(input)))
                    .with_metadata(Bytes::copy_from_slice(input.field()))
            };
            let members = (0..input.byte() % 4).map(|_| member(input)).collect();
            Response::Join(
                JoinGroupResponse::default()
                    .with_error_code(code)
                    .with_generation_id(generation)
                    .with_protocol_name(Some(StrBytes::from_static_str(protocol)))
                    .with_leader(leader)
                    .with_skip_assignment(input.byte().is_multiple_of(4))
                    .with_member_id(id)
                    .with_members(members),
            )
        }
        Request::Sync(_) => {
            let assignment = match input.byte() % 4 {
                0 => Bytes::copy_from_slice(input.field()),
                count => {
                    let partitions = (0..count).map(|_| input.number()).collect();
                    assignment_bytes(&Partitions::from([(input.one_of(&["t", "t", "other"]).to_owned(), partitions)]), None)
                }
            };
            Response::Sync(SyncGroupResponse::default().with_error_code(code).with_assignment(assignment))
        }
        Request::Heartbeat(_) => Response::Heartbeat(HeartbeatResponse::default().with_error_code(code)),
        Request::Leave(_) => Response::Leave(LeaveGroupResponse::default().with_error_code(code)),
        Request::ConsumerHeartbeat(_) => {
            let (epoch, interval) = (input.number(), input.number());
            let id = input.byte().is_multiple_of(4).then(|| text(input));
            let topic = |input: &mut Input<'_>| {
                let partitions = (0..input.byte() % 4).map(|_| input.number()).collect();
                let id = input.one_of(&IDS).unwrap_or(TopicId([0; 16]));
                TopicPartitions::default().with_topic_id(Uuid::from_bytes(id.0)).with_partitions(partitions)
            };
            let topics: Vec<_> = (0..input.byte() % 3).map(|_| topic(input)).collect();
            let assignment = input.byte().is_multiple_of(2).then(|| Assignment::default().with_topic_partitions(topics));
            Response::ConsumerHeartbeat(
                ConsumerGroupHeartbeatResponse::default()
                    .with_error_code(code)
                    .with_member_id(id)
                    .with_member_epoch(epoch)
                    .with_heartbeat_interval_ms(interval)
                    .with_assignment(assignment),
            )
        }
    }
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    const DESCRIBED: &[u8] = &[4, 0, 5, 1, 0];
    const PASSES: &[u8] = &[8, 30];
    const BEAT: &[u8] = &[0, 0];
    // No error, cooperative-sticky, itself the leader, a generation, no members, and that it shares.
    let join = |generation: u8| vec![0, 0, 0, 0, 0, generation, 0, 1];
    let sync = |partitions: &[u8]| [&[0, 0, u8::try_from(partitions.len()).unwrap_or(0)], partitions, &[0]].concat();
    let classic = [&[0][..], DESCRIBED, &join(1), DESCRIBED, &sync(&[0, 1, 2]), PASSES, BEAT, PASSES, &[0, 6], PASSES, &join(2), DESCRIBED, &sync(&[0]), &[5], PASSES, &join(3), DESCRIBED, &sync(&[0, 1]), &[6, 5], PASSES, BEAT].concat();
    // No error, an epoch, an interval, no id, one topic of two partitions.
    let beat = |epoch: u8, partitions: &[u8]| [&[0, 0, epoch, 100, 1, 1, u8::try_from(partitions.len()).unwrap_or(0)], partitions, &[0, 0]].concat();
    let consumer = [&[1][..], DESCRIBED, &beat(1, &[0, 1]), PASSES, &beat(2, &[0]), &[5], PASSES, &beat(2, &[0]), PASSES, &beat(3, &[0, 1]), PASSES, &[6, 5], PASSES, &beat(4, &[])].concat();
    let mut seeds = vec![("seed-classic".to_owned(), classic), ("seed-consumer".to_owned(), consumer)];
    // What comes off a connection, in bytes.
    for (name, kind, keys) in [("classic", 0, &[ApiKey::JoinGroup, ApiKey::SyncGroup, ApiKey::Heartbeat][..]), ("consumer", 1, &[ApiKey::ConsumerGroupHeartbeat])] {
        let mut raw = [&[kind][..], DESCRIBED].concat();
        for key in keys {
            let tested = TESTED.iter().find(|tested| tested.key() == *key as i16).expect("it is listed");
            raw.push(2);
            put_field(&mut raw, &tested.filled(tested.latest()));
        }
        seeds.push((format!("seed-{name}-bytes"), raw));
    }
    seeds
}
