//! Whatever comes in, the port answers in HTTP or closes, and goes on: no panic, no task left behind, and
//! nothing is resumed without the token.

use std::net::SocketAddr;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use login_pipeline::config;
use login_pipeline::observe::{AdminServer, Limits, Observe, Pause};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{TestCaseError, TestRunner};
use serde_json::json;
use test_support::http_answers::well_formed;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

const TOKEN: &str = "open sesame, open";

/// Longer than anything here takes.
const SOON: Duration = Duration::from_secs(20);

const CASES: u32 = 1_500;

/// While more than its request lies behind a stream, the port sees the client's end only at its age.
const LIMITS: Limits = Limits {
    silent: 64,
    connections: 64,
    head: Duration::from_secs(5),
    age: Duration::from_millis(200),
    closing: Duration::from_millis(200),
};

const METHODS: &[&str] = &[
    "GET", "GET", "GET", "HEAD", "POST", "PUT", "OPTIONS", "CONNECT", "TRACE", "PRI", "get", "G\tET", "GET ", "",
    "GET\0", "\u{e9}",
];

const TARGETS: &[&str] = &[
    "/",
    "/livez",
    "/readyz",
    "/metrics",
    "/status",
    "/events",
    "/page.css",
    "/page.js",
    "/icon.svg",
    "/resume",
    "/log-level",
    "/log-level",
    "/resume?partition=3",
    "/resume?partition=-1",
    "/resume?partition=99999999999999999999",
    "/resume?partition=3&x",
    "/resume?partition=%33",
    "/resume?",
    "/resume?partition=",
    "/%",
    "/%2e%2e/status",
    "/%00",
    "//livez",
    "/livez?",
    "/livez#x",
    "*",
    "",
    "http://admin/livez",
    "http://admin:99999/livez",
    "http://[::1/livez",
    "https://u:p@admin/resume",
    "admin:443",
    "/\u{e9}",
    "/ /livez",
    "/\\livez",
    "/livez\0",
    "/a/../livez",
];

const VERSIONS: &[&str] = &[
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/0.9",
    "HTTP/2.0",
    "HTTP/1.10",
    "HTTP/",
    "",
    "http/1.1",
];

const HEADERS: &[&str] = &[
    "host: localhost",
    "host: evil.example",
    "host:",
    "connection: close",
    "connection: keep-alive",
    "connection: upgrade\r\nupgrade: websocket",
    "upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__",
    "accept: text/html",
    "accept: */*;q=0,text/html;q=2,,;",
    "accept: \u{e9}",
    "content-length: 0",
    "content-length: 5",
    "content-length: -1",
    "content-length: +1",
    "content-length: 18446744073709551615",
    "content-length: 99999999999999999999999",
    "content-length: 1, 2",
    "content-length: 0x10",
    "transfer-encoding: chunked",
    "transfer-encoding: gzip, chunked",
    "transfer-encoding: chunked, identity",
    "transfer-encoding : chunked",
    "expect: 100-continue",
    "expect: 200",
    "authorization: Bearer open sesame, open",
    "authorization: Bearer open sesam",
    "authorization: Bearer open sesame, open ",
    "authorization: Basic b3BlbiBzZXNhbWU=",
    "authorization: Bearer \u{1}",
    "authorization:",
    ": x",
    "x",
    " folded: x",
    "x: a\r\n b",
    "x: \0",
    "x: a\rb",
    "range: bytes=0-",
    "te: trailers",
    "trailer: x",
    "cookie: a=b",
];

const BODIES: &[&str] = &[
    "",
    "",
    "",
    "hello",
    "5\r\nhello\r\n0\r\n\r\n",
    "5\r\nhel",
    "ffffffffffffffffff\r\n",
    "-1\r\n",
    "0\r\nx: y\r\n\r\n",
    "5;ext=\"\r\n\"\r\nhello\r\n0\r\n\r\n",
    "0\n\n",
    "\r\n\r\n\r\n",
];

const LINE_ENDS: &[&str] = &["\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", "\r\r\n"];

/// A request that is one, more or less.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let head = (select(METHODS), select(TARGETS), select(VERSIONS), vec(select(HEADERS), 0..6));
    (head, select(LINE_ENDS), select(BODIES), 0..40_usize).prop_map(
        |((method, target, version, headers), end, body, more)| {
            let mut text = format!("{method} {target} {version}{end}");
            for header in headers {
                text += &format!("{header}{end}");
            }
            // At times a head that is too long, by its lines or by one of them.
            match more {
                0 => text += &format!("many: x{end}").repeat(500),
                1 => text += &format!("long: {}{end}", "x".repeat(20_000)),
                _ => {}
            }
            text += &format!("{end}{body}");
            text.into_bytes()
        },
    )
}

/// What a request is right with, so that what is behind the parser is reached too.
fn resume() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![Just(TOKEN.to_owned()), "[ -~]{0,20}", Just(TOKEN.to_uppercase())];
    let query = prop_oneof![Just(String::new()), "\\?partition=[-+]?[0-9]{1,12}", "\\?[!-~]{0,30}"];
    (select(&["POST", "GET", "HEAD"][..]), query, token).prop_map(|(method, query, token)| {
        format!("{method} /resume{query} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n")
            .into_bytes()
    })
}

