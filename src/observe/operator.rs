//! Who may change something through the admin port: whoever bears the token of `admin.token_file`.

use hyper::StatusCode;
use hyper::header::HeaderValue;
use ring::digest::{SHA256, digest};

use crate::config::Admin;

/// Why somebody is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAdmitted {
    /// The answer's code.
    pub code: StatusCode,
    /// What to do about it; says nothing of the token.
    pub why: &'static str,
}

/// Whether a request with this Authorization may change something. The token is read for each, so
/// that a new one counts at once.
///
/// # Errors
/// [`NotAdmitted`].
pub fn admit(admin: &Admin, authorization: Option<&HeaderValue>) -> Result<(), NotAdmitted> {
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

    fn with_token(token_file: Option<&Path>) -> Admin {
        Admin { listen: ([127, 0, 0, 1], 0).into(), token_file: token_file.map(Path::to_owned) }
    }

    fn answer(admin: &Admin, header: Option<&'static str>) -> u16 {
        let header = header.map(HeaderValue::from_static);
        admit(admin, header.as_ref()).map_or_else(|refused| refused.code.as_u16(), |()| 200)
    }

    #[test]
    fn only_the_tokens_bearer_is_admitted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "open sesame\n").unwrap();
        let admin = with_token(Some(file.path()));
        assert_eq!(answer(&admin, Some("Bearer open sesame")), 200);
        for wrong in [None, Some("Bearer open"), Some("open sesame"), Some("Bearer "), Some("bearer open sesame")] {
            assert_eq!(answer(&admin, wrong), 401, "{wrong:?}");
        }
        std::fs::write(file.path(), "another").unwrap();
        assert_eq!(answer(&admin, Some("Bearer open sesame")), 401);
        assert_eq!(answer(&admin, Some("Bearer another")), 200, "a new token counts at once");
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
}
