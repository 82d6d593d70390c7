//! Every key of the configuration, once, each with the field that holds its value; `assignment.rs` has the four that
//! make one field. The structs, parsing, the
//! environment's names, the flags and their help, "did you mean", `docs/reference/configuration.md` and the chart's
//! schema all come from here; [`table`](super::table) says how a row is read.
//!
//! To add a key, add its row, and run `UPDATE_DOCS=1 cargo test --test house`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::assignment::{AssignmentMode, default_store};
use super::keyword::{
    AssignorKind, Compression, CreateTopics, GroupProtocol, Guarantee, IdPrivacy, IpPrivacy, Isolation, LogFormat,
    OffsetStoreKind, OnLimit, OutOfRange, Oversize, Partitioner, ProcessorKind, ReaderKind, SaslMechanism,
    SecurityProtocol, StartAt, TransactionVersions,
};
use super::table::{
    Of, address, boolean, brokers, duration, extensions, keyword, keywords, log_filter, nested, new_field, path, ratio,
    secret, size, text, topic, url, whole,
};
use super::{ByteSize, EndpointUrl, Extensions, Ratio, RouteRule, Secret, StaticValue};

const KIB: ByteSize = ByteSize::kib(1);
const GIB: ByteSize = ByteSize::mib(1024);
/// What is kept of a record that is too large.
const LEAST_RECORD: ByteSize = ByteSize::kib(64);
const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Up to an hour, never zero.
fn wait() -> Of<Duration> {
    duration(MILLISECOND..=HOUR)
}

