//! Pseudonyms: what is written in place of a text that says who a person is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ring::hmac;

/// The form that an address is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpPrivacy {
    /// The address.
    Keep,
    /// Its HMAC-SHA-256, in 64 hexadecimal digits.
    HmacSha256,
    /// Its network: /24 of IPv4, /48 of IPv6.
    Truncate,
    /// Nothing: the field is not there.
    Remove,
}

/// The form that an id is written in. There is no `truncate`: the first half of an id still tells people apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdPrivacy {
    /// The id.
    Keep,
    /// Its HMAC-SHA-256, in 64 hexadecimal digits.
    HmacSha256,
    /// Nothing: the field is not there.
    Remove,
}

/// The way to write a field that says who a person is.
#[derive(Debug)]
pub(super) enum Pseudonymizer {
    Keep,
    /// HMAC-SHA-256 of the text as it is, without its escapes.
    Id(hmac::Key),
    /// HMAC-SHA-256 of an address in its canonical form, whichever way it was written.
    Ip(hmac::Key),
    Network,
    Remove,
}

/// The outcome for a field.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Written {
    #[default]
    Kept,
    /// It is written as this text, which is ASCII.
    Text(Vec<u8>),
    Removed,
}

impl Pseudonymizer {
    /// A pseudonymizer of ids. Without the key that it needs nothing is written rather than the id.
    pub(super) fn of_id(privacy: IdPrivacy, key: Option<&[u8]>) -> Self {
        match privacy {
            IdPrivacy::Keep => Self::Keep,
            IdPrivacy::HmacSha256 => key.map_or(Self::Remove, |key| Self::Id(hmac_key(key))),
            IdPrivacy::Remove => Self::Remove,
        }
    }

    /// A pseudonymizer of addresses.
    pub(super) fn of_ip(privacy: IpPrivacy, key: Option<&[u8]>) -> Self {
        match privacy {
            IpPrivacy::Keep => Self::Keep,
            IpPrivacy::HmacSha256 => key.map_or(Self::Remove, |key| Self::Ip(hmac_key(key))),
            IpPrivacy::Truncate => Self::Network,
            IpPrivacy::Remove => Self::Remove,
        }
    }

    pub(super) fn keeps(&self) -> bool {
        matches!(self, Self::Keep)
    }

    /// Makes what is written of a field that says `came`.
    pub(super) fn pseudonymize(&self, came: &str) -> Written {
        match self {
            Self::Keep => Written::Kept,
            Self::Id(key) => Written::Text(pseudonym(key, came.as_bytes())),
            Self::Ip(key) => match came.parse::<IpAddr>() {
                Ok(IpAddr::V6(address)) => Written::Text(pseudonym(key, address.to_canonical().to_string().as_bytes())),
                // There is one way only to write an IPv4 address.
                _ => Written::Text(pseudonym(key, came.as_bytes())),
            },
            Self::Network => came.parse().map_or(Written::Removed, |address| Written::Text(network(address))),
            Self::Remove => Written::Removed,
        }
    }
}

fn hmac_key(key: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, key)
}

/// HMAC-SHA-256 in hexadecimal digits.
fn pseudonym(key: &hmac::Key, text: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| DIGITS[usize::from(half)];
    let tag = hmac::sign(key, text);
    tag.as_ref().iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The address of the network: /24 of IPv4, /48 of IPv6.
fn network(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            Ipv4Addr::new(a, b, c, 0).to_string().into_bytes()
        }
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            // In 6to4 these are an IPv4 address, whole.
            let c = if a == 0x2002 { c & 0xff00 } else { c };
            Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).to_string().into_bytes()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(written: Written) -> String {
        match written {
            Written::Text(text) => String::from_utf8(text).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_network_names_nobody() {
        for (address, network) in [
            ("199.172.111.135", "199.172.111.0"),
            ("0.0.0.0", "0.0.0.0"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
            ("::1", "::"),
            ("::ffff:199.172.111.135", "199.172.111.0"),
            ("2002:c7ac:6f87::1", "2002:c7ac:6f00::"), // 6to4 of the first
        ] {
            assert_eq!(text(Pseudonymizer::Network.pseudonymize(address)), network, "{address}");
        }
        assert_eq!(Pseudonymizer::Network.pseudonymize("nothing of the kind"), Written::Removed);
    }

    #[test]
    fn pseudonyms_are_what_other_tools_make() {
        let key = b"a key of more than sixteen bytes";
        // printf %s user-1 | openssl dgst -sha256 -hmac 'a key of more than sixteen bytes'
        let expected = "bc0893eebc2ea4f7984bda0a6340009a67f9f4163aaec1f4786f6c33c9595df8";
        assert_eq!(text(Pseudonymizer::of_id(IdPrivacy::HmacSha256, Some(key)).pseudonymize("user-1")), expected);
        let ip = Pseudonymizer::of_ip(IpPrivacy::HmacSha256, Some(key));
        assert_eq!(
            text(ip.pseudonymize("10.0.0.1")),
            "3ec86867a77e62161717dfa9ccca942891403e476a3bc7bc02dd69591f2c1278"
        );
        assert_eq!(ip.pseudonymize("10.0.0.1"), ip.pseudonymize("::ffff:10.0.0.1"));
        assert_eq!(ip.pseudonymize("2001:DB8:0::1"), ip.pseudonymize("2001:db8::1"));
        assert!(!format!("{ip:?}").contains("sixteen"));
    }

    #[test]
    fn without_its_key_nothing_is_written() {
        assert_eq!(Pseudonymizer::of_id(IdPrivacy::HmacSha256, None).pseudonymize("user-1"), Written::Removed);
        assert_eq!(Pseudonymizer::of_ip(IpPrivacy::HmacSha256, None).pseudonymize("10.0.0.1"), Written::Removed);
    }
}
