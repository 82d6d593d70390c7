//! What must become of a record, by the documentation alone: written a second time, from the
//! event's description and on `serde_json`, so that the pipeline is not its own judge.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use rskafka::chrono::{DateTime, Datelike, NaiveDateTime};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

const REQUIRED: [&str; 6] = ["user_id", "app_version", "ip", "locale", "device_id", "timestamp"];

/// What a good event must look like in the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Hash of user, device and time, as they must come out: which event it is.
    pub identity: u64,
    /// Hash of all fields as they must come out, byte for byte and in order, `device_type` as it
    /// must be, without `processed_at` and `latency_ms`.
    pub fields: u64,
    /// The event's own time.
    pub timestamp_ms: i64,
}

/// What the database of countries has.
pub type CountryOf = fn(IpAddr) -> Option<&'static str>;

/// What the configuration asks for beyond the usual.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub user_id: Cover,
    pub device_id: Cover,
    pub ip: Cover,
    /// The key of HMAC-SHA-256.
    pub key: Vec<u8>,
    /// The field for the country, and what the database has.
    pub country: Option<(String, CountryOf)>,
    /// The deployment's own fields, each with its value in JSON, in the order of their names.
    pub statics: Vec<(String, String)>,
}

/// What must be written of a field that says who a person is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Cover {
    #[default]
    Keep,
    Hmac,
    /// Of an address.
    Truncate,
    Remove,
}

impl Asked {
    fn covers(&self) -> [(&'static str, Cover); 3] {
        [("user_id", self.user_id), ("device_id", self.device_id), ("ip", self.ip)]
    }

    /// What must be written in place of a field's text; `None` for nothing. An address counts by what it is, however it is
    /// written; one of IPv4 that is written as one of IPv6 is one of IPv4.
    fn covered(&self, name: &str, cover: Cover, text: &str) -> Option<String> {
        let address = || text.parse::<IpAddr>().unwrap().to_canonical();
        match cover {
            Cover::Keep => Some(text.to_owned()),
            Cover::Hmac => {
                let text = if name == "ip" { address().to_string() } else { text.to_owned() };
                let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &self.key);
                let tag = ring::hmac::sign(&key, text.as_bytes());
                Some(tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
            }
            Cover::Truncate => Some(match address() {
                IpAddr::V4(address) => IpAddr::from((u32::from(address) & !0xff).to_be_bytes()).to_string(),
                IpAddr::V6(address) => {
                    // One of 6to4 has an address of IPv4 in it, whose last byte goes.
                    let kept = if address.segments()[0] == 0x2002 { 40 } else { 48 };
                    IpAddr::from((u128::from(address) >> (128 - kept) << (128 - kept)).to_be_bytes()).to_string()
                }
            }),
            Cover::Remove => None,
        }
    }

    /// The key that a good record must be written with.
    pub fn key(&self, record: Option<&[u8]>, value: Option<&[u8]>) -> Option<Vec<u8>> {
        let key = record?;
        let event = Event::parse(value.unwrap_or_default()).unwrap();
        for (name, cover) in self.covers() {
            if cover != Cover::Keep && event.text(name).unwrap().as_bytes() == key {
                return self.covered(name, cover, &event.text(name).unwrap()).map(String::into_bytes);
            }
        }
        Some(key.to_vec())
    }

    /// The members that must come out, but for the three that enrichment itself writes.
    fn members(&self, event: &Event<'_>) -> Result<Vec<(String, String)>, String> {
        let country = match &self.country {
            Some((name, country)) => {
                let address = event.text("ip")?.parse().map_err(|_| "ip")?;
                Some((name, country(address).map(|code| format!("{code:?}"))))
            }
            None => None,
        };
        let mut added = self.statics.clone();
        let mut came = Vec::new();
        let mut there = false;
        for (name, raw) in &event.0 {
            let cover = self.covers().into_iter().find(|(known, cover)| known == name && *cover != Cover::Keep);
            let raw = if ENRICHED.contains(&name.as_str()) {
                None
            } else if let Some((_, cover)) = cover {
                self.covered(name, cover, &event.text(name)?).map(|text| format!("{text:?}"))
            } else if let Some((_, country)) = country.as_ref().filter(|(known, _)| *known == name) {
                there = true;
                country.clone()
            } else if let Some(at) = added.iter().position(|(known, _)| known == name) {
                Some(added.remove(at).1)
            } else {
                Some(raw.get().to_owned())
            };
            came.extend(raw.map(|raw| (name.clone(), raw)));
        }
        if let (Some((name, Some(country))), false) = (country, there) {
            came.push((name.clone(), country));
        }
        came.extend(added);
        Ok(came)
    }
}

/// The fields that enrichment itself writes.
const ENRICHED: [&str; 3] = ["device_type", "processed_at", "latency_ms"];

/// Whether a source record is good, and what it must become; or what is wrong with it.
pub fn judge(value: Option<&[u8]>) -> Result<Expected, String> {
    judge_as(value, &Asked::default())
}

/// The same, where more is asked for.
pub fn judge_as(value: Option<&[u8]>, asked: &Asked) -> Result<Expected, String> {
    let value = value.ok_or("tombstone")?;
    let event = Event::parse(value)?;
    for name in REQUIRED {
        event.raw(name).ok_or_else(|| format!("no {name}"))?;
    }
    for (name, most) in [("user_id", 256), ("device_id", 256), ("locale", 35)] {
        let text = event.text(name)?;
        if text.is_empty() || text.len() > most {
            return Err(format!("{name} has {} bytes", text.len()));
        }
    }
    let version = event.text("app_version")?;
    if version.len() > 64 || !is_version(&version) {
        return Err("app_version".to_owned());
    }
    event.text("ip")?.parse::<IpAddr>().map_err(|_| "ip")?;
    let device_type = match event.raw("device_type") {
        None | Some("null") => String::new(),
        Some(_) => event.text("device_type")?,
    };
    if device_type.len() > 256 {
        return Err(format!("device_type has {} bytes", device_type.len()));
    }
    let device_type = device_type.to_lowercase();
    let device_type = if device_type.is_empty() { "unknown" } else { &device_type };
    let members = asked.members(&event)?;
    Ok(Expected {
        identity: identity(&members)?,
        fields: fields(&members, device_type),
        timestamp_ms: event.timestamp_ms()?,
    })
}

/// An output record, as far as it can be judged by itself.
pub struct Output {
    pub identity: u64,
    pub fields: u64,
    pub processed_at_ms: i64,
    pub latency_ms: i64,
}

impl Output {
    pub fn parse(value: Option<&[u8]>) -> Result<Self, String> {
        let event = Event::parse(value.ok_or("tombstone")?)?;
        let processed_at = event.text("processed_at")?;
        if processed_at.len() != "2026-01-01T00:00:00.000Z".len() {
            return Err(format!("processed_at is {processed_at:?}"));
        }
        let processed_at = NaiveDateTime::parse_from_str(&processed_at, "%Y-%m-%dT%H:%M:%S%.3fZ")
            .map_err(|error| format!("processed_at: {error}"))?;
        let latency = event.raw("latency_ms").ok_or("no latency_ms")?;
        let members = Asked::default().members(&event)?;
        Ok(Self {
            identity: identity(&members)?,
            fields: fields(&members, &event.text("device_type")?),
            processed_at_ms: processed_at.and_utc().timestamp_millis(),
            latency_ms: latency.parse().map_err(|_| format!("latency_ms is {latency}"))?,
        })
    }

