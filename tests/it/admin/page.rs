//! The page at `/` and its stream.

use std::process::Command;
use std::time::Duration;

use login_pipeline::observe::{Example, GroupReport, Limits, Member, PartitionState, Severity};
use login_pipeline::record::Offset;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::{Admin, Answer};

const HOSTILE: &str = "<script>alert('1')</script>\"&";

/// Longer than anything here takes, shorter than an age.
const SOON: Duration = Duration::from_secs(20);

/// One whose configuration is hostile.
async fn start(limits: Limits) -> Admin {
    Admin::start_with(limits, json!({"source": {"topic": HOSTILE}})).await
}

impl Admin {
    /// The head, in lower case, and the body of an answer that ends.
    async fn request_as(&self, method: &str, path: &str, accept: &str) -> (String, String) {
        let request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{accept}connection: close\r\n\r\n");
        let Answer { head, body, .. } = self.send(request.as_bytes()).await;
        (head, body)
    }

    async fn page(&self) -> (String, String) {
        self.request_as("GET", "/", "accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\n").await
    }

    async fn watch(&self) -> Watcher {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream
            .write_all(b"GET /events HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n")
            .await
            .unwrap();
        let mut watcher = Watcher { stream: BufReader::new(stream), head: String::new() };
        while let Some(line) = watcher.line().await {
            if line.trim().is_empty() {
                break;
            }
            watcher.head.push_str(&line.to_ascii_lowercase());
        }
        watcher
    }
}

struct Watcher {
    stream: BufReader<TcpStream>,
    head: String,
}

impl Watcher {
    /// `None` at the connection's end.
    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line).await.unwrap_or(0);
        (read > 0).then_some(line)
    }

    fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    /// The next event; `None` where the stream ends first, in order or not.
    async fn event(&mut self) -> Option<Value> {
        while let Some(line) = self.line().await {
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(data).unwrap());
            }
            if line == "0\r\n" {
                return None;
            }
        }
        None
    }
}

#[tokio::test]
async fn a_browser_gets_the_page_and_others_the_index() {
    let admin = start(Limits::default()).await;
    let (head, page) = admin.page().await;
    assert!(head.starts_with("http/1.1 200") && head.contains("content-type: text/html"), "{head}");
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    assert!(!page.contains("{{"), "a part was left out");
    for accept in ["", "accept: */*\r\n", "accept: text/htmlx, application/json\r\n"] {
        let (head, index) = admin.request_as("GET", "/", accept).await;
        assert!(head.contains("content-type: text/plain") && index.contains("/metrics"), "{accept}: {head}");
        assert!(head.contains("vary: accept"), "{head}");
    }
    let (head, body) = admin.request_as("HEAD", "/", "accept: text/html\r\n").await;
    assert!(head.starts_with("http/1.1 200") && head.contains("content-type: text/html"), "{head}");
    assert_eq!(body, "");
    let (head, body) = admin.request_as("HEAD", "/events", "").await;
    assert!(head.starts_with("http/1.1 200") && body.is_empty(), "{head}");
    assert!(admin.request_as("POST", "/events", "").await.0.starts_with("http/1.1 405"));
}

#[tokio::test]
async fn the_page_is_small_and_takes_nothing_from_elsewhere() {
    let admin = start(Limits::default()).await;
    let mut size = 0;
    for path in ["/", "/page.css", "/page.js", "/icon.svg"] {
        let (head, body) = admin.request_as("GET", path, "accept: text/html\r\n").await;
        assert!(head.starts_with("http/1.1 200"), "{path}: {head}");
        for wanted in [
            "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; ",
            "frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
            "referrer-policy: no-referrer",
        ] {
            assert!(head.contains(wanted), "{path}: {wanted}: {head}");
        }
        assert!(!head.contains("unsafe"), "{head}");
        let without_namespace = body.replace("http://www.w3.org/2000/svg", "");
        for elsewhere in ["http://", "https://", "src=\"//", "@import", "style=\"", "onclick"] {
            assert!(!without_namespace.contains(elsewhere), "{path} has {elsewhere}");
        }
        size += head.len() + body.len();
    }
    assert!(size < 80 * 1024, "{size}");
}

#[tokio::test]
async fn what_others_wrote_is_no_markup() {
    let admin = start(Limits::default()).await;
    let partition = admin.observe.partitions.partition(HOSTILE, 3);
    partition.failed("fatal", HOSTILE);
    let tally = admin.observe.tallies.register();
    tally.lock().count(1, HOSTILE);
    admin.observe.health.started();
    let component = admin.observe.health.component(HOSTILE);
    component.degraded(HOSTILE, Severity::Fatal);

    let (_, page) = admin.page().await;
    assert!(!page.contains("<script>") && !page.contains("alert('1')"), "{page}");
    let escaped = "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;";
    // Topic, error, configuration, component and its reason.
    let times = page.matches(escaped).count();
    assert!(times >= 4, "{times} times:\n{page}");

    let mut watcher = admin.watch().await;
    let event = timeout(SOON, watcher.event()).await.unwrap().unwrap();
    assert_eq!(event["partitions"][0]["topic"], HOSTILE, "JSON has it as it is, in one line");
    let values = &event["tally"]["distributions"][1];
    assert_eq!((&values["top"], &values["other"]), (&json!([]), &json!(1)), "no version looks like that");
    let (_, script) = admin.request_as("GET", "/page.js", "").await;
    for markup in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"] {
        assert!(!script.contains(markup), "{markup}");
    }
}

