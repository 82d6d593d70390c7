//! A coordinator that answers anything: what comes must neither panic a member nor confuse it for
//! longer than the byzantine lasts.

use crate::Identity;
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatResponse, HeartbeatResponse, JoinGroupResponse, LeaveGroupResponse, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;
use uuid::Uuid;

use super::{SimulatedCoordinator, Token, text};
use crate::membership::subscription::{Partitions, encode_assignment};
use crate::membership::{Described, Request, Response};

#[derive(Debug)]
pub(crate) struct Byzantine {
    random: fastrand::Rng,
    answers: Vec<(Token, Response)>,
}

impl Byzantine {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), answers: Vec::new() }
    }

    fn code(&mut self) -> i16 {
        if self.random.u8(..10) < 7 { 0 } else { self.random.i16(-2..140) }
    }

    fn number(&mut self) -> i32 {
        self.random.choice([i32::MIN, -7, -1, 0, 1, 2, 3, i32::MAX]).unwrap()
    }

    fn name(&mut self) -> StrBytes {
        let long = "x".repeat(300);
        text(self.random.choice(["", "member-1", "t", "cooperative-sticky", "range", "\u{0}", &long]).unwrap())
    }

    fn bytes(&mut self) -> Bytes {
        let partitions = (0..self.random.usize(..4)).map(|_| self.number()).collect();
        let name = self.name().to_string();
        let name = if self.random.bool() { "t".to_owned() } else { name };
        let whole = encode_assignment(&Partitions::from([(name, partitions)]), None);
        let cut = self.random.usize(..=whole.len());
        match self.random.u8(..4) {
            0 => whole.slice(..cut),
            1 => {
                let mut noise = BytesMut::new();
                (0..cut).for_each(|_| noise.put_u8(self.random.u8(..)));
                noise.freeze()
            }
            _ => whole,
        }
    }
}

impl SimulatedCoordinator for Byzantine {
    fn receive(&mut self, token: Token, request: Request, _: Instant) {
        let code = self.code();
        let answer = match request {
            Request::Join(_) => {
                let id = self.name();
                let leader = if self.random.bool() { id.clone() } else { self.name() };
                let member = |of: &mut Self| {
                    let instance = of.random.bool().then(|| of.name());
                    JoinGroupResponseMember::default()
                        .with_member_id(of.name())
                        .with_group_instance_id(instance)
                        .with_metadata(of.bytes())
                };
                let members = (0..self.random.usize(..4)).map(|_| member(self)).collect();
                let protocol = self.random.bool().then(|| self.name());
                let generation = self.number();
                Response::Join(
                    JoinGroupResponse::default()
                        .with_error_code(code)
                        .with_generation_id(generation)
                        .with_protocol_name(protocol)
                        .with_leader(leader)
                        .with_skip_assignment(self.random.bool())
                        .with_member_id(id)
                        .with_members(members),
                )
            }
            Request::Sync(_) => {
                Response::Sync(SyncGroupResponse::default().with_error_code(code).with_assignment(self.bytes()))
            }
            Request::Heartbeat(_) => Response::Heartbeat(HeartbeatResponse::default().with_error_code(code)),
            Request::Leave(_) => Response::Leave(LeaveGroupResponse::default().with_error_code(code)),
            Request::ConsumerHeartbeat(_) => {
                let topic = |of: &mut Self| {
                    let partitions = (0..of.random.usize(..4)).map(|_| of.number()).collect();
                    let id = Uuid::from_bytes([of.random.u8(..3); 16]);
                    TopicPartitions::default().with_topic_id(id).with_partitions(partitions)
                };
                let topics = (0..self.random.usize(..3)).map(|_| topic(self)).collect();
                let assignment = self.random.bool().then(|| Assignment::default().with_topic_partitions(topics));
                let id = self.random.bool().then(|| self.name());
                let (epoch, interval) = (self.number(), self.number());
                Response::ConsumerHeartbeat(
                    ConsumerGroupHeartbeatResponse::default()
                        .with_error_code(code)
                        .with_member_id(id)
                        .with_member_epoch(epoch)
                        .with_heartbeat_interval_ms(interval)
                        .with_assignment(assignment),
                )
            }
        };
        self.answers.push((token, answer));
    }

    fn tick(&mut self, _: Instant) {}

    fn answers(&mut self) -> Vec<(Token, Response)> {
        std::mem::take(&mut self.answers)
    }

    fn topic_changed(&mut self, _: Option<Described>) {}

    fn fail_over(&mut self, _: Instant) {}

    fn takes_commits_of(&mut self, _: &Identity, _: Instant) -> bool {
        false
    }
}
