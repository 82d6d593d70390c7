//! Standard output, and whether anybody still reads it.

use std::io::{self, IsTerminal, Write};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use kafka_client::plain::{Keep, visible};

static CLOSED: AtomicBool = AtomicBool::new(false);

/// Standard output. What a terminal would obey it is not shown, line breaks apart; files and other programs get the
/// bytes as they are. It is not locked: a panic on another thread gives the terminal back, which writes there.
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
        static IS_TERMINAL: LazyLock<bool> = LazyLock::new(|| io::stdout().is_terminal());
        if !*IS_TERMINAL {
            return note(io::stdout().write(bytes));
        }
        note(io::stdout().write_all(&visible(bytes, Keep::Lines)))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        note(io::stdout().flush())
    }
}
