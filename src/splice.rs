//! A text changed in a few places, as the pieces that make it up: nothing is copied until the
//! pieces are written.

use std::ops::Range;

/// Three replaced spans and one insertion.
const MOST_EDITS: usize = 4;

/// What the edits write and what lies between them.
const MOST_PIECES: usize = 2 * MOST_EDITS + 1;

/// A value in pieces, in order. Writing them one after the other gives the value.
#[derive(Debug, Clone, Copy)]
pub struct Pieces<'a> {
    pieces: [&'a [u8]; MOST_PIECES],
    len: usize,
}

impl<'a> Pieces<'a> {
    /// The value in one piece.
    pub fn whole(value: &'a [u8]) -> Self {
        let mut pieces = [&[][..]; MOST_PIECES];
        pieces[0] = value;
        Self { pieces, len: 1 }
    }

    /// The pieces in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        self.pieces[..self.len].iter().copied()
    }

    /// Bytes in all.
    pub fn bytes(&self) -> usize {
        self.iter().map(<[u8]>::len).sum()
    }

    /// The value in one allocation of exactly its size.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(self.bytes());
        self.iter().for_each(|piece| value.extend_from_slice(piece));
        value
    }
}

/// Changes to a text, which may come in any order but must not overlap.
#[derive(Debug)]
pub struct Splice<'a> {
    text: &'a [u8],
    edits: [(usize, usize, &'a [u8]); MOST_EDITS],
    len: usize,
}

impl<'a> Splice<'a> {
    /// No changes yet.
    pub fn of(text: &'a str) -> Self {
        Self { text: text.as_bytes(), edits: [(0, 0, &[]); MOST_EDITS], len: 0 }
    }

    /// Puts `with` in place of the bytes at `span`; an empty span inserts. A change past the
    /// fourth is a mistake of the caller's and caught by a debug assertion.
    #[must_use]
    pub fn replace(mut self, span: Range<usize>, with: &'a [u8]) -> Self {
        debug_assert!(self.len < MOST_EDITS && span.end <= self.text.len());
        if let Some(edit) = self.edits.get_mut(self.len) {
            *edit = (span.start, span.end, with);
            self.len += 1;
        }
        self
    }

    /// The changed text.
    pub fn pieces(mut self) -> Pieces<'a> {
        let edits = &mut self.edits[..self.len];
        edits.sort_unstable_by_key(|(start, ..)| *start);
        let mut pieces = [&[][..]; MOST_PIECES];
        let mut len = 0;
        let mut at = 0;
        for (start, end, with) in edits.iter() {
            debug_assert!(at <= *start, "edits overlap");
            pieces[len] = self.text.get(at..*start).unwrap_or_default();
            pieces[len + 1] = with;
            len += 2;
            at = *end;
        }
        pieces[len] = self.text.get(at..).unwrap_or_default();
        Pieces { pieces, len: len + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applies_edits_in_the_order_of_the_text() {
        let pieces = Splice::of("0123456789").replace(8..8, b"<in>").replace(2..4, b"").replace(0..1, b"zero").pieces();
        assert_eq!(pieces.to_vec(), b"zero14567<in>89");
        assert_eq!(pieces.bytes(), 15);
    }

    #[test]
    fn without_edits_is_the_text() {
        assert_eq!(Splice::of("abc").pieces().to_vec(), b"abc");
        assert_eq!(Pieces::whole(b"abc").to_vec(), b"abc");
    }
}
