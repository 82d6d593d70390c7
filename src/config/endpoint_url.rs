//! The URL that bearer tokens are asked for at (`kafka.sasl.token_endpoint_url`), taken apart once.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use hyper::Uri;
use rustls::pki_types::ServerName;
use serde::{Serialize, Serializer};

/// An http or https URL that a request can be sent to.
#[derive(Clone, PartialEq, Eq)]
pub struct EndpointUrl {
    text: String,
    has_tls: bool,
    host: String,
    port: u16,
    authority: String,
    target: String,
}

impl EndpointUrl {
    /// Whether it is https.
    pub fn has_tls(&self) -> bool {
        self.has_tls
    }

    /// The name or address, an IPv6 one without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, where none is written that of http or https.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as a request's `Host` has them.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Path and query, as a request asks for them.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The URL without its query, which may have a key in it, for people.
    pub fn shown(&self) -> &str {
        self.text.split_once('?').map_or(&self.text, |(shown, _)| shown)
    }

    /// Whether [`shown`](Self::shown) leaves anything out.
    pub fn has_query(&self) -> bool {
        self.text.contains('?')
    }

    /// Whether what is sent there stays on this machine.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl fmt::Debug for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EndpointUrl").field(&self.shown()).finish()
    }
}

/// `text`, perhaps a URL that is wrong in some other way, without what may be secret in it.
pub(super) fn redacted(text: &str) -> String {
    let shown = text.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = shown.split_once("://").map_or(("", shown), |(scheme, rest)| (scheme, rest));
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let separator = if scheme.is_empty() { "" } else { "://" };
    format!("{scheme}{separator}{host}")
}

impl FromStr for EndpointUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains('#') {
            return Err("a fragment (#), which is sent to nobody");
        }
        let uri: Uri = text.parse().map_err(|_| "not a URL")?;
        let has_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) => return Err("neither http nor https"),
            None => return Err("not a URL with http:// or https://"),
        };
        let authority = uri.authority().ok_or("a URL without a host")?;
        if authority.as_str().contains('@') {
            return Err("a user name or password: the client is kafka.sasl.client_id and client_secret");
        }
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => {
                if has_tls {
                    443
                } else {
                    80
                }
            }
            _ => uri.port_u16().filter(|port| *port > 0).ok_or("a port that is no number from 1 to 65535")?,
        };
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if ServerName::try_from(host).is_err() {
            return Err("not a host's name or address");
        }
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        Ok(Self {
            text: text.to_owned(),
            has_tls,
            host: host.to_ascii_lowercase(),
            port,
            authority: authority.as_str().to_owned(),
            target,
        })
    }
}

/// As it is shown, wherever that is.
impl Serialize for EndpointUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        for (text, has_tls, host, port, target) in [
            ("https://login.example/oauth2/token", true, "login.example", 443, "/oauth2/token"),
            ("https://Login.Example:8443", true, "login.example", 8443, "/"),
            ("http://127.0.0.1:80/t?p=a%20b", false, "127.0.0.1", 80, "/t?p=a%20b"),
            ("HTTPS://[::1]:1/", true, "::1", 1, "/"),
            ("http://[2001:db8::7]", false, "2001:db8::7", 80, "/"),
            ("https://login.example?tenant=a", true, "login.example", 443, "/?tenant=a"),
        ] {
            let url: EndpointUrl = text.parse().unwrap();
            assert_eq!((url.has_tls(), url.host(), url.port(), url.target()), (has_tls, host, port, target), "{text}");
            assert_eq!(serde_json::to_value(&url).unwrap(), text.split('?').next().unwrap());
            assert_eq!(url.has_query(), text.contains('?'));
        }
    }

    #[test]
    fn nobody_is_shown_a_query_or_a_user() {
        let url: EndpointUrl = "https://login.example/t?key=canary".parse().unwrap();
        for shown in [url.shown().to_owned(), format!("{url:?}"), serde_json::to_string(&url).unwrap()] {
            assert!(shown.contains("https://login.example/t") && !shown.contains("canary"), "{shown}");
        }
        for (wrong, shown) in [
            ("https://me:canary@login.example:x/t?key=canary#canary", "https://login.example:x/t"),
            ("https://canary@login.example", "https://login.example"),
            ("me:canary@login.example/t?canary", "login.example/t"),
            ("ftp://login.example/t", "ftp://login.example/t"),
        ] {
            assert_eq!(redacted(wrong), shown);
        }
    }

    #[test]
    fn what_no_request_can_be_sent_to_is_refused() {
        for (text, wrong) in [
            ("login.example/token", "not a URL"),
            ("login.example:443", "not a URL with http:// or https://"),
            ("/token", "not a URL with http:// or https://"),
            ("ftp://login.example/token", "neither http nor https"),
            ("https://", "not a URL"),
            ("https:///token", "not a URL"),
            ("https://login example/", "not a URL"),
            ("https://login.example/a#b", "a fragment"),
            ("https://login.example/a b", "not a URL"),
            ("https://me:canary@login.example/", "a user name or password"),
            ("https://me@login.example/", "a user name or password"),
            ("https://login.example:0/", "a port that is no number"),
            ("https://login.example:/", "a port that is no number"),
            ("https://login.example:65536/", "a port that is no number"),
            ("https://-/", "not a host's name"),
            ("https://[::1/", "not a URL"),
            ("https://login%20/", "not a URL"),
        ] {
            let told = text.parse::<EndpointUrl>().unwrap_err();
            assert!(told.starts_with(wrong) && !told.contains("canary"), "{text}: {told}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        let is = |text: &str| text.parse::<EndpointUrl>().unwrap().is_loopback();
        assert!(is("http://localhost/") && is("http://127.8.0.1:9/") && is("http://[::1]/"));
        assert!(!is("http://localhost.example/") && !is("http://10.0.0.1/") && !is("http://[::2]/"));
    }
}
