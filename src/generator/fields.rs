//! The fields of an event, and how they are written.

use std::io::Write as _;
use std::net::Ipv4Addr;

use fastrand::Rng;

/// The fields of one event, before they become text.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) user: u128,
    pub(super) version: [u8; 3],
    pub(super) ip: Ipv4Addr,
    pub(super) locale: &'static str,
    pub(super) device: Device,
    pub(super) timestamp: i64,
    pub(super) device_type: Option<&'static str>,
}

/// A device id, in the two forms that real ones have.
#[derive(Debug, Clone, Copy)]
pub(super) enum Device {
    Digits(u16, u8, u16),
    Uuid(u128),
}

impl Event {
    pub(super) fn random(random: &mut Rng, user: u128, timestamp: i64) -> Self {
        let device = if random.bool() {
            Device::Digits(random.u16(100..1_000), random.u8(10..100), random.u16(1_000..10_000))
        } else {
            Device::Uuid(random.u128(..))
        };
        Self {
            user,
            version: [random.u8(0..4), random.u8(0..10), random.u8(0..10)],
            ip: Ipv4Addr::from(random.u32(..)),
            locale: LOCALES[random.usize(..LOCALES.len())],
            device,
            timestamp,
            device_type: match random.u8(..20) {
                0 => None,
                n if n % 2 == 0 => Some("iOS"),
                _ => Some("android"),
            },
        }
    }

    /// The event as the original generator writes it.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let mut out = self.open();
        if let Some(device_type) = self.device_type {
            push(&mut out, &[b",\"device_type\":\"", device_type.as_bytes(), b"\""]);
        }
        out.push(b'}');
        out
    }

    /// All required fields, without the closing brace.
    pub(super) fn open(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        push(&mut out, &[b"{\"user_id\":\""]);
        push_uuid(&mut out, self.user);
        let [major, minor, patch] = self.version;
        // Writing to a Vec never fails.
        let _ = write!(
            out,
            "\",\"app_version\":\"{major}.{minor}.{patch}\",\"ip\":\"{}\",\"locale\":\"{}\",\"device_id\":\"",
            self.ip, self.locale
        );
        match self.device {
            Device::Digits(a, b, c) => {
                let _ = write!(out, "{a}-{b}-{c}");
            }
            Device::Uuid(id) => push_uuid(&mut out, id),
        }
        let _ = write!(out, "\",\"timestamp\":{}", self.timestamp);
        out
    }
}

pub(super) fn push(out: &mut Vec<u8>, pieces: &[&[u8]]) {
    for piece in pieces {
        out.extend_from_slice(piece);
    }
}

/// A UUID of version 4 from 128 random bits.
pub(super) fn push_uuid(out: &mut Vec<u8>, bits: u128) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut bytes = bits.to_be_bytes();
    bytes[6] = 0x40 | (bytes[6] & 0x0f);
    bytes[8] = 0x80 | (bytes[8] & 0x3f);
    for (at, byte) in bytes.into_iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.push(HEX[usize::from(byte >> 4)]);
        out.push(HEX[usize::from(byte & 0x0f)]);
    }
}

/// US states and countries, as the original generator draws them.
const LOCALES: [&str; 40] = [
    "AK", "AL", "AZ", "CA", "CO", "CT", "FL", "GA", "HI", "IA", "IL", "KY", "MA", "MI", "MN", "NC", "NJ", "NV", "NY",
    "OH", "OR", "PA", "TX", "UT", "VA", "WA", "RU", "DE", "FR", "GB", "IN", "JP", "BR", "MX", "ES", "IT", "SE", "PL",
    "UA", "ZA",
];
