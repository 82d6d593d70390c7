//! Tokens from an endpoint that is there, late, wrong, or no token endpoint at all.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use login_pipeline::config::{Secret, TokenEndpoint as Config};
use login_pipeline::kafka::Tokens;
use login_pipeline::observe::Metrics;
use login_pipeline::retry::ErrorClass;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use test_support::token_endpoint::{Answer, TokenEndpoint, unsecured_token};
use tokio::time::{Instant, sleep};

const SECRET: &str = "canary s&cret";
/// How long the endpoint may take, in tests where it is there.
const PATIENCE: Duration = Duration::from_secs(30);

fn config(url: &str) -> Config {
    Config {
        url: Some(url.parse().unwrap()),
        client_id: Some("pipeline".to_owned()),
        client_secret: Some(Secret::new(SECRET)),
        ..Config::default()
    }
}

fn tokens(config: &Config) -> Tokens {
    Tokens::new(config, PATIENCE, PATIENCE).unwrap()
}

/// Why there is no token, which quotes no secret.
async fn refusal(tokens: &Tokens) -> (ErrorClass, String) {
    let error = tokens.current().await.unwrap_err();
    let shown = format!("{error} {error:?} {tokens:?}");
    assert!(!shown.contains("canary"), "{shown}");
    (error.class(), error.to_string())
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "not in time: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn one_token_is_asked_for_and_given_to_all() {
    let endpoint = TokenEndpoint::start(|_| Answer::token("a.b.c", 3_600));
    let tokens = Arc::new(tokens(&Config {
        scope: Some("kafka/read a&b".to_owned()),
        audience: Some("https://kafka".to_owned()),
        ..config(&endpoint.url)
    }));
    let asking: Vec<_> = (0..20)
        .map(|_| {
            let tokens = Arc::clone(&tokens);
            tokio::spawn(async move { tokens.current().await.unwrap() })
        })
        .collect();
    for asked in asking {
        assert_eq!(asked.await.unwrap().expose(), "a.b.c");
    }
    let asked = endpoint.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].line, "POST /token");
    assert_eq!(asked[0].client, "pipeline:canary+s%26cret");
    assert_eq!(asked[0].form, "grant_type=client_credentials&scope=kafka%2Fread+a%26b&audience=https%3A%2F%2Fkafka");
}

#[tokio::test]
async fn the_next_token_is_there_before_the_last_one_is_over() {
    let endpoint = TokenEndpoint::start(|asked| Answer::token(&format!("token-{}", asked.before), 2));
    let tokens = tokens(&config(&endpoint.url));
    let begun = Instant::now();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        assert!(begun.elapsed() < PATIENCE, "{seen:?}");
        let token = tokens.current().await.unwrap().expose().to_owned();
        if seen.last() != Some(&token) {
            seen.push(token);
        }
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(seen, ["token-0", "token-1", "token-2"]);
    drop(tokens);
    let asked = endpoint.asked().len();
    sleep(Duration::from_secs(3)).await;
    assert!(endpoint.asked().len() <= asked + 1, "nobody holds the tokens, and they are still asked for");
}

#[tokio::test]
async fn nobody_notices_an_endpoint_that_fails_for_less_than_a_tokens_life() {
    let endpoint = TokenEndpoint::start(|_| Answer::token("first", 4));
    let tokens = tokens(&config(&endpoint.url));
    let metrics = Metrics::new("0");
    tokens.count_in(&metrics);
    assert_eq!(tokens.current().await.unwrap().expose(), "first");
    endpoint.answer(|_| Answer::json(500, "out of order"));
    until("the second request", || endpoint.asked().len() >= 2).await;
    assert_eq!(tokens.current().await.unwrap().expose(), "first", "it lives on");
    endpoint.answer(|_| Answer::token("second", 3_600));
    until("the second token", || endpoint.asked().len() >= 3).await;
    let end = Instant::now() + PATIENCE;
    while tokens.current().await.unwrap().expose() != "second" {
        assert!(Instant::now() < end);
        sleep(Duration::from_millis(10)).await;
    }
    let counted = metrics.encode();
    assert!(counted.contains("login_pipeline_retries_total{operation=\"token\",class=\"transient\"}"), "{counted}");
}

