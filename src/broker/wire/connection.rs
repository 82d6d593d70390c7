//! One connection to one broker: requests go out as they come, answers are matched by their
//! correlation id, and every request has a deadline.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes, VersionRange};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::Options;
use crate::broker::{Cause, Error};

/// The versions of each request that this program has been tested with.
const KNOWN_VERSIONS: [(ApiKey, VersionRange); 16] = [
    (ApiKey::Produce, VersionRange { min: 3, max: 7 }),
    (ApiKey::Fetch, VersionRange { min: 4, max: 11 }), // topic ids begin at 13
    (ApiKey::ListOffsets, VersionRange { min: 1, max: 7 }),
    (ApiKey::Metadata, VersionRange { min: 1, max: 12 }),
    (ApiKey::OffsetCommit, VersionRange { min: 2, max: 9 }), // topic ids begin at 10
    (ApiKey::OffsetFetch, VersionRange { min: 1, max: 9 }),
    (ApiKey::FindCoordinator, VersionRange { min: 0, max: 4 }),
    (ApiKey::JoinGroup, VersionRange { min: 2, max: 9 }),
    (ApiKey::Heartbeat, VersionRange { min: 1, max: 4 }),
    (ApiKey::LeaveGroup, VersionRange { min: 1, max: 5 }),
    (ApiKey::SyncGroup, VersionRange { min: 1, max: 5 }),
    (ApiKey::DescribeGroups, VersionRange { min: 0, max: 5 }),
    (ApiKey::CreateTopics, VersionRange { min: 2, max: 7 }),
    (ApiKey::DescribeConfigs, VersionRange { min: 1, max: 4 }),
    (ApiKey::ConsumerGroupHeartbeat, VersionRange { min: 0, max: 1 }),
    (ApiKey::ConsumerGroupDescribe, VersionRange { min: 0, max: 1 }),
];

/// An open connection. Dropping it closes it; requests that wait then fail.
#[derive(Debug)]
pub struct Connection {
    address: String,
    client_id: StrBytes,
    writer: Mutex<OwnedWriteHalf>,
    waiting: Arc<Waiting>,
    next_id: AtomicI32,
    versions: HashMap<i16, VersionRange>,
    request_timeout: Duration,
    /// A broker that throttles leaves us unread until then; asking sooner would look like silence.
    throttled_until: std::sync::Mutex<Option<Instant>>,
    reader: JoinHandle<()>,
}

type Answer = Result<Bytes, Cause>;

/// The requests whose answers are still to come.
#[derive(Debug, Default)]
struct Waiting {
    requests: std::sync::Mutex<HashMap<i32, oneshot::Sender<Answer>>>,
    broken: AtomicBool,
}

impl Connection {
    /// Connects to `address` (`host:port`) and learns which requests the broker takes.
    ///
    /// # Errors
    /// [`Cause::Connect`] where there is no connection within the deadline of `options`.
    pub async fn open(address: &str, options: &Options) -> Result<Self, Error> {
        let failed = |cause| Error { doing: "connect to", on: address.to_owned(), cause };
        let stream = match timeout(options.connect_timeout, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(failed(Cause::Connect(error.to_string()))),
            Err(_) => {
                let after = humantime::format_duration(options.connect_timeout);
                return Err(failed(Cause::Connect(format!("no connection within {after}"))));
            }
        };
        // Without this a request of a few segments waits 40 ms for the broker's delayed ACK.
        stream.set_nodelay(true).map_err(|error| failed(Cause::Connect(error.to_string())))?;
        let (read, write) = stream.into_split();
        let waiting = Arc::new(Waiting::default());
        let reader = tokio::spawn(read_answers(read, Arc::clone(&waiting), options.max_frame_bytes));
        let mut connection = Self {
            address: address.to_owned(),
            client_id: StrBytes::from_string(options.client_id.clone()),
            writer: Mutex::new(write),
            waiting,
            next_id: AtomicI32::new(0),
            versions: HashMap::new(),
            request_timeout: options.request_timeout,
            throttled_until: std::sync::Mutex::default(),
            reader,
        };
        connection.versions = connection.negotiate().await?;
        Ok(connection)
    }

