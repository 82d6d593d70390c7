//! `LeaveGroup` (classic protocol): says that a member goes.

use kafka_protocol::messages::LeaveGroupRequest;
use kafka_records::schema::Field::{Since, Structs, Text};

use crate::response_schema::{ERROR, THROTTLE};
use crate::versions::Api;

/// The API, as it is spoken here.
pub(crate) const API: Api =
    Api::of::<LeaveGroupRequest>(1, 5, &[Since(1, &THROTTLE), ERROR, Since(3, &Structs(&[Text, Text, ERROR]))]);