crate::section! {
    /// Everything the program can be told.
    pub struct Config: "" {
        /// How to reach the brokers.
        kafka: Kafka = nested();
        /// What to read.
        source: Source = nested();
        /// Where good records go.
        output: Output = nested();
        /// Where bad records go.
        dead_letter: DeadLetter = nested();
        /// What is added to every event.
        enrich: Enrich = nested();
        /// What is written of people.
        privacy: Privacy = nested();
        /// Rules that send some records elsewhere, in order; the first that matches decides.
        route: Vec<RouteRule> = nested();
        /// Which partitions this instance reads.
        assignment: Assignment = nested();
        /// The consumer group.
        group: Group = nested();
        /// Where progress is kept.
        offsets: Offsets = nested();
        /// What is guaranteed.
        delivery: Delivery = nested();
        /// The pipeline itself.
        pipeline: Pipeline = nested();
        /// How failed requests are tried again.
        retry: Retry = nested();
        /// The running counts in the log.
        stats: Stats = nested();
        /// The port that operators watch.
        admin: Admin = nested();
        /// The log.
        log: Log = nested();
        /// Stopping.
        shutdown: Shutdown = nested();
        /// Creating topics that are missing.
        topics: Topics = nested();
    }

    /// `kafka.*`
    pub struct Kafka: "kafka." {
        /// Bootstrap brokers; the rest of the cluster is found through them
        brokers: Vec<String> = brokers().by_default("localhost:9092");
        /// The client id that brokers log and count quotas by
        client_id: String = text().by_default("login-pipeline");
        /// Deadline of one request, its answer included
        request_timeout: Duration = wait().by_default("30s");
        /// Deadline of setting up one connection
        connect_timeout: Duration = wait().by_default("10s");
        /// How long a connection may be idle and still be used: one that was idle for longer is replaced before the
        /// next request. Less than what lies between here and the brokers remembers idle connections for, and than the
        /// brokers' connections.max.idle.ms (10m)
        connections_max_idle: Duration = wait().by_default("3m");
        /// The largest answer taken from a broker
        max_frame_bytes: ByteSize = size(KIB..=GIB).by_default("16MiB");
        /// How long a topic may be unknown before that is an error for people to fix
        unknown_topic_grace: Duration = duration(MILLISECOND..=DAY).by_default("30s");
        /// How connections are secured.
        security: Security = nested();
    }

    /// How connections to the brokers are secured. The default is that they are not.
    #[derive(Default)]
    pub struct Security: "kafka." {
        /// Whether connections to brokers have TLS (ssl), SASL or both
        protocol as security_protocol: SecurityProtocol = keyword().by_default("plaintext");
        /// TLS.
        tls: Tls = nested();
        /// SASL.
        sasl: Sasl = nested();
    }

    /// `kafka.tls.*`
    #[derive(Default)]
    pub struct Tls: "kafka.tls." {
        /// PEM file of the certificates that may sign the brokers'; read again when it changes
        ca_file: Option<PathBuf> = path().unset("public CAs, built in");
        /// PEM file of this client's certificate chain, for mutual TLS; read again when it changes
        cert_file: Option<PathBuf> = path().unset("no client certificate");
        /// PEM file of that certificate's private key, without a passphrase
        key_file: Option<PathBuf> = path().unset("no client certificate");
    }

    /// `kafka.sasl.*`
    #[derive(Default)]
    pub struct Sasl: "kafka.sasl." {
        /// How this client says who it is
        mechanism: Option<SaslMechanism> = keyword().unset("required with SASL");
        /// PLAIN and SCRAM: the user
        username: Option<String> = text().unset("required for PLAIN and SCRAM");
        /// PLAIN and SCRAM: the password; never a flag, since lists of processes show those
        password: Option<Secret> = secret().unset("this or password_file, for PLAIN and SCRAM");
        /// PLAIN and SCRAM: the file with the password, read for each connection
        password_file: Option<PathBuf> = path().unset("this or password, for PLAIN and SCRAM");
        /// OAUTHBEARER: the file with the bearer token, read for each connection
        token_file: Option<PathBuf> = path().unset("this or token_endpoint_url, for OAUTHBEARER");
        /// OAUTHBEARER: where tokens are asked for, where they are not in a file.
        token_endpoint: TokenEndpoint = nested();
        /// OAUTHBEARER: what brokers want to know beside the token (SASL extensions, KIP-342), such as
        /// logicalCluster=lkc-1,identityPoolId=pool-1 for Confluent Cloud
        extensions: Extensions = extensions().unset_is("none", |_| Extensions::default());
        /// Whether the network may read what is secret: a password or token that PLAIN or OAUTHBEARER sends over
        /// sasl_plaintext, a client's secret on its way to an http:// token endpoint on another host
        allow_plaintext: bool = boolean().by_default("false");
    }

    /// The keys of `kafka.sasl` that are about an OAuth token endpoint.
    #[derive(Default)]
    pub struct TokenEndpoint: "kafka.sasl." {
        /// OAUTHBEARER: the token endpoint of an OAuth or OIDC provider, asked by the client credentials grant; tokens
        /// are asked for again before they expire
        url as token_endpoint_url: Option<EndpointUrl> = url().unset("this or token_file, for OAUTHBEARER");
        /// PEM file of the certificates that may sign the token endpoint's; read again when it changes
        ca_file as token_endpoint_ca_file: Option<PathBuf> = path().unset("public CAs, built in");
        /// The client that the token endpoint knows; brokers see kafka.client_id
        client_id: Option<String> = text().unset("required with token_endpoint_url");
        /// That client's secret; never a flag, since lists of processes show those
        client_secret: Option<Secret> = secret().unset("this or client_secret_file, with token_endpoint_url");
        /// The file with that client's secret, read for each token
        client_secret_file: Option<PathBuf> = path().unset("this or client_secret, with token_endpoint_url");
        /// What the tokens are to be good for: scopes, with spaces between
        scope: Option<String> = text().unset("what the endpoint gives by itself");
        /// Whom the tokens are to be good for, where the token endpoint wants that named, as Auth0 does: the request's
        /// audience
        audience: Option<String> = text().unset("what the endpoint gives by itself");
    }

    /// `source.*`
    pub struct Source: "source." {
        /// The topic to read
        topic: String = topic().by_default("user-login");
        /// What reads it: rskafka's client, or our own (wire), which takes records from the buffer they came in; auto:
        /// rskafka, but our own for read_committed, SCRAM and more partitions than rskafka_max_partitions, and for
        /// batches that are compressed or larger than a partition's share
        reader: ReaderKind = keyword().by_default("auto");
        /// The most partitions that rskafka reads, with a connection and buffers for each; of more our own client reads
        /// all
        rskafka_max_partitions: usize = whole(0..=100_000).by_default("64");
        /// read_committed, not with the reader rskafka, leaves out aborted transactions; read_uncommitted has their
        /// records too, and the wire reader then those of open ones, for whose end rskafka waits
        isolation: Isolation = keyword().by_default("read_uncommitted");
        /// Where a partition without a stored offset begins
        start: StartAt = keyword().by_default("earliest");
        /// Where to go on if the stored offset no longer exists; fail stops that partition, also where the log was
        /// truncated
        on_offset_out_of_range: OutOfRange = keyword().by_default("earliest");
        /// The most bytes that one fetch of one partition asks for
        max_fetch_bytes: ByteSize = size(KIB..=GIB).by_default("512KiB");
        /// How long a broker may hold a fetch while there is nothing to read
        max_wait: Duration = wait().by_default("500ms");
        /// How often leaders are asked how far their logs reach, which lag is reckoned from; lag is unknown once that is
        /// three times as old
        lag_interval: Duration = wait().by_default("10s");
    }

    /// `output.*`
    pub struct Output: "output." {
        /// The topic for good records
        topic: String = topic().by_default("processed-user-login");
        /// Output partition by source partition (p mod n), or by the key's murmur2 hash
        partitioner: Partitioner = keyword().by_default("source");
        /// The codec of written batches
        compression: Compression = keyword().by_default("none");
        /// The most bytes, before compression, in one written batch
        max_batch_bytes: ByteSize = size(KIB..=ByteSize::mib(100)).by_default("900KiB");
    }

    /// `dead_letter.*`
    pub struct DeadLetter: "dead_letter." {
        /// The topic for bad records
        topic: String = topic().by_default("user-login-dlq");
        /// The prefix of the headers that say why a record is there
        header_prefix: String = text().by_default("__dlq.errors.");
        /// What to do with a dead letter that its topic refuses as too large
        oversize: Oversize = keyword().by_default("truncate");
        /// How many may be written before it is taken for somebody's mistake.
        limits: DeadLetterLimits = nested();
    }

    /// `dead_letter.max_*` and what goes with them, for each partition. None by default.
    pub struct DeadLetterLimits: "dead_letter." {
        /// More dead letters than this share of a partition's records within dead_letter.window are not written
        max_ratio: Option<Ratio> = ratio().unset("no limit");
        /// The time over which dead_letter.max_ratio is taken
        window: Duration = duration(SECOND..=DAY).by_default("1m");
        /// dead_letter.max_ratio decides nothing before the window holds so many records
        min_records: u64 = whole(1..=1_000_000_000).by_default("100");
        /// More dead letters of a partition in a row than this are not written
        max_consecutive: Option<u64> = whole(1..=1_000_000_000).unset("no limit");
        /// Past a limit: pause the partition and turn unready until someone resumes it, or stop the program
        on_limit: OnLimit = keyword().by_default("pause");
    }

    /// `enrich.*`
    pub struct Enrich: "enrich." {
        /// The country of an address.
        geoip: GeoIp = nested();
        /// Fields of the same value in every event, by their names.
        statics: BTreeMap<String, StaticValue> = nested();
    }

    /// `enrich.geoip.*`
    pub struct GeoIp: "enrich.geoip." {
        /// A MaxMind DB file (.mmdb) that tells the country of ip; read again when it is replaced
        file: Option<PathBuf> = path().unset("no country is added");
        /// The field that the country's ISO code is written to, and that is left out where the country is not known
        field: String = new_field().by_default("country");
        /// How often the file is looked at, whether it is another
        check_interval: Duration = wait().by_default("1m");
    }

    /// `privacy.*`
    pub struct Privacy: "privacy." {
        /// What is written of ip: itself, a pseudonym, its network (/24 of IPv4, /48 of IPv6), or nothing
        ip: IpPrivacy = keyword().by_default("keep");
        /// What is written of user_id: itself, a pseudonym, or nothing; the same is done to a record's key that equals it
        user_id: IdPrivacy = keyword().by_default("keep");
        /// What is written of device_id, in the same way
        device_id: IdPrivacy = keyword().by_default("keep");
        /// The file with the key of hmac_sha256: one line of 16 bytes or more; read at start only
        key_file: Option<PathBuf> = path().unset("required for hmac_sha256");
    }

    /// `assignment.*`
    pub struct Assignment: "assignment." {
        /// How partitions are shared between instances: four keys, declared beside [`AssignmentMode`].
        mode: AssignmentMode = nested();
        /// How often the source topic is asked for new partitions
        discovery_interval: Duration = duration(MILLISECOND..=DAY).by_default("10s");
    }

    /// `group.*`
    pub struct Group: "group." {
        /// The consumer group, and whose offsets the group and topic stores keep
        id: String = text().by_default("login-pipeline");
        /// This instance's id across restarts: within the session timeout it gets its partitions back
        instance_id: Option<String> = text().unset("dynamic membership");
        /// Kafka's protocol for groups: KIP-848's (consumer), the older one (classic), or the former where brokers are of
        /// Kafka 4.0 or later
        protocol: GroupProtocol = keyword().by_default("auto");
        /// Classic protocol: how partitions are shared, in order of preference; all members need one in common
        assignors: Vec<AssignorKind> = keywords().by_default("cooperative-sticky");
        /// KIP-848: the broker's assignor, such as uniform or range
        server_assignor: Option<String> = text().unset("the broker's default");
        /// A member not heard of for this long loses its partitions
        session_timeout: Duration = wait().by_default("45s");
        /// Classic protocol: how often a member is heard of; a third of the session timeout at most is usual
        heartbeat_interval: Duration = wait().by_default("3s");
        /// How long a member may take to finish what is in flight when a partition is taken from it
        rebalance_timeout: Duration = wait().by_default("60s");
    }

    /// `offsets.*`
    pub struct Offsets: "offsets." {
        /// Where progress is kept
        store: OffsetStoreKind = keyword().unset_is("group in group mode, else file", default_store);
        /// The folder of the file store
        path: PathBuf = path().by_default("./offsets");
        /// The topic of the topic store, which must be compacted; where topics.create allows it is made so
        topic: String = topic().by_default("login-pipeline-offsets");
        /// Progress is stored at most this often; a crash repeats at most this much
        checkpoint_interval: Duration = wait().by_default("1s");
    }

    /// `delivery.*`
    pub struct Delivery: "delivery." {
        /// What a crash may do: repeat a little (at_least_once), or nothing (exactly_once, by transactions)
        guarantee: Guarantee = keyword().by_default("at_least_once");
        /// Exactly once: begins the transactional ids, which end in the source topic and partition
        transactional_id_prefix: Option<String> = text().unset("group.id");
        /// Exactly once: Kafka's transactions of version 1, or of the latest that the cluster has (auto); see
        /// docs/concepts/delivery.md
        transaction_version: TransactionVersions = keyword().by_default("1");
        /// Exactly once: a transaction is committed when it is this old
        transaction_interval: Duration = wait().by_default("100ms");
        /// Exactly once: or when it holds this many bytes of source records
        transaction_max_bytes: ByteSize = size(KIB..=GIB).by_default("4MiB");
        /// Exactly once: brokers throw away a transaction that is open for longer
        transaction_timeout: Duration = wait().by_default("1m");
    }

    /// `pipeline.*`
    pub struct Pipeline: "pipeline." {
        /// What is done to a record
        processor: ProcessorKind = keyword().by_default("login");
        /// The most bytes of one source record, unpacked; a larger one is a dead letter (too_large) with 64 KiB of its
        /// value
        max_record_bytes: ByteSize = size(LEAST_RECORD..=GIB).by_default("4MiB");
        /// The most bytes of source records held whose outputs are not acknowledged yet
        max_in_flight_bytes: ByteSize = size(KIB..=GIB).by_default("4MiB");
        /// Threads of the runtime
        worker_threads: Option<u16> = whole(1..=1024).unset("one a core");
    }

    /// `retry.*`
    pub struct Retry: "retry." {
        /// The first pause after a failed request
        initial: Duration = wait().by_default("100ms");
        /// The longest pause
        max: Duration = wait().by_default("10s");
    }

    /// `stats.*`
    pub struct Stats: "stats." {
        /// How often the running counts are logged
        interval: Duration = duration(MILLISECOND..=DAY).by_default("30s");
    }

    /// `admin.*`
    pub struct Admin: "admin." {
        /// The address of /metrics, /livez, /readyz and /status
        listen: SocketAddr = address().by_default("127.0.0.1:9464");
        /// A file with the token, of 16 bytes or more, that lets its bearer resume a paused partition and change the
        /// log's level
        token_file: Option<PathBuf> = path().unset("nobody may change anything");
        /// Whether that token may cross the network readable: without admin.tls, to an address that is not loopback
        allow_plaintext: bool = boolean().by_default("false");
        /// The port's certificate; without one it speaks plain HTTP.
        tls: AdminTls = nested();
    }

    /// `admin.tls.*`
    #[derive(Default, Eq)]
    pub struct AdminTls: "admin.tls." {
        /// PEM file of the admin port's certificate chain; read again when it changes
        cert_file: Option<PathBuf> = path().unset("plain HTTP");
        /// PEM file of that certificate's private key, without a passphrase
        key_file: Option<PathBuf> = path().unset("plain HTTP");
        /// PEM file of the certificates that may sign the clients', for mutual TLS; read again when it changes. Who shows
        /// the port's own certificate is let in as well, as `health` does
        client_ca_file: Option<PathBuf> = path().unset("clients need no certificate");
    }

    /// `log.*`
    pub struct Log: "log." {
        /// Log lines for people, or one JSON object a line
        format: LogFormat = keyword().by_default("text");
        /// A level, or filter directives
        level: String = log_filter().by_default("info");
    }

    /// `shutdown.*`
    pub struct Shutdown: "shutdown." {
        /// How long records in flight may take to drain
        timeout: Duration = duration(MILLISECOND..=HOUR).by_default("30s");
    }

    /// `topics.*`
    pub struct Topics: "topics." {
        /// Whether topics that are missing at start are created
        create: CreateTopics = keyword().by_default("never");
        /// With how many partitions topics are created
        partitions: Option<i32> = whole(1..=100_000).unset("as many as the source topic has");
        /// With how many replicas topics are created; -1 leaves that to the brokers' default.replication.factor (Kafka
        /// 2.4 and later)
        replication: i16 = whole(-1..=1000).by_default("-1");
    }
}
