//! The admin port: a small HTTP/1.1 server for probes, Prometheus and people.
//!
//! It serves whoever reaches it, so it holds little for anyone: few connections, small heads, no
//! request bodies but for a line from who bears the token, and a deadline on everything a client can
//! be slow with.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
    VARY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use kafka_client::plain::{Keep, visible};
use ring::digest::{SHA256, digest};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admin_auth::{self, Client, NotAdmitted};
use super::admin_tls::Acceptor;
use super::connection_slots::{ConnectionSlot, ConnectionSlots};
use super::refusal::Refusal;
use super::sse::EventFeed;
use super::{Format, Observe, Reason, host, log_level, page, process};
use crate::audit;
use crate::config::Admin;
use crate::http_client::Stream;

/// The largest request head: the least that hyper allows as a buffer.
const MAX_HEAD_BYTES: usize = 8 * 1024;

/// The most header lines of a request.
const MAX_HEADERS: usize = 64;

/// How many connections may wait to be accepted; the kernel may allow fewer. One more would be tried
/// again by its client's kernel a second later, which is as long as a probe waits.
const BACKLOG: u32 = 4_096;

/// How long accepting rests after it failed for want of resources.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const STYLE: HeaderValue = HeaderValue::from_static("text/css; charset=utf-8");
const SCRIPT: HeaderValue = HeaderValue::from_static("text/javascript; charset=utf-8");
const ICON: HeaderValue = HeaderValue::from_static("image/svg+xml");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");

const INDEX: &str = "login-pipeline\n\n\
                     /livez      whether the process is worth keeping\n\
                     /readyz     whether it does its work\n\
                     /metrics    numbers for Prometheus\n\
                     /status     partitions, counts and configuration, in JSON\n\
                     /events     what a browser shows at /, as server-sent events\n\
                     /resume     POST, with the token of admin.token_file: goes on with paused partitions\n\
                     /log-level  what the log lets through; PUT, with that token, for another level\n";

/// What a connection gets that finds every slot kept, before it is closed.
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// What a client gets that speaks HTTP where HTTPS is spoken.
const SPEAKS_TLS: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain; charset=utf-8\r\n\
                            content-length: 41\r\n\r\nthis port speaks TLS: ask it by https://\n";

/// The first byte of a TLS handshake.
const HANDSHAKE: u8 = 22;

/// The admin server's socket, bound and not yet served.
#[derive(Debug)]
pub struct AdminServer {
    listener: TcpListener,
    address: SocketAddr,
    limits: Limits,
    admin: Arc<Admin>,
    tls: Option<Acceptor>,
}

/// Limits on what one client, or all of them, may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time that have not said anything yet. They take next to nothing; one more takes
    /// the slot of the one that came first. A quarter of the files that the process may open at most.
    pub silent: usize,
    /// Connections at a time that have. One more takes the slot of the one that has asked nothing for
    /// longest, or is closed with a 503 where all of them are streams.
    pub connections: usize,
    /// How long a client may take over a request's head, and how long a kept-alive connection may
    /// be idle before the next.
    pub head: Duration,
    /// How long a connection may serve requests. Then it finishes the one at hand and is closed.
    pub age: Duration,
    /// How long that last request may take, when stopping too. A client that does not read its
    /// answer is cut off then.
    pub closing: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            silent: 1_024,
            connections: 256,
            head: Duration::from_secs(5),
            age: Duration::from_secs(60),
            closing: Duration::from_secs(5),
        }
    }
}

/// The admin server can't listen.
#[derive(Debug, thiserror::Error)]
#[error("admin.listen: can't listen on {address}: {source}")]
pub struct BindError {
    /// Where.
    pub address: SocketAddr,
    /// Why not.
    pub source: io::Error,
}

impl AdminServer {
    /// Binds the port. Port 0 takes a free one, which [`AdminServer::local_addr`] tells.
    ///
    /// # Errors
    /// [`BindError`] where the address is taken, not this host's, or not allowed, or a file of `admin.tls` can't be used.
    pub async fn bind(admin: &Admin) -> Result<Self, BindError> {
        let address = admin.listen;
        let at = |source| BindError { address, source };
        let listener = listen(address).map_err(at)?;
        let address = listener.local_addr().map_err(at)?;
        let tls = Acceptor::new(&admin.tls).map_err(|why| at(io::Error::other(why)))?;
        Ok(Self { listener, address, limits: Limits::default(), admin: Arc::new(admin.clone()), tls })
    }

