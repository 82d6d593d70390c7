//! Counts that a client keeps for whoever owns it.

use std::fmt;
use std::time::Duration;

/// A receiver of counts. Calls come from the path of requests: they must be quick.
pub trait Meter: fmt::Debug + Send + Sync {
    /// Counts that a broker's quota holds requests back for so much longer (KIP-219).
    fn throttled(&self, pause: Duration);
}

/// A meter that counts nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoMeter;

impl Meter for NoMeter {
    fn throttled(&self, _: Duration) {}
}
