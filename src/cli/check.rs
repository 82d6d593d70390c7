//! `check`: is the configuration right, and what does it amount to?

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kafka_client::permit;
use kafka_client::{Cluster, Coordinator, NewTopic, Options, Shortfall, Topic};
use kafka_protocol::ResponseError;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{Check, runtime};
use crate::config::{Config, CreateTopics, Guarantee, OffsetStoreKind, Problems};
use crate::dead_letter::write_line;
use crate::geoip::Database;
use crate::kafka::{Cause, Error as BrokerError, Why};
use crate::output::DEAD_LETTER;
use crate::retry::ErrorClass;
use crate::stages::{Routes, possible};

/// Loads the configuration and writes it to `out` in TOML. Nothing is bound and no broker asked;
/// `--connect` is the caller's, with the configuration that this returns.
///
/// # Errors
///
/// [`Error::Config`] where there is no configuration to check further.
pub fn run(args: &Check, out: &mut dyn Write) -> Result<Config, Error> {
    let config = args.settings.load()?;
    possible::check(&config).map_err(Error::Rules)?;
    if args.json {
        let countries = config.enrich.geoip.file.as_deref().map(countries);
        let warnings = [args.settings.exposed_files(&config), possible::doubts(&config)].concat();
        let found = json!({"configuration": config, "countries": countries, "warnings": warnings});
        write_line(out, &found)?;
        out.flush()?;
        return Ok(config);
    }
    let toml = config.to_toml().map_err(io::Error::from)?;
    out.write_all(toml.as_bytes())?;
    if let Some(path) = &config.enrich.geoip.file {
        writeln!(out, "# {}", countries(path))?;
    }
    for warning in args.settings.exposed_files(&config) {
        writeln!(out, "# WARN  {warning}")?;
    }
    for doubt in possible::doubts(&config) {
        writeln!(out, "# WARN  {doubt}")?;
    }
    out.flush()?;
    Ok(config)
}

/// Asks the brokers: whether they are reachable, whether the topics are there, and what this
/// client may do with them; for exactly once, whether it may use its transactional ids. Writes a line for each to `out`.
///
/// # Errors
/// Where anything stands in the way of a run.
pub fn connect(args: &Check, mut config: Config, out: &mut dyn Write) -> Result<(), Box<dyn std::error::Error>> {
    args.patience.limit(&mut config);
    let ended = runtime::run(Some(1), |_| ask(&config))?;
    let runtime::Ended::InOrder(found) = ended else { return Err("interrupted".into()) };
    let mut wrong = 0;
    for (line, right) in found? {
        match args.json {
            true => write_line(out, &json!({"ok": right, "check": line}))?,
            false => writeln!(out, "# {} {line}", if right { "ok   " } else { "WRONG" })?,
        }
        wrong += usize::from(!right);
    }
    if wrong > 0 { Err(format!("{wrong} of the checks above failed").into()) } else { Ok(()) }
}

/// ACL operations by their codes in Kafka's protocol.
const READ: u32 = 3;
const WRITE: u32 = 4;

/// What the dead-letter topic is called.
const DEAD_LETTERS: &str = "dead letters";

/// A line for each finding, and whether it is as it must be.
async fn ask(config: &Config) -> Result<Vec<(String, bool)>, Box<dyn std::error::Error>> {
    let routes = Routes::new(config)?;
    let mut asked = vec![(config.source.topic.as_str(), "source", "Read", READ)];
    asked.extend(routes.topics().iter().enumerate().map(|(place, topic)| {
        let role = if place == DEAD_LETTER { DEAD_LETTERS } else { "output" };
        (topic.as_str(), role, "Write", WRITE)
    }));
    if config.offsets.store == OffsetStoreKind::Topic {
        asked.extend(
            [("Read", READ), ("Write", WRITE)].map(|(name, code)| (&*config.offsets.topic, "offsets", name, code)),
        );
    }
    let names: BTreeSet<_> = asked.iter().map(|(name, ..)| *name).collect();
    let names: Vec<_> = names.into_iter().collect();
    let cluster = Arc::new(Cluster::new(Options::from(&config.kafka)));
    let found = cluster.permissions(&names).await.map_err(BrokerError::from)?;
    let mut lines = vec![(format!("brokers: {} answer", config.kafka.brokers.join(",")), true)];
    let source_partitions = found.get(config.source.topic.as_str()).and_then(|found| found.as_ref().ok());
    let source_partitions = source_partitions.map(Topic::partition_count);
    for (name, role, operation, code) in asked {
        let mut more = Vec::new();
        lines.push(match found.get(name) {
            Some(Ok(topic)) => {
                let may = topic.authorized_operations.map(|bits| bits & (1 << code) != 0);
                let may_text = match may {
                    Some(true) => format!("{operation} is allowed"),
                    Some(false) => format!("{operation} is NOT allowed: grant it"),
                    None => format!("the broker does not say whether {operation} is allowed"),
                };
                // Where its settings are not for us to see, nothing is said of them.
                if code == WRITE
                    && let Ok(Some(Shortfall { why, is_unwritable })) = cluster.shortfall(name, topic.replicas).await
                {
                    more.push((format!("{role} {name}: {why}"), !is_unwritable));
                }
                let (settings, fit) = match role {
                    DEAD_LETTERS | "output" => cleanup(&cluster, name, role == DEAD_LETTERS).await,
                    _ => (String::new(), true),
                };
                let text = format!("{role} {name}: {} partitions, {may_text}{settings}", topic.partition_count());
                (text, may != Some(false) && fit)
            }
            Some(Err(error)) if error.is(ResponseError::UnknownTopicOrPartition) => match config.topics.create {
                CreateTopics::Never => (format!("{role} {name}: {}", Why(&error.cause)), false),
                CreateTopics::Missing => {
                    let partitions = match role {
                        "offsets" => 1,
                        "source" => config.topics.partitions.unwrap_or(-1),
                        _ => config.topics.partitions.or(source_partitions).unwrap_or(-1),
                    };
                    let (text, right) = creation(config, &cluster, name, partitions).await;
                    (format!("{role} {name}: {text}"), right)
                }
            },
            Some(Err(error)) => (format!("{role} {name}: {}", Why(&error.cause)), false),
            None => (format!("{role} {name}: the broker says nothing of it"), false),
        });
        lines.append(&mut more);
    }
    if config.delivery.guarantee == Guarantee::ExactlyOnce {
        lines.push(transactional_ids(config, cluster).await);
    }
    Ok(lines)
}

