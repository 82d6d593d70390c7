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
mod pending;
mod reader;
mod session;
#[cfg(test)]
mod tests;
mod write;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes};
use kafka_protocol::protocol::{Request, StrBytes};
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::warn;

use crate::admission::Admission;
use crate::lock::lock;
use crate::outbound::{Body, Outbound, Permitted, Unconditional};
use crate::transport::WriteHalf;
use crate::versions::{Api, Offered, TransactionVersion};
use crate::{Cause, Error, Meter, Permit, response_schema, throttle};

pub use pending::NO_MORE_CONNECTIONS;
use pending::{BreakOnDrop, Pending, Standing};
use session::Session;
use write::{Progress, frame, write};

/// An open connection. Dropping it closes it; requests that wait then fail.
#[derive(Debug)]
pub struct Connection {
    address: String,
    peer: SocketAddr,
    client_id: StrBytes,
    writer: Mutex<Box<dyn WriteHalf>>,
    pending: Arc<Pending>,
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

impl Connection {
    /// The broker, as `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The address that it leads to: one of those that the broker's name has.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Returns whether it can no longer be used.
    pub fn is_broken(&self) -> bool {
        self.pending.is_broken()
    }

    /// Returns whether the caller's next request is to go here. Where not, the caller opens another: the
    /// connection broke, or was idle for so long that it may be forgotten on the way, or its SASL session
    /// nears its end, which one caller is told in time. Answers that are still to come arrive here all the same.
    pub fn takes_request(&self) -> bool {
        let is_stale = self.is_broken() || self.pending.last_use.is_longer_ago_than(self.max_idle);
        !is_stale && self.session.as_ref().is_none_or(|session| session.takes_request(Instant::now()))
    }

    /// The time when another connection should take over, where the broker ends sessions.
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

    /// Sends a request as [`Connection::request`] does, with a deadline of its own: the broker holds it back by design.
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

    /// Sends a request as [`Connection::request`] does, in the version that such a transaction asks for. Nothing is sent once
    /// `permit` does not hold, which is looked at last.
    ///
    /// # Errors
    /// As [`Connection::request`], and [`Cause::NotHeld`].
    pub(crate) async fn request_in_transaction<R: Request>(
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

    /// Sends a request as [`Connection::request`] does, which is built when it may be written.
    ///
    /// # Errors
    /// As [`Connection::request`], and what the request says instead of a body.
    pub(crate) async fn request_outbound<R: Request>(
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
    pub(crate) fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    /// Holds back requests for so many milliseconds, as the answer asked, a minute at most.
    pub(crate) fn throttle_ms(&self, pause: i32) {
        let Ok(pause @ 1..) = u64::try_from(pause) else { return };
        let pause = Duration::from_millis(pause);
        let mut throttled_until = lock(&self.throttled_until);
        let (now, before) = (Instant::now(), *throttled_until);
        let until = throttle::until(now, before, pause, &self.address);
        self.meter.throttled(until.saturating_duration_since(before.unwrap_or(now).max(now)));
        *throttled_until = Some(until);
    }

    /// Whether the broker has asked for a pause that is not over.
    pub(crate) fn is_throttled(&self) -> bool {
        self.throttled_until().is_some_and(|until| until > Instant::now())
    }

    fn throttled_until(&self) -> Option<Instant> {
        *lock(&self.throttled_until)
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

    /// Returns whether the broker takes this version of a request.
    pub fn offers(&self, api_key: i16, version: i16) -> bool {
        self.offered.has(api_key, version)
    }

    /// The versions of requests, and the cluster's features, that the broker told of.
    pub(crate) fn offered(&self) -> &Offered {
        &self.offered
    }

    pub(crate) async fn request_in<R: Request>(
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
                self.pending.fail(|| Cause::Disconnected("given up after a request without answer".to_owned()));
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
                self.pending.fail(|| Cause::Disconnected("given up while a request was not taken".to_owned()));
                let after = humantime::format_duration(deadline);
                return Err(Cause::Connect(format!("nothing was sent: the connection took no bytes for {after}")));
            };
            if !self.is_throttled() {
                return Ok((writer, since));
            }
        }
    }

    async fn exchange(
        &self,
        writer: MutexGuard<'_, Box<dyn WriteHalf>>,
        outbound: &mut dyn Outbound,
        api: &Api,
    ) -> Result<(Bytes, i16), Cause> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let answer = self.pending.expect(id)?;
        let sent = self.send(writer, outbound, api, id).await;
        if sent.is_err() {
            self.pending.forget(id);
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
        let frame = frame(body.bytes, (api.key, version), id, &self.client_id);
        let mut frame = frame.map_err(|error| Cause::Undecodable(error.to_string()))?;
        let whole = frame.remaining();
        let unfinished = BreakOnDrop(&self.pending);
        let written = poll_fn(|context| write(&mut **writer, &mut frame, whole, outbound, context)).await;
        match written.map_err(|error| self.pending.broken(&error, Standing::Answered))? {
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

    pub(crate) fn error(&self, doing: &'static str, cause: Cause) -> Error {
        Error { doing, on: self.address.clone(), cause }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reader.abort();
    }
}
