//! A coordinator of KIP-848 groups, by the rules of Kafka's `CurrentAssignmentBuilder`: what moves
//! is first given up, and given on once that is acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::Identity;
use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;
use uuid::Uuid;

use super::{HEARTBEAT, Model, SESSION, Token, text};
use crate::membership::{Described, Request, Response};
use kafka_records::topic::TopicId;

/// A partition of a topic that may have been made anew.
type Partition = (TopicId, i32);

#[derive(Debug, Clone, Default)]
pub struct ConsumerModel {
    topic: Option<Described>,
    epoch: i32,
    target: BTreeMap<String, BTreeSet<Partition>>,
    members: BTreeMap<String, Member>,
    answers: Vec<(Token, Response)>,
}

#[derive(Debug, Clone)]
struct Member {
    instance: Option<StrBytes>,
    epoch: i32,
    previous_epoch: i32,
    /// Away for now: it keeps what it has, which nobody reads.
    is_away: bool,
    assigned: BTreeSet<Partition>,
    revoking: BTreeSet<Partition>,
    rebalance: Duration,
    session_ends: Instant,
    revoke_by: Option<Instant>,
}

impl ConsumerModel {
    fn heartbeat(&mut self, request: &ConsumerGroupHeartbeatRequest, now: Instant) -> ConsumerGroupHeartbeatResponse {
        let refused = |code: Code| ConsumerGroupHeartbeatResponse::default().with_error_code(code.code());
        let id = request.member_id.to_string();
        let owned = request.topic_partitions.as_ref().map(|topics| {
            let of = |topic: &kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions| {
                let id = TopicId(*topic.topic_id.as_bytes());
                topic.partitions.iter().map(move |partition| (id, *partition)).collect::<Vec<_>>()
            };
            topics.iter().flat_map(of).collect::<BTreeSet<Partition>>()
        });
        if request.member_epoch < 0 {
            return self
                .leave(&id, request.member_epoch)
                .map_or_else(refused, |()| ConsumerGroupHeartbeatResponse::default());
        }
        if let Err(code) = self.admit(request, &id, owned.as_ref(), now) {
            return refused(code);
        }
        let full = request.rebalance_timeout_ms >= 0 && request.subscribed_topic_names.is_some() && owned.is_some();
        let before = self.members[&id].assigned.clone();
        self.reconcile(&id, owned.as_ref(), now);
        let member = self.members.get_mut(&id).unwrap();
        member.session_ends = now + SESSION;
        let told = (request.member_epoch == 0 || full || before != member.assigned).then(|| {
            let mut topics: BTreeMap<TopicId, Vec<i32>> = BTreeMap::new();
            for (topic, partition) in &member.assigned {
                topics.entry(*topic).or_default().push(*partition);
            }
            let topics = topics.into_iter().map(|(topic, partitions)| {
                TopicPartitions::default().with_topic_id(Uuid::from_bytes(topic.0)).with_partitions(partitions)
            });
            Assignment::default().with_topic_partitions(topics.collect())
        });
        ConsumerGroupHeartbeatResponse::default()
            .with_member_id(Some(text(&id)))
            .with_member_epoch(member.epoch)
            .with_heartbeat_interval_ms(i32::try_from(HEARTBEAT.as_millis()).unwrap())
            .with_assignment(told)
    }

    fn leave(&mut self, id: &str, epoch: i32) -> Result<(), Code> {
        let member = self.members.get_mut(id).ok_or(Code::UnknownMemberId)?;
        if epoch == -2 {
            member.is_away = true;
            return Ok(());
        }
        self.remove(id);
        Ok(())
    }

    fn remove(&mut self, id: &str) {
        self.members.remove(id);
        self.regroup();
    }

    /// Lets the member in, or says why not.
    fn admit(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
        id: &str,
        owned: Option<&BTreeSet<Partition>>,
        now: Instant,
    ) -> Result<(), Code> {
        let same = request.instance_id.as_ref().and_then(|instance| {
            self.members.iter().find(|(_, member)| member.instance.as_ref() == Some(instance)).map(|(id, _)| id.clone())
        });
        let joins = request.member_epoch == 0;
        let rebalance = Duration::from_millis(u64::try_from(request.rebalance_timeout_ms.max(0)).unwrap());
        match (request.instance_id.is_some(), same) {
            (true, Some(old)) if joins => {
                if !self.members[&old].is_away {
                    return Err(Code::UnreleasedInstanceId);
                }
                let member = self.members.remove(&old).unwrap();
                let target = self.target.remove(&old).unwrap_or_default();
                self.target.insert(id.to_owned(), target);
                let member = Member { is_away: false, epoch: 0, previous_epoch: 0, rebalance, ..member };
                self.members.insert(id.to_owned(), member);
                return Ok(());
            }
            (true, Some(old)) if old != id => return Err(Code::FencedInstanceId),
            (true, None) if !joins => return Err(Code::UnknownMemberId),
            _ => {}
        }
        match self.members.get(id) {
            None if !joins => return Err(Code::UnknownMemberId),
            None => {
                let member = Member {
                    instance: request.instance_id.clone(),
                    epoch: 0,
                    previous_epoch: 0,
                    is_away: false,
                    assigned: BTreeSet::new(),
                    revoking: BTreeSet::new(),
                    rebalance,
                    session_ends: now,
                    revoke_by: None,
                };
                self.members.insert(id.to_owned(), member);
                self.regroup();
            }
            Some(member) => {
                let subset = owned.is_some_and(|owned| owned.is_subset(&member.assigned));
                let previous = request.member_epoch == member.previous_epoch && subset;
                if request.member_epoch != member.epoch && !previous || request.member_epoch > member.epoch {
                    return Err(Code::FencedMemberEpoch);
                }
            }
        }
        Ok(())
    }

