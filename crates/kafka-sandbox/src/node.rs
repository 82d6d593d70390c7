//! One node: what brings connections to it, and a task for each connection that answers its requests in their order.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::api::Incoming;
use super::cluster::Shared;
use super::fault::{After, Before, Plan};

/// Kafka's default of `socket.request.max.bytes`.
const MAX_FRAME_BYTES: usize = 100 << 20;
/// A frame that has begun ends within this time, or its connection does.
const FRAME_DEADLINE: Duration = Duration::from_secs(30);
const BACKLOG: u32 = 1024;
static ZEROS: [u8; 4 << 10] = [0; 4 << 10];

/// A node's network side. What it knows is in [`Shared`] and outlives it.
#[derive(Debug)]
pub(super) enum Node {
    Up(Listening),
    Down(Reserved),
}

/// A connection's bytes, whatever brings them.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Where a node's connections come from.
enum Door {
    Tcp(TcpListener),
    /// They are handed over.
    Handed(mpsc::UnboundedReceiver<Box<dyn Stream>>),
}

impl Door {
    async fn next(&mut self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            Self::Handed(streams) => match streams.recv().await {
                Some(stream) => Ok(stream),
                None => std::future::pending().await,
            },
        }
    }
}

/// The task that accepts connections; dropping it ends it and all its connections.
#[derive(Debug)]
pub(super) struct Listening {
    /// Takes connections, where they are handed over.
    handed: Option<mpsc::UnboundedSender<Box<dyn Stream>>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The port of a node that is down: bound, so that nobody else gets it, and refusing connections,
/// because nobody listens.
#[derive(Debug)]
pub(super) struct Reserved {
    port: u16,
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Bound(TcpSocket),
    /// It is bound when it is listened to.
    Later,
    /// Connections are handed over: the port is a name.
    None,
}

impl Reserved {
    /// Reserves a port; 0 is any free one.
    pub(crate) fn new(port: u16) -> io::Result<Self> {
        let socket = bind(port)?;
        let port = socket.local_addr()?.port();
        Ok(Self { port, socket: Socket::Bound(socket) })
    }

    /// A port to be bound when it is listened to.
    pub(crate) fn later(port: u16) -> Self {
        Self { port, socket: Socket::Later }
    }

    /// A port that is a name: connections are handed over.
    pub(crate) fn name(port: u16) -> Self {
        Self { port, socket: Socket::None }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Begins to listen.
    pub(crate) fn listen(self, id: i32, shared: Arc<Shared>) -> io::Result<Listening> {
        let (door, handed) = match self.socket {
            Socket::Bound(socket) => (Door::Tcp(socket.listen(BACKLOG)?), None),
            Socket::Later => (Door::Tcp(bind(self.port)?.listen(BACKLOG)?), None),
            Socket::None => {
                let (handed, streams) = mpsc::unbounded_channel();
                (Door::Handed(streams), Some(handed))
            }
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(accept(door, id, shared, stop.clone()).boxed());
        Ok(Listening { handed, stop, task })
    }
}

impl Listening {
    /// Closes the listener and every connection, and keeps the port.
    pub(crate) async fn crash(mut self, port: u16) -> Reserved {
        self.stop.cancel();
        if let Err(error) = (&mut self.task).await {
            debug!(%error, "the listener had ended before");
        }
        if self.handed.is_some() {
            return Reserved::name(port);
        }
        match bind(port) {
            Ok(socket) => Reserved { port, socket: Socket::Bound(socket) },
            Err(error) => {
                debug!(%error, port, "the port is not reserved");
                Reserved::later(port)
            }
        }
    }

    /// Takes a connection. One that listens to a port closes it.
    pub(crate) fn hand(&self, stream: Box<dyn Stream>) {
        if let Some(handed) = &self.handed {
            let _ = handed.send(stream); // a node that goes down closes it
        }
    }
}

fn bind(port: u16) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    Ok(socket)
}

async fn accept(mut door: Door, id: i32, shared: Arc<Shared>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = door.next() => accepted,
        };
        match accepted {
            Ok(stream) => {
                let shared = Arc::clone(&shared);
                connections.spawn(
                    async move {
                        if let Err(error) = serve(stream, id, &shared).await {
                            debug!(node = id, %error, "connection closed");
                        }
                    }
                    .boxed(),
                );
            }
            Err(error) => {
                debug!(node = id, %error, "accept failed");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    drop(door);
    connections.shutdown().await;
}

/// Answers requests one after the other until the client leaves or is refused.
async fn serve(mut stream: Box<dyn Stream>, node: i32, shared: &Shared) -> io::Result<()> {
    while let Some(frame) = read_frame(&mut stream).await? {
        let incoming = Incoming::read(frame).map_err(io::Error::other)?;
        let plan = incoming.admit(&mut shared.lock(), node);
        if !plan.delay.is_zero() {
            tokio::time::sleep(plan.delay).await;
        }
        match plan.before {
            Some(Before::Disconnect) => return Ok(()),
            Some(Before::Silence) => continue,
            None => {}
        }
        let answer = incoming.answer(shared, node, &plan).await;
        // Without an answer (acks=0) a fault can still end the connection.
        let Some(answer) = answer.map_err(io::Error::other)? else {
            match plan.after {
                Some(After::Disconnect | After::Truncate) => return Ok(()),
                _ => continue,
            }
        };
        if !send(&mut stream, &answer, &plan).await? {
            return Ok(());
        }
        // As Kafka mutes a channel: nothing more is read from it until then.
        tokio::time::sleep(Duration::from_millis(u64::try_from(plan.throttle_ms).unwrap_or(0))).await;
    }
    Ok(())
}

/// A frame's payload; `None` where the client has left between two frames.
async fn read_frame(stream: &mut Box<dyn Stream>) -> io::Result<Option<Bytes>> {
    let mut length = [0; 4];
    if stream.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    let rest = async {
        stream.read_exact(&mut length[1..]).await?;
        let claimed = i32::from_be_bytes(length);
        let length = usize::try_from(claimed).ok().filter(|n| *n <= MAX_FRAME_BYTES);
        let length =
            length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {claimed} bytes")))?;
        // Grows with what arrives, not with what is claimed.
        let mut frame = Vec::new();
        let limit = u64::try_from(length).unwrap_or(u64::MAX);
        stream.take(limit).read_to_end(&mut frame).await?;
        if frame.len() < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Some(Bytes::from(frame)))
    };
    timeout(FRAME_DEADLINE, rest).await?
}

/// Sends an answer, or what a fault makes of it. Whether the connection lives on.
async fn send(stream: &mut Box<dyn Stream>, answer: &[u8], plan: &Plan) -> io::Result<bool> {
    let (padding, sent) = match plan.after {
        Some(After::Disconnect) => return Ok(false),
        Some(After::Silence) => return Ok(true),
        Some(After::Truncate) => (0, &answer[..answer.len() / 2]),
        Some(After::Oversize(bytes)) => (bytes.saturating_sub(answer.len()), answer),
        Some(After::Trailing(bytes)) => (bytes, answer),
        None => (0, answer),
    };
    let length = i32::try_from(answer.len() + padding).map_err(io::Error::other)?;
    let mut frame = Vec::with_capacity(4 + sent.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(sent);
    stream.write_all(&frame).await?;
    let mut left = padding;
    while left > 0 {
        let chunk = left.min(ZEROS.len());
        stream.write_all(&ZEROS[..chunk]).await?;
        left -= chunk;
    }
    Ok(sent.len() == answer.len())
}
