//! Standard error, written to by a thread of its own: whoever logs never waits for it, and never fails with it.
//!
//! ```text
//! a line ─► Queue, bounded ─► thread "log" ─► standard error
//!             └─ full ─► dropped, counted ◄─┘ refused
//! ```
//! A terminal that somebody has stopped, a pipe that nobody reads and a full disk would otherwise hold up, or end, whatever
//! logs: records, heartbeats, probes, and the end of the process.

use std::borrow::Cow;
use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use kafka_client::plain::{Keep, visible};
use prometheus_client::metrics::counter::Counter;
use tracing::warn;

use crate::observe::lock::lock;

/// The most bytes that wait to be written, besides as many that are being written ...
const MOST_BYTES: usize = 1024 * 1024;
/// ... and the most lines.
const MOST_LINES: usize = 8 * 1024;

/// A buffer that grew larger than this is given back.
const KEPT_BYTES: usize = 64 * 1024;

/// How long a file that takes nothing at the moment, and was set up not to be waited for, is left alone.
const PAUSE: Duration = Duration::from_millis(20);

/// The lines that were dropped. A process has one standard error.
static DROPPED: LazyLock<Counter> = LazyLock::new(Counter::default);

/// Counts the lines of the log that were dropped since the process started.
pub(in crate::observe) fn dropped() -> &'static Counter {
    &DROPPED
}

/// The lines that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    written: Condvar,
    dropped: Counter,
}

#[derive(Debug, Default)]
struct State {
    lines: Lines,
    /// Whether the thread has lines in hand.
    writing: bool,
    /// Whether somebody has waited in vain for these lines.
    is_stuck: bool,
}

/// Lines behind one another.
#[derive(Debug, Default)]
struct Lines {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

/// Puts lines into a queue, each with one call.
#[derive(Debug, Clone)]
pub(super) struct Handle {
    pub(super) queue: Arc<Queue>,
    /// What the log itself puts into a line for a terminal.
    pub(super) keep: Keep,
}

impl Queue {
    /// The queue of standard error, whose lines count as the process's.
    pub(super) fn of_process() -> Arc<Self> {
        Arc::new(Self { dropped: DROPPED.clone(), ..Self::default() })
    }

    /// Starts the thread that writes.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub(super) fn start(self: &Arc<Self>) -> io::Result<()> {
        let queue = Arc::clone(self);
        thread::Builder::new().name("log".to_owned()).spawn(move || queue.write_to(StandardError)).map(drop)
    }

    /// Appends a line, or drops it where there is no room.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = lock(&self.state);
        let State { lines, .. } = &mut *state;
        if lines.bytes.len() + line.len() > MOST_BYTES || lines.ends.len() >= MOST_LINES {
            self.dropped.inc();
            return;
        }
        lines.bytes.extend_from_slice(line);
        lines.ends.push(lines.bytes.len());
        drop(state);
        self.filled.notify_one();
    }

    /// Waits until everything is written, so long at most, and not at all where that was waited for in vain.
    pub(super) fn flush(&self, patience: Duration) {
        let busy = |state: &mut State| !state.is_stuck && (state.writing || !state.lines.ends.is_empty());
        let waited = self.written.wait_timeout_while(lock(&self.state), patience, busy);
        let (mut state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_stuck |= timeout.timed_out();
    }

    /// Writes whatever comes, for ever.
    fn write_to(&self, file: impl Write) {
        let mut file = File { file, is_cut: false };
        let mut lines = Lines::default();
        let mut told = 0;
        loop {
            self.take(&mut lines);
            let mut is_taken = false;
            for line in lines.iter() {
                is_taken = file.write_line(line).is_ok();
                if !is_taken {
                    self.dropped.inc();
                }
            }
            let dropped = self.dropped.get();
            if is_taken && dropped > told {
                warn!(lines = dropped - told, "log lines dropped: standard error did not take them in time, or at all");
                told = dropped;
            }
        }
    }

    /// The lines that wait, in the place of those that are written.
    fn take(&self, lines: &mut Lines) {
        lines.clear();
        let mut state = lock(&self.state);
        (state.writing, state.is_stuck) = (false, false);
        if state.lines.ends.is_empty() {
            self.written.notify_all();
        }
        while state.lines.ends.is_empty() {
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut state.lines, lines);
        state.writing = true;
    }
}

impl Lines {
    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).filter_map(|(start, end)| self.bytes.get(start..*end))
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.ends.shrink_to(KEPT_BYTES / 64);
    }
}