/// What is said of how a topic that is written to is cleaned up, and whether that will do. What a broker does
/// not say stands in nobody's way.
async fn cleanup(cluster: &Cluster, topic: &str, is_dead_letters: bool) -> (String, bool) {
    const SETTING: &str = "cleanup.policy";
    let compacts = |policy: &str| policy.split(',').any(|word| word.trim() == "compact");
    match cluster.topic_setting(topic, SETTING).await {
        Ok(Some(policy)) if compacts(&policy) && is_dead_letters => {
            let why = "of several dead letters with one key compaction leaves the last, and one without a key gets its \
                       place as a key: set cleanup.policy=delete";
            (format!(", but {SETTING}={policy}: {why}"), false)
        }
        Ok(Some(policy)) if compacts(&policy) => {
            (format!(", {SETTING}={policy}: it takes no record without a key, which becomes a dead letter"), true)
        }
        Ok(_) => (String::new(), true),
        Err(error) if matches!(error.cause, Cause::Unsupported(_)) => (String::new(), true),
        Err(error) if error.is(ResponseError::TopicAuthorizationFailed) => {
            (format!(", may not ask for its {SETTING} (DescribeConfigs)"), true)
        }
        Err(error) => (format!(", does not tell its {SETTING}: {}", Why(&error.cause)), true),
    }
}

/// What would come of creating a topic that is missing, and whether it could be written to.
async fn creation(config: &Config, cluster: &Cluster, name: &str, partitions: i32) -> (String, bool) {
    let replication = config.topics.replication;
    match cluster.try_topic(&NewTopic { name, partitions, replication, settings: &[] }).await {
        Ok(created) => {
            let told =
                |number: Option<i32>| number.map_or_else(|| "the brokers' number of".to_owned(), |n| n.to_string());
            let (partitions, replicas) = (told(created.partitions), told(created.replication.map(i32::from)));
            let numbers = format!("missing, run will create it with {partitions} partitions, {replicas} replicas");
            match created.shortfall {
                None => (numbers, true),
                Some(Shortfall { why, is_unwritable }) => (format!("{numbers}, but {why}"), !is_unwritable),
            }
        }
        Err(error) => (format!("missing, and run can't create it: {}", Why(&error.cause)), false),
    }
}

/// How soon what may pass by itself is asked again, as while a coordinator is made.
const POLL: Duration = Duration::from_millis(200);

/// Whether an id that begins as those of all partitions is given. Nobody else asks for this one: they
/// end in a topic and a partition. So nothing is fenced; Kafka forgets it after a week.
async fn transactional_ids(config: &Config, cluster: Arc<Cluster>) -> (String, bool) {
    let prefix = config.transactional_id_prefix();
    let coordinator = Coordinator::of_transactions(cluster, &format!("{prefix}-check"));
    let latest = config.delivery.transaction_version.into();
    let until = Instant::now() + config.kafka.request_timeout;
    let error = loop {
        let timeout = config.delivery.transaction_timeout;
        match coordinator.init_transactions(timeout, latest, None, &*permit::unlimited()).await {
            Ok(_) => return (format!("transactional ids {prefix}-*: Write and Describe are allowed"), true),
            Err(error) if passes(&error) && Instant::now() < until => sleep(POLL).await,
            Err(error) => break error,
        }
    };
    (format!("transactional ids {prefix}-*: {}", BrokerError::from(error)), false)
}

fn passes(error: &kafka_client::Error) -> bool {
    error.class() == ErrorClass::Transient
}

/// Why `check` found no configuration, or could not print it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] Problems),
    /// Rules of routing can hold of no event.
    #[error("{0}")]
    Rules(String),
    /// It is right and can't be printed.
    #[error("can't print the configuration: {0}")]
    Print(#[from] io::Error),
}

/// What the database of countries is. A run goes on without, so a broken one is no error.
fn countries(path: &Path) -> String {
    match Database::read(path) {
        Ok(database) => format!("ok    enrich.geoip.file: {}", database.about()),
        Err(why) => format!("WARN  enrich.geoip.file: {why}; events get no country from it"),
    }
}
