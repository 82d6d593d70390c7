//! The configuration, parsed and valid: a [`Config`] that exists can be run.
//!
//! defaults < `--config FILE` (TOML) < environment (`LOGIN_PIPELINE__KAFKA__BROKERS=...`) < flags
//!
//! ```text
//! schema ──► layers ──figment──► settings ──► build ──► rules ──► Config
//! (what may   (file, env,        (each key    (typed)   (keys that
//!  be said)    flags)             parsed)                contradict)
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
mod build;
mod dead_letter;
mod enrich;
mod exposed;
mod extensions;
mod idle_rules;
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
mod settings;
mod suggest;
mod token_endpoint;
mod token_rules;
mod units;
mod words;

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

pub use kafka_records::compression::Compression;
pub(crate) use suggest::{closest, closest_key};

pub use admin::{Admin, AdminTls};
pub use dead_letter::{DeadLetter, DeadLetterLimits, OnLimit, Oversize};
pub use enrich::{Enrich, GeoIp, OWN_FIELDS, StaticValue};
pub use exposed::exposed;
pub use extensions::Extensions;
pub use kafka_client::Secret;
pub use load::Sources;
pub use parse::is_log_level;
pub use privacy::{IdPrivacy, IpPrivacy, Privacy};
pub use problem::{Found, Problem, Problems};
pub use ratio::Ratio;
pub(crate) use security::is_bearer_token;
pub use security::{Sasl, SaslMechanism, Security, SecurityProtocol, Tls};
pub use token_endpoint::{EndpointUrl, TokenEndpoint};
pub use units::{ByteSize, ParseByteSizeError};

/// Everything the program can be told.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// How to reach the brokers.
    pub kafka: Kafka,
    /// What to read.
    pub source: Source,
    /// Where good records go.
    pub output: Output,
    /// Where bad records go.
    pub dead_letter: DeadLetter,
    /// What is added to every event.
    pub enrich: Enrich,
    /// What is written of people.
    pub privacy: Privacy,
    /// Rules that send some records elsewhere, in order; the first that matches decides.
    pub route: Vec<RouteRule>,
    /// Which partitions this instance reads.
    pub assignment: Assignment,
    /// The consumer group.
    pub group: Group,
    /// Where progress is kept.
    pub offsets: Offsets,
    /// What is guaranteed.
    pub delivery: Delivery,
    /// The pipeline itself.
    pub pipeline: Pipeline,
    /// How failed requests are tried again.
    pub retry: Retry,
    /// The running counts in the log.
    pub stats: Stats,
    /// The port that operators watch.
    pub admin: Admin,
    /// The log.
    pub log: Log,
    /// Stopping.
    pub shutdown: Shutdown,
    /// Creating topics that are missing.
    pub topics: Topics,
}

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

/// `kafka.*`
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Kafka {
    /// Bootstrap brokers, each `host:port`; at least one.
    pub brokers: Vec<String>,
    /// The client id that brokers log and count quotas by.
    pub client_id: String,
    /// Deadline of one request, its answer included.
    #[serde(with = "humantime_text")]
    pub request_timeout: Duration,
    /// Deadline of one connection's set-up.
    #[serde(with = "humantime_text")]
    pub connect_timeout: Duration,
    /// How long a connection may be idle and still be used.
    #[serde(with = "humantime_text")]
    pub connections_max_idle: Duration,
    /// The largest answer taken from a broker.
    pub max_frame_bytes: ByteSize,
    /// How long a topic may be unknown before that counts as an error to be mended by hand.
    #[serde(with = "humantime_text")]
    pub unknown_topic_grace: Duration,
    /// How connections are secured.
    #[serde(flatten)]
    pub security: Security,
}

