//! Real admin ports and other things that answer, and the page that they make.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use kafka_client::pem;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::answer::{Answer, Charts, Distribution, LastError, Partition, Tally, ValueCount};
use super::client;
use super::draw::{Theme, draw};
use super::model::{Model, Wish};
use super::plain;
use super::sanitize::Sanitized;
use super::target::Target;
use crate::config;
use crate::observe::{AdminServer, Observe, PartitionState, Severity};
use crate::record::Offset;

const PATIENCE: Duration = Duration::from_secs(20);

fn tls() -> Arc<rustls::ClientConfig> {
    Arc::new(pem::client_config(None, None).unwrap())
}

/// What `/events` and `/livez` of a process with these boards say.
async fn served(observe: Observe) -> Answer {
    let admin = config::Admin::at(([127, 0, 0, 1], 0).into());
    let server = AdminServer::bind(&admin).await.unwrap();
    let (address, stop) = (server.local_addr(), CancellationToken::new());
    let serving = tokio::spawn(server.serve(observe, stop.clone()));
    let answer = client::read(&address.into(), &tls(), PATIENCE).await.unwrap();
    stop.cancel();
    serving.await.unwrap();
    answer
}

#[tokio::test]
async fn an_instance_is_read_as_it_is() {
    let observe = Observe::new("1.2.3", &["device_type", "app_version"], Duration::ZERO, json!({}));
    observe.health.started();
    let component = observe.health.component("partition user-login/3");
    component.degraded("user-login/3: \u{1b}[2J no leader", Severity::Fatal);
    let partition = observe.partitions.partition("user-login", 3);
    partition.position(Offset(120));
    partition.committed(Offset(100));
    partition.high_watermark(Offset(350));
    partition.state(PartitionState::Retrying);
    partition.failed("transient", "a\u{7}bell");
    let tally = observe.tallies.register();
    tally.lock().totals().records_in = 7;
    tally.lock().errors("tombstone", 2);
    tally.lock().count(1, "\u{1b}]0;title\u{7}");
    let answer = served(observe).await;
    assert_eq!((answer.version.as_str(), answer.state.as_str()), ("1.2.3", "running"));
    assert_eq!((answer.live, answer.ready, answer.lag()), (true, Some(false), Some(250)));
    assert!(answer.reasons[0].as_str().contains("\\u{1b}[2J no leader"), "{:?}", answer.reasons);
    let partition = &answer.partitions[0];
    assert_eq!((partition.position, partition.committed, partition.state.as_str()), (Some(120), Some(100), "retrying"));
    assert_eq!(partition.last_error.as_ref().unwrap().message.as_str(), "a\\u{7}bell");
    assert_eq!(
        (answer.tally.records_in, &answer.tally.errors),
        (7, &BTreeMap::from([(Sanitized::new("tombstone"), 2)]))
    );
    let versions = &answer.tally.distributions[1];
    assert_eq!((versions.top.len(), versions.total), (0, 1), "what is no version is not shown");
}

/// What is said of one who answers each request with these bytes, again and again where `endless`.
async fn told(answer: Vec<u8>, endless: bool, patience: Duration) -> Result<Answer, Sanitized> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target::from(listener.local_addr().unwrap());
    let answers = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        while matches!(stream.read(&mut request).await, Ok(1..)) {
            while stream.write_all(&answer).await.is_ok() && endless {}
        }
    });
    let told = client::read(&target, &tls(), patience).await;
    answers.abort();
    told
}

#[tokio::test]
async fn whatever_else_answers_is_told_in_a_line() {
    const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}\n";
    const WRONG: &str = "data: {\"version\":\"\\u001b[31m\",\"uptime_seconds\":\"\\u001b[2J\"}\n\n";
    let event = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{WRONG}", WRONG.len());
    const STYLED: &[u8] = b"HTTP/1.1 200 \x1b[31mred\r\n\r\n";
    for (answer, endless, said) in [
        (&b"SSH-2.0-OpenSSH_9.2\r\n"[..], false, "broken off: "),
        (b"\xff\x00\x1b[2J", true, "broken off: "),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", false, "/livez answers 404"),
        (b"HTTP/1.1 200 OK\r\n\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", true, "/livez: the answer is cut"),
        (b"HTTP/1.1 200 OK\r\nx: ", true, "broken off: "),
        (OK, false, "/events: the answer is cut"),
        (
            event.as_bytes(),
            false,
            "not what a login-pipeline answers: invalid type: string \"\\u{1b}[2J\", expected u64",
        ),
        (STYLED, false, ""),
    ] {
        let silence = told(answer.to_vec(), endless, Duration::from_secs(5)).await.unwrap_err();
        assert!(silence.as_str().starts_with(said), "{said}: {silence}");
        assert!(!silence.as_str().contains(char::is_control), "{silence:?}");
    }
    let silence = told(Vec::new(), false, Duration::from_millis(100)).await.unwrap_err();
    assert_eq!(silence.as_str(), "no answer within 100ms");
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let silence = client::read(&nobody.into(), &tls(), PATIENCE).await.unwrap_err();
    assert!(silence.as_str().starts_with("can't connect: "), "{silence}");
}

