//! Its pages for probes and Prometheus, and what it holds against clients.

use std::time::Duration;

use login_pipeline::config;
use login_pipeline::observe::{AdminServer, Format, Limits, Severity};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::{Admin, Answer};

#[tokio::test]
async fn every_page_answers() {
    let admin = Admin::start().await;
    let partition = admin.observe.metrics.partition("user-login", 3);
    partition.fetched(7, 1_470);
    let status = admin.observe.partitions.partition("user-login", 3);

    let index = admin.request("GET", "/").await;
    assert_eq!(index.status, 200);
    assert!(index.body.contains("/metrics"));

    let metrics = admin.request("GET", "/metrics?ignored=1").await;
    assert_eq!(metrics.status, 200);
    let content_type = |format: Format| format!("content-type: {}\r\n", format.content_type());
    assert!(metrics.head.contains(&content_type(Format::Text)), "{}", metrics.head);
    let expected = "login_pipeline_source_records_total{topic=\"user-login\",partition=\"3\"} 7\n";
    assert!(metrics.body.contains(expected) && !metrics.body.contains("# EOF"));

    let mut asks = admin.connect().await;
    let accept = "accept: text/plain;q=0.5\r\naccept: application/openmetrics-text;version=1.0.0\r\n";
    let request = format!("GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{accept}\r\n");
    asks.write_all(request.as_bytes()).await.unwrap();
    let metrics = Answer::read(asks).await;
    assert!(metrics.head.contains(&content_type(Format::OpenMetrics)), "{}", metrics.head);
    assert!(metrics.body.contains(expected) && metrics.body.ends_with("# EOF\n"));

    let page = admin.request("GET", "/status").await;
    assert!(page.head.contains("content-type: application/json") && page.head.contains("no-store"));
    let page: Value = serde_json::from_str(&page.body).unwrap();
    assert_eq!((&page["version"], &page["state"]), (&json!("1.2.3"), &json!("starting")));
    assert_eq!(page["partitions"][0]["partition"], 3);
    assert_eq!(page["configuration"]["source"]["topic"], "user-login");
    drop((partition, status));

    let metrics = admin.request("GET", "/metrics").await;
    assert!(!metrics.body.contains("partition=\"3\""));
}

#[tokio::test]
async fn probes_tell_why_not() {
    let admin = Admin::start().await;
    let starting = admin.request("GET", "/readyz").await;
    assert_eq!((starting.status, &*starting.body), (503, "process: starting: startup is not finished\n"));
    assert_eq!(admin.request("GET", "/livez").await.status, 200);

    admin.observe.health.started();
    let ready = admin.request("GET", "/readyz").await;
    assert_eq!((ready.status, &*ready.body), (200, "ready\n"));

    let component = admin.observe.health.component("output");
    component.degraded("not allowed to write", Severity::Fatal);
    let unready = admin.request("GET", "/readyz").await;
    assert_eq!((unready.status, &*unready.body), (503, "output: degraded: not allowed to write\n"));
    assert_eq!(admin.request("GET", "/livez").await.status, 200);

    component.dead("the disk is gone");
    let dead = admin.request("GET", "/livez").await;
    assert_eq!((dead.status, &*dead.body), (503, "output: dead: the disk is gone\n"));
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let admin = Admin::start().await;
    for path in ["/", "/livez", "/readyz", "/metrics", "/status", "/log-level"] {
        let get = admin.request("GET", path).await;
        let head = admin.request("HEAD", path).await;
        assert_eq!((head.status, &*head.body), (get.status, ""), "{path}");
        if !["/status", "/metrics"].contains(&path) {
            let length = format!("content-length: {}", get.body.len());
            assert!(head.head.contains(&length), "{path}: {}", head.head);
        }
    }
}

#[tokio::test]
async fn what_there_is_not_is_refused() {
    let admin = Admin::start().await;
    for path in ["/nothing", "/metrics/", "//metrics", "/..%2fstatus"] {
        assert_eq!(admin.request("GET", path).await.status, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"] {
        let answer = admin.request(method, "/metrics").await;
        assert_eq!(answer.status, 405, "{method}");
        assert!(answer.head.contains("allow: get, head"), "{}", answer.head);
    }
    for (method, code) in [("POST", 405), ("PUT", 403)] {
        assert_eq!(admin.request(method, "/log-level").await.status, code, "{method}: there is no token");
    }
    let with_body = b"POST /status HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n";
    assert_eq!(admin.send(with_body).await.status, 405, "answered without waiting for the body");
}

#[tokio::test]
async fn garbage_breaks_only_its_own_connection() {
    let admin = Admin::start().await;
    for garbage in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..], b"\0\0\0\0\r\n\r\n", b"GET\r\n\r\n"] {
        assert!([0, 400].contains(&admin.send(garbage).await.status), "{garbage:?}");
    }
    assert_eq!(admin.request("GET", "/livez").await.status, 200);
}

#[tokio::test]
async fn a_head_has_a_largest_size() {
    let admin = Admin::start().await;
    let long_line = format!("GET /livez HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "x".repeat(64 * 1024));
    let many_lines = format!("GET /livez HTTP/1.1\r\nhost: localhost\r\n{}\r\n", "x: y\r\n".repeat(500));
    let long_path = format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "x".repeat(64 * 1024));
    for request in [long_line, many_lines, long_path] {
        let mut stream = admin.connect().await;
        let _ = stream.write_all(request.as_bytes()).await;
        let status = Answer::read(stream).await.status;
        assert!([0, 414, 431].contains(&status), "{status}");
    }
    assert_eq!(admin.request("GET", "/livez").await.status, 200);
}

