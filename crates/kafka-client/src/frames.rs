//! Answers as they come off a connection: a length, and so many bytes.
//!
//! ```text
//! socket ─► Frames ─► Bytes ─► whoever asked ─► dropped
//!             ▲                                    │
//!             └─ spare: one large buffer ◄─────────┘
//! ```
//! A fetch's answer is large, and the next one is as large: it goes into the buffer of the one before,
//! which is mapped already. A page that is touched for the first time costs more than what is read
//! into it. A small answer gives the spare buffer up, so that an idle connection keeps none.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{BufMut, Bytes};
use tokio::io::AsyncReadExt;

use super::transport::ReadHalf;
use crate::admission::{Admission, Taken};

/// From here on a buffer is worth keeping ...
const LEAST_KEPT: usize = 16 * 1024;
/// ... and up to here it may be kept.
const MOST_KEPT: usize = 2 * 1024 * 1024;

/// The frames of one connection.
#[derive(Debug)]
pub(super) struct Frames {
    stream: Box<dyn ReadHalf>,
    max_bytes: usize,
    admission: Option<Arc<Admission>>,
    spare: Spare,
}

/// Why there is no next frame.
#[derive(Debug)]
pub(super) enum FrameError {
    Io(std::io::Error),
    TooLarge { actual: usize },
}

impl Frames {
    /// Of at most so many bytes each. A large one waits for its `admission`, where there is one.
    pub(crate) fn new(stream: Box<dyn ReadHalf>, max_bytes: usize, admission: Option<Arc<Admission>>) -> Self {
        Self { stream, max_bytes, admission, spare: Spare::default() }
    }

    /// The most bytes of a frame.
    pub(crate) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// The next frame, without its length.
    ///
    /// # Errors
    /// Where the connection ends, or the frame is too large.
    pub(crate) async fn next(&mut self) -> Result<Bytes, FrameError> {
        let length = self.stream.read_i32().await.map_err(FrameError::Io)?;
        let length = usize::try_from(length)
            .map_err(|_| FrameError::Io(std::io::Error::other("the broker announced a frame of negative length")))?;
        if length > self.max_bytes {
            return Err(FrameError::TooLarge { actual: length });
        }
        // Until there is memory for it, it stays where it is: with the broker.
        let admitted = match &self.admission {
            Some(admission) => admission.admit(length).await.map_err(FrameError::Io)?,
            None => None,
        };
        // Into room that nobody has filled with zeros before.
        let mut frame = self.spare.buffer(length).map_err(FrameError::Io)?.limit(length);
        while frame.has_remaining_mut() {
            if self.stream.read_buf(&mut frame).await.map_err(FrameError::Io)? == 0 {
                return Err(FrameError::Io(std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Ok(self.spare.lend(frame.into_inner(), admitted))
    }
}

/// A buffer to be used again, if there is one.
#[derive(Debug, Clone, Default)]
struct Spare(Arc<Mutex<Option<Vec<u8>>>>);

impl Spare {
    /// An empty buffer with room for so many bytes.
    fn buffer(&self, bytes: usize) -> std::io::Result<Vec<u8>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut buffer = kept.filter(|kept| (LEAST_KEPT..=kept.capacity()).contains(&bytes)).unwrap_or_default();
        buffer.clear();
        buffer.try_reserve_exact(bytes).map_err(|_| std::io::Error::from(std::io::ErrorKind::OutOfMemory))?;
        Ok(buffer)
    }

    /// The filled buffer, which comes back when the last look at it ends.
    /// What was admitted is given back with the bytes, and not kept.
    fn lend(&self, buffer: Vec<u8>, admitted: Option<Taken>) -> Bytes {
        match (&admitted, buffer.capacity()) {
            (None, LEAST_KEPT..=MOST_KEPT) => Bytes::from_owner(Lent { buffer, spare: Some(self.clone()), admitted }),
            (None, _) => buffer.into(),
            (Some(_), _) => Bytes::from_owner(Lent { buffer, spare: None, admitted }),
        }
    }
}

/// A buffer that someone looks at.
struct Lent {
    buffer: Vec<u8>,
    spare: Option<Spare>,
    #[expect(dead_code, reason = "held for as long as the bytes are")]
    admitted: Option<Taken>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(spare) = &self.spare else { return };
        let buffer = std::mem::take(&mut self.buffer);
        *spare.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(spare: &Spare, bytes: usize) -> Bytes {
        let mut buffer = spare.buffer(bytes).unwrap();
        assert!(buffer.is_empty() && buffer.capacity() >= bytes);
        buffer.resize(bytes, 7);
        spare.lend(buffer, None)
    }

    #[test]
    fn a_large_buffer_serves_again_once_nobody_looks_at_it() {
        let spare = Spare::default();
        let first = filled(&spare, LEAST_KEPT);
        let (part, place) = (first.slice(5..9), first.as_ptr());
        drop(first);
        let second = filled(&spare, LEAST_KEPT);
        assert_ne!(second.as_ptr(), place, "someone looks at the first");
        assert_eq!(part, [7; 4][..]);
        drop(second);
        drop(part);
        assert_eq!(filled(&spare, LEAST_KEPT).as_ptr(), place, "the last that came back");
    }

    #[test]
    fn an_idle_connection_keeps_nothing() {
        let spare = Spare::default();
        drop(filled(&spare, LEAST_KEPT));
        assert!(spare.0.lock().unwrap().is_some());
        drop(filled(&spare, 100));
        assert!(spare.0.lock().unwrap().is_none());
        drop(filled(&spare, MOST_KEPT + 1));
        assert!(spare.0.lock().unwrap().is_none(), "too large to keep");
    }
}
