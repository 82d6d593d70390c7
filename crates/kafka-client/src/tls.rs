//! TLS as its files say, read anew when they change.
//!
//! A broker's certificate and its name are checked always: there is no switch against it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;

use crate::followed::{File, Followed};
use crate::{Cause, TlsError, pem};

/// The files of a client's side of TLS, PEM each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The CAs that may sign the brokers' certificates; public ones where `None`.
    pub ca_file: Option<PathBuf>,
    /// This client's certificate, those that sign it behind it.
    pub cert_file: Option<PathBuf>,
    /// The certificate's private key.
    pub key_file: Option<PathBuf>,
}

/// The client's side of TLS, following its files.
#[derive(Debug)]
pub struct Tls {
    files: Followed<ClientConfig, 3>,
}

impl Tls {
    /// Reads nothing yet. `name` is what the log calls the files.
    pub fn new(name: &'static str, files: TlsFiles) -> Self {
        Self { files: Followed::new(name, [files.ca_file, files.cert_file, files.key_file]) }
    }

    /// The settings for a new connection.
    ///
    /// # Errors
    /// What is wrong with a file, where there were no good ones before, or not for minutes.
    pub fn current(&self) -> Result<Arc<ClientConfig>, Cause> {
        let made = self.files.current(|[ca, cert, key]| {
            let [ca, cert, key] = [ca, cert, key].map(|file| file.as_ref().map(File::read));
            pem::client_config(ca, cert.zip(key))
        });
        made.map_err(|why| Cause::Tls(TlsError::File(why)))
    }
}

/// The cause that TLS names for a broken connection; `None` where the error is not TLS's.
pub fn cause(error: &io::Error) -> Option<Cause> {
    said(error).map(|error| Cause::Tls(TlsError::Refused(error.clone())))
}

/// TLS's own error within one of a stream.
pub fn said(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::followed::KEPT;

    #[tokio::test(start_paused = true)]
    async fn an_emptied_ca_file_is_not_trusted_for_ever() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap().pem();
        let ca = tempfile::NamedTempFile::new().unwrap();
        let tls = Tls::new("tls", TlsFiles { ca_file: Some(ca.path().to_owned()), ..TlsFiles::default() });
        let write = |text: &str| std::fs::write(ca.path(), text).unwrap();
        write(&certificate);
        let first = tls.current().unwrap();
        write("");
        assert!(Arc::ptr_eq(&first, &tls.current().unwrap()), "it may be about to be written");
        tokio::time::advance(KEPT - Duration::from_secs(1)).await;
        assert!(Arc::ptr_eq(&first, &tls.current().unwrap()));
        tokio::time::advance(Duration::from_secs(1)).await;
        let why = tls.current().unwrap_err().to_string();
        let named = ca.path().display().to_string();
        assert!(why.contains(&named) && why.contains("it has been so for 5 minutes"), "{why}");
        write(&certificate);
        assert!(Arc::ptr_eq(&first, &tls.current().unwrap()), "it is there again");
        write("");
        assert!(tls.current().is_ok(), "a new time begins");
    }

    #[test]
    fn files_are_read_when_they_change_and_kept_while_they_are_broken() {
        let made = || {
            let key = rcgen::KeyPair::generate().unwrap();
            rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap().pem()
        };
        let ca = tempfile::NamedTempFile::new().unwrap();
        let tls = Tls::new("tls", TlsFiles { ca_file: Some(ca.path().to_owned()), ..TlsFiles::default() });
        let write = |text: &str| std::fs::write(ca.path(), text).unwrap();
        assert!(matches!(tls.current(), Err(Cause::Tls(TlsError::File(why))) if why.contains("holds no certificate")));
        let certificate = made();
        write(&certificate);
        let first = tls.current().unwrap();
        write("half a file");
        assert!(Arc::ptr_eq(&first, &tls.current().unwrap()));
        write(&certificate);
        assert!(Arc::ptr_eq(&first, &tls.current().unwrap()));
        write(&made());
        let second = tls.current().unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
        std::fs::remove_file(ca.path()).unwrap();
        assert!(Arc::ptr_eq(&second, &tls.current().unwrap()));
    }
}