#[tokio::test]
async fn a_newcomer_takes_the_place_of_who_has_asked_nothing_for_longest() {
    let admin = Admin::start_with(Limits { connections: 3, ..Limits::default() }, Value::Null).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = admin.connect().await;
        stream.write_all(b"GET /status HTTP/1.1\r\nhost: localhost\r\n").await.unwrap();
        sleep(Duration::from_millis(100)).await;
        held.push(stream);
    }
    held[0].write_all(b"\r\n").await.unwrap();
    let mut first = [0; 12];
    held[0].read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");

    assert_eq!(admin.request("GET", "/livez").await.status, 200);
    let [mut kept, slow, mut last] = held.try_into().unwrap();
    assert_eq!(Answer::read(slow).await.status, 0);
    last.write_all(b"connection: close\r\n\r\n").await.unwrap();
    kept.write_all(b"GET /status HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    for stays in [kept, last] {
        assert!(Answer::read(stays).await.body.ends_with('}'));
    }
}

#[tokio::test]
async fn who_says_nothing_keeps_nobody_out() {
    let limits = Limits { silent: 2, connections: 1, ..Limits::default() };
    let admin = Admin::start_with(limits, Value::Null).await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(admin.connect().await);
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(admin.request("GET", "/livez").await.status, 200);
    // The first two gave way: to the third, and to who asked.
    let [first, second, mut third] = silent.try_into().unwrap();
    for gone in [first, second] {
        assert_eq!(Answer::read(gone).await.status, 0);
    }
    third.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    assert_eq!(Answer::read(third).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_loses_its_slot() {
    let admin = Admin::start_with(Limits { connections: 1, ..Limits::default() }, Value::Null).await;
    let mut slow = admin.connect().await;
    let begun = Instant::now();
    slow.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
    let trickle = async {
        while slow.write_all(b"x: y\r\n").await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
    };
    timeout(Duration::from_secs(30), trickle).await.expect("the server closes");
    assert!(begun.elapsed() >= Duration::from_secs(5) && begun.elapsed() < Duration::from_secs(10));
    assert_eq!(admin.request("GET", "/livez").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_is_closed() {
    let admin = Admin::start().await;
    let begun = Instant::now();
    let silent = Answer::read(admin.connect().await).await;
    assert_eq!(silent.status, 0);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());

    let begun = Instant::now();
    let mut kept = admin.connect().await;
    kept.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    assert_eq!(Answer::read(kept).await.status, 200);
    let idle = begun.elapsed();
    assert!(idle >= Duration::from_secs(5) && idle < Duration::from_secs(10), "{idle:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_reads_is_cut_off_in_time_and_for_a_newcomer_at_once() {
    const SIZE: usize = 32 << 20;
    let large = json!("x".repeat(SIZE));
    let admin = Admin::start_with(Limits { connections: 1, ..Limits::default() }, large).await;
    for newcomer in [false, true] {
        let mut deaf = admin.connect().await;
        deaf.write_all(b"GET /status HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        sleep(Duration::from_secs(1)).await;
        if newcomer {
            assert_eq!(admin.request("GET", "/livez").await.status, 200);
        } else {
            sleep(Duration::from_secs(65)).await;
        }
        let cut = Answer::read(deaf).await;
        assert!(cut.status == 200 && cut.body.len() < SIZE, "{}", cut.body.len());
    }
}

#[tokio::test]
async fn stopping_closes_what_is_idle_and_the_port() {
    let admin = Admin::start().await;
    let mut kept = admin.connect().await;
    kept.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    kept.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");

    admin.shutdown.cancel();
    timeout(Duration::from_secs(4), admin.server).await.expect("no deadline has to pass").unwrap();
    let _ = Answer::read(kept).await;
    assert!(TcpStream::connect(admin.address).await.is_err());
}

#[tokio::test]
async fn a_taken_address_is_named() {
    let admin = Admin::start().await;
    let taken = config::Admin::at(admin.address);
    let error = AdminServer::bind(&taken).await.unwrap_err().to_string();
    let expected = format!("admin.listen: can't listen on {}: ", admin.address);
    assert!(error.starts_with(&expected), "{error}");
}

#[tokio::test]
async fn a_port_on_loopback_answers_to_this_machines_names_alone() {
    let admin = Admin::start().await;
    let ask = async |host: &str, path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\n{host}connection: close\r\n\r\n");
        admin.send(request.as_bytes()).await
    };
    for host in ["host: localhost\r\n", "host: 127.0.0.1:9464\r\n", "host: [::1]\r\n", ""] {
        assert_eq!(ask(host, "/livez").await.status, 200, "{host:?}");
    }
    for (host, path) in [
        ("host: evil.example\r\n", "/status"),
        ("host: evil.example:9464\r\n", "/"),
        ("host: localhost.evil.example\r\n", "/metrics"),
        ("host: localhost\r\nhost: evil.example\r\n", "/livez"),
        ("host: localhost\r\n", "http://evil.example/status"),
        ("host: evil.example\r\n", "/log-level"),
    ] {
        let answer = ask(host, path).await;
        assert_eq!(answer.status, 421, "{host} {path}");
        assert!(answer.body.starts_with("this port is on loopback, and answers to localhost"), "{}", answer.body);
    }
    let encoded = admin.observe.metrics.encode();
    assert!(encoded.contains("login_pipeline_admin_refusals_total{reason=\"host\"} 6"), "{encoded}");
    // What all can reach has names of its own.
    let everywhere = Admin::serve(&config::Admin::at(([0, 0, 0, 0], 0).into())).await;
    let here = std::net::SocketAddr::from(([127, 0, 0, 1], everywhere.address.port()));
    let mut stream = TcpStream::connect(here).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: pod-3.example\r\nconnection: close\r\n\r\n").await.unwrap();
    assert_eq!(Answer::read(stream).await.status, 200);
}
