//! Permission to write.

use std::fmt;
use std::sync::Arc;

/// Permission to write for a partition. It is asked last, when the bytes are about to leave: once it does not
/// hold, nothing is sent, and the call ends with [`Cause::NotHeld`](crate::Cause::NotHeld).
pub trait Permit: fmt::Debug + Send + Sync {
    /// Returns whether it holds now. It may hold again later.
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
