//! `SaslHandshake` (KIP-43): names the mechanism. Spoken in version 1 only: in version 0 what follows has no frame.

use kafka_protocol::messages::{SaslHandshakeRequest, SaslHandshakeResponse};
use kafka_protocol::protocol::StrBytes;
use kafka_records::schema::Field::{Text, Values};

use crate::response_schema::ERROR;
use crate::versions::Api;
use crate::{Connection, Error};

/// The API, as it is spoken here.
pub(crate) const API: Api = Api::of::<SaslHandshakeRequest>(1, 1, &[ERROR, Values(&Text)]);

/// Asks for a mechanism.
///
/// # Errors
/// Where there is no response. What the broker says is in it.
pub(crate) async fn handshake(
    connection: &Connection,
    doing: &'static str,
    mechanism: &'static str,
) -> Result<SaslHandshakeResponse, Error> {
    let request = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism));
    connection.request(doing, &request).await
}
