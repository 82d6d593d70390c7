//! Where brokers say that they and others listen.

/// The longest name that DNS knows.
const LONGEST_HOST: usize = 253;

/// `host:port`, with brackets around an IPv6 address.
///
/// # Errors
/// What is wrong with it, without a word of what the broker sent: it is connected to, and written
/// to logs.
pub(super) fn address(host: &str, port: i32) -> Result<String, String> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:%".contains(&byte);
    if host.is_empty() {
        return Err("it names no host".to_owned());
    }
    if host.len() > LONGEST_HOST || !host.bytes().all(known) {
        return Err(format!("it names a host ({} bytes) that is neither a name nor an address", host.len()));
    }
    if !(1..=i32::from(u16::MAX)).contains(&port) {
        return Err(format!("it names port {port}, which is none"));
    }
    Ok(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_joined() {
        assert_eq!(address("kafka-1.example_a.org", 9092).unwrap(), "kafka-1.example_a.org:9092");
        assert_eq!(address("10.0.0.1", 65_535).unwrap(), "10.0.0.1:65535");
        assert_eq!(address("fe80::1%eth0", 1).unwrap(), "[fe80::1%eth0]:1");
    }

    #[test]
    fn what_nobody_can_connect_to_is_refused_and_not_repeated() {
        for port in [0, -1, 65_536, i32::MAX, i32::MIN] {
            assert!(address("kafka", port).unwrap_err().contains(&port.to_string()));
        }
        let long = "a".repeat(254);
        for host in ["", "a b", "a\nb", "a/b", "user@host", "[::1]", "\u{1b}[31m", "kåfka", "a\0", long.as_str()] {
            let error = address(host, 9092).unwrap_err();
            assert!(host.is_empty() || !error.contains(host), "{error}");
        }
    }
}
