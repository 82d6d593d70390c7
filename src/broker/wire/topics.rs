//! `CreateTopics`, whose answer says what the topic became, and `DescribeConfigs`.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::{CreateTopicsRequest, DescribeConfigsRequest, TopicName};
use kafka_protocol::protocol::{Request, StrBytes};

use super::Cluster;
use crate::broker::{Cause, Error};

/// How long a broker may take to create a topic.
const CREATE_TIMEOUT_MS: i32 = 15_000;

/// `DescribeConfigs` counts topics among resources by this number.
const TOPIC: i8 = 2;

/// The setting that says how many replicas must have a record that all are to acknowledge.
const MIN_INSYNC: &str = "min.insync.replicas";

/// From this version of `CreateTopics` on, Kafka 2.4's, -1 leaves a number to the broker (KIP-464).
const LEAVES_NUMBERS: i16 = 4;

/// A topic to create.
#[derive(Debug, Clone, Copy)]
pub struct NewTopic<'a> {
    /// Its name.
    pub name: &'a str,
    /// How many partitions it gets; -1 leaves that to the broker.
    pub partitions: i32,
    /// How many replicas; -1 leaves that to the broker.
    pub replication: i16,
    /// Its settings, but for the broker's defaults.
    pub settings: &'a [(&'static str, &'static str)],
}

/// A topic as the broker created it, or would, as far as it tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CreatedTopic {
    /// How many partitions it has.
    pub partitions: Option<i32>,
    /// How many replicas each has.
    pub replication: Option<i16>,
    /// How many of them must be in sync for a record to be taken.
    pub min_insync: Option<i16>,
}

impl CreatedTopic {
    /// Why no record can ever be written to it, where that is so.
    pub fn unwritable(&self) -> Option<String> {
        unwritable(i32::from(self.replication?), i32::from(self.min_insync?))
    }
}

/// Why a topic takes no record, which is one acknowledged by all, where it has fewer replicas than must be in sync.
fn unwritable(replicas: i32, min_insync: i32) -> Option<String> {
    (replicas < min_insync).then(|| {
        format!(
            "{MIN_INSYNC} is {min_insync} and it has {replicas} replica{}: no record can be written to it; add replicas \
             (topics.replication where it is created here), or lower {MIN_INSYNC}",
            if replicas == 1 { "" } else { "s" }
        )
    })
}

impl Cluster {
    /// Creates a topic.
    ///
    /// # Errors
    /// Where the controller can't be reached, or refuses: also where the topic is there.
    pub async fn create_topic(&self, topic: &NewTopic<'_>) -> Result<CreatedTopic, Error> {
        self.ask_to_create("create topic", topic, false).await
    }

    /// Asks what would come of creating a topic, which is left undone.
    ///
    /// # Errors
    /// As [`Cluster::create_topic`].
    pub async fn try_topic(&self, topic: &NewTopic<'_>) -> Result<CreatedTopic, Error> {
        self.ask_to_create("see whether one may create topic", topic, true).await
    }

    async fn ask_to_create(
        &self,
        doing: &'static str,
        topic: &NewTopic<'_>,
        only_try: bool,
    ) -> Result<CreatedTopic, Error> {
        let NewTopic { name, partitions, replication, settings } = *topic;
        let failed = |cause| Error { doing, on: name.to_owned(), cause };
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
        let request = CreateTopicsRequest::default()
            .with_topics(vec![wanted])
            .with_timeout_ms(CREATE_TIMEOUT_MS)
            .with_validate_only(only_try);
        let connection = self.controller().await?;
        let leaves_numbers = partitions == -1 || replication == -1;
        if leaves_numbers && connection.version(CreateTopicsRequest::KEY).map_err(failed)? < LEAVES_NUMBERS {
            let why = "Kafka before 2.4 has no defaults for numbers of replicas and partitions: set topics.replication \
                       and topics.partitions";
            return Err(failed(Cause::Unsupported(why.to_owned())));
        }
        let response = connection.request(doing, &request).await?;
        connection.throttle_ms(response.throttle_time_ms);
        let created = response.topics.iter().find(|created| created.name.0.as_str() == name);
        let created = created.ok_or_else(|| failed(Cause::Undecodable("it names another topic".to_owned())))?;
        if let Some(code) = ResponseError::try_from_code(created.error_code) {
            return Err(Error::code(doing, name, code));
        }
        let min_insync = created.configs.iter().flatten().find(|found| found.name.as_str() == MIN_INSYNC);
        Ok(CreatedTopic {
            partitions: Some(created.num_partitions).filter(|told| *told > 0),
            replication: Some(created.replication_factor).filter(|told| *told > 0),
            min_insync: min_insync.and_then(|found| found.value.as_ref()?.parse().ok()),
        })
    }

    /// Why no record can be written to a topic with so many replicas, where that is so.
    ///
    /// # Errors
    /// Where no broker answers, or its settings are not for us to see.
    pub async fn unwritable(&self, topic: &str, replicas: i32) -> Result<Option<String>, Error> {
        let min_insync = self.topic_setting(topic, MIN_INSYNC).await?;
        Ok(min_insync.and_then(|told| told.parse().ok()).and_then(|least| unwritable(replicas, least)))
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
            let request = &request;
            async move { connection.request(DOING, request).await }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_replicas_than_must_be_in_sync_take_no_record() {
        let created = |replication, min_insync| CreatedTopic { partitions: Some(1), replication, min_insync };
        let told = created(Some(1), Some(2)).unwritable().unwrap();
        assert!(told.starts_with("min.insync.replicas is 2 and it has 1 replica: no record can be written"), "{told}");
        assert_eq!(created(Some(2), Some(2)).unwritable(), None);
        assert_eq!(created(None, Some(2)).unwritable(), None, "the broker does not tell");
        assert_eq!(created(Some(1), None).unwritable(), None);
    }
}