#[tokio::test]
async fn the_stream_has_all_that_the_page_shows() {
    let admin = start(Limits::default()).await;
    let partition = admin.observe.partitions.partition("user-login", 3);
    partition.state(PartitionState::Paused);
    partition.committed(Offset(10));
    partition.high_watermark(Offset(25));
    admin.observe.health.started();
    let mut watcher = admin.watch().await;
    assert_eq!(watcher.status(), "200");
    assert!(watcher.head.contains("content-type: text/event-stream") && watcher.head.contains("no-store"));

    let first = timeout(SOON, watcher.event()).await.unwrap().unwrap();
    assert_eq!((&first["ready"], &first["version"], &first["lag"]), (&json!(true), &json!("1.2.3"), &json!(15)));
    assert_eq!(first["partitions"][0]["state"], "paused");
    assert_eq!(first["owner"], "this instance");
    assert_eq!(first["configuration"], Value::Null, "it never changes, and is in the page");
    assert_eq!(first["states"], json!({"paused": 1}));
    assert_eq!(first["marks"][0]["kind"], "start");
    assert_eq!(first["verdict"]["tone"], "good");
    assert_eq!((&first["examples"], &first["members"]), (&json!({}), &json!([])));
    for column in ["at", "took", "records_in", "records_out", "records_dead", "records_dropped", "p50", "p95", "p99"] {
        assert!(first["charts"][column].is_array(), "{column}: {first}");
    }
    assert_eq!(first["charts"]["distributions"][2]["name"], "locale");

    admin.observe.tallies.register().lock().totals().records_in += 7;
    admin.observe.health.draining();
    let counted = async {
        loop {
            let next = watcher.event().await.unwrap();
            if next["ready"] == false && next["tally"]["records_in"] == 7 {
                return next;
            }
        }
    };
    let next = timeout(SOON, counted).await.expect("the stream says what has changed");
    assert_eq!(next["reasons"], json!(["process: draining: the process is about to stop"]));
}

/// What an operator needs without a script: the verdict, the flow, dead letters with commands, partitions.
#[tokio::test]
async fn without_a_script_the_page_says_the_same() {
    let configuration = json!({
        "source": {"topic": "user-login"}, "dead_letter": {"topic": "dead", "max_ratio": 0.2},
        "kafka": {"brokers": ["a:9092", "b:9092"]}, "admin": {"listen": "0.0.0.0:9464", "token_file": "/token"},
    });
    let admin = Admin::start_with(Limits::default(), configuration).await;
    let observe = &admin.observe;
    observe.health.started();
    let held: Vec<_> = (0..60).map(|number| observe.partitions.partition("user-login", number)).collect();
    held[7].state(PartitionState::Paused);
    let _pause = observe.paused.pause(7, "max_ratio");
    let tally = observe.tallies.register();
    tally.lock().errors("missing_field", 3);
    tally.lock().totals().records_in += 30;
    assert!(observe.examples.wants("missing_field"));
    observe.examples.keep(
        "missing_field",
        Example {
            partition: 7,
            offset: 42,
            timestamp_ms: 1_700_000_000_000,
            stage: "validate",
            field: Some("ip"),
            shape: "<2 bytes, {}>".into(),
            at: 1_700_000_000_000,
        },
    );
    let other = |number: u8| Member {
        member_id: format!("m-{number}"),
        client_id: "login-pipeline".into(),
        host: format!("10.0.0.{number}"),
        partitions: Some(9),
    };
    observe.members.tell(vec![other(7)]);
    let (_, page) = admin.page().await;
    for text in [
        "<p id=\"word\">Failing</p>",
        "<li class=\"bad\">1 partition paused: dead_letter.max_ratio</li>",
        "a:9092,b:9092",
        "partition 7, offset 42: validate, field ip",
        "login-pipeline dlq list --reason missing_field --since 15m --kafka.brokers a:9092,b:9092 --dead_letter.topic dead",
        "<summary>20 more partitions</summary>",
        "and 20 more: see <a href=\"status\">status</a>",
        "href=\"//10.0.0.7:9464/\"",
        "<th scope=\"row\">dead_letter.max_ratio</th><td>0.2</td>",
        "POST /resume?partition=3",
    ] {
        assert!(page.contains(text), "{text}:\n{page}");
    }
    let first = page.split("<tbody id=\"partitions\">").nth(1).unwrap();
    assert!(first.starts_with("<tr data-row=\"user-login/7\">"), "the worst first");
    assert_eq!(first.split("</tbody>").next().unwrap().matches("<tr").count(), 20);
}

