//! What goes wrong between us and the brokers, and what each means for trying again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use rskafka::client::error::{Error as RskafkaError, ProtocolError, RequestError};
use rskafka::{BackoffError, ConnectionError, SaslError};
use rustix::io::Errno;

use super::TokenError;
use super::wire::{NO_MORE_CONNECTIONS, sasl, tls};
use crate::plain::Plain;
use crate::record::{Offset, Position};
use crate::retry::ErrorClass;

/// A failed request: what was being done, on what, and why it failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{doing} {}: {cause}", Plain(.on))]
pub struct Error {
    /// The operation, as in `fetch`.
    pub doing: &'static str,
    /// On what: a topic and partition, or a broker's address.
    pub on: String,
    /// Why it failed.
    pub cause: Cause,
}

/// Why a request failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Cause {
    /// The broker answered with an error code.
    #[error("{0} (code {code}){hint}", code = .0.code(), hint = hint(*.0))]
    Code(ResponseError),
    /// The broker answered with an error code, and named the records that are the reason: their places
    /// in the batch, from 0.
    #[error("{code} (code {number}){hint}", number = .code.code(), hint = hint(*.code))]
    Records {
        /// The code.
        code: ResponseError,
        /// The places.
        records: Arc<[usize]>,
    },
    /// No answer came in time.
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Timeout(Duration),
    /// No connection could be made, so that nothing was asked.
    #[error("can't connect: {}{}", Plain(.0), os_hint(.0))]
    Connect(String),
    /// One side does not trust the other: a certificate, a name, a protocol.
    #[error("TLS: {}", Plain(.0))]
    Tls(String),
    /// The broker does not believe who we are, or can't show who it is.
    #[error("SASL: {}", Plain(.0))]
    Sasl(String),
    /// The token endpoint gives no token to tell the broker.
    #[error("{}", Plain(.0))]
    Token(TokenError),
    /// The connection broke after the request was, perhaps, sent.
    #[error("connection lost: {}{}", Plain(.0), os_hint(.0))]
    Disconnected(String),
    /// The answer is larger than we take.
    #[error("the answer has {actual} bytes, kafka.max_frame_bytes allows {limit}: raise it")]
    FrameTooLarge {
        /// What we take.
        limit: usize,
        /// What came.
        actual: usize,
    },
    /// The answer, or the records in it, can't be decoded.
    #[error("can't decode the answer: {}", Plain(.0))]
    Undecodable(String),
    /// There is no memory for what the answer holds. That says nothing of the answer.
    #[error("out of memory: {0}; give the process more, or lower pipeline.max_in_flight_bytes")]
    NoMemory(String),
    /// The leader's log no longer holds what was read of it: an unclean leader election cut it.
    #[error("the log was truncated: {}", truncated(*.before, *.diverged))]
    Truncated {
        /// Up to where it was read.
        before: Position,
        /// The last place that both logs may have in common; `None` where the leader can't tell.
        diverged: Option<Position>,
    },
    /// The group's offset is not the one that was begun at.
    #[error(
        "the group's offset is {}, but this began at {}: a broker said so that had ceased to be the group's coordinator, \
         or another writes or sets this group's offsets", or_none(*.found), or_none(*.begun_at)
    )]
    Overtaken {
        /// What the group was said to have; `None` where it was said to have none.
        begun_at: Option<Offset>,
        /// What it has.
        found: Option<Offset>,
    },
    /// The group has members, and this is none of them: its coordinator takes offsets from those alone.
    #[error(
        "the group has active members, and its coordinator takes offsets from those alone: stop what consumes with it \
         (kafka-consumer-groups.sh --describe --members --group {0} tells what), or give this pipeline a group.id of its \
         own, or let it be a member by assignment.mode = \"group\""
    )]
    GroupHasMembers(String),
    /// The partition is not this instance's to write for, at the moment or any more.
    #[error("the membership in the group is in doubt: nothing is written for this partition")]
    NotHeld,
    /// The broker has no transactions, or none that a member of a group can commit offsets in (KIP-447).
    #[error(
        "exactly once needs Kafka 2.5, or this service has no transactions (it offers no {0} that we know): set \
         delivery.guarantee = \"at_least_once\""
    )]
    NoTransactions(String),
    /// The broker speaks no version of this request that we know.
    #[error("the broker offers no version of this request that we know: {}", Plain(.0))]
    Unsupported(String),
}

fn truncated(before: Position, diverged: Option<Position>) -> String {
    let was = format!("it was read up to offset {} in leader epoch {}", before.offset, or_dash(before.leader_epoch));
    match diverged {
        Some(at) => {
            format!("{was}, but differs from offset {} (leader epoch {}) on", at.offset, or_dash(at.leader_epoch))
        }
        None => format!("{was}, of which its leader knows nothing"),
    }
}

fn or_none(offset: Option<Offset>) -> String {
    offset.map_or_else(|| "none".to_owned(), |offset| offset.to_string())
}

fn or_dash(epoch: Option<i32>) -> String {
    epoch.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string())
}

/// What to do about an error of the operating system, of which some ways leave but the text.
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

