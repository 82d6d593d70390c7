//! Snappy, in snappy-java's blocks or as one bare block.
//!
//! Block format: <https://github.com/google/snappy/blob/main/format_description.txt>. Encoders divide what
//! they pack into parts of 64 KiB, and no copy refers to a part before its own.

use bytes::{Buf, Bytes};

use super::buffer::{UnpackError, reserve};
use crate::compression::{XERIAL_HEADER_BYTES, XERIAL_MAGIC};

/// How far a copy may refer back.
const HISTORY: usize = 64 * 1024;
/// A block that gives no more is decoded at once; so much of a larger one is, at a time.
const AT_ONCE: usize = 128 * 1024;
/// The most bytes held meanwhile.
pub(super) const NEEDS: usize = HISTORY + AT_ONCE;

/// What is left of the blocks.
pub(super) struct Snappy {
    packed: Bytes,
    /// Whether each block stands behind its length.
    framed: bool,
    /// A large block that is being decoded.
    block: Option<Block>,
    /// Plain bytes: the history, then from `given` on what is not handed out yet.
    plain: Vec<u8>,
    given: usize,
}

struct Block {
    tags: Bytes,
    /// Plain bytes that are still to come.
    left: usize,
    /// Of a literal that is being copied, the bytes that are still to come.
    literal: usize,
}

impl Snappy {
    pub(super) fn new(mut packed: Bytes) -> Result<Self, UnpackError> {
        let framed = packed.starts_with(XERIAL_MAGIC);
        if framed {
            if packed.len() < XERIAL_HEADER_BYTES {
                return Err(short());
            }
            packed.advance(XERIAL_HEADER_BYTES);
        }
        Ok(Self { packed, framed, block: None, plain: Vec::new(), given: 0 })
    }

    pub(super) fn unpack(&mut self, out: &mut Vec<u8>, room: usize) -> Result<bool, UnpackError> {
        let full = out.len().saturating_add(room);
        loop {
            let waiting = self.plain.get(self.given..).unwrap_or_default();
            let taken = waiting.len().min(full - out.len());
            reserve(out, taken)?;
            out.extend_from_slice(&waiting[..taken]);
            self.given += taken;
            if out.len() == full {
                return Ok(false);
            }
            match &mut self.block {
                Some(block) if block.left > 0 => {
                    // Only the history is needed any more.
                    let old = self.plain.len().saturating_sub(HISTORY);
                    self.plain.drain(..old);
                    self.given = self.plain.len();
                    block.decode(&mut self.plain)?;
                }
                Some(block) if !block.tags.is_empty() => return Err(corrupt("it gives more than it says")),
                _ => {
                    self.block = None;
                    if self.packed.is_empty() {
                        return Ok(true);
                    }
                    self.begin()?;
                }
            }
        }
    }

    /// Begins the next block, or decodes it where it is small.
    fn begin(&mut self) -> Result<(), UnpackError> {
        let block = if self.framed {
            let length = usize::try_from(self.packed.try_get_u32().map_err(|_| short())?).map_err(|_| short())?;
            if length > self.packed.len() {
                return Err(short());
            }
            self.packed.split_to(length)
        } else {
            std::mem::take(&mut self.packed)
        };
        let left = snap::raw::decompress_len(&block).map_err(|error| corrupt(error.to_string()))?;
        self.plain.clear();
        self.given = 0;
        if left <= AT_ONCE {
            self.plain.try_reserve(left).map_err(|_| UnpackError::NoMemory)?;
            self.plain.resize(left, 0);
            let decoded = snap::raw::Decoder::new().decompress(&block, &mut self.plain);
            return decoded.map(drop).map_err(|error| corrupt(error.to_string()));
        }
        self.plain.try_reserve_exact(NEEDS + LONGEST_COPY).map_err(|_| UnpackError::NoMemory)?;
        let head = block.iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
        self.block = Some(Block { tags: block.slice(head.min(block.len())..), left, literal: 0 });
        Ok(())
    }
}

/// The most bytes that a copy gives.
const LONGEST_COPY: usize = 64;

impl Block {
    /// Decodes about [`AT_ONCE`] bytes, to the end of `plain`.
    fn decode(&mut self, plain: &mut Vec<u8>) -> Result<(), UnpackError> {
        let until = plain.len() + AT_ONCE.min(self.left);
        while plain.len() < until {
            let before = plain.len();
            if self.literal > 0 {
                let length = self.literal.min(until - before);
                let bytes = self.tags.get(..length).ok_or_else(short)?;
                plain.extend_from_slice(bytes);
                self.tags.advance(length);
                self.literal -= length;
            } else {
                self.element(plain)?;
            }
            let given = plain.len() - before;
            self.left = self.left.checked_sub(given).ok_or_else(|| corrupt("it gives more than it says"))?;
        }
        Ok(())
    }

    /// Takes one tag: a literal's, or a copy's, which is carried out.
    fn element(&mut self, plain: &mut Vec<u8>) -> Result<(), UnpackError> {
        let tag = usize::from(self.byte()?);
        let (length, offset) = match tag & 0b11 {
            0 => {
                let length = match tag >> 2 {
                    short @ 0..60 => short,
                    long => self.number(long - 59)?,
                };
                self.literal = length.saturating_add(1);
                return Ok(());
            }
            1 => (4 + ((tag >> 2) & 0b111), ((tag >> 5) << 8) | usize::from(self.byte()?)),
            2 => (1 + (tag >> 2), self.number(2)?),
            _ => (1 + (tag >> 2), self.number(4)?),
        };
        let from = plain.len().checked_sub(offset).filter(|_| offset > 0);
        let from = from.ok_or_else(|| corrupt(format!("a copy refers back by {offset} bytes")))?;
        // What it copies may be what it has just written.
        for at in from..from + length {
            let byte = plain.get(at).copied().unwrap_or_default();
            plain.push(byte);
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, UnpackError> {
        self.tags.try_get_u8().map_err(|_| short())
    }

    /// A number of so many bytes, the lowest first.
    fn number(&mut self, bytes: usize) -> Result<usize, UnpackError> {
        let mut number = 0;
        for shift in 0..bytes {
            number |= usize::from(self.byte()?) << (8 * shift);
        }
        Ok(number)
    }
}

fn short() -> UnpackError {
    corrupt("it is cut short")
}

fn corrupt(why: impl Into<String>) -> UnpackError {
    UnpackError::Corrupt(why.into())
}
