//! The admin port, over TCP: whatever a client sends before it closes its side, the port answers in HTTP or closes, lives on,
//! and resumes nothing without the token. `tests/it/admin/fuzz.rs` does so with requests that are drawn; here mutations
//! find the way.

use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use login_pipeline::config;
use login_pipeline::observe::{AdminServer, Limits, Observe, Pause};
use serde_json::json;
use tempfile::NamedTempFile;
use test_support::http_answers::well_formed;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{MIB, Target};

/// See the module.
pub const TARGET: Target = Target {
    name: "admin",
    about: "requests to the admin port",
    run,
    seeds,
    words: &[
        "GET ", "POST ", "HEAD ", " HTTP/1.1\r\n", " HTTP/1.0\r\n", "\r\n\r\n", "host: localhost\r\n", "authorization: Bearer ", TOKEN, "/resume?partition=", "/log-level", "/status", "/events", "/metrics",
        "content-length: ", "transfer-encoding: chunked\r\n", "connection: close\r\n", "expect: 100-continue\r\n", "accept: text/html\r\n", "0\r\n\r\n",
    ],
    longest: 4 * 1024,
    memory: 32 * MIB,
};

const TOKEN: &str = "open sesame, open";

/// Longer than anything here takes.
const SOON: Duration = Duration::from_secs(20);

/// The server's, and the page's, which it begins by itself.
const IDLE_TASKS: usize = 2;

const LIMITS: Limits = Limits {
    silent: 64,
    connections: 64,
    head: Duration::from_secs(5),
    age: Duration::from_millis(200),
    closing: Duration::from_millis(200),
};

static PORT: LazyLock<Mutex<Port>> = LazyLock::new(|| Mutex::new(Port::open()));

/// The port, on threads of its own, and a partition that waits to be resumed.
struct Port {
    address: SocketAddr,
    pause: Pause,
    runtime: Runtime,
    _token: NamedTempFile,
}

fn run(input: &[u8]) {
    PORT.lock().unwrap_or_else(PoisonError::into_inner).hears(input);
}

impl Port {
    fn open() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let token = NamedTempFile::new().expect("a file");
        std::fs::write(token.path(), TOKEN).expect("the file takes the token");
        let admin = config::Admin { token_file: Some(token.path().to_owned()), ..config::Admin::at(([127, 0, 0, 1], 0).into()) };
        let server = runtime.block_on(AdminServer::bind(&admin)).expect("a port").with_limits(LIMITS);
        let address = server.local_addr();
        let observe = Observe::new("1.2.3", &["locale"], Duration::from_secs(10), json!({"a": "b"}));
        observe.health.started();
        let pause = observe.paused.pause(3, "max_ratio");
        runtime.spawn(server.serve(observe, CancellationToken::new()));
        Self { address, pause, runtime, _token: token }
    }

    fn hears(&self, input: &[u8]) {
        let answer = self.answer(input, true).unwrap_or_else(|error| panic!("it neither answers nor closes: {error}"));
        well_formed(&answer, input.windows(4).any(|window| window == b"HEAD")).unwrap_or_else(|why| panic!("{why}"));
        if self.was_resumed() {
            let borne = format!("authorization: Bearer {TOKEN}");
            let bears = input.windows(borne.len()).any(|window| window.eq_ignore_ascii_case(borne.as_bytes()));
            assert!(bears, "resumed without the token");
        }
        self.forgets();
        let live = self.answer(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n", false);
        let live = live.unwrap_or_else(|error| panic!("it does not live on: {error}"));
        assert!(live.starts_with(b"HTTP/1.1 200 OK\r\n") && live.ends_with(b"\r\n\r\nlive\n"), "it does not live on: {}", String::from_utf8_lossy(&live));
    }

    /// Waits until no connection is left.
    fn forgets(&self) {
        let tasks = || self.runtime.metrics().num_alive_tasks();
        let left = async {
            while tasks() > IDLE_TASKS {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let ended = self.runtime.block_on(async { timeout(SOON, left).await });
        assert!(ended.is_ok(), "a connection's task outlives it");
    }

    /// What comes back until the port closes. A client that closes its side at once may get nothing.
    fn answer(&self, input: &[u8], closes: bool) -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(SOON))?;
        // The server may have closed by now, as it may while it is read from: what it said before that counts.
        let _ = stream.write_all(input);
        if closes {
            let _ = stream.shutdown(Shutdown::Write);
        }
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => Err(error),
            _ => Ok(answer),
        }
    }

    /// Whether somebody has resumed the partition since it was last asked.
    fn was_resumed(&self) -> bool {
        let mut resumed = std::pin::pin!(self.pause.resumed());
        self.runtime.block_on(poll_fn(|context| Poll::Ready(resumed.as_mut().poll(context).is_ready())))
    }
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let authorized = format!("authorization: Bearer {TOKEN}\r\n");
    [
        ("live", "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned()),
        ("page", "GET / HTTP/1.1\r\nhost: localhost\r\naccept: text/html\r\nconnection: close\r\n\r\n".to_owned()),
        ("two", "GET /readyz HTTP/1.1\r\nhost: a\r\n\r\nHEAD /status HTTP/1.1\r\nhost: a\r\n\r\n".to_owned()),
        ("events", "GET /events HTTP/1.0\r\n\r\n".to_owned()),
        ("metrics", "GET /metrics HTTP/1.1\r\nhost: a\r\naccept-encoding: gzip\r\n\r\n".to_owned()),
        ("resume", format!("POST /resume?partition=3 HTTP/1.1\r\nhost: a\r\n{authorized}content-length: 0\r\n\r\n")),
        ("refused", "POST /resume HTTP/1.1\r\nhost: a\r\nauthorization: Basic b3Blbg==\r\n\r\n".to_owned()),
        ("level", format!("POST /log-level HTTP/1.1\r\nhost: a\r\n{authorized}content-length: 5\r\n\r\ndebug")),
        ("chunked", format!("POST /log-level HTTP/1.1\r\nhost: a\r\n{authorized}transfer-encoding: chunked\r\n\r\n4\r\ninfo\r\n0\r\n\r\n")),
    ]
    .map(|(name, request)| (format!("seed-{name}"), request.into_bytes()))
    .to_vec()
}
