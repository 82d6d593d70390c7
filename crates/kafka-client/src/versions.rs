//! The version that each request is sent in: of those that this client knows and the broker offers the latest, or what the
//! transaction asks for that a request is part of.

use std::collections::HashMap;

use kafka_protocol::messages::{ApiKey, ApiVersionsResponse};
use kafka_protocol::protocol::{Request, VersionRange};
use kafka_records::schema::Field;

use crate::Cause;

/// An API of Kafka's protocol, as this client speaks it: a row of [`crate::api::ALL`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Api {
    /// Its number in the protocol.
    pub(crate) key: i16,
    /// The versions that this client has been tested with.
    pub(crate) versions: VersionRange,
    /// The version by which a request says that its transaction is one of version 2: the first that does. Brokers go by
    /// nothing else, so that `versions` end before it.
    pub(crate) in_transaction_v2: Option<i16>,
    /// The fields of its response, from the oldest version that is spoken to the latest.
    pub(crate) response: &'static [Field],
}

impl Api {
    /// The API of a request, in the versions from `min` to `max`.
    pub(crate) const fn of<R: Request>(min: i16, max: i16, response: &'static [Field]) -> Self {
        Self { key: R::KEY, versions: VersionRange { min, max }, in_transaction_v2: None, response }
    }

    /// The API with a version that only requests of transactions of version 2 are sent in.
    pub(crate) const fn with_transaction_v2(self, version: i16) -> Self {
        Self { in_transaction_v2: Some(version), ..self }
    }

    /// An API as the protocol calls it.
    pub(crate) fn name(key: i16) -> String {
        ApiKey::try_from(key).map_or_else(|()| format!("api key {key}"), |key| format!("{key:?}"))
    }
}

/// The cluster's feature that says which transactions it has.
const TRANSACTION_VERSION: &str = "transaction.version";

/// Which transactions are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum TransactionVersion {
    /// KIP-98: what belongs to a transaction is added to it before.
    #[default]
    V1,
    /// KIP-890: what is written belongs to it by itself, and each transaction has an epoch of its own.
    V2,
}

impl TransactionVersion {
    /// As `transaction.version` counts.
    pub fn number(self) -> i16 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }
}

/// What a broker offers, as it says when a connection opens.
#[derive(Debug, Default)]
pub(super) struct Offered {
    versions: HashMap<i16, VersionRange>,
    /// The features that the whole cluster has agreed on, and at which level.
    finalized: HashMap<String, i16>,
}

impl From<&ApiVersionsResponse> for Offered {
    fn from(told: &ApiVersionsResponse) -> Self {
        let versions = told.api_keys.iter();
        let versions =
            versions.map(|api| (api.api_key, VersionRange { min: api.min_version, max: api.max_version })).collect();
        let finalized = told.finalized_features.iter();
        let finalized = finalized.map(|feature| (feature.name.to_string(), feature.max_version_level)).collect();
        Self { versions, finalized }
    }
}

impl Offered {
    /// The latest version of a request that both sides know.
    ///
    /// # Errors
    /// [`Cause::Unsupported`] where there is none.
    pub(crate) fn latest(&self, api: &Api) -> Result<i16, Cause> {
        match self.versions.get(&api.key).map(|theirs| api.versions.intersect(theirs)) {
            Some(range) if !range.is_empty() => Ok(range.max),
            _ => Err(Cause::Unsupported(Api::name(api.key))),
        }
    }

    /// Whether the broker takes this version of a request, known here or not.
    pub(crate) fn has(&self, api_key: i16, version: i16) -> bool {
        self.versions.get(&api_key).is_some_and(|range| (range.min..=range.max).contains(&version))
    }

    /// The version of a request that is part of a transaction.
    ///
    /// # Errors
    /// [`Cause::Unsupported`] where the broker does not take it.
    pub(crate) fn within(&self, transaction: TransactionVersion, api: &Api) -> Result<i16, Cause> {
        match (transaction, api.in_transaction_v2) {
            (TransactionVersion::V2, Some(version)) if self.has(api.key, version) => Ok(version),
            (TransactionVersion::V2, Some(version)) => {
                Err(Cause::Unsupported(format!("{} in version {version}", Api::name(api.key))))
            }
            _ => self.latest(api),
        }
    }

    /// Which transactions the cluster has. A level is agreed on only where every broker has it.
    pub(crate) fn transactions(&self) -> TransactionVersion {
        match self.finalized.get(TRANSACTION_VERSION) {
            Some(2..) => TransactionVersion::V2,
            _ => TransactionVersion::V1,
        }
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey};
    use kafka_protocol::protocol::StrBytes;

    use super::*;
    use crate::api::{end_txn, init_producer_id, produce, txn_offset_commit};

    fn offered(level: Option<i16>, latest: i16) -> Offered {
        let api = |key: ApiKey| ApiVersion::default().with_api_key(key as i16).with_max_version(latest);
        let apis = [ApiKey::Produce, ApiKey::EndTxn, ApiKey::TxnOffsetCommit, ApiKey::InitProducerId].map(api);
        let feature = |level| {
            FinalizedFeatureKey::default()
                .with_name(StrBytes::from_static_str(TRANSACTION_VERSION))
                .with_min_version_level(1)
                .with_max_version_level(level)
        };
        let told = ApiVersionsResponse::default()
            .with_api_keys(apis.into())
            .with_finalized_features(level.map(feature).into_iter().collect());
        Offered::from(&told)
    }

    #[test]
    fn the_cluster_says_which_transactions_it_has() {
        use TransactionVersion::{V1, V2};
        for (level, version) in [(None, V1), (Some(0), V1), (Some(1), V1), (Some(2), V2), (Some(3), V2)] {
            assert_eq!(offered(level, 13).transactions(), version, "{level:?}");
        }
    }

    /// A broker takes Produce 12, EndTxn 5 and `TxnOffsetCommit` 5 for parts of a transaction of version
    /// 2, whatever the cluster says: no other request may go in these.
    #[test]
    fn only_transactions_of_version_2_say_so() {
        let offered = offered(Some(2), 20);
        for (api, second) in [(produce::API, 12), (end_txn::API, 5), (txn_offset_commit::API, 5)] {
            assert_eq!(offered.within(TransactionVersion::V2, &api).unwrap(), second);
            assert_eq!(offered.within(TransactionVersion::V1, &api).unwrap(), offered.latest(&api).unwrap());
            assert!(offered.latest(&api).unwrap() < second);
        }
        let init = init_producer_id::API;
        let version = offered.within(TransactionVersion::V2, &init).unwrap();
        assert_eq!(version, offered.latest(&init).unwrap(), "says nothing of it");
    }

    #[test]
    fn a_broker_that_lacks_such_a_request_is_not_asked_it() {
        let offered = offered(None, 4);
        let within = |version| offered.within(version, &end_txn::API);
        assert!(matches!(within(TransactionVersion::V2), Err(Cause::Unsupported(_))));
        assert!(within(TransactionVersion::V1).is_ok());
    }
}
