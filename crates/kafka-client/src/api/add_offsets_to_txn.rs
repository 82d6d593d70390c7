//! `AddOffsetsToTxn`: makes a group's offsets part of a transaction of version 1. Version 4 is of transactions of version 2,
//! which need it not.

use kafka_protocol::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, GroupId, ProducerId as Id};
use kafka_records::batch::ProducerId;

use crate::response_schema::{ERROR, THROTTLE};
use crate::text::text;
use crate::transactions::code;
use crate::versions::Api;
use crate::{Coordinator, Error, Permit, TransactionVersion};

/// The API, as it is spoken here.
pub(crate) const API: Api = Api::of::<AddOffsetsToTxnRequest>(0, 3, &[THROTTLE, ERROR]);

const DOING: &str = "add offsets to the transaction of";

impl Coordinator {
    /// Makes a group's offsets part of the transaction, which begins with that where it has not.
    ///
    /// # Errors
    /// Where there is no answer, or it is an error.
    pub async fn add_offsets(&self, producer: ProducerId, group: &str, permit: &dyn Permit) -> Result<(), Error> {
        let request = AddOffsetsToTxnRequest::default()
            .with_transactional_id(self.own_id())
            .with_producer_id(Id(producer.id))
            .with_producer_epoch(producer.epoch)
            .with_group_id(GroupId(text(group)));
        let told = |told: &AddOffsetsToTxnResponse| (told.throttle_time_ms, code(told.error_code));
        self.ask(DOING, &request, TransactionVersion::V1, permit, told).await.map(drop)
    }
}
