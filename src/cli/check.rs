//! `check`: is the configuration right, and what does it amount to?

use std::collections::BTreeSet;
use std::io::{self, Write};

use kafka_protocol::ResponseError;

use super::{Check, runtime};
use crate::broker::wire::{Cluster, Options};
use crate::config::{Config, CreateTopics, OffsetStoreKind, Problems};
use crate::stages::Routes;

/// Loads the configuration and writes it to `out` in TOML. Nothing is bound and no broker asked;
/// `--connect` is the caller's, with the configuration that this returns.
///
/// # Errors
///
/// [`Error::Config`] where there is no configuration to check further.
pub fn run(args: &Check, out: &mut impl Write) -> Result<Config, Error> {
    let config = args.settings.load()?;
    let toml = config.to_toml().map_err(io::Error::from)?;
    out.write_all(toml.as_bytes())?;
    out.flush()?;
    Ok(config)
}

/// Asks the brokers: whether they are reachable, whether the topics are there, and what this
/// client may do with them. Writes a line for each to `out`.
///
/// # Errors
/// Where anything stands in the way of a run.
pub fn connect(config: &Config, out: &mut impl Write) -> Result<(), Box<dyn std::error::Error>> {
    let ended = runtime::run(Some(1), |_| ask(config))?;
    let runtime::Ended::InOrder(found) = ended else { return Err("interrupted".into()) };
    let mut wrong = 0;
    for (line, right) in found? {
        writeln!(out, "# {} {line}", if right { "ok   " } else { "WRONG" })?;
        wrong += usize::from(!right);
    }
    if wrong > 0 { Err(format!("{wrong} of the checks above failed").into()) } else { Ok(()) }
}

/// ACL operations by their codes in Kafka's protocol.
const READ: u32 = 3;
const WRITE: u32 = 4;

/// A line for each finding, and whether it is as it must be.
async fn ask(config: &Config) -> Result<Vec<(String, bool)>, Box<dyn std::error::Error>> {
    let routes = Routes::new(config)?;
    let mut asked = vec![(config.source.topic.as_str(), "source", "Read", READ)];
    asked.extend(routes.topics().iter().map(|topic| (topic.as_str(), "output", "Write", WRITE)));
    if config.offsets.store == OffsetStoreKind::Topic {
        asked.extend(
            [("Read", READ), ("Write", WRITE)].map(|(name, code)| (&*config.offsets.topic, "offsets", name, code)),
        );
    }
    let names: BTreeSet<_> = asked.iter().map(|(name, ..)| *name).collect();
    let names: Vec<_> = names.into_iter().collect();
    let cluster = Cluster::new(Options::from(&config.kafka));
    let found = cluster.permissions(&names).await?;
    let mut lines = vec![(format!("brokers: {} answer", config.kafka.brokers.join(",")), true)];
    for (name, role, operation, code) in asked {
        lines.push(match found.get(name) {
            Some(Ok(topic)) => {
                let may = topic.authorized_operations.map(|bits| bits & (1 << code) != 0);
                let may_text = match may {
                    Some(true) => format!("{operation} is allowed"),
                    Some(false) => format!("{operation} is NOT allowed: grant it"),
                    None => format!("the broker does not say whether {operation} is allowed"),
                };
                (format!("{role} {name}: {} partitions, {may_text}", topic.partition_count()), may != Some(false))
            }
            Some(Err(error)) => {
                let made =
                    config.topics.create == CreateTopics::Missing && error.is(ResponseError::UnknownTopicOrPartition);
                let text = if made { "missing, run will create it".to_owned() } else { error.cause.to_string() };
                (format!("{role} {name}: {text}"), made)
            }
            None => (format!("{role} {name}: the broker says nothing of it"), false),
        });
    }
    Ok(lines)
}

/// Why `check` found no configuration, or could not print it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] Problems),
    /// It is right and can't be printed.
    #[error("can't print the configuration: {0}")]
    Print(#[from] io::Error),
}
