//! `ConsumerGroupHeartbeat`: all that a member by the consumer protocol (KIP-848) asks: it joins, stays and leaves by it.

use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

use super::call::{Answer, Call, Serve};
use super::members::may_ask;
use crate::cluster::Cluster;
use crate::error_codes;
use crate::fault::Target;
use crate::group::classic::ClassicGroupState;
use crate::group::consumer::{Caller, TopicMetadata, Topics};
use crate::schema::Field;

/// The first version in which the member makes its id itself (KIP-1082).
const MEMBER_MAKES_ID: i16 = 1;

impl Serve for ConsumerGroupHeartbeatRequest {
    const SERVED: (i16, i16) = (0, 1);

    fn schema(version: i16) -> &'static [Field] {
        use Field::{Fixed, Structs, Text, Values};
        const OWNED: Field = Structs(&[Fixed(16), Values(&Fixed(4))]);
        match version {
            0 => &[Text, Text, Fixed(4), Text, Text, Fixed(4), Values(&Text), Text, OWNED],
            _ => &[Text, Text, Fixed(4), Text, Text, Fixed(4), Values(&Text), Text, Text, OWNED],
        }
    }

    fn targets(&self, _: i16, _: &Cluster) -> Vec<Target> {
        vec![Target::group(&self.group_id)]
    }

    fn answer(self, call: Call<'_>) -> Answer<'_> {
        let mut cluster = call.shared.lock();
        let group = self.group_id.as_str();
        let response = match may_heartbeat(&cluster, call, &self) {
            Err(code) => ConsumerGroupHeartbeatResponse::default().with_error_code(code),
            Ok(()) => {
                let topics = topics(&cluster);
                let name = self.instance_id.as_deref().unwrap_or(call.client);
                let new_member_id = cluster.groups.member_id(name);
                let caller = Caller { client_id: call.client.to_owned(), new_member_id };
                cluster.groups.with(group, |entry, now| entry.consumer.handle_heartbeat(&self, caller, &topics, now))
            }
        };
        response.with_throttle_time_ms(call.plan.throttle_ms).into()
    }
}

fn may_heartbeat(cluster: &Cluster, call: Call<'_>, request: &ConsumerGroupHeartbeatRequest) -> Result<(), i16> {
    let group = request.group_id.as_str();
    may_ask(cluster, call, group)?;
    if cluster.groups.consumer_protocol.is_none() {
        return Err(error_codes::UNSUPPORTED_VERSION);
    }
    if call.version >= MEMBER_MAKES_ID && request.member_id.is_empty() {
        return Err(error_codes::INVALID_REQUEST);
    }
    match cluster.groups.find(group) {
        // It has members by the classic protocol, or they are about to join.
        Some(entry) if entry.machine.state() != ClassicGroupState::Empty => Err(error_codes::GROUP_ID_NOT_FOUND),
        _ => Ok(()),
    }
}

fn topics(cluster: &Cluster) -> Topics {
    let topics = cluster.topics.iter();
    topics
        .map(|(name, topic)| (name.clone(), TopicMetadata { id: topic.id, partitions: topic.config.partitions }))
        .collect()
}
