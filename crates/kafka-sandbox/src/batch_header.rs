//! The header of a record batch, and what can be wrong with the bytes of one.

use bytes::Buf;
use thiserror::Error;

/// Bytes of a batch before its records.
pub(super) const HEADER_BYTES: usize = 61;
/// Bytes of a batch that its length field does not count: the base offset and the length itself.
pub(super) const LENGTH_OVERHEAD: usize = 12;

pub(super) const ATTRIBUTE_CODEC: i16 = 0x07;
pub(super) const ATTRIBUTE_TRANSACTIONAL: i16 = 0x10;
pub(super) const ATTRIBUTE_CONTROL: i16 = 0x20;

/// What is wrong with the bytes of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BatchError {
    /// Fewer bytes than a batch has, or a length field that does not fit them.
    #[error("{have} bytes are no whole record batch")]
    Truncated {
        /// The bytes at hand.
        have: usize,
    },
    /// An old or unknown message format.
    #[error("record batch of format {0}, only 2 is known")]
    Magic(i8),
    /// The checksum does not fit the bytes.
    #[error("record batch with checksum {stated:#010x}, its bytes have {actual:#010x}")]
    Checksum {
        /// The checksum in the batch.
        stated: u32,
        /// The checksum of its bytes.
        actual: u32,
    },
    /// The records inside could not be read.
    #[error("records cannot be read: {0}")]
    Records(&'static str),
    /// The records could not be decompressed.
    #[error("records cannot be decompressed: {0}")]
    Compression(String),
}

/// The fixed part of a record batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchHeader {
    pub base_offset: i64,
    /// Bytes of the whole batch, base offset and length field included.
    pub size: usize,
    pub leader_epoch: i32,
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub records: i32,
}

impl BatchHeader {
    /// Reads the header of the batch that `bytes` begins with, and checks that all of it is there.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, BatchError> {
        let truncated = BatchError::Truncated { have: bytes.len() };
        if bytes.len() < HEADER_BYTES {
            return Err(truncated);
        }
        let mut at = bytes;
        let base_offset = at.get_i64();
        let length = usize::try_from(at.get_i32()).map_err(|_| truncated.clone())?;
        let size = length.saturating_add(LENGTH_OVERHEAD);
        let leader_epoch = at.get_i32();
        let magic = at.get_i8();
        if magic != 2 {
            return Err(BatchError::Magic(magic));
        }
        if size < HEADER_BYTES || size > bytes.len() {
            return Err(truncated);
        }
        Ok(Self {
            base_offset,
            size,
            leader_epoch,
            crc: at.get_u32(),
            attributes: at.get_i16(),
            last_offset_delta: at.get_i32(),
            base_timestamp: at.get_i64(),
            max_timestamp: at.get_i64(),
            producer_id: at.get_i64(),
            producer_epoch: at.get_i16(),
            base_sequence: at.get_i32(),
            records: at.get_i32(),
        })
    }

    /// The codec's number: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    pub(crate) fn codec(&self) -> i16 {
        self.attributes & ATTRIBUTE_CODEC
    }

    pub(crate) fn is_transactional(&self) -> bool {
        self.attributes & ATTRIBUTE_TRANSACTIONAL != 0
    }

    pub(crate) fn is_control(&self) -> bool {
        self.attributes & ATTRIBUTE_CONTROL != 0
    }
}
