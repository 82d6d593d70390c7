//! `SyncGroup` (classic protocol): hands out the assignment that a group's leader made.

use kafka_protocol::messages::SyncGroupRequest;
use kafka_records::schema::Field::{Blob, Since, Text};

use crate::response_schema::{ERROR, THROTTLE};
use crate::versions::Api;

/// The API, as it is spoken here.
pub(crate) const API: Api =
    Api::of::<SyncGroupRequest>(1, 5, &[Since(1, &THROTTLE), ERROR, Since(5, &Text), Since(5, &Text), Blob]);
