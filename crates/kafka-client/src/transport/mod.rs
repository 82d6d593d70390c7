//! Networks that connections are opened over.
//!
//! ```text
//! Connection::open ─► [TLS over] ─► TCP, or a network in memory (testing) ─► Stream ─► its two halves
//! ```
//! A transport is chosen when a connection is opened, and costs a dispatch for each read and write of many kilobytes
//! after that: what reads and writes is compiled once, whatever lies below. Time is tokio's, so that a simulated network
//! runs under its paused clock.

#[cfg(feature = "net")]
mod tcp;
mod tls;

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{Cause, Options};

#[cfg(feature = "net")]
pub use tcp::Tcp;
use tls::TlsOver;

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

/// Connects to `address` (`host:port`) over the transport of `options`, in TLS where that is wanted.
///
/// # Errors
/// As [`Transport::connect`].
pub(crate) async fn connect(address: &str, options: &Options) -> Result<Connected, Cause> {
    let (host, port) = parted(address).ok_or_else(|| Cause::Connect("it is not host:port".to_owned()))?;
    let Options { transport, security, connect_timeout, .. } = options;
    match &security.tls {
        Some(tls) => TlsOver::new(&**transport, tls, security.was_let_in()).connect(host, port, *connect_timeout).await,
        None => transport.connect(host, port, *connect_timeout).await,
    }
}

/// The name or address before the port, without the brackets of IPv6, and the port.
fn parted(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some((host, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;

    use super::*;

    #[test]
    fn the_host_is_what_stands_before_the_port() {
        for (address, host) in [("broker-1:9093", "broker-1"), ("10.0.0.7:9093", "10.0.0.7"), ("[::1]:9093", "::1")] {
            assert_eq!(parted(address), Some((host, 9093)));
            assert!(ServerName::try_from(host).is_ok(), "{host}");
        }
        assert_eq!((parted("broker"), parted("broker:http"), parted("broker:65536")), (None, None, None));
    }
}
