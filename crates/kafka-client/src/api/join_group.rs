//! `JoinGroup` (classic protocol): enters a group, and waits for the others.

use kafka_protocol::messages::JoinGroupRequest;
use kafka_records::schema::Field::{self, Blob, Fixed, Since, Structs, Text};

use crate::response_schema::{ERROR, THROTTLE};
use crate::versions::Api;

/// The API, as it is spoken here.
pub(crate) const API: Api = Api::of::<JoinGroupRequest>(2, 9, RESPONSE);

const RESPONSE: &[Field] = &[
    Since(2, &THROTTLE),
    ERROR,
    Fixed(4),
    Since(7, &Text),
    Text,
    Text,
    Since(9, &Fixed(1)),
    Text,
    Structs(&[Text, Since(5, &Text), Blob]),
];