/// One line of what the subscriber has written, whatever others have brought into it.
pub(super) fn line_of(written: &[u8], keep: Keep) -> Cow<'_, [u8]> {
    let Some(line) = written.strip_suffix(b"\n") else { return visible(written, keep) };
    match visible(line, keep) {
        Cow::Borrowed(_) => Cow::Borrowed(written),
        Cow::Owned(mut line) => {
            line.push(b'\n');
            Cow::Owned(line)
        }
    }
}

/// A line comes as a whole: it is one call of the subscriber's.
impl Write for Handle {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.queue.push(&line_of(line, self.keep));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where lines are written to.
struct File<W> {
    file: W,
    /// Whether its last line has no end.
    is_cut: bool,
}

impl<W: Write> File<W> {
    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_cut {
            self.write_all(b"\n")?;
            self.is_cut = false;
        }
        self.write_all(line)
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::park_timeout(PAUSE),
                Err(error) => return Err(error),
            }
            self.is_cut = !bytes.is_empty();
        }
        Ok(())
    }
}

/// Standard error without the lock that std's has, which a write that stands still would keep from all others.
struct StandardError;

impl Write for StandardError {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(rustix::stdio::stderr(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::observe::count;

    /// A file that does what the test says, once for each write, and then takes everything.
    struct Scripted {
        says: mpsc::Receiver<io::Result<usize>>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Waits for as long as the test holds the other end and says nothing: a pipe that nobody reads.
            let taken = self.says.recv().unwrap_or(Ok(bytes.len()))?.min(bytes.len());
            lock(&self.written).extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct World {
        queue: Arc<Queue>,
        says: Option<mpsc::Sender<io::Result<usize>>>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl World {
        fn new() -> Self {
            let (says, heard) = mpsc::channel();
            let (queue, written) = (Arc::new(Queue::default()), Arc::default());
            let file = Scripted { says: heard, written: Arc::clone(&written) };
            let writing = Arc::clone(&queue);
            thread::spawn(move || writing.write_to(file));
            Self { queue, says: Some(says), written }
        }

        fn say(&self, outcome: io::Result<usize>) {
            self.says.as_ref().unwrap().send(outcome).unwrap();
        }

        /// From now on everything is taken; what there was, and how many lines were dropped.
        fn end(mut self) -> (String, u64) {
            self.says = None;
            while lock(&self.queue.state).is_stuck {
                thread::yield_now();
            }
            self.queue.flush(Duration::from_secs(30));
            (String::from_utf8(lock(&self.written).clone()).unwrap(), self.queue.dropped.get())
        }
    }

    #[test]
    fn lines_are_written_in_their_order() {
        let world = World::new();
        for n in 0..1_000 {
            world.queue.push(format!("{n}\n").as_bytes());
        }
        let expected: String = (0..1_000).map(|n| format!("{n}\n")).collect();
        assert_eq!(world.end(), (expected, 0));
    }

    #[test]
    fn a_log_that_nobody_reads_drops_lines_and_holds_nobody_up() {
        let world = World::new();
        let line = [b'x'; 1024];
        for _ in 0..10_000 {
            world.queue.push(&line);
        }
        // Nothing was taken yet: the flush of an end that would wait for ever does not.
        world.queue.flush(Duration::from_millis(1));
        world.queue.flush(Duration::from_secs(600));
        let (written, dropped) = world.end();
        let kept = 10_000 - dropped;
        assert!((1_024..=2_048).contains(&kept), "{kept} of 1 KiB each");
        assert_eq!(count(written.len()), kept * 1024);
    }

    #[test]
    fn a_full_disk_costs_the_lines_that_it_refuses() {
        let world = World::new();
        let full = || Err(ErrorKind::StorageFull.into());
        world.queue.push(b"first\n");
        world.queue.push(b"second\n");
        world.queue.push(b"third\n");
        world.say(Ok(100));
        world.say(Ok(3));
        world.say(full());
        world.say(full());
        assert_eq!(world.end().1, 2, "the third can't begin before the second's line is ended");
        let world = World::new();
        world.queue.push(b"first\n");
        world.say(Ok(3));
        world.say(full());
        world.queue.flush(Duration::from_secs(30));
        world.queue.push(b"second\n");
        assert_eq!(world.end(), ("fir\nsecond\n".to_owned(), 1), "there is room again");
    }

    #[test]
    fn a_file_that_is_not_to_be_waited_for_is_tried_again() {
        let world = World::new();
        world.queue.push(b"line\n");
        for _ in 0..3 {
            world.say(Err(ErrorKind::WouldBlock.into()));
            world.say(Err(ErrorKind::Interrupted.into()));
        }
        assert_eq!(world.end(), ("line\n".to_owned(), 0));
    }
}
