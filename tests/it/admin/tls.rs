//! The admin port over TLS, as other programs and as this one's own commands ask it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use login_pipeline::config::{self, AdminTls};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use super::{Admin, Answer};

/// A CA, and what it has signed, in files of a folder.
struct Authority {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Files of a certificate for this name and use, and of its key.
    fn sign(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (cert_file, key_file) = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        std::fs::write(&cert_file, certificate.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        (cert_file, key_file)
    }

    /// The admin port's own; a client of any CA of `client_ca` is let in.
    fn port(&self, client_ca: Option<&Self>) -> config::Admin {
        let (cert_file, key_file) = self.sign("pipeline.example", ExtendedKeyUsagePurpose::ServerAuth);
        let client_ca_file = client_ca.map(|ca| ca.path("ca.pem"));
        let tls = AdminTls { cert_file: Some(cert_file), key_file: Some(key_file), client_ca_file };
        config::Admin { tls, ..config::Admin::at(([127, 0, 0, 1], 0).into()) }
    }
}

/// A client that trusts this CA, with a certificate of its own where it has one.
fn client(ca: &Authority, own: Option<&(PathBuf, PathBuf)>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca.path("ca.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let chain = vec![CertificateDer::from_pem_file(cert).unwrap()];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap()
        }
    };
    TlsConnector::from(Arc::new(config))
}

