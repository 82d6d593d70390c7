//! Who may change something through the admin port: whoever bears the token of `admin.token_file`.

use std::fmt;
use std::net::SocketAddr;

use hyper::StatusCode;
use hyper::header::HeaderValue;
use ring::digest::{SHA256, digest};

use super::Metrics;
use super::refusal::Refusal;
use crate::audit;
use crate::config::Admin;

/// The client at the other end of a connection.
#[derive(Debug, Clone)]
pub(super) struct Client {
    /// Where it comes from.
    pub address: SocketAddr,
    /// The SHA-256 digest of its certificate, where it has shown one.
    pub certificate: Option<String>,
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        match &self.certificate {
            Some(digest) => write!(f, ", certificate sha256:{digest}"),
            None => Ok(()),
        }
    }
}

/// Why somebody is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotAdmitted {
    /// The answer's code.
    pub code: StatusCode,
    /// What to do about it; says nothing of the token.
    pub why: &'static str,
}

/// Admits a client that wants to do `action` if its request bears the token. A refusal is counted and logged, five of
/// them a minute.
///
/// # Errors
/// [`NotAdmitted`].
pub(super) fn admit(
    admin: &Admin,
    authorization: Option<&HeaderValue>,
    metrics: &Metrics,
    (client, action): (&Client, &'static str),
) -> Result<(), NotAdmitted> {
    bears_token(admin, authorization).inspect_err(|NotAdmitted { code, .. }| {
        metrics.admin_refused(Refusal::Token);
        let why = match *code {
            StatusCode::FORBIDDEN => "admin.token_file is not set",
            StatusCode::INTERNAL_SERVER_ERROR => "admin.token_file has no token",
            _ if authorization.is_none() => "no token",
            _ => "a wrong token",
        };
        tracing::warn!(target: audit::TARGET, action, by = %client, result = "refused", "admin request refused: {why}");
    })
}

/// Whether a request with this Authorization may change something. The token is read for each, so
/// that a new one counts at once.
fn bears_token(admin: &Admin, authorization: Option<&HeaderValue>) -> Result<(), NotAdmitted> {
    let refused = |code, why| Err(NotAdmitted { code, why });
    let token = match admin.token() {
        Ok(Some(token)) => token,
        Ok(None) => return refused(StatusCode::FORBIDDEN, "set admin.token_file to allow this\n"),
        Err(why) => {
            tracing::error!("admin.token_file: {why}");
            return refused(StatusCode::INTERNAL_SERVER_ERROR, "admin.token_file has no token: see the log\n");
        }
    };
    // Compared by their digests: how long that takes tells nothing of the token.
    let is_it = |borne| digest(&SHA256, borne).as_ref() == digest(&SHA256, token.expose().as_bytes()).as_ref();
    match authorization.and_then(|value| value.as_bytes().strip_prefix(b"Bearer ")) {
        Some(borne) if is_it(borne) => Ok(()),
        _ => refused(StatusCode::UNAUTHORIZED, "wants the token of admin.token_file: Authorization: Bearer ...\n"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::observe::logs::testing::captured;

    fn with_token(token_file: Option<&Path>) -> Admin {
        Admin { token_file: token_file.map(Path::to_owned), ..Admin::at(([127, 0, 0, 1], 0).into()) }
    }

    fn answer(admin: &Admin, header: Option<&'static str>) -> u16 {
        let header = header.map(HeaderValue::from_static);
        bears_token(admin, header.as_ref()).map_or_else(|refused| refused.code.as_u16(), |()| 200)
    }

    #[test]
    fn only_the_tokens_bearer_is_admitted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "open sesame, open\n").unwrap();
        let admin = with_token(Some(file.path()));
        assert_eq!(answer(&admin, Some("Bearer open sesame, open")), 200);
        for wrong in
            [None, Some("Bearer open"), Some("open sesame, open"), Some("Bearer "), Some("bearer open sesame, open")]
        {
            assert_eq!(answer(&admin, wrong), 401, "{wrong:?}");
        }
        std::fs::write(file.path(), "another, as long").unwrap();
        assert_eq!(answer(&admin, Some("Bearer open sesame, open")), 401);
        assert_eq!(answer(&admin, Some("Bearer another, as long")), 200, "a new token counts at once");
        std::fs::write(file.path(), "a short one").unwrap();
        assert_eq!(answer(&admin, Some("Bearer a short one")), 500, "fewer than 16 bytes");
    }

    #[test]
    fn without_a_token_nobody_is_admitted() {
        assert_eq!(answer(&with_token(None), Some("Bearer ")), 403);
        let file = tempfile::NamedTempFile::new().unwrap();
        let admin = with_token(Some(file.path()));
        assert_eq!(answer(&admin, Some("Bearer ")), 500, "an empty file");
        let admin = with_token(Some(Path::new("/nowhere")));
        assert_eq!(answer(&admin, Some("Bearer ")), 500);
    }

    #[test]
    fn who_is_refused_is_counted_and_told_of_a_few_times_a_minute() {
        let (lines, _guard) = captured();
        let metrics = Metrics::new("1.2.3");
        let client = Client { address: "10.0.0.7:4242".parse().unwrap(), certificate: Some("ab".to_owned()) };
        let wrong = HeaderValue::from_static("Bearer canary");
        for _ in 0..100 {
            admit(&with_token(None), Some(&wrong), &metrics, (&client, "resume")).unwrap_err();
        }
        let encoded = metrics.encode();
        assert!(encoded.contains("login_pipeline_admin_refusals_total{reason=\"token\"} 100"), "{encoded}");
        assert!(!encoded.contains("10.0.0.7"), "{encoded}");
        let lines = lines.json();
        assert_eq!(lines.len(), 5);
        assert_eq!(lines[0]["by"], "10.0.0.7:4242, certificate sha256:ab");
        assert_eq!((lines[0]["action"].as_str(), lines[0]["result"].as_str()), (Some("resume"), Some("refused")));
        assert_eq!(lines[0]["message"], "admin request refused: admin.token_file is not set");
    }
}