    /// Takes other limits than the default ones.
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The address that is listened on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` is cancelled, then finishes the requests at hand and returns.
    pub async fn serve(self, observe: Observe, shutdown: CancellationToken) {
        let files = process::most_files().map_or(usize::MAX, |most| usize::try_from(most / 4).unwrap_or(usize::MAX));
        let silent = ConnectionSlots::new(self.limits.silent.min(files));
        let slots = ConnectionSlots::new(self.limits.connections);
        let connections = TaskTracker::new();
        let live = EventFeed::new(observe.clone());
        let tls = self.tls.map(|tls| Arc::new(tls.told_by(&observe.health)));
        let is_loopback = self.address.ip().to_canonical().is_loopback();
        let feeding = (Arc::clone(&live), shutdown.clone());
        connections.spawn(async move { feeding.0.run(feeding.1).await }.boxed());
        while let Some(accepted) = shutdown.run_until_cancelled(self.listener.accept()).await {
            match accepted {
                Ok((stream, address)) => {
                    let tls = tls.clone();
                    let Some(waiting) = silent.take().await else {
                        refuse(stream, tls.is_some());
                        continue;
                    };
                    let (observe, shutdown) = (observe.clone(), shutdown.clone());
                    let (admin, live) = (Arc::clone(&self.admin), Arc::clone(&live));
                    let (slots, limits) = (slots.clone(), self.limits);
                    connections.spawn(
                        async move {
                            let Some(first) = speaks(&stream, &waiting, limits.head, &shutdown).await else { return };
                            let Some(slot) = slots.take().await else { return refuse(stream, tls.is_some()) };
                            drop(waiting);
                            let client = Client { address, certificate: None };
                            if tls.is_some() && first != HANDSHAKE {
                                observe.metrics.admin_refused(Refusal::Tls);
                                tracing::warn!(by = %client, "admin request refused: it came without TLS, which this port speaks");
                                return say(stream, SPEAKS_TLS, "a client of the admin port speaks no TLS");
                            }
                            let ends = Instant::now() + limits.age;
                            let served =
                                Served { observe, admin, live, slot, ends, shutdown, tls, client, is_loopback };
                            // Boxed: who is silent is not to hold the room for it.
                            Box::pin(converse(stream, served, limits)).await;
                        }
                        .boxed(),
                    );
                }
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "the admin port can't accept a connection");
                    let _ = shutdown.run_until_cancelled(sleep(ACCEPT_PAUSE)).await;
                }
            }
        }
        drop(self.listener);
        connections.close();
        connections.wait().await;
    }
}

/// As `TcpListener::bind` does it, but for the backlog.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Whether an accept failed because the client is gone already.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// Turns a connection away; without a word where that would take a TLS handshake.
fn refuse(stream: TcpStream, has_tls: bool) {
    say(stream, if has_tls { b"" } else { REFUSAL }, "too many connections to the admin port");
}

/// As much of an answer as fits into the socket's empty buffer, which is all of it. tokio does not
/// know yet that the socket is writable and would put a write off.
fn say(stream: TcpStream, answer: &[u8], why: &'static str) {
    let written = stream.into_std().and_then(|mut stream| stream.write(answer));
    tracing::debug!(error = written.err().map(tracing::field::display), "{why}");
}

/// What is served to one connection.
struct Served {
    observe: Observe,
    admin: Arc<Admin>,
    live: Arc<EventFeed>,
    slot: ConnectionSlot,
    /// When its age is up.
    ends: Instant,
    shutdown: CancellationToken,
    tls: Option<Arc<Acceptor>>,
    client: Client,
    /// Whether the port is on loopback.
    is_loopback: bool,
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The first byte that a client says in time, and before its slot is another's. Until then nothing is set up
/// for it: a thousand that are silent cost their sockets.
async fn speaks(
    stream: &TcpStream,
    waiting: &ConnectionSlot,
    patience: Duration,
    shutdown: &CancellationToken,
) -> Option<u8> {
    let (lost, mut first) = (waiting.lost(), [0]);
    tokio::select! {
        said = timeout(patience, stream.peek(&mut first)) => matches!(said, Ok(Ok(1..))).then_some(first[0]),
        () = lost.cancelled() => None,
        () = shutdown.cancelled() => None,
    }
}

/// Serves one connection, and holds its slot for as long, or until that is another's.
async fn converse(stream: TcpStream, served: Served, limits: Limits) {
    let lost = served.slot.lost();
    if lost.run_until_cancelled(talk(stream, served, limits)).await.is_none() {
        tracing::debug!("a connection to the admin port gave its slot to another");
    }
}

/// The connection as requests come over it, once its client has shown what it must; `None` where it did not.
async fn secured(stream: TcpStream, served: &mut Served, patience: Duration) -> Option<Box<dyn Stream>> {
    let Some(tls) = served.tls.clone() else { return Some(Box::new(stream)) };
    let shutdown = served.shutdown.clone();
    let accepted = shutdown.run_until_cancelled(timeout(patience, tls.accept(stream))).await?;
    match accepted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(stream) => {
            let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            served.client.certificate = shown.map(|certificate| hex(digest(&SHA256, certificate).as_ref()));
            Some(Box::new(stream))
        }
        Err(error) => {
            served.observe.metrics.admin_refused(Refusal::Tls);
            tracing::warn!(by = %served.client, %error, "TLS handshake at the admin port failed");
            None
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}"); // writing to a String does not fail
        hex
    })
}

async fn talk(stream: TcpStream, mut served: Served, limits: Limits) {
    let Some(stream) = secured(stream, &mut served, limits.head).await else { return };
    let (ends, shutdown) = (served.ends, served.shutdown.clone());
    let service = service_fn(|request| {
        served.slot.asks(Instant::now(), false);
        async { Ok::<_, Infallible>(answer(&served, request, limits.head).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_header_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = shutdown.cancelled() => None,
        () = sleep_until(ends) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            timeout(limits.closing, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the admin port broke");
    }
}

/// The answer to one request. For HEAD, hyper sends the same head and no body.
async fn answer(served: &Served, request: Request<Incoming>, patience: Duration) -> Response<Body> {
    if served.is_loopback && !host::is_local(&request) {
        let Served { observe, client, .. } = served;
        observe.metrics.admin_refused(Refusal::Host);
        tracing::warn!(by = %client, "admin request refused: it names a host that is not this machine (DNS rebinding?)");
        return Page::error(StatusCode::MISDIRECTED_REQUEST, host::REFUSAL).into_response();
    }
    if (request.uri().path(), request.method()) == ("/log-level", &Method::PUT) {
        let Served { admin, observe, client, .. } = served;
        let (code, told) = log_level::put(admin, &observe.metrics, client, request, patience).await;
        return Page { code, ..Page::made(TEXT, told) }.into_response();
    }
    look(served, &request)
}

/// What needs no request's body.
fn look<B>(served: &Served, request: &Request<B>) -> Response<Body> {
    let page: fn(&Served) -> Page = match request.uri().path() {
        "/" if wants_html(request) => |served| Page::ok(HTML, served.live.page()),
        "/" => |_| Page::ok(TEXT, INDEX),
        "/page.css" => |_| Page::ok(STYLE, page::STYLE),
        "/page.js" => |_| Page::ok(SCRIPT, page::SCRIPT),
        "/icon.svg" => |_| Page::ok(ICON, page::ICON),
        "/livez" => |served| Page::verdict("live\n", served.observe.health.is_live()),
        "/readyz" => |served| Page::verdict("ready\n", served.observe.health.is_ready()),
        "/metrics" => match Format::accepted(accepted(request)) {
            Format::Text => |served| Page::metrics(&served.observe, Format::Text),
            Format::OpenMetrics => |served| Page::metrics(&served.observe, Format::OpenMetrics),
        },
        "/status" => |served| Page::status(&served.observe),
        "/events" if request.method() == Method::GET => return events(served),
        "/events" => |_| Page::ok(EVENTS, ""),
        "/log-level" if request.method() != Method::GET && request.method() != Method::HEAD => {
            return other_method("GET, HEAD, PUT");
        }
        "/log-level" => |_| Page::made(TEXT, log_level::get()),
        "/resume" => return resume(served, request),
        _ => return Page::error(StatusCode::NOT_FOUND, "not found\n").into_response(),
    };
    match *request.method() {
        Method::GET | Method::HEAD => page(served).into_response(),
        _ => other_method("GET, HEAD"),
    }
}

/// Whether this is a browser: others say that they take anything, or nothing of it.
fn wants_html<B>(request: &Request<B>) -> bool {
    accepted(request).flat_map(|accept| accept.split(',')).any(|range| {
        let kind = range.split(';').next().unwrap_or_default();
        kind.trim().eq_ignore_ascii_case("text/html")
    })
}

/// The values of a request's `Accept`.
fn accepted<B>(request: &Request<B>) -> impl Iterator<Item = &str> {
    request.headers().get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok())
}

/// The page's stream. It ends with its connection's age, and the browser opens another.
fn events(Served { live, slot, ends, shutdown, .. }: &Served) -> Response<Body> {
    match live.watch(*ends, shutdown) {
        Some(frames) => {
            slot.asks(Instant::now(), true);
            respond(StatusCode::OK, EVENTS, StreamBody::new(frames).boxed_unsync())
        }
        None => Page::error(StatusCode::SERVICE_UNAVAILABLE, "enough are watching already\n").into_response(),
    }
}

fn other_method(allowed: &'static str) -> Response<Body> {
    let mut response = Page::error(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n").into_response();
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// Resumes what is paused: all of it, or `?partition=N`.
fn resume<B>(Served { observe, admin, client, .. }: &Served, request: &Request<B>) -> Response<Body> {
    const ACTION: &str = "resume";
    if request.method() != Method::POST {
        return other_method("POST");
    }
    let authorization = request.headers().get(AUTHORIZATION);
    if let Err(NotAdmitted { code, why }) = admin_auth::admit(admin, authorization, &observe.metrics, (client, ACTION))
    {
        return Page::error(code, why).into_response();
    }
    let partition = match request.uri().query().map(|query| query.strip_prefix("partition=").map(str::parse)) {
        None => None,
        Some(Some(Ok(partition))) => Some(partition),
        Some(_) => return Page::error(StatusCode::BAD_REQUEST, "wants ?partition=N, or nothing\n").into_response(),
    };
    let resumed = observe.paused.resume(partition);
    let what = partition.map_or_else(|| "all partitions".to_owned(), |partition: i32| format!("partition {partition}"));
    audit::note(ACTION, client, &what, &format!("resumed: {resumed:?}"));
    tracing::info!(partitions = ?resumed, "partitions resumed, as the admin port was asked to");
    match &resumed[..] {
        [] => Page::error(StatusCode::CONFLICT, "nothing of that is paused\n").into_response(),
        _ => Page::made(TEXT, format!("resumed: {resumed:?}\n")).into_response(),
    }
}

struct Page {
    code: StatusCode,
    content_type: HeaderValue,
    body: Bytes,
}

impl Page {
    fn ok(content_type: HeaderValue, body: impl Into<Bytes>) -> Self {
        Self { code: StatusCode::OK, content_type, body: body.into() }
    }

    /// What is made of what others wrote: whoever looks at it with curl has a terminal.
    fn made(content_type: HeaderValue, body: impl AsRef<[u8]>) -> Self {
        Self::ok(content_type, visible(body.as_ref(), Keep::Lines).into_owned())
    }

    fn error(code: StatusCode, body: impl AsRef<[u8]>) -> Self {
        Self { code, ..Self::made(TEXT, body) }
    }

    /// 200, or 503 with a reason on each line.
    fn verdict(good: &'static str, verdict: Result<(), Vec<Reason>>) -> Self {
        match verdict {
            Ok(()) => Self::ok(TEXT, good),
            Err(reasons) => {
                let lines: String = reasons.iter().map(|reason| format!("{reason}\n")).collect();
                Self::error(StatusCode::SERVICE_UNAVAILABLE, lines)
            }
        }
    }

    fn metrics(observe: &Observe, format: Format) -> Self {
        Self::made(HeaderValue::from_static(format.content_type()), observe.metrics.encode_as(format))
    }

    fn status(observe: &Observe) -> Self {
        match serde_json::to_vec(&observe.status()) {
            Ok(json) => Self::made(JSON, json),
            Err(error) => {
                tracing::error!(%error, "the status can't be written as JSON");
                Self::error(StatusCode::INTERNAL_SERVER_ERROR, "the status can't be written as JSON\n")
            }
        }
    }

    fn into_response(self) -> Response<Body> {
        respond(self.code, self.content_type, Full::new(self.body).boxed_unsync())
    }
}

/// An answer with what each has in its head.
fn respond(code: StatusCode, content_type: HeaderValue, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(page::POLICY));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(VARY, HeaderValue::from_static("accept"));
    response
}
