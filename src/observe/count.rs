//! Lengths as counters take them.

/// A length in memory as counters take it.
pub fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
