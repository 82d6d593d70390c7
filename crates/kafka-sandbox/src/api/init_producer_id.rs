//! `InitProducerId`: as whom a producer writes. One without a transactional id is given an id that nobody has; to
//! one with such an id its coordinator gives the next epoch, and ends what its predecessor has left open.

use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId as Id};
use kafka_records::batch::ProducerId;

use super::call::{Answer, Call, Serve};
use crate::cluster::Cluster;
use crate::error_codes;
use crate::fault::Target;
use crate::schema::Field;

/// The first version that tells who is fenced from whose epoch is over.
const TELLS_FENCED: i16 = 4;

impl Serve for InitProducerIdRequest {
    const SERVED: (i16, i16) = (0, 5);

    fn schema(version: i16) -> &'static [Field] {
        use Field::{Fixed, Text};
        match version {
            ..=2 => &[Text, Fixed(4)],
            _ => &[Text, Fixed(4 + 8 + 2)],
        }
    }

    fn targets(&self, _: i16, _: &Cluster) -> Vec<Target> {
        self.transactional_id.as_ref().map(|id| Target::transaction(id)).into_iter().collect()
    }

    fn answer(self, call: Call<'_>) -> Answer<'_> {
        let response = InitProducerIdResponse::default().with_throttle_time_ms(call.plan.throttle_ms);
        let given = init(&self, call);
        call.shared.ring();
        match given {
            Ok(given) => response.with_producer_id(Id(given.id)).with_producer_epoch(given.epoch),
            Err(error_codes::PRODUCER_FENCED) if call.version < TELLS_FENCED => {
                refused(response, error_codes::INVALID_PRODUCER_EPOCH)
            }
            Err(code) => refused(response, code),
        }
        .into()
    }
}

fn refused(response: InitProducerIdResponse, code: i16) -> InitProducerIdResponse {
    response.with_error_code(code).with_producer_id(Id(-1)).with_producer_epoch(-1)
}

fn init(request: &InitProducerIdRequest, call: Call<'_>) -> Result<ProducerId, i16> {
    let mut cluster = call.shared.lock();
    let expected = match (request.producer_id.0, request.producer_epoch) {
        (-1, -1) => None,
        (-1, _) | (_, -1) => return Err(error_codes::INVALID_REQUEST),
        (id, epoch) => Some(ProducerId { id, epoch }),
    };
    let Some(id) = &request.transactional_id else {
        return match call.plan.request_error() {
            Some(code) => Err(code),
            None => Ok(ProducerId { id: cluster.new_producer_id(), epoch: 0 }),
        };
    };
    match call.plan.transaction_error(id) {
        Some(code) => Err(code),
        None => cluster.init_transactions(call.node, id, request.transaction_timeout_ms, expected),
    }
}
