//! `Heartbeat`: tells the coordinator that a member is there, and the member whether it is still counted in.

use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use super::call::{Answer, Call, Serve};
use super::members::{claim, may_ask};
use crate::cluster::Cluster;
use crate::error_codes;
use crate::fault::Target;
use crate::schema::Field;

impl Serve for HeartbeatRequest {
    const SERVED: (i16, i16) = (0, 4);

    fn schema(version: i16) -> &'static [Field] {
        use Field::{Fixed, Text};
        match version {
            ..=2 => &[Text, Fixed(4), Text],
            _ => &[Text, Fixed(4), Text, Text],
        }
    }

    fn targets(&self, _: i16, _: &Cluster) -> Vec<Target> {
        vec![Target::group(&self.group_id)]
    }

    fn answer(self, call: Call<'_>) -> Answer<'_> {
        let mut cluster = call.shared.lock();
        let group = self.group_id.as_str();
        let claim = claim(&self.member_id, self.group_instance_id.as_ref(), self.generation_id);
        let outcome = may_ask(&cluster, call, group)
            .and_then(|()| cluster.groups.with(group, |entry, now| entry.machine.handle_heartbeat(&claim, now)));
        HeartbeatResponse::default()
            .with_error_code(outcome.err().unwrap_or(error_codes::NONE))
            .with_throttle_time_ms(call.plan.throttle_ms)
            .into()
    }
}