#[tokio::test]
async fn failures_are_asked_again_after_a_pause_that_all_share() {
    let endpoint = TokenEndpoint::start(|asked| match asked.before {
        0 | 1 => Answer::json(503, ""),
        _ => Answer::token("third", 60),
    });
    let tokens = tokens(&config(&endpoint.url));
    let (class, why) = refusal(&tokens).await;
    assert_eq!(class, ErrorClass::Transient);
    assert!(why.contains(&endpoint.url) && why.ends_with("refuses with 503"), "{why}");
    for _ in 0..50 {
        assert_eq!(refusal(&tokens).await, (class, why.clone()));
    }
    assert_eq!(endpoint.asked().len(), 1, "the endpoint is left alone meanwhile");
    let end = Instant::now() + PATIENCE;
    while tokens.current().await.is_err() {
        assert!(Instant::now() < end);
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(endpoint.asked().len(), 3);
}

#[tokio::test]
async fn a_wrong_secret_is_mended_in_its_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "canary-wrong\n").unwrap();
    let endpoint = TokenEndpoint::start(|asked| match asked.client.as_str() {
        "pipeline:right" => Answer::token("t", 60),
        client => {
            let words = format!("no such client: {client}");
            Answer::json(401, serde_json::json!({ "error": "invalid_client", "error_description": words }))
        }
    });
    let from_file =
        Config { client_secret: None, client_secret_file: Some(file.path().to_owned()), ..config(&endpoint.url) };
    let tokens = tokens(&from_file);
    let (class, why) = refusal(&tokens).await;
    assert_eq!(class, ErrorClass::Fatal);
    assert!(
        why.ends_with(
            "refuses with 401 invalid_client (it says: no such client: pipeline:[redacted]): check kafka.sasl.client_id \
             and kafka.sasl.client_secret or client_secret_file"
        ),
        "{why}"
    );
    std::fs::write(file.path(), "right").unwrap();
    let end = Instant::now() + PATIENCE;
    while tokens.current().await.is_err() {
        assert!(Instant::now() < end);
        sleep(Duration::from_millis(100)).await;
    }
    std::fs::remove_file(file.path()).unwrap();
    let (class, why) = refusal(&self::tokens(&from_file)).await;
    assert!(class == ErrorClass::Fatal && why.contains("can't be read"), "{why}");
}

#[tokio::test]
async fn a_token_that_a_broker_refuses_is_replaced_once_it_is_not_new() {
    let endpoint = TokenEndpoint::start(|asked| Answer::token(&format!("token-{}", asked.before), 3_600));
    let tokens = tokens(&config(&endpoint.url));
    let first = tokens.current().await.unwrap();
    tokens.refused(&first);
    assert_eq!(tokens.current().await.unwrap(), first, "another just now would be no better");
    sleep(Duration::from_secs(11)).await;
    tokens.refused(&Secret::new("another"));
    assert_eq!(tokens.current().await.unwrap(), first);
    tokens.refused(&first);
    assert_eq!(tokens.current().await.unwrap().expose(), "token-1");
}

/// An answer, and what it means.
type Case = (fn() -> Answer, ErrorClass, &'static str);

#[tokio::test]
async fn what_is_no_token_endpoint_says_so() {
    let answers: [Case; 6] = [
        (|| Answer::Http(200, Vec::new(), "<html>canary</html>".to_owned()), ErrorClass::Fatal, "JSON that has"),
        (|| Answer::json(200, "x".repeat(100_000)), ErrorClass::Fatal, "answers with more than 64 KiB"),
        (
            || Answer::Http(200, vec![("x-long", "x".repeat(1_000_000))], String::new()),
            ErrorClass::Fatal,
            "answers with more than 64 KiB",
        ),
        (
            || Answer::Http(302, vec![("location", "https://elsewhere.example/token?q".to_owned())], String::new()),
            ErrorClass::Fatal,
            "redirects to https://elsewhere.example/token (302), which is not followed",
        ),
        (|| Answer::json(404, ""), ErrorClass::Fatal, "404: check kafka.sasl.token_endpoint_url"),
        (|| Answer::token(&unsecured_token("a", -5), None), ErrorClass::Fatal, "expired already"),
    ];
    for (answer, class, why) in answers {
        let endpoint = TokenEndpoint::start(move |_| answer());
        let told = refusal(&tokens(&config(&endpoint.url))).await;
        assert!(told.0 == class && told.1.contains(why), "{told:?}");
        assert_eq!(endpoint.asked().len(), 1);
    }
}

/// A port that reads what it is asked, says these bytes and closes.
fn raw(says: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]); // whatever it is
            let _ = stream.write_all(says);
        }
    });
    url
}

