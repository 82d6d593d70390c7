//! TLS over another transport.

use std::net::SocketAddr;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use rustls::pki_types::ServerName;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Connected, ReadHalf, Stream, Transport, WriteHalf};
use crate::tls::{self, Tls};
use crate::{Cause, TlsError};

/// TLS over a transport. The connection below and the handshake have `deadline` each.
#[derive(Debug)]
pub(super) struct TlsOver<'t> {
    below: &'t dyn Transport,
    tls: &'t Tls,
    /// Whether a broker has let us in by these settings.
    is_proven: bool,
}

impl<'t> TlsOver<'t> {
    /// Connects to nothing yet.
    pub(super) fn new(below: &'t dyn Transport, tls: &'t Tls, is_proven: bool) -> Self {
        Self { below, tls, is_proven }
    }

    async fn handshake(&self, stream: Box<dyn Stream>, host: &str) -> Result<TlsStream<Box<dyn Stream>>, Cause> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| Cause::Tls(TlsError::Name(host.to_owned())))?;
        let connector = TlsConnector::from(self.tls.current()?);
        connector.connect(name, stream).await.map_err(|error| {
            let is_proven = self.is_proven;
            tls::cause(&error).unwrap_or_else(|| Cause::Handshake { why: error.to_string(), is_proven })
        })
    }
}

impl Transport for TlsOver<'_> {
    fn connect<'a>(&'a self, host: &'a str, port: u16, deadline: Duration) -> BoxFuture<'a, Result<Connected, Cause>> {
        async move {
            let Connected { stream, peer } = self.below.connect(host, port, deadline).await?;
            match timeout(deadline, self.handshake(stream, host)).await {
                Ok(secured) => Ok(Connected { stream: Box::new(secured?), peer }),
                Err(_) => {
                    self.avoid(peer);
                    let after = humantime::format_duration(deadline);
                    Err(Cause::Connect(format!("no end of the TLS handshake within {after}")))
                }
            }
        }
        .boxed()
    }

    fn avoid(&self, peer: SocketAddr) {
        self.below.avoid(peer);
    }
}

/// Its halves take turns: both change one state.
impl Stream for TlsStream<Box<dyn Stream>> {
    fn halves(self: Box<Self>) -> (Box<dyn ReadHalf>, Box<dyn WriteHalf>) {
        let (read, write) = tokio::io::split(*self);
        (Box::new(read), Box::new(write))
    }
}
