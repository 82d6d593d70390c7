//! TLS errors in words that tell which key or file to change.

use std::io;
use std::time::{Duration, SystemTime};

use kafka_client::certificate;
use kafka_client::plain::Plain;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError};

/// A peer that TLS is spoken with: the settings that advice about its errors names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    /// The kind of peer.
    name: &'static str,
    /// The key of those who may sign its certificate.
    ca: &'static str,
    /// The key that names what its certificate must be for.
    names: &'static str,
    /// The key to check where it speaks no TLS.
    protocol: &'static str,
    /// The advice where it wants a certificate of ours.
    client: &'static str,
    /// The setting that says whose certificates it takes.
    trusts: &'static str,
    /// The setting that says which versions and ciphers it speaks.
    speaks: &'static str,
}

/// A broker of the cluster.
pub(crate) const BROKER: Peer = Peer {
    name: "the broker",
    ca: "kafka.tls.ca_file",
    names: "kafka.brokers and the broker's advertised.listeners",
    protocol: "kafka.security_protocol",
    client: "check kafka.tls.cert_file and kafka.tls.key_file",
    trusts: "the broker's ssl.truststore",
    speaks: "the broker's ssl.enabled.protocols and ssl.cipher.suites",
};

/// The endpoint that tokens are asked of.
pub(crate) const TOKEN_ENDPOINT: Peer = Peer {
    name: "the token endpoint",
    ca: "kafka.sasl.token_endpoint_ca_file",
    names: "kafka.sasl.token_endpoint_url",
    protocol: "kafka.sasl.token_endpoint_url",
    client: "it must let this client in by its secret",
    trusts: "its list of CAs",
    speaks: "its versions and cipher suites",
};

/// The admin port of an instance, as this program's own commands ask it.
pub(crate) const ADMIN_PORT: Peer = Peer {
    name: "the admin port",
    ca: "--ca-file",
    names: "the address that is asked",
    protocol: "http:// or https://, and that instance's admin.tls.cert_file",
    client: "check --cert-file and --key-file",
    trusts: "that instance's admin.tls.client_ca_file",
    speaks: "its versions and cipher suites",
};

impl Peer {
    /// Explains an error of a stream, where it is TLS's.
    pub(crate) fn said(&self, error: &io::Error) -> Option<String> {
        kafka_client::tls::said(error).map(|error| self.explain(error))
    }

    /// Explains an error of TLS's with this peer.
    pub(crate) fn explain(&self, error: &rustls::Error) -> String {
        match error {
            rustls::Error::InvalidCertificate(error) => self.certificate(error),
            rustls::Error::AlertReceived(alert) => self.told(*alert),
            rustls::Error::InvalidMessage(_) => {
                format!("{} speaks no TLS on this port: check {}", self.name, self.protocol)
            }
            rustls::Error::PeerIncompatible(what) => self.incompatible(&format!("{what:?}")),
            // A verifier's of our own, in words already.
            rustls::Error::General(why) => why.clone(),
            error => error.to_string(),
        }
    }

    /// Explains what is wrong with its certificate.
    fn certificate(&self, error: &CertificateError) -> String {
        let name = self.name;
        match error {
            CertificateError::UnknownIssuer => {
                format!(
                    "{name}'s certificate is signed by no CA that is trusted here: check {}, and that {name} sends the \
                     CAs in between with it",
                    self.ca
                )
            }
            CertificateError::Expired => self.expired(""),
            CertificateError::ExpiredContext { not_after, .. } => self.expired(&at(*not_after)),
            CertificateError::NotValidYet => self.not_valid_yet(""),
            CertificateError::NotValidYetContext { not_before, .. } => self.not_valid_yet(&at(*not_before)),
            CertificateError::NotValidForNameContext { expected, presented } => {
                let names: Vec<_> = presented.iter().take(5).map(|name| bare(name)).collect();
                let names = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
                let expected = expected.to_str();
                format!(
                    "{name}'s certificate is for {names}, not for {expected}: {} must have a name that is in it",
                    self.names
                )
            }
            CertificateError::NotValidForName => {
                format!("{name}'s certificate is for another name: {} must have a name that is in it", self.names)
            }
            error => format!("{name}'s certificate can't be trusted: it {}", certificate::fault(error)),
        }
    }

    fn expired(&self, at: &str) -> String {
        format!("{}'s certificate has expired{at}: renew it, or set this machine's clock", self.name)
    }

    fn not_valid_yet(&self, at: &str) -> String {
        format!("{}'s certificate is not valid yet{at}: set this machine's clock, or wait", self.name)
    }

    /// Why it ended the connection.
    fn told(&self, alert: AlertDescription) -> String {
        use AlertDescription as Alert;
        let Self { name, client, trusts, .. } = self;
        match alert {
            Alert::CertificateExpired => format!(
                "{name} says that this client's certificate has expired, or is not valid yet: renew it, or set the clocks; {client}"
            ),
            Alert::CertificateRevoked => format!("{name} says that this client's certificate was revoked: {client}"),
            Alert::UnknownCA => {
                format!("{name} does not trust the CA of this client's certificate: {client}, or {trusts}")
            }
            Alert::UnsupportedCertificate => format!(
                "{name} does not take this kind of client certificate, by its key, its version or its use \
                 (extendedKeyUsage needs clientAuth): {client}"
            ),
            Alert::CertificateRequired | Alert::NoCertificate => {
                format!("{name} wants a client's certificate, and was given none ({alert:?}): {client}")
            }
            Alert::BadCertificate | Alert::CertificateUnknown | Alert::AccessDenied => format!(
                "{name} does not take this client's certificate, or misses one ({alert:?}): {client}, or {trusts}"
            ),
            Alert::HandshakeFailure | Alert::ProtocolVersion | Alert::InsufficientSecurity => {
                self.incompatible(&format!("{alert:?}"))
            }
            alert => format!("{name} refuses ({alert:?})"),
        }
    }

