//! A Kafka client, on the messages of the `kafka-protocol` crate, of which every call says what happened: nothing is
//! tried again in secret, nothing copied that need not be.
//!
//! ```text
//! Cluster ── metadata, leaders ──► Connection ── one request, one deadline ──► broker
//!    │                                 ▲
//!    │                       stream (TCP or TLS), sasl
//!    ├── produce (batches encoded in place, acks=all, no hidden retry)
//!    ├── fetch   (raw batches: control batches, null headers, corrupt ones)
//!    │      └── FetchLink (to one partition's leader, on a connection of its own)
//!    ├── leader_epochs (does the log still hold what was read of it?)
//!    ├── producers (is a batch written whose answer was lost?)
//!    ├── list_offsets (the ends of a log, the record of a time)
//!    ├── topics (made with settings, and what settings they have)
//!    └── Coordinator (a group's broker, or a transactional id's, on a connection of its own)
//!           ├── group_offsets (OffsetCommit, OffsetFetch)
//!           ├── groups (has it members?)
//!           ├── transactions (begun, what belongs to them, ended)
//!           └── membership (requests of the group's members, which a driver sends)
//! ```
//!
//! Nothing here tries again: each call says what happened, and the caller's retry loop decides. Nothing here knows a
//! configuration: [`Options`] are the caller's to fill, an [`Error`] names no key, a [`Permit`] says whether a write may
//! still go out, and a [`Meter`] takes what is counted.
//!
//! The machines of an idempotent producer ([`producer`]), of a transaction ([`transaction`]) and of a group's member
//! ([`membership`]) ask nobody: they say what to ask, and are told the answer.

#![forbid(unsafe_code)]

mod aborted;
mod address;
pub mod admission;
mod answer;
mod buf_chain;
pub mod certificate;
mod cluster;
pub mod concurrent_transactions;
mod connection;
mod coordinator;
pub mod dial;
mod error;
mod fetch;
pub mod followed;
mod frames;
mod group_offsets;
mod groups;
mod idle;
mod leader_connection;
mod leader_epochs;
mod list_offsets;
pub mod membership;
mod meter;
mod options;
mod outbound;
mod outbox;
pub mod pem;
pub mod permit;
pub mod plain;
mod produce;
pub mod producer;
mod producer_id;
mod producers;
mod response_schema;
pub mod sasl;
mod scram;
mod secret;
mod security;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod throttle;
pub mod tls;
mod topics;
pub mod transaction;
mod transactions;
mod transport;
mod versions;

pub use answer::{Answer, Left, Stretch};
pub use cluster::{Cluster, Partition, Topic};
pub use connection::{Connection, NO_MORE_CONNECTIONS};
pub use coordinator::Coordinator;
pub use error::{Cause, Error, ErrorClass, NoToken, SaslError, TlsError};
pub use fetch::{Ask, Fetched, Isolation};
pub use group_offsets::{Committed, Committing, GroupOffset, Identity, OffsetsHeld, text};
pub use groups::{GroupDescription, Member};
pub use idle::LastUse;
pub use leader_connection::FetchLink;
pub use list_offsets::At;
pub use meter::{Meter, NoMeter};
pub use options::Options;
pub use outbox::{Produced, WithinTransaction};
pub use permit::Permit;
pub use secret::{REDACTED, Secret};
pub use security::{Credentials, Sasl, SaslMechanism, Security};
pub use tls::{Tls, TlsFiles};
pub use topics::{CreatedTopic, NewTopic, Shortfall};
pub use transactions::{Begun, OffsetInTransaction, TopicPartitions};
pub use versions::TransactionVersion;
