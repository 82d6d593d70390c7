//! Errors between us and the brokers, with advice: the client says what happened, this adds which
//! key, permission or setting of a topic or broker to change.

use std::fmt;
use std::ops::Deref;

use kafka_client::plain::Plain;
use kafka_client::{NO_MORE_CONNECTIONS, NoToken, SaslError, TlsError};
use kafka_protocol::ResponseError;
use rskafka::client::error::{Error as RskafkaError, ProtocolError, RequestError};
use rskafka::{BackoffError, ConnectionError, SaslError as RskafkaSaslError};
use rustix::io::Errno;

use super::options::{PASSWORD, TOKEN_FILE, TOKENS};
use super::tls_hints::BROKER;
use crate::retry::{ClassifiedError, ErrorClass};

pub use kafka_client::Cause;

/// A failed request. Shown, it ends with what to do, where that is known.
#[derive(Debug, Clone)]
pub struct Error(kafka_client::Error);

impl Error {
    /// The error of an operation, as in `fetch`, on something: a topic and partition, or a broker's address.
    pub fn new(doing: &'static str, on: impl Into<String>, cause: Cause) -> Self {
        Self(kafka_client::Error { doing, on: on.into(), cause })
    }

    /// An error code that the broker gave for `on`.
    pub fn code(doing: &'static str, on: impl Into<String>, code: ResponseError) -> Self {
        Self::new(doing, on, Cause::Code(code))
    }

    /// The error that rskafka's says, of an operation on something.
    pub fn from_rskafka(doing: &'static str, on: impl Into<String>, error: &RskafkaError) -> Self {
        Self::new(doing, on, cause_of(error))
    }

    /// Why it failed, and what to do, without what was being done.
    pub fn why(&self) -> Why<'_> {
        Why(&self.cause)
    }
}

impl From<kafka_client::Error> for Error {
    fn from(error: kafka_client::Error) -> Self {
        Self(error)
    }
}

/// The client's error, which shows what happened and nothing more.
impl From<Error> for kafka_client::Error {
    fn from(Error(error): Error) -> Self {
        error
    }
}

impl Deref for Error {
    type Target = kafka_client::Error;

    fn deref(&self) -> &kafka_client::Error {
        &self.0
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.doing, Plain(&self.on), self.why())
    }
}

impl std::error::Error for Error {}

impl ClassifiedError for Error {
    fn class(&self) -> ErrorClass {
        self.0.class()
    }

    fn is_unknown_topic(&self) -> bool {
        self.is(ResponseError::UnknownTopicOrPartition)
    }
}

/// A cause, and what to do about it.
#[derive(Debug, Clone, Copy)]
pub struct Why<'a>(pub &'a Cause);

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(cause) = *self;
        match cause {
            Cause::Code(code) | Cause::Records { code, .. } => write!(f, "{cause}{}", hint(*code)),
            Cause::Connect(why) | Cause::Disconnected(why) => write!(f, "{cause}{}", os_hint(why)),
            Cause::Handshake { is_proven: false, .. } => {
                write!(f, "{cause}: check kafka.security_protocol, is this a port for TLS?")
            }
            Cause::Unproven(_) => write!(
                f,
                "{cause}: check kafka.security_protocol; if this port wants a client's certificate, set kafka.tls.cert_file"
            ),
            Cause::Tls(TlsError::Refused(error)) => write!(f, "TLS: {}", Plain(BROKER.explain(error))),
            Cause::Tls(TlsError::Name(_)) => write!(f, "{cause}: check kafka.brokers"),
            Cause::Tls(TlsError::Wanted) | Cause::Sasl(SaslError::NotWanted) => {
                write!(f, "{cause}: check kafka.security_protocol")
            }
            Cause::Sasl(SaslError::NotOffered { .. }) => write!(f, "{cause}: check kafka.sasl.mechanism"),
            Cause::FrameTooLarge { limit, actual } => {
                write!(f, "the answer has {actual} bytes, kafka.max_frame_bytes allows {limit}: raise it")
            }
            Cause::NoMemory(_) => {
                write!(f, "{cause}; give the process more, or lower pipeline.max_in_flight_bytes")
            }
            Cause::GroupHasMembers(group) => write!(
                f,
                "{cause}: stop what consumes with it (kafka-consumer-groups.sh --describe --members --group {group} tells \
                 what), or give this pipeline a group.id of its own, or let it be a member by assignment.mode = \"group\""
            ),
            Cause::NoTransactions(what) => write!(
                f,
                "exactly once needs Kafka 2.5, or this service has no transactions (it offers no {what} that we know): set \
                 delivery.guarantee = \"at_least_once\""
            ),
            cause => cause.fmt(f),
        }
    }
}

