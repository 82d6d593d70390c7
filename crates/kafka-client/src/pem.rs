//! What TLS needs, out of PEM files. Read when the configuration is loaded, so that a broken file
//! is told with all else that is wrong, and again when connections are made.

use std::path::Path;
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use zeroize::Zeroizing;

use super::certificate;

/// A file's path, and what is in it.
pub type Read<'f> = (&'f Path, &'f [u8]);

/// The bytes of a file, which may be secret.
pub fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    // A named pipe would hold up the start for ever, and a device have no end.
    let is_file = std::fs::metadata(path).map(|found| found.is_file());
    match is_file.and_then(|is_file| if is_file { std::fs::read(path).map(Some) } else { Ok(None) }) {
        Ok(Some(bytes)) => Ok(Zeroizing::new(bytes)),
        Ok(None) => Err(wrong(path, "is not a file")),
        Err(error) => Err(wrong(path, &format!("can't be read: {error}"))),
    }
}

/// What is wrong with a file.
pub fn wrong(path: &Path, why: &str) -> String {
    format!("{}: {why}", path.display())
}

/// The certificates in `bytes`, which came from the file at `path`, as those that may sign the
/// brokers'.
///
/// # Errors
/// What is wrong with the file.
pub fn roots(path: &Path, bytes: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, bytes)? {
        roots.add(certificate).map_err(|error| unusable(path, &error))?;
    }
    Ok(roots)
}

/// A certificate chain and its private key, each with the file it came from.
///
/// # Errors
/// What is wrong with either file, or that they do not belong together.
pub fn identity(cert: Read<'_>, key: Read<'_>) -> Result<CertifiedKey, String> {
    let chain = certificates(cert.0, cert.1)?;
    let private = private_key(key.0, key.1)?;
    let provider = ring::default_provider();
    CertifiedKey::from_der(chain, private, &provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            wrong(key.0, &format!("is not the key of the certificate in {}", cert.0.display()))
        }
        error @ rustls::Error::InvalidCertificate(_) => unusable(cert.0, &error),
        error => wrong(key.0, &format!("holds a private key that can't be used: {error}")),
    })
}

/// A client's settings: whom it trusts, public CAs where `None`, and who it is, where it says so.
///
/// # Errors
/// What is wrong with a file.
pub fn client_config(ca: Option<Read<'_>>, own: Option<(Read<'_>, Read<'_>)>) -> Result<ClientConfig, String> {
    let roots = match ca {
        Some((path, bytes)) => roots(path, bytes)?,
        None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    Ok(match own {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => builder.with_client_cert_resolver(resolver(identity(cert, key)?)),
    })
}

/// Shows this identity to whoever wants one.
pub fn resolver(identity: CertifiedKey) -> Arc<dyn ResolvesClientCert> {
    Arc::new(SingleCertAndKey::from(identity))
}

fn unusable(path: &Path, error: &rustls::Error) -> String {
    let fault = match error {
        rustls::Error::InvalidCertificate(error) => certificate::fault(error),
        error => format!("can't be used: {error}"),
    };
    wrong(path, &format!("holds a certificate that {fault}"))
}

fn certificates(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(bytes).collect();
    match found {
        Ok(found) if found.is_empty() => {
            Err(wrong(path, "holds no certificate: a PEM file has -----BEGIN CERTIFICATE----- in it"))
        }
        Ok(found) => Ok(found),
        Err(error) => Err(wrong(path, &format!("is not PEM: {}", described(&error)))),
    }
}

fn private_key(path: &Path, bytes: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(bytes).map_err(|error| match error {
        pem::Error::NoItemsFound if contains(bytes, b"BEGIN ENCRYPTED PRIVATE KEY") => {
            wrong(path, "holds a private key under a passphrase, which can't be used: store it without one")
        }
        pem::Error::NoItemsFound => {
            wrong(path, "holds no private key: a PEM file has -----BEGIN PRIVATE KEY----- in it")
        }
        error => wrong(path, &format!("is not PEM: {}", described(&error))),
    })
}

/// The library's own texts show bytes of the file, and it may be the key's.
fn described(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "an -----END is missing",
        pem::Error::IllegalSectionStart { .. } => "a -----BEGIN line is broken",
        pem::Error::Base64Decode(_) => "not base64",
        _ => "it can't be decoded",
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn made() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    #[test]
    fn reads_certificates_and_their_key() {
        let (certificate, key) = made();
        let twice = format!("# a comment\n{certificate}\n{certificate}");
        assert_eq!(roots(Path::new("ca"), twice.as_bytes()).unwrap().len(), 2);
        assert!(identity((Path::new("c"), certificate.as_bytes()), (Path::new("k"), key.as_bytes())).is_ok());
    }

    #[test]
    fn says_what_is_wrong_with_a_file_and_shows_none_of_it() {
        let ((certificate, key), (_, other)) = (made(), made());
        let ca = |text: &str| roots(Path::new("ca"), text.as_bytes()).unwrap_err();
        assert!(ca("").starts_with("ca: holds no certificate"), "{}", ca(""));
        assert!(ca(&key).starts_with("ca: holds no certificate"), "{}", ca(&key));
        let cut = &certificate[..certificate.len() / 2];
        assert_eq!(ca(cut), "ca: is not PEM: an -----END is missing");
        let no_base64 = "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
        assert_eq!(ca(no_base64), "ca: is not PEM: not base64");
        let no_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(ca(no_der).starts_with("ca: holds a certificate that can't be decoded"), "{}", ca(no_der));

        let pair = |certificate: &str, key: &str| {
            identity((Path::new("c"), certificate.as_bytes()), (Path::new("k"), key.as_bytes())).unwrap_err()
        };
        assert_eq!(pair(&certificate, &other), "k: is not the key of the certificate in c");
        assert!(pair(&key, &key).starts_with("c: holds no certificate"));
        assert!(pair(&certificate, &certificate).starts_with("k: holds no private key"));
        let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        assert!(pair(&certificate, &encrypted).starts_with("k: holds a private key under a passphrase"));
        let broken = key.replacen("MI", "AA", 1);
        let told = pair(&certificate, &broken);
        assert!(told.starts_with("k: holds a private key that can't be used"), "{told}");
    }

    #[test]
    fn a_client_certificate_of_version_1_is_refused_in_plain_words() {
        let (certificate, (_, key)) = (certificate::VERSION_1, made());
        let told = identity((Path::new("c"), certificate.as_bytes()), (Path::new("k"), key.as_bytes())).unwrap_err();
        assert!(told.starts_with("c: holds a certificate that is not an X.509 version 3 certificate"), "{told}");
        assert!(!told.contains("Other("), "{told}");
    }

    #[test]
    fn only_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).unwrap_err().ends_with(": is not a file"));
        assert!(read(&folder.path().join("none")).unwrap_err().contains(": can't be read: No such file"));
    }
}