/// `source.*`
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Source {
    /// The topic to read.
    pub topic: String,
    /// What reads it.
    pub reader: ReaderKind,
    /// The most partitions that rskafka reads; of more, our own client reads all.
    pub rskafka_max_partitions: usize,
    /// Which records of transactions are read.
    pub isolation: Isolation,
    /// Where a partition without a stored offset begins.
    pub start: StartAt,
    /// What to do where the stored offset no longer exists.
    pub on_offset_out_of_range: OutOfRange,
    /// The most bytes one fetch of one partition asks for.
    pub max_fetch_bytes: ByteSize,
    /// How long a broker may hold a fetch while there is nothing to read.
    #[serde(with = "humantime_text")]
    pub max_wait: Duration,
    /// How often the brokers are asked where the log ends.
    #[serde(with = "humantime_text")]
    pub lag_interval: Duration,
}

/// What reads the source topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReaderKind {
    /// rskafka's client where it can, ours where it can't.
    Auto,
    /// rskafka's client; ours where that can't decode what stands in the log.
    Rskafka,
    /// Our own client, which takes records from the buffer that they were fetched in.
    Wire,
}

/// Which records of transactions are read; Kafka's `isolation.level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// All, those of aborted transactions too. The wire reader reads those of open ones as well;
    /// rskafka waits until they are decided.
    ReadUncommitted,
    /// Those of transactions that were committed. Nothing is read behind the first open one.
    ReadCommitted,
}

/// Where a partition without a stored offset begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StartAt {
    /// At the oldest record that is still kept.
    Earliest,
    /// At the end: only records written from now on.
    Latest,
}

/// What to do where the stored offset no longer exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OutOfRange {
    /// Go on at the oldest record that is still kept.
    Earliest,
    /// Go on at the end.
    Latest,
    /// Stop that partition and turn unready until someone decides.
    Fail,
}

/// `output.*`
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Output {
    /// The topic for good records.
    pub topic: String,
    /// How the output partition is chosen.
    pub partitioner: Partitioner,
    /// The codec of written batches.
    pub compression: Compression,
    /// The most bytes, before compression, in one written batch.
    pub max_batch_bytes: ByteSize,
}

/// How the output partition is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Partitioner {
    /// Source partition p goes to output partition p mod n.
    Source,
    /// murmur2 of the key, as Kafka's own clients do; p mod n where the key is null.
    Key,
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

/// `assignment.*`
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Assignment {
    /// How partitions are shared between instances.
    #[serde(flatten)]
    pub mode: AssignmentMode,
    /// How often the source topic is asked for new partitions.
    #[serde(with = "humantime_text")]
    pub discovery_interval: Duration,
}

/// How partitions are shared between instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "mode")]
pub enum AssignmentMode {
    /// This instance reads these partitions; all of them, new ones included, where `None`.
    Static {
        /// The partitions, sorted, each once.
        partitions: Option<Vec<i32>>,
    },
    /// Instance `ordinal` of `replicas` reads the partitions p with p mod replicas = ordinal.
    Ordinal {
        /// This instance's number, counted from 0.
        ordinal: u32,
        /// How many instances there are.
        replicas: u32,
    },
    /// A consumer group's coordinator shares the partitions between the instances there are.
    Group,
}

/// `group.*`
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    /// The group's id: also that of offsets kept in Kafka in the other modes.
    pub id: String,
    /// This instance's id across restarts (static membership).
    pub instance_id: Option<String>,
    /// Which of Kafka's protocols for groups.
    pub protocol: GroupProtocol,
    /// Classic protocol: how the leader shares partitions, in order of preference.
    pub assignors: Vec<AssignorKind>,
    /// KIP-848: which of the broker's assignors; the broker's default where `None`.
    pub server_assignor: Option<String>,
    /// A member not heard of for this long is expelled. KIP-848: the group's or broker's setting
    /// counts, and this is what the member goes by when it hears nothing.
    #[serde(with = "humantime_text")]
    pub session_timeout: Duration,
    /// Classic protocol: how often members are heard of.
    #[serde(with = "humantime_text")]
    pub heartbeat_interval: Duration,
    /// How long a member may take to give up partitions.
    #[serde(with = "humantime_text")]
    pub rebalance_timeout: Duration,
}

/// Which of Kafka's protocols for groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupProtocol {
    /// KIP-848 where the brokers offer it, else classic.
    Auto,
    /// KIP-848: the coordinator assigns, members change one at a time.
    Consumer,
    /// The members' leader assigns.
    Classic,
}

