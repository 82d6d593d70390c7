use proptest::prelude::*;

use super::*;
use crate::compression::{Compression, attribute, compress};

const CODECS: [Compression; 4] = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

fn packed(codec: Compression, plain: &[u8]) -> Bytes {
    let mut bytes = Vec::new();
    compress(codec, plain, &mut bytes).unwrap();
    bytes.into()
}

/// As librdkafka writes snappy: one block.
fn bare_snappy(plain: &[u8]) -> Bytes {
    snap::raw::Encoder::new().compress_vec(plain).unwrap().into()
}

/// All that comes out, in pieces of so many bytes.
fn unpacked(codec: Compression, packed: Bytes, room: usize) -> Result<Vec<u8>, UnpackError> {
    let mut unpacker = Unpacker::new(attribute(codec), packed)?;
    let mut all = Vec::new();
    loop {
        let mut piece = Vec::new();
        let ended = unpacker.unpack(&mut piece, room)?;
        assert!(ended || piece.len() >= room, "less than there was room for");
        assert!(piece.len() <= room + room / 8 + 64, "more than there was room for");
        all.extend(piece);
        if ended {
            return Ok(all);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn what_was_packed_comes_out_in_pieces_of_any_size(
        seed in prop::collection::vec(any::<u8>(), 1..2_000), times in 1..200_usize, room in 1..300_000_usize,
    ) {
        let plain = seed.repeat(times);
        for codec in CODECS {
            prop_assert_eq!(&unpacked(codec, packed(codec, &plain), room).unwrap(), &plain, "{:?}", codec);
        }
        prop_assert_eq!(&unpacked(Compression::Snappy, bare_snappy(&plain), room).unwrap(), &plain);
    }

    #[test]
    fn any_bytes_end_in_an_error_or_an_end(bytes in prop::collection::vec(any::<u8>(), 0..300), codec in 0..8_i16, room in 1..5_000_usize) {
        if let Ok(mut unpacker) = Unpacker::new(codec, bytes.clone().into()) {
            for _ in 0..2_000 {
                let mut piece = Vec::new();
                match unpacker.unpack(&mut piece, room) {
                    Ok(false) => {}
                    Ok(true) | Err(_) => break,
                }
            }
        }
    }

    /// A large bare block is decoded by our own hand.
    #[test]
    fn a_large_snappy_block_that_is_cut_or_flipped_is_no_panic(at in any::<prop::sample::Index>(), bits in 1..=255_u8, cut in any::<bool>()) {
        let plain: Vec<u8> = (0..300_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        let mut bytes = bare_snappy(&plain).to_vec();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] ^= bits }
        let _ = unpacked(Compression::Snappy, bytes.into(), 100_000);
    }
}

#[test]
fn a_bomb_gives_what_there_is_room_for() {
    let plain = vec![0; 8 << 20];
    for (codec, packed) in CODECS
        .map(|codec| (codec, packed(codec, &plain)))
        .into_iter()
        .chain([(Compression::Snappy, bare_snappy(&plain))])
    {
        assert!(packed.len() < 1 << 19);
        let mut unpacker = Unpacker::new(attribute(codec), packed).unwrap();
        let mut piece = Vec::new();
        for _ in 0..4 {
            piece.clear();
            assert!(!unpacker.unpack(&mut piece, 64 << 10).unwrap());
            assert!(piece.capacity() < 128 << 10, "{codec:?} took {}", piece.capacity());
        }
    }
}

#[test]
fn damage_is_an_error() {
    for codec in CODECS {
        let packed = packed(codec, b"some text that is long enough to be compressed, compressed");
        for length in 0..packed.len() - 1 {
            let _ = unpacked(codec, packed.slice(..length), 1 << 10);
        }
        let garbage = Bytes::from_static(b"garbage, not compressed");
        assert!(unpacked(codec, garbage, 1 << 10).is_err(), "{codec:?}");
    }
    assert!(matches!(Unpacker::new(7, Bytes::new()), Err(UnpackError::Corrupt(_))));
}

#[test]
fn a_zstd_frame_that_is_cut_short_is_damage() {
    let plain: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let packed = packed(Compression::Zstd, &plain);
    let error = unpacked(Compression::Zstd, packed.slice(..packed.len() - 5), 1 << 20).unwrap_err();
    assert_eq!(error, UnpackError::Corrupt("its last frame is cut short".to_owned()));
}