    /// A new epoch of the group, and who is to have what in it: as few moves as that takes.
    fn regroup(&mut self) {
        self.epoch += 1;
        let all: Vec<Partition> = self
            .topic
            .iter()
            .flat_map(|topic| (0..topic.partitions).map(|partition| (topic.id.unwrap(), partition)))
            .collect();
        self.target.retain(|id, _| self.members.contains_key(id));
        for id in self.members.keys() {
            self.target.entry(id.clone()).or_default().retain(|partition| all.contains(partition));
        }
        if self.target.is_empty() {
            return;
        }
        let most = all.len().div_ceil(self.target.len());
        for given in self.target.values_mut() {
            while given.len() > most {
                given.pop_last();
            }
        }
        for partition in all {
            if !self.target.values().any(|given| given.contains(&partition)) {
                let fewest = self.target.values_mut().min_by_key(|given| given.len()).unwrap();
                fewest.insert(partition);
            }
        }
        loop {
            let fewest =
                self.target.iter().min_by_key(|(_, given)| given.len()).map(|(id, given)| (id.clone(), given.len()));
            let most =
                self.target.iter().max_by_key(|(_, given)| given.len()).map(|(id, given)| (id.clone(), given.len()));
            let ((poor, few), (rich, many)) = (fewest.unwrap(), most.unwrap());
            if many <= few + 1 {
                return;
            }
            let moved = self.target.get_mut(&rich).unwrap().pop_last().unwrap();
            self.target.get_mut(&poor).unwrap().insert(moved);
        }
    }

    fn reconcile(&mut self, id: &str, owned: Option<&BTreeSet<Partition>>, now: Instant) {
        let taken: BTreeSet<Partition> = self
            .members
            .iter()
            .filter(|(other, _)| *other != id)
            .flat_map(|(_, other)| other.assigned.iter().chain(&other.revoking).copied())
            .collect();
        let target = self.target.get(id).cloned().unwrap_or_default();
        let member = self.members.get_mut(id).unwrap();
        if !member.revoking.is_empty() && owned.is_none_or(|owned| !owned.is_disjoint(&member.revoking)) {
            return; // still to be given up
        }
        if member.revoking.is_empty() && member.epoch == self.epoch && member.assigned == target {
            return;
        }
        let kept: BTreeSet<_> = member.assigned.intersection(&target).copied().collect();
        let revoking: BTreeSet<_> = member.assigned.difference(&target).copied().collect();
        member.revoking.clear();
        member.revoke_by = None;
        // A member that has said that it has none of it needs not give it up.
        if !revoking.is_empty() && owned.is_none_or(|owned| !owned.is_disjoint(&revoking)) {
            (member.assigned, member.revoking) = (kept, revoking);
            member.revoke_by = Some(now + member.rebalance);
            return;
        }
        let free = target.difference(&taken).copied();
        member.assigned = kept.into_iter().chain(free).collect();
        if member.epoch != self.epoch {
            (member.previous_epoch, member.epoch) = (member.epoch, self.epoch);
        }
    }
}

impl Model for ConsumerModel {
    fn receive(&mut self, token: Token, request: Request, now: Instant) {
        let Request::ConsumerHeartbeat(request) = request else { unreachable!("KIP-848 has no other request") };
        let answer = self.heartbeat(&request, now);
        self.answers.push((token, Response::ConsumerHeartbeat(answer)));
    }

    fn tick(&mut self, now: Instant) {
        let is_gone = |member: &Member| now >= member.session_ends || member.revoke_by.is_some_and(|by| now >= by);
        let gone: Vec<_> = self.members.iter().filter(|(_, m)| is_gone(m)).map(|(id, _)| id.clone()).collect();
        for id in gone {
            self.remove(&id);
        }
    }

    fn answers(&mut self) -> Vec<(Token, Response)> {
        std::mem::take(&mut self.answers)
    }

    fn topic_changed(&mut self, topic: Option<Described>) {
        self.topic = topic;
        self.regroup();
    }

    fn fail_over(&mut self, now: Instant) {
        // Every answer was written down before it was given.
        for member in self.members.values_mut() {
            member.session_ends = now + SESSION;
            member.revoke_by = member.revoke_by.map(|_| now + member.rebalance);
        }
    }

    fn takes_commits_of(&self, identity: &Identity) -> bool {
        self.members.get(&identity.member_id).is_some_and(|member| member.epoch == identity.generation_or_epoch)
    }
}
