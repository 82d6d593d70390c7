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
//! Files stand on those below them:
//!
//! ```text
//! load, print                  what a Config is loaded from, and written as
//! rules, *_rules               what must hold between keys
//! schema, security, admin ...  all keys; what sections do beside holding values
//! keys                         the sections of Config, a row for each key
//! assignment, route, enrich    fields that are more than one key
//! table, kinds                 how a row is read
//! values, layers               what each key is set to, and by whom
//! parse, shown, problem        one value read, or why not
//! key, keyword, units ...      the types of keys and values
//! ```
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
mod endpoint_url;
mod enrich;
mod exposed;
mod extensions;
mod idle_rules;
mod key;
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
mod route_rule;
mod rule_kinds;
mod rules;
pub mod schema;
mod secret_file;
mod security;
mod security_rules;
mod shown;
mod suggest;
pub mod table;
mod token_rules;
mod units;
mod values;

pub(crate) use schema::closest_key;
pub(crate) use suggest::closest;

pub use assignment::AssignmentMode;
pub use endpoint_url::EndpointUrl;
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
pub use route_rule::{Condition, RouteAction, RouteRule, Subject, Test};
pub(crate) use security::is_bearer_token;
pub use units::{ByteSize, ParseByteSizeError};

impl Config {
    /// The prefix of each partition's transactional id.
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
