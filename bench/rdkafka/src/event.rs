//! The login event as serde_json reads it: one pass, every text borrowed from the record. What is
//! written are the record's own bytes with the new members let in, so that fields which nobody
//! knows are kept as they came and nothing is serialized twice.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

/// Whole seconds lie below this, milliseconds at or above it.
const FIRST_MILLISECONDS: i64 = 100_000_000_000;

/// The first millisecond behind the year 2100.
const FIRST_BEYOND: i64 = 4_133_980_800_000;

/// Why a record is bad.
pub struct Rejection {
    pub reason: &'static str,
    pub field: Option<&'static str>,
}

/// A valid event.
pub struct Event<'a> {
    pub timestamp_ms: i64,
    value: &'a [u8],
    device_type: Cow<'a, str>,
    /// Where the values of `device_type`, `processed_at` and `latency_ms` lie.
    places: [Option<Range<usize>>; 3],
}

impl<'a> Event<'a> {
    pub fn parse(value: Option<&'a [u8]>) -> Result<Self, Rejection> {
        let whole = |reason| Rejection { reason, field: None };
        let value = value.filter(|value| !value.is_empty()).ok_or_else(|| whole("tombstone"))?;
        let fields: Fields<'a> = serde_json::from_slice(value).map_err(|error| match error.classify() {
            Category::Data if value.trim_ascii_start().first() != Some(&b'{') => whole("not_an_object"),
            Category::Data => whole("wrong_type"),
            _ => whole("malformed_json"),
        })?;
        if fields.is_duplicated {
            return Err(whole("duplicate_field"));
        }
        check("user_id", fields.user_id, |text| text.len() <= 256)?;
        check("app_version", fields.app_version, |text| text.len() <= 64 && is_version(text))?;
        check("ip", fields.ip, |text| text.parse::<IpAddr>().is_ok())?;
        check("locale", fields.locale, |text| text.len() <= 35)?;
        check("device_id", fields.device_id, |text| text.len() <= 256)?;
        let timestamp = fields.timestamp.ok_or(Rejection { reason: "missing_field", field: Some("timestamp") })?;
        let device_type = match fields.device_type.map(RawValue::get) {
            None | Some("null" | "\"\"") => Cow::Borrowed("\"unknown\""),
            Some(text) if !text.starts_with('"') => {
                return Err(Rejection { reason: "wrong_type", field: Some("device_type") });
            }
            Some(text) if text.bytes().any(|byte| byte == b'\\' || !byte.is_ascii()) => lower_cased(text)?,
            Some(text) if text.bytes().any(|byte| byte.is_ascii_uppercase()) => Cow::Owned(text.to_ascii_lowercase()),
            Some(text) => Cow::Borrowed(text),
        };
        if device_type.len() > 258 {
            return Err(Rejection { reason: "invalid_value", field: Some("device_type") });
        }
        let place = |member: Option<&RawValue>| {
            let member = member?.get();
            let start = member.as_ptr().addr() - value.as_ptr().addr();
            Some(start..start + member.len())
        };
        let places = [place(fields.device_type), place(fields.processed_at), place(fields.latency_ms)];
        Ok(Self { timestamp_ms: timestamp.0, value, device_type, places })
    }

    /// Appends the enriched event to `out`.
    pub fn write(&self, processed_at: &str, latency_ms: i64, out: &mut Vec<u8>) {
        let mut latency = itoa::Buffer::new();
        let members = [
            (",\"device_type\":", &*self.device_type),
            (",\"processed_at\":", processed_at),
            (",\"latency_ms\":", latency.format(latency_ms)),
        ];
        let mut there: [_; 3] = std::array::from_fn(|n| (self.places[n].clone(), members[n].1));
        there.sort_unstable_by_key(|(place, _)| place.as_ref().map(|place| place.start));
        let mut copied = 0;
        for (place, member) in there {
            let Some(place) = place else { continue };
            out.extend_from_slice(&self.value[copied..place.start]);
            out.extend_from_slice(member.as_bytes());
            copied = place.end;
        }
        let close = self.value.trim_ascii_end().len() - 1;
        out.extend_from_slice(&self.value[copied..close]);
        for ((name, member), _) in members.iter().zip(&self.places).filter(|(_, place)| place.is_none()) {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(member.as_bytes());
        }
        out.extend_from_slice(&self.value[close..]);
    }
}

