//! One connection to one broker: requests go out as they come, answers are matched by their
//! correlation id, and every request has a deadline.
//!
//! ```text
//! open: TCP ─► TLS ─► ApiVersions ─► SASL ─► requests … ─► replaced before the SASL session ends
//! ```
//! A broker may end a SASL session: it closes a connection that asks for more after that. A session
//! could be renewed on the same connection (KIP-368), but then nothing else may be on its way, and
//! this connection carries the requests of many tasks. So none is renewed: a while before the end
//! one of the tasks opens another connection, the others change over when it is there, and the
//! answers that are still to come arrive here. No request is lost, and only one waits.

mod open;

use std::collections::HashMap;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader};
use kafka_protocol::protocol::{Encodable, Request, StrBytes};
use tokio::sync::{Mutex, MutexGuard, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::warn;

use super::buf_chain::BufChain;
use super::frames::{FrameError, Frames};
use super::idle::LastUse;
use super::outbound::{Body, Outbound, Permitted, Unconditional};
use super::security::Security;
use super::transport::WriteHalf;
use super::versions::{Api, Offered, TransactionVersion};
use super::{response_schema, throttle, tls};
use crate::Permit;
use crate::admission::Admission;
use crate::{Cause, Error};
use crate::{Meter, TlsError};

/// The share of a SASL session, in percent, after which the next connection is opened, as Kafka's
/// own clients do ...
const SESSION_USED: u32 = 85;
/// ... and after which this one takes no further request, whether the next is there or not.
const SESSION_OVER: u32 = 95;

/// What it means that a broker, whose settings are known to be right, closes a connection at once.
pub const NO_MORE_CONNECTIONS: &str = "the broker closed the connection before any answer: it ends, or allows no more from here: raise its \
     max.connections.per.ip (or max.connections)";
/// The most buffers of a request that are handed to the system at once.
const MOST_SLICES: usize = 64;

/// An open connection. Dropping it closes it; requests that wait then fail.
#[derive(Debug)]
pub struct Connection {
    address: String,
    peer: SocketAddr,
    client_id: StrBytes,
    writer: Mutex<Box<dyn WriteHalf>>,
    waiting: Arc<Waiting>,
    next_id: AtomicI32,
    /// The APIs that this client speaks.
    apis: &'static [Api],
    offered: Offered,
    request_timeout: Duration,
    max_idle: Duration,
    /// A broker that throttles leaves us unread until then; asking sooner would look like silence.
    throttled_until: std::sync::Mutex<Option<Instant>>,
    meter: Arc<dyn Meter>,
    told_of_trailing: AtomicBool,
    /// The SASL session, where the broker ends it.
    session: Option<Session>,
    /// What its answers wait for, where they are large.
    admission: Option<Arc<Admission>>,
    reader: JoinHandle<()>,
}

#[derive(Debug)]
struct Session {
    used_at: Instant,
    over_at: Instant,
    /// Whether a task has been told to open the next connection.
    succession: AtomicBool,
}

impl Session {
    fn new(begun: Instant, lifetime: Duration) -> Self {
        let after = |percent| begun + lifetime * percent / 100;
        Self { used_at: after(SESSION_USED), over_at: after(SESSION_OVER), succession: AtomicBool::new(false) }
    }

    /// False for all when it is as good as over, and for one caller a while before.
    fn takes_request(&self, now: Instant) -> bool {
        now < self.used_at || (now < self.over_at && self.succession.swap(true, Ordering::AcqRel))
    }
}

type Answer = Result<Bytes, Cause>;

/// The requests whose answers are still to come.
#[derive(Debug)]
struct Waiting {
    requests: std::sync::Mutex<HashMap<i32, oneshot::Sender<Answer>>>,
    broken: AtomicBool,
    last_use: LastUse,
    /// Whether the broker has ever answered: then what TLS says is of a connection that had worked.
    answered: AtomicBool,
}

impl Connection {
    /// The broker, as `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whom it leads to: one of the addresses that the broker's name has.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Whether it can no longer be used.
    pub fn is_broken(&self) -> bool {
        self.waiting.broken.load(Ordering::Acquire)
    }

    /// Whether the caller's next request is to go here. Where not, the caller opens another: the
    /// connection broke, or was idle for so long that it may be forgotten on the way, or its SASL session
    /// nears its end, which one caller is told in time. Answers that are still to come arrive here all the same.
    pub fn takes_request(&self) -> bool {
        let is_stale = self.is_broken() || self.waiting.last_use.is_longer_ago_than(self.max_idle);
        !is_stale && self.session.as_ref().is_none_or(|session| session.takes_request(Instant::now()))
    }

    /// When another connection should take over, where the broker ends sessions.
    pub fn used_at(&self) -> Option<Instant> {
        self.session.as_ref().map(|session| session.used_at)
    }

    /// Sends a request in the latest version that both sides know and waits for the answer.
    ///
    /// # Errors
    /// [`Cause::Timeout`] and [`Cause::Disconnected`] where the answer was lost: the request may
    /// have had its effect. After either the connection is of no use any more.
    pub async fn request<R: Request>(&self, doing: &'static str, request: &R) -> Result<R::Response, Error> {
        self.request_within(doing, request, self.request_timeout).await
    }

    /// The same with a deadline of its own, for a request that the broker holds back by design.
    ///
    /// # Errors
    /// As [`Connection::request`].
    pub async fn request_within<R: Request>(
        &self,
        doing: &'static str,
        request: &R,
        deadline: Duration,
    ) -> Result<R::Response, Error> {
        let version = self.version(R::KEY).map_err(|cause| self.error(doing, cause))?;
        self.request_in(doing, request, version, deadline).await
    }

    /// As [`Connection::request`], in the version that such a transaction asks for. Nothing is sent once
    /// `permit` does not hold, which is looked at last.
    ///
    /// # Errors
    /// As [`Connection::request`], and [`Cause::NotHeld`].
    pub(super) async fn request_in_transaction<R: Request>(
        &self,
        doing: &'static str,
        request: &R,
        transaction: TransactionVersion,
        permit: &dyn Permit,
    ) -> Result<R::Response, Error> {
        let version = self.api(R::KEY).and_then(|api| self.offered.within(transaction, api));
        let version = version.map_err(|cause| self.error(doing, cause))?;
        let body = Body::of(request, version);
        let body = body.map_err(|error| self.error(doing, Cause::Undecodable(error.to_string())))?;
        let mut outbound = Permitted::new(body, permit);
        self.request_outbound::<R>(doing, &mut outbound, self.request_timeout).await
    }

    /// As [`Connection::request`], with a request that is built when it may be written.
    ///
    /// # Errors
    /// As [`Connection::request`], and what the request says instead of a body.
    pub(super) async fn request_outbound<R: Request>(
        &self,
        doing: &'static str,
        outbound: &mut dyn Outbound,
        deadline: Duration,
    ) -> Result<R::Response, Error> {
        let api = self.api(R::KEY).map_err(|cause| self.error(doing, cause))?;
        let (answer, version) = self.carry(doing, outbound, api, deadline).await?;
        let decoded = response_schema::decode::<R>(api, version, &answer);
        let (response, trailing) = decoded.map_err(|error| self.error(doing, Cause::Undecodable(error.to_string())))?;
        if trailing > 0 {
            self.ignore_trailing(R::KEY, version, trailing);
        }
        Ok(response)
    }

    /// Says once that this broker sends more than it should.
    fn ignore_trailing(&self, api_key: i16, version: i16, bytes: usize) {
        if !self.told_of_trailing.swap(true, Ordering::Relaxed) {
            let broker = self.address();
            warn!(broker, api_key, version, bytes, "an answer goes on behind its last field: the rest is ignored");
        }
    }

    /// The deadline of a request that the broker does not hold back.
    pub(super) fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    /// Holds back requests for so many milliseconds, as the answer asked, a minute at most.
    pub(super) fn throttle_ms(&self, pause: i32) {
        let Ok(pause @ 1..) = u64::try_from(pause) else { return };
        let pause = Duration::from_millis(pause);
        let mut throttled_until = self.throttled_until.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (now, before) = (Instant::now(), *throttled_until);
        let until = throttle::until(now, before, pause, &self.address);
        self.meter.throttled(until.saturating_duration_since(before.unwrap_or(now).max(now)));
        *throttled_until = Some(until);
    }

    /// Whether the broker has asked for a pause that is not over.
    pub(super) fn is_throttled(&self) -> bool {
        self.throttled_until().is_some_and(|until| until > Instant::now())
    }

    fn throttled_until(&self) -> Option<Instant> {
        *self.throttled_until.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The latest version of a request that both sides know.
    ///
    /// # Errors
    /// [`Cause::Unsupported`] where there is none.
    pub fn version(&self, api_key: i16) -> Result<i16, Cause> {
        self.api(api_key).and_then(|api| self.offered.latest(api))
    }

    fn api(&self, key: i16) -> Result<&'static Api, Cause> {
        self.apis.iter().find(|api| api.key == key).ok_or_else(|| Cause::Unsupported(Api::name(key)))
    }

    /// Whether the broker takes this version of a request.
    pub fn offers(&self, api_key: i16, version: i16) -> bool {
        self.offered.has(api_key, version)
    }

    /// The versions of requests, and the cluster's features, that the broker told of.
    pub(super) fn offered(&self) -> &Offered {
        &self.offered
    }

    pub(super) async fn request_in<R: Request>(
        &self,
        doing: &'static str,
        request: &R,
        version: i16,
        deadline: Duration,
    ) -> Result<R::Response, Error> {
        let body = Body::of(request, version);
        let body = body.map_err(|error| self.error(doing, Cause::Undecodable(error.to_string())))?;
        self.request_outbound::<R>(doing, &mut Unconditional::new(body), deadline).await
    }

    /// Sends a request and gives the bytes of its answer and the request's version, whatever the request:
    /// there is one of this, and not one for each type of request.
    async fn carry(
        &self,
        doing: &'static str,
        outbound: &mut dyn Outbound,
        api: &Api,
        deadline: Duration,
    ) -> Result<(Bytes, i16), Error> {
        let (writer, since) = self.turn(deadline).await.map_err(|cause| self.error(doing, cause))?;
        let mut exchange = pin!(self.exchange(writer, outbound, api));
        let mut due = since + deadline;
        loop {
            if let Ok(answer) = timeout_at(due, &mut exchange).await {
                return answer.map_err(|cause| self.error(doing, cause));
            }
            let now = Instant::now();
            let paused_until = self.throttled_until().map_or(since, |until| throttle::at_most(since, until));
            due = if self.admission.as_ref().is_some_and(|admission| admission.waits()) {
                now + deadline // it has come in time, and waits for memory
            } else {
                paused_until + deadline // what is on its way waits, too: a broker that pauses reads nothing (KIP-219)
            };
            if due <= now {
                self.waiting.fail(|| Cause::Disconnected("given up after a request without answer".to_owned()));
                return Err(self.error(doing, Cause::Timeout(deadline)));
            }
        }
    }

    /// The writer, once the broker's pause is over, and since when it was waited for. In this order, and
    /// again where the broker has asked for another pause meanwhile: a request that holds the writer is as
    /// good as sent.
    async fn turn(&self, deadline: Duration) -> Result<(MutexGuard<'_, Box<dyn WriteHalf>>, Instant), Cause> {
        loop {
            if let Some(until) = self.throttled_until() {
                sleep_until(until).await;
            }
            let since = Instant::now();
            let Ok(writer) = timeout(deadline, self.writer.lock()).await else {
                self.waiting.fail(|| Cause::Disconnected("given up while a request was not taken".to_owned()));
                let after = humantime::format_duration(deadline);
                return Err(Cause::Connect(format!("nothing was sent: the connection took no bytes for {after}")));
            };
            if !self.is_throttled() {
                return Ok((writer, since));
            }
        }
    }

    /// A body behind what stands before it: the frame's length, and the request's header.
    fn frame(&self, mut body: BufChain, version: i16, api: &Api, id: i32) -> anyhow::Result<BufChain> {
        let key = ApiKey::try_from(api.key).map_err(|()| anyhow::anyhow!("{} is no API", api.key))?;
        let header_version = key.request_header_version(version);
        let header = RequestHeader::default()
            .with_request_api_key(api.key)
            .with_request_api_version(version)
            .with_correlation_id(id)
            .with_client_id(Some(self.client_id.clone()));
        let size = header.compute_size(header_version)?;
        let mut head = BytesMut::with_capacity(4 + size);
        head.put_i32(i32::try_from(size + body.remaining())?);
        header.encode(&mut head, header_version)?;
        body.push_front(head.freeze());
        Ok(body)
    }

    async fn exchange(
        &self,
        writer: MutexGuard<'_, Box<dyn WriteHalf>>,
        outbound: &mut dyn Outbound,
        api: &Api,
    ) -> Result<(Bytes, i16), Cause> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let answer = self.waiting.expect(id)?;
        let sent = self.send(writer, outbound, api, id).await;
        if sent.is_err() {
            self.waiting.forget(id);
        }
        let version = sent?;
        let answer = answer.await.unwrap_or_else(|_| Err(Cause::Disconnected("closed by the broker".to_owned())));
        answer.map(|answer| (answer, version))
    }

    /// Builds a request and writes it, as far as it may go out.
    async fn send(
        &self,
        mut writer: MutexGuard<'_, Box<dyn WriteHalf>>,
        outbound: &mut dyn Outbound,
        api: &Api,
        id: i32,
    ) -> Result<i16, Cause> {
        let body = outbound.body()?;
        let version = body.version;
        let frame = self.frame(body.bytes, version, api, id);
        let mut frame = frame.map_err(|error| Cause::Undecodable(error.to_string()))?;
        let whole = frame.remaining();
        let unfinished = BreakOnDrop(&self.waiting);
        let written = poll_fn(|context| write(&mut **writer, &mut frame, whole, outbound, context)).await;
        match written.map_err(|error| self.waiting.broken(&error, Standing::Answered))? {
            Progress::Whole => std::mem::forget(unfinished),
            Progress::None => {
                std::mem::forget(unfinished);
                return Err(Cause::NotHeld);
            }
            // What the broker has of it is no request, and never becomes one.
            Progress::Part => return Err(Cause::NotHeld),
        }
        Ok(version)
    }

    pub(super) fn error(&self, doing: &'static str, cause: Cause) -> Error {
        Error { doing, on: self.address.clone(), cause }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// How much of a request the system took before its permit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    None,
    Part,
    Whole,
}

/// Writes a frame of so many bytes, and looks before each step whether it may go on.
fn write(
    writer: &mut dyn WriteHalf,
    frame: &mut BufChain,
    whole: usize,
    outbound: &mut dyn Outbound,
    context: &mut Context<'_>,
) -> Poll<io::Result<Progress>> {
    let mut writer = Pin::new(writer);
    while frame.has_remaining() {
        if !outbound.may_go_on() {
            let untouched = frame.remaining() == whole;
            return Poll::Ready(Ok(if untouched { Progress::None } else { Progress::Part }));
        }
        let mut slices = [IoSlice::new(&[]); MOST_SLICES];
        let count = frame.chunks_vectored(&mut slices);
        let written = ready!(writer.as_mut().poll_write_vectored(context, &slices[..count]))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        frame.advance(written);
    }
    writer.poll_flush(context).map_ok(|()| Progress::Whole)
}

/// Breaks the connection where a request is given up half written: what follows would be garbage.
struct BreakOnDrop<'a>(&'a Waiting);

