//! TCP connections: to whichever address of a name answers first, kept alive, and within a time.
//!
//! ```text
//! host ─► names ─► addresses, IPv6 and IPv4 in turn ─► attempts, 250 ms apart ─► the first that connects
//! ```
//! A name may have an address that nobody is at: a node that is gone, a family that is not routed. Asked one after
//! another, as `TcpStream::connect` does it, that one keeps all others waiting for as long as the kernel tries, which is
//! two minutes (RFC 8305, "Happy Eyeballs").

mod names;

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::process::{Resource, getrlimit};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout_at};

use crate::attempts::first;
use crate::lately::Lately;

/// How long an address may take before the next one is tried as well, as RFC 8305 recommends.
const STAGGER: Duration = Duration::from_millis(250);

/// How long a connection is silent before the kernel asks whether the other side is there: less than the 2 to 10
/// minutes for which routers and load balancers remember a silent connection ...
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// ... how often it asks again, and how often in all. After that the connection is broken.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// Of the files that the process may have open, how many are left to others than these connections: to those who
/// ask at the admin port, to checkpoints, to certificates that are read again.
const RESERVED_FILES: u64 = 32;

/// Which addresses of names lately did not answer.
static ADDRESSES: Lately<SocketAddr> = Lately::new();

/// Connects to a host by its name or its address, within `deadline`. What is written is sent at once.
///
/// # Errors
/// Where the name is not known, no address of it takes a connection in time, or the process may open no more files.
pub async fn connect(host: &str, port: u16, deadline: Duration) -> io::Result<TcpStream> {
    let until = Instant::now() + deadline;
    let late = |what: &str| io::Error::new(ErrorKind::TimedOut, format!("{what} within {}", Text(deadline)));
    let found = timeout_at(until, names::look_up(host)).await;
    let mut addresses = found.map_err(|_| late("the name server gives no answer"))??;
    addresses.iter_mut().for_each(|address| address.set_port(port));
    let addresses = ADDRESSES.sorted(in_turn(addresses), |address| *address);
    let several = addresses.len() > 1;
    let attempts = addresses.into_iter().map(|address| async move {
        let attempt = several.then(|| ADDRESSES.begin(address));
        let connected = open(address).await;
        if let (Some(attempt), Ok(_)) = (attempt, &connected) {
            attempt.answered();
        }
        connected
    });
    match timeout_at(until, first(attempts, STAGGER)).await {
        Ok(connected) => connected.map_err(|last| last.unwrap_or_else(|| ErrorKind::AddrNotAvailable.into())),
        Err(_) => Err(late("no connection")),
    }
}

/// Notes that nobody answers at an address that takes connections: where its name has others, they come first.
pub fn avoid(address: SocketAddr) {
    drop(ADDRESSES.begin(address));
}

/// Whether a connection may be opened without those files that others need.
///
/// # Errors
/// Where it may not; the error names the limit.
pub fn room_for_one() -> io::Result<()> {
    has_room(&TcpSocket::new_v4().map_err(named)?)
}

/// Addresses of one family and the other in turn, beginning with that of the first (RFC 8305, 4).
fn in_turn(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(begins) = addresses.first().map(SocketAddr::is_ipv6) else { return addresses };
    let count = addresses.len();
    let (ones, others): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == begins);
    let (mut ones, mut others) = (ones.into_iter(), others.into_iter());
    (0..count).flat_map(|_| [ones.next(), others.next()]).flatten().collect()
}

async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }.map_err(named)?;
    has_room(&socket)?;
    let stream = socket.connect(address).await?;
    // Without this a request of a few segments waits 40 ms for the other side's delayed ACK.
    stream.set_nodelay(true)?;
    // Without these a connection serves as well, as long as nothing between the two forgets it.
    let _ = keep_alive(&stream);
    Ok(stream)
}

