//! `ConsumerGroupHeartbeat` (KIP-848): says that a member is alive and what it has, and is told what it shall have.

use kafka_protocol::messages::ConsumerGroupHeartbeatRequest;
use kafka_records::schema::Field::{Fixed, Maybe, Structs, Text};

use crate::response_schema::{ERROR, INTS, THROTTLE, UUID};
use crate::versions::Api;

/// The API, as it is spoken here.
pub(crate) const API: Api = Api::of::<ConsumerGroupHeartbeatRequest>(
    0,
    1,
    &[THROTTLE, ERROR, Text, Text, Fixed(4 + 4), Maybe(&[Structs(&[UUID, INTS])])],
);