/// How a text says that the other side has closed a connection.
const CLOSED: [&str; 3] = ["unexpected end of file", "early eof", "Connection reset by peer"];

/// What to do about an error code that lasts.
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

impl Error {
    /// An error code that the broker gave for `on`.
    pub fn code(doing: &'static str, on: impl Into<String>, code: ResponseError) -> Self {
        Self { doing, on: on.into(), cause: Cause::Code(code) }
    }

    /// A batch that its codec can't pack.
    pub fn compress(error: &io::Error) -> Self {
        Self { doing: "compress", on: "a record batch".to_owned(), cause: Cause::Undecodable(error.to_string()) }
    }

    /// Whether the broker gave this code.
    pub fn is(&self, code: ResponseError) -> bool {
        matches!(self.cause, Cause::Code(found) | Cause::Records { code: found, .. } if found == code)
    }

    /// The records of a refused batch that are the reason, by their place in it, where the broker names any.
    pub fn records(&self) -> &[usize] {
        match &self.cause {
            Cause::Records { records, .. } => records,
            _ => &[],
        }
    }

    /// Of a batch that was to be written: whether it is refused for what is in its records.
    pub fn refuses_records(&self) -> bool {
        // A policy says of a topic that is made, too, that it is not to be: that lasts until someone mends it.
        self.class() == ErrorClass::Poison || self.is(ResponseError::PolicyViolation)
    }

    /// Whether it makes sense to keep the client that met this error.
    pub fn breaks_connection(&self) -> bool {
        !matches!(
            self.cause,
            Cause::Code(_)
                | Cause::Records { .. }
                | Cause::Undecodable(_)
                | Cause::NoMemory(_)
                | Cause::Truncated { .. }
                | Cause::Overtaken { .. }
                | Cause::GroupHasMembers(_)
                | Cause::NoTransactions(_)
                | Cause::NotHeld
        )
    }

    /// Whether another broker may lead the partition that was written to: one that says so, and one that
    /// can't be reached. What else a leader refuses, it refuses as the leader.
    pub fn doubts_leader(&self) -> bool {
        use ResponseError as Code;
        match &self.cause {
            Cause::Code(code) => matches!(
                code,
                Code::NotLeaderOrFollower
                    | Code::LeaderNotAvailable
                    | Code::UnknownTopicOrPartition
                    | Code::FencedLeaderEpoch
                    | Code::UnknownLeaderEpoch
                    | Code::ReplicaNotAvailable
                    | Code::ListenerNotFound
                    | Code::KafkaStorageError
                    | Code::BrokerNotAvailable
                    | Code::NetworkException
                    | Code::UnknownServerError
                    | Code::RequestTimedOut
                    | Code::NotEnoughReplicas
                    | Code::NotEnoughReplicasAfterAppend
            ),
            Cause::NotHeld => false,
            _ => true,
        }
    }

    /// Whether the request may have had its effect, though nobody has heard of it.
    pub fn leaves_doubt(&self) -> bool {
        self.class() == ErrorClass::Ambiguous || matches!(self.cause, Cause::FrameTooLarge { .. })
    }

    /// What the error means for trying again.
    pub fn class(&self) -> ErrorClass {
        match &self.cause {
            Cause::Code(code) | Cause::Records { code, .. } => class_of(*code),
            Cause::Token(error) => error.class(),
            Cause::Connect(_) | Cause::NotHeld | Cause::NoMemory(_) | Cause::Overtaken { .. } => ErrorClass::Transient,
            Cause::Timeout(_) | Cause::Disconnected(_) | Cause::Undecodable(_) => ErrorClass::Ambiguous,
            Cause::Tls(_)
            | Cause::Sasl(_)
            | Cause::FrameTooLarge { .. }
            | Cause::Truncated { .. }
            | Cause::GroupHasMembers(_)
            | Cause::NoTransactions(_)
            | Cause::Unsupported(_) => ErrorClass::Fatal,
        }
    }

    /// What rskafka's error says, for an operation on something.
    pub fn from_rskafka(doing: &'static str, on: impl Into<String>, error: &RskafkaError) -> Self {
        Self { doing, on: on.into(), cause: cause_of(error) }
    }
}

fn class_of(code: ResponseError) -> ErrorClass {
    use ResponseError as Code;
    match code {
        Code::RequestTimedOut | Code::NotEnoughReplicasAfterAppend => ErrorClass::Ambiguous,
        Code::MessageTooLarge | Code::RecordListTooLarge | Code::InvalidRecord | Code::InvalidTimestamp => {
            ErrorClass::Poison
        }
        // Kafka calls these final, but each passes when the broker recovers.
        Code::UnknownServerError | Code::BrokerNotAvailable | Code::InvalidFetchSize | Code::StaleBrokerEpoch => {
            ErrorClass::Transient
        }
        // The transaction before is still being ended; or this one can't be, and is done again.
        Code::ConcurrentTransactions | Code::TransactionAbortable | Code::InvalidTxnState => ErrorClass::Transient,
        // A static member that died and is back: its own place is free once that session has ended.
        Code::UnreleasedInstanceId => ErrorClass::Transient,
        code if code.is_retriable() => ErrorClass::Transient,
        _ => ErrorClass::Fatal,
    }
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
        RequestError::IO(error) => {
            tls::cause(error).unwrap_or_else(|| Cause::Disconnected(format!("can't read or write: {error}")))
        }
        RequestError::WriteMessageError(_) => Cause::Disconnected(error.to_string()),
        error => Cause::Undecodable(error.to_string()),
    }
}

