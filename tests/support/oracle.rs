//! What must become of a record, by the documentation alone: written a second time, from the
//! event's description and on `serde_json`, so that the pipeline is not its own judge.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use rskafka::chrono::NaiveDateTime;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

const REQUIRED: [&str; 6] = ["user_id", "app_version", "ip", "locale", "device_id", "timestamp"];

/// What a good event must look like in the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Hash of user, device and time: which event it is.
    pub identity: u64,
    /// Hash of all fields as they must come out, byte for byte and in order, `device_type` as it
    /// must be, without `processed_at` and `latency_ms`.
    pub fields: u64,
    /// The event's own time.
    pub timestamp_ms: i64,
}

/// Whether a source record is good, and what it must become; or what is wrong with it.
pub fn judge(value: Option<&[u8]>) -> Result<Expected, String> {
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
    if !is_version(&event.text("app_version")?) {
        return Err("app_version".to_owned());
    }
    event.text("ip")?.parse::<IpAddr>().map_err(|_| "ip")?;
    let device_type = match event.raw("device_type") {
        None | Some("null") => String::new(),
        Some(_) => event.text("device_type")?.to_lowercase(),
    };
    let device_type = if device_type.is_empty() { "unknown" } else { &device_type };
    Ok(Expected { identity: event.identity()?, fields: event.fields(device_type), timestamp_ms: event.timestamp_ms()? })
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
        Ok(Self {
            identity: event.identity()?,
            fields: event.fields(&event.text("device_type")?),
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

    fn identity(&self) -> Result<u64, String> {
        let timestamp = self.raw("timestamp").ok_or("no timestamp")?;
        Ok(hash(&(self.text("user_id")?, self.text("device_id")?, timestamp)))
    }

    fn timestamp_ms(&self) -> Result<i64, String> {
        let raw = self.raw("timestamp").ok_or("no timestamp")?;
        let digits = if raw.starts_with('"') { self.text("timestamp")? } else { raw.to_owned() };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err("timestamp is no integer above 0".to_owned());
        }
        match digits.parse::<i64>() {
            Ok(0) | Err(_) => Err("timestamp is out of range".to_owned()),
            Ok(millis) if millis >= 100_000_000_000 => Ok(millis),
            Ok(seconds) => Ok(seconds * 1_000),
        }
    }

    fn fields(&self, device_type: &str) -> u64 {
        let added = ["device_type", "processed_at", "latency_ms"];
        let came = self.0.iter().filter(|(name, _)| !added.contains(&name.as_str()));
        let came: Vec<(&str, &str)> = came.map(|(name, raw)| (name.as_str(), raw.get())).collect();
        hash(&(came, device_type))
    }
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
                while let Some(member) = map.next_entry()? {
                    members.push(member);
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
