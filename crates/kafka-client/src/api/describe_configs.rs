//! `DescribeConfigs`: the settings of a topic.

use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::DescribeConfigsRequest;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::protocol::StrBytes;
use kafka_records::schema::Field::{self, Fixed, Since, Structs, Text};

use super::create_topics::{MIN_INSYNC, Shortfall, bounds_min_insync};
use crate::response_schema::{ERROR, THROTTLE};
use crate::versions::Api;
use crate::{Cause, Cluster, Connection, Error};

/// The API, as it is spoken here.
pub(crate) const API: Api = Api::of::<DescribeConfigsRequest>(1, 4, RESPONSE);

const RESPONSE: &[Field] = &[
    THROTTLE,
    Structs(&[
        ERROR,
        Text,
        Fixed(1),
        Text,
        Structs(&[
            Text,
            Text,
            Fixed(1 + 1 + 1),
            Structs(&[Text, Text, Fixed(1)]), // synonyms
            Since(3, &Fixed(1)),
            Since(3, &Text),
        ]),
    ]),
];

/// `DescribeConfigs` counts topics among resources by this number.
const TOPIC: i8 = 2;

impl Cluster {
    /// Where a topic with so many replicas has fewer than must be in sync.
    ///
    /// # Errors
    /// Where no broker answers, or its settings are not for us to see.
    pub async fn shortfall(&self, topic: &str, replicas: i32) -> Result<Option<Shortfall>, Error> {
        let min_insync = self.topic_setting(topic, MIN_INSYNC).await?.and_then(|told| told.parse().ok());
        let Some(least) = min_insync.filter(|least| replicas < *least) else { return Ok(None) };
        Ok(Shortfall::of(replicas, least, bounds_min_insync(&*self.controller().await?)))
    }

    /// A topic's setting as it is in force, defaults included; `None` where the broker knows none of
    /// this name.
    ///
    /// # Errors
    /// Where no broker answers, or it refuses.
    pub async fn topic_setting(&self, topic: &str, setting: &'static str) -> Result<Option<String>, Error> {
        const DOING: &str = "describe the settings of topic";
        let resource = DescribeConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(StrBytes::from_string(topic.to_owned()))
            .with_configuration_keys(Some(vec![StrBytes::from_static_str(setting)]));
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        let ask = |connection: Arc<Connection>| {
            let request = request.clone();
            async move { connection.request(DOING, &request).await }
        };
        let response = self.ask_any(ask).await?;
        let found = response.results.into_iter().find(|found| found.resource_name.as_str() == topic);
        let found = found.ok_or_else(|| Error {
            doing: DOING,
            on: topic.to_owned(),
            cause: Cause::Undecodable("it names another topic".to_owned()),
        })?;
        if let Some(code) = ResponseError::try_from_code(found.error_code) {
            return Err(Error::code(DOING, topic, code));
        }
        let found = found.configs.into_iter().find(|found| found.name.as_str() == setting);
        Ok(found.and_then(|found| found.value).map(|value| value.to_string()))
    }
}