/// Advice about an error of the operating system, of which some ways leave but the text.
fn os_hint(text: &str) -> &'static str {
    let is = |number: Errno| text.contains(&format!("(os error {})", number.raw_os_error()));
    if is(Errno::MFILE) {
        ": this process has as many files and sockets open as it may: raise that limit (ulimit -n; systemd: LimitNOFILE=), or \
         let more instances share the partitions"
    } else if is(Errno::NFILE) {
        ": this machine has as many files and sockets open as it may (fs.file-max)"
    } else {
        ""
    }
}

/// Texts that say that the other side has closed a connection.
const CLOSED: [&str; 3] = ["unexpected end of file", "early eof", "Connection reset by peer"];

/// Advice about an error code that lasts.
fn hint(code: ResponseError) -> &'static str {
    match code {
        ResponseError::TopicAuthorizationFailed => {
            ": grant this client Read and Describe on the source, Write and Describe on the outputs, all three on an \
             offsets topic"
        }
        ResponseError::GroupAuthorizationFailed => ": grant this client Read on the group (group.id)",
        ResponseError::ClusterAuthorizationFailed => ": grant this client the cluster operation",
        ResponseError::UnknownTopicOrPartition => ": create the topic, or set topics.create = \"missing\"",
        ResponseError::NotEnoughReplicas | ResponseError::NotEnoughReplicasAfterAppend => {
            ": fewer in-sync replicas than the topic's min.insync.replicas: bring back the brokers that are away, or lower \
             that setting of the topic"
        }
        ResponseError::InvalidTimestamp => {
            ": too far from the broker's time: raise the topic's message.timestamp.after.max.ms (1 h by default) or \
             message.timestamp.before.max.ms, or set its message.timestamp.type to LogAppendTime"
        }
        ResponseError::InvalidRecord => {
            ": a compacted topic takes no record without a key: set its cleanup.policy to delete, or name another topic"
        }
        ResponseError::GroupMaxSizeReached => {
            ": the group is full: run fewer instances, or raise the brokers' group.max.size"
        }
        ResponseError::InconsistentGroupProtocol => {
            ": the group's members have no assignor in common with group.assignors, or are no consumers: set one that all \
             have, or another group.id"
        }
        ResponseError::InvalidSessionTimeout => {
            ": set group.session_timeout within the brokers' group.min.session.timeout.ms and group.max.session.timeout.ms"
        }
        ResponseError::InvalidGroupId => ": set group.id to what the brokers take",
        ResponseError::UnreleasedInstanceId => {
            ": another member is there by this group.instance_id: it is free once that one has left, or its session has \
             ended; instances that run together need one each"
        }
        ResponseError::FencedInstanceId => ": another member has joined by this group.instance_id: give each its own",
        ResponseError::UnsupportedAssignor => {
            ": set group.server_assignor to one of the brokers' group.consumer.assignors, or leave it out"
        }
        ResponseError::InvalidRegularExpression => ": the brokers can't read the subscription's regular expression",
        ResponseError::GroupIdNotFound => {
            ": the group is not one of the consumer protocol, and has members: set group.protocol = \"classic\" or \"auto\", \
             or stop the others first"
        }
        ResponseError::UnsupportedVersion => {
            ": the broker is too old for this, or has it switched off (a group's: set group.protocol = \"classic\")"
        }
        ResponseError::ProducerFenced | ResponseError::InvalidProducerEpoch => {
            ": within transactions: another instance writes by this transactional id (delivery.transactional_id_prefix, topic, partition), or the \
             transaction was open for longer than delivery.transaction_timeout: let one instance read a partition, or \
             give each pipeline its own prefix"
        }
        ResponseError::TransactionalIdAuthorizationFailed => {
            ": grant this client Write and Describe on the transactional ids that begin with \
             delivery.transactional_id_prefix (group.id where it is not set)"
        }
        ResponseError::InvalidTransactionTimeout => {
            ": set delivery.transaction_timeout to at most the brokers' transaction.max.timeout.ms"
        }
        ResponseError::MessageTooLarge => ": larger than the topic's max.message.bytes",
        ResponseError::RecordListTooLarge => ": larger than the topic's segment.bytes",
        ResponseError::CorruptMessage => ": the broker finds it damaged, however often it is sent",
        ResponseError::UnsupportedCompressionType => ": set output.compression to a codec that the brokers know",
        ResponseError::InvalidReplicationFactor => {
            ": set topics.replication to what the brokers take: at most their number, or -1 for their default"
        }
        ResponseError::PolicyViolation => {
            ": a policy of the brokers, or of whoever runs them, refuses it: create topics with settings that it allows \
             (topics.partitions, topics.replication), or ask them"
        }
        _ => "",
    }
}

