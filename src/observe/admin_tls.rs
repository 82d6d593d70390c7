//! TLS of the admin port: the server's side, following its files, and that of a client on the same host.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use kafka_client::followed::{File, Followed};
use kafka_client::pem;
use rustls::client::WantsClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    ServerConfig, SignatureScheme, server::ResolvesServerCert,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::warn;

use super::health::{ComponentHandle, Health, Severity};
use super::lock::lock;
use crate::config::AdminTls;

/// The admin port's side of TLS.
#[derive(Debug)]
pub(super) struct Acceptor {
    /// The port's certificate. The last good one stays: with an old one the port can be asked and says what is wrong,
    /// with none a liveness probe would end a process that works.
    identity: Followed<CertifiedKey, 2>,
    /// Who may sign the clients' certificates. A file that is emptied does not count for ever: see [`Followed`].
    clients: Option<Followed<RootCertStore, 1>>,
    made: Mutex<Option<Made>>,
    /// Tells of files that can't be used.
    component: Option<ComponentHandle>,
}

/// Settings, and what they were made of.
#[derive(Debug)]
struct Made {
    identity: Arc<CertifiedKey>,
    clients: Clients,
    config: Arc<ServerConfig>,
}

/// Which clients are let in.
#[derive(Debug, Clone)]
enum Clients {
    /// All of them.
    Any,
    /// Those whose certificate one of these has signed, and those that have the port's own.
    Signed(Arc<RootCertStore>),
    /// The latter only.
    Own,
}

impl Acceptor {
    /// Reads the files; `None` where the port speaks plain HTTP.
    ///
    /// # Errors
    /// What is wrong with a file.
    pub(super) fn new(tls: &AdminTls) -> Result<Option<Self>, String> {
        if !tls.is_on() {
            return Ok(None);
        }
        let AdminTls { cert_file, key_file, client_ca_file } = tls.clone();
        let identity = Followed::new("admin.tls", [cert_file, key_file]).for_ever();
        let clients = client_ca_file.map(|file| Followed::new("admin.tls.client_ca_file", [Some(file)]));
        let acceptor = Self { identity, clients, made: Mutex::default(), component: None };
        acceptor.current()?;
        Ok(Some(acceptor))
    }

    /// Tells readiness of files that can't be used: a process that starts with them does not start.
    pub(super) fn told_by(self, health: &Health) -> Self {
        let component = health.component("admin.tls");
        component.ok();
        Self { component: Some(component), ..self }
    }

    /// Shakes hands with who has connected.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = self.current().map_err(io::Error::other)?;
        TlsAcceptor::from(config).accept(stream).await
    }

    /// The settings for a new connection.
    fn current(&self) -> Result<Arc<ServerConfig>, String> {
        let identity = self.identity.current(|[cert, key]| {
            let (Some(cert), Some(key)) = (cert, key) else {
                return Err("admin.tls.cert_file and admin.tls.key_file go together".to_owned());
            };
            pem::identity(cert.read(), key.read())
        })?;
        let clients = self.clients()?;
        if let Some(component) = &self.component {
            let trouble = self.identity.trouble().or_else(|| self.clients.as_ref()?.trouble());
            match trouble {
                Some(why) => component.degraded(&why, Severity::Passing),
                None => component.ok(),
            }
        }
        let mut made = lock(&self.made);
        if let Some(Made { config, .. }) = made.as_ref().filter(|made| made.is_of(&identity, &clients)) {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(server_config(&identity, &clients)?);
        *made = Some(Made { identity, clients, config: Arc::clone(&config) });
        Ok(config)
    }

    fn clients(&self) -> Result<Clients, String> {
        let Some(files) = &self.clients else { return Ok(Clients::Any) };
        let roots = files.current(|[ca]| {
            let ca = ca.as_ref().ok_or("admin.tls.client_ca_file is not set")?;
            pem::roots(&ca.path, &ca.bytes)
        });
        match roots {
            Ok(roots) => Ok(Clients::Signed(roots)),
            Err(why) if files.trouble().is_some() => {
                warn!("{why}; the admin port lets in none but who shows its own certificate, as health does");
                Ok(Clients::Own)
            }
            Err(why) => Err(why),
        }
    }
}

