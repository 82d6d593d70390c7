//! Assignment: the partitions of the source topic that this instance reads, and for how long.
//!
//! Each mode is a task that reports what changes and hears what became of it:
//!
//! ```text
//! fixed (static, ordinal) ─┐           Assigned, Revoked, Lost ─►
//!                          ├─ Changes ─────────────────────────── supervisor
//! group (Kafka's own)    ──┘           ◄─ released, leave
//! ```

pub mod fixed;
pub mod group;
mod topics;

use std::collections::{BTreeMap, BTreeSet};

use futures::FutureExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use topics::TopicIncarnation;

use crate::ownership::PartitionOwnership;
use crate::topic::TopicId;
pub use topics::Topics;

/// A change of the assignment.
#[derive(Debug)]
pub enum Change {
    /// These partitions are this instance's from now on.
    Assigned(BTreeMap<i32, Assigned>),
    /// These are to be given up: finish what is in flight, store offsets, then say
    /// [`Changes::released`].
    Revoked(BTreeSet<i32>),
    /// These are another's already; their ownerships have ended. Nothing is to be finished.
    Lost(BTreeSet<i32>),
}

/// A partition that is this instance's.
#[derive(Debug, Clone)]
pub struct Assigned {
    /// The ownership, which ends when this instance may no longer write for it.
    pub ownership: PartitionOwnership,
    /// The source topic's id, where the brokers tell one.
    pub topic_id: Option<TopicId>,
    /// Set where it came into being while this instance ran: then its records are read from the first
    /// on, wherever partitions begin that were there before.
    pub is_new: bool,
}

/// Why no assignment will ever come any more.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct AssignmentError(pub String);

/// The changes of one source topic's assignment, as they come.
#[derive(Debug)]
pub struct Changes {
    changes: mpsc::Receiver<Change>,
    orders: mpsc::UnboundedSender<Order>,
    task: JoinHandle<Result<(), AssignmentError>>,
}

/// An order of the supervisor to the task.
#[derive(Debug)]
enum Order {
    Released(BTreeSet<i32>),
    Leave,
}

/// The task's ends of the channels.
#[derive(Debug)]
struct Reporter {
    changes: mpsc::Sender<Change>,
    orders: mpsc::UnboundedReceiver<Order>,
}

impl Changes {
    /// Starts the task that `run` makes of its ends.
    fn of<F>(run: impl FnOnce(Reporter) -> F) -> Self
    where
        F: Future<Output = Result<(), AssignmentError>> + Send + 'static,
    {
        let (change, changes) = mpsc::channel(1);
        let (orders, order) = mpsc::unbounded_channel();
        let task = tokio::spawn(run(Reporter { changes: change, orders: order }).boxed());
        Self { changes, orders, task }
    }

    /// The next change; `None` once everything is given up.
    pub async fn next(&mut self) -> Option<Change> {
        self.changes.recv().await
    }

    /// These revoked partitions are finished: their offsets are stored, or never will be.
    pub fn released(&self, partitions: BTreeSet<i32>) {
        let _ = self.orders.send(Order::Released(partitions)); // a task that has ended needs no telling
    }

    /// Gives everything up, in order: what is still assigned is revoked first.
    pub fn leave(&self) {
        let _ = self.orders.send(Order::Leave); // as above
    }

    /// Returns how it ended. Ask when there are no more changes.
    ///
    /// # Errors
    /// It ended by itself.
    pub async fn ended(self) -> Result<(), AssignmentError> {
        drop(self.changes);
        self.task.await.unwrap_or_else(|error| Err(AssignmentError(format!("a mistake of this program: {error}"))))
    }
}