#[tokio::test]
async fn stopping_ends_streams_at_once() {
    let admin = start(Limits::default()).await;
    let mut watcher = admin.watch().await;
    watcher.event().await.unwrap();
    admin.shutdown.cancel();
    timeout(Duration::from_secs(4), admin.server).await.expect("no deadline has to pass").unwrap();
    while watcher.event().await.is_some() {}
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_connection_and_another_goes_on() {
    let admin = start(Limits::default()).await;
    let begun = Instant::now();
    let mut watcher = admin.watch().await;
    let mut events = 0;
    while watcher.event().await.is_some() {
        events += 1;
    }
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(60) && took < Duration::from_secs(65), "{took:?}");
    assert!((20..=40).contains(&events), "{events}");
    let mut again = admin.watch().await;
    let event = again.event().await.unwrap();
    assert!(event["charts"]["at"].as_array().unwrap().len() >= 4, "the last minute is there: {event}");
}

#[tokio::test]
async fn only_so_many_watch_and_probes_are_heard_besides() {
    let admin = start(Limits::default()).await;
    let mut watchers = Vec::new();
    for _ in 0..16 {
        let mut watcher = admin.watch().await;
        assert_eq!(watcher.status(), "200");
        watcher.event().await.unwrap();
        watchers.push(watcher);
    }
    assert_eq!(admin.watch().await.status(), "503");
    assert!(admin.request_as("GET", "/livez", "").await.0.starts_with("http/1.1 200"));
    watchers.pop();
    let freed = async {
        while admin.watch().await.status() != "200" {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(SOON, freed).await.expect("one who leaves makes room");
}

#[tokio::test(start_paused = true)]
async fn a_watcher_who_reads_nothing_loses_its_place() {
    let admin = start(Limits { connections: 1, ..Limits::default() }).await;
    let held: Vec<_> = (0..200).map(|n| admin.observe.partitions.partition(&"t".repeat(200), n)).collect();
    let deaf = admin.watch().await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(admin.watch().await.status(), "503", "the place is taken");
    sleep(Duration::from_secs(40)).await;
    assert!(admin.request_as("GET", "/livez", "").await.0.starts_with("http/1.1 200"));
    drop((deaf, held));
}

#[tokio::test]
async fn the_script_is_valid() {
    let (_, script) = start(Limits::default()).await.request_as("GET", "/page.js", "").await;
    let file = tempfile::Builder::new().suffix(".mjs").tempfile().unwrap();
    std::fs::write(file.path(), script).unwrap();
    match Command::new("node").arg("--check").arg(file.path()).output() {
        Ok(checked) => assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr)),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "node checks the script: {error}");
            eprintln!("left out: node is not installed: {error}");
        }
    }
}

#[tokio::test]
async fn what_others_wrote_steers_no_terminal() {
    const STEERING: &str = "a\u{1b}[2J\u{7f}\u{9b}31m\0\r\u{202e}\u{2066}\u{feff}b";
    let admin = Admin::start_with(Limits::default(), json!({"group": {"id": STEERING}})).await;
    let partition = admin.observe.partitions.partition("user-login", 3);
    partition.failed("fatal", STEERING);
    let group = admin.observe.metrics.group(STEERING);
    group.assigned(1);
    let counter = admin.observe.metrics.rule(STEERING);
    counter.inc();
    let member_id = Some(STEERING.to_owned());
    admin.observe.partitions.group(GroupReport { member_id, ..GroupReport::default() });
    admin.observe.tallies.register().lock().count(2, STEERING);
    admin.observe.health.started();
    let component = admin.observe.health.component("partition user-login/3");
    component.degraded(STEERING, Severity::Fatal);
    for path in ["/", "/readyz", "/status", "/metrics"] {
        for accept in ["accept: text/html\r\n", "accept: application/openmetrics-text\r\n", ""] {
            let (_, body) = admin.request_as("GET", path, accept).await;
            let steering = body.chars().find(|c| "\u{1b}\u{7f}\u{9b}\0\r\u{202e}\u{2066}\u{feff}".contains(*c));
            assert_eq!(steering, None, "{path} {body:?}");
            let is_index = path == "/" && !accept.contains("html");
            assert!(is_index || body.contains("[2J"), "{path} tells of it: {body}");
        }
    }
    // A browser gets no more of it than a terminal.
    let event = timeout(SOON, admin.watch().await.event()).await.unwrap().unwrap();
    let shown = [&event["partitions"][0]["last_error"]["message"], &event["reasons"][0], &event["owner"]];
    for text in shown {
        assert!(!text.as_str().unwrap().contains(['\u{1b}', '\u{202e}', '\0']), "{text}");
    }
}
