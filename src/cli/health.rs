//! `health`: how the instance that runs here is, for those who have no HTTP client, such as the
//! HEALTHCHECK of an image without a shell.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{AlertDescription, ClientConfig, ClientConnection, StreamOwned};

use super::{Health, Settings};
use crate::config::Admin;
use crate::kafka::ADMIN_PORT;
use crate::observe::{client_of_any, client_of_own};

/// The most of an answer that is read: a line for each thing that is not well.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

/// Asks the admin port of the configuration and writes its answer to `out`.
///
/// # Errors
/// Where nothing answers there in time, or what does is not well.
pub fn run(args: &Health, out: &mut dyn Write) -> Result<(), Box<dyn std::error::Error>> {
    let Own { address, tls } = own(&args.settings)?;
    let (path, tls) = match (tls, args.live) {
        (Err(why), true) => return answers(address, &why, args.timeout, out),
        (tls, live) => (if live { "/livez" } else { "/readyz" }, tls?),
    };
    let answer = get(address, tls, path, args.timeout).map_err(|error| told(&error, address, path))?;
    let (status, body) = parsed(&answer).ok_or_else(|| format!("{address}{path}: what answers there is no HTTP"))?;
    match status {
        200 => Ok(write!(out, "{body}")?),
        _ => Err(format!("{address}{path}: {status}: {}", body.trim_end().replace('\n', "; ")).into()),
    }
}

/// Whether anything answers by TLS, where the files that say who have become unusable. The instance goes on with what
/// it read before, and whoever ended it now would get none that starts. Without a certificate, an instance that wants
/// one says no more than that, and says it in its turn.
fn answers(
    address: SocketAddr,
    why: &str,
    timeout: Duration,
    out: &mut dyn Write,
) -> Result<(), Box<dyn std::error::Error>> {
    const PATH: &str = "/livez";
    let tls = Arc::new(client_of_any()?);
    match get(address, Some(tls), PATH, timeout) {
        Ok(answer) if parsed(&answer).is_some_and(|(status, _)| status == 200) => {}
        Ok(_) => return Err(format!("{address}{PATH}: what answers there is not live").into()),
        Err(error) if wants_certificate(&error) => {}
        Err(error) => return Err(told(&error, address, PATH).into()),
    }
    tell!("login-pipeline: {why}: whether what answers is the instance of this configuration was not checked");
    Ok(writeln!(out, "live")?)
}

fn wants_certificate(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|error| error.downcast_ref());
    matches!(error, Some(rustls::Error::AlertReceived(AlertDescription::CertificateRequired)))
}

fn told(error: &io::Error, address: SocketAddr, path: &str) -> String {
    let why = ADMIN_PORT.said(error).unwrap_or_else(|| error.to_string());
    format!("{address}{path}: {why}")
}

/// The admin port of this configuration's instance.
#[derive(Debug)]
pub(super) struct Own {
    /// Where it is reached from this host.
    pub(super) address: SocketAddr,
    /// How to know it again, where it speaks TLS; or what is wrong with the files that tell.
    pub(super) tls: Result<Option<Arc<ClientConfig>>, String>,
}

/// Finds where the instance of this configuration is asked, and how. Nothing else of the configuration is read: what
/// is wrong with that by now is not what the instance has read.
///
/// # Errors
/// Where the configuration is wrong about that, or does not tell the port.
pub(super) fn own(settings: &Settings) -> Result<Own, Box<dyn std::error::Error>> {
    let Admin { listen, tls, .. } = settings.load_admin()?;
    if listen.port() == 0 {
        return Err("admin.listen has port 0: which one the instance took is not known here".into());
    }
    let tls = tls.is_on().then(|| client_of_own(&tls).map(Arc::new)).transpose();
    Ok(Own { address: reachable(listen), tls })
}

/// Where a socket that listens on this address is reached from the same host.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// TCP, or TLS on it.
trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// Everything that comes back until the server closes, all of it within `patience`.
fn get(address: SocketAddr, tls: Option<Arc<ClientConfig>>, path: &str, patience: Duration) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + patience;
    let late = || io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
    let left = || Some(deadline.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero());
    let socket = TcpStream::connect_timeout(&address, left().ok_or_else(late)?)?;
    // What reads and writes may take: TLS does both for either.
    let times = socket.try_clone()?;
    let limit = || {
        let left = Some(left().ok_or_else(late)?);
        times.set_read_timeout(left).and_then(|()| times.set_write_timeout(left))
    };
    let mut stream: Box<dyn Stream> = match tls {
        None => Box::new(socket),
        Some(config) => {
            let connection = ClientConnection::new(config, address.ip().into()).map_err(io::Error::other)?;
            Box::new(StreamOwned::new(connection, socket))
        }
    };
    let is_late = |error: &io::Error| matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
    let is_end =
        |error: &io::Error| matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset);
    let is_gone =
        |error: &io::Error| matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset);
    let asked = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    limit()?;
    match stream.write_all(asked.as_bytes()) {
        Err(error) if is_late(&error) => return Err(late()),
        // One that closes while it is asked may have said why.
        Err(error) if !is_gone(&error) => return Err(error),
        _ => {}
    }
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    let mut rest = stream.take(MAX_ANSWER_BYTES);
    loop {
        limit()?;
        match rest.read(&mut chunk) {
            Ok(0) => return Ok(answer),
            Ok(read) => answer.extend_from_slice(chunk.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A connection that ends in some other way than it should: whether the answer is whole, HTTP says.
            Err(error) if is_end(&error) && !answer.is_empty() => return Ok(answer),
            Err(error) if is_late(&error) => return Err(late()),
            Err(error) => return Err(error),
        }
    }
}

/// The status and the body.
fn parsed(answer: &[u8]) -> Option<(u16, String)> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn what_listens_everywhere_is_reached_here() {
        let reached = |listen: &str| reachable(listen.parse().unwrap()).to_string();
        assert_eq!(reached("0.0.0.0:9464"), "127.0.0.1:9464");
        assert_eq!(reached("[::]:9464"), "[::1]:9464");
        assert_eq!(reached("10.0.0.7:9464"), "10.0.0.7:9464");
    }

    #[test]
    fn answers_are_taken_apart() {
        assert_eq!(parsed(b"HTTP/1.1 200 OK\r\na: b\r\n\r\nready\n"), Some((200, "ready\n".to_owned())));
        for wrong in [&b""[..], b"\xff\xff", b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 ok\r\n\r\n"] {
            assert_eq!(parsed(wrong), None);
        }
    }

    #[test]
    fn who_says_nothing_is_not_waited_for() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = get(silent.local_addr().unwrap(), None, "/readyz", Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.to_string(), "no answer in time");
    }

    #[test]
    fn who_never_ends_is_cut_short() {
        let endless = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = endless.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = endless.accept().unwrap();
            while stream.write_all(&[b'x'; 4096]).is_ok() {}
        });
        let answer = get(address, None, "/readyz", Duration::from_secs(20)).unwrap();
        assert_eq!(u64::try_from(answer.len()).unwrap(), MAX_ANSWER_BYTES);
    }
}