/// The cause of a refused authentication of rskafka's: it does not tell by what mechanism.
fn refusal() -> SaslError {
    SaslError::Refused { origin: format!("{PASSWORD}, or {TOKEN_FILE}, or {TOKENS}"), told: String::new() }
}

fn cause_of(error: &RskafkaError) -> Cause {
    match error {
        RskafkaError::Connection(error) => cause_of_connection(error),
        RskafkaError::Request(error) => cause_of_request(error),
        RskafkaError::InvalidResponse(text) => Cause::Undecodable(text.clone()),
        RskafkaError::ServerError { protocol_error, .. } => Cause::Code(response_error(*protocol_error)),
        // rskafka gave up after its own short deadline: what counts is what it met last.
        RskafkaError::RetryFailed(rskafka_gave_up) => {
            let last = std::error::Error::source(rskafka_gave_up);
            match last.map(|last| (last.downcast_ref(), last.downcast_ref())) {
                Some((Some(error), _)) => cause_of(error),
                Some((_, Some(error))) => cause_of_request(error),
                _ => Cause::Connect(rskafka_gave_up.to_string()),
            }
        }
        error => Cause::Undecodable(error.to_string()),
    }
}

fn cause_of_request(error: &RequestError) -> Cause {
    match error {
        RequestError::Poisoned(error) => cause_of_request(error),
        RequestError::NoVersionMatch { .. } => Cause::Unsupported(error.to_string()),
        RequestError::ReadFramedMessageError(frame) => frame_too_large(&frame.to_string()),
        RequestError::IO(error) => kafka_client::tls::cause(error)
            .unwrap_or_else(|| Cause::Disconnected(format!("can't read or write: {error}"))),
        RequestError::WriteMessageError(_) => Cause::Disconnected(error.to_string()),
        error => Cause::Undecodable(error.to_string()),
    }
}

