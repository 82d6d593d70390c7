//! What a client counts for whoever owns it.

use std::fmt;
use std::time::Duration;

/// Takes counts. Calls come from the path of requests: they must be quick.
pub trait Meter: fmt::Debug + Send + Sync {
    /// A broker's quota holds requests back for so much longer (KIP-219).
    fn throttled(&self, pause: Duration);
}

/// Counts nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoMeter;

impl Meter for NoMeter {
    fn throttled(&self, _: Duration) {}
}
