//! `CreateTopics`, whose response says what the topic became.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::{CreateTopicsRequest, ProduceRequest, TopicName};
use kafka_protocol::protocol::{Request, StrBytes};
use kafka_records::schema::Field::{self, Fixed, Since, Structs, Tags, Text};

use crate::response_schema::{ERROR, THROTTLE, UUID};
use crate::versions::Api;
use crate::{Cause, Cluster, Connection, Error};

/// The API, as it is spoken here.
pub(crate) const API: Api = Api::of::<CreateTopicsRequest>(2, 7, RESPONSE);

const RESPONSE: &[Field] = &[
    THROTTLE,
    Structs(&[
        Text,
        Since(7, &UUID),
        ERROR,
        Text,
        Since(5, &Fixed(4 + 2)),
        Since(5, &Structs(&[Text, Text, Fixed(1 + 1 + 1)])),
        Tags(&[(0, ERROR)]),
    ]),
];

/// How long a broker may take to create a topic.
const CREATE_TIMEOUT_MS: i32 = 15_000;

/// From this version of `Produce` on, Kafka 3.7's, a broker asks for no more replicas in sync than there are.
const BOUNDS_MIN_INSYNC: i16 = 10;

/// The setting that says how many replicas must have a record that all are to acknowledge.
pub(super) const MIN_INSYNC: &str = "min.insync.replicas";

/// From this version of `CreateTopics` on, Kafka 2.4's, -1 leaves a number to the broker (KIP-464).
const LEAVES_NUMBERS: i16 = 4;

/// A topic to create.
#[derive(Debug, Clone, Copy)]
pub struct NewTopic<'a> {
    /// Its name.
    pub name: &'a str,
    /// The number of partitions that it gets; -1 leaves that to the broker.
    pub partitions: i32,
    /// The number of replicas; -1 leaves that to the broker.
    pub replication: i16,
    /// Its settings, but for the broker's defaults.
    pub settings: &'a [(&'static str, &'static str)],
}

/// A topic as the broker created it, or would, as far as it tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CreatedTopic {
    /// The number of partitions.
    pub partitions: Option<i32>,
    /// The number of replicas that each has.
    pub replication: Option<i16>,
    /// Said where these are fewer than must be in sync.
    pub shortfall: Option<Shortfall>,
}

/// A topic has fewer replicas than must be in sync for a record to be taken that all are to acknowledge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortfall {
    /// The meaning of it, and what to do.
    pub why: String,
    /// True where no record can ever be written to it.
    pub is_unwritable: bool,
}

impl Shortfall {
    /// `is_bounded` where the brokers go by the number of replicas in such a case.
    pub(super) fn of(replicas: i32, min_insync: i32, is_bounded: bool) -> Option<Self> {
        let s = if replicas == 1 { "" } else { "s" };
        let what = if is_bounded {
            "what is acknowledged is on no more than that"
        } else {
            "no record can be written to it (Kafka before 3.7)"
        };
        let why = format!(
            "{MIN_INSYNC} is {min_insync} and it has {replicas} replica{s}: {what}; add replicas, or lower {MIN_INSYNC}"
        );
        (replicas < min_insync).then_some(Self { why, is_unwritable: !is_bounded })
    }
}

/// Whether a broker takes records whose topic has fewer replicas than must be in sync.
pub(super) fn bounds_min_insync(connection: &Connection) -> bool {
    connection.offered().has(ProduceRequest::KEY, BOUNDS_MIN_INSYNC)
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
            let why = "Kafka before 2.4 has no defaults for numbers of replicas and partitions: both have to be given";
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
        let min_insync = min_insync.and_then(|found| found.value.as_ref()?.parse().ok());
        let replication = Some(created.replication_factor).filter(|told| *told > 0);
        let both = replication.zip(min_insync);
        Ok(CreatedTopic {
            partitions: Some(created.num_partitions).filter(|told| *told > 0),
            replication,
            shortfall: both
                .and_then(|(replicas, least)| Shortfall::of(replicas.into(), least, bounds_min_insync(&connection))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_replicas_than_must_be_in_sync_are_said() {
        let old = Shortfall::of(1, 2, false).unwrap();
        assert!(old.is_unwritable && old.why.starts_with("min.insync.replicas is 2 and it has 1 replica: no record"));
        let new = Shortfall::of(2, 3, true).unwrap();
        assert!(!new.is_unwritable && new.why.contains("it has 2 replicas: what is acknowledged"), "{}", new.why);
        assert_eq!(Shortfall::of(2, 2, false), None);
    }
}
