//! A Kafka client, on the messages of the `kafka-protocol` crate, of which every call says what happened: nothing is
//! tried again in secret, nothing copied that need not be.
//!
//! ```text
//! Cluster ── metadata, leaders ──► Connection ── one request, one deadline ──► broker
//!    │                                 ▲
//!    │                       Transport (TCP, TLS over it, or a network in memory), sasl
//!    ├── api: one file for each of Kafka's, with the calls of Cluster and Coordinator
//!    │      ├── produce (batches encoded in place, acks=all, no hidden retry)
//!    │      ├── fetch   (raw batches: control batches, null headers, corrupt ones)
//!    │      ├── offset_for_leader_epoch (does the log still hold what was read of it?)
//!    │      └── describe_producers (is a batch written whose answer was lost?), and the others
//!    ├── LeaderConnection (to one partition's leader, on a connection of its own)
//!    └── Coordinator (a group's broker, or a transactional id's, on a connection of its own)
//!           └── membership (requests of the group's members, which a driver sends)
//! ```
//!
//! ```no_run
//! use kafka_client::{At, Cluster, Error, Options};
//!
//! # async fn example() -> Result<(), Error> {
//! let cluster = Cluster::new(Options { bootstrap: vec!["localhost:9092".to_owned()], ..Options::default() });
//! let end = cluster.offset_at("user-login", 0, At::Latest).await?;
//! println!("the next record gets offset {end:?}");
//! # Ok(())
//! # }
//! ```
//!
//! Nothing here tries again: each call says what happened, and the caller's retry loop decides. Nothing here knows a
//! configuration: [`Options`] are the caller's to fill, an [`Error`] names no key, a [`Permit`] says whether a write may
//! still go out, and a [`Meter`] takes what is counted.
//!
//! The machines of an idempotent producer ([`producer`]), of a transaction ([`transaction`]) and of a group's member
//! ([`membership`]) ask nobody: they say what to ask, and are told the answer.

mod aborted;
mod address;
pub mod admission;
mod answer;
mod api;
mod attempts;
pub mod blocking;
mod buf_chain;
pub mod certificate;
pub mod clock;
mod cluster;
pub mod concurrent_transactions;
mod connection;
mod coordinator;
#[cfg(feature = "net")]
pub mod dial;
mod error;
pub mod followed;
mod frames;
mod group_offset;
mod idle;
mod lately;
mod leader_connection;
mod lock;
pub mod membership;
mod meter;
mod options;
mod outbound;
mod outbox;
pub mod pem;
pub mod permit;
pub mod plain;
pub mod producer;
mod response_schema;
pub mod sasl;
mod scram;
mod secret;
mod security;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod text;
mod throttle;
pub mod tls;
pub mod transaction;
mod transactions;
mod transport;
mod versions;

pub use answer::{Answer, FetchedRecords, Left};
pub use api::add_partitions_to_txn::TopicPartitions;
pub use api::create_topics::{CreatedTopic, NewTopic, Shortfall};
pub use api::describe_groups::{GroupDescription, Member};
pub use api::fetch::{Ask, Fetched, Isolation};
pub use api::list_offsets::At;
pub use api::metadata::{Partition, Topic};
pub use api::offset_commit::{Committed, Committing, OffsetsHeld};
pub use api::txn_offset_commit::OffsetInTransaction;
pub use cluster::Cluster;
pub use connection::{Connection, NO_MORE_CONNECTIONS};
pub use coordinator::Coordinator;
pub use error::{Cause, Error, ErrorClass, NoToken, SaslError, TlsError};
pub use group_offset::{GroupOffset, Identity};
pub use idle::LastUse;
pub use lately::Lately;
pub use leader_connection::LeaderConnection;
pub use meter::{Meter, NoMeter};
pub use options::Options;
pub use outbox::{Produced, WithinTransaction};
pub use permit::Permit;
pub use secret::{REDACTED, Secret};
pub use security::{Credentials, Sasl, SaslMechanism, Security};
pub use text::text;
pub use tls::{Tls, TlsFiles};
pub use transactions::Begun;
#[cfg(feature = "net")]
pub use transport::Tcp;
pub use transport::{Connected, ReadHalf, Stream, Transport, WriteHalf};
pub use versions::TransactionVersion;
