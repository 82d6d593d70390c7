//! The sandbox's coordinator of a group by the consumer protocol, asked by simulated members.

use kafka_sandbox::ConsumerGroupOptions;
use kafka_sandbox::group::consumer::{Caller, ConsumerGroup, TopicMetadata, Topics};
use tokio::time::Instant;
use uuid::Uuid;

use super::{HEARTBEAT, SESSION, SimulatedCoordinator, Token};
use crate::Identity;
use crate::membership::{Described, Request, Response};

#[derive(Debug)]
pub(crate) struct ConsumerCoordinator {
    group: ConsumerGroup,
    topics: Topics,
    answers: Vec<(Token, Response)>,
}

impl ConsumerCoordinator {
    pub(crate) fn new() -> Self {
        let options = ConsumerGroupOptions { session_timeout: SESSION, heartbeat_interval: HEARTBEAT };
        Self { group: ConsumerGroup::new(options), topics: Topics::new(), answers: Vec::new() }
    }
}

impl SimulatedCoordinator for ConsumerCoordinator {
    fn receive(&mut self, token: Token, request: Request, now: Instant) {
        let Request::ConsumerHeartbeat(request) = request else { unreachable!("KIP-848 has no other request") };
        let answer = self.group.handle_heartbeat(&request, Caller::default(), &self.topics, now);
        self.answers.push((token, Response::ConsumerHeartbeat(answer)));
    }

    fn tick(&mut self, now: Instant) {
        self.group.tick(now);
    }

    fn answers(&mut self) -> Vec<(Token, Response)> {
        std::mem::take(&mut self.answers)
    }

    fn topic_changed(&mut self, topic: Option<Described>) {
        let metadata = |topic: Described| {
            let id = Uuid::from_bytes(topic.id.expect("a topic of the simulation has an id").0);
            ("t".to_owned(), TopicMetadata { id, partitions: topic.partitions })
        };
        self.topics = topic.map(metadata).into_iter().collect();
    }

    fn fail_over(&mut self, now: Instant) {
        self.group.reload(now);
    }

    fn takes_commits_of(&mut self, identity: &Identity, _: Instant) -> bool {
        self.group.handle_commit(&identity.member_id, identity.generation_or_epoch).is_ok()
    }
}