    /// Whether this is what `source` had to become; what differs where it is not.
    pub fn check(&self, source: &Expected) -> Result<(), String> {
        if self.fields != source.fields {
            return Err("a field differs, is missing, is new or stands elsewhere".to_owned());
        }
        let latency = (self.processed_at_ms - source.timestamp_ms).max(0);
        if self.latency_ms != latency {
            return Err(format!("latency_ms is {}, but must be {latency}", self.latency_ms));
        }
        Ok(())
    }
}

/// The members of an object in order, each name once.
struct Event<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Event<'a> {
    fn parse(value: &'a [u8]) -> Result<Self, String> {
        // serde_json names neither the place of a bad byte in a text it skips nor a lone bad one
        // behind it, so the whole is looked at first.
        let text = std::str::from_utf8(value).map_err(|error| error.to_string())?;
        if depth(text) > 128 {
            return Err("nested too deep".to_owned());
        }
        let event: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        for (at, (name, _)) in event.0.iter().enumerate() {
            if event.0[..at].iter().any(|(other, _)| other == name) {
                return Err(format!("{name} twice"));
            }
        }
        Ok(event)
    }

    fn raw(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, raw)| raw.get())
    }

    fn text(&self, name: &str) -> Result<String, String> {
        let raw = self.raw(name).ok_or_else(|| format!("no {name}"))?;
        serde_json::from_str(raw).map_err(|_| format!("{name} is no string"))
    }

    fn timestamp_ms(&self) -> Result<i64, String> {
        let raw = self.raw("timestamp").ok_or("no timestamp")?;
        let digits = if raw.starts_with('"') { self.text("timestamp")? } else { raw.to_owned() };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err("timestamp is no integer above 0".to_owned());
        }
        let number: i128 = digits.parse().map_err(|_| "timestamp is out of range")?;
        let unit = if number < 100_000_000_000 { 1_000 } else { 1 };
        let time = i64::try_from(number * unit).ok().and_then(DateTime::from_timestamp_millis);
        match time.filter(|_| number > 0) {
            Some(time) if time.year() <= 2100 => Ok(time.timestamp_millis()),
            _ => Err("timestamp is out of range".to_owned()),
        }
    }
}

/// Which event it is, by user and device as far as they are written, and time.
fn identity(members: &[(String, String)]) -> Result<u64, String> {
    let raw = |name: &str| members.iter().find(|(known, _)| known == name).map(|(_, raw)| raw);
    let text = |name: &str| raw(name).and_then(|raw| serde_json::from_str::<String>(raw).ok());
    Ok(hash(&(text("user_id"), text("device_id"), raw("timestamp").ok_or("no timestamp")?)))
}

fn fields(members: &[(String, String)], device_type: &str) -> u64 {
    hash(&(members, device_type))
}

impl<'de> Deserialize<'de> for Event<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Event<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    // A name that no text can hold (half of a surrogate pair) keeps its escapes.
                    let name =
                        serde_json::from_str(name.get()).unwrap_or_else(|_| name.get().trim_matches('"').to_owned());
                    members.push((name, value));
                }
                Ok(Event(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// How deep brackets nest outside of strings.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// `major.minor[.patch[.build]]`, digits.
fn is_version(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let digits = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    (2..=4).contains(&parts.len()) && parts.iter().all(digits)
}

/// The same in every run.
pub fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