/// The cause of a connection that rskafka could not make. A connection of our own went before it, so that
/// these are rare: a broker that differs from the others, or changed in between.
fn cause_of_connection(error: &ConnectionError) -> Cause {
    match error {
        ConnectionError::Metadata(error) => cause_of_request(error),
        ConnectionError::SaslFailed(RskafkaSaslError::RequestError(error)) => cause_of_request(error),
        ConnectionError::SaslFailed(RskafkaSaslError::ApiError(ProtocolError::SaslAuthenticationFailed)) => {
            Cause::Sasl(refusal())
        }
        ConnectionError::SaslFailed(RskafkaSaslError::Callback(error)) => match error.downcast_ref::<NoToken>() {
            Some(error) => Cause::Token(error.clone()),
            None => Cause::Sasl(SaslError::Told(error.to_string())),
        },
        ConnectionError::SaslFailed(error) => Cause::Sasl(SaslError::Told(error.to_string())),
        ConnectionError::Transport { error, .. } => {
            let io = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
            io.and_then(kafka_client::tls::cause).unwrap_or_else(|| Cause::Connect(error.to_string()))
        }
        ConnectionError::RetryFailed(gave_up) if within(gave_up).is_some() => {
            within(gave_up).map_or_else(|| Cause::Connect(gave_up.to_string()), cause_of_request)
        }
        // Of several brokers there is but the text.
        error => {
            let text = error.to_string();
            if let Some(too_large) = too_large_in(&text) {
                // rskafka asks for all topics of the cluster when it connects.
                too_large
            } else if text.contains("SaslAuthenticationFailed") {
                Cause::Sasl(refusal())
            } else if text.contains("invalid peer certificate") {
                Cause::Tls(TlsError::Told(text))
            } else if CLOSED.iter().any(|closed| text.contains(closed)) {
                Cause::Connect(format!("{text}; {NO_MORE_CONNECTIONS}"))
            } else {
                Cause::Connect(text)
            }
        }
    }
}

/// The cause that a request ran into, where rskafka says no more than that it gave up.
fn within(gave_up: &BackoffError) -> Option<&RequestError> {
    std::error::Error::source(gave_up)?.downcast_ref()
}

/// rskafka keeps its frame error private; its text is the only way to tell a frame that is too
/// large from a broken connection. A test against the sandbox fails should the text change.
fn frame_too_large(text: &str) -> Cause {
    too_large_in(text).unwrap_or_else(|| Cause::Disconnected(text.to_owned()))
}

/// The cause where a text says, wherever in it, that a frame is too large.
fn too_large_in(text: &str) -> Option<Cause> {
    let (_, rest) = text.split_once("Message too large, limit is ")?;
    let (limit, rest) = rest.split_once(" bytes but got ")?;
    let (actual, _) = rest.split_once(' ')?;
    Some(Cause::FrameTooLarge { limit: limit.parse().ok()?, actual: actual.parse().ok()? })
}

