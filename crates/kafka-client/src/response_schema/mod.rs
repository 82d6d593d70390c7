//! The fields of responses: a response is held against its API's fields before it is decoded, so that none makes the codec
//! reserve memory for what is not there.

#[cfg(test)]
mod tests;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Decodable, Request};
use kafka_records::schema::Field::{Fixed, Structs, Text, Values};
use kafka_records::schema::{self, Field, Version};

use crate::versions::Api;

/// The response to a request that has this correlation id before its fields.
const CORRELATION_ID: Field = Fixed(4);
/// For how long the broker holds back its next response, in milliseconds.
pub(crate) const THROTTLE: Field = Fixed(4);
/// An error code.
pub(crate) const ERROR: Field = Fixed(2);
/// An id, of a topic say.
pub(crate) const UUID: Field = Fixed(16);
/// Numbers, of partitions say.
pub(crate) const INTS: Field = Values(&Fixed(4));
/// An error for each partition of each topic.
pub(crate) const PARTITION_ERRORS: Field = Structs(&[Text, Structs(&[Fixed(4), ERROR])]);

/// A response that does not hold what it claims: it ends early, or some length in it is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {} answer (version {version}) does not hold what it claims", Api::name(*.api_key))]
pub(crate) struct MalformedResponse {
    api_key: i16,
    version: i16,
}

/// The fields of a response's body, and how many bytes follow the last of them.
#[derive(Debug, PartialEq, Eq)]
struct Body {
    fields: Bytes,
    /// A version's fields never change, what is new comes in a tag or another version; but some services send more all
    /// the same, and Kafka's own clients ignore it.
    trailing: usize,
}

/// Decodes a response, which begins with its header. Gives also how many bytes follow its last field. Nothing else here
/// decodes responses.
///
/// # Errors
/// Where the response does not hold what that version of it must.
pub(crate) fn decode<R: Request>(api: &Api, version: i16, response: &Bytes) -> anyhow::Result<(R::Response, usize)> {
    // kafka-protocol's decoders trust what a response claims: it is held against its fields first.
    let Body { mut fields, trailing } = body(api, version, response)?;
    Ok((R::Response::decode(&mut fields, version)?, trailing))
}

fn body(api: &Api, version: i16, response: &Bytes) -> Result<Body, MalformedResponse> {
    let malformed = || MalformedResponse { api_key: api.key, version };
    let key = ApiKey::try_from(api.key).map_err(|()| malformed())?;
    let header = Version { number: version, flexible: key.response_header_version(version) >= 1 };
    let number = Version { number: version, flexible: key.request_header_version(version) >= 2 };
    let body = schema::after(&[CORRELATION_ID], header, response).ok_or_else(malformed)?;
    let rest = schema::after(api.response, number, body).ok_or_else(malformed)?;
    Ok(Body { fields: response.slice_ref(&body[..body.len() - rest.len()]), trailing: rest.len() })
}
