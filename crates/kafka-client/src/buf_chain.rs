//! A chain of buffers, sent one after another as if they were one.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// A chain of buffers to be sent. Nothing is copied: a batch goes to the socket from where it was encoded.
#[derive(Debug, Default)]
pub(super) struct BufChain {
    buffers: VecDeque<Bytes>,
    remaining: usize,
}

impl BufChain {
    /// Adds a buffer at the end.
    pub(crate) fn push(&mut self, buffer: Bytes) {
        if !buffer.is_empty() {
            self.remaining += buffer.len();
            self.buffers.push_back(buffer);
        }
    }

    /// Adds a buffer before all others.
    pub(crate) fn push_front(&mut self, buffer: Bytes) {
        if !buffer.is_empty() {
            self.remaining += buffer.len();
            self.buffers.push_front(buffer);
        }
    }
}

impl Buf for BufChain {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.buffers.front().map_or(&[], |buffer| buffer)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = slices.iter_mut().zip(&self.buffers).map(|(slice, buffer)| *slice = IoSlice::new(buffer));
        filled.count()
    }

    /// # Panics
    /// Past the end, as every [`Buf`].
    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.remaining, "{count} bytes of {}", self.remaining);
        self.remaining -= count;
        while let Some(buffer) = self.buffers.front_mut() {
            let step = count.min(buffer.len());
            buffer.advance(step);
            count -= step;
            if !buffer.is_empty() {
                return;
            }
            self.buffers.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain() -> BufChain {
        let mut chain = BufChain::default();
        for buffer in ["bc", "", "def"] {
            chain.push(Bytes::from_static(buffer.as_bytes()));
        }
        chain.push_front(Bytes::from_static(b"a"));
        chain
    }

    #[test]
    fn are_read_as_one() {
        assert_eq!(chain().copy_to_bytes(6), "abcdef");
        for cut in 0..=6 {
            let mut chain = chain();
            chain.advance(cut);
            assert_eq!(chain.remaining(), 6 - cut);
            assert_eq!(chain.copy_to_bytes(6 - cut), &"abcdef"[cut..]);
            assert!(!chain.has_remaining());
        }
    }

    #[test]
    fn are_shown_to_the_socket_together() {
        let chain = chain();
        let mut slices = [IoSlice::new(&[]); 8];
        let count = chain.chunks_vectored(&mut slices);
        let shown: Vec<&[u8]> = slices[..count].iter().map(|slice| &**slice).collect();
        assert_eq!(shown, [&b"a"[..], b"bc", b"def"]);
    }
}
