//! Room for what is unpacked, and why nothing (more) comes out.

/// Why packed bytes give no (more) plain ones.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnpackError {
    /// They are not what the codec writes. What came out before is as it was packed.
    #[error("{0}")]
    Corrupt(String),
    /// There is no memory for what would come out. That says nothing of the bytes: try again.
    #[error("no memory to decompress into")]
    NoMemory,
}

/// The most that is unpacked before the first growth of a buffer, as a multiple of what is packed.
pub(super) const USUAL_EXPANSION: usize = 6;
/// The least room that a buffer begins with.
pub(super) const LEAST_BUFFER: usize = 4 * 1024;

/// Makes room for so many more bytes, where there is memory for them.
pub(super) fn reserve(out: &mut Vec<u8>, bytes: usize) -> Result<(), UnpackError> {
    out.try_reserve_exact(bytes).map_err(|_| UnpackError::NoMemory)
}
