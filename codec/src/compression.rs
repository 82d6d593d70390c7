//! Kafka's codecs, with a limit on what decompression may give.

use std::io::{self, Read, Write};

use serde::Serialize;

/// The codec of written batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
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
const XERIAL_HEADER: [u8; 16] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
const XERIAL_MAGIC: &[u8] = &[0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
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

/// What `compressed` holds, by the codec in a batch's attributes.
///
/// # Errors
/// Where it is damaged, of an unknown codec, or would give more than `limit` bytes.
pub(crate) fn decompress(attributes: i16, compressed: &[u8], limit: usize) -> Result<Vec<u8>, String> {
    let plain = match attributes & 0b111 {
        1 => read_to_limit(flate2::read::MultiGzDecoder::new(compressed), limit),
        2 => decompress_snappy(compressed, limit),
        3 => lz4::Decoder::new(compressed).and_then(|decoder| read_to_limit(decoder, limit)),
        4 => zstd::stream::read::Decoder::with_buffer(compressed).and_then(|decoder| read_to_limit(decoder, limit)),
        codec => return Err(format!("codec {codec} is unknown")),
    };
    plain.map_err(|error| format!("decompression failed: {error}"))
}

fn read_to_limit(from: impl Read, limit: usize) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    from.take(most).read_to_end(&mut plain)?;
    if plain.len() > limit { Err(over(limit)) } else { Ok(plain) }
}

fn over(limit: usize) -> io::Error {
    io::Error::other(format!("it gives more than {limit} bytes"))
}

/// Snappy comes in snappy-java's blocks, or bare.
fn decompress_snappy(compressed: &[u8], limit: usize) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    let mut add = |block: &[u8]| {
        let length = snap::raw::decompress_len(block)?;
        if plain.len().saturating_add(length) > limit {
            return Err(over(limit));
        }
        plain.extend(snap::raw::Decoder::new().decompress_vec(block)?);
        Ok(())
    };
    if !compressed.starts_with(XERIAL_MAGIC) {
        add(compressed)?;
        return Ok(plain);
    }
    let short = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let mut rest = compressed.get(XERIAL_HEADER.len()..).ok_or_else(short)?;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk().ok_or_else(short)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(io::Error::other)?;
        let (block, after) = after.split_at_checked(length).ok_or_else(short)?;
        add(block)?;
        rest = after;
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODECS: [Compression; 4] = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let plain = vec![0; 1 << 20];
        for codec in CODECS {
            let mut compressed = Vec::new();
            compress(codec, &plain, &mut compressed).unwrap();
            assert!(compressed.len() < 1 << 17);
            assert_eq!(decompress(attribute(codec), &compressed, 1 << 20).unwrap().len(), 1 << 20);
            let error = decompress(attribute(codec), &compressed, (1 << 20) - 1).unwrap_err();
            assert!(error.contains("more than"), "{codec:?}: {error}");
        }
    }

    #[test]
    fn damage_is_an_error() {
        for codec in CODECS {
            let mut compressed = Vec::new();
            compress(codec, b"some text that is long enough to be compressed, compressed", &mut compressed).unwrap();
            for length in 0..compressed.len() - 1 {
                let _ = decompress(attribute(codec), &compressed[..length], 1 << 20);
            }
            assert!(decompress(attribute(codec), b"garbage, not compressed", 1 << 20).is_err(), "{codec:?}");
        }
        assert!(decompress(7, b"", 10).is_err());
    }
}