/// rskafka's codes and kafka-protocol's bear the same names, after Kafka's own.
fn response_error(error: ProtocolError) -> ResponseError {
    if let ProtocolError::Unknown(code) = error {
        return ResponseError::Unknown(code);
    }
    let name = format!("{error:?}");
    let known = (-1..=200).filter_map(ResponseError::try_from_code);
    known.into_iter().find(|code| code.to_string() == name).unwrap_or(ResponseError::UnknownServerError)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use super::*;

    #[test]
    fn rskafka_codes_keep_their_names() {
        for (ours, theirs) in [
            (ProtocolError::OffsetOutOfRange, ResponseError::OffsetOutOfRange),
            (ProtocolError::NotLeaderOrFollower, ResponseError::NotLeaderOrFollower),
            (ProtocolError::UnknownServerError, ResponseError::UnknownServerError),
            (ProtocolError::TopicAuthorizationFailed, ResponseError::TopicAuthorizationFailed),
            (ProtocolError::KafkaStorageError, ResponseError::KafkaStorageError),
            (ProtocolError::Unknown(133), ResponseError::Unknown(133)),
        ] {
            assert_eq!(response_error(ours), theirs);
        }
    }

    #[test]
    fn rskafka_says_what_to_mend_too() {
        let refused = || RskafkaSaslError::ApiError(ProtocolError::SaslAuthenticationFailed);
        let text = || std::io::Error::other(ConnectionError::SaslFailed(refused()).to_string());
        let deadline = Duration::ZERO;
        let of_several = rskafka::BackoffError::DeadlineExceded { deadline, source: Box::new(text()) };
        for error in [ConnectionError::SaslFailed(refused()), ConnectionError::RetryFailed(of_several)] {
            let error = Error::from_rskafka("connect to", "b:1", &RskafkaError::Connection(error));
            assert_eq!(error.class(), ErrorClass::Fatal, "{error}");
            assert!(error.to_string().contains("check kafka.sasl.username"), "{error}");
        }
        let source = Box::new(std::io::Error::other("Message too large, limit is 1024 bytes but got 5000 bytes"));
        let of_all_topics = ConnectionError::RetryFailed(rskafka::BackoffError::DeadlineExceded { deadline, source });
        let error = Error::from_rskafka("connect to", "b:1", &RskafkaError::Connection(of_all_topics));
        assert!(error.to_string().contains("kafka.max_frame_bytes allows 1024: raise it"), "{error}");
        let expired = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        let request = RequestError::IO(std::io::Error::new(std::io::ErrorKind::InvalidData, expired.clone()));
        let error = Error::from_rskafka("fetch", "t/0", &RskafkaError::Request(request));
        assert!(matches!(&error.cause, Cause::Tls(_)) && error.to_string().contains("has expired"), "{error}");
        let source = Box::new(std::io::Error::other(expired.to_string()));
        let of_several = ConnectionError::RetryFailed(rskafka::BackoffError::DeadlineExceded { deadline, source });
        let error = Error::from_rskafka("fetch", "t/0", &RskafkaError::Connection(of_several));
        assert!(matches!(error.cause, Cause::Tls(_)) && error.breaks_connection(), "{error}");
        let source = Box::new(io::Error::from(io::ErrorKind::UnexpectedEof));
        let of_several = ConnectionError::RetryFailed(rskafka::BackoffError::DeadlineExceded { deadline, source });
        let error = Error::from_rskafka("fetch", "t/0", &RskafkaError::Connection(of_several));
        assert!(error.to_string().contains("max.connections.per.ip"), "{error}");
    }

    #[test]
    fn what_a_topic_refuses_a_record_for_names_the_setting() {
        for (code, setting) in [
            (ResponseError::MessageTooLarge, "max.message.bytes"),
            (ResponseError::RecordListTooLarge, "segment.bytes"),
            (ResponseError::InvalidTimestamp, "message.timestamp.after.max.ms"),
            (ResponseError::InvalidRecord, "cleanup.policy"),
            (ResponseError::PolicyViolation, ""),
        ] {
            let plain = Error::code("produce", "t/0", code);
            let named = Error::new("produce", "t/0", Cause::Records { code, records: [3].into() });
            assert_eq!((plain.records(), named.records()), (&[][..], &[3][..]));
            for error in [plain, named] {
                assert!(error.is(code) && !error.breaks_connection(), "{error}");
                assert!(error.refuses_records(), "{error}");
                assert!(error.to_string().contains(setting), "{error}");
            }
        }
    }

    #[test]
    fn what_a_topic_refuses_names_the_topics_setting() {
        use ResponseError as Code;
        for (code, says) in [
            (Code::NotEnoughReplicas, "min.insync.replicas"),
            (Code::NotEnoughReplicasAfterAppend, "min.insync.replicas"),
            (Code::InvalidTimestamp, "message.timestamp.after.max.ms"),
            (Code::InvalidRecord, "cleanup.policy"),
        ] {
            let error = Error::code("produce to", "t/0", code);
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn a_limit_of_open_files_is_told_as_one() {
        for (number, says) in [(24, "LimitNOFILE"), (23, "fs.file-max")] {
            let text = io::Error::from_raw_os_error(number).to_string();
            for cause in [Cause::Connect(text.clone()), Cause::Disconnected(format!("can't read or write: {text}"))] {
                assert!(Why(&cause).to_string().contains(says), "{cause}");
            }
        }
        let refused = Cause::Connect(io::Error::from_raw_os_error(111).to_string());
        assert!(!Why(&refused).to_string().contains("limit"));
    }

    #[test]
    fn what_the_client_names_no_key_for_has_its_key_here() {
        for (cause, says) in [
            (
                Cause::NoTransactions("InitProducerId".to_owned()),
                "(it offers no InitProducerId that we know): set delivery.guarantee",
            ),
            (Cause::GroupHasMembers("g".to_owned()), "--members --group g tells what"),
            (Cause::Unproven("closed".to_owned()), "check kafka.security_protocol"),
            (Cause::Handshake { why: "eof".to_owned(), is_proven: false }, "is this a port for TLS?"),
            (Cause::Tls(TlsError::Wanted), "speaks TLS on this port: check kafka.security_protocol"),
            (Cause::Tls(TlsError::Name("a b".to_owned())), "check kafka.brokers"),
            (Cause::Sasl(SaslError::NotWanted), "wants no SASL on this port: check kafka.security_protocol"),
            (
                Cause::Sasl(SaslError::NotOffered { mechanism: "PLAIN", offered: "GSSAPI".to_owned() }),
                "has no PLAIN on this port, but GSSAPI: check kafka.sasl.mechanism",
            ),
            (Cause::NoMemory("4 MiB".to_owned()), "lower pipeline.max_in_flight_bytes"),
        ] {
            let error = Error::new("connect to", "b:1", cause);
            assert!(error.to_string().contains(says), "{error}");
        }
        let proven = Cause::Handshake { why: "eof".to_owned(), is_proven: true };
        assert!(!Why(&proven).to_string().contains("kafka."), "settings that a broker has taken are not doubted");
    }

    #[test]
    fn what_is_refused_of_transactions_says_what_to_do() {
        use ResponseError as Code;
        for (code, says) in [
            (Code::ProducerFenced, "delivery.transactional_id_prefix"),
            (Code::InvalidProducerEpoch, "delivery.transaction_timeout"),
            (Code::TransactionalIdAuthorizationFailed, "grant this client Write and Describe"),
            (Code::InvalidTransactionTimeout, "transaction.max.timeout.ms"),
        ] {
            let error = Error::code("end the transaction of", "id", code);
            assert!(error.to_string().contains(says), "{error}");
            assert_eq!(error.class(), ErrorClass::Fatal, "{error}");
        }
    }

    #[test]
    fn what_a_group_refuses_says_what_to_do() {
        use ResponseError as Code;
        for (code, says, class) in [
            (Code::GroupAuthorizationFailed, "group.id", ErrorClass::Fatal),
            (Code::GroupMaxSizeReached, "group.max.size", ErrorClass::Fatal),
            (Code::InconsistentGroupProtocol, "group.assignors", ErrorClass::Fatal),
            (Code::InvalidSessionTimeout, "group.session_timeout", ErrorClass::Fatal),
            (Code::InvalidGroupId, "group.id", ErrorClass::Fatal),
            (Code::UnreleasedInstanceId, "group.instance_id", ErrorClass::Transient),
            (Code::FencedInstanceId, "group.instance_id", ErrorClass::Fatal),
            (Code::UnsupportedAssignor, "group.server_assignor", ErrorClass::Fatal),
            (Code::InvalidRegularExpression, "regular expression", ErrorClass::Fatal),
            (Code::GroupIdNotFound, "group.protocol", ErrorClass::Fatal),
            (Code::UnsupportedVersion, "group.protocol", ErrorClass::Fatal),
        ] {
            let error = Error::code("join group", "g", code);
            assert!(error.to_string().contains(says), "{error}");
            assert_eq!(error.class(), class, "{error}");
        }
    }
}
