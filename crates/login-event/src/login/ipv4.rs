//! IPv4 addresses, told without a branch on what their digits are.

use super::byte_classes::{BYTES, ByteClasses};

/// The longest address, in bytes.
const LONGEST: usize = 15;
/// The shortest.
const SHORTEST: usize = 7;
/// The number of bytes before an address that are looked at, and thrown away.
const BEFORE: usize = 4;

/// An address among what stands around it, whatever that is.
pub(super) type Window = [u8; BEFORE + BYTES];

/// Tells whether `text` is four numbers up to 255 without leading zeros.
pub(super) fn is_ipv4(text: &[u8]) -> bool {
    let mut window: Window = [0; BEFORE + BYTES];
    match window.get_mut(BEFORE..BEFORE + text.len()) {
        Some(room) => room.copy_from_slice(text),
        None => return false,
    }
    holds_ipv4(&window, text.len())
}

/// The window of what begins at `start`, where so many bytes stand around it.
#[inline(always)]
pub(super) fn window(bytes: &[u8], start: usize) -> Option<&Window> {
    bytes.get(start.checked_sub(BEFORE)?..)?.first_chunk()
}

/// Tells whether the first `length` bytes in a window are such an address.
#[inline(always)]
pub(super) fn holds_ipv4(window: &Window, length: usize) -> bool {
    let Some(bytes) = window.last_chunk() else { return false };
    if !(SHORTEST..=LONGEST).contains(&length) {
        return false;
    }
    let classes = ByteClasses::of(bytes, length);
    let mut fine = classes.are_all() & (classes.dots.count_ones() == 3);
    let mut ends = classes.dots | (classes.all + 1);
    let mut start = 0;
    for _ in 0..4 {
        let end = ends.trailing_zeros();
        fine &= is_number(window, end, end.wrapping_sub(start));
        start = end.wrapping_add(1);
        ends &= ends.wrapping_sub(1);
    }
    fine
}

/// Tells whether so many digits before `end` are a number up to 255 without a leading zero.
#[inline(always)]
fn is_number(window: &Window, end: u32, length: u32) -> bool {
    /// Digits as the numbers they are, one a byte, by how many there are. Four are as bad as none.
    const DIGITS: [u32; 4] = [0, 0x0f, 0x0f0f, 0x000f_0f0f];
    const LEAST: [u32; 4] = [u32::MAX, 0, 0x0100, 0x0001_0000];
    const MOST: u32 = 0x0002_0505;
    let at = usize::try_from(end).unwrap_or(0).min(LONGEST + 1);
    let Some(four) = window.get(at..).and_then(|rest| rest.first_chunk()) else { return false };
    let length = usize::try_from(length.min(4)).unwrap_or(0) % 4;
    let number = u32::from_be_bytes(*four) & DIGITS[length];
    (LEAST[length] <= number) & (number <= MOST)
}