#[tokio::test]
async fn where_enough_watch_already_the_status_is_read() {
    let observe = Observe::new("1.2.3", &["device_type"], Duration::ZERO, json!({}));
    let admin = config::Admin::at(([127, 0, 0, 1], 0).into());
    let server = AdminServer::bind(&admin).await.unwrap();
    let (address, stop) = (server.local_addr(), CancellationToken::new());
    let serving = tokio::spawn(server.serve(observe, stop.clone()));
    let mut watchers = Vec::new();
    for _ in 0..16 {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /events HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        watchers.push(stream);
    }
    let answer = client::read(&address.into(), &tls(), PATIENCE).await.unwrap();
    assert_eq!((answer.version.as_str(), answer.ready), ("1.2.3", None));
    drop(watchers);
    stop.cancel();
    serving.await.unwrap();
}

/// What the page of a busy instance is made from; `text` is in all that others choose.
fn busy(text: &str) -> Answer {
    let text = Sanitized::new(text);
    let partition = |partition| Partition {
        topic: Sanitized::new(&format!("user-login{text}")),
        partition,
        state: Sanitized::new(if partition == 3 { "retrying" } else { "running" }),
        position: Some(1_000_000 + i64::from(partition)),
        committed: Some(999_000),
        lag: Some(if partition == 3 { 12_345 } else { 7 }),
        last_error: (partition == 3).then(|| LastError {
            class: Sanitized::new("transient"),
            message: Sanitized::new(&format!("produce: NOT_LEADER_OR_FOLLOWER {text}")),
            at: Sanitized::new("2026-01-02T03:04:05.678Z"),
        }),
    };
    let field = |name: &str, values: &[(&str, u64)]| Distribution {
        name: Sanitized::new(name),
        total: values.iter().map(|(_, count)| count).sum(),
        top: values.iter().map(|(value, count)| ValueCount { value: Sanitized::new(value), count: *count }).collect(),
    };
    Answer {
        version: Sanitized::new("0.1.0"),
        uptime_seconds: 3_900,
        state: Sanitized::new("running"),
        partitions: (0..6).map(partition).collect(),
        tally: Tally {
            records_in: 1_000,
            records_out: 980,
            records_dead: 20,
            errors: [("invalid_value", 15), ("tombstone", 5)].map(|(it, n)| (Sanitized::new(it), n)).into(),
            distributions: vec![
                field("device_type", &[("android", 600), ("ios", 370), ("unknown", 10)]),
                field("app_version", &[("2.3.0", 900), (text.as_str(), 80)]),
                field("locale", &[("RU", 500), ("", 480)]),
            ],
            ..Tally::default()
        },
        ready: Some(true),
        live: true,
        charts: Charts {
            took: vec![15_000],
            records_in: vec![7_500],
            records_out: vec![7_350],
            records_dead: vec![150],
            p50: vec![Some(1_100)],
            p95: vec![Some(2_300)],
            p99: vec![Some(250_000)],
        },
        ..Answer::default()
    }
}

fn model(count: usize) -> Model {
    Model::new((0..count).map(|at| format!("10.0.0.{at}:9464")), SystemTime::UNIX_EPOCH)
}

/// A picture as lines, and the colours in it.
fn drawn(model: &Model, (columns, lines): (u16, u16), colours: bool) -> (String, Vec<Color>) {
    let mut terminal = Terminal::new(TestBackend::new(columns, lines)).unwrap();
    terminal.draw(|frame| draw(frame, model, Theme { colours })).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| (0..columns).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned() + "\n";
    let colours = buffer.content().iter().map(|cell| cell.fg).filter(|colour| *colour != Color::Reset);
    ((0..lines).map(line).collect(), colours.collect())
}