/// Of a connection that rskafka could not make. A connection of our own went before it, so that
/// these are rare: a broker that differs from the others, or changed in between.
fn cause_of_connection(error: &ConnectionError) -> Cause {
    match error {
        ConnectionError::Metadata(error) => cause_of_request(error),
        ConnectionError::SaslFailed(SaslError::RequestError(error)) => cause_of_request(error),
        ConnectionError::SaslFailed(SaslError::ApiError(ProtocolError::SaslAuthenticationFailed)) => {
            Cause::Sasl(sasl::refusal())
        }
        ConnectionError::SaslFailed(SaslError::Callback(error)) => match error.downcast_ref::<TokenError>() {
            Some(error) => Cause::Token(error.clone()),
            None => Cause::Sasl(error.to_string()),
        },
        ConnectionError::SaslFailed(error) => Cause::Sasl(error.to_string()),
        ConnectionError::Transport { error, .. } => {
            let io = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
            io.and_then(tls::cause).unwrap_or_else(|| Cause::Connect(error.to_string()))
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
                Cause::Sasl(sasl::refusal())
            } else if text.contains("invalid peer certificate") {
                Cause::Tls(text)
            } else if CLOSED.iter().any(|closed| text.contains(closed)) {
                Cause::Connect(format!("{text}; {NO_MORE_CONNECTIONS}"))
            } else {
                Cause::Connect(text)
            }
        }
    }
}

/// What a request ran into, where rskafka says no more than that it gave up.
fn within(gave_up: &BackoffError) -> Option<&RequestError> {
    std::error::Error::source(gave_up)?.downcast_ref()
}

/// rskafka keeps its frame error private; its text is the only way to tell a frame that is too
/// large from a broken connection. A test against the sandbox fails should the text change.
fn frame_too_large(text: &str) -> Cause {
    too_large_in(text).unwrap_or_else(|| Cause::Disconnected(text.to_owned()))
}

/// The same, wherever in a text it stands.
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
        let refused = || SaslError::ApiError(ProtocolError::SaslAuthenticationFailed);
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
        assert!(matches!(&error.cause, Cause::Tls(why) if why.contains("has expired")), "{error}");
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
            let named = Error { cause: Cause::Records { code, records: [3].into() }, ..plain.clone() };
            assert_eq!((plain.records(), named.records()), (&[][..], &[3][..]));
            for error in [plain, named] {
                assert!(error.is(code) && !error.breaks_connection(), "{error}");
                assert!(error.refuses_records(), "{error}");
                assert!(error.to_string().contains(setting), "{error}");
            }
        }
    }

    #[test]
    fn classes_follow_what_can_be_done() {
        let class = |code| Error::code("produce", "t/0", code).class();
        assert_eq!(class(ResponseError::NotEnoughReplicas), ErrorClass::Transient);
        assert_eq!(class(ResponseError::KafkaStorageError), ErrorClass::Transient);
        assert_eq!(class(ResponseError::ThrottlingQuotaExceeded), ErrorClass::Transient);
        assert_eq!(class(ResponseError::ConcurrentTransactions), ErrorClass::Transient);
        assert_eq!(class(ResponseError::ProducerFenced), ErrorClass::Fatal);
        assert_eq!(class(ResponseError::RequestTimedOut), ErrorClass::Ambiguous);
        assert_eq!(class(ResponseError::TopicAuthorizationFailed), ErrorClass::Fatal);
        assert_eq!(class(ResponseError::Unknown(999)), ErrorClass::Fatal);
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
                assert!(cause.to_string().contains(says), "{cause}");
            }
        }
        assert!(!Cause::Connect(io::Error::from_raw_os_error(111).to_string()).to_string().contains("limit"));
    }

    #[test]
    fn a_brokers_text_forges_no_line_of_the_log() {
        let text = || "no\r\n2026-01-02T03:04:05Z ERROR forged \u{1b}[31m\u{2028}\u{202e}".to_owned();
        let causes = [
            Cause::Connect(text()),
            Cause::Tls(text()),
            Cause::Sasl(text()),
            Cause::Disconnected(text()),
            Cause::Undecodable(text()),
            Cause::Unsupported(text()),
        ];
        for cause in causes {
            let error = Error { doing: "connect to", on: text(), cause };
            for shown in [error.to_string(), error.cause.to_string()] {
                let clean = |c: char| !c.is_control() && !"\u{2028}\u{202e}".contains(c);
                assert!(shown.chars().all(clean) && shown.contains(r"no\r\n2026"), "{shown:?}");
            }
        }
        let quoted = Cause::Sasl(r#"user "a\b" of 'c'"#.to_owned()).to_string();
        assert_eq!(quoted, r#"SASL: user "a\b" of 'c'"#);
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
