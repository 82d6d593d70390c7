//! `/log-level`: what the log lets through, and another level by PUT, from whoever bears the token.

use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::{Request, StatusCode};
use tokio::time::timeout;

use super::Metrics;
use super::admin_auth::{self, Client, NotAdmitted};
use super::logs::{self, level};
use crate::audit;
use crate::config::{Admin, is_log_level};

/// As the audit calls it.
const ACTION: &str = "log_level";

/// The longest body.
const MAX_BYTES: usize = 1_024;

/// Puts the level of the request's body in force, which has `patience` to come. Tells what is in
/// force now, or what is wrong.
pub(super) async fn put(
    admin: &Admin,
    metrics: &Metrics,
    client: &Client,
    request: Request<Incoming>,
    patience: Duration,
) -> (StatusCode, String) {
    let authorization = request.headers().get(AUTHORIZATION);
    if let Err(NotAdmitted { code, why }) = admin_auth::admit(admin, authorization, metrics, (client, ACTION)) {
        return (code, why.to_owned());
    }
    let refused = |why: &str| (StatusCode::BAD_REQUEST, format!("{why}\n"));
    let body = match timeout(patience, Limited::new(request.into_body(), MAX_BYTES).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => return refused("the body is longer than 1024 bytes, or broken"),
        Err(_) => return (StatusCode::REQUEST_TIMEOUT, "the body took too long\n".to_owned()),
    };
    let Ok(directives) = str::from_utf8(&body).map(str::trim) else { return refused("the body is not UTF-8") };
    if let Err(wrong) = is_log_level(directives) {
        return refused(&format!("{wrong}; wants what log.level may be, such as debug or info,login_pipeline=debug"));
    }
    if logs::names(directives, audit::TARGET) {
        return refused("the audit can't be changed from here: log.level in the configuration can");
    }
    let say = || tracing::info!(log_level = directives, "the log's level was changed by the admin port");
    // By whichever of the two levels it is let through.
    let said = tracing::enabled!(tracing::Level::INFO);
    if said {
        say();
    }
    match level::set(directives) {
        Ok(()) if !said => say(),
        Ok(()) => {}
        Err(error) => {
            audit::note(ACTION, client, directives, &format!("failed: {error}"));
            return (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"));
        }
    }
    audit::note(ACTION, client, directives, "done");
    (StatusCode::OK, get())
}

/// The directives in force.
pub(super) fn get() -> String {
    format!("{}\n", level::get())
}
