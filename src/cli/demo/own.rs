//! What the demo has of its own: a broker without security, and a consumer group on it.

use crate::cli::{Settings, UsageError};
use crate::config::{AssignmentMode, Config, GroupProtocol, OffsetStoreKind};

/// Whether a configuration says something else than the default.
type Says = fn(&Config, &Config) -> bool;

/// What a configuration may say of where the work is done, and the demo ignores.
const OWN: &[(&str, Says)] = &[
    ("kafka.brokers", |config, default| config.kafka.brokers != default.kafka.brokers),
    ("kafka.security_protocol", |config, default| config.kafka.security != default.kafka.security),
    ("kafka.tls.", |config, default| config.kafka.security != default.kafka.security),
    ("kafka.sasl.", |config, default| config.kafka.security != default.kafka.security),
    ("assignment.mode", |config, _| config.assignment.mode != AssignmentMode::Group),
    ("assignment.partitions", |_, _| false),
    ("assignment.ordinal", |_, _| false),
    ("assignment.replicas", |_, _| false),
    ("offsets.store", |config, _| config.offsets.store != OffsetStoreKind::Group),
    ("offsets.path", |_, _| false),
    ("offsets.topic", |_, _| false),
    ("topics.replication", |_, _| false),
];

/// The keys that the configuration sets and the demo ignores.
///
/// # Errors
/// A flag asks for it, or something that the demo's broker lacks is asked for in any way.
pub(super) fn keys(config: &Config, settings: &Settings) -> Result<Vec<&'static str>, UsageError> {
    let is_own = |flag: &str| OWN.iter().any(|(key, _)| flag == *key || (key.ends_with('.') && flag.starts_with(key)));
    if let Some((flag, _)) = settings.flags.iter().find(|(flag, _)| is_own(flag)) {
        let why = "the demo has its own broker, topics and group, and would ignore it; leave it out";
        return Err(UsageError(format!("--{flag}: {why}")));
    }
    if config.group.protocol == GroupProtocol::Consumer {
        return Err(lacks("group.protocol = consumer", "classic groups only"));
    }
    let default = Config::default();
    let said = OWN.iter().filter(|(_, says)| says(config, &default)).map(|(key, _)| key.trim_end_matches('.'));
    Ok(said.collect())
}

fn lacks(asked: &str, has: &str) -> UsageError {
    UsageError(format!("{asked}: the demo's broker has {has}; leave it out, or use a Kafka (make kafka-up)"))
}
