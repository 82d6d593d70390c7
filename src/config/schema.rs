//! Every key of the configuration, once. Parsing, the environment's names, the flags and their
//! help, "did you mean" and `docs/reference/configuration.md` all come from [`KEYS`].

use std::fmt;
use std::time::Duration;

use super::words::{ASSIGNMENT_MODES, Word};
use super::{AssignorKind, ByteSize, Compression, CreateTopics, GroupProtocol, Guarantee, IdPrivacy};
use super::{IpPrivacy, Isolation, LogFormat};
use super::{OffsetStoreKind, OnLimit, OutOfRange, Oversize, Partitioner, ProcessorKind, ReaderKind, SaslMechanism};
use super::{SecurityProtocol, StartAt, TransactionVersions};

/// The environment variables that carry keys begin with this; `__` stands between levels.
pub const ENV_PREFIX: &str = "LOGIN_PIPELINE__";

/// One key of the configuration.
#[derive(Debug)]
pub struct Key {
    /// Section and name, such as `kafka.brokers`. Its flag has the same name.
    pub path: &'static str,
    /// What its value must be.
    pub kind: Kind,
    /// What holds where nobody sets it.
    pub default: Default,
    /// What it does, in one line.
    pub doc: &'static str,
}

impl Key {
    /// The part before the last dot, such as `kafka` or `kafka.tls`.
    pub fn section(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// The part after the last dot.
    pub fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }

    /// Whether its value is never shown, and never taken from a flag.
    pub fn is_secret(&self) -> bool {
        matches!(self.kind, Kind::Secret)
    }

    /// The environment variable that sets it.
    pub fn env(&self) -> String {
        format!("{ENV_PREFIX}{}", self.path.replace('.', "__").to_uppercase())
    }
}

/// What a key is where nobody sets it.
#[derive(Debug)]
pub enum Default {
    /// This text, read as any other.
    Text(&'static str),
    /// Nothing; what that means, in words.
    Unset(&'static str),
}

/// What a value must be.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Text: not empty, at most 255 bytes, no control characters.
    Text,
    /// A topic's name, by Kafka's rule.
    Topic,
    /// One or more `host:port`.
    Brokers,
    /// A length of time from the first to the second.
    Duration(Duration, Duration),
    /// A number of bytes from the first to the second.
    Size(ByteSize, ByteSize),
    /// One of a few words.
    Words(&'static [&'static str]),
    /// One or more of a few words, each once.
    WordList(&'static [&'static str]),
    /// A whole number from the first to the second.
    Integer(i64, i64),
    /// A share, from 0 to less than 1.
    Ratio,
    /// An address and port to listen on.
    Address,
    /// A path in the file system.
    Path,
    /// `all`, or the numbers of partitions.
    Partitions,
    /// A log level, or filter directives.
    LogFilter,
    /// The name of a field that the event does not have of its own.
    NewField,
    /// SASL extensions, each a name and a value.
    Extensions,
    /// Where an HTTP request goes: http or https, without user name, password or fragment.
    Url,
    /// true or false.
    Boolean,
    /// Text that is never shown: not empty, at most 1024 bytes, no control characters.
    Secret,
}

impl Kind {
    /// Whether a file has it as a list.
    pub fn is_list(&self) -> bool {
        matches!(self, Self::Brokers | Self::WordList(_) | Self::Partitions | Self::Extensions)
    }

    /// The placeholder for a value in a flag's help.
    pub fn value_name(&self) -> &'static str {
        match self {
            Self::Text => "TEXT",
            Self::Topic => "TOPIC",
            Self::Brokers => "HOST:PORT,...",
            Self::Duration(..) => "DURATION",
            Self::Size(..) => "SIZE",
            Self::Words(_) => "WORD",
            Self::WordList(_) => "WORD,...",
            Self::Integer(..) => "N",
            Self::Ratio => "RATIO",
            Self::Address => "IP:PORT",
            Self::Path => "PATH",
            Self::Partitions => "PARTITIONS",
            Self::LogFilter => "FILTER",
            Self::NewField => "FIELD",
            Self::Extensions => "NAME=VALUE,...",
            Self::Url => "URL",
            Self::Boolean => "BOOLEAN",
            Self::Secret => "SECRET",
        }
    }
}

