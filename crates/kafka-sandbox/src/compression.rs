//! Decompression of a batch's records, for those who read the log directly.

use std::io::{self, Read};

use bytes::{Buf, Bytes};

use super::batch_header::BatchError;

/// The framing that Java's snappy writes around its blocks.
const XERIAL: &[u8] = &[0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// Bytes of the framing's magic, version and compatible version.
const XERIAL_HEADER: usize = 16;
/// No batch of a test is larger; a bomb stops here.
const MAX_DECOMPRESSED: u64 = 256 << 20;

/// The records of a batch with that codec's number, decompressed.
pub(super) fn decompress(codec: i16, payload: Bytes) -> Result<Bytes, BatchError> {
    let plain = match codec {
        0 => return Ok(payload),
        1 => read_all(flate2::read::GzDecoder::new(payload.reader())),
        2 => snappy(payload),
        3 => lz4::Decoder::new(payload.reader()).and_then(read_all),
        4 => zstd::Decoder::new(payload.reader()).and_then(read_all),
        _ => Err(io::Error::other(format!("unknown codec {codec}"))),
    };
    plain.map(Bytes::from).map_err(|error| BatchError::Compression(error.to_string()))
}

fn read_all(decoder: impl Read) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    decoder.take(MAX_DECOMPRESSED).read_to_end(&mut plain)?;
    Ok(plain)
}

fn snappy(mut payload: Bytes) -> io::Result<Vec<u8>> {
    if !payload.starts_with(XERIAL) {
        return block(&payload);
    }
    if payload.len() < XERIAL_HEADER {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    payload.advance(XERIAL_HEADER);
    let mut plain = Vec::new();
    while payload.has_remaining() {
        let size = usize::try_from(payload.try_get_u32()?).map_err(io::Error::other)?;
        if size > payload.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        plain.extend(block(&payload.split_to(size))?);
    }
    Ok(plain)
}

fn block(compressed: &[u8]) -> io::Result<Vec<u8>> {
    let size = snap::raw::decompress_len(compressed).map_err(io::Error::other)?;
    if u64::try_from(size).unwrap_or(u64::MAX) > MAX_DECOMPRESSED {
        return Err(io::Error::other("a snappy block of more than 256 MiB"));
    }
    snap::raw::Decoder::new().decompress_vec(compressed).map_err(io::Error::other)
}
