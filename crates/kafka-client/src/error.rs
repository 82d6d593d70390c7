//! What goes wrong between a client and the brokers, and what each means for trying again.
//!
//! No text says what to configure: whoever knows the configuration adds that, by the kind of the cause.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_records::record::{Offset, Position};

use crate::plain::Plain;

/// The class of an error: what it means for a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// It passes by itself: a leader moves, a broker restarts. Nothing was done.
    Transient,
    /// It lasts until someone fixes it: a permission, a missing topic.
    Fatal,
    /// The answer was lost: the request may have had its effect.
    Ambiguous,
    /// The data itself can't be handled, and never will be by trying again.
    Poison,
}

impl ErrorClass {
    /// The word in metric labels and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Fatal => "fatal",
            Self::Ambiguous => "ambiguous",
            Self::Poison => "poison",
        }
    }
}

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
    #[error("{0} (code {code})", code = .0.code())]
    Code(ResponseError),
    /// The broker answered with an error code, and named the records that are the reason: their places
    /// in the batch, from 0.
    #[error("{code} (code {number})", number = .code.code())]
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
    #[error("can't connect: {}", Plain(.0))]
    Connect(String),
    /// One side does not trust the other: a certificate, a name, a protocol.
    #[error("TLS: {}", Plain(.0))]
    Tls(TlsError),
    /// The broker does not believe who we are, or can't show who it is.
    #[error("SASL: {}", Plain(.0))]
    Sasl(SaslError),
    /// There is no token to tell the broker.
    #[error("{}", Plain(.0))]
    Token(NoToken),
    /// TCP was there, TLS wasn't.
    #[error("can't connect: {}, in the TLS handshake", Plain(.why))]
    Handshake {
        /// Why.
        why: String,
        /// Whether a broker has been spoken with by these settings before.
        is_proven: bool,
    },
    /// The connection broke after the request was, perhaps, sent.
    #[error("connection lost: {}", Plain(.0))]
    Disconnected(String),
    /// The connection broke before any answer by which a broker lets a client in: that the settings are right is not known yet.
    #[error("connection lost: {}, before any answer of weight", Plain(.0))]
    Unproven(String),
    /// The answer is larger than [`Options::max_frame_bytes`](crate::Options).
    #[error("the answer has {actual} bytes, {limit} are allowed")]
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
    #[error("out of memory: {0}")]
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
    #[error("the group has active members, and its coordinator takes offsets from those alone")]
    GroupHasMembers(String),
    /// The [`Permit`](crate::Permit) for what was to be written does not hold, at the moment or any more.
    #[error("the membership in the group is in doubt: nothing is written for this partition")]
    NotHeld,
    /// The broker has no transactions, or none that a member of a group can commit offsets in (KIP-447).
    #[error(
        "transactions with a group's offsets need Kafka 2.5, or this service has none (it offers no {0} that we know)"
    )]
    NoTransactions(String),
    /// The broker speaks no version of this request that we know.
    #[error("the broker offers no version of this request that we know: {}", Plain(.0))]
    Unsupported(String),
}

/// What keeps TLS from being spoken.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TlsError {
    /// A file of this side, which the text names, and what is wrong with it.
    #[error("{0}")]
    File(String),
    /// What the broker is reached by is no name that a certificate can have.
    #[error("{0:?} is no name that a certificate can have")]
    Name(String),
    /// The broker speaks TLS, and was spoken to without.
    #[error("the broker speaks TLS on this port")]
    Wanted,
    /// What one side has against the other.
    #[error("{0}")]
    Refused(rustls::Error),
    /// Another client's text of what one side has against the other.
    #[error("{0}")]
    Told(String),
}

