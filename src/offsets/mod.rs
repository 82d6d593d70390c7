//! Stores of progress: an offset is stored only after every output below it is acknowledged,
//! so that whatever dies goes on where it must.

mod checkpointer;
mod codec;
mod file;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod group;
mod topic;

use std::path::PathBuf;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Serialize;

use crate::kafka;
use crate::ownership::PartitionOwnership;
use crate::record::{Offset, Position};
use crate::retry::ErrorClass;
use crate::topic::TopicId;

pub use checkpointer::{Checkpointer, Outcome, Standing};
pub use codec::CodecError;
pub use file::{FileStore, Listed};
pub use group::{CommitIdentity, GroupStore, Watched, checkpoint, group_offset};
pub use topic::{Missing, Owner, TopicAdmin, TopicError, TopicSettings, TopicStore};

/// The progress of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checkpoint {
    /// The source topic.
    pub topic: String,
    /// The topic's id, where the broker tells one.
    pub topic_id: Option<TopicId>,
    /// The source partition.
    pub partition: i32,
    /// The first offset that is not done.
    pub next_offset: Offset,
    /// The leader epoch of the last record done, where it is known.
    pub leader_epoch: Option<i32>,
}

impl Checkpoint {
    /// The position where reading goes on.
    pub fn position(&self) -> Position {
        Position { offset: self.next_offset, leader_epoch: self.leader_epoch }
    }

    /// The checkpoint of the same partition at another position.
    #[must_use]
    pub fn at(self, position: Position) -> Self {
        let Position { offset: next_offset, leader_epoch } = position;
        Self { next_offset, leader_epoch, ..self }
    }
}

/// A place that keeps checkpoints.
pub trait OffsetStore: Send + Sync {
    /// The checkpoint of a partition; `None` where none was ever stored.
    ///
    /// # Errors
    /// Where it can't be read, or what is there is damaged: never a silent zero.
    fn load<'a>(&'a self, topic: &'a str, partition: i32) -> BoxFuture<'a, Result<Option<Checkpoint>, StoreError>>;

    /// Keeps a checkpoint; when this returns, it survives a crash. Stores that several processes
    /// share keep nothing once `ownership` has ended.
    ///
    /// # Errors
    /// Where it can't be written; the one before stays, unless the answer alone was lost.
    fn store<'a>(
        &'a self,
        checkpoint: &'a Checkpoint,
        ownership: &'a PartitionOwnership,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Keeps a checkpoint as [`OffsetStore::store`] does, in the place of one of `before`: the offset that was
    /// loaded, or whatever an earlier attempt may have stored. Stores whose answers may be out of date look
    /// back first, and keep nothing where they have another.
    ///
    /// # Errors
    /// As [`OffsetStore::store`], and [`kafka::Cause::Overtaken`].
    fn store_over<'a>(
        &'a self,
        checkpoint: &'a Checkpoint,
        before: &'a [Option<Offset>],
        ownership: &'a PartitionOwnership,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let _ = before;
        self.store(checkpoint, ownership)
    }

    /// Tells whether what was loaded is to be confirmed by [`OffsetStore::store_over`], since it may be out of date.
    fn looks_back(&self) -> bool {
        false
    }

    /// The time after which a checkpoint is stored again though nothing has changed, because the store
    /// forgets what is old.
    fn refresh_interval(&self) -> Option<Duration> {
        None
    }

    /// Gives everything up in order: nothing is loaded or stored any more.
    ///
    /// # Errors
    /// Where others can't be told; all that was stored stays.
    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        async { Ok(()) }.boxed()
    }
}

/// A checkpoint that can't be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("can't {doing} {path}: {source}", path = path.display())]
    Io {
        /// The operation.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Another process works in the folder.
    #[error("{path} is in use by another process: give each process an offsets.path of its own", path = path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The file is not a checkpoint.
    #[error(
        "{path} is not a whole checkpoint: {source}; move it away to begin anew by source.start, or set the offset with 'offsets set'",
        path = path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The damage.
        source: CodecError,
    },
    /// The file is a checkpoint, but another partition's.
    #[error("{path} holds the checkpoint of {topic}/{partition}: it was copied or renamed; move it back", path = path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        topic: String,
        /// Whose it is.
        partition: i32,
    },
    /// The brokers did not take it, or did not tell it.
    #[error(transparent)]
    Broker(#[from] kafka::Error),
    /// The offsets topic is not as it must be, or the partition is another instance's.
    #[error(transparent)]
    Topic(TopicError),
    /// The partition is no longer this instance's.
    #[error("{topic}/{partition} is no longer this instance's: its offset is left to the next owner")]
    NotHeld {
        /// The partition's topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
}

impl From<TopicError> for StoreError {
    fn from(error: TopicError) -> Self {
        match error {
            TopicError::Broker(error) => Self::Broker(error),
            error => Self::Topic(error),
        }
    }
}

impl StoreError {
    /// The meaning of the error for trying again.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Io { .. } => ErrorClass::Transient,
            Self::Locked { .. }
            | Self::Damaged { .. }
            | Self::Foreign { .. }
            | Self::Topic(_)
            | Self::NotHeld { .. } => ErrorClass::Fatal,
            Self::Broker(error) => group::class_of(error),
        }
    }

    /// Tells whether the store has another offset than the one that was loaded.
    pub fn overtaken(&self) -> Option<&kafka::Error> {
        match self {
            Self::Broker(error) if matches!(error.cause, kafka::Cause::Overtaken { .. }) => Some(error),
            _ => None,
        }
    }

    /// Tells whether it may be stored all the same.
    pub fn leaves_doubt(&self) -> bool {
        matches!(self, Self::Broker(error) if error.leaves_doubt())
    }

    /// Tells whether waiting a little is worth it even while the program stops: brokers come back sooner
    /// than disks are fixed.
    fn passes(&self) -> bool {
        matches!(self, Self::Broker(_)) && self.class() != ErrorClass::Fatal
    }
}
