//! Networks that connections are opened over.
//!
//! ```text
//! Connection::open ─► [TLS over] ─► TCP, or a network in memory (testing) ─► Stream ─► its two halves
//! ```
//! A transport is chosen when a connection is opened, and costs a dispatch for each read and write of many kilobytes
//! after that: what reads and writes is compiled once, whatever lies below. Time is tokio's, so that a simulated network
//! runs under its paused clock.

mod connect;
#[cfg(feature = "net")]
mod tcp;
mod tls;

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::Cause;

pub(crate) use connect::connect;
#[cfg(feature = "net")]
pub use tcp::Tcp;

/// A network that brokers are reached by.
pub trait Transport: fmt::Debug + Send + Sync {
    /// Opens a stream of bytes to a host, within `deadline`. The host is a name, or an address without brackets.
    ///
    /// # Errors
    /// [`Cause::Connect`] where there is no connection, [`Cause::Tls`] and [`Cause::Handshake`] where there is no TLS.
    fn connect<'a>(&'a self, host: &'a str, port: u16, deadline: Duration) -> BoxFuture<'a, Result<Connected, Cause>>;

    /// Notes that nobody answers at an address that takes connections: where its name has others, they come first.
    fn avoid(&self, _peer: SocketAddr) {}
}

/// A stream of bytes to a broker, and whom it leads to.
#[derive(Debug)]
pub struct Connected {
    /// The stream.
    pub stream: Box<dyn Stream>,
    /// One of the addresses that the broker's name has.
    pub peer: SocketAddr,
}

/// A stream of bytes that can be read and written at the same time. Shutting it down says that no more is written.
pub trait Stream: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin {
    /// Takes the stream apart into what is read from and what is written to.
    fn halves(self: Box<Self>) -> (Box<dyn ReadHalf>, Box<dyn WriteHalf>);
}

/// The half of a stream that responses come from.
pub trait ReadHalf: AsyncRead + fmt::Debug + Send + Unpin {}

impl<T: AsyncRead + fmt::Debug + Send + Unpin> ReadHalf for T {}

/// The half of a stream that requests go to. What was written is sent when it is flushed.
pub trait WriteHalf: AsyncWrite + fmt::Debug + Send + Unpin {}

impl<T: AsyncWrite + fmt::Debug + Send + Unpin> WriteHalf for T {}
