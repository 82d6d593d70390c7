//! `FindCoordinator`: which node keeps a group, or a transactional id.

use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;

use super::call::{Answer, Call, Serve};
use crate::HOST;
use crate::cluster::Cluster;
use crate::error_codes;
use crate::fault::Target;
use crate::schema::Field;

/// Asks for a group's.
const GROUP: i8 = 0;
/// Asks for a transactional id's.
const TRANSACTION: i8 = 1;
/// The first version that asks for many.
const MANY: i16 = 4;

impl Serve for FindCoordinatorRequest {
    const SERVED: (i16, i16) = (0, MANY);

    fn schema(version: i16) -> &'static [Field] {
        use Field::{Fixed, Text, Values};
        match version {
            0 => &[Text],
            1..MANY => &[Text, Fixed(1)],
            _ => &[Fixed(1), Values(&Text)],
        }
    }

    fn targets(&self, version: i16, _: &Cluster) -> Vec<Target> {
        let target = if self.key_type == TRANSACTION { Target::transaction } else { Target::group };
        keys(version, self).iter().map(|key| target(key)).collect()
    }

    fn answer(self, call: Call<'_>) -> Answer<'_> {
        let cluster = call.shared.lock();
        let found = keys(call.version, &self).into_iter().map(|key| {
            let node = match self.key_type {
                GROUP => call.plan.group_error(&key).map_or_else(|| cluster.coordinator(&key), Err),
                TRANSACTION => {
                    call.plan.transaction_error(&key).map_or_else(|| cluster.transaction_coordinator(&key), Err)
                }
                _ => Err(error_codes::INVALID_REQUEST),
            };
            let port = node.ok().and_then(|node| cluster.nodes.get(&node)).map_or(-1, |node| i32::from(node.port));
            let host = if node.is_ok() { HOST } else { "" };
            Coordinator::default()
                .with_key(key)
                .with_node_id(BrokerId(node.unwrap_or(-1)))
                .with_host(StrBytes::from_static_str(host))
                .with_port(port)
                .with_error_code(node.err().unwrap_or(error_codes::NONE))
        });
        let mut found: Vec<_> = found.collect();
        let response = FindCoordinatorResponse::default().with_throttle_time_ms(call.plan.throttle_ms);
        if call.version >= MANY {
            return response.with_coordinators(found).into();
        }
        let Some(found) = found.pop() else { return response.into() };
        response
            .with_error_code(found.error_code)
            .with_node_id(found.node_id)
            .with_host(found.host)
            .with_port(found.port)
            .into()
    }
}

/// What a request asks for.
fn keys(version: i16, request: &FindCoordinatorRequest) -> Vec<StrBytes> {
    if version >= MANY { request.coordinator_keys.clone() } else { vec![request.key.clone()] }
}
