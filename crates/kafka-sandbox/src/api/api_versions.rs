//! `ApiVersions`: what the node understands; the first request of every connection.

use kafka_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest,
};
use kafka_protocol::protocol::{Request, StrBytes};

use super::call::{Answer, Asked, Call, Row, Serve};
use crate::cluster::Cluster;
use crate::error_codes;
use crate::fault::Target;
use crate::schema::Field;

/// The cluster's feature that says which transactions it has.
const TRANSACTION_VERSION: StrBytes = StrBytes::from_static_str("transaction.version");
/// The first version that tells of features.
const TELLS_FEATURES: i16 = 3;

impl Serve for ApiVersionsRequest {
    const SERVED: (i16, i16) = (0, 3);

    fn schema(version: i16) -> &'static [Field] {
        use Field::Text;
        if version <= 2 { &[] } else { &[Text, Text] }
    }

    fn targets(&self, _: i16, _: &Cluster) -> Vec<Target> {
        Vec::new()
    }

    fn answer(self, call: Call<'_>) -> Answer<'_> {
        let (hidden, level) = {
            let cluster = call.shared.lock();
            (hidden(&cluster), cluster.defaults.transaction_version)
        };
        let response = ApiVersionsResponse::default()
            .with_error_code(call.plan.request_error().unwrap_or(error_codes::NONE))
            .with_throttle_time_ms(call.plan.throttle_ms)
            .with_api_keys(call.apis.iter().filter(|row| !hidden.contains(&row.key)).map(offered).collect());
        if call.version < TELLS_FEATURES {
            return response.into();
        }
        let supported = SupportedFeatureKey::default().with_name(TRANSACTION_VERSION).with_max_version(2);
        let finalized = FinalizedFeatureKey::default()
            .with_name(TRANSACTION_VERSION)
            .with_min_version_level(level)
            .with_max_version_level(level);
        response
            .with_supported_features(vec![supported])
            .with_finalized_features(vec![finalized])
            .with_finalized_features_epoch(0)
            .into()
    }
}

/// `ApiVersions` in a version that only the future knows. The answer names the versions of
/// `ApiVersions` itself, so that the client asks again (KIP-511).
#[derive(Debug)]
pub(super) struct OfTheFuture;

impl Asked for OfTheFuture {
    fn targets(&self, _: i16, _: &Cluster) -> Vec<Target> {
        Vec::new()
    }

    fn answer<'a>(self: Box<Self>, call: Call<'a>) -> Answer<'a> {
        let own = call.apis.iter().filter(|row| row.key == ApiVersionsRequest::KEY);
        ApiVersionsResponse::default()
            .with_error_code(error_codes::UNSUPPORTED_VERSION)
            .with_api_keys(own.map(offered).collect())
            .into()
    }
}

/// The APIs that the node does not tell of, though it knows them.
fn hidden(cluster: &Cluster) -> &'static [i16] {
    const CONSUMER_PROTOCOL: &[i16] = &[ConsumerGroupHeartbeatRequest::KEY, ConsumerGroupDescribeRequest::KEY];
    if cluster.groups.consumer_protocol.is_some() { &[] } else { CONSUMER_PROTOCOL }
}

fn offered(row: &Row) -> ApiVersion {
    ApiVersion::default().with_api_key(row.key).with_min_version(row.lowest).with_max_version(row.highest)
}