#[tokio::test]
async fn what_speaks_no_http_says_so() {
    for (scheme, says, class, why) in [
        ("http", &b""[..], ErrorClass::Transient, "breaks off"),
        ("http", b"\0\0\0\x08garbage!", ErrorClass::Fatal, "speaks no HTTP/1.1 on this port"),
        ("http", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", ErrorClass::Transient, "breaks off"),
        ("http", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", ErrorClass::Transient, "breaks off"),
        (
            "https",
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            ErrorClass::Fatal,
            "the token endpoint speaks no TLS on this port",
        ),
        ("https", b"", ErrorClass::Transient, "can't be reached"),
    ] {
        let told = refusal(&tokens(&config(&format!("{scheme}{}", raw(says))))).await;
        assert!(told.0 == class && told.1.contains(why), "{says:?}: {told:?}");
    }
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let told = refusal(&tokens(&config(&format!("http://{gone}/")))).await;
    assert!(told.0 == ErrorClass::Transient && told.1.contains("can't be reached: "), "{told:?}");
}

#[tokio::test]
async fn a_silent_endpoint_is_waited_for_no_longer_than_a_request_may_take() {
    let endpoint = TokenEndpoint::start(|_| Answer::Silence);
    let tokens = Tokens::new(&config(&endpoint.url), PATIENCE, Duration::from_millis(200)).unwrap();
    let (class, why) = refusal(&tokens).await;
    assert!(class == ErrorClass::Transient && why.ends_with("gives no answer within 200ms"), "{why}");
    // A port that takes a connection and never speaks TLS.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mute = config(&format!("https://{}/", listener.local_addr().unwrap()));
    let tokens = Tokens::new(&mute, Duration::from_millis(200), PATIENCE).unwrap();
    let (class, why) = refusal(&tokens).await;
    assert!(class == ErrorClass::Transient && why.ends_with("takes no connection within 200ms"), "{why}");
}

#[tokio::test]
async fn https_is_trusted_by_the_ca_that_is_named() {
    let authority = |name: &str| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().pem(), Issuer::new(params, key))
    };
    let ((ca, issuer), (stranger, _)) = (authority("ca"), authority("stranger"));
    let signed = |host: &str| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
    };
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (ca, stranger) = (file("ca.pem", &ca), file("stranger.pem", &stranger));
    let (here, elsewhere) = (signed("127.0.0.1"), signed("elsewhere.example"));
    let ask = async |(cert, key): &(String, String), ca: Option<&Path>| {
        let endpoint = TokenEndpoint::start_tls(cert, key, |_| Answer::token("t", 60));
        let tokens = tokens(&Config { ca_file: ca.map(Path::to_owned), ..config(&endpoint.url) });
        match tokens.current().await {
            Ok(token) => token.expose().to_owned(),
            Err(error) => {
                assert_eq!(error.class(), ErrorClass::Fatal, "{error}");
                error.to_string()
            }
        }
    };
    assert_eq!(ask(&here, Some(&ca)).await, "t");
    for (told, why) in [
        (ask(&here, Some(&stranger)).await, "no CA that is trusted here: check kafka.sasl.token_endpoint_ca_file"),
        (ask(&here, None).await, "no CA that is trusted here: check kafka.sasl.token_endpoint_ca_file"),
        (
            ask(&elsewhere, Some(&ca)).await,
            "is for elsewhere.example, not for 127.0.0.1: kafka.sasl.token_endpoint_url",
        ),
        (ask(&here, Some(&folder.path().join("none"))).await, "can't be read"),
    ] {
        assert!(told.contains(why), "{told}");
    }
}