/// What a client sends before it closes its side.
fn input() -> impl Strategy<Value = Vec<u8>> {
    let piped = vec(prop_oneof![3 => request(), 1 => resume()], 1..4).prop_map(|requests| requests.concat());
    let cut = (piped.clone(), any::<Index>()).prop_map(|(mut bytes, end)| {
        bytes.truncate(end.index(bytes.len() + 1));
        bytes
    });
    let flipped = (piped.clone(), vec((any::<Index>(), any::<u8>()), 1..6)).prop_map(|(mut bytes, changes)| {
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    });
    prop_oneof![1 => vec(any::<u8>(), 0..2_000), 4 => piped, 2 => cut, 3 => flipped, 2 => resume()]
}

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Counts the panics of the server's own threads; the other tests' are their own.
fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().name() == Some("fuzzed") {
                PANICS.fetch_add(1, Ordering::Relaxed);
            }
            usual(panic);
        }));
    });
}

struct Fuzzed {
    runtime: Runtime,
    address: SocketAddr,
    pause: Pause,
    /// Tasks that are there without a connection.
    idle_tasks: usize,
    _token: tempfile::NamedTempFile,
}

impl Fuzzed {
    fn start() -> Self {
        count_panics();
        let runtime = Builder::new_multi_thread().worker_threads(2).thread_name("fuzzed").enable_all().build().unwrap();
        let token = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(token.path(), TOKEN).unwrap();
        let admin = config::Admin {
            token_file: Some(token.path().to_owned()),
            ..config::Admin::at(([127, 0, 0, 1], 0).into())
        };
        let server = runtime.block_on(AdminServer::bind(&admin)).unwrap().with_limits(LIMITS);
        let address = server.local_addr();
        let observe = Observe::new("1.2.3", &["locale"], Duration::from_secs(10), json!({"a": "b"}));
        observe.health.started();
        let pause = observe.paused.pause(3, "max_ratio");
        runtime.spawn(server.serve(observe, CancellationToken::new()));
        // The server's, and the page's, which it begins by itself.
        Self { runtime, address, pause, idle_tasks: 2, _token: token }
    }

    async fn send(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The server may have closed by now, as it may while it is read from.
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let read = timeout(SOON, stream.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "it neither answers nor closes: {}", String::from_utf8_lossy(&answer));
        answer
    }

    async fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    }

    async fn try_with(&self, input: &[u8]) -> Result<(), TestCaseError> {
        let answer = self.send(input).await;
        well_formed(&answer, input.windows(4).any(|window| window == b"HEAD")).map_err(TestCaseError::fail)?;
        if timeout(Duration::ZERO, self.pause.resumed()).await.is_ok() {
            let borne = format!("authorization: Bearer {TOKEN}");
            prop_assert!(input.windows(borne.len()).any(|window| window.eq_ignore_ascii_case(borne.as_bytes())));
        }
        let live = self.get("/livez").await;
        prop_assert!(live.starts_with("HTTP/1.1 200 OK\r\n") && live.ends_with("\r\n\r\nlive\n"), "{live}");
        let metrics = self.get("/metrics").await;
        let (_, metrics) = metrics.split_once("\r\n\r\n").ok_or_else(|| TestCaseError::fail("no metrics"))?;
        prop_assert!(metrics.contains("\nprocess_open_fds ") && metrics.ends_with('\n'), "{metrics}");
        for line in metrics.lines().filter(|line| !line.starts_with('#')) {
            let value = line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
            prop_assert!(value.is_some(), "{line}");
        }
        let left = async {
            while self.runtime.metrics().num_alive_tasks() > self.idle_tasks {
                sleep(Duration::from_millis(1)).await;
            }
        };
        prop_assert!(timeout(SOON, left).await.is_ok(), "a connection's task outlives it");
        prop_assert_eq!(PANICS.load(Ordering::Relaxed), 0);
        Ok(())
    }
}

#[test]
fn whatever_comes_in_it_answers_or_closes() {
    let fuzzed = Fuzzed::start();
    let config = ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        max_shrink_time: 10_000,
        ..ProptestConfig::default()
    };
    let ran = TestRunner::new(config).run(&input(), |input| fuzzed.runtime.block_on(fuzzed.try_with(&input)));
    ran.unwrap_or_else(|failed| panic!("{failed}"));
}

/// Half a request, and then silence or a reset: none of the connections stays.
#[test]
fn who_leaves_half_way_leaves_nothing_behind() {
    let fuzzed = Fuzzed::start();
    let whole =
        b"POST /resume?partition=3 HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer open sesame, open\r\n\r\n";
    fuzzed.runtime.block_on(async {
        for length in 0..whole.len() {
            let mut stream = TcpStream::connect(fuzzed.address).await.unwrap();
            stream.write_all(&whole[..length]).await.unwrap();
            if length % 2 == 0 {
                stream.set_zero_linger().unwrap();
            }
            drop(stream);
        }
        fuzzed.try_with(b"").await.unwrap();
        assert!(timeout(Duration::ZERO, fuzzed.pause.resumed()).await.is_err(), "half a request resumes nothing");
    });
}