    /// Whether it can no longer be used.
    pub fn is_broken(&self) -> bool {
        self.waiting.broken.load(Ordering::Acquire)
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
        self.wait_while_throttled().await;
        self.request_in(doing, request, Bytes::new(), version, deadline).await
    }

    /// As [`Connection::request`], where the request's last field is bytes that `request` leaves
    /// empty: `tail` is sent in their place, and copied nowhere. Only for versions in which nothing
    /// follows that field.
    ///
    /// # Errors
    /// As [`Connection::request`].
    pub async fn request_with_tail<R: Request>(
        &self,
        doing: &'static str,
        request: &R,
        tail: Bytes,
    ) -> Result<R::Response, Error> {
        let version = self.version(R::KEY).map_err(|cause| self.error(doing, cause))?;
        self.wait_while_throttled().await;
        self.request_in(doing, request, tail, version, self.request_timeout).await
    }

    /// Holds back requests for as long as the broker asked in an answer.
    pub fn throttle(&self, pause: Duration) {
        let until = Some(Instant::now() + pause);
        *self.throttled_until.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = until;
    }

    async fn wait_while_throttled(&self) {
        let throttled_until = *self.throttled_until.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(until) = throttled_until {
            sleep_until(until).await;
        }
    }

    /// The latest version of a request that both sides know.
    ///
    /// # Errors
    /// [`Cause::Unsupported`] where there is none.
    pub fn version(&self, api_key: i16) -> Result<i16, Cause> {
        let ours = KNOWN_VERSIONS.iter().find(|(key, _)| *key as i16 == api_key).map(|(_, range)| *range);
        let both = ours.zip(self.versions.get(&api_key)).map(|(ours, theirs)| ours.intersect(theirs));
        match both {
            Some(range) if !range.is_empty() => Ok(range.max),
            _ => Err(Cause::Unsupported(format!("api key {api_key}"))),
        }
    }

    async fn request_in<R: Request>(
        &self,
        doing: &'static str,
        request: &R,
        tail: Bytes,
        version: i16,
        deadline: Duration,
    ) -> Result<R::Response, Error> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let head = self.frame(request, tail.len(), version, id);
        let head = head.map_err(|error| self.error(doing, Cause::Undecodable(error.to_string())))?;
        match timeout(deadline, self.exchange(id, head.chain(tail))).await {
            Ok(Ok(answer)) => {
                decode::<R>(answer, version).map_err(|error| self.error(doing, Cause::Undecodable(error.to_string())))
            }
            Ok(Err(cause)) => Err(self.error(doing, cause)),
            Err(_) => {
                self.waiting.fail(|| Cause::Disconnected("given up after a request without answer".to_owned()));
                Err(self.error(doing, Cause::Timeout(deadline)))
            }
        }
    }

    /// A request as it is sent, up to a tail of so many bytes.
    fn frame<R: Request>(&self, request: &R, tail: usize, version: i16, id: i32) -> anyhow::Result<Bytes> {
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(id)
            .with_client_id(Some(self.client_id.clone()));
        let header_version = R::header_version(version);
        let size = header.compute_size(header_version)? + request.compute_size(version)?;
        let mut frame = BytesMut::with_capacity(4 + size);
        frame.put_i32(i32::try_from(size + tail)?);
        header.encode(&mut frame, header_version)?;
        request.encode(&mut frame, version)?;
        if tail > 0 {
            let length = frame.last_chunk_mut().filter(|length| **length == [0; 4]);
            let length = length.ok_or_else(|| anyhow::anyhow!("version {version} does not end in bytes"))?;
            *length = i32::try_from(tail)?.to_be_bytes();
        }
        Ok(frame.freeze())
    }

    async fn exchange(&self, id: i32, mut frame: impl Buf) -> Answer {
        let answer = self.waiting.expect(id)?;
        {
            let mut writer = self.writer.lock().await;
            let unfinished = BreakOnDrop(&self.waiting);
            if let Err(error) = writer.write_all_buf(&mut frame).await {
                return Err(Cause::Disconnected(error.to_string()));
            }
            std::mem::forget(unfinished);
        }
        answer.await.unwrap_or_else(|_| Err(Cause::Disconnected("closed by the broker".to_owned())))
    }

    /// Asks for the broker's versions; a broker that does not know ours says so in version 0.
    async fn negotiate(&self) -> Result<HashMap<i16, VersionRange>, Error> {
        const DOING: &str = "negotiate versions with";
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("login-pipeline"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let mut response = self.request_in(DOING, &request, Bytes::new(), 3, self.request_timeout).await;
        let unsupported = |error: &Error| matches!(error.cause, Cause::Undecodable(_));
        if response.as_ref().is_ok_and(|response| response.error_code != 0) || response.as_ref().is_err_and(unsupported)
        {
            response =
                self.request_in(DOING, &ApiVersionsRequest::default(), Bytes::new(), 0, self.request_timeout).await;
        }
        let response = response?;
        if let Some(code) = kafka_protocol::ResponseError::try_from_code(response.error_code) {
            return Err(self.error(DOING, Cause::Code(code)));
        }
        let range = |api: &kafka_protocol::messages::api_versions_response::ApiVersion| VersionRange {
            min: api.min_version,
            max: api.max_version,
        };
        Ok(response.api_keys.iter().map(|api| (api.api_key, range(api))).collect())
    }

    fn error(&self, doing: &'static str, cause: Cause) -> Error {
        Error { doing, on: self.address.clone(), cause }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Breaks the connection where a request is given up half written: what follows would be garbage.
struct BreakOnDrop<'a>(&'a Waiting);

impl Drop for BreakOnDrop<'_> {
    fn drop(&mut self) {
        self.0.fail(|| Cause::Disconnected("a request was cut short".to_owned()));
    }
}

