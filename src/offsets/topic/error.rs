//! Errors of the offsets topic, or of whoever writes to it.

use super::record::{EntryError, Owner};
use crate::kafka;
use crate::record::Offset;

/// Why the offsets topic does not keep or tell an offset.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TopicError {
    /// Another instance owns the partition.
    #[error(
        "another instance has taken over {topic}/{partition} ({by}; this one has {ours}): nothing more is read or stored \
         here; give each instance partitions of its own, then start the one again that should have it"
    )]
    Fenced {
        /// The source topic.
        topic: String,
        /// The source partition.
        partition: i32,
        /// The owner that this instance was.
        ours: Owner,
        /// The owner now.
        by: Owner,
    },
    /// Brokers would delete offsets by age or size.
    #[error(
        "topic {log} has cleanup.policy={policy}: brokers would delete offsets of partitions that are merely quiet; set \
         it to compact (kafka-configs --alter --entity-type topics --entity-name {log} --add-config cleanup.policy=compact)"
    )]
    NotCompacted {
        /// The offsets topic.
        log: String,
        /// Its policy.
        policy: String,
    },
    /// A record whose key is none of ours.
    #[error(
        "{log}/0 holds a record that is not this program's at offset {at}: give offsets.topic a topic of its own, or \
         delete that record by a tombstone with its key"
    )]
    Stranger {
        /// The offsets topic.
        log: String,
        /// Where.
        at: Offset,
    },
    /// A batch that can't be decoded.
    #[error("{log}/0 holds a batch that can't be decoded at offset {at}: {why}")]
    Batch {
        /// The offsets topic.
        log: String,
        /// Where.
        at: Offset,
        /// What is wrong with it.
        why: String,
    },
    /// The record that counts for a partition is not whole.
    #[error(
        "{log}/0 holds no whole offset of {topic}/{partition} at offset {at}: {why}; set the offset anew with 'offsets set'"
    )]
    Damaged {
        /// The offsets topic.
        log: String,
        /// Where.
        at: Offset,
        /// The source topic.
        topic: String,
        /// The source partition.
        partition: i32,
        /// What is wrong with it.
        why: EntryError,
    },
    /// The record that counts for a partition was deleted.
    #[error(
        "somebody has deleted the offset of {topic}/{partition}, by the tombstone in {log}/0 at offset {at}: set the \
         offset anew with 'offsets set'"
    )]
    Deleted {
        /// The offsets topic.
        log: String,
        /// Where.
        at: Offset,
        /// The source topic.
        topic: String,
        /// The source partition.
        partition: i32,
    },
    /// The brokers did not take it, or did not tell it.
    #[error(transparent)]
    Broker(#[from] kafka::Error),
}

impl From<kafka_client::Error> for TopicError {
    fn from(error: kafka_client::Error) -> Self {
        Self::Broker(error.into())
    }
}
