//! Standard output, and whether anybody still reads it.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

static CLOSED: AtomicBool = AtomicBool::new(false);

/// Standard output. It is not locked: a panic on another thread gives the terminal back, which writes there.
#[derive(Debug, Clone, Copy)]
pub struct Out;

impl Out {
    /// Whether whoever read it has gone, as `head` does.
    pub fn is_closed() -> bool {
        CLOSED.load(Ordering::Relaxed)
    }
}

fn note<T>(written: io::Result<T>) -> io::Result<T> {
    if written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        CLOSED.store(true, Ordering::Relaxed);
    }
    written
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        note(io::stdout().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        note(io::stdout().flush())
    }
}