impl Waiting {
    fn expect(&self, id: i32) -> Result<oneshot::Receiver<Answer>, Cause> {
        let (sender, receiver) = oneshot::channel();
        let mut requests = self.lock();
        if self.broken.load(Ordering::Acquire) {
            return Err(Cause::Connect("the connection was lost before".to_owned()));
        }
        requests.insert(id, sender);
        Ok(receiver)
    }

    fn answer(&self, id: i32, frame: Bytes) {
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

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<i32, oneshot::Sender<Answer>>> {
        self.requests.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

async fn read_answers(mut stream: OwnedReadHalf, waiting: Arc<Waiting>, max_frame_bytes: usize) {
    loop {
        match read_frame(&mut stream, max_frame_bytes).await {
            Ok(frame) => {
                let id = frame.first_chunk().map(|id| i32::from_be_bytes(*id));
                if let Some(id) = id {
                    waiting.answer(id, frame);
                }
            }
            Err(FrameError::Io(error)) => return waiting.fail(|| Cause::Disconnected(error.to_string())),
            Err(FrameError::TooLarge { actual }) => {
                return waiting.fail(|| Cause::FrameTooLarge { limit: max_frame_bytes, actual });
            }
        }
    }
}

enum FrameError {
    Io(std::io::Error),
    TooLarge { actual: usize },
}

async fn read_frame(stream: &mut OwnedReadHalf, max_frame_bytes: usize) -> Result<Bytes, FrameError> {
    let length = stream.read_i32().await.map_err(FrameError::Io)?;
    let length = usize::try_from(length)
        .map_err(|_| FrameError::Io(std::io::Error::other("the broker announced a frame of negative length")))?;
    if length > max_frame_bytes {
        return Err(FrameError::TooLarge { actual: length });
    }
    let mut frame = BytesMut::zeroed(length);
    stream.read_exact(&mut frame).await.map_err(FrameError::Io)?;
    Ok(frame.freeze())
}

fn decode<R: Request>(mut answer: Bytes, version: i16) -> anyhow::Result<R::Response> {
    // kafka-protocol's decoders trust the length; a short answer must be an error, not a panic.
    anyhow::ensure!(answer.remaining() >= 4, "the answer is cut short");
    ResponseHeader::decode(&mut answer, R::Response::header_version(version))?;
    R::Response::decode(&mut answer, version)
}
