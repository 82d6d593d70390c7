//! Which names a port on loopback answers to.
//!
//! A page that somebody else serves can have its own name resolve to 127.0.0.1 (DNS rebinding), and a browser on this
//! machine then lets it read what answers there. It sends that name, though.

use std::net::{Ipv4Addr, Ipv6Addr};

use hyper::Request;
use hyper::header::HOST;

/// The answer to a request by another name.
pub(super) const REFUSAL: &str = "this port is on loopback, and answers to localhost, 127.0.0.0/8 and [::1] only: ask it by one \
                           of these names, or set admin.listen to another address\n";

/// Whether a request names this machine, or names none, which no browser leaves out.
pub(super) fn is_local<B>(request: &Request<B>) -> bool {
    let hosts = request.headers().get_all(HOST).iter().map(|host| host.to_str().ok());
    let target = request.uri().authority().map(|authority| Some(authority.as_str()));
    hosts.chain(target).all(|host| host.is_some_and(names_loopback))
}

/// Whether this is localhost, or a loopback address, with a port or without.
fn names_loopback(host: &str) -> bool {
    let is_port = |port: &str| port.bytes().all(|digit| digit.is_ascii_digit());
    if let Some(rest) = host.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        let is_loopback = address.parse::<Ipv6Addr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
        return is_loopback && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    let is_loopback = name.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback());
    (name.eq_ignore_ascii_case("localhost") || is_loopback) && is_port(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_local() {
        for host in
            ["localhost", "LocalHost:9464", "127.0.0.1", "127.8.0.1:1", "[::1]", "[::1]:80", "[::ffff:127.0.0.1]"]
        {
            assert!(names_loopback(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:9464",
            "localhost.evil.example",
            "evil.localhost",
            "127.0.0.1.evil.example",
            "127.1",
            "0.0.0.0",
            "10.0.0.7:9464",
            "[::2]",
            "[::1",
            "[::1]x",
            "::1",
            "localhost:9464@evil.example",
            "me@localhost",
            "localhost:x",
        ] {
            assert!(!names_loopback(host), "{host}");
        }
    }

    #[test]
    fn each_name_of_a_request_counts() {
        let request = |uri: &str, hosts: &[&str]| {
            let mut request = Request::get(uri);
            for host in hosts {
                request = request.header(HOST, *host);
            }
            request.body(()).unwrap()
        };
        assert!(is_local(&request("/", &["localhost"])));
        assert!(is_local(&request("/", &[])), "HTTP/1.0, which no browser speaks");
        assert!(!is_local(&request("/", &["localhost", "evil.example"])));
        assert!(!is_local(&request("http://evil.example/", &["localhost"])));
        assert!(is_local(&request("http://localhost:1/", &["localhost:1"])));
    }
}
