//! What the requests of transactions have in common, in both versions:
//!
//! ```text
//! transactions' coordinator                          group's coordinator
//!   InitProducerId      who writes; ends what a predecessor left open
//!   AddPartitionsToTxn  before the first batch for each partition (version 1 only)
//!   AddOffsetsToTxn     before ...  (version 1 only)   TxnOffsetCommit
//!   EndTxn              all of it is there, or none of it; in version 2 also who writes from now on
//! ```
//!
//! Kafka 2.5 to 4 speak the first (KIP-98). In the second (KIP-890), which Kafka 4 has where the feature
//! `transaction.version` says so, the brokers themselves add to a transaction what is written, and give
//! each transaction an epoch of its own: what arrives late is of an epoch that is over.

use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::TransactionalId;
use kafka_protocol::protocol::Request;
use kafka_records::batch::ProducerId;

use crate::text::text;
use crate::{Cause, Connection, Coordinator, Error, Permit, TransactionVersion};

/// The producer id that transactions are written under from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    /// The producer id and epoch that brokers know the transactional id by.
    pub producer: ProducerId,
    /// The version of its transactions.
    pub version: TransactionVersion,
}

impl Coordinator {
    pub(crate) fn own_id(&self) -> TransactionalId {
        TransactionalId(text(self.transactional_id()))
    }

    /// Sends a request while `permit` holds, and heeds what the response says: a pause, and an error.
    pub(crate) async fn ask<R: Request>(
        &self,
        doing: &'static str,
        request: &R,
        version: TransactionVersion,
        permit: &dyn Permit,
        told: impl FnOnce(&R::Response) -> (i32, Result<(), Cause>),
    ) -> Result<R::Response, Error> {
        let connection = self.connection().await?;
        self.ask_on(&connection, doing, request, version, permit, told).await
    }

    /// Sends a request as [`Coordinator::ask`] does, on this connection.
    pub(crate) async fn ask_on<R: Request>(
        &self,
        connection: &Arc<Connection>,
        doing: &'static str,
        request: &R,
        version: TransactionVersion,
        permit: &dyn Permit,
        told: impl FnOnce(&R::Response) -> (i32, Result<(), Cause>),
    ) -> Result<R::Response, Error> {
        let answer = connection.request_in_transaction(doing, request, version, permit).await.and_then(|response| {
            let (throttle_ms, outcome) = told(&response);
            connection.throttle_ms(throttle_ms);
            outcome.map(|()| response).map_err(|cause| Error { doing, on: self.key().to_owned(), cause })
        });
        self.checked(connection, answer).await
    }
}

/// Takes an error code for what it says.
pub(crate) fn code(code: i16) -> Result<(), Cause> {
    ResponseError::try_from_code(code).map_or(Ok(()), |code| Err(Cause::Code(code)))
}

/// The error of a response that leaves a partition out: every broker says something of what is asked for, and silence is
/// no consent.
pub(crate) fn not_told(topic: &str, partition: i32) -> Cause {
    Cause::Undecodable(format!("it does not tell of partition {partition} of {topic}"))
}
