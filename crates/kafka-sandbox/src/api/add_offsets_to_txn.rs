//! `AddOffsetsToTxn`: makes a group's offsets part of a transaction.

use kafka_protocol::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
use kafka_records::batch::ProducerId;

use super::call::{Answer, Call, Serve, told_fenced};
use crate::cluster::Cluster;
use crate::error_codes;
use crate::fault::Target;
use crate::schema::Field;
use crate::txn::machine::Participant;

impl Serve for AddOffsetsToTxnRequest {
    const SERVED: (i16, i16) = (0, 4);

    fn schema(_: i16) -> &'static [Field] {
        use Field::{Fixed, Text};
        &[Text, Fixed(8 + 2), Text]
    }

    fn targets(&self, _: i16, _: &Cluster) -> Vec<Target> {
        vec![Target::group(&self.group_id).within(&self.transactional_id)]
    }

    fn answer(self, call: Call<'_>) -> Answer<'_> {
        let producer = ProducerId { id: self.producer_id.0, epoch: self.producer_epoch };
        let added = vec![Participant::Offsets(self.group_id.to_string())];
        let added = match call.plan.transaction_error(&self.transactional_id) {
            Some(code) => Err(code),
            None => call.shared.lock().add_to_transaction(call.node, &self.transactional_id, producer, added),
        };
        AddOffsetsToTxnResponse::default()
            .with_error_code(added.map_err(|code| told_fenced(code, call.version)).err().unwrap_or(error_codes::NONE))
            .with_throttle_time_ms(call.plan.throttle_ms)
            .into()
    }
}
