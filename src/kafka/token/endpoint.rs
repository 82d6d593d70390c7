//! One request to a token endpoint: the client credentials grant over HTTP/1.1 (RFC 6749, 4.4).
//!
//! ```text
//! TCP ─► TLS, where the URL is https ─► POST, by HTTP Basic ─► one answer, within a time and a size ─► closed
//! ```
//! A connection a token: there is one an hour, or so.

use std::error::Error as StdError;
use std::io;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{Full, LengthLimitError};
use hyper::Request;
use hyper::header::{ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use kafka_client::dial;
use kafka_client::{Tls, TlsFiles};
use rustls::pki_types::ServerName;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::answer::{self, Granted, Refused};
use crate::config::{EndpointUrl, Secret, TokenEndpoint};
use crate::http_client::{Stream, exchange};
use crate::kafka::Cause;
use crate::kafka::tls_hints::TOKEN_ENDPOINT;

/// The largest answer taken, its head by itself and its body by itself. Tokens have a few KiB.
const LARGEST: usize = 64 * 1024;

/// A token endpoint, as configured.
#[derive(Debug)]
pub(super) struct Endpoint {
    config: TokenEndpoint,
    url: EndpointUrl,
    tls: Option<Tls>,
    connect_timeout: Duration,
    request_timeout: Duration,
}

impl Endpoint {
    /// Asks nothing yet; `None` where none is configured.
    pub(super) fn new(config: &TokenEndpoint, connect_timeout: Duration, request_timeout: Duration) -> Option<Self> {
        let url = config.url.clone()?;
        let files = TlsFiles { ca_file: config.ca_file.clone(), ..TlsFiles::default() };
        let tls = url.has_tls().then(|| Tls::new("kafka.sasl.token_endpoint_ca_file", files));
        Some(Self { config: config.clone(), url, tls, connect_timeout, request_timeout })
    }

    /// The URL, for people.
    pub(super) fn shown(&self) -> &str {
        self.url.shown()
    }

    /// Asks for a token.
    pub(super) async fn ask(&self) -> Result<Granted, Refused> {
        let secret = self.config.secret().map_err(Refused::lasting)?;
        let credentials = Credentials::new(self.config.client_id.as_deref().unwrap_or_default(), &secret);
        let request = self.request(&credentials)?;
        let connected = timeout(self.connect_timeout, self.connect()).await;
        let stream = connected.unwrap_or_else(|_| Err(late("takes no connection", self.connect_timeout)))?;
        let exchanged = timeout(self.request_timeout, exchange(stream, request, LARGEST)).await;
        let exchanged = exchanged.map_err(|_| late("gives no answer", self.request_timeout))?;
        let answer = exchanged.map_err(|error| cut_short(&*error))?;
        let Credentials { encoded, basic } = credentials;
        answer::read(answer.status(), answer.headers(), answer.body(), SystemTime::now(), &[secret, encoded, basic])
    }

    fn request(&self, credentials: &Credentials) -> Result<Request<Full<Bytes>>, Refused> {
        let unfit = |error: hyper::http::Error| Refused::lasting(format!("can't be asked: {error}"));
        let basic = HeaderValue::try_from(format!("Basic {}", credentials.basic.expose()));
        let mut basic = basic.map_err(|error| unfit(error.into()))?;
        basic.set_sensitive(true);
        let mut form = "grant_type=client_credentials".to_owned();
        for (name, value) in [("&scope=", &self.config.scope), ("&audience=", &self.config.audience)] {
            if let Some(value) = value {
                form.push_str(name);
                form.push_str(&form_encoded(value));
            }
        }
        Request::post(self.url.target())
            .header(HOST, self.url.authority())
            .header(AUTHORIZATION, basic)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("login-pipeline/", env!("CARGO_PKG_VERSION")))
            .header(CONNECTION, "close")
            .body(Full::new(form.into()))
            .map_err(unfit)
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, Refused> {
        let unreached = |error: io::Error| Refused::passing(format!("can't be reached: {error}"));
        let connected = dial::connect(self.url.host(), self.url.port(), self.connect_timeout).await;
        let stream = connected.map_err(unreached)?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let settings = tls.current().map_err(|cause| match cause {
            Cause::Tls(why) => Refused::lasting(why.to_string()),
            cause => Refused::lasting(cause.to_string()),
        })?;
        let name = ServerName::try_from(self.url.host().to_owned()).map_err(|_| {
            Refused::lasting("has a host that no certificate can name: check kafka.sasl.token_endpoint_url")
        })?;
        match TlsConnector::from(settings).connect(name, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(said(&error).unwrap_or_else(|| unreached(error))),
        }
    }
}

fn late(what: &str, after: Duration) -> Refused {
    Refused::passing(format!("{what} within {}", humantime::format_duration(after)))
}

/// What TLS says, where it does.
fn said(error: &io::Error) -> Option<Refused> {
    TOKEN_ENDPOINT.said(error).map(Refused::lasting)
}

fn cut_short(error: &(dyn StdError + Send + Sync + 'static)) -> Refused {
    match error.downcast_ref::<hyper::Error>() {
        Some(error) => broken(error),
        None if error.is::<LengthLimitError>() => too_large(),
        None => Refused::passing(format!("breaks off: {error}")),
    }
}

fn too_large() -> Refused {
    Refused::lasting(format!(
        "answers with more than {} KiB, which no token has: check kafka.sasl.token_endpoint_url",
        LARGEST / 1024
    ))
}

fn broken(error: &hyper::Error) -> Refused {
    if error.is_parse_too_large() {
        return too_large();
    }
    if error.is_parse() {
        return Refused::lasting("speaks no HTTP/1.1 on this port: check kafka.sasl.token_endpoint_url");
    }
    let within = StdError::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    let why = within.map_or_else(|| error.to_string(), |within| format!("{error}: {within}"));
    within.and_then(said).unwrap_or_else(|| Refused::passing(format!("breaks off: {why}")))
}

/// A client's id and secret as HTTP Basic has them (RFC 6749, 2.3.1).
struct Credentials {
    /// The secret as it stands in a form.
    encoded: Secret,
    /// Both, in base64.
    basic: Secret,
}

impl Credentials {
    fn new(id: &str, secret: &Secret) -> Self {
        let encoded = form_encoded(secret.expose());
        let basic = STANDARD.encode(format!("{}:{encoded}", form_encoded(id)));
        Self { encoded: Secret::new(encoded), basic: Secret::new(basic) }
    }
}

/// `text` in `application/x-www-form-urlencoded`. What RFC 3986 calls unreserved stays as it is: that is the
/// same for an endpoint that decodes credentials, as it should, and for one that does not.
fn form_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            b' ' => encoded.push('+'),
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_encoded_as_a_form_and_then_in_base64() {
        for (id, secret, expected) in [
            ("s6BhdRkqt3", "7Fjfp0ZBr1KtDRbnfVdmIw", "s6BhdRkqt3:7Fjfp0ZBr1KtDRbnfVdmIw"),
            ("a:b", "p q+%", "a%3Ab:p+q%2B%25"),
            ("pipeline", "~x8Q_-.", "pipeline:~x8Q_-."),
            ("ü", "€", "%C3%BC:%E2%82%AC"),
        ] {
            let Credentials { basic, .. } = Credentials::new(id, &Secret::new(secret));
            assert_eq!(STANDARD.decode(basic.expose()).unwrap(), expected.as_bytes());
        }
    }
}
