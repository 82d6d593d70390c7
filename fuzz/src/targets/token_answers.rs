//! Answers of a token endpoint: a token lives for some time and at most a day; what is refused is told without any of the
//! secrets, and without what a terminal would obey.
//!
//! An input: status, the two headers that mean something, and the body. `CANARY` in them stands for a secret.

use std::time::Duration;

use login_pipeline::config::Secret;
use login_pipeline::kafka::fuzzing::judge;

use super::{MIB, Target};
use crate::input::{Input, put_field};

/// See the module.
pub const TARGET: Target = Target {
    name: "token_answers",
    about: "answers of a token endpoint",
    run,
    seeds,
    words: &[
        "\"access_token\":", "\"token_type\":", "\"expires_in\":", "\"error\":", "\"error_description\":", "\"bearer\"", "CANARY", "invalid_client", "\\u0043ANARY", "https://", "1e400",
        "eyJleHAiOjE3NjczMjMxMDB9", "\"0.5\"",
    ],
    longest: 2 * 1024,
    memory: 16 * MIB,
};

const SECRET: &str = "CANARY";

fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let (status, location, retry_after) = (input.u16(), input.field(), input.field());
    match judge(status, (location, retry_after), input.rest(), &[Secret::new(SECRET)]) {
        Ok(life) => assert!(!life.is_zero() && life <= Duration::from_secs(24 * 60 * 60), "it lives for {life:?}"),
        Err((why, pause)) => {
            let in_path = String::from_utf8_lossy(location).contains(SECRET);
            assert!(in_path || !why.contains(SECRET), "{why}");
            assert!(!why.contains(char::is_control) && why.len() < 4 * 1024, "{why:?}");
            assert!(pause.is_none_or(|pause| pause <= Duration::from_secs(60)), "{pause:?}");
        }
    }
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let answer = |status: u16, location: &str, retry_after: &str, body: &str| {
        let mut out = status.to_be_bytes().to_vec();
        put_field(&mut out, location.as_bytes());
        put_field(&mut out, retry_after.as_bytes());
        out.extend(body.as_bytes());
        out
    };
    [
        ("token", answer(200, "", "", r#"{"access_token":"abc.eyJleHAiOjE3NjczMjMxMDB9.x","token_type":"Bearer","expires_in":3600}"#)),
        ("jwt", answer(200, "", "", r#"{"access_token":"abc.eyJleHAiOjE3NjczMjMxMDB9.x"}"#)),
        ("text", answer(200, "", "", r#"{"access_token":"abc","expires_in":"299.5"}"#)),
        ("refused", answer(401, "", "", r#"{"error":"invalid_client","error_description":"CANARY is wrong\u0007"}"#)),
        ("busy", answer(429, "", "17", "")),
        ("moved", answer(302, "https://user@host/path?q=CANARY", "", "")),
    ]
    .map(|(name, answer)| (format!("seed-{name}"), answer))
    .to_vec()
}
