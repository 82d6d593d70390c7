use proptest::prelude::*;

use super::*;

const SECRET: &str = "canary-secret";

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn read_at(now: u64, status: u16, headers: &[(&'static str, &str)], body: &str) -> Result<Granted, Refused> {
    let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    let status = StatusCode::from_u16(status).unwrap();
    read(status, &headers, body.as_bytes(), at(now), &[Secret::new(SECRET), Secret::new("encoded-canary")])
}

fn jwt(claims: &str) -> String {
    format!("eyJhbGciOiJub25lIn0.{}.", URL_SAFE_NO_PAD.encode(claims))
}

#[test]
fn a_token_lives_for_as_long_as_is_said() {
    let with = |token: &str, more: &str| format!(r#"{{"access_token":"{token}"{more}}}"#);
    let bearer = r#","token_type":"bearer""#;
    for (body, seconds) in [
        (with("a.b-c", r#","expires_in":300,"token_type":"Bearer","scope":"x","refresh_token":null"#), 300.0),
        (with("t", r#","expires_in":"3599""#), 3599.0),
        (with("t", r#","expires_in":0.5"#), 0.5),
        // What the answer says goes before what the token says.
        (with(&jwt(r#"{"exp":1060}"#), r#","expires_in":30"#), 30.0),
        (with(&jwt(r#"{"exp":1060,"iat":"?"}"#), bearer), 60.0),
        (with(&jwt(r#"{"exp":1000.25}"#), r#","expires_in":null"#), 0.25),
        // No JWT, or one that does not say.
        (with("opaque", bearer), 300.0),
        (with("a.b.c", ""), 300.0),
        (with(&jwt("{}"), ""), 300.0),
        (with(&format!("{}.x", jwt(r#"{"exp":1060}"#)), ""), 300.0),
        // For ever is a day.
        (with("t", r#","expires_in":1e300"#), 86_400.0),
        (with("t", r#","expires_in":18446744073709551615"#), 86_400.0),
        (with(&jwt(r#"{"exp":1e300}"#), ""), 86_400.0),
    ] {
        let granted = read_at(1000, 200, &[], &body).unwrap();
        assert_eq!(granted.life, Duration::from_secs_f64(seconds), "{body}");
    }
}

#[test]
fn an_answer_without_a_token_says_what_to_mend() {
    let client = "check kafka.sasl.client_id and kafka.sasl.client_secret or client_secret_file";
    let error = |code: &str| format!(r#"{{"error":"{code}"}}"#);
    for (status, body, class, told) in [
        (401, error("invalid_client"), ErrorClass::Fatal, format!("refuses with 401 invalid_client: {client}")),
        (400, error("invalid_client"), ErrorClass::Fatal, format!("refuses with 400 invalid_client: {client}")),
        (200, error("invalid_client"), ErrorClass::Fatal, format!("refuses with 200 invalid_client: {client}")),
        (401, "<html>".to_owned(), ErrorClass::Fatal, format!("refuses with 401: {client}")),
        (403, String::new(), ErrorClass::Fatal, format!("refuses with 403: {client}")),
        (400, error("invalid_scope"), ErrorClass::Fatal, "check kafka.sasl.scope".to_owned()),
        (400, error("unauthorized_client"), ErrorClass::Fatal, "allow this client the client_credentials".to_owned()),
        (404, "nothing here".to_owned(), ErrorClass::Fatal, "404: check kafka.sasl.token_endpoint_url".to_owned()),
        (405, String::new(), ErrorClass::Fatal, "405: check kafka.sasl.token_endpoint_url".to_owned()),
        (418, error("invalid_request"), ErrorClass::Fatal, "418 invalid_request: check kafka.sasl.token".to_owned()),
        (500, "<html>".to_owned(), ErrorClass::Transient, "refuses with 500".to_owned()),
        (503, String::new(), ErrorClass::Transient, "refuses with 503".to_owned()),
        (429, error("slow_down"), ErrorClass::Transient, "refuses with 429 slow_down".to_owned()),
        (408, String::new(), ErrorClass::Transient, "refuses with 408".to_owned()),
        (400, error("temporarily_unavailable"), ErrorClass::Transient, "refuses with 400 temporarily".to_owned()),
        (200, "<html>".to_owned(), ErrorClass::Fatal, "not with JSON that has an access_token".to_owned()),
        (200, "[]".to_owned(), ErrorClass::Fatal, "not with JSON that has an access_token".to_owned()),
        (204, String::new(), ErrorClass::Fatal, "not with JSON that has an access_token".to_owned()),
        (200, r#"{"access_token":7}"#.to_owned(), ErrorClass::Fatal, "not with JSON that has".to_owned()),
        (200, r#"{"access_token":"a b"}"#.to_owned(), ErrorClass::Fatal, "no bearer token".to_owned()),
        (200, r#"{"access_token":""}"#.to_owned(), ErrorClass::Fatal, "no bearer token".to_owned()),
        (200, r#"{"access_token":"t","token_type":"mac"}"#.to_owned(), ErrorClass::Fatal, "another type".to_owned()),
        (200, r#"{"access_token":"t","expires_in":0}"#.to_owned(), ErrorClass::Fatal, "expired already".to_owned()),
        (
            200,
            r#"{"access_token":"t","expires_in":1e-300}"#.to_owned(),
            ErrorClass::Fatal,
            "expired already".to_owned(),
        ),
        (200, r#"{"access_token":"t","expires_in":-9}"#.to_owned(), ErrorClass::Fatal, "expired already".to_owned()),
        (200, r#"{"access_token":"t","expires_in":"soon"}"#.to_owned(), ErrorClass::Fatal, "expires_in".to_owned()),
        (200, r#"{"access_token":"t","expires_in":[]}"#.to_owned(), ErrorClass::Fatal, "expires_in".to_owned()),
        (
            200,
            format!(r#"{{"access_token":"{}"}}"#, jwt(r#"{"exp":999}"#)),
            ErrorClass::Fatal,
            "expired already".to_owned(),
        ),
    ] {
        let refused = read_at(1000, status, &[], &body).unwrap_err();
        assert!(refused.class == class && refused.why.contains(&told), "{status} {body}: {refused:?}");
    }
}

#[test]
fn the_endpoints_words_are_told_without_secrets_and_control_characters() {
    let words = format!("no client \u{1b}[31m{SECRET}\\n {} {}", "encoded-canary", "x".repeat(500));
    let body = serde_json::json!({ "error": "invalid_client", "error_description": words });
    let refused = read_at(0, 401, &[], &body.to_string()).unwrap_err();
    assert!(refused.why.contains(r"(it says: no client \u{1b}[31m[redacted]"), "{}", refused.why);
    assert!(!refused.why.contains("canary") && refused.why.len() < 500, "{}", refused.why);
}

#[test]
fn a_redirect_is_told_and_not_followed() {
    for (status, to, told) in [
        (302, Some("https://u:p@login.example:1/there?state=x"), "redirects to https://login.example/there (302)"),
        (307, Some("/there"), "redirects (307)"),
        (303, Some("\u{1}"), "redirects (303)"),
        (301, None, "redirects (301)"),
    ] {
        let to = to.and_then(|to| hyper::header::HeaderValue::from_bytes(to.as_bytes()).ok());
        let headers = to.into_iter().map(|to| (LOCATION, to)).collect();
        let body = br#"{"access_token":"t"}"#;
        let refused = read(StatusCode::from_u16(status).unwrap(), &headers, body, at(0), &[]).unwrap_err();
        assert!(refused.why.starts_with(told) && refused.class == ErrorClass::Fatal, "{refused:?}");
    }
}

#[test]
fn a_pause_that_is_asked_for_is_heeded_up_to_a_minute() {
    for (asked, pause) in [
        ("7", Some(7)),
        (" 7", Some(7)),
        ("86400", Some(60)),
        ("-1", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", None),
        ("99999999999999999999", None),
    ] {
        for status in [429, 503] {
            let refused = read_at(0, status, &[("retry-after", asked)], "").unwrap_err();
            assert_eq!(refused.pause, pause.map(Duration::from_secs), "{asked}");
        }
    }
    assert_eq!(read_at(0, 401, &[("retry-after", "7")], "").unwrap_err().pause, None);
}

/// Pieces of which answers are made, and what is none.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let member = prop_oneof![
        Just(r#""access_token":"e30.e30.e30""#.to_owned()),
        Just(format!(r#""error":"{SECRET}""#)),
        ".{0,40}".prop_map(|text| format!(r#""error_description":{}"#, Value::from(text))),
        any::<f64>().prop_map(|number| format!(r#""expires_in":{number:e}"#)),
        ".{0,40}".prop_map(|text| format!(r#""expires_in":{}"#, Value::from(text))),
        "[ -~]{0,20}".prop_map(|text| format!(r#""access_token":{}"#, Value::from(text))),
        any::<f64>().prop_map(|exp| format!(r#""access_token":"{}""#, jwt(&format!(r#"{{"exp":{exp:e}}}"#)))),
    ];
    prop_oneof![
        proptest::collection::vec(member, 0..4).prop_map(|members| format!("{{{}}}", members.join(",")).into_bytes()),
        proptest::collection::vec(any::<u8>(), 0..200),
    ]
}

proptest! {
    #[test]
    fn no_answer_does_harm(status in 200u16..600, body in bodies(), now in 0u64..1 << 40, header in "[ -~]{0,40}") {
        let headers = [(LOCATION, &header), (RETRY_AFTER, &header)];
        let headers = headers.into_iter().map(|(name, value)| (name, value.parse().unwrap())).collect();
        let status = StatusCode::from_u16(status).unwrap();
        match read(status, &headers, &body, at(now), &[Secret::new(SECRET)]) {
            Ok(granted) => {
                prop_assert!(granted.life > Duration::ZERO && granted.life <= LONGEST_LIFE);
                prop_assert!(is_bearer_token(granted.token.expose()));
            }
            Err(refused) => {
                prop_assert!(!refused.why.contains(SECRET) && !refused.why.chars().any(char::is_control));
                prop_assert!(refused.why.len() < 5_000 && refused.pause.is_none_or(|pause| pause <= LONGEST_PAUSE));
            }
        }
    }
}
