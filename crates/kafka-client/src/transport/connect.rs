//! Connects over a transport, in TLS where that is wanted.

use std::time::Duration;

use super::tls::TlsOver;
use super::{Connected, Transport};
use crate::{Cause, Security};

/// Connects to `address` (`host:port`) over a transport, in TLS where that is wanted, each within `deadline`.
///
/// # Errors
/// As [`Transport::connect`].
pub(crate) async fn connect(
    transport: &dyn Transport,
    address: &str,
    security: &Security,
    deadline: Duration,
) -> Result<Connected, Cause> {
    let (host, port) = parted(address).ok_or_else(|| Cause::Connect("it is not host:port".to_owned()))?;
    match &security.tls {
        Some(tls) => TlsOver::new(transport, tls, security).connect(host, port, deadline).await,
        None => transport.connect(host, port, deadline).await,
    }
}

/// The name or address before the port, without the brackets of IPv6, and the port.
fn parted(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some((host, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;

    use super::*;

    #[test]
    fn the_host_is_what_stands_before_the_port() {
        for (address, host) in [("broker-1:9093", "broker-1"), ("10.0.0.7:9093", "10.0.0.7"), ("[::1]:9093", "::1")] {
            assert_eq!(parted(address), Some((host, 9093)));
            assert!(ServerName::try_from(host).is_ok(), "{host}");
        }
        assert_eq!((parted("broker"), parted("broker:http"), parted("broker:65536")), (None, None, None));
    }
}
