//! Which of some bytes are dots and which are digits, told without a branch on what they are: no
//! processor could foretell that.

/// The number of bytes that are looked at.
pub(super) const BYTES: usize = 16;

/// A bit for each byte, the first the lowest.
#[derive(Debug, Clone, Copy)]
pub(super) struct ByteClasses {
    pub dots: u32,
    pub digits: u32,
    /// Of all that count.
    pub all: u32,
}

impl ByteClasses {
    /// The classes of the first `length` bytes, at most all.
    #[inline(always)]
    pub(super) fn of(bytes: &[u8; BYTES], length: usize) -> Self {
        let halves = u128::from_le_bytes(*bytes);
        let (low, high) = (low_half(halves), low_half(halves >> 64));
        let all = (1_u32 << length.min(BYTES)) - 1;
        Self { dots: (dots(low) | dots(high) << 8) & all, digits: (digits(low) | digits(high) << 8) & all, all }
    }

    /// Tells whether all are digits or dots.
    #[inline(always)]
    pub(super) fn are_all(self) -> bool {
        self.dots | self.digits == self.all
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = ONES * 0x80;

#[inline(always)]
fn low_half(halves: u128) -> u64 {
    u64::try_from(halves & u128::from(u64::MAX)).unwrap_or(0)
}

#[inline(always)]
fn dots(eight: u64) -> u32 {
    bits(below(eight ^ (ONES * u64::from(b'.')), 1))
}

#[inline(always)]
fn digits(eight: u64) -> u32 {
    bits(below(eight ^ (ONES * u64::from(b'0')), 10))
}

/// The high bit of each byte that is below `limit`.
#[inline(always)]
fn below(eight: u64, limit: u64) -> u64 {
    let at_least = (eight & !HIGH) + ONES * (0x80 - limit);
    !(at_least | eight) & HIGH
}

/// Gathers eight high bits.
#[inline(always)]
fn bits(high: u64) -> u32 {
    const GATHER: u64 = 0x0102_0408_1020_4080;
    u32::from((high >> 7).wrapping_mul(GATHER).to_be_bytes()[0])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn are_those_of_each_byte(text in "[./0-9:a\u{0}-\u{ff}]{16}", length in 0..=BYTES) {
            let bytes: [u8; BYTES] = *text.as_bytes().first_chunk().unwrap();
            let classes = ByteClasses::of(&bytes, length);
            for (at, byte) in bytes.iter().enumerate() {
                let bit = |bits: u32| bits >> at & 1 == 1;
                prop_assert_eq!(bit(classes.dots), at < length && *byte == b'.');
                prop_assert_eq!(bit(classes.digits), at < length && byte.is_ascii_digit());
                prop_assert_eq!(bit(classes.all), at < length);
            }
        }
    }
}
