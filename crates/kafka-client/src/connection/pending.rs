//! Requests whose responses are still to come.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::idle::LastUse;
use crate::lock::lock;
use crate::{Cause, tls};

/// What it means that a broker, whose settings are known to be right, closes a connection at once.
pub const NO_MORE_CONNECTIONS: &str = "the broker closed the connection before any answer: it ends, or allows no more from here: raise its \
     max.connections.per.ip (or max.connections)";

/// A response, or why there is none.
pub(super) type Answer = Result<Bytes, Cause>;

/// The requests whose answers are still to come.
#[derive(Debug)]
pub(super) struct Pending {
    requests: Mutex<HashMap<i32, oneshot::Sender<Answer>>>,
    broken: AtomicBool,
    pub(super) last_use: LastUse,
    /// Whether the broker has ever answered: then what TLS says is of a connection that had worked.
    answered: AtomicBool,
}

impl Pending {
    /// Nothing was asked yet.
    pub(super) fn new() -> Self {
        Self {
            requests: Mutex::default(),
            broken: AtomicBool::new(false),
            last_use: LastUse::now(),
            answered: AtomicBool::new(false),
        }
    }

    /// Whether the connection can no longer be used.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// Notes a request that is about to be sent.
    ///
    /// # Errors
    /// Where the connection is broken: then nothing was asked.
    pub(super) fn expect(&self, id: i32) -> Result<oneshot::Receiver<Answer>, Cause> {
        let (sender, receiver) = oneshot::channel();
        let mut requests = self.lock();
        if self.is_broken() {
            return Err(Cause::Connect("the connection was lost before".to_owned()));
        }
        self.last_use.note();
        requests.insert(id, sender);
        Ok(receiver)
    }

    /// Forgets a request that was not sent.
    pub(super) fn forget(&self, id: i32) {
        self.lock().remove(&id);
    }

    /// Hands a response to whoever asked.
    pub(super) fn answer(&self, id: i32, frame: Bytes) {
        self.last_use.note();
        self.answered.store(true, Ordering::Release);
        if let Some(waiting) = self.lock().remove(&id) {
            let _ = waiting.send(Ok(frame)); // whoever asked may have stopped waiting
        }
    }

    /// Breaks the connection: all who wait hear of it.
    pub(super) fn fail(&self, cause: impl Fn() -> Cause) {
        let mut requests = self.lock();
        self.broken.store(true, Ordering::Release);
        for (_, waiting) in requests.drain() {
            let _ = waiting.send(Err(cause())); // whoever asked may have stopped waiting
        }
    }

    /// Says what an error of the socket means. What TLS says before any answer is of who is trusted, and
    /// lasts. Later it is of bytes on their way, and requests that were sent may have had their effect.
    pub(super) fn broken(&self, error: &io::Error, standing: Standing) -> Cause {
        match tls::cause(error) {
            Some(Cause::Tls(why)) if self.answered.load(Ordering::Acquire) => {
                Cause::Disconnected(format!("TLS: {why}"))
            }
            Some(refused) => refused,
            None if error.kind() == io::ErrorKind::OutOfMemory => Cause::NoMemory(error.to_string()),
            None => match standing {
                Standing::Unproven => Cause::Unproven(error.to_string()),
                Standing::Unanswered => Cause::Disconnected(format!("{error}; {NO_MORE_CONNECTIONS}")),
                Standing::Answered => Cause::Disconnected(error.to_string()),
            },
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i32, oneshot::Sender<Answer>>> {
        lock(&self.requests)
    }
}

/// How far a connection had come when it broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// No broker was ever spoken with by these settings.
    Unproven,
    /// This one has answered nothing.
    Unanswered,
    /// It was in use.
    Answered,
}

impl Standing {
    /// The standing after so many responses.
    pub(super) fn of(answers: u64, is_proven: bool) -> Self {
        // The first answer tells of versions, and any broker gives it; then one that wanted TLS, or
        // SASL, or a certificate, closes without a word.
        match answers {
            0 | 1 if !is_proven => Self::Unproven,
            0 => Self::Unanswered,
            _ => Self::Answered,
        }
    }
}

/// Breaks the connection where a request is given up half written: what follows would be garbage.
pub(super) struct BreakOnDrop<'a>(pub(super) &'a Pending);

impl Drop for BreakOnDrop<'_> {
    fn drop(&mut self) {
        self.0.fail(|| Cause::Disconnected("a request was cut short".to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    /// What TLS says of a connection that has worked is no refusal: what was sent may have had its effect, and a
    /// transaction of version 1 has another id after it.
    #[test]
    fn a_tls_error_after_an_answer_leaves_doubt() {
        let error = || io::Error::new(io::ErrorKind::InvalidData, rustls::Error::DecryptError);
        let pending = Pending::new();
        assert!(matches!(pending.broken(&error(), Standing::Answered), Cause::Tls(_)), "nobody was let in yet");
        pending.answer(7, Bytes::new());
        let cause = pending.broken(&error(), Standing::Answered);
        let error = Error { doing: "end the transaction of", on: "id".to_owned(), cause };
        assert!(error.leaves_doubt() && error.to_string().contains("TLS"), "{error}");
    }
}