/// What keeps SASL from succeeding.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SaslError {
    /// The credentials can't be had: a file that the text names, and what is wrong with it.
    #[error("{0}")]
    Credentials(String),
    /// The broker has other mechanisms on this port, which are named.
    #[error("the broker has no {mechanism} on this port, but {offered}")]
    NotOffered {
        /// The one that was asked for.
        mechanism: &'static str,
        /// What it has.
        offered: String,
    },
    /// The broker wants no SASL on this port.
    #[error("the broker wants no SASL on this port")]
    NotWanted,
    /// The broker does not take the credentials.
    #[error("the broker does not take our credentials (SASL_AUTHENTICATION_FAILED): check {origin}{told}")]
    Refused {
        /// Where they come from, as [`Credentials::origin`](crate::Credentials::origin) says.
        origin: String,
        /// What the broker says of it, in brackets and behind a space; empty where it says nothing.
        told: String,
    },
    /// The broker's part of the exchange is wrong.
    #[error("{mechanism}: the broker's part is wrong: {why}")]
    Broker {
        /// The mechanism.
        mechanism: &'static str,
        /// What is wrong.
        why: String,
    },
    /// Another client's text.
    #[error("{0}")]
    Told(String),
}

/// Why whoever gives out tokens gives none.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{why}")]
pub struct NoToken {
    /// Why, for people.
    pub why: String,
    /// What it means for trying again.
    pub class: ErrorClass,
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

impl Error {
    /// An error code that the broker gave for `on`.
    pub fn code(doing: &'static str, on: impl Into<String>, code: ResponseError) -> Self {
        Self { doing, on: on.into(), cause: Cause::Code(code) }
    }

    /// A batch that its codec can't pack.
    pub fn compress(error: &io::Error) -> Self {
        Self { doing: "compress", on: "a record batch".to_owned(), cause: Cause::Undecodable(error.to_string()) }
    }

    /// Returns whether the broker gave this code.
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

    /// Returns whether a batch that was to be written is refused for what is in its records.
    pub fn refuses_records(&self) -> bool {
        // A policy says of a topic that is made, too, that it is not to be: that lasts until someone mends it.
        self.class() == ErrorClass::Poison || self.is(ResponseError::PolicyViolation)
    }

    /// Returns whether it makes no sense to keep the client that met this error.
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

    /// Returns whether another broker may lead the partition that was written to: one that says so, and one that
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

    /// Returns whether the request may have had its effect, though nobody has heard of it.
    pub fn leaves_doubt(&self) -> bool {
        self.class() == ErrorClass::Ambiguous || matches!(self.cause, Cause::FrameTooLarge { .. })
    }

    /// Classifies the error by what it means for a retry.
    pub fn class(&self) -> ErrorClass {
        match &self.cause {
            Cause::Code(code) | Cause::Records { code, .. } => class_of(*code),
            Cause::Token(error) => error.class,
            Cause::Connect(_)
            | Cause::Handshake { .. }
            | Cause::NotHeld
            | Cause::NoMemory(_)
            | Cause::Overtaken { .. } => ErrorClass::Transient,
            Cause::Timeout(_) | Cause::Disconnected(_) | Cause::Unproven(_) | Cause::Undecodable(_) => {
                ErrorClass::Ambiguous
            }
            Cause::Tls(_)
            | Cause::Sasl(_)
            | Cause::FrameTooLarge { .. }
            | Cause::Truncated { .. }
            | Cause::GroupHasMembers(_)
            | Cause::NoTransactions(_)
            | Cause::Unsupported(_) => ErrorClass::Fatal,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_brokers_text_forges_no_line_of_the_log() {
        let text = || "no\r\n2026-01-02T03:04:05Z ERROR forged \u{1b}[31m\u{2028}\u{202e}".to_owned();
        let causes = [
            Cause::Connect(text()),
            Cause::Tls(TlsError::Told(text())),
            Cause::Sasl(SaslError::Refused { origin: "the password".to_owned(), told: text() }),
            Cause::Token(NoToken { why: text(), class: ErrorClass::Fatal }),
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
        let quoted = Cause::Sasl(SaslError::Told(r#"user "a\b" of 'c'"#.to_owned())).to_string();
        assert_eq!(quoted, r#"SASL: user "a\b" of 'c'"#);
    }
}
