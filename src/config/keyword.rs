//! The types that the configuration names by one of a few words, with those words.

pub use kafka_client::SaslMechanism;
pub use kafka_records::compression::Compression;

pub use crate::event::{IdPrivacy, IpPrivacy};

/// A type that the configuration names by one of a few words.
pub trait Keyword: Copy + 'static {
    /// All of them, in the order they are offered in.
    const WORDS: &'static [&'static str];
    /// What the first word stands for.
    const FIRST: Self;

    /// What `word` stands for.
    fn of_word(word: &str) -> Option<Self>;

    /// The word that stands for this.
    fn word(self) -> &'static str;
}

macro_rules! keywords {
    ($(#[$about:meta])* $visible:vis enum $type:ident { $($(#[$attribute:meta])* $variant:ident = $word:literal,)+ } $($rest:tt)*) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $visible enum $type {
            $($(#[$attribute])* $variant,)+
        }

        keywords! { for $type { $($variant = $word),+ } $($rest)* }
    };
    (for $type:ident { $first:ident = $first_word:literal $(, $variant:ident = $word:literal)* } $($rest:tt)*) => {
        impl Keyword for $type {
            const WORDS: &'static [&'static str] = &[$first_word $(, $word)*];
            const FIRST: Self = Self::$first;

            fn of_word(word: &str) -> Option<Self> {
                match word {
                    $first_word => Some(Self::$first),
                    $($word => Some(Self::$variant),)*
                    _ => None,
                }
            }

            fn word(self) -> &'static str {
                match self {
                    Self::$first => $first_word,
                    $(Self::$variant => $word,)*
                }
            }
        }

        keywords! { $($rest)* }
    };
    () => {};
}

keywords! {
    for Compression { None = "none", Gzip = "gzip", Snappy = "snappy", Lz4 = "lz4", Zstd = "zstd" }
    for SaslMechanism {
        Plain = "PLAIN",
        ScramSha256 = "SCRAM-SHA-256",
        ScramSha512 = "SCRAM-SHA-512",
        OauthBearer = "OAUTHBEARER"
    }
    for IpPrivacy { Keep = "keep", HmacSha256 = "hmac_sha256", Truncate = "truncate", Remove = "remove" }
    for IdPrivacy { Keep = "keep", HmacSha256 = "hmac_sha256", Remove = "remove" }
}

keywords! {
    /// Kafka's `security.protocol`.
    #[derive(Default)]
    pub enum SecurityProtocol {
        /// Neither.
        #[default]
        Plaintext = "plaintext",
        /// TLS, and a client certificate where there is one.
        Ssl = "ssl",
        /// SASL, readable on the network.
        SaslPlaintext = "sasl_plaintext",
        /// SASL within TLS.
        SaslSsl = "sasl_ssl",
    }

    /// The client that reads the source topic.
    pub enum ReaderKind {
        /// rskafka's client where it can, ours where it can't.
        Auto = "auto",
        /// rskafka's client; ours where that can't decode what stands in the log.
        Rskafka = "rskafka",
        /// Our own client, which takes records from the buffer that they were fetched in.
        Wire = "wire",
    }

    /// Which records of transactions are read; Kafka's `isolation.level`.
    pub enum Isolation {
        /// All, those of aborted transactions too. The wire reader reads those of open ones as well;
        /// rskafka waits until they are decided.
        ReadUncommitted = "read_uncommitted",
        /// Those of transactions that were committed. Nothing is read behind the first open one.
        ReadCommitted = "read_committed",
    }

    /// The beginning of a partition without a stored offset.
    pub enum StartAt {
        /// At the oldest record that is still kept.
        Earliest = "earliest",
        /// At the end: only records written from now on.
        Latest = "latest",
    }

    /// The policy where the stored offset no longer exists.
    pub enum OutOfRange {
        /// Go on at the oldest record that is still kept.
        Earliest = "earliest",
        /// Go on at the end.
        Latest = "latest",
        /// Stop that partition and turn unready until someone decides.
        Fail = "fail",
    }

    /// The choice of the output partition.
    pub enum Partitioner {
        /// Source partition p goes to output partition p mod n.
        Source = "source",
        /// murmur2 of the key, as Kafka's own clients do; p mod n where the key is null.
        Key = "key",
    }

    /// The policy for a dead letter that its topic refuses as too large.
    pub enum Oversize {
        /// Write as much of the value as fits, and a header that says how long it was.
        Truncate = "truncate",
        /// Stop that partition and turn unready until the topic takes it.
        Block = "block",
    }

    /// The policy when a partition's dead letters pass a limit. Either way they are not written.
    pub enum OnLimit {
        /// Stop that partition and turn unready, until someone resumes it.
        Pause = "pause",
        /// Drain the others and end, with an error.
        Stop = "stop",
    }

    /// `assignment.mode`: what each carries beside is in [`AssignmentMode`](super::AssignmentMode).
    pub(super) enum Mode {
        /// By list.
        Static = "static",
        /// By the instance's number.
        Ordinal = "ordinal",
        /// By a consumer group.
        Group = "group",
    }

    /// Which of Kafka's protocols for groups.
    pub enum GroupProtocol {
        /// KIP-848 where the brokers offer it, else classic.
        Auto = "auto",
        /// KIP-848: the coordinator assigns, members change one at a time.
        Consumer = "consumer",
        /// The members' leader assigns.
        Classic = "classic",
    }

    /// The assignor by which a classic group's leader shares partitions.
    pub enum AssignorKind {
        /// Moves as few as it can, without stopping the others.
        CooperativeSticky = "cooperative-sticky",
        /// Neighbouring partitions to each member; all stop meanwhile.
        Range = "range",
        /// One partition after another to the members in turn; all stop meanwhile.
        RoundRobin = "roundrobin",
    }

    /// The store of progress.
    pub enum OffsetStoreKind {
        /// One small file a partition.
        File = "file",
        /// The consumer group, where tools see the lag.
        Group = "group",
        /// A compacted topic of our own.
        Topic = "topic",
    }

    /// The guarantee: what a crash may do to records.
    pub enum Guarantee {
        /// Write some of them again.
        AtLeastOnce = "at_least_once",
        /// Nothing, for who reads only what is committed.
        ExactlyOnce = "exactly_once",
    }

    /// Which of Kafka's transactions are taken.
    pub enum TransactionVersions {
        /// Version 1, which every cluster has.
        V1 = "1",
        /// The latest that the cluster has and this program knows.
        Auto = "auto",
    }

    /// The processors there are.
    pub enum ProcessorKind {
        /// The login event.
        Login = "login",
    }

    /// The format of log lines.
    pub enum LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }

    /// Whether missing topics are created.
    pub enum CreateTopics {
        /// Never; a missing topic is waited for.
        Never = "never",
        /// Those that are missing, at start.
        Missing = "missing",
    }
}
