//! A small Kafka client for what rskafka lacks, on the messages of the `kafka-protocol` crate.
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
//!           └── requests of the group's members, made elsewhere
//! ```
//!
//! Nothing here tries again: each call says what happened, and the caller's retry loop decides.

mod aborted;
mod address;
mod answer;
mod answers;
mod cluster;
mod connection;
mod coordinator;
mod fetch;
mod frames;
mod group_offsets;
mod groups;
mod idle;
mod leader_epochs;
#[cfg(test)]
mod lies;
mod link;
mod list_offsets;
mod outbound;
mod pieces;
mod produce;
mod producer_id;
mod producers;
pub(in crate::broker) mod sasl;
mod scram;
mod security;
mod stream;
mod throttle;
pub(in crate::broker) mod tls;
mod topics;
mod transactions;
mod versions;

pub use answer::{Answer, Left, Stretch};
pub use cluster::{Cluster, Options, Partition, Topic};
pub use connection::Connection;
pub(in crate::broker) use connection::NO_MORE_CONNECTIONS;
pub use coordinator::Coordinator;
pub use fetch::{Ask, Fetched, Isolation};
pub use group_offsets::{Committed, Committing, GroupOffset, Identity, OffsetsHeld, text};
pub use groups::GroupDescription;
pub(in crate::broker) use idle::LastUse;
pub use link::FetchLink;
pub use list_offsets::At;
pub use produce::{Produced, WithinTransaction};
pub use security::Security;
pub use topics::{CreatedTopic, NewTopic, Shortfall};
pub use transactions::{Begun, OffsetInTransaction, TopicPartitions};
pub use versions::TransactionVersion;