impl Drop for BreakOnDrop<'_> {
    fn drop(&mut self) {
        self.0.fail(|| Cause::Disconnected("a request was cut short".to_owned()));
    }
}

impl Waiting {
    fn new() -> Self {
        Self {
            requests: std::sync::Mutex::default(),
            broken: AtomicBool::new(false),
            last_use: LastUse::now(),
            answered: AtomicBool::new(false),
        }
    }

    fn expect(&self, id: i32) -> Result<oneshot::Receiver<Answer>, Cause> {
        let (sender, receiver) = oneshot::channel();
        let mut requests = self.lock();
        if self.broken.load(Ordering::Acquire) {
            return Err(Cause::Connect("the connection was lost before".to_owned()));
        }
        self.last_use.note();
        requests.insert(id, sender);
        Ok(receiver)
    }

    /// Of a request that was not sent.
    fn forget(&self, id: i32) {
        self.lock().remove(&id);
    }

    fn answer(&self, id: i32, frame: Bytes) {
        self.last_use.note();
        self.answered.store(true, Ordering::Release);
        if let Some(waiting) = self.lock().remove(&id) {
            let _ = waiting.send(Ok(frame)); // whoever asked may have stopped waiting
        }
    }

    fn fail(&self, cause: impl Fn() -> Cause) {
        let mut requests = self.lock();
        self.broken.store(true, Ordering::Release);
        for (_, waiting) in requests.drain() {
            let _ = waiting.send(Err(cause())); // whoever asked may have stopped waiting
        }
    }