    /// Neither side is wrong, but together they are.
    fn incompatible(&self, what: &str) -> String {
        format!(
            "{} and this client have nothing in common ({what}): TLS 1.2 and 1.3 are spoken here; check {}",
            self.name, self.speaks
        )
    }
}

/// A certificate's name as people write it: `broker-1` of `DnsName("broker-1")`.
fn bare(name: &str) -> String {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    Plain(inner.trim_matches('"')).to_string()
}

fn at(time: UnixTime) -> String {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(time.as_secs()));
    time.map_or_else(String::new, |time| format!(" ({})", humantime::format_rfc3339_seconds(time)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use rustls::pki_types::ServerName;
    use rustls::{InvalidMessage, crypto};

    use super::*;

    fn said(error: rustls::Error) -> String {
        BROKER.explain(&error)
    }

    #[test]
    fn each_error_tells_what_to_mend() {
        let after = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let names = ["DnsName(\"broker-1\")", "IpAddress(10.0.0.7)"].map(str::to_owned).to_vec();
        let expected = ServerName::try_from("broker-2").unwrap();
        for (error, told) in [
            (CertificateError::UnknownIssuer.into(), "signed by no CA that is trusted here: check kafka.tls.ca_file"),
            (
                CertificateError::ExpiredContext { time: after(9), not_after: after(0) }.into(),
                "has expired (1970-01-01T00:00:00Z): renew it",
            ),
            (CertificateError::Expired.into(), "has expired: renew it"),
            (
                CertificateError::NotValidYetContext { time: after(0), not_before: after(1) }.into(),
                "is not valid yet (1970-01-01T00:00:01Z)",
            ),
            (
                CertificateError::NotValidForNameContext { expected, presented: names }.into(),
                "is for broker-1, 10.0.0.7, not for broker-2: kafka.brokers",
            ),
            (CertificateError::BadSignature.into(), "the broker's certificate can't be trusted: it bears a signature"),
            (CertificateError::NotValidForName.into(), "is for another name: kafka.brokers"),
            (rustls::Error::AlertReceived(AlertDescription::CertificateRequired), "check kafka.tls.cert_file"),
            (rustls::Error::AlertReceived(AlertDescription::UnknownCA), "check kafka.tls.cert_file"),
            (rustls::Error::AlertReceived(AlertDescription::UnknownCA), "the broker's ssl.truststore"),
            (rustls::Error::AlertReceived(AlertDescription::CertificateExpired), "has expired, or is not valid yet"),
            (rustls::Error::AlertReceived(AlertDescription::UnsupportedCertificate), "clientAuth"),
            (rustls::Error::AlertReceived(AlertDescription::HandshakeFailure), "the broker's ssl.enabled.protocols"),
            (rustls::Error::AlertReceived(AlertDescription::InternalError), "the broker refuses (InternalError)"),
            (rustls::PeerIncompatible::NoCipherSuitesInCommon.into(), "the broker's ssl.enabled.protocols"),
            (InvalidMessage::InvalidContentType.into(), "speaks no TLS on this port: check kafka.security_protocol"),
        ] {
            let said = said(error);
            assert!(said.contains(told), "{said}");
        }
    }

    /// What a client that trusts `ca` says of the certificate of a broker at localhost.
    fn verified(ca: &str, broker: &str) -> String {
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject;
        let roots = Arc::new(kafka_client::pem::roots(Path::new("ca"), ca.as_bytes()).unwrap());
        let provider = Arc::new(crypto::ring::default_provider());
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(roots, provider).build().unwrap();
        let certificate = CertificateDer::from_pem_slice(broker.as_bytes()).unwrap();
        let localhost = ServerName::try_from("localhost").unwrap();
        let verifier: Arc<dyn rustls::client::danger::ServerCertVerifier> = verifier;
        let verdict = verifier.verify_server_cert(&certificate, &[], &localhost, &[], UnixTime::now());
        verdict.err().map_or_else(String::new, said)
    }

    #[test]
    fn a_ca_used_as_the_brokers_certificate_is_refused_in_plain_words() {
        let params = || rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let self_signed = params().self_signed(&key).unwrap().pem();
        assert_eq!(verified(&self_signed, &self_signed), "", "without CA:TRUE it is trusted for itself");
        let mut ca = params();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let own = ca.self_signed(&key).unwrap().pem();
        let said = verified(&own, &own);
        assert!(said.contains("the broker's certificate can't be trusted: it is a CA's own"), "{said}");
        assert!(said.contains("issue one with CA:FALSE") && !said.contains("Other("), "{said}");
    }

    #[test]
    fn a_brokers_certificate_of_version_1_is_refused_in_plain_words() {
        let key = rcgen::KeyPair::generate().unwrap();
        let ca = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap().pem();
        let said = verified(&ca, certificate::VERSION_1);
        assert!(said.contains("it is not an X.509 version 3 certificate") && !said.contains("Other("), "{said}");
    }
}
