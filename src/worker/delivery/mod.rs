//! How what a worker writes comes to count, and how far it is done: the two guarantees.
//!
//! ```text
//!                  at least once                    exactly once
//! prepare          -                                an id, which ends what is open under it
//! begin_at         stores the first offset          the same, in a transaction
//! write            acknowledged: it counts          part of the open transaction
//! done             offset to the checkpointer       commits a transaction that is large or old enough
//! due, commit      was it begun at the right offset commits one that is old enough
//! finish           the last checkpoint              commits what is open
//! ```

mod at_least_once;
mod exactly_once;

use std::time::Duration;

use super::source::Start;
use super::telemetry::{CompletedBatch, Telemetry};
use crate::observe::Tally;
use crate::offsets::StoreError;
use crate::output::{OutputBatch, Written};
use crate::source::SourceBatch;

pub use at_least_once::{AtLeastOnce, AtLeastOnceConfig};
pub use exactly_once::{ExactlyOnce, ExactlyOnceConfig, Transactions};

/// What was written since the last commit does not count: the source goes back to the offset that is
/// stored. Said already, in log, metrics and readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aborted {
    /// How long to wait before the next attempt.
    pub pause: Duration,
}

/// One worker's guarantee.
pub enum Delivery {
    /// A crash repeats what came after the last checkpoint.
    AtLeastOnce(Box<AtLeastOnce>),
    /// Nothing is ever repeated for who reads what is committed.
    ExactlyOnce(Box<ExactlyOnce>),
}

impl Delivery {
    /// Makes sure that nobody else writes, before it is asked where to begin.
    ///
    /// # Errors
    /// [`Aborted`] never comes of this but by a mistake.
    pub async fn prepare(&mut self) -> Result<(), Aborted> {
        match self {
            Self::AtLeastOnce(_) => Ok(()),
            Self::ExactlyOnce(it) => it.prepare().await,
        }
    }

    /// Begins where the source begins, and stores that where it is not.
    ///
    /// # Errors
    /// [`Aborted`].
    pub async fn begin_at(&mut self, start: Start, telemetry: &std::sync::Arc<Telemetry>) -> Result<(), Aborted> {
        match self {
            Self::AtLeastOnce(it) => it.begin_at(start, telemetry).await,
            Self::ExactlyOnce(it) => it.begin_at(start, telemetry).await,
        }
    }

    /// Work on a batch begins.
    pub fn begin(&mut self, batch: &SourceBatch, telemetry: &Telemetry) {
        match self {
            Self::AtLeastOnce(it) => it.begin(batch, telemetry),
            Self::ExactlyOnce(it) => it.begin(batch, telemetry),
        }
    }

    /// Whether there is anything written that does not count yet.
    pub fn is_open(&self) -> bool {
        match self {
            Self::AtLeastOnce(_) => false,
            Self::ExactlyOnce(it) => it.is_open(),
        }
    }

    /// The tally of what does not count yet; `None` where everything counts at once.
    pub fn tally(&mut self) -> Option<&mut Tally> {
        match self {
            Self::AtLeastOnce(_) => None,
            Self::ExactlyOnce(it) => Some(it.tally()),
        }
    }

    /// Writes, however long that takes.
    ///
    /// # Errors
    /// [`Aborted`].
    pub async fn write(&mut self, out: OutputBatch) -> Result<Written, Aborted> {
        match self {
            Self::AtLeastOnce(it) => it.write(out).await,
            Self::ExactlyOnce(it) => it.write(out).await,
        }
    }

    /// All of a batch is written.
    ///
    /// # Errors
    /// [`Aborted`].
    pub async fn complete(&mut self, completed: CompletedBatch, telemetry: &Telemetry) -> Result<(), Aborted> {
        match self {
            Self::AtLeastOnce(it) => {
                it.complete(&completed, telemetry);
                Ok(())
            }
            Self::ExactlyOnce(it) => it.complete(completed, telemetry).await,
        }
    }

    /// Returns when [`Delivery::commit`] is to be called; perhaps never.
    pub async fn due(&self) {
        match self {
            Self::AtLeastOnce(it) => it.due().await,
            Self::ExactlyOnce(it) => it.due().await,
        }
    }

    /// Makes what is written count, now. Not to be dropped before it returns, but at the end.
    ///
    /// # Errors
    /// [`Aborted`].
    pub async fn commit(&mut self, telemetry: &Telemetry) -> Result<(), Aborted> {
        match self {
            Self::AtLeastOnce(it) => it.confirm(),
            Self::ExactlyOnce(it) => it.commit(telemetry).await,
        }
    }

    /// Makes all that is written count, and stores the last offset.
    ///
    /// # Errors
    /// Where that offset can't be stored, though its records are written.
    pub async fn finish(self, telemetry: &Telemetry) -> Result<(), StoreError> {
        match self {
            Self::AtLeastOnce(it) => it.finish().await,
            // Aborted, which is said already, neither counts, and whoever comes next does both again.
            Self::ExactlyOnce(mut it) => it.commit(telemetry).await.or(Ok(())),
        }
    }
}