    /// What an error of the socket means. What TLS says before any answer is of who is trusted, and
    /// lasts. Later it is of bytes on their way, and requests that were sent may have had their effect.
    fn broken(&self, error: &io::Error, standing: Standing) -> Cause {
        match tls::cause(error) {
            Some(Cause::Tls(why)) if self.answered.load(Ordering::Acquire) => {
                Cause::Disconnected(format!("TLS: {why}"))
            }
            Some(refused) => refused,
            None if error.kind() == io::ErrorKind::OutOfMemory => Cause::NoMemory(error.to_string()),
            None => match standing {
                Standing::Unproven => Cause::Unproven(error.to_string()),
                Standing::Unanswered => Cause::Disconnected(format!("{error}; {NO_MORE_CONNECTIONS}")),
                Standing::Answered => Cause::Disconnected(error.to_string()),
            },
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<i32, oneshot::Sender<Answer>>> {
        self.requests.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

async fn read_answers(mut frames: Frames, waiting: Arc<Waiting>, security: Arc<Security>) {
    let is_proven = security.was_let_in();
    for answers in 0_u64.. {
        match frames.next().await {
            Ok(frame) => {
                if answers == 1 {
                    security.let_in(); // the first was of versions, and is anybody's
                }
                let Some(id) = frame.first_chunk().map(|id| i32::from_be_bytes(*id)) else {
                    return waiting
                        .fail(|| Cause::Disconnected("the broker answered nothing in particular".to_owned()));
                };
                waiting.answer(id, frame);
            }
            Err(FrameError::Io(error)) => {
                let standing = Standing::of(answers, is_proven);
                return waiting.fail(|| waiting.broken(&error, standing));
            }
            Err(FrameError::TooLarge { actual }) if answers == 0 && is_tls(actual) => {
                return waiting.fail(|| Cause::Tls(TlsError::Wanted));
            }
            Err(FrameError::TooLarge { actual }) => {
                return waiting.fail(|| Cause::FrameTooLarge { limit: frames.max_bytes(), actual });
            }
        }
    }
}

/// How far a connection had come when it broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// No broker was ever spoken with by these settings.
    Unproven,
    /// This one has answered nothing.
    Unanswered,
    /// It was in use.
    Answered,
}

impl Standing {
    fn of(answers: u64, is_proven: bool) -> Self {
        // The first answer tells of versions, and any broker gives it; then one that wanted TLS, or
        // SASL, or a certificate, closes without a word.
        match answers {
            0 | 1 if !is_proven => Self::Unproven,
            0 => Self::Unanswered,
            _ => Self::Answered,
        }
    }
}

/// Whether the length of a frame is the head of a TLS alert, by which a broker says that it
/// expected TLS: 21, the version's 3 and 0 to 4, and the high byte of a short length.
fn is_tls(length: usize) -> bool {
    matches!(u32::try_from(length).map(u32::to_be_bytes), Ok([21, 3, 0..=4, 0]))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::testing::Revocable;
    use crate::{Options, Tls, TlsFiles};

    /// A broker that answers the first bytes with these, and closes.
    async fn answered(bytes: &'static [u8], security: Security) -> Error {
        let security = Arc::new(security);
        answered_to(bytes, &Options { security, ..Options::default() }).await
    }

    async fn answered_to(bytes: &'static [u8], options: &Options) -> Error {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).await.unwrap();
            stream.write_all(bytes).await.unwrap();
        });
        Connection::open(&address, options).await.unwrap_err()
    }

    #[tokio::test]
    async fn a_port_for_tls_is_told_by_its_alert() {
        // Fatal, unexpected message: as Kafka answers what is no TLS.
        let error = answered(&[21, 3, 3, 0, 2, 2, 10], Security::default()).await;
        assert!(matches!(&error.cause, Cause::Tls(TlsError::Wanted)), "{error}");
    }

    #[tokio::test]
    async fn a_port_that_closes_at_once_hints_at_the_protocol() {
        let error = answered(&[], Security::default()).await;
        assert!(matches!(error.cause, Cause::Unproven(_)), "{error}");
        assert_eq!(error.class(), crate::ErrorClass::Ambiguous);
    }

    #[tokio::test]
    async fn settings_that_a_broker_has_taken_before_are_not_doubted() {
        let options = Options::default();
        options.security.let_in();
        let error = answered_to(&[], &options).await;
        assert!(!matches!(error.cause, Cause::Unproven(_)), "{error}");
        assert!(error.to_string().contains("max.connections.per.ip"), "it was closed at once: {error}");
        assert_eq!(error.class(), crate::ErrorClass::Ambiguous);
    }

    #[tokio::test]
    async fn a_port_without_tls_is_told_in_the_handshake() {
        let tls = || Security::new(Some(Tls::new("tls", TlsFiles::default())), None);
        let error = answered(&[], tls()).await;
        assert!(matches!(&error.cause, Cause::Handshake { is_proven: false, .. }), "{error}");
        let error = answered(&[0, 0, 0, 8, 0, 0, 0, 0, 0, 35, 0, 0], tls()).await;
        assert!(matches!(&error.cause, Cause::Tls(TlsError::Refused(rustls::Error::InvalidMessage(_)))), "{error}");
    }

    #[test]
    fn one_task_opens_the_next_connection_and_the_others_go_on() {
        let begun = Instant::now();
        let session = Session::new(begun, Duration::from_secs(100));
        let takes = |seconds| session.takes_request(begun + Duration::from_secs(seconds));
        assert!(takes(0) && takes(84));
        assert!(!takes(86));
        assert!(takes(86) && takes(94));
        assert!(!takes(95) && !takes(200));
    }

    /// What TLS says of a connection that has worked is no refusal: what was sent may have had its effect, and a
    /// transaction of version 1 has another id after it.
    #[test]
    fn a_tls_error_after_an_answer_leaves_doubt() {
        let error = || io::Error::new(io::ErrorKind::InvalidData, rustls::Error::DecryptError);
        let waiting = Waiting::new();
        assert!(matches!(waiting.broken(&error(), Standing::Answered), Cause::Tls(_)), "nobody was let in yet");
        waiting.answer(7, Bytes::new());
        let cause = waiting.broken(&error(), Standing::Answered);
        let error = Error { doing: "end the transaction of", on: "id".to_owned(), cause };
        assert!(error.leaves_doubt() && error.to_string().contains("TLS"), "{error}");
    }

    /// Large enough to fill the buffers of both sides.
    const LARGE: usize = 64 * 1024 * 1024;

    /// A request of so many bytes.
    fn request(bytes: usize, permit: &dyn Permit) -> Permitted<'_> {
        let mut chain = BufChain::default();
        chain.push(Bytes::from(vec![7; bytes]));
        Permitted::new(Body { bytes: chain, version: 0 }, permit)
    }

