//! The exporter's HTTP client: one request a connection, on the program's runtime, within a time and a size.

use std::env;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONNECTION, HOST, HeaderValue};
use hyper::http::uri::Scheme;
use hyper::{Request, Response, Uri};
use kafka_client::{dial, pem};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{OTEL_EXPORTER_OTLP_TIMEOUT, OTEL_EXPORTER_OTLP_TRACES_TIMEOUT};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::http_client::{self, Stream};
use crate::observe::lock::lock;

/// What OpenTelemetry says a request may take, unless it is told otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The largest answer taken: it is empty where all went well.
const LARGEST: usize = 64 * 1024;

/// Sends requests from whichever thread. Clones share the trouble.
#[derive(Debug, Clone)]
pub(super) struct Client {
    runtime: Handle,
    tls: Arc<ClientConfig>,
    timeout: Duration,
    /// Why the last request had no answer.
    trouble: Arc<Mutex<Option<String>>>,
}

impl Client {
    /// Asks nobody yet.
    ///
    /// # Errors
    /// Where a file of certificates is named that is none.
    pub(super) fn new() -> Result<Self, HttpError> {
        let timeout = [OTEL_EXPORTER_OTLP_TRACES_TIMEOUT, OTEL_EXPORTER_OTLP_TIMEOUT]
            .into_iter()
            .find_map(|name| variable(name)?.parse().ok().map(Duration::from_millis));
        let tls = Arc::new(tls()?);
        Ok(Self { runtime: Handle::current(), tls, timeout: timeout.unwrap_or(TIMEOUT), trouble: Arc::default() })
    }

    /// Why the last request had no answer, where it had none.
    pub(super) fn take_trouble(&self) -> Option<String> {
        lock(&self.trouble).take()
    }
}

#[async_trait]
impl HttpClient for Client {
    /// The exporter's thread has no runtime, so that the work is done on the program's.
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (tls, limit) = (Arc::clone(&self.tls), self.timeout);
        let exchanged = self.runtime.spawn(async move {
            let late = |_| Err(format!("no answer within {}", humantime::format_duration(limit)).into());
            timeout(limit, exchange(request, tls)).await.unwrap_or_else(late)
        });
        let answer = exchanged.await.unwrap_or_else(|error| Err(error.into()));
        *lock(&self.trouble) = answer.as_ref().err().map(ToString::to_string);
        answer
    }
}

async fn exchange(request: Request<Bytes>, tls: Arc<ClientConfig>) -> Result<Response<Bytes>, HttpError> {
    let stream = connect(request.uri(), tls).await?;
    http_client::exchange(stream, in_origin_form(request)?, LARGEST).await
}

async fn connect(uri: &Uri, tls: Arc<ClientConfig>) -> Result<Box<dyn Stream>, HttpError> {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let is_https = uri.scheme() == Some(&Scheme::HTTPS);
    let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
    let unreached = |error: io::Error| format!("can't be reached: {error}");
    let stream = dial::connect(&host, port, TIMEOUT).await.map_err(unreached)?;
    if !is_https {
        return Ok(Box::new(stream));
    }
    Ok(Box::new(TlsConnector::from(tls).connect(ServerName::try_from(host)?, stream).await.map_err(unreached)?))
}

/// As a server wants it: the path alone in the first line, and the host, without a password, in a header.
fn in_origin_form(mut request: Request<Bytes>) -> Result<Request<Full<Bytes>>, HttpError> {
    let authority = request.uri().authority().map_or("", |authority| authority.as_str());
    let host = HeaderValue::try_from(authority.rsplit('@').next().unwrap_or_default())?;
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str()).parse()?;
    *request.uri_mut() = target;
    request.headers_mut().insert(HOST, host);
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(request.map(Full::new))
}

/// An environment variable; one that is empty counts as none, as OpenTelemetry has it.
pub(super) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// Trusts whom the environment names, or else whom everybody trusts.
fn tls() -> Result<ClientConfig, HttpError> {
    let named = ["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"];
    let named = named.into_iter().find_map(variable).map(PathBuf::from);
    let ca = named.as_deref().map(|path| pem::read(path).map(|bytes| (path, bytes))).transpose()?;
    Ok(pem::client_config(ca.as_ref().map(|(path, bytes)| (*path, bytes.as_slice())), None)?)
}