/// What is allowed, in words.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("1 to 255 bytes of text without control characters"),
            Self::Topic => f.write_str("1 to 249 of the characters a-z, A-Z, 0-9, `.`, `_` and `-`; not `.` or `..`"),
            Self::Brokers => f.write_str("a list of host:port, such as broker-1:9092, 10.0.0.7:9092 or [::1]:9092"),
            Self::Duration(from, to) => {
                let (from, to) = (humantime::format_duration(*from), humantime::format_duration(*to));
                write!(f, "a duration from {from} to {to}, such as 500ms, 30s or 1m 30s")
            }
            Self::Size(from, to) => write!(f, "a size from {from} to {to}, such as 512KiB, 4MiB or 1048576"),
            Self::WordList(words) => write!(f, "a list of {}", Self::Words(words)),
            Self::Words(words) => {
                for (i, word) in words.iter().enumerate() {
                    let before = match i {
                        0 => "",
                        _ if i + 1 == words.len() => " or ",
                        _ => ", ",
                    };
                    write!(f, "{before}{word}")?;
                }
                Ok(())
            }
            Self::Integer(from, to) => write!(f, "a whole number from {from} to {to}"),
            Self::Ratio => f.write_str("a number from 0 to less than 1, such as 0.2"),
            Self::Address => f.write_str("an IP address and port, such as 127.0.0.1:9464 or [::]:9464"),
            Self::Path => f.write_str("a path"),
            Self::Partitions => f.write_str("all, or numbers and ranges such as [0, 2, 5] or 0,2,5-7"),
            Self::LogFilter => f.write_str(
                "off, error, warn, info, debug or trace, alone or for a target: info,login_pipeline::worker=debug",
            ),
            Self::NewField => f.write_str(
                "1 to 64 of the characters a-z, A-Z, 0-9, `_` and `-`, a letter or `_` first; no field that the event has or the pipeline adds",
            ),
            Self::Extensions => f.write_str(
                "a list of name=value: names of the letters a-z and A-Z, not auth; values of printable ASCII, those with a comma in the file only",
            ),
            Self::Url => f.write_str("an http or https URL, such as https://login.example/oauth2/token"),
            Self::Boolean => f.write_str("true or false"),
            Self::Secret => f.write_str("1 to 1024 bytes of text without control characters"),
        }
    }
}

/// The key at `path`.
pub fn key(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The sections, in the order of [`KEYS`].
pub fn sections() -> impl Iterator<Item = &'static str> {
    KEYS.chunk_by(|a, b| a.section() == b.section()).filter_map(|keys| keys.first()).map(Key::section)
}

const KIB: ByteSize = ByteSize::kib(1);
const GIB: ByteSize = ByteSize::mib(1024);
/// What is kept of a record that is too large.
const LEAST_RECORD: ByteSize = ByteSize::kib(64);
const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Up to an hour, never zero.
const WAIT: Kind = Kind::Duration(MILLISECOND, HOUR);

const fn row(path: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { path, kind, default: Default::Text(default), doc }
}

const fn unset(path: &'static str, kind: Kind, meaning: &'static str, doc: &'static str) -> Key {
    Key { path, kind, default: Default::Unset(meaning), doc }
}

