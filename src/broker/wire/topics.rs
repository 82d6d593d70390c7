//! `CreateTopics` with settings, which rskafka can't send, and `DescribeConfigs`.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::{CreateTopicsRequest, DescribeConfigsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::Cluster;
use crate::broker::{Cause, Error};

/// How long a broker may take to create a topic.
const CREATE_TIMEOUT_MS: i32 = 15_000;

/// `DescribeConfigs` counts topics among resources by this number.
const TOPIC: i8 = 2;

impl Cluster {
    /// Creates a topic with settings of its own; -1 replicas leave their number to the broker.
    ///
    /// # Errors
    /// Where the controller can't be reached, or refuses: also where the topic is there.
    pub async fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        replication: i16,
        settings: &[(&'static str, &'static str)],
    ) -> Result<(), Error> {
        const DOING: &str = "create topic";
        let setting = |(name, value): &(&'static str, &'static str)| {
            CreatableTopicConfig::default()
                .with_name(StrBytes::from_static_str(name))
                .with_value(Some(StrBytes::from_static_str(value)))
        };
        let wanted = CreatableTopic::default()
            .with_name(TopicName(StrBytes::from_string(name.to_owned())))
            .with_num_partitions(partitions)
            .with_replication_factor(replication)
            .with_configs(settings.iter().map(setting).collect());
        let request = CreateTopicsRequest::default().with_topics(vec![wanted]).with_timeout_ms(CREATE_TIMEOUT_MS);
        let connection = self.controller().await?;
        let response = connection.request(DOING, &request).await?;
        connection.throttle_ms(response.throttle_time_ms);
        let created = response.topics.iter().find(|created| created.name.0.as_str() == name);
        let created = created.ok_or_else(|| Error {
            doing: DOING,
            on: name.to_owned(),
            cause: Cause::Undecodable("it names another topic".to_owned()),
        })?;
        ResponseError::try_from_code(created.error_code).map_or(Ok(()), |code| Err(Error::code(DOING, name, code)))
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
        let ask = |connection: std::sync::Arc<super::Connection>| {
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
