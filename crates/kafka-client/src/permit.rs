//! Whether something may still be written.

use std::fmt;
use std::sync::Arc;

/// What a write for a partition is allowed by. It is asked last, when the bytes are about to leave: once it does not
/// hold, nothing is sent, and the call ends with [`Cause::NotHeld`](crate::Cause::NotHeld).
pub trait Permit: fmt::Debug + Send + Sync {
    /// Whether it holds now. It may hold again later.
    fn holds(&self) -> bool;
}

/// The permit of whoever needs none.
#[derive(Debug, Clone, Copy)]
struct Unlimited;

impl Permit for Unlimited {
    fn holds(&self) -> bool {
        true
    }
}

/// A permit that always holds.
pub fn unlimited() -> Arc<dyn Permit> {
    Arc::new(Unlimited)
}
