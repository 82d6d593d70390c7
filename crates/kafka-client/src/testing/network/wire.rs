//! A connection: what each side has written and the other has not read.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::task::Waker;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::ReadBuf;

/// How many bytes a side may write before the other reads them, as sockets have buffers.
const CAPACITY: usize = 64 * 1024;

/// The sides of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Whoever connected.
    Client,
    /// Whoever accepted.
    Broker,
}

/// A connection from a client to an address.
#[derive(Debug)]
pub(super) struct Wire {
    /// The client's name.
    pub(super) from: String,
    /// The address.
    pub(super) to: String,
    is_broken: bool,
    to_client: Pipe,
    to_broker: Pipe,
}

/// One direction.
#[derive(Debug, Default)]
struct Pipe {
    chunks: VecDeque<Chunk>,
    held: usize,
    /// When the reader sees that no more comes.
    ends_at: Option<Duration>,
    /// Whether nobody reads any more.
    is_abandoned: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Debug)]
struct Chunk {
    arrives_at: Duration,
    bytes: Bytes,
}

/// What comes of an attempt to read or write.
#[derive(Debug)]
pub(super) enum Outcome<T> {
    /// It is done.
    Done(T),
    /// The waker is called when it is worth another attempt.
    Waits,
    /// Something arrives in so long.
    WaitsFor(Duration),
}

impl Wire {
    pub(super) fn new(from: &str, to: &str) -> Self {
        let (from, to) = (from.to_owned(), to.to_owned());
        Self { from, to, is_broken: false, to_client: Pipe::default(), to_broker: Pipe::default() }
    }

    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Breaks it: what was on its way is lost.
    pub(super) fn cut(&mut self) {
        self.is_broken = true;
        self.wake();
    }

    /// Has both sides look again.
    pub(super) fn wake(&mut self) {
        for pipe in [&mut self.to_client, &mut self.to_broker] {
            pipe.reader.take().into_iter().chain(pipe.writer.take()).for_each(Waker::wake);
        }
    }

    fn read_by(&mut self, side: Side) -> &mut Pipe {
        match side {
            Side::Client => &mut self.to_client,
            Side::Broker => &mut self.to_broker,
        }
    }

    fn written_by(&mut self, side: Side) -> &mut Pipe {
        match side {
            Side::Client => &mut self.to_broker,
            Side::Broker => &mut self.to_client,
        }
    }

    /// Reads what has arrived by `now`, `most` bytes of it at most. Gives how many; 0 at the end.
    pub(super) fn read(
        &mut self,
        side: Side,
        now: Duration,
        is_stalled: bool,
        most: usize,
        buffer: &mut ReadBuf<'_>,
        waker: &Waker,
    ) -> io::Result<Outcome<usize>> {
        if self.is_broken {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let pipe = self.read_by(side);
        pipe.reader = Some(waker.clone());
        if is_stalled {
            return Ok(Outcome::Waits);
        }
        let Some(chunk) = pipe.chunks.front_mut() else {
            return Ok(match pipe.ends_at {
                Some(at) if at > now => Outcome::WaitsFor(at - now),
                Some(_) => Outcome::Done(0),
                None => Outcome::Waits,
            });
        };
        if chunk.arrives_at > now {
            return Ok(Outcome::WaitsFor(chunk.arrives_at - now));
        }
        let count = chunk.bytes.len().min(buffer.remaining()).min(most);
        buffer.put_slice(&chunk.bytes[..count]);
        chunk.bytes.advance(count);
        if chunk.bytes.is_empty() {
            pipe.chunks.pop_front();
        }
        pipe.held -= count;
        pipe.writer.take().into_iter().for_each(Waker::wake);
        Ok(Outcome::Done(count))
    }

    /// Writes what there is room for, to arrive at `arrives_at`. Gives how many bytes that were.
    pub(super) fn write(
        &mut self,
        side: Side,
        slices: &[IoSlice<'_>],
        arrives_at: Duration,
        waker: &Waker,
    ) -> io::Result<Outcome<usize>> {
        if self.is_broken {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let pipe = self.written_by(side);
        if pipe.is_abandoned || pipe.ends_at.is_some() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let room = CAPACITY - pipe.held;
        if room == 0 {
            pipe.writer = Some(waker.clone());
            return Ok(Outcome::Waits);
        }
        let mut bytes = BytesMut::new();
        for slice in slices {
            bytes.extend_from_slice(&slice[..slice.len().min(room - bytes.len())]);
        }
        let count = bytes.len();
        if count > 0 {
            // Nothing overtakes what was written before.
            let arrives_at = pipe.chunks.back().map_or(arrives_at, |last| last.arrives_at.max(arrives_at));
            pipe.chunks.push_back(Chunk { arrives_at, bytes: bytes.freeze() });
            pipe.held += count;
            pipe.reader.take().into_iter().for_each(Waker::wake);
        }
        Ok(Outcome::Done(count))
    }

    /// Says that a side writes no more, which arrives then.
    pub(super) fn end(&mut self, side: Side, arrives_at: Duration) {
        let pipe = self.written_by(side);
        let last = pipe.chunks.back().map_or(arrives_at, |last| last.arrives_at.max(arrives_at));
        pipe.ends_at.get_or_insert(last);
        pipe.reader.take().into_iter().for_each(Waker::wake);
    }

    /// Says that a side reads no more. True where neither does: then nobody has the connection.
    pub(super) fn abandon(&mut self, side: Side) -> bool {
        let pipe = self.read_by(side);
        pipe.is_abandoned = true;
        pipe.writer.take().into_iter().for_each(Waker::wake);
        self.to_client.is_abandoned && self.to_broker.is_abandoned
    }
}