#[test]
fn a_page_of_80_by_24_has_everything() {
    let mut model = model(1);
    model.heard(0, Ok(busy("")), Instant::now());
    let (page, colours) = drawn(&model, (80, 24), true);
    assert_eq!(
        page,
        "\
login-pipeline top                                                     00:00:00Z
INSTANCE       STATE  IN/S  OUT/S  DEAD/S    LAG    P50    P95    P99  PARTS
10.0.0.0:9464  ready   500    490      10  12.3k  1.1ms  2.3ms  250ms      6
── 6 partitions, by partition ──────────────────────────────────────────────────
PARTITION     STATE       LAG  POSITION  COMMITTED  OWNER
user-login/0  running       7   1000000     999000  10.0.0.0:9464
user-login/1  running       7   1000001     999000  10.0.0.0:9464
user-login/2  running       7   1000002     999000  10.0.0.0:9464
user-login/3  retrying  12.3k   1000003     999000  10.0.0.0:9464
user-login/4  running       7   1000004     999000  10.0.0.0:9464
user-login/5  running       7   1000005     999000  10.0.0.0:9464




── dead letters ───  ── device_type ───  ── app_version ────  ── locale ────────
invalid_value    15  android        61%  2.3.0           91%  RU             51%
tombstone         5  ios            37%  (empty)          8%  (empty)        48%
                     unknown         1%


── errors ──────────────────────────────────────────────────────────────────────
03:04:05  user-login/3  transient  produce: NOT_LEADER_OR_FOLLOWER
q quit  Tab instance  Left/Right order  Up/Down scroll  p stop  ? help
"
    );
    assert!(colours.contains(&Color::Green) && colours.contains(&Color::Yellow), "{colours:?}");
}

#[test]
fn a_page_of_40_by_10_has_what_matters() {
    let mut model = model(2);
    model.heard(0, Ok(busy("")), Instant::now());
    model.heard(1, Err(Sanitized::new("can't connect: Connection refused (os error 111)")), Instant::now());
    let (page, _) = drawn(&model, (40, 10), true);
    assert_eq!(
        page,
        "\
login-pipeline top  2 instanc… 00:00:00Z
INSTANCE       STATE      IN/S    LAG
all            1/2 well    500  12.3k
10.0.0.0:9464  ready       500  12.3k
10.0.0.1:9464  no answer  can't connect…
── 6 partitions, by partition ──────────
PARTITION     STATE       LAG  OWNER
user-login/0  running       7  …0.0:9464
user-login/1  running       7  …0.0:9464
q quit  ? help  p stop
"
    );
}

#[test]
fn without_colours_the_words_are_there() {
    let mut model = model(2);
    model.heard(0, Ok(busy("")), Instant::now());
    model.heard(1, Err(Sanitized::new("no answer within 3s")), Instant::now());
    let (page, colours) = drawn(&model, (80, 24), false);
    assert_eq!(colours, []);
    assert!(page.contains("1/2 well") && page.contains("no answer  no answer within 3s"), "{page}");
}

#[test]
fn every_size_and_every_text_is_drawn() {
    let hostile = "\u{1b}[2J\u{9b}31m\r\n\t\u{202e}日本\u{200b}e\u{301}";
    let mut model = model(3);
    model.heard(0, Ok(busy(hostile)), Instant::now());
    model.heard(1, Err(Sanitized::new(hostile)), Instant::now());
    for help in [false, true] {
        for columns in (0..=82).step_by(3) {
            for lines in 0..=30 {
                let (page, _) = drawn(&model, (columns, lines), true);
                let raw = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
                assert!(!page.contains(raw), "{columns}x{lines}: {page:?}");
            }
        }
        assert_eq!(drawn(&model, (80, 24), true).0.contains("Shift-Tab"), help);
        model.obey(Wish::Help);
    }
    let mut plain = Vec::new();
    plain::write(&mut plain, &model).unwrap();
    let plain = String::from_utf8(plain).unwrap();
    assert!(!plain.contains(|c: char| c != '\n' && c.is_control()), "{plain:?}");
}

#[test]
fn orders_and_choices_are_seen() {
    let mut model = model(2);
    model.heard(0, Ok(busy("")), Instant::now());
    model.heard(1, Ok(Answer { live: true, ready: Some(false), ..busy("-2") }), Instant::now());
    let first = |model: &Model| {
        let page = drawn(model, (80, 24), true).0;
        let mut lines = page.lines().skip_while(|line| !line.contains("partitions"));
        (lines.next().unwrap().to_owned(), lines.nth(1).unwrap().to_owned())
    };
    let (title, row) = first(&model);
    assert!(title.contains(" 12 partitions, by partition ") && row.starts_with("user-login/0 "), "{title}\n{row}");
    model.obey(Wish::Sort(1));
    let (title, row) = first(&model);
    assert!(title.contains("by lag") && row.starts_with("user-login/3 ") && row.contains("12.3k"), "{title}\n{row}");
    model.obey(Wish::Choose(-1));
    let (title, row) = first(&model);
    assert!(title.contains(" 6 partitions of 10.0.0.1:9464, by lag ") && row.starts_with("user-login-2/3"), "{title}");
    model.obey(Wish::Scroll(1_000));
    assert!(first(&model).1.starts_with("user-login-2/"), "no further than the last");
    model.obey(Wish::Pause);
    assert!(drawn(&model, (80, 24), true).0.contains("stopped at 00:00:00Z"));
}
