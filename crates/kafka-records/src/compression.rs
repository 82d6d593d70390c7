//! Kafka's codecs, as they are written. [`unpack`](crate::unpack) reads them.

use std::io::{self, Write};

/// The codec of written batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// None.
    None,
    /// gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

/// What the snappy-java library writes before its blocks, and Kafka with it: magic, version 1,
/// compatible with 1.
const XERIAL_HEADER: [u8; XERIAL_HEADER_BYTES] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
pub(crate) const XERIAL_HEADER_BYTES: usize = 16;
/// By what its blocks are told from a bare one.
pub(crate) const XERIAL_MAGIC: &[u8] = &[0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;

/// The codec's bits in a batch's attributes.
pub(crate) fn attribute(codec: Compression) -> i16 {
    match codec {
        Compression::None => 0,
        Compression::Gzip => 1,
        Compression::Snappy => 2,
        Compression::Lz4 => 3,
        Compression::Zstd => 4,
    }
}

/// Writes `plain`, compressed, at the end of `out`.
pub(crate) fn compress(codec: Compression, plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    match codec {
        Compression::None => out.write_all(plain),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::default());
            encoder.write_all(plain).and_then(|()| encoder.finish().map(drop))
        }
        Compression::Snappy => compress_xerial(plain, out),
        Compression::Lz4 => lz4::EncoderBuilder::new()
            .block_mode(lz4::BlockMode::Independent)
            .build(out)
            .and_then(|mut encoder| encoder.write_all(plain).and(encoder.finish().1)),
        Compression::Zstd => zstd::stream::copy_encode(plain, out, 0),
    }
}

fn compress_xerial(plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    out.extend_from_slice(&XERIAL_HEADER);
    let mut encoder = snap::raw::Encoder::new();
    for block in plain.chunks(XERIAL_BLOCK_BYTES) {
        let compressed = encoder.compress_vec(block)?;
        let length = u32::try_from(compressed.len()).map_err(io::Error::other)?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&compressed);
    }
    Ok(())
}
