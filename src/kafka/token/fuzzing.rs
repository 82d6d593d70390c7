//! What the fuzzer reaches of a token endpoint's answers. Only with the feature `fuzzing`.

use std::time::{Duration, UNIX_EPOCH};

use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};

use super::answer;
use crate::config::Secret;

/// Judges an answer: how long its token lives, or why there is none and how long to leave the endpoint alone. What is no
/// status, and no value of a header, no answer has.
///
/// # Errors
/// Why there is no token.
pub fn judge(
    status: u16,
    (location, retry_after): (&[u8], &[u8]),
    body: &[u8],
    hidden: &[Secret],
) -> Result<Duration, (String, Option<Duration>)> {
    let headers = [(LOCATION, location), (RETRY_AFTER, retry_after)];
    let headers = headers.into_iter().filter_map(|(name, value)| Some((name, HeaderValue::from_bytes(value).ok()?)));
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let now = UNIX_EPOCH + Duration::from_secs(1_767_323_045);
    let judged = answer::read(status, &HeaderMap::from_iter(headers), body, now, hidden);
    judged.map(|granted| granted.life).map_err(|refused| (refused.why, refused.pause))
}
