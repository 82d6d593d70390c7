//! `EndTxn`: commits a transaction, or gives it up; in version 2 of transactions also as whom the next is written.

use kafka_protocol::messages::{EndTxnRequest, EndTxnResponse, ProducerId as Id};
use kafka_records::batch::ProducerId;

use super::call::{Answer, Call, Serve, told_fenced};
use crate::cluster::Cluster;
use crate::fault::Target;
use crate::schema::Field;
use crate::txn::machine::TransactionVersion;

/// The first version that is of a transaction of version 2.
const TRANSACTION_2: i16 = 5;

impl Serve for EndTxnRequest {
    const SERVED: (i16, i16) = (0, TRANSACTION_2);

    fn schema(_: i16) -> &'static [Field] {
        use Field::{Fixed, Text};
        &[Text, Fixed(8 + 2 + 1)]
    }

    fn targets(&self, _: i16, _: &Cluster) -> Vec<Target> {
        vec![Target::transaction(&self.transactional_id)]
    }

    fn answer(self, call: Call<'_>) -> Answer<'_> {
        let version = if call.version >= TRANSACTION_2 { TransactionVersion::V2 } else { TransactionVersion::V1 };
        let producer = ProducerId { id: self.producer_id.0, epoch: self.producer_epoch };
        let id = self.transactional_id.as_str();
        let ended = match call.plan.transaction_error(id) {
            Some(code) => Err(code),
            None => call.shared.lock().end_transaction(call.node, id, producer, self.committed, version),
        };
        call.shared.ring();
        let response = EndTxnResponse::default().with_throttle_time_ms(call.plan.throttle_ms);
        match (ended, version) {
            (Ok(next), TransactionVersion::V2) => {
                response.with_producer_id(Id(next.id)).with_producer_epoch(next.epoch)
            }
            (Ok(_), TransactionVersion::V1) => response,
            (Err(code), _) => response.with_error_code(told_fenced(code, call.version)),
        }
        .into()
    }
}