    /// A connection to a broker that has told its versions, and reads no more until it is told to. Then it counts
    /// the bytes.
    async fn stalled() -> (Connection, oneshot::Sender<()>, JoinHandle<usize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (go, going) = oneshot::channel::<()>();
        let counting = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = vec![0; 1 << 16];
            let _ = stream.read(&mut buffer).await.unwrap();
            let mut told = BytesMut::new();
            told.put_i32(0);
            kafka_protocol::messages::ApiVersionsResponse::default().encode(&mut told, 3).unwrap();
            let size = u32::try_from(told.len()).unwrap().to_be_bytes();
            stream.write_all(&[&size, &told[..]].concat()).await.unwrap();
            going.await.unwrap();
            let mut bytes = 0;
            loop {
                match stream.read(&mut buffer).await {
                    Ok(0) | Err(_) => return bytes,
                    Ok(read) => bytes += read,
                }
            }
        });
        let connection = Connection::open(&address, &Options::default()).await.unwrap();
        (connection, go, counting)
    }

    async fn ask(connection: &Connection, bytes: usize, permit: &dyn Permit) -> Result<Bytes, Error> {
        let api = crate::api::produce::API;
        let answer = connection.carry("ask", &mut request(bytes, permit), &api, Duration::from_secs(60)).await;
        answer.map(|(answer, _)| answer)
    }

    #[tokio::test]
    async fn a_request_that_waits_behind_another_is_looked_at_again() {
        let (connection, go, counting) = stalled().await;
        let (held, lost) = (Revocable::default(), Revocable::default());
        let first = ask(&connection, LARGE, &held);
        let second = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let waiting = ask(&connection, 1_000, &lost);
            let ends = async {
                tokio::time::sleep(Duration::from_millis(200)).await;
                lost.revoke();
                go.send(()).unwrap();
            };
            tokio::join!(waiting, ends).0
        };
        tokio::select! {
            answer = first => panic!("nobody answers: {answer:?}"),
            refused = second => assert!(matches!(refused, Err(Error { cause: Cause::NotHeld, .. })), "{refused:?}"),
        }
        assert!(!connection.is_broken(), "nothing of it was sent");
        drop(connection);
        assert_eq!(counting.await.unwrap() / LARGE, 1, "the first, and nothing of the second");
    }

    #[tokio::test]
    async fn a_request_is_cut_short_where_its_permit_ends_on_the_way() {
        let (connection, go, counting) = stalled().await;
        let permit = Revocable::default();
        let ends = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            permit.revoke();
            go.send(()).unwrap();
        };
        let (refused, ()) = tokio::join!(ask(&connection, LARGE, &permit), ends);
        assert!(matches!(refused, Err(Error { cause: Cause::NotHeld, .. })), "{refused:?}");
        assert!(connection.is_broken(), "what follows would be taken for the rest of it");
        drop(connection);
        assert!(counting.await.unwrap() < LARGE, "a part of a request is none");
    }

    #[test]
    fn only_the_head_of_an_alert_is_taken_for_one() {
        assert!(is_tls(0x1503_0300) && is_tls(0x1503_0100));
        assert!(!is_tls(0x1603_0300) && !is_tls(0x1503_0303) && !is_tls(0x1500_0000) && !is_tls(400));
    }
}