/// Has the kernel find out whether the other side is still there, and so keep what lies in between from forgetting the
/// connection. No `TCP_USER_TIMEOUT`: that would also break a connection which a broker leaves unread while it throttles.
fn keep_alive(stream: &TcpStream) -> rustix::io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)
}

/// A new file has the lowest number that is free: a high one says that most below it are taken.
fn has_room(socket: &TcpSocket) -> io::Result<()> {
    let Some(most) = getrlimit(Resource::Nofile).current else { return Ok(()) };
    let reserved = RESERVED_FILES.min(most / 8);
    let is_within = u64::try_from(socket.as_raw_fd()).is_ok_and(|number| number < most - reserved);
    if is_within { Ok(()) } else { Err(too_many_files(most, reserved)) }
}

/// Says which limit it is, where it is one of open files.
fn named(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) if code == Errno::MFILE.raw_os_error() => {
            too_many_files(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX), 0)
        }
        Some(code) if code == Errno::NFILE.raw_os_error() => io::Error::other(
            "the machine has as many files open as it may (fs.file-max): raise that, or run fewer programs",
        ),
        _ => error,
    }
}

fn too_many_files(most: u64, reserved: u64) -> io::Error {
    let kept = if reserved == 0 { String::new() } else { format!(", less {reserved} for the admin port and offsets") };
    io::Error::other(format!(
        "the process has as many files and sockets open as it may ({most}{kept}): raise that limit (RLIMIT_NOFILE: \
         `ulimit -n`, LimitNOFILE= of a systemd unit, --ulimit nofile= of a container)"
    ))
}

struct Text(Duration);

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const ENOUGH: Duration = Duration::from_secs(10);

    fn addresses(text: &str) -> Vec<SocketAddr> {
        text.split(' ').map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns() {
        let mixed = addresses("[::1]:1 [::2]:1 [::3]:1 10.0.0.1:1 10.0.0.2:1");
        assert_eq!(in_turn(mixed), addresses("[::1]:1 10.0.0.1:1 [::2]:1 10.0.0.2:1 [::3]:1"));
        let of_one = addresses("10.0.0.1:1 10.0.0.2:1");
        assert_eq!(in_turn(of_one.clone()), of_one);
        assert!(in_turn(Vec::new()).is_empty());
    }

    /// An address that takes no connection and refuses none: the kernel drops what comes once its queue is full.
    async fn hole() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        while let Ok(connected) = timeout_at(Instant::now() + STAGGER, TcpStream::connect(address)).await {
            queued.push(connected.unwrap());
        }
        (listener, queued, address)
    }

    #[tokio::test]
    async fn a_name_whose_first_address_swallows_everything_is_reached_by_its_second() {
        let (_hole, _queued, dead) = hole().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let alive = listener.local_addr().unwrap();
        let attempts = [dead, alive].map(open);
        let stream = timeout_at(Instant::now() + ENOUGH, first(attempts, STAGGER)).await.unwrap().unwrap();
        assert_eq!(stream.peer_addr().unwrap(), alive);
        let error = connect("127.0.0.1", dead.port(), STAGGER).await.unwrap_err();
        assert_eq!(error.to_string(), "no connection within 250ms");
    }

    #[tokio::test]
    async fn connections_are_kept_alive_and_not_delayed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stream = connect("localhost", port, ENOUGH).await.unwrap();
        assert!(stream.nodelay().unwrap());
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&stream).unwrap(), KEEPALIVE_IDLE);
    }

    #[test]
    fn an_error_for_want_of_files_names_the_limit() {
        let text = named(io::Error::from_raw_os_error(Errno::MFILE.raw_os_error())).to_string();
        assert!(text.contains("ulimit -n") && text.contains("RLIMIT_NOFILE"), "{text}");
        let text = named(io::Error::from_raw_os_error(Errno::NFILE.raw_os_error())).to_string();
        assert!(text.contains("fs.file-max"), "{text}");
        assert_eq!(named(ErrorKind::ConnectionRefused.into()).kind(), ErrorKind::ConnectionRefused);
    }
}
