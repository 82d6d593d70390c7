//! `InitProducerId`: hands out the next producer id in epoch 0; to a known transactional id its own, in the
//! next epoch.

use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use super::call::{Answer, Call, Serve};
use crate::cluster::Cluster;
use crate::error_codes;
use crate::fault::Target;
use crate::schema::Field;

impl Serve for InitProducerIdRequest {
    const SERVED: (i16, i16) = (0, 1);

    fn schema(_: i16) -> &'static [Field] {
        use Field::{Fixed, Text};
        &[Text, Fixed(4)]
    }

    fn targets(&self, _: i16, _: &Cluster) -> Vec<Target> {
        Vec::new()
    }

    fn answer(self, call: Call<'_>) -> Answer<'_> {
        let response = InitProducerIdResponse::default().with_throttle_time_ms(call.plan.throttle_ms);
        // As Kafka: no transactional id is null, not empty.
        let empty = self.transactional_id.as_ref().is_some_and(|id| id.is_empty());
        match call.plan.request_error().or_else(|| empty.then_some(error_codes::INVALID_REQUEST)) {
            Some(code) => response.with_error_code(code).with_producer_id(ProducerId(-1)).with_producer_epoch(-1),
            None => {
                let transactional_id = self.transactional_id.as_ref().map(|id| id.as_str());
                let (id, epoch) = call.shared.lock().producer_id(transactional_id);
                response.with_producer_id(ProducerId(id)).with_producer_epoch(epoch)
            }
        }
        .into()
    }
}
