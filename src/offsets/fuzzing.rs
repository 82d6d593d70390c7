//! What the fuzzer reaches of stored offsets: texts of checkpoints, and the ledger of the offsets topic. Only with the
//! feature `fuzzing`.

pub use super::topic::fuzzing::{Appended, FuzzedLedger};
use super::{Checkpoint, CodecError, codec};

/// The text of a checkpoint, as the file store has it.
pub fn encode(checkpoint: &Checkpoint) -> String {
    codec::encode(checkpoint)
}

/// The checkpoint that a text holds.
///
/// # Errors
/// Where the text is not exactly one that [`encode`] writes.
pub fn decode(bytes: &[u8]) -> Result<Checkpoint, CodecError> {
    codec::decode(bytes)
}
