//! Unpacking a batch's records as a stream, whatever the codec: so many bytes at a time, so that memory
//! does not depend on how much comes out.
//!
//! ```text
//! packed bytes ─► Unpacker ── unpack(out, 64 KiB) ─► out ── again ─► out ── … ── Ended
//!                    └─ needs(): what the codec itself holds meanwhile
//! ```
//! gzip, LZ4 and zstd are streams by themselves, and snappy-java's blocks are small. A bare snappy
//! block, as librdkafka writes it, is decoded behind a history of 64 KiB: no encoder refers back
//! further.

mod buffer;
mod snappy;
mod zstd_stream;

use std::io::{self, Cursor, Read};

use buffer::{LEAST_BUFFER, USUAL_EXPANSION, reserve};
use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use snappy::Snappy;
use zstd_stream::Zstd;

pub use buffer::UnpackError;

/// What is left of the packed records of one batch.
pub struct Unpacker(Stream);

enum Stream {
    Gzip(Box<MultiGzDecoder<Cursor<Bytes>>>),
    Snappy(Snappy),
    Lz4(lz4::Decoder<Cursor<Bytes>>, usize),
    Zstd(Zstd),
}

/// The state of inflate: a window of 32 KiB, and tables.
const GZIP_NEEDS: usize = 48 * 1024;

impl std::fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unpacker")
    }
}

impl Unpacker {
    /// Of bytes that are packed by the codec in a batch's attributes.
    ///
    /// # Errors
    /// Where that codec is none of Kafka's, or there is no memory for its state.
    pub fn new(attributes: i16, packed: Bytes) -> Result<Self, UnpackError> {
        let stream = match attributes & 0b111 {
            1 => Stream::Gzip(Box::new(MultiGzDecoder::new(Cursor::new(packed)))),
            2 => Stream::Snappy(Snappy::new(packed)?),
            3 => {
                let needs = lz4_needs(&packed);
                Stream::Lz4(lz4::Decoder::new(Cursor::new(packed)).map_err(|error| of_io(&error))?, needs)
            }
            4 => Stream::Zstd(Zstd::new(packed)?),
            codec => return Err(UnpackError::Corrupt(format!("codec {codec} is unknown"))),
        };
        Ok(Self(stream))
    }

    /// The memory that the codec may hold while this goes on, in bytes, by what the packed bytes say.
    pub fn needs(&self) -> usize {
        match &self.0 {
            Stream::Gzip(_) => GZIP_NEEDS,
            Stream::Snappy(_) => snappy::NEEDS,
            Stream::Lz4(_, needs) => *needs,
            Stream::Zstd(zstd) => zstd.needs(),
        }
    }

    /// Appends at most about `room` plain bytes to `out`. True once there are no more; false where
    /// `room` was filled.
    ///
    /// # Errors
    /// [`UnpackError`]; then `out` has what came out before.
    pub fn unpack(&mut self, out: &mut Vec<u8>, room: usize) -> Result<bool, UnpackError> {
        match &mut self.0 {
            Stream::Gzip(gzip) => {
                let left = gzip.get_ref().get_ref().len();
                read(&mut **gzip, out, room, left)
            }
            Stream::Lz4(lz4, _) => {
                let left = lz4.reader().get_ref().len();
                read(lz4, out, room, left)
            }
            Stream::Snappy(snappy) => snappy.unpack(out, room),
            Stream::Zstd(zstd) => zstd.unpack(out, room),
        }
    }
}

fn read(from: &mut impl Read, out: &mut Vec<u8>, room: usize, packed: usize) -> Result<bool, UnpackError> {
    reserve(out, packed.saturating_mul(USUAL_EXPANSION).max(LEAST_BUFFER).min(room))?;
    let most = u64::try_from(room).unwrap_or(u64::MAX);
    let read = from.by_ref().take(most).read_to_end(out).map_err(|error| of_io(&error))?;
    Ok(read < room)
}

fn of_io(error: &io::Error) -> UnpackError {
    // LZ4's own text where it gets no memory.
    if error.kind() == io::ErrorKind::OutOfMemory || error.to_string().contains("allocation_failed") {
        return UnpackError::NoMemory;
    }
    UnpackError::Corrupt(error.to_string())
}

/// LZ4 keeps a block as it comes and one as it goes, of the size that the frame's descriptor tells.
/// <https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md>
fn lz4_needs(packed: &[u8]) -> usize {
    let block = match packed.get(5).map_or(4, |descriptor| (descriptor >> 4) & 0b111) {
        7 => 4 << 20,
        6 => 1 << 20,
        5 => 256 << 10,
        _ => 64 << 10,
    };
    2 * block + (192 << 10)
}

#[cfg(test)]
mod tests;
