//! Asks an admin port, within a time and for no more than fits.
//!
//! ```text
//! GET /livez, then GET /events up to its first event, or where that is refused GET /status
//! ```
//! Everything on one connection, which is closed then: an instance serves few at a time.

use std::error::Error as _;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::header::{ACCEPT, HOST};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::answer::Answer;
use super::sanitize::{Sanitized, chain};
use super::target::Target;
use crate::http_client::Stream;
use crate::kafka::ADMIN_PORT;

/// The most of a body that is read: some 10,000 partitions.
const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

/// The most of a head that is read.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Why an instance does not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Silence {
    /// Nobody is there.
    #[error("can't connect")]
    Connect(#[source] io::Error),
    /// TLS's word against it.
    #[error("TLS: {0}")]
    Tls(String),
    /// It took too long.
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Late(Duration),
    /// The connection broke, or speaks no HTTP.
    #[error("broken off")]
    Broken(#[from] hyper::Error),
    /// A request can't be made of this name.
    #[error("no host name")]
    Request(#[from] hyper::http::Error),
    /// Something else is there.
    #[error("{path} answers {code}: no admin port of a login-pipeline?")]
    Code {
        /// What was asked.
        path: &'static str,
        /// The answer.
        code: StatusCode,
    },
    /// A body that does not end in time.
    #[error("{0}: the answer is cut short, or longer than 8 MiB")]
    Body(&'static str),
    /// A body that says something else.
    #[error("not what a login-pipeline answers")]
    Garbage(#[from] serde_json::Error),
    /// A stream that says nothing.
    #[error("/events has no event")]
    NoEvent,
}

/// Asks an instance for what it says of itself.
///
/// # Errors
/// Why there is no answer, in words fit for a terminal.
pub(super) async fn read(target: &Target, tls: &Arc<ClientConfig>, patience: Duration) -> Result<Answer, Sanitized> {
    let answer = timeout(patience, ask(target, tls)).await.unwrap_or(Err(Silence::Late(patience)));
    answer.map_err(|silence| chain(&silence))
}

async fn ask(target: &Target, tls: &Arc<ClientConfig>) -> Result<Answer, Silence> {
    let stream = TcpStream::connect(target.socket()).await.map_err(Silence::Connect)?;
    let stream: Box<dyn Stream> = match target.has_tls() {
        false => Box::new(stream),
        true => {
            let name = ServerName::try_from(target.socket().0.to_owned());
            let name = name.map_err(|_| Silence::Tls("no certificate can have this name".to_owned()))?;
            let connected = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
            Box::new(connected.map_err(|error| Silence::of_tls(&error).unwrap_or(Silence::Connect(error)))?)
        }
    };
    let mut builder = Builder::new();
    builder.max_buf_size(MAX_HEAD_BYTES).max_headers(64);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    let mut answer = pin!(exchange(target.to_string(), sender));
    let answer = tokio::select! {
        // First, since it knows more of why it ended.
        biased;
        // Its end is not the answer's, of which a part may not be looked at yet; it fails with it.
        ended = connection => match ended.err().and_then(|error| Silence::within(&error)) {
            Some(silence) => Err(silence),
            None => answer.await,
        },
        answer = &mut answer => answer,
    };
    // A connection that ends with a request on its way gives its error to that.
    answer.map_err(|silence| match &silence {
        Silence::Broken(error) => Silence::within(error).unwrap_or(silence),
        _ => silence,
    })
}

impl Silence {
    fn of_tls(error: &io::Error) -> Option<Self> {
        ADMIN_PORT.said(error).map(Self::Tls)
    }

    /// What TLS says behind an error of HTTP, as where a certificate is missing, which TLS 1.3 says once the handshake
    /// is over.
    fn within(error: &hyper::Error) -> Option<Self> {
        let causes = std::iter::successors(error.source(), |cause| (*cause).source());
        causes.filter_map(|cause| cause.downcast_ref()).find_map(Self::of_tls)
    }
}

async fn exchange(host: String, mut sender: SendRequest<Empty<Bytes>>) -> Result<Answer, Silence> {
    let mut get = async |path: &'static str, accept: &'static str| {
        sender.ready().await?;
        let request = Request::get(path).header(HOST, &host).header(ACCEPT, accept).body(Empty::new())?;
        Ok::<_, Silence>(sender.send_request(request).await?)
    };
    let response = get("/livez", "text/plain").await?;
    let live = match response.status() {
        StatusCode::OK => true,
        StatusCode::SERVICE_UNAVAILABLE => false,
        code => return Err(Silence::Code { path: "/livez", code }),
    };
    whole("/livez", response).await?;
    let events = get("/events", "text/event-stream").await?;
    let json = match events.status() {
        StatusCode::OK => first_event(events).await?,
        // Enough are watching already.
        StatusCode::SERVICE_UNAVAILABLE => {
            whole("/events", events).await?;
            let status = get("/status", "application/json").await?;
            match status.status() {
                StatusCode::OK => whole("/status", status).await?.to_vec(),
                code => return Err(Silence::Code { path: "/status", code }),
            }
        }
        code => return Err(Silence::Code { path: "/events", code }),
    };
    Ok(Answer { live, ..serde_json::from_slice(&json)? })
}

async fn whole(path: &'static str, response: Response<Incoming>) -> Result<Bytes, Silence> {
    let body = Limited::new(response.into_body(), MAX_BODY_BYTES).collect().await;
    Ok(body.map_err(|_| Silence::Body(path))?.to_bytes())
}

/// The data of a stream's first event, which is one line.
async fn first_event(response: Response<Incoming>) -> Result<Vec<u8>, Silence> {
    let mut body = response.into_body();
    let mut text = Vec::new();
    let end = loop {
        let searched = text.len().saturating_sub(1);
        let frame = body.frame().await.ok_or(Silence::Body("/events"))??;
        if let Ok(data) = frame.into_data() {
            text.extend_from_slice(&data);
        }
        if let Some(at) = text.get(searched..).and_then(|new| new.windows(2).position(|pair| pair == b"\n\n")) {
            break searched + at;
        }
        if text.len() > MAX_BODY_BYTES {
            return Err(Silence::Body("/events"));
        }
    };
    text.truncate(end);
    let mut lines = text.split(|byte| *byte == b'\n');
    lines.find_map(|line| line.strip_prefix(b"data: ")).map(<[u8]>::to_vec).ok_or(Silence::NoEvent)
}
