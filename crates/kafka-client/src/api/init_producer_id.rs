//! `InitProducerId`: what an idempotent producer, or a transactional id, is known to the brokers by.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId as Id, TransactionalId};
use kafka_protocol::protocol::Request;
use kafka_records::batch::ProducerId;
use kafka_records::schema::Field::Fixed;

use crate::response_schema::{ERROR, THROTTLE};
use crate::transactions::{Begun, code};
use crate::versions::Api;
use crate::{Cause, Cluster, Connection, Coordinator, Error, Permit, TransactionVersion};

/// The API, as it is spoken here.
pub(crate) const API: Api = Api::of::<InitProducerIdRequest>(0, 4, &[THROTTLE, ERROR, Fixed(8 + 2)]);

/// The first version of `InitProducerId` that carries the id before.
const CARRIES_ID: i16 = 3;

const ASK_FOR_ID: &str = "get a producer id from";
const INITIALIZE: &str = "begin to write as transactional id";

impl Cluster {
    /// A producer id that nobody else has, in its first epoch. Any broker hands them out.
    ///
    /// # Errors
    /// Where no broker answers, or none may: `CLUSTER_AUTHORIZATION_FAILED` of brokers before 3.0
    /// that have not granted `IdempotentWrite`.
    pub async fn init_producer_id(&self) -> Result<ProducerId, Error> {
        let request =
            InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(i32::MAX);
        let ask = |connection: Arc<Connection>| {
            let request = request.clone();
            async move { connection.request(ASK_FOR_ID, &request).await }
        };
        let response = self.ask_any(ask).await?;
        let failed = |cause| Error { doing: ASK_FOR_ID, on: "the cluster".to_owned(), cause };
        initialized(&response).map_err(failed)?;
        Ok(ProducerId { id: response.producer_id.0, epoch: response.producer_epoch })
    }
}

impl Coordinator {
    /// What this transactional id is known to brokers by from now on. Whoever wrote under it before
    /// writes no more, and what it left open is ended: finished where it was to be committed, thrown
    /// away otherwise. A transaction that stays open for longer than `timeout` is thrown away too.
    ///
    /// The version is what the coordinator said of the cluster when the connection to it opened, but no
    /// later than `latest`. A
    /// feature is the whole cluster's, and its brokers hear of a change one after another: what counts
    /// is the one that keeps the transaction. It goes by what each request says, not by the feature,
    /// so that transactions of version 1 go on in that after an upgrade, until there is another id.
    ///
    /// With `before`, the id in whose place the next one comes, nobody else is fenced by it, and neither is
    /// who asks where the request arrives once more (KIP-360). It takes Kafka 2.5, and is left out before.
    ///
    /// # Errors
    /// Where there is no answer, or an error: `CONCURRENT_TRANSACTIONS` until what was open has ended; with
    /// `before`, that another writes by now, or that the coordinator has ended what `before` wrote.
    pub async fn init_transactions(
        &self,
        timeout: Duration,
        latest: TransactionVersion,
        before: Option<ProducerId>,
        permit: &dyn Permit,
    ) -> Result<Begun, Error> {
        let connection = self.connection().await?;
        let carries_id = connection.version(InitProducerIdRequest::KEY).is_ok_and(|version| version >= CARRIES_ID);
        let request = init_request(self.own_id(), timeout, before.filter(|_| carries_id));
        let version = connection.offered().transactions().min(latest);
        let told = |told: &InitProducerIdResponse| (told.throttle_time_ms, initialized(told));
        let told = self.ask_on(&connection, INITIALIZE, &request, version, permit, told).await?;
        Ok(Begun { producer: ProducerId { id: told.producer_id.0, epoch: told.producer_epoch }, version })
    }
}

fn init_request(id: TransactionalId, timeout: Duration, before: Option<ProducerId>) -> InitProducerIdRequest {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(id))
        .with_transaction_timeout_ms(i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX));
    match before {
        Some(before) => request.with_producer_id(Id(before.id)).with_producer_epoch(before.epoch),
        None => request,
    }
}

/// Of an id that is none, nothing can be written.
fn initialized(response: &InitProducerIdResponse) -> Result<(), Cause> {
    code(response.error_code)?;
    let (id, epoch) = (response.producer_id.0, response.producer_epoch);
    if id < 0 || epoch < 0 {
        return Err(Cause::Undecodable(format!("{id} in epoch {epoch} is no producer id")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::protocol::Encodable;

    use super::*;
    use crate::text::text;

    /// The encoder refuses fields that a version lacks.
    #[test]
    fn every_request_is_written_in_every_version_that_may_be_chosen() {
        let id = || TransactionalId(text("id"));
        for version in API.versions.min..=API.versions.max {
            init_request(id(), Duration::from_secs(60), None).encode(&mut BytesMut::new(), version).unwrap();
            if version >= CARRIES_ID {
                let before = Some(ProducerId { id: 7, epoch: 3 });
                init_request(id(), Duration::from_secs(60), before).encode(&mut BytesMut::new(), version).unwrap();
            }
        }
    }

    #[test]
    fn an_id_that_is_none_is_not_written_under() {
        let told = |id: i64, epoch| {
            initialized(&InitProducerIdResponse::default().with_producer_id(Id(id)).with_producer_epoch(epoch))
        };
        told(0, 0).unwrap();
        assert!(matches!(told(-1, 0), Err(Cause::Undecodable(_))));
        assert!(matches!(told(3, -1), Err(Cause::Undecodable(_))));
    }
}
