//! The answers of a token endpoint (RFC 6749): a token and how long it lives, or why there is none.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::header::{LOCATION, RETRY_AFTER};
use hyper::{HeaderMap, StatusCode, Uri};
use kafka_client::plain::printable;
use serde::Deserialize;
use serde_json::Value;

use crate::config::{Secret, is_bearer_token};
use crate::retry::ErrorClass;

/// The life of a token of which neither the answer nor the token itself says so.
const UNKNOWN_LIFE: Duration = Duration::from_secs(5 * 60);

/// A token that is said to live for longer is asked for again all the same.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest pause that an endpoint may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

const CLIENT: &str = "check kafka.sasl.client_id and kafka.sasl.client_secret or client_secret_file";
const URL: &str = "check kafka.sasl.token_endpoint_url";

/// A token, and how long it lives.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Granted {
    pub(super) token: Secret,
    pub(super) life: Duration,
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refused {
    pub(super) class: ErrorClass,
    pub(super) why: String,
    /// The time that the endpoint asks to be left alone.
    pub(super) pause: Option<Duration>,
}

impl Refused {
    /// A refusal that lasts until someone fixes it.
    pub(super) fn lasting(why: impl Into<String>) -> Self {
        Self { class: ErrorClass::Fatal, why: why.into(), pause: None }
    }

    /// A refusal that passes by itself.
    pub(super) fn passing(why: impl Into<String>) -> Self {
        Self { class: ErrorClass::Transient, why: why.into(), pause: None }
    }
}

/// The members of an answer that mean something here, be it a good one or not.
#[derive(Deserialize)]
struct Body {
    access_token: Option<String>,
    token_type: Option<String>,
    expires_in: Option<Value>,
    error: Option<String>,
    error_description: Option<String>,
}

/// Judges an answer that came at `now`; `hidden` are the forms of what it must not quote.
pub(super) fn read(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    now: SystemTime,
    hidden: &[Secret],
) -> Result<Granted, Refused> {
    if status.is_redirection() {
        return Err(redirected(status, headers));
    }
    let body: Option<Body> = serde_json::from_slice(body).ok();
    match body {
        Some(Body { access_token: Some(token), token_type, expires_in, .. }) if status.is_success() => {
            granted(token, token_type.as_deref(), expires_in.as_ref(), now)
        }
        Some(Body { error: None, .. }) | None if status.is_success() => {
            Err(Refused::lasting(format!("answers, but not with JSON that has an access_token: {URL}")))
        }
        body => Err(refused(status, headers, body, hidden)),
    }
}

fn granted(
    token: String,
    token_type: Option<&str>,
    expires_in: Option<&Value>,
    now: SystemTime,
) -> Result<Granted, Refused> {
    if token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err(Refused::lasting("gives tokens of another type than bearer, which Kafka does not take"));
    }
    if !is_bearer_token(&token) {
        return Err(Refused::lasting("gives an access_token that is no bearer token"));
    }
    let life = match expires_in.map(seconds) {
        Some(Some(seconds)) => seconds,
        Some(None) => return Err(Refused::lasting("says expires_in, and not as a number of seconds")),
        None => match expiry(&token) {
            Some(at) => at - since_epoch(now),
            None => UNKNOWN_LIFE.as_secs_f64(),
        },
    };
    // What is less than a nanosecond is nothing.
    let life = Duration::try_from_secs_f64(life.max(0.0)).unwrap_or(LONGEST_LIFE).min(LONGEST_LIFE);
    if life.is_zero() {
        return Err(Refused::lasting(
            "gives tokens that have expired already: set the clock of its machine, or of this one",
        ));
    }
    Ok(Granted { token: Secret::new(token), life })
}

/// A number, or one in a text, as some endpoints write it.
fn seconds(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    number.filter(|number| number.is_finite())
}

/// The expiry of a token that is a JWT, in seconds since 1970. Its signature is the brokers' to check.
fn expiry(token: &str) -> Option<f64> {
    #[derive(Deserialize)]
    struct Claims {
        exp: f64,
    }
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    let claims = URL_SAFE_NO_PAD.decode(claims).ok().filter(|_| parts.next().is_none())?;
    let Claims { exp } = serde_json::from_slice(&claims).ok()?;
    Some(exp).filter(|exp| exp.is_finite())
}

fn since_epoch(now: SystemTime) -> f64 {
    now.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn redirected(status: StatusCode, headers: &HeaderMap) -> Refused {
    let to = headers.get(LOCATION).and_then(|to| to.to_str().ok()).and_then(|to| to.parse::<Uri>().ok());
    // Neither user nor query: they are no matter of ours.
    let to = to.and_then(|to| Some(format!("{}://{}{}", to.scheme_str()?, to.host()?, to.path())));
    let to = to.map_or_else(String::new, |to| format!(" to {}", printable(&to)));
    Refused::lasting(format!(
        "redirects{to} ({}), which is not followed, since the secret would go there too: {URL}",
        status.as_u16()
    ))
}

fn refused(status: StatusCode, headers: &HeaderMap, body: Option<Body>, hidden: &[Secret]) -> Refused {
    let (error, description) = body.map_or((None, None), |body| (body.error, body.error_description));
    let told = |text: &str| printable(&hidden.iter().fold(text.to_owned(), |text, secret| secret.hidden_in(&text)));
    let code = error.as_deref().map_or_else(String::new, |error| format!(" {}", told(error)));
    let words = description.map_or_else(String::new, |words| format!(" (it says: {})", told(&words)));
    let what = format!("refuses with {}{code}{words}", status.as_u16());
    let error = error.as_deref().unwrap_or_default();
    let passes = matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
        || status.is_server_error()
        || matches!(error, "temporarily_unavailable" | "server_error");
    if passes {
        return Refused { pause: asked_pause(headers), ..Refused::passing(what) };
    }
    let advice = match (error, status) {
        ("invalid_client", _) => CLIENT,
        ("invalid_scope", _) => "check kafka.sasl.scope",
        ("invalid_target", _) => "check kafka.sasl.audience",
        ("unauthorized_client" | "unsupported_grant_type", _) => "allow this client the client_credentials grant there",
        ("", StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::GONE) => URL,
        (_, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => CLIENT,
        _ => {
            "check kafka.sasl.token_endpoint_url, kafka.sasl.scope, kafka.sasl.audience, and what this client may do there"
        }
    };
    Refused::lasting(format!("{what}: {advice}"))
}

/// `Retry-After`, where it is in seconds.
fn asked_pause(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests;
