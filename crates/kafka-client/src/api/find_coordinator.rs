//! `FindCoordinator`: the broker that keeps a group, or the transactions of an id. Version 0 knows groups only.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;
use kafka_records::schema::Field::{self, Fixed, Since, Structs, Text, Until};

use crate::Cause;
use crate::address::address;
use crate::response_schema::{ERROR, THROTTLE};
use crate::versions::Api;

/// The API, as it is spoken here.
pub(crate) const API: Api = Api::of::<FindCoordinatorRequest>(0, 4, RESPONSE);

const RESPONSE: &[Field] = &[
    Since(1, &THROTTLE),
    Until(3, &ERROR),
    Since(1, &Until(3, &Text)),
    Until(3, &Fixed(4)),
    Until(3, &Text),
    Until(3, &Fixed(4)),
    Since(4, &Structs(&[Text, Fixed(4), Text, Fixed(4), ERROR, Text])),
];

/// What is coordinated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Group,
    Transactions,
}

impl Of {
    /// The number that stands for it in the protocol.
    pub(crate) fn key_type(self) -> i8 {
        match self {
            Self::Group => 0,
            Self::Transactions => 1,
        }
    }

    pub(crate) fn finding(self) -> &'static str {
        match self {
            Self::Group => "find the coordinator of group",
            Self::Transactions => "find the coordinator of transactional id",
        }
    }
}

/// Builds a request in this version. Version 0 knows groups only; a broker without a later one refuses what is asked for no group.
pub(crate) fn find_request(of: Of, key: &StrBytes, version: i16) -> FindCoordinatorRequest {
    let request = FindCoordinatorRequest::default();
    let request =
        if version >= 4 { request.with_coordinator_keys(vec![key.clone()]) } else { request.with_key(key.clone()) };
    if of == Of::Group { request } else { request.with_key_type(of.key_type()) }
}

/// Where the coordinator of `key` listens, as a response says.
///
/// # Errors
/// Where the broker knows none, or names one that nobody can reach.
pub(crate) fn found(response: &FindCoordinatorResponse, key: &StrBytes) -> Result<String, Cause> {
    let (code, host, port) = match &response.coordinators[..] {
        [] => (response.error_code, &response.host, response.port),
        all => {
            let found = all.iter().find(|found| found.key == *key);
            let found = found.ok_or_else(|| Cause::Undecodable("it names another group or id".to_owned()))?;
            (found.error_code, &found.host, found.port)
        }
    };
    match ResponseError::try_from_code(code) {
        None => address(host, port).map_err(Cause::Undecodable),
        Some(code) => Err(Cause::Code(code)),
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::protocol::Encodable;

    use super::*;

    #[test]
    fn both_kinds_are_asked_for_in_every_version_that_has_them() {
        let key = StrBytes::from_static_str("k");
        for (of, versions, key_type) in [(Of::Group, 0..=4, 0), (Of::Transactions, 1..=4, 1)] {
            for version in versions {
                let request = find_request(of, &key, version);
                assert_eq!(request.key_type, key_type);
                request.encode(&mut BytesMut::new(), version).unwrap();
            }
        }
    }
}
