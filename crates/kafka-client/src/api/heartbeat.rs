//! `Heartbeat` (classic protocol): says that a member is alive.

use kafka_protocol::messages::HeartbeatRequest;
use kafka_records::schema::Field::Since;

use crate::response_schema::{ERROR, THROTTLE};
use crate::versions::Api;

/// The API, as it is spoken here.
pub(crate) const API: Api = Api::of::<HeartbeatRequest>(1, 4, &[Since(1, &THROTTLE), ERROR]);
