//! Which admin port to ask.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use hyper::Uri;

/// The port where none is named: `admin.listen`'s default.
const PORT: u16 = 9464;

/// The admin port of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// A name or an address, IPv6 without brackets.
    host: String,
    port: u16,
    /// Whether it is https.
    has_tls: bool,
}

impl Target {
    /// The host and port to connect to.
    pub(super) fn socket(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// Whether it is asked over TLS.
    pub(super) fn has_tls(&self) -> bool {
        self.has_tls
    }

    /// Asks over TLS, or not.
    pub(super) fn over_tls(self, has_tls: bool) -> Self {
        Self { has_tls, ..self }
    }
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port(), has_tls: false }
    }
}

/// As it is shown, and as a Host header has it.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// `HOST`, `HOST:PORT`, or the address of any page there.
impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wants = || "wants HOST:PORT, http://HOST:PORT or https://HOST:PORT".to_owned();
        let uri: Uri = text.parse().map_err(|_| wants())?;
        let has_tls = match uri.scheme_str() {
            None | Some("http") => false,
            Some("https") => true,
            Some(_) => return Err("the admin port speaks http or https".to_owned()),
        };
        let authority = uri.authority().ok_or_else(wants)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let behind = authority.as_str().rsplit_once(']').map_or(authority.as_str(), |(_, behind)| behind);
        let port = match (authority.port_u16(), behind.contains(':')) {
            (Some(port), _) if port > 0 => port,
            (None, false) => PORT,
            _ => return Err("the port is none from 1 to 65535".to_owned()),
        };
        if host.is_empty() || authority.as_str().contains('@') {
            return Err(wants());
        }
        Ok(Self { host: host.to_owned(), port, has_tls })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_told_in_many_ways() {
        for (text, shown) in [
            ("pipeline-0.pipeline:9464", "pipeline-0.pipeline:9464"),
            ("localhost", "localhost:9464"),
            ("10.0.0.7:80", "10.0.0.7:80"),
            ("[::1]:9464", "[::1]:9464"),
            ("[::1]", "[::1]:9464"),
            ("http://127.0.0.1:1234/status", "127.0.0.1:1234"),
            ("http://node/", "node:9464"),
            ("https://node", "node:9464"),
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), shown);
        }
        let has_tls = |text: &str| text.parse::<Target>().unwrap().has_tls();
        assert!(has_tls("https://a:1") && !has_tls("http://a:1") && !has_tls("a:1"));
        for wrong in ["", "/status", "ftp://a:1", "a:0", "a:70000", "a:", "a b", "u:p@a:1", ":9464", "a\u{1b}[m:1"] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong:?}");
        }
    }
}