/// How a classic group's leader shares partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AssignorKind {
    /// Moves as few as it can, without stopping the others.
    CooperativeSticky,
    /// Neighbouring partitions to each member; all stop meanwhile.
    Range,
    /// One partition after another to the members in turn; all stop meanwhile.
    #[serde(rename = "roundrobin")]
    RoundRobin,
}

/// `offsets.*`
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Offsets {
    /// Which store.
    pub store: OffsetStoreKind,
    /// The folder of the file store.
    pub path: PathBuf,
    /// The topic of the topic store.
    pub topic: String,
    /// Checkpoints are written at most this often.
    #[serde(with = "humantime_text")]
    pub checkpoint_interval: Duration,
}

/// Where progress is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OffsetStoreKind {
    /// One small file a partition.
    File,
    /// The consumer group, where tools see the lag.
    Group,
    /// A compacted topic of our own.
    Topic,
}

/// `delivery.*`
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Delivery {
    /// Which guarantee.
    pub guarantee: Guarantee,
    /// Begins each partition's transactional id; the group's id where `None`.
    pub transactional_id_prefix: Option<String>,
    /// Which of Kafka's transactions are taken.
    pub transaction_version: TransactionVersions,
    /// A transaction is committed when it is this old ...
    #[serde(with = "humantime_text")]
    pub transaction_interval: Duration,
    /// ... or holds so many bytes of source records.
    pub transaction_max_bytes: ByteSize,
    /// The brokers throw away a transaction that is open for longer.
    #[serde(with = "humantime_text")]
    pub transaction_timeout: Duration,
}

/// Which of Kafka's transactions are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum TransactionVersions {
    /// Version 1, which every cluster has.
    #[serde(rename = "1")]
    V1,
    /// The latest that the cluster has and this program knows.
    #[serde(rename = "auto")]
    Auto,
}

/// What a crash may do to records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Guarantee {
    /// Write some of them again.
    AtLeastOnce,
    /// Nothing, for who reads only what is committed.
    ExactlyOnce,
}

/// `pipeline.*`
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pipeline {
    /// What is done to a record.
    pub processor: ProcessorKind,
    /// The most bytes of one source record, unpacked.
    pub max_record_bytes: ByteSize,
    /// The most bytes of source records held whose outputs are not acknowledged, in this process.
    pub max_in_flight_bytes: ByteSize,
    /// Threads of the runtime; one a core where `None`.
    pub worker_threads: Option<u16>,
}

/// The processors there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessorKind {
    /// The login event.
    Login,
}

/// `retry.*`
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Retry {
    /// The first pause after a failed request.
    #[serde(with = "humantime_text")]
    pub initial: Duration,
    /// The longest pause.
    #[serde(with = "humantime_text")]
    pub max: Duration,
}

/// `stats.*`
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stats {
    /// How often the running counts are logged.
    #[serde(with = "humantime_text")]
    pub interval: Duration,
}

/// `log.*`
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Log {
    /// For people or for machines.
    pub format: LogFormat,
    /// A level (`info`) or filter directives (`info,login_pipeline::worker=debug`).
    pub level: String,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `shutdown.*`
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shutdown {
    /// How long in-flight records may take to drain.
    #[serde(with = "humantime_text")]
    pub timeout: Duration,
}

/// `topics.*`
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Topics {
    /// Whether missing topics are created.
    pub create: CreateTopics,
    /// With how many partitions; as many as the source topic has where `None`.
    pub partitions: Option<i32>,
    /// With how many replicas; -1 leaves that to the brokers.
    pub replication: i16,
}

/// Whether missing topics are created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CreateTopics {
    /// Never; a missing topic is waited for.
    Never,
    /// Those that are missing, at start.
    Missing,
}

/// `drop = true`, as the file has it.
fn drop_true<S: serde::Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(true)
}

mod humantime_text {
    use std::time::Duration;

    use serde::Serializer;

    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*value))
    }
}
