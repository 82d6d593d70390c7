//! `ApiVersions`: which requests a broker takes, in which versions. A broker that does not know our version of this one
//! says so in version 0.

use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::ApiVersionsRequest;
use kafka_protocol::protocol::StrBytes;
use kafka_records::schema::Field::{self, Fixed, Since, Structs, Tags, Text};

use crate::response_schema::{ERROR, THROTTLE};
use crate::versions::{Api, Offered};
use crate::{Cause, Connection, Error};

/// The API, as it is spoken here.
pub(crate) const API: Api = Api::of::<ApiVersionsRequest>(0, 3, RESPONSE);

const RESPONSE: &[Field] = &[
    ERROR,
    Structs(&[Fixed(2 + 2 + 2)]),
    Since(1, &THROTTLE),
    Tags(&[(0, FEATURES), (1, Fixed(8)), (2, FEATURES), (3, Fixed(1))]),
];

const FEATURES: Field = Structs(&[Text, Fixed(2 + 2)]);

const DOING: &str = "negotiate versions with";

/// Asks for what a broker offers, and says which program asks: its name and version (KIP-511).
///
/// # Errors
/// Where there is no response within `patience`, or it is an error.
pub(crate) async fn negotiate(
    connection: &Connection,
    patience: Duration,
    [name, version]: [&'static str; 2],
) -> Result<Offered, Error> {
    let request = ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str(name))
        .with_client_software_version(StrBytes::from_static_str(version));
    let mut response = connection.request_in(DOING, &request, API.versions.max, patience).await;
    let unsupported = |error: &Error| matches!(error.cause, Cause::Undecodable(_));
    if response.as_ref().is_ok_and(|response| response.error_code != 0) || response.as_ref().is_err_and(unsupported) {
        response = connection.request_in(DOING, &ApiVersionsRequest::default(), 0, patience).await;
    }
    let response = response?;
    match ResponseError::try_from_code(response.error_code) {
        Some(code) => Err(connection.error(DOING, Cause::Code(code))),
        None => Ok(Offered::from(&response)),
    }
}
