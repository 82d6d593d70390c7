//! Which version of each request is sent: what this program knows, what a broker offers, and what the
//! transaction that a request is part of asks for.

use std::collections::HashMap;

use kafka_protocol::messages::{ApiKey, ApiVersionsResponse};
use kafka_protocol::protocol::VersionRange;

use crate::Cause;

/// The versions of each request that this program has been tested with.
pub(super) const KNOWN_VERSIONS: [(ApiKey, VersionRange); 25] = [
    (ApiKey::Produce, VersionRange { min: 3, max: 8 }), // names the records that are refused, from 8 on (KIP-467)
    (ApiKey::Fetch, VersionRange { min: 4, max: 11 }),  // topic ids begin at 13
    (ApiKey::ListOffsets, VersionRange { min: 1, max: 7 }),
    (ApiKey::OffsetForLeaderEpoch, VersionRange { min: 3, max: 4 }), // before, it took rights on the cluster
    (ApiKey::Metadata, VersionRange { min: 1, max: 12 }),
    (ApiKey::OffsetCommit, VersionRange { min: 2, max: 9 }), // topic ids begin at 10
    (ApiKey::OffsetFetch, VersionRange { min: 1, max: 9 }),
    (ApiKey::FindCoordinator, VersionRange { min: 0, max: 4 }),
    (ApiKey::JoinGroup, VersionRange { min: 2, max: 9 }),
    (ApiKey::Heartbeat, VersionRange { min: 1, max: 4 }),
    (ApiKey::LeaveGroup, VersionRange { min: 1, max: 5 }),
    (ApiKey::SyncGroup, VersionRange { min: 1, max: 5 }),
    (ApiKey::InitProducerId, VersionRange { min: 0, max: 4 }),
    // The later versions of these four are of transactions of version 2: see `Offered::within`.
    (ApiKey::AddPartitionsToTxn, VersionRange { min: 0, max: 3 }),
    (ApiKey::AddOffsetsToTxn, VersionRange { min: 0, max: 3 }),
    (ApiKey::EndTxn, VersionRange { min: 0, max: 3 }),
    (ApiKey::TxnOffsetCommit, VersionRange { min: 3, max: 3 }), // before, no member could be named
    (ApiKey::DescribeGroups, VersionRange { min: 0, max: 5 }),
    (ApiKey::CreateTopics, VersionRange { min: 2, max: 7 }),
    (ApiKey::DescribeConfigs, VersionRange { min: 1, max: 4 }),
    (ApiKey::SaslHandshake, VersionRange { min: 1, max: 1 }), // in version 0 what follows has no frame
    (ApiKey::SaslAuthenticate, VersionRange { min: 0, max: 2 }),
    (ApiKey::ConsumerGroupHeartbeat, VersionRange { min: 0, max: 1 }),
    (ApiKey::ConsumerGroupDescribe, VersionRange { min: 0, max: 1 }),
    (ApiKey::DescribeProducers, VersionRange { min: 0, max: 0 }),
];

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

    /// The version by which a request says that its transaction is one of version 2: the first that
    /// does. Brokers go by nothing else.
    fn said_by(self, api_key: i16) -> Option<i16> {
        match (self, ApiKey::try_from(api_key)) {
            (Self::V2, Ok(ApiKey::Produce)) => Some(12),
            (Self::V2, Ok(ApiKey::EndTxn | ApiKey::TxnOffsetCommit)) => Some(5),
            _ => None,
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

/// A request as the protocol calls it.
fn named(api_key: i16) -> String {
    ApiKey::try_from(api_key).map_or_else(|()| format!("api key {api_key}"), |key| format!("{key:?}"))
}

impl Offered {
    /// The latest version of a request that both sides know.
    pub fn latest(&self, api_key: i16) -> Result<i16, Cause> {
        let ours = KNOWN_VERSIONS.iter().find(|(key, _)| *key as i16 == api_key).map(|(_, range)| *range);
        let both = ours.zip(self.versions.get(&api_key)).map(|(ours, theirs)| ours.intersect(theirs));
        match both {
            Some(range) if !range.is_empty() => Ok(range.max),
            _ => Err(Cause::Unsupported(named(api_key))),
        }
    }

    /// Whether the broker takes this version of a request, known here or not.
    pub fn has(&self, api_key: i16, version: i16) -> bool {
        self.versions.get(&api_key).is_some_and(|range| (range.min..=range.max).contains(&version))
    }

    /// The version of a request that is part of a transaction. [`KNOWN_VERSIONS`] end before those
    /// that would make one of version 1 another.
    pub fn within(&self, transaction: TransactionVersion, api_key: i16) -> Result<i16, Cause> {
        let Some(version) = transaction.said_by(api_key) else { return self.latest(api_key) };
        match self.versions.get(&api_key) {
            Some(range) if (range.min..=range.max).contains(&version) => Ok(version),
            _ => Err(Cause::Unsupported(format!("{} in version {version}", named(api_key)))),
        }
    }

    /// Which transactions the cluster has. A level is agreed on only where every broker has it.
    pub fn transactions(&self) -> TransactionVersion {
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
        for (key, second) in [(ApiKey::Produce, 12), (ApiKey::EndTxn, 5), (ApiKey::TxnOffsetCommit, 5)] {
            let key = key as i16;
            assert_eq!(offered.within(TransactionVersion::V2, key).unwrap(), second);
            assert_eq!(offered.within(TransactionVersion::V1, key).unwrap(), offered.latest(key).unwrap());
            assert!(offered.latest(key).unwrap() < second);
        }
        let init = ApiKey::InitProducerId as i16;
        let version = offered.within(TransactionVersion::V2, init).unwrap();
        assert_eq!(version, offered.latest(init).unwrap(), "says nothing of it");
    }

    #[test]
    fn a_broker_that_lacks_such_a_request_is_not_asked_it() {
        let offered = offered(None, 4);
        let within = |version| offered.within(version, ApiKey::EndTxn as i16);
        assert!(matches!(within(TransactionVersion::V2), Err(Cause::Unsupported(_))));
        assert!(within(TransactionVersion::V1).is_ok());
    }
}
