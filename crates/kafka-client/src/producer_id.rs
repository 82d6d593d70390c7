//! `InitProducerId`: what an idempotent producer is known to the brokers by.

use kafka_protocol::messages::InitProducerIdRequest;
use kafka_records::batch::ProducerId;

use super::Cluster;
use super::transactions::initialized;
use crate::Error;

const DOING: &str = "get a producer id from";

impl Cluster {
    /// A producer id that nobody else has, in its first epoch. Any broker hands them out.
    ///
    /// # Errors
    /// Where no broker answers, or none may: `CLUSTER_AUTHORIZATION_FAILED` of brokers before 3.0
    /// that have not granted `IdempotentWrite`.
    pub async fn init_producer_id(&self) -> Result<ProducerId, Error> {
        let request =
            InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(i32::MAX);
        let ask = |connection: std::sync::Arc<super::Connection>| {
            let request = request.clone();
            async move { connection.request(DOING, &request).await }
        };
        let response = self.ask_any(ask).await?;
        let failed = |cause| Error { doing: DOING, on: "the cluster".to_owned(), cause };
        initialized(&response).map_err(failed)?;
        Ok(ProducerId { id: response.producer_id.0, epoch: response.producer_epoch })
    }
}