/// All keys, those of a section together.
#[rustfmt::skip] // a table reads best as one
pub static KEYS: &[Key] = &[
    row("kafka.brokers", Kind::Brokers, "localhost:9092",
        "Bootstrap brokers; the rest of the cluster is found through them"),
    row("kafka.client_id", Kind::Text, "login-pipeline",
        "The client id that brokers log and count quotas by"),
    row("kafka.request_timeout", WAIT, "30s",
        "Deadline of one request, its answer included"),
    row("kafka.connect_timeout", WAIT, "10s",
        "Deadline of setting up one connection"),
    row("kafka.connections_max_idle", WAIT, "3m",
        "How long a connection may be idle and still be used: one that was idle for longer is opened anew before the next request. Less than what lies between here and the brokers remembers idle connections for, and than the brokers' connections.max.idle.ms (10m)"),
    row("kafka.max_frame_bytes", Kind::Size(KIB, GIB), "16MiB",
        "The largest answer taken from a broker"),
    row("kafka.unknown_topic_grace", Kind::Duration(MILLISECOND, DAY), "30s",
        "How long a topic may be unknown before that is an error for people to mend"),

    row("kafka.security_protocol", Kind::Words(SecurityProtocol::WORDS), "plaintext",
        "Whether connections to brokers have TLS (ssl), SASL or both"),

    unset("kafka.tls.ca_file", Kind::Path, "public CAs, built in",
        "PEM file of the certificates that may sign the brokers'; read again when it changes"),
    unset("kafka.tls.cert_file", Kind::Path, "no client certificate",
        "PEM file of this client's certificate chain, for mutual TLS; read again when it changes"),
    unset("kafka.tls.key_file", Kind::Path, "no client certificate",
        "PEM file of that certificate's private key, without a passphrase"),

    unset("kafka.sasl.mechanism", Kind::Words(SaslMechanism::WORDS), "required with SASL",
        "How this client says who it is"),
    unset("kafka.sasl.username", Kind::Text, "required for PLAIN and SCRAM",
        "PLAIN and SCRAM: the user"),
    unset("kafka.sasl.password", Kind::Secret, "this or password_file, for PLAIN and SCRAM",
        "PLAIN and SCRAM: the password; never a flag, since lists of processes show those"),
    unset("kafka.sasl.password_file", Kind::Path, "this or password, for PLAIN and SCRAM",
        "PLAIN and SCRAM: the file with the password, read for each connection"),
    unset("kafka.sasl.token_file", Kind::Path, "this or token_endpoint_url, for OAUTHBEARER",
        "OAUTHBEARER: the file with the bearer token, read for each connection"),
    unset("kafka.sasl.token_endpoint_url", Kind::Url, "this or token_file, for OAUTHBEARER",
        "OAUTHBEARER: the token endpoint of an OAuth or OIDC provider, asked by the client credentials grant; tokens are asked for again before they expire"),
    unset("kafka.sasl.token_endpoint_ca_file", Kind::Path, "public CAs, built in",
        "PEM file of the certificates that may sign the token endpoint's; read again when it changes"),
    unset("kafka.sasl.client_id", Kind::Text, "required with token_endpoint_url",
        "The client that the token endpoint knows; brokers see kafka.client_id"),
    unset("kafka.sasl.client_secret", Kind::Secret, "this or client_secret_file, with token_endpoint_url",
        "That client's secret; never a flag, since lists of processes show those"),
    unset("kafka.sasl.client_secret_file", Kind::Path, "this or client_secret, with token_endpoint_url",
        "The file with that client's secret, read for each token"),
    unset("kafka.sasl.scope", Kind::Text, "what the endpoint gives by itself",
        "What the tokens are to be good for: scopes, with spaces between"),
    unset("kafka.sasl.audience", Kind::Text, "what the endpoint gives by itself",
        "Whom the tokens are to be good for, where the token endpoint wants that named, as Auth0 does: the request's audience"),
    unset("kafka.sasl.extensions", Kind::Extensions, "none",
        "OAUTHBEARER: what brokers want to know beside the token (SASL extensions, KIP-342), such as logicalCluster=lkc-1,identityPoolId=pool-1 for Confluent Cloud"),
    row("kafka.sasl.allow_plaintext", Kind::Boolean, "false",
        "Whether the network may read what is secret: a password or token that PLAIN or OAUTHBEARER sends over sasl_plaintext, a client's secret on its way to an http:// token endpoint on another host"),

    row("source.topic", Kind::Topic, "user-login",
        "The topic to read"),
    row("source.reader", Kind::Words(ReaderKind::WORDS), "auto",
        "What reads it: rskafka's client, or our own (wire), which takes records from the buffer they came in; auto: rskafka, but our own for read_committed, SCRAM and more partitions than rskafka_max_partitions, and for batches that are compressed or larger than a partition's share"),
    row("source.rskafka_max_partitions", Kind::Integer(0, 100_000), "64",
        "The most partitions that rskafka reads, with a connection and buffers for each; of more our own client reads all"),
    row("source.isolation", Kind::Words(Isolation::WORDS), "read_uncommitted",
        "read_committed, not with the reader rskafka, leaves out aborted transactions; read_uncommitted has their records too, and the wire reader then those of open ones, for whose end rskafka waits"),
    row("source.start", Kind::Words(StartAt::WORDS), "earliest",
        "Where a partition without a stored offset begins"),
    row("source.on_offset_out_of_range", Kind::Words(OutOfRange::WORDS), "earliest",
        "Where to go on if the stored offset no longer exists; fail stops that partition, also where the log was truncated"),
    row("source.max_fetch_bytes", Kind::Size(KIB, GIB), "512KiB",
        "The most bytes that one fetch of one partition asks for"),
    row("source.max_wait", WAIT, "500ms",
        "How long a broker may hold a fetch while there is nothing to read"),
    row("source.lag_interval", WAIT, "10s",
        "How often leaders are asked how far their logs reach, which lag is reckoned from; lag is unknown once that is three times as old"),

    row("output.topic", Kind::Topic, "processed-user-login",
        "The topic for good records"),
    row("output.partitioner", Kind::Words(Partitioner::WORDS), "source",
        "Output partition by source partition (p mod n), or by the key's murmur2 hash"),
    row("output.compression", Kind::Words(Compression::WORDS), "none",
        "The codec of written batches"),
    row("output.max_batch_bytes", Kind::Size(KIB, ByteSize::mib(100)), "900KiB",
        "The most bytes, before compression, in one written batch"),

    row("dead_letter.topic", Kind::Topic, "user-login-dlq",
        "The topic for bad records"),
    row("dead_letter.header_prefix", Kind::Text, "__dlq.errors.",
        "The prefix of the headers that say why a record is there"),
    row("dead_letter.oversize", Kind::Words(Oversize::WORDS), "truncate",
        "What to do with a dead letter that its topic refuses as too large"),
    unset("dead_letter.max_ratio", Kind::Ratio, "no limit",
        "More dead letters than this share of a partition's records within dead_letter.window are not written"),
    row("dead_letter.window", Kind::Duration(SECOND, DAY), "1m",
        "The time over which dead_letter.max_ratio is taken"),
    row("dead_letter.min_records", Kind::Integer(1, 1_000_000_000), "100",
        "dead_letter.max_ratio decides nothing before the window holds so many records"),
    unset("dead_letter.max_consecutive", Kind::Integer(1, 1_000_000_000), "no limit",
        "More dead letters of a partition in a row than this are not written"),
    row("dead_letter.on_limit", Kind::Words(OnLimit::WORDS), "pause",
        "Past a limit: pause the partition and turn unready until someone resumes it, or stop the program"),

    unset("enrich.geoip.file", Kind::Path, "no country is added",
        "A MaxMind DB file (.mmdb) that tells the country of ip; read again when it is replaced"),
    row("enrich.geoip.field", Kind::NewField, "country",
        "The field that the country's ISO code is written to, and that is left out where the country is not known"),
    row("enrich.geoip.check_interval", WAIT, "1m",
        "How often the file is looked at, whether it is another"),

    row("privacy.ip", Kind::Words(IpPrivacy::WORDS), "keep",
        "What is written of ip: itself, a pseudonym, its network (/24 of IPv4, /48 of IPv6), or nothing"),
    row("privacy.user_id", Kind::Words(IdPrivacy::WORDS), "keep",
        "What is written of user_id: itself, a pseudonym, or nothing; the same is done to a record's key that equals it"),
    row("privacy.device_id", Kind::Words(IdPrivacy::WORDS), "keep",
        "What is written of device_id, in the same way"),
    unset("privacy.key_file", Kind::Path, "required for hmac_sha256",
        "The file with the key of hmac_sha256: one line of 16 bytes or more; read at start only"),

    row("assignment.mode", Kind::Words(ASSIGNMENT_MODES), "group",
        "How instances share partitions: as a consumer group; by list; or instance i of n takes each p with p mod n = i"),
    row("assignment.partitions", Kind::Partitions, "all",
        "Static mode: the partitions that this instance reads"),
    unset("assignment.ordinal", Kind::Integer(0, 99_999), "the number that ends the host name",
        "Ordinal mode: this instance's number, counted from 0"),
    unset("assignment.replicas", Kind::Integer(1, 100_000), "required in ordinal mode",
        "Ordinal mode: how many instances there are"),
    row("assignment.discovery_interval", Kind::Duration(MILLISECOND, DAY), "10s",
        "How often the source topic is asked for new partitions"),

    row("group.id", Kind::Text, "login-pipeline",
        "The consumer group, and whose offsets the group and topic stores keep"),
    unset("group.instance_id", Kind::Text, "dynamic membership",
        "This instance's id across restarts: within the session timeout it gets its partitions back"),
    row("group.protocol", Kind::Words(GroupProtocol::WORDS), "auto",
        "Kafka's protocol for groups: KIP-848's (consumer), the older one (classic), or the former where brokers are of Kafka 4.0 or later"),
    row("group.assignors", Kind::WordList(AssignorKind::WORDS), "cooperative-sticky",
        "Classic protocol: how partitions are shared, in order of preference; all members need one in common"),
    unset("group.server_assignor", Kind::Text, "the broker's default",
        "KIP-848: the broker's assignor, such as uniform or range"),
    row("group.session_timeout", WAIT, "45s",
        "A member not heard of for this long loses its partitions"),
    row("group.heartbeat_interval", WAIT, "3s",
        "Classic protocol: how often a member is heard of; a third of the session timeout at most is usual"),
    row("group.rebalance_timeout", WAIT, "60s",
        "How long a member may take to finish what is in flight when a partition is taken from it"),

    unset("offsets.store", Kind::Words(OffsetStoreKind::WORDS), "group in group mode, else file",
        "Where progress is kept"),
    row("offsets.path", Kind::Path, "./offsets",
        "The folder of the file store"),
    row("offsets.topic", Kind::Topic, "login-pipeline-offsets",
        "The topic of the topic store, which must be compacted; where topics.create allows it is made so"),
    row("offsets.checkpoint_interval", WAIT, "1s",
        "Progress is stored at most this often; a crash repeats at most this much"),

    row("delivery.guarantee", Kind::Words(Guarantee::WORDS), "at_least_once",
        "What a crash may do: repeat a little (at_least_once), or nothing (exactly_once, by transactions)"),
    unset("delivery.transactional_id_prefix", Kind::Text, "group.id",
        "Exactly once: begins the transactional ids, which end in the source topic and partition"),
    row("delivery.transaction_version", Kind::Words(TransactionVersions::WORDS), "1",
        "Exactly once: Kafka's transactions of version 1, or of the latest that the cluster has (auto); see docs/concepts/delivery.md"),
    row("delivery.transaction_interval", WAIT, "100ms",
        "Exactly once: a transaction is committed when it is this old"),
    row("delivery.transaction_max_bytes", Kind::Size(KIB, GIB), "4MiB",
        "Exactly once: or when it holds this many bytes of source records"),
    row("delivery.transaction_timeout", WAIT, "1m",
        "Exactly once: brokers throw away a transaction that is open for longer"),

    row("pipeline.processor", Kind::Words(ProcessorKind::WORDS), "login",
        "What is done to a record"),
    row("pipeline.max_record_bytes", Kind::Size(LEAST_RECORD, GIB), "4MiB",
        "The most bytes of one source record, unpacked; a larger one is a dead letter (too_large) with 64 KiB of its value"),
    row("pipeline.max_in_flight_bytes", Kind::Size(KIB, GIB), "4MiB",
        "The most bytes of source records held whose outputs are not acknowledged yet"),
    unset("pipeline.worker_threads", Kind::Integer(1, 1024), "one a core",
        "Threads of the runtime"),

    row("retry.initial", WAIT, "100ms",
        "The first pause after a failed request"),
    row("retry.max", WAIT, "10s",
        "The longest pause"),

    row("stats.interval", Kind::Duration(MILLISECOND, DAY), "30s",
        "How often the running counts are logged"),

    row("admin.listen", Kind::Address, "127.0.0.1:9464",
        "The address of /metrics, /livez, /readyz and /status"),
    unset("admin.token_file", Kind::Path, "nobody may change anything",
        "A file with the token, of 16 bytes or more, that lets its bearer resume a paused partition and change the log's level"),
    row("admin.allow_plaintext", Kind::Boolean, "false",
        "Whether that token may cross the network readable: without admin.tls, to an address that is not loopback"),

    unset("admin.tls.cert_file", Kind::Path, "plain HTTP",
        "PEM file of the admin port's certificate chain; read again when it changes"),
    unset("admin.tls.key_file", Kind::Path, "plain HTTP",
        "PEM file of that certificate's private key, without a passphrase"),
    unset("admin.tls.client_ca_file", Kind::Path, "clients need no certificate",
        "PEM file of the certificates that may sign the clients', for mutual TLS; read again when it changes. Who shows the port's own certificate is let in as well, as `health` does"),

    row("log.format", Kind::Words(LogFormat::WORDS), "text",
        "Log lines for people, or one JSON object a line"),
    row("log.level", Kind::LogFilter, "info",
        "A level, or filter directives"),

    row("shutdown.timeout", Kind::Duration(MILLISECOND, HOUR), "30s",
        "How long records in flight may take to drain"),

    row("topics.create", Kind::Words(CreateTopics::WORDS), "never",
        "Whether topics that are missing at start are created"),
    unset("topics.partitions", Kind::Integer(1, 100_000), "as many as the source topic has",
        "With how many partitions topics are created"),
    row("topics.replication", Kind::Integer(-1, 1000), "-1",
        "With how many replicas topics are created; -1 leaves that to the brokers' default.replication.factor (Kafka 2.4 and later)"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_stands_once_in_one_section() {
        let mut paths: Vec<_> = KEYS.iter().map(|key| key.path).collect();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), KEYS.len());
        let mut names: Vec<_> = sections().collect();
        assert!(names.iter().all(|name| !name.is_empty()));
        let runs = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), runs, "a section is spread over the table");
    }

    #[test]
    fn names_its_flag_and_variable() {
        let key = key("dead_letter.header_prefix").unwrap();
        assert_eq!((key.section(), key.name()), ("dead_letter", "header_prefix"));
        assert_eq!(key.env(), "LOGIN_PIPELINE__DEAD_LETTER__HEADER_PREFIX");
        let key = super::key("kafka.tls.ca_file").unwrap();
        assert_eq!((key.section(), key.name()), ("kafka.tls", "ca_file"));
        assert_eq!(key.env(), "LOGIN_PIPELINE__KAFKA__TLS__CA_FILE");
    }
}
