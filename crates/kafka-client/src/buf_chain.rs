//! Bytes in several places, sent one after another as if they were one buffer.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// Pieces to be sent. Nothing is copied: a batch goes to the socket from where it was encoded.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pieces: VecDeque<Bytes>,
    remaining: usize,
}

impl Pieces {
    /// Adds a piece at the end.
    pub fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.remaining += piece.len();
            self.pieces.push_back(piece);
        }
    }

    /// Adds a piece before all others.
    pub fn push_front(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.remaining += piece.len();
            self.pieces.push_front(piece);
        }
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = slices.iter_mut().zip(&self.pieces).map(|(slice, piece)| *slice = IoSlice::new(piece));
        filled.count()
    }

    /// # Panics
    /// Past the end, as every [`Buf`].
    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.remaining, "{count} bytes of {}", self.remaining);
        self.remaining -= count;
        while let Some(piece) = self.pieces.front_mut() {
            let step = count.min(piece.len());
            piece.advance(step);
            count -= step;
            if !piece.is_empty() {
                return;
            }
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces() -> Pieces {
        let mut pieces = Pieces::default();
        for piece in ["bc", "", "def"] {
            pieces.push(Bytes::from_static(piece.as_bytes()));
        }
        pieces.push_front(Bytes::from_static(b"a"));
        pieces
    }

    #[test]
    fn are_read_as_one() {
        assert_eq!(pieces().copy_to_bytes(6), "abcdef");
        for cut in 0..=6 {
            let mut pieces = pieces();
            pieces.advance(cut);
            assert_eq!(pieces.remaining(), 6 - cut);
            assert_eq!(pieces.copy_to_bytes(6 - cut), &"abcdef"[cut..]);
            assert!(!pieces.has_remaining());
        }
    }

    #[test]
    fn are_shown_to_the_socket_together() {
        let pieces = pieces();
        let mut slices = [IoSlice::new(&[]); 8];
        let count = pieces.chunks_vectored(&mut slices);
        let shown: Vec<&[u8]> = slices[..count].iter().map(|slice| &**slice).collect();
        assert_eq!(shown, [&b"a"[..], b"bc", b"def"]);
    }
}