fn check(field: &'static str, text: Option<Text<'_>>, is_valid: impl Fn(&str) -> bool) -> Result<(), Rejection> {
    match text {
        None => Err(Rejection { reason: "missing_field", field: Some(field) }),
        Some(Text(text)) if text.is_empty() || !is_valid(&text) => {
            Err(Rejection { reason: "invalid_value", field: Some(field) })
        }
        Some(_) => Ok(()),
    }
}

fn is_version(text: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.split('.').all(is_number) && (2..=4).contains(&text.split('.').count())
}

/// A JSON string in lower case, as JSON.
#[cold]
fn lower_cased(text: &str) -> Result<Cow<'_, str>, Rejection> {
    let text = serde_json::from_str::<String>(text);
    let lower = text.and_then(|text| serde_json::to_string(&text.to_lowercase()));
    lower.map(Cow::Owned).map_err(|_| Rejection { reason: "invalid_value", field: Some("device_type") })
}

/// The event's members as they stand there. Null is none but for those that are kept raw.
#[derive(Default)]
struct Fields<'a> {
    user_id: Option<Text<'a>>,
    app_version: Option<Text<'a>>,
    ip: Option<Text<'a>>,
    locale: Option<Text<'a>>,
    device_id: Option<Text<'a>>,
    timestamp: Option<Timestamp>,
    device_type: Option<&'a RawValue>,
    processed_at: Option<&'a RawValue>,
    latency_ms: Option<&'a RawValue>,
    is_duplicated: bool,
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Clone, Copy, Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Field {
    UserId,
    AppVersion,
    Ip,
    Locale,
    DeviceId,
    Timestamp,
    DeviceType,
    ProcessedAt,
    LatencyMs,
    #[serde(other)]
    Other,
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Fields::default();
                let mut met = 0_u16;
                while let Some(field) = map.next_key::<Field>()? {
                    match field {
                        Field::UserId => fields.user_id = map.next_value()?,
                        Field::AppVersion => fields.app_version = map.next_value()?,
                        Field::Ip => fields.ip = map.next_value()?,
                        Field::Locale => fields.locale = map.next_value()?,
                        Field::DeviceId => fields.device_id = map.next_value()?,
                        Field::Timestamp => fields.timestamp = map.next_value()?,
                        Field::DeviceType => fields.device_type = Some(map.next_value()?),
                        Field::ProcessedAt => fields.processed_at = Some(map.next_value()?),
                        Field::LatencyMs => fields.latency_ms = Some(map.next_value()?),
                        Field::Other => {
                            map.next_value::<Skipped>()?;
                            continue;
                        }
                    }
                    let bit = 1 << field as u16;
                    fields.is_duplicated |= met & bit != 0;
                    met |= bit;
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// Milliseconds, whatever unit they came in.
struct Timestamp(i64);

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = Timestamp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a positive integer or its digits")
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Timestamp, E> {
                let milliseconds = i64::try_from(number).map(|number| match number {
                    FIRST_MILLISECONDS.. => number,
                    seconds => seconds * 1000,
                });
                match milliseconds {
                    Ok(milliseconds @ 1..FIRST_BEYOND) => Ok(Timestamp(milliseconds)),
                    _ => Err(E::custom("out of range")),
                }
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Timestamp, E> {
                if !text.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(E::custom("not digits"));
                }
                self.visit_u64(text.parse().map_err(E::custom)?)
            }
        }

        deserializer.deserialize_any(Number)
    }
}

/// A value that nobody looks at. `IgnoredAny` takes any depth; this keeps to serde_json's 128.
struct Skipped;

impl<'de> Deserialize<'de> for Skipped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Anything;

        impl<'de> Visitor<'de> for Anything {
            type Value = Skipped;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_bool<E>(self, _: bool) -> Result<Skipped, E> {
                Ok(Skipped)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Skipped, E> {
                Ok(Skipped)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Skipped, E> {
                Ok(Skipped)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Skipped, E> {
                Ok(Skipped)
            }

            fn visit_str<E>(self, _: &str) -> Result<Skipped, E> {
                Ok(Skipped)
            }

            fn visit_unit<E>(self) -> Result<Skipped, E> {
                Ok(Skipped)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Skipped, A::Error> {
                while seq.next_element::<Skipped>()?.is_some() {}
                Ok(Skipped)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Skipped, A::Error> {
                while map.next_entry::<Skipped, Skipped>()?.is_some() {}
                Ok(Skipped)
            }
        }

        deserializer.deserialize_any(Anything)
    }
}
