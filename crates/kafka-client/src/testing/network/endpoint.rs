//! One side of a connection, as something to read and write.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::wire::{Outcome, Side};
use super::{Network, State};
use crate::transport::{ReadHalf, Stream, WriteHalf};

/// One side of a connection. Dropped, it says that no more comes, and takes no more.
#[derive(Debug)]
pub struct Endpoint {
    network: Network,
    wire: u64,
    side: Side,
    arrival: Option<Pin<Box<Sleep>>>,
}

impl Endpoint {
    pub(super) fn new(network: Network, wire: u64, side: Side) -> Self {
        Self { network, wire, side, arrival: None }
    }

    fn attempt_read(&self, buffer: &mut ReadBuf<'_>, context: &Context<'_>) -> io::Result<Outcome<usize>> {
        let mut state = self.network.state();
        let (from, to) = state.ends(self.wire)?;
        let (now, (is_stalled, _)) = (state.now(), state.conditions(&from, &to));
        let budget = state.budget(&from, &to).filter(|_| self.side == Side::Client);
        let wire = state.wires.get_mut(&self.wire).ok_or(io::ErrorKind::ConnectionReset)?;
        if budget == Some(0) {
            wire.cut();
            state.spend(&from, &to, 0);
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let most = budget.unwrap_or(usize::MAX);
        let outcome = wire.read(self.side, now, is_stalled, most, buffer, context.waker())?;
        if let (Outcome::Done(count), Some(budget)) = (&outcome, budget) {
            if *count == budget {
                wire.cut();
            }
            state.spend(&from, &to, *count);
        }
        Ok(outcome)
    }

    fn attempt_write(&self, slices: &[IoSlice<'_>], context: &Context<'_>) -> io::Result<Outcome<usize>> {
        let mut state = self.network.state();
        let arrives_at = state.arrival(self.wire)?;
        let wire = state.wires.get_mut(&self.wire).ok_or(io::ErrorKind::ConnectionReset)?;
        wire.write(self.side, slices, arrives_at, context.waker())
    }

    fn end(&self) -> io::Result<()> {
        let mut state = self.network.state();
        let arrives_at = state.arrival(self.wire)?;
        let wire = state.wires.get_mut(&self.wire).ok_or(io::ErrorKind::ConnectionReset)?;
        wire.end(self.side, arrives_at);
        Ok(())
    }
}

impl State {
    /// A connection's client and address.
    fn ends(&self, wire: u64) -> io::Result<(String, String)> {
        let wire = self.wires.get(&wire).ok_or(io::ErrorKind::ConnectionReset)?;
        Ok((wire.from.clone(), wire.to.clone()))
    }

    /// When something arrives that is written to a connection now.
    fn arrival(&self, wire: u64) -> io::Result<Duration> {
        let (from, to) = self.ends(wire)?;
        Ok(self.now() + self.conditions(&from, &to).1)
    }
}

impl AsyncRead for Endpoint {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match this.attempt_read(buffer, context)? {
                Outcome::Done(_) => return Poll::Ready(Ok(())),
                Outcome::Waits => return Poll::Pending,
                Outcome::WaitsFor(left) => {
                    let at = Instant::now() + left;
                    let arrival = this.arrival.get_or_insert_with(|| Box::pin(sleep(left)));
                    if arrival.deadline() != at {
                        arrival.as_mut().reset(at);
                    }
                    ready!(arrival.as_mut().poll(context));
                }
            }
        }
    }
}

impl AsyncWrite for Endpoint {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.attempt_write(slices, context)? {
            Outcome::Done(count) => Poll::Ready(Ok(count)),
            Outcome::Waits | Outcome::WaitsFor(_) => Poll::Pending,
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.end())
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        let _ = self.end(); // of a connection that is gone there is nothing to say
        let mut state = self.network.state();
        if state.wires.get_mut(&self.wire).is_some_and(|wire| wire.abandon(self.side)) {
            state.wires.remove(&self.wire);
        }
    }
}

/// Its halves take turns at the network.
impl Stream for Endpoint {
    fn halves(self: Box<Self>) -> (Box<dyn ReadHalf>, Box<dyn WriteHalf>) {
        let (read, write) = tokio::io::split(*self);
        (Box::new(read), Box::new(write))
    }
}
