//! `EndTxn`: commits a transaction. Version 5 is of transactions of version 2, and names who writes from then on.

use kafka_protocol::messages::{EndTxnRequest, EndTxnResponse, ProducerId as Id, TransactionalId};
use kafka_records::batch::ProducerId;
use kafka_records::schema::Field::{Fixed, Since};

use crate::response_schema::{ERROR, THROTTLE};
use crate::transactions::{Begun, code};
use crate::versions::Api;
use crate::{Cause, Coordinator, Error, Permit, TransactionVersion};

/// The API, as it is spoken here.
pub(crate) const API: Api =
    Api::of::<EndTxnRequest>(0, 3, &[THROTTLE, ERROR, Since(5, &Fixed(8 + 2))]).with_transaction_v2(5);

const DOING: &str = "end the transaction of";

impl Coordinator {
    /// Commits the transaction, and tells as whom the next one is written. Asked again, it says again
    /// that it is committed, and as whom.
    ///
    /// # Errors
    /// Where there is no answer, or it is an error.
    pub async fn commit_transaction(&self, begun: Begun, permit: &dyn Permit) -> Result<Begun, Error> {
        let request = end_request(self.own_id(), begun.producer);
        let told = |told: &EndTxnResponse| (told.throttle_time_ms, next(told, begun).map(drop));
        let told = self.ask(DOING, &request, begun.version, permit, told).await?;
        next(&told, begun).map_err(|cause| Error { doing: DOING, on: self.key().to_owned(), cause })
    }
}

fn end_request(id: TransactionalId, producer: ProducerId) -> EndTxnRequest {
    EndTxnRequest::default()
        .with_transactional_id(id)
        .with_producer_id(Id(producer.id))
        .with_producer_epoch(producer.epoch)
        .with_committed(true)
}

/// As whom the next transaction is written. In version 2 that is another than this one: numbers begin
/// again with it, and under the same the brokers would take the next batches for these.
fn next(response: &EndTxnResponse, begun: Begun) -> Result<Begun, Cause> {
    code(response.error_code)?;
    if begun.version == TransactionVersion::V1 {
        return Ok(begun);
    }
    let Begun { producer: before, .. } = begun;
    let producer = ProducerId { id: response.producer_id.0, epoch: response.producer_epoch };
    if producer.id < 0 || producer.epoch < 0 || (producer.id == before.id && producer.epoch <= before.epoch) {
        let (id, epoch) = (producer.id, producer.epoch);
        return Err(Cause::Undecodable(format!(
            "{id} in epoch {epoch} can't be who comes after {} in epoch {}",
            before.id, before.epoch
        )));
    }
    Ok(Begun { producer, ..begun })
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::protocol::Encodable;

    use super::*;
    use crate::text::text;

    const PRODUCER: ProducerId = ProducerId { id: 7, epoch: 3 };

    /// The encoder refuses fields that a version lacks.
    #[test]
    fn every_request_is_written_in_every_version_that_may_be_chosen() {
        for version in (API.versions.min..=API.versions.max).chain(API.in_transaction_v2) {
            end_request(TransactionalId(text("id")), PRODUCER).encode(&mut BytesMut::new(), version).unwrap();
        }
    }

    #[test]
    fn whoever_writes_next_is_another_in_version_2() {
        let told = |version, id: i64, epoch| {
            let response = EndTxnResponse::default().with_producer_id(Id(id)).with_producer_epoch(epoch);
            next(&response, Begun { producer: PRODUCER, version }).map(|begun| begun.producer)
        };
        assert_eq!(told(TransactionVersion::V1, -1, -1).unwrap(), PRODUCER, "nobody is named");
        for (id, epoch) in [(7, 4), (7, 9), (8, 0)] {
            assert_eq!(told(TransactionVersion::V2, id, epoch).unwrap(), ProducerId { id, epoch });
        }
        for (id, epoch) in [(7, 3), (7, 2), (-1, -1), (8, -1)] {
            let refused = told(TransactionVersion::V2, id, epoch);
            assert!(matches!(refused, Err(Cause::Undecodable(_))), "{refused:?}");
        }
    }
}
