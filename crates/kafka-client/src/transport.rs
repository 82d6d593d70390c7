//! What a connection's bytes go through: TCP, or TLS on it.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Security;
use super::tls;
use crate::dial;
use crate::{Cause, TlsError};

/// The half that answers come from.
#[derive(Debug)]
pub enum ReadHalf {
    /// TCP's, which shares nothing with the other.
    Plain(OwnedReadHalf),
    /// TLS's, which takes turns with the other.
    Tls(tokio::io::ReadHalf<TlsStream<TcpStream>>),
}

/// The half that requests go to.
#[derive(Debug)]
pub enum WriteHalf {
    /// TCP's.
    Plain(OwnedWriteHalf),
    /// TLS's. What was written is sent when it is flushed.
    Tls(tokio::io::WriteHalf<TlsStream<TcpStream>>),
}

/// A connection as it was opened.
#[derive(Debug)]
pub struct Opened {
    /// Where answers come from.
    pub read: ReadHalf,
    /// Where requests go to.
    pub write: WriteHalf,
    /// Whom it leads to: one of the addresses that the name has.
    pub peer: SocketAddr,
}

/// Connects to `address` (`host:port`), in TLS where that is wanted, each within `deadline`.
///
/// # Errors
/// [`Cause::Connect`] where there is no connection, [`Cause::Tls`] where one side does not trust
/// the other.
pub async fn connect(address: &str, security: &Security, deadline: Duration) -> Result<Opened, Cause> {
    let failed = |error: io::Error| Cause::Connect(error.to_string());
    let (host, port) = parted(address).ok_or_else(|| Cause::Connect("it is not host:port".to_owned()))?;
    let stream = dial::connect(host, port, deadline).await.map_err(failed)?;
    let peer = stream.peer_addr().map_err(failed)?;
    match timeout(deadline, secured(stream, host, security)).await {
        Ok(halves) => halves.map(|(read, write)| Opened { read, write, peer }),
        Err(_) => {
            dial::avoid(peer);
            let after = humantime::format_duration(deadline);
            Err(Cause::Connect(format!("no end of the TLS handshake within {after}")))
        }
    }
}

async fn secured(stream: TcpStream, host: &str, security: &Security) -> Result<(ReadHalf, WriteHalf), Cause> {
    let Some(tls) = &security.tls else {
        let (read, write) = stream.into_split();
        return Ok((ReadHalf::Plain(read), WriteHalf::Plain(write)));
    };
    let name = ServerName::try_from(host.to_owned()).map_err(|_| Cause::Tls(TlsError::Name(host.to_owned())))?;
    let connector = TlsConnector::from(tls.current()?);
    let stream = connector.connect(name, stream).await.map_err(|error| {
        let is_proven = security.was_let_in();
        tls::cause(&error).unwrap_or_else(|| Cause::Handshake { why: error.to_string(), is_proven })
    })?;
    let (read, write) = tokio::io::split(stream);
    Ok((ReadHalf::Tls(read), WriteHalf::Tls(write)))
}

/// The name or address before the port, without the brackets of IPv6, and the port.
fn parted(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some((host, port.parse().ok()?))
}

impl AsyncRead for ReadHalf {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(half) => Pin::new(half).poll_read(context, buffer),
            Self::Tls(half) => Pin::new(half).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for WriteHalf {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(half) => Pin::new(half).poll_write(context, bytes),
            Self::Tls(half) => Pin::new(half).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(half) => Pin::new(half).poll_write_vectored(context, pieces),
            Self::Tls(half) => Pin::new(half).poll_write_vectored(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(half) => half.is_write_vectored(),
            Self::Tls(half) => half.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(half) => Pin::new(half).poll_flush(context),
            Self::Tls(half) => Pin::new(half).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(half) => Pin::new(half).poll_shutdown(context),
            Self::Tls(half) => Pin::new(half).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
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
