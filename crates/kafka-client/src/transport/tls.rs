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
use crate::{Cause, Security, TlsError};

/// TLS over a transport. The connection below and the handshake have `deadline` each.
#[derive(Debug)]
pub(super) struct TlsOver<'t> {
    below: &'t dyn Transport,
    tls: &'t Tls,
    security: &'t Security,
}

impl<'t> TlsOver<'t> {
    /// Connects to nothing yet. The settings' `tls` is theirs; whether they are proven is asked when a handshake fails.
    pub(super) fn new(below: &'t dyn Transport, tls: &'t Tls, security: &'t Security) -> Self {
        Self { below, tls, security }
    }

    async fn handshake(&self, stream: Box<dyn Stream>, host: &str) -> Result<TlsStream<Box<dyn Stream>>, Cause> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| Cause::Tls(TlsError::Name(host.to_owned())))?;
        let connector = TlsConnector::from(self.tls.current()?);
        connector.connect(name, stream).await.map_err(|error| {
            let is_proven = self.security.was_let_in();
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::testing::Network;
    use crate::{Security, TlsFiles, transport};

    #[tokio::test]
    async fn tls_lies_over_any_transport() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["broker".to_owned()]).unwrap().self_signed(&key).unwrap();
        let ca = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(ca.path(), certificate.pem()).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let server =
            ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate.into()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server));

        let network = Network::default();
        for address in ["broker:9093", "other:9093"] {
            let (mut listener, acceptor) = (network.listen(address), acceptor.clone());
            tokio::spawn(async move {
                while let Some(stream) = listener.accept().await {
                    let Ok(mut secured) = acceptor.accept(stream).await else { continue };
                    let mut message = [0; 5];
                    secured.read_exact(&mut message).await.unwrap();
                    message.reverse();
                    secured.write_all(&message).await.unwrap();
                    secured.shutdown().await.unwrap();
                }
            });
        }
        let tls = Tls::new("tls", TlsFiles { ca_file: Some(ca.path().to_owned()), ..TlsFiles::default() });
        let (security, host, deadline) =
            (Security::new(Some(tls), None), network.host("client"), Duration::from_secs(5));
        let connected = transport::connect(&host, "broker:9093", &security, deadline).await.unwrap();
        let (mut read, mut write) = connected.stream.halves();
        write.write_all(b"olleh").await.unwrap();
        write.flush().await.unwrap();
        let mut answer = Vec::new();
        read.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"hello");
        let refused = transport::connect(&host, "other:9093", &security, deadline).await.unwrap_err();
        assert!(matches!(refused, Cause::Tls(TlsError::Refused(_))), "{refused}");
    }
}
