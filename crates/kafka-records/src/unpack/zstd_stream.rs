//! zstd, on the library's own streaming calls: they write into memory that nobody has zeroed, and tell
//! a lack of memory from damage.

use bytes::Bytes;
use zstd::zstd_safe::{DCtx, InBuffer, OutBuffer, get_error_name};

use super::buffer::{LEAST_BUFFER, USUAL_EXPANSION, UnpackError, reserve};

/// zstd refuses to decode with a larger window, unless it is told otherwise.
const LARGEST_WINDOW: usize = 128 << 20;
/// Beside the window: a block as it comes, and one as it goes.
const BESIDE_WINDOW: usize = 2 * (128 << 10);

/// What is left of one or more frames.
pub(super) struct Zstd {
    context: DCtx<'static>,
    packed: Bytes,
    at: usize,
    /// Whether what has been read ends with a frame.
    between_frames: bool,
}

impl Zstd {
    pub(super) fn new(packed: Bytes) -> Result<Self, UnpackError> {
        let context = DCtx::try_create().ok_or(UnpackError::NoMemory)?;
        Ok(Self { context, packed, at: 0, between_frames: true })
    }

    pub(super) fn needs(&self) -> usize {
        window(&self.packed).unwrap_or(0).min(LARGEST_WINDOW) + BESIDE_WINDOW
    }

    pub(super) fn unpack(&mut self, out: &mut Vec<u8>, room: usize) -> Result<bool, UnpackError> {
        let full = out.len().saturating_add(room);
        let mut grow_by = self.packed.len().saturating_mul(USUAL_EXPANSION).max(LEAST_BUFFER);
        while out.len() < full {
            if out.capacity() == out.len() {
                reserve(out, grow_by.min(full - out.len()))?;
                grow_by = grow_by.saturating_mul(2);
            }
            let (before, had_more) = (out.len(), self.at < self.packed.len());
            if !had_more && self.between_frames {
                return Ok(true);
            }
            let mut input = InBuffer { src: self.packed.get(self.at..).unwrap_or_default(), pos: 0 };
            let mut output = OutBuffer::around_pos(out, before);
            let hint = self.context.decompress_stream(&mut output, &mut input).map_err(failed)?;
            self.at += input.pos;
            self.between_frames = hint == 0;
            if !had_more && out.len() == before && !self.between_frames {
                return Err(UnpackError::Corrupt("its last frame is cut short".to_owned()));
            }
        }
        Ok(false)
    }
}

fn failed(code: usize) -> UnpackError {
    match get_error_name(code) {
        name if name.starts_with("Allocation error") => UnpackError::NoMemory,
        name => UnpackError::Corrupt(name.to_owned()),
    }
}

/// The window that the first frame asks for. <https://www.rfc-editor.org/rfc/rfc8878#section-3.1.1.1>
fn window(packed: &[u8]) -> Option<usize> {
    const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    let descriptor = *packed.strip_prefix(&MAGIC)?.first()?;
    let (is_single, rest) = (descriptor & (1 << 5) != 0, packed.get(5..)?);
    if !is_single {
        let byte = usize::from(*rest.first()?);
        let base = 1_usize << (10 + (byte >> 3));
        return Some(base + base / 8 * (byte & 0b111));
    }
    // One segment: the window is as large as the content.
    let dictionary_id = [0, 1, 2, 4][usize::from(descriptor & 0b11)];
    let length = [1, 2, 4, 8][usize::from(descriptor >> 6)];
    let mut bytes = [0; 8];
    bytes.get_mut(..length)?.copy_from_slice(rest.get(dictionary_id..dictionary_id + length)?);
    let content = u64::from_le_bytes(bytes) + if length == 2 { 256 } else { 0 };
    Some(usize::try_from(content).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_says_which_window_it_asks_for() {
        assert_eq!(window(b"\x28\xb5\x2f\xfd\x00\x58"), Some(2 << 20));
        assert_eq!(window(b"\x28\xb5\x2f\xfd\x00\x8f"), Some((1 << 27) + (1 << 24) * 7));
        assert_eq!(window(b"\x28\xb5\x2f\xfd\x20\x07"), Some(7));
        assert_eq!(window(b"\x28\xb5\x2f\xfd\x60\x00\x01"), Some(512));
        assert_eq!(window(b"\x28\xb5\x2f\xfd\xe3????\x00\x00\x00\x00\x01\x00\x00\x00"), Some(1 << 32));
        for short in [&b""[..], b"\x28\xb5", b"\x28\xb5\x2f\xfd", b"\x28\xb5\x2f\xfd\x00", b"garbage"] {
            assert_eq!(window(short), None);
        }
    }
}