impl Made {
    fn is_of(&self, identity: &Arc<CertifiedKey>, clients: &Clients) -> bool {
        let is_same = match (&self.clients, clients) {
            (Clients::Any, Clients::Any) | (Clients::Own, Clients::Own) => true,
            (Clients::Signed(one), Clients::Signed(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        is_same && Arc::ptr_eq(&self.identity, identity)
    }
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
    let builder = client_that_trusts(Some(own_certificate(&identity)?))?;
    Ok(match tls.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(_) => builder.with_client_cert_resolver(pem::resolver(identity)),
    })
}

/// The settings of a client that takes whatever answers and shows nothing: enough to see that something does. Nothing
/// that it is told may be relied on for more.
///
/// # Errors
/// Where TLS can't be had.
pub fn client_of_any() -> Result<ClientConfig, String> {
    Ok(client_that_trusts(None)?.with_no_client_auth())
}

fn client_that_trusts(
    own: Option<CertificateDer<'static>>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, String> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Own { own, provider: Arc::clone(&provider) };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)))
}

/// Lets in clients whose certificate a CA of the configuration has signed, where that is known, and those that have
/// the port's own.
#[derive(Debug)]
struct SignedOrOwn {
    signed: Option<Arc<dyn ClientCertVerifier>>,
    own: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
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
        match &self.signed {
            Some(signed) => signed.verify_client_cert(end_entity, intermediates, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
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

/// Trusts one certificate, or any where there is none to compare with.
#[derive(Debug)]
struct Own {
    own: Option<CertificateDer<'static>>,
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
        if self.own.as_ref().is_none_or(|own| end_entity == own) {
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

fn server_config(identity: &CertifiedKey, clients: &Clients) -> Result<ServerConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let signed = match clients {
        Clients::Signed(roots) => {
            let signed = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(&provider)).build();
            Some(signed.map_err(|error| format!("admin.tls.client_ca_file can't be used: {error}"))?)
        }
        Clients::Any | Clients::Own => None,
    };
    let builder = match clients {
        Clients::Any => builder.with_no_client_auth(),
        Clients::Signed(_) | Clients::Own => {
            let own = own_certificate(identity)?;
            builder.with_client_cert_verifier(Arc::new(SignedOrOwn { signed, own, provider }))
        }
    };
    let resolver: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(identity.clone()));
    let mut config = builder.with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{CertificateParams, KeyPair};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::advance;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::config::Admin;
    use crate::observe::logs::testing::captured;
    use crate::observe::{AdminServer, Observe};
    use kafka_client::followed::KEPT;

    /// What the port is set to, in files of this folder.
    fn files(folder: &Path) -> AdminTls {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
        let file = |name: &str, text: &str| {
            std::fs::write(folder.join(name), text).unwrap();
            Some(folder.join(name))
        };
        let (cert_file, client_ca_file) = (file("cert", &certificate), file("ca", &certificate));
        AdminTls { cert_file, key_file: file("key", &key.serialize_pem()), client_ca_file }
    }

    #[tokio::test]
    async fn plain_http_is_refused_and_told_of() {
        let (lines, _guard) = captured();
        let folder = tempfile::tempdir().unwrap();
        let admin = Admin { tls: files(folder.path()), ..Admin::at(([127, 0, 0, 1], 0).into()) };
        let server = AdminServer::bind(&admin).await.unwrap();
        let observe = Observe::new("1.2.3", &[], Duration::ZERO, serde_json::Value::Null);
        let (address, shutdown) = (server.local_addr(), CancellationToken::new());
        let serving = tokio::spawn(server.serve(observe.clone(), shutdown.clone()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        let by = stream.local_addr().unwrap().to_string();
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 400");
        shutdown.cancel();
        serving.await.unwrap();
        let told: Vec<_> = lines.json().into_iter().filter(|line| line["by"] == by.as_str()).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0]["message"].as_str().unwrap().contains("without TLS"), "{told:?}");
        assert!(observe.metrics.encode().contains("login_pipeline_admin_refusals_total{reason=\"tls\"} 1"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_good_certificate_stays_and_a_client_ca_does_not() {
        let (lines, _guard) = captured();
        let folder = tempfile::tempdir().unwrap();
        let tls = files(folder.path());
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let certificate = std::fs::read_to_string(folder.path().join("cert")).unwrap();
        let health = Health::new(Duration::from_secs(10));
        health.started();
        let acceptor = Acceptor::new(&tls).unwrap().unwrap().told_by(&health);
        let first = acceptor.current().unwrap();
        assert!(health.is_ready().is_ok());

        write("cert", "");
        for _ in 0..3 {
            assert!(Arc::ptr_eq(&first, &acceptor.current().unwrap()));
            advance(KEPT).await;
        }
        let reasons = health.is_ready().unwrap_err();
        assert!(reasons[0].to_string().starts_with("admin.tls: degraded for 900s: "), "{}", reasons[0]);
        assert!(health.is_live().is_ok());
        let said = lines.json()[0]["message"].as_str().unwrap().to_owned();
        let goes_on = "; new connections go on with what was there before";
        assert!(said.contains("cert: holds no certificate") && said.ends_with(goes_on), "{said}");
        write("cert", &certificate);
        assert!(Arc::ptr_eq(&first, &acceptor.current().unwrap()));
        assert!(health.is_ready().is_ok());

        write("ca", "");
        assert!(Arc::ptr_eq(&first, &acceptor.current().unwrap()));
        advance(KEPT).await;
        let alone = acceptor.current().unwrap();
        assert!(!Arc::ptr_eq(&first, &alone) && Arc::ptr_eq(&alone, &acceptor.current().unwrap()));
        assert!(matches!(acceptor.clients(), Ok(Clients::Own)));
        assert!(health.is_ready().is_err());
    }
}
