//! TLS of the admin port: the server's side, following its files, and that of a client on the same host.

use std::io;
use std::path::Path;
use std::sync::Arc;

use kafka_client::followed::{File, Followed};
use kafka_client::pem;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
    server::ResolvesServerCert,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::AdminTls;

/// The admin port's side of TLS.
#[derive(Debug)]
pub(super) struct Acceptor {
    files: Followed<ServerConfig, 3>,
}

impl Acceptor {
    /// Reads nothing yet; `None` where the port speaks plain HTTP.
    pub(super) fn new(tls: &AdminTls) -> Option<Self> {
        let AdminTls { cert_file, key_file, client_ca_file } = tls.clone();
        tls.is_on().then(|| Self { files: Followed::new("admin.tls", [cert_file, key_file, client_ca_file]) })
    }

    /// Shakes hands with who has connected.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = self.files.current(server_config).map_err(io::Error::other)?;
        TlsAcceptor::from(config).accept(stream).await
    }
}

fn server_config([cert, key, ca]: &[Option<File>; 3]) -> Result<ServerConfig, String> {
    let (Some(cert), Some(key)) = (cert, key) else {
        return Err("admin.tls.cert_file and admin.tls.key_file go together".to_owned());
    };
    let identity = pem::identity(cert.read(), key.read())?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let roots = Arc::new(pem::roots(&ca.path, &ca.bytes)?);
            let signed = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            let signed = signed.map_err(|error| pem::wrong(&ca.path, &format!("can't be used: {error}")))?;
            let own = own_certificate(&identity)?;
            builder.with_client_cert_verifier(Arc::new(SignedOrOwn { signed, own }))
        }
    };
    let resolver: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(identity));
    let mut config = builder.with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn own_certificate(identity: &CertifiedKey) -> Result<CertificateDer<'static>, String> {
    identity.end_entity_cert().map(|own| own.clone().into_owned()).map_err(|error| error.to_string())
}

/// The settings of a client that asks the instance of this configuration, wherever it is reached: what answers has
/// to prove that it holds the key of `admin.tls.cert_file`, whatever names are in that. Where clients need a
/// certificate, it shows the same.
///
/// # Errors
/// What is wrong with a file.
pub fn client_of_own(tls: &AdminTls) -> Result<ClientConfig, String> {
    let (Some(cert), Some(key)) = (&tls.cert_file, &tls.key_file) else {
        return Err("admin.tls.cert_file and admin.tls.key_file are not set".to_owned());
    };
    let read = |path: &Path| Ok::<_, String>(File { path: path.to_owned(), bytes: pem::read(path)? });
    let (cert, key) = (read(cert)?, read(key)?);
    let identity = pem::identity(cert.read(), key.read())?;
    let provider = Arc::new(ring::default_provider());
    let verifier = Own { own: own_certificate(&identity)?, provider: Arc::clone(&provider) };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    Ok(match tls.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(_) => builder.with_client_cert_resolver(pem::resolver(identity)),
    })
}

/// Lets in clients whose certificate a CA of the configuration has signed, and those that have the port's own.
#[derive(Debug)]
struct SignedOrOwn {
    signed: Arc<dyn ClientCertVerifier>,
    own: CertificateDer<'static>,
}

impl ClientCertVerifier for SignedOrOwn {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // No hints: a client that goes by them would keep back the port's own, which another CA may have signed.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if *end_entity == self.own {
            return Ok(ClientCertVerified::assertion());
        }
        self.signed.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signed.supported_verify_schemes()
    }
}

/// Trusts one certificate.
#[derive(Debug)]
struct Own {
    own: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Own {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *end_entity == self.own {
            return Ok(ServerCertVerified::assertion());
        }
        let why = "what answers shows another certificate than admin.tls.cert_file has: it is no instance of this \
                   configuration";
        Err(Error::General(why.to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