impl Admin {
    /// What is answered over TLS, or why the connection broke.
    async fn ask(&self, client: &TlsConnector) -> std::io::Result<String> {
        let name = ServerName::try_from("pipeline.example").unwrap();
        let mut stream = client.connect(name, self.connect().await).await?;
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    fn refusals(&self) -> String {
        let encoded = self.observe.metrics.encode();
        let name = "login_pipeline_admin_refusals_total{reason=\"tls\"} ";
        encoded.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned()
    }

    /// Waits until so many are counted: a client may know of its refusal first.
    async fn until_refused(&self, times: &str) {
        let counted = async {
            while self.refusals() != times {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let in_time = timeout(Duration::from_secs(20), counted).await;
        assert!(in_time.is_ok(), "{} refusals, not {times}", self.refusals());
    }
}

fn run(args: &[&str], admin: &config::Admin, address: &str) -> Output {
    let path = |path: &Option<PathBuf>| path.as_deref().and_then(Path::to_str).unwrap_or_default().to_owned();
    Command::new(env!("CARGO_BIN_EXE_login-pipeline"))
        .args(args)
        .env("LOGIN_PIPELINE__ADMIN__LISTEN", address)
        .env("LOGIN_PIPELINE__ADMIN__TLS__CERT_FILE", path(&admin.tls.cert_file))
        .env("LOGIN_PIPELINE__ADMIN__TLS__KEY_FILE", path(&admin.tls.key_file))
        .env("LOGIN_PIPELINE__ADMIN__TLS__CLIENT_CA_FILE", path(&admin.tls.client_ca_file))
        .output()
        .unwrap()
}

/// What a command says on both outputs, and its exit code.
async fn told(args: &[&str], admin: &config::Admin, address: String) -> (Option<i32>, String) {
    let (args, admin) = (args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>(), admin.clone());
    let output = tokio::task::spawn_blocking(move || {
        run(&args.iter().map(String::as_str).collect::<Vec<_>>(), &admin, &address)
    });
    let Output { status, stdout, stderr } = output.await.unwrap();
    let text = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (status.code(), text)
}

#[tokio::test]
async fn the_port_speaks_tls_and_follows_its_files() {
    let ca = Authority::new("ca");
    let port = ca.port(None);
    let admin = Admin::serve(&port).await;
    let trusting = client(&ca, None);
    assert!(admin.ask(&trusting).await.unwrap().ends_with("\r\n\r\nlive\n"));
    let plain = admin.request("GET", "/livez").await;
    assert_eq!((plain.status, plain.body.as_str()), (400, "this port speaks TLS: ask it by https://\n"));
    admin.until_refused("1").await;

    let other = Authority::new("other");
    let error = admin.ask(&client(&other, None)).await.unwrap_err();
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    // Renewed, by another CA.
    let (cert, key) = other.sign("pipeline.example", ExtendedKeyUsagePurpose::ServerAuth);
    std::fs::copy(cert, port.tls.cert_file.as_ref().unwrap()).unwrap();
    std::fs::copy(key, port.tls.key_file.as_ref().unwrap()).unwrap();
    assert!(admin.ask(&client(&other, None)).await.is_ok());
    assert!(admin.ask(&trusting).await.is_err());
    admin.until_refused("3").await; // and clients that did not trust it
}

#[tokio::test]
async fn clients_without_the_right_certificate_are_refused_and_counted() {
    let (ca, clients, others) = (Authority::new("ca"), Authority::new("clients"), Authority::new("others"));
    let port = ca.port(Some(&clients));
    let admin = Admin::serve(&port).await;
    let known = clients.sign("alice", ExtendedKeyUsagePurpose::ClientAuth);
    assert!(admin.ask(&client(&ca, Some(&known))).await.unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!(admin.refusals(), "0");
    for own in [None, Some(others.sign("mallory", ExtendedKeyUsagePurpose::ClientAuth))] {
        admin.ask(&client(&ca, own.as_ref())).await.unwrap_err();
    }
    admin.until_refused("2").await;
    let own = (port.tls.cert_file.clone().unwrap(), port.tls.key_file.clone().unwrap());
    assert!(admin.ask(&client(&ca, Some(&own))).await.is_ok(), "the port's own, as `health` shows it");
}

#[tokio::test]
async fn who_says_hello_and_no_more_loses_its_place() {
    let ca = Authority::new("ca");
    let limits = login_pipeline::observe::Limits { head: Duration::from_millis(300), ..Default::default() };
    let admin = Admin::serve_with(&ca.port(None), limits, serde_json::json!({})).await;
    let mut stream: TcpStream = admin.connect().await;
    stream.write_all(&[22, 3, 1, 2, 0]).await.unwrap();
    assert_eq!(Answer::read(stream).await.status, 0, "closed without an answer");
    admin.until_refused("1").await;
}

#[tokio::test]
async fn own_commands_ask_by_tls() {
    let (ca, clients) = (Authority::new("ca"), Authority::new("clients"));
    let port = ca.port(Some(&clients));
    let admin = Admin::serve(&port).await;
    admin.observe.health.started();
    let address = admin.address.to_string();
    // By its own certificate, whatever names are in it.
    assert_eq!(told(&["health"], &port, address.clone()).await, (Some(0), "ready\n".to_owned()));
    let (code, text) = told(&["top", "--once"], &port, address.clone()).await;
    assert!(code == Some(0) && text.contains("1.2.3"), "{code:?} {text}");

    // By its name and CA, from anywhere.
    let localhost = ca.sign("localhost", ExtendedKeyUsagePurpose::ServerAuth);
    let [cert_file, key_file] = [localhost.0, localhost.1].map(Some);
    let of_localhost = config::Admin {
        tls: AdminTls { cert_file, key_file, client_ca_file: Some(clients.path("ca.pem")) },
        ..config::Admin::at(([127, 0, 0, 1], 0).into())
    };
    let named = Admin::serve(&of_localhost).await;
    let plain = config::Admin::at(([127, 0, 0, 1], 0).into());
    let url = format!("https://localhost:{}", named.address.port());
    let alice = clients.sign("alice", ExtendedKeyUsagePurpose::ClientAuth);
    let [ca_file, cert, key] = [ca.path("ca.pem"), alice.0, alice.1].map(|path| path.to_str().unwrap().to_owned());
    let top = ["top", "--once", &url];
    let trusted = [&top[..], &["--ca-file", &ca_file]].concat();
    let whole = [&trusted[..], &["--cert-file", &cert, "--key-file", &key]].concat();
    let (code, text) = told(&whole, &plain, String::new()).await;
    assert!(code == Some(0) && text.contains("1.2.3"), "{code:?} {text}");
    for (args, why) in [(&top[..], "check --ca-file"), (&trusted, "check --cert-file and --key-file")] {
        let (code, text) = told(args, &plain, String::new()).await;
        assert!(code == Some(1) && text.contains(why), "{code:?} {text}");
    }

    // Somebody else there.
    let (code, text) = told(&["health"], &port, named.address.to_string()).await;
    assert!(code == Some(1) && text.contains("another certificate than admin.tls.cert_file has"), "{code:?} {text}");
    let (code, text) = told(&["health"], &plain, address).await;
    assert!(code == Some(1) && text.contains("this port speaks TLS"), "{code:?} {text}");
}

#[tokio::test]
async fn health_minds_nothing_but_the_admin_port() {
    let (ca, clients) = (Authority::new("ca"), Authority::new("clients"));
    let port = ca.port(Some(&clients));
    let admin = Admin::serve(&port).await;
    admin.observe.health.started();
    let file = ca.path("pipeline.toml");
    // A key that only a later version has, a broker's certificate that is gone, and values that are none.
    let wrong = "[kafka]\nsecurity_protocol = \"ssl\"\ntls.ca_file = \"/nowhere\"\nbrokers = 7\n\
                 [admin]\nof_a_later_version = true\ntoken_file = \"/nowhere\"\n[log]\nlevel = \"loud\"\n";
    std::fs::write(&file, wrong).unwrap();
    let config = file.to_str().unwrap();
    let address = admin.address.to_string();
    let (code, text) = told(&["health", "--config", config], &port, address.clone()).await;
    assert_eq!((code, &*text), (Some(0), "ready\n"));
    let (code, text) = told(&["health", "--live", "--config", config], &port, address.clone()).await;
    assert_eq!((code, &*text), (Some(0), "live\n"));
    let (code, text) = told(&["top", "--once", "--config", config], &port, address.clone()).await;
    assert!(code == Some(0) && text.contains("1.2.3"), "{code:?} {text}");
    let (code, text) = told(&["health", "--config", config], &port, "localhost".to_owned()).await;
    assert!(code == Some(64) && text.contains("1 problem\n\nadmin.listen: not an IP"), "{code:?} {text}");
    let (code, text) = told(&["check", "--config", config], &port, address).await;
    assert!(code == Some(64) && text.contains("admin.of_a_later_version: no such key"), "{code:?} {text}");
}

#[tokio::test]
async fn a_certificate_that_broke_ends_no_instance() {
    let (ca, clients) = (Authority::new("ca"), Authority::new("clients"));
    for client_ca in [None, Some(&clients)] {
        let port = ca.port(client_ca);
        let admin = Admin::serve(&port).await;
        let alice = clients.sign("alice", ExtendedKeyUsagePurpose::ClientAuth);
        let alice = client(&ca, Some(&alice));
        std::fs::write(port.tls.cert_file.as_ref().unwrap(), "").unwrap();
        assert!(admin.ask(&alice).await.unwrap().ends_with("\r\n\r\nlive\n"), "with what it had before");
        let address = admin.address.to_string();
        let (code, text) = told(&["health", "--live"], &port, address.clone()).await;
        let said = "pipeline.example.pem: holds no certificate";
        assert!(code == Some(0) && text.starts_with("live\n") && text.contains(said), "{code:?} {text}");
        let (code, text) = told(&["health"], &port, address.clone()).await;
        assert!(code == Some(1) && text.contains(said), "{code:?} {text}");
        admin.shutdown.cancel();
        admin.server.await.unwrap();
        let (code, text) = told(&["health", "--live"], &port, address).await;
        assert!(code == Some(1) && text.contains("Connection refused"), "{code:?} {text}");
    }
    let port = ca.port(None);
    std::fs::write(port.tls.key_file.as_ref().unwrap(), "").unwrap();
    let error = login_pipeline::observe::AdminServer::bind(&port).await.unwrap_err().to_string();
    assert!(error.contains("holds no private key"), "{error}");
}
