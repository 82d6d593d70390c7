//! The two guarantees: when what a worker writes counts, and how its offset is kept.
//!
//! ```text
//!                  at least once                    exactly once
//! prepare          -                                an id, which ends what is open under it
//! begin_at         stores the first offset          commits the first offset in a transaction
//! ready            was it begun at the right offset adds the partitions to the open transaction
//! complete         offset to the checkpointer       commits a transaction that is large or old enough
//! due, commit      was it begun at the right offset commits one that is old enough
//! finish           the last checkpoint              commits what is open
//! ```
//!
//! A guarantee stands beside a write and not around it: it is asked before (`ready`, `producer`), may call it off
//! (`overtaken`), and is told after (`abort`, `complete`).

mod at_least_once;
mod exactly_once;

use std::time::Duration;

use super::source::Start;
use super::telemetry::CompletedBatch;
use crate::kafka::Error;
use crate::observe::Tally;
use crate::offsets::StoreError;
use crate::output::{OutputBatch, Producer};
use crate::source::SourceBatch;

pub(super) use at_least_once::{AtLeastOnce, AtLeastOnceConfig};
pub use exactly_once::Transactions;
pub(super) use exactly_once::{ExactlyOnce, ExactlyOnceConfig};

/// What was written since the last commit does not count: the source goes back to the offset that is stored. Log,
/// metrics and readiness have it already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Aborted {
    /// The pause before the next attempt.
    pub pause: Duration,
}

/// One worker's guarantee.
pub(super) enum Delivery {
    /// A crash repeats what came after the last checkpoint.
    AtLeastOnce(Box<AtLeastOnce>),
    /// Nothing is ever repeated for who reads what is committed.
    ExactlyOnce(Box<ExactlyOnce>),
}

impl Delivery {
    /// Makes sure that nobody else writes, before the source is asked where to begin.
    ///
    /// # Errors
    /// [`Aborted`] never comes of this but by a mistake.
    pub(super) async fn prepare(&mut self) -> Result<(), Aborted> {
        match self {
            Self::AtLeastOnce(_) => Ok(()),
            Self::ExactlyOnce(it) => it.prepare().await,
        }
    }

    /// Begins where the source begins, and stores that where it is not.
    ///
    /// # Errors
    /// [`Aborted`].
    pub(super) async fn begin_at(&mut self, start: Start) -> Result<(), Aborted> {
        match self {
            Self::AtLeastOnce(it) => it.begin_at(start).await,
            Self::ExactlyOnce(it) => it.begin_at(start).await,
        }
    }

    /// Notes that a batch is about to be written.
    pub(super) fn begin(&mut self, batch: &SourceBatch) {
        match self {
            Self::AtLeastOnce(it) => it.begin(batch),
            Self::ExactlyOnce(it) => it.begin(batch),
        }
    }

    /// Tells whether anything is written that does not count yet.
    pub(super) fn is_open(&self) -> bool {
        match self {
            Self::AtLeastOnce(_) => false,
            Self::ExactlyOnce(it) => it.is_open(),
        }
    }

    /// The tally of what does not count yet; `None` where everything counts at once.
    pub(super) fn tally(&mut self) -> Option<&mut Tally> {
        match self {
            Self::AtLeastOnce(_) => None,
            Self::ExactlyOnce(it) => Some(it.tally()),
        }
    }

    /// Returns once these outputs may be written.
    ///
    /// # Errors
    /// [`Aborted`]: nothing of them is to be written.
    pub(super) async fn ready(&mut self, out: &OutputBatch) -> Result<(), Aborted> {
        match self {
            Self::AtLeastOnce(it) => it.confirm(),
            Self::ExactlyOnce(it) => it.ready(out).await,
        }
    }

    /// The producer that outputs are written by.
    ///
    /// # Errors
    /// Where there is none, which is a mistake of this program, and is to abort.
    pub(super) fn producer(&self) -> Result<&Producer, Error> {
        match self {
            Self::AtLeastOnce(it) => Ok(it.producer()),
            Self::ExactlyOnce(it) => it.producer(),
        }
    }

    /// Returns once it turns out that nothing more is to be written from where this began; perhaps never.
    pub(super) async fn overtaken(&self) -> Error {
        match self {
            Self::AtLeastOnce(it) => it.overtaken().await,
            Self::ExactlyOnce(_) => std::future::pending().await,
        }
    }

    /// Notes that a write was called off, or has ended the transaction.
    pub(super) async fn abort(&mut self, error: &Error) -> Aborted {
        match self {
            Self::AtLeastOnce(it) => it.abort(error),
            Self::ExactlyOnce(it) => it.abort(error).await,
        }
    }

    /// Notes that all of a batch is written.
    ///
    /// # Errors
    /// [`Aborted`].
    pub(super) async fn complete(&mut self, completed: CompletedBatch) -> Result<(), Aborted> {
        match self {
            Self::AtLeastOnce(it) => {
                it.complete(&completed);
                Ok(())
            }
            Self::ExactlyOnce(it) => it.complete(completed).await,
        }
    }

    /// Returns when [`Delivery::commit`] is to be called; perhaps never.
    pub(super) async fn due(&self) {
        match self {
            Self::AtLeastOnce(it) => it.due().await,
            Self::ExactlyOnce(it) => it.due().await,
        }
    }

    /// Makes what is written count, now. Not to be dropped before it returns, but at the end.
    ///
    /// # Errors
    /// [`Aborted`].
    pub(super) async fn commit(&mut self) -> Result<(), Aborted> {
        match self {
            Self::AtLeastOnce(it) => it.confirm(),
            Self::ExactlyOnce(it) => it.commit().await,
        }
    }

    /// Makes all that is written count, and stores the last offset.
    ///
    /// # Errors
    /// Where that offset can't be stored, though its records are written.
    pub(super) async fn finish(self) -> Result<(), StoreError> {
        match self {
            Self::AtLeastOnce(it) => it.finish().await,
            // Aborted, which is said already, neither counts, and whoever comes next does both again.
            Self::ExactlyOnce(mut it) => it.commit().await.or(Ok(())),
        }
    }
}
