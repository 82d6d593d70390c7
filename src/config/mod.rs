//! The configuration, parsed and valid: a [`Config`] that exists can be run.
//!
//! defaults < `--config FILE` (TOML) < environment (`LOGIN_PIPELINE__KAFKA__BROKERS=...`) < flags
//!
//! ```text
//! keys ──► layers ──figment──► values ──► Config ──► rules
//! (what may (file, env,        (each key    (typed)    (keys that
//!  be said)  flags)             parsed)                 contradict)
//! ```
//!
//! Every step notes its [`Problems`] and goes on, so that all of them are told at once.
//!
//! ```
//! use login_pipeline::config::{Config, Sources};
//!
//! let flags = vec![("kafka.brokers".to_owned(), "broker-1:9092,broker-2:9092".to_owned())];
//! let config = Config::load(Sources { flags, ..Sources::default() })?;
//! assert_eq!(config.kafka.brokers.len(), 2);
//! # Ok::<(), login_pipeline::config::Problems>(())
//! ```

mod admin;
mod assignment;
mod enrich;
mod exposed;
mod extensions;
mod idle_rules;
mod keys;
mod keyword;
mod kinds;
mod layers;
mod load;
mod parse;
mod print;
mod privacy;
mod privacy_rules;
mod problem;
mod ratio;
mod route;
mod rules;
pub mod schema;
mod security;
mod security_rules;
mod suggest;
pub mod table;
mod token_endpoint;
mod token_rules;
mod units;
mod values;

use serde::Serialize;

pub(crate) use suggest::{closest, closest_key};

pub use assignment::AssignmentMode;
pub use enrich::{OWN_FIELDS, StaticValue};
pub use exposed::exposed;
pub use extensions::Extensions;
pub use kafka_client::Secret;
pub use keys::{
    Admin, AdminTls, Assignment, Config, DeadLetter, DeadLetterLimits, Delivery, Enrich, GeoIp, Group, Kafka, Log,
    Offsets, Output, Pipeline, Privacy, Retry, Sasl, Security, Shutdown, Source, Stats, Tls, TokenEndpoint, Topics,
};
pub use keyword::{
    AssignorKind, Compression, CreateTopics, GroupProtocol, Guarantee, IdPrivacy, IpPrivacy, Isolation, LogFormat,
    OffsetStoreKind, OnLimit, OutOfRange, Oversize, Partitioner, ProcessorKind, ReaderKind, SaslMechanism,
    SecurityProtocol, StartAt, TransactionVersions,
};
pub use load::Sources;
pub use parse::is_log_level;
pub use problem::{Found, Problem, Problems};
pub use ratio::Ratio;
pub(crate) use security::is_bearer_token;
pub use token_endpoint::EndpointUrl;
pub use units::{ByteSize, ParseByteSizeError};

impl Config {
    /// What each partition's transactional id begins with.
    pub fn transactional_id_prefix(&self) -> &str {
        self.delivery.transactional_id_prefix.as_deref().unwrap_or(&self.group.id)
    }

    /// Why rskafka can't read the source as this asks for, where it can't.
    pub fn rskafka_cannot(&self) -> Option<&'static str> {
        let is_scram =
            matches!(self.kafka.security.sasl.mechanism, Some(SaslMechanism::ScramSha256 | SaslMechanism::ScramSha512));
        if self.source.isolation == Isolation::ReadCommitted {
            Some("source.isolation is read_committed, and rskafka delivers the records of aborted transactions")
        } else if self.kafka.security.protocol.has_sasl() && is_scram {
            Some("kafka.sasl.mechanism is a SCRAM, and rskafka hashes as often as any server asks it to")
        } else {
            None
        }
    }
}

impl DeadLetterLimits {
    /// Whether there are any.
    pub fn are_set(&self) -> bool {
        self.max_ratio.is_some() || self.max_consecutive.is_some()
    }
}

/// One `[[route]]`: good records of which its condition holds go to a topic of their own, or nowhere.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RouteRule {
    /// What counts call it; no two rules have the same.
    pub name: String,
    /// Which records.
    pub when: Condition,
    /// Where they go.
    #[serde(flatten)]
    pub action: RouteAction,
}

/// What a record must be.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Condition {
    /// It has this field or header, with such a value.
    Has {
        /// What is looked at.
        #[serde(flatten)]
        subject: Subject,
        /// What its value must be.
        #[serde(flatten)]
        test: Test,
    },
    /// All of these hold.
    All {
        /// At least one.
        all: Vec<Condition>,
    },
    /// One of these holds.
    Any {
        /// At least one.
        any: Vec<Condition>,
    },
    /// This does not hold.
    Not {
        /// What must not be.
        not: Box<Condition>,
    },
}

/// What a test looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A field of the event as it is written, such as `device_type`.
    Field(String),
    /// A header of the record; the last one of that name.
    Header(String),
}

/// What a value must be.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// Exactly this.
    Equals(String),
    /// One of these.
    OneOf(Vec<String>),
    /// A match of this regular expression, anywhere unless anchored. Checked when parsed.
    Matches(String),
    /// A number less than this.
    Lt(f64),
    /// A number greater than this.
    Gt(f64),
}

impl Test {
    /// The values that it holds of, where it names them.
    pub fn values(&self) -> Option<&[String]> {
        match self {
            Self::Equals(value) => Some(std::slice::from_ref(value)),
            Self::OneOf(values) => Some(values),
            Self::Matches(_) | Self::Lt(_) | Self::Gt(_) => None,
        }
    }

    /// Whether it holds of this value, which `matches` an expression or not.
    pub fn holds(&self, value: &str, matches: impl FnOnce(&str) -> bool) -> bool {
        let number = || value.parse::<f64>().ok();
        match self {
            Self::Equals(expected) => value == expected,
            Self::OneOf(expected) => expected.iter().any(|expected| value == expected),
            Self::Matches(expression) => matches(expression),
            Self::Lt(limit) => number().is_some_and(|number| number < *limit),
            Self::Gt(limit) => number().is_some_and(|number| number > *limit),
        }
    }
}

impl Condition {
    /// A condition on a field of the event.
    pub fn field(name: &str, test: Test) -> Self {
        Self::Has { subject: Subject::Field(name.to_owned()), test }
    }
}

/// Where records that match a rule go.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteAction {
    /// To this topic.
    Topic(String),
    /// Nowhere; counted.
    #[serde(serialize_with = "drop_true")]
    Drop,
}

/// `drop = true`, as the file has it.
fn drop_true<S: serde::Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(true)
}
