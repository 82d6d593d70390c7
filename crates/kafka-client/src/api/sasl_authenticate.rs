//! `SaslAuthenticate` (KIP-152): carries the messages of a mechanism.

use kafka_protocol::messages::{SaslAuthenticateRequest, SaslAuthenticateResponse};
use kafka_records::schema::Field::{Blob, Fixed, Since, Text};

use crate::response_schema::ERROR;
use crate::versions::Api;
use crate::{Connection, Error};

/// The API, as it is spoken here.
pub(crate) const API: Api = Api::of::<SaslAuthenticateRequest>(0, 2, &[ERROR, Text, Blob, Since(1, &Fixed(8))]);

/// Sends a message of the mechanism.
///
/// # Errors
/// Where there is no response. What the broker says is in it.
pub(crate) async fn authenticate(
    connection: &Connection,
    doing: &'static str,
    message: String,
) -> Result<SaslAuthenticateResponse, Error> {
    let request = SaslAuthenticateRequest::default().with_auth_bytes(message.into());
    connection.request(doing, &request).await
}
