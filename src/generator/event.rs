//! Events as the real ones look, from a seed.

use fastrand::Rng;
use thiserror::Error;

use super::bad::{self, BadKind};
use super::fields::{Event, push_uuid};

/// The options of a generator.
#[derive(Debug, Clone, PartialEq)]
pub struct GeneratorConfig {
    /// The same seed gives the same records.
    pub seed: u64,
    /// The share of bad records, from 0 to 1.
    pub bad: f64,
    /// Whether records have their user as key; a user then has about four events. Without keys
    /// every event has a user of its own.
    pub keyed: bool,
    /// The `timestamp` of the events, Unix seconds, until [`EventGenerator::set_timestamp`].
    pub timestamp: i64,
}

impl Default for GeneratorConfig {
    fn default() -> Self {
        Self { seed: 0, bad: 0.0, keyed: false, timestamp: 1_694_479_551 }
    }
}

/// The share of bad records is not between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[error("the share of bad records must be from 0 to 1, not {0}")]
pub struct InvalidRatio(pub f64);

/// One record, ready to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedRecord {
    /// The user id where the generator is keyed.
    pub key: Option<Vec<u8>>,
    /// The event; `None` is a tombstone, which is bad.
    pub value: Option<Vec<u8>>,
    /// Whether it is good, and what is wrong with it where it is not.
    pub kind: RecordKind,
}

/// Whether a generated record is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// The pipeline must pass it on.
    Good,
    /// The pipeline must send it to the dead-letter topic.
    Bad(BadKind),
}

/// Makes records for ever, the same ones for the same seed.
#[derive(Debug, Clone)]
pub struct EventGenerator {
    random: Rng,
    bad: f64,
    timestamp: i64,
    /// The users that may come again, where records are keyed.
    users: Option<Vec<u128>>,
    next_bad: usize,
}

impl EventGenerator {
    /// How many users may come again at a time.
    const USERS: usize = 1_000;

    /// Begins the sequence of `config.seed`.
    ///
    /// # Errors
    /// Where `config.bad` is not from 0 to 1.
    pub fn new(config: GeneratorConfig) -> Result<Self, InvalidRatio> {
        if !(0.0..=1.0).contains(&config.bad) {
            return Err(InvalidRatio(config.bad));
        }
        Ok(Self {
            random: Rng::with_seed(config.seed),
            bad: config.bad,
            timestamp: config.timestamp,
            users: config.keyed.then(|| Vec::with_capacity(Self::USERS)),
            next_bad: 0,
        })
    }

    /// The `timestamp` of the events from now on, Unix seconds.
    pub fn set_timestamp(&mut self, unix_seconds: i64) {
        self.timestamp = unix_seconds;
    }

    /// The next record. No two events are alike: user and device together occur once.
    pub fn next_record(&mut self) -> GeneratedRecord {
        let user = self.user();
        let event = Event::random(&mut self.random, user, self.timestamp);
        let key = self.users.is_some().then(|| {
            let mut key = Vec::with_capacity(36);
            push_uuid(&mut key, user);
            key
        });
        if self.random.f64() < self.bad {
            // In turn, so that even a few bad records are of many kinds.
            let kind = BadKind::ALL[self.next_bad % BadKind::ALL.len()];
            self.next_bad = self.next_bad.wrapping_add(1);
            let value = bad::spoil(&event, kind, &mut self.random);
            return GeneratedRecord { key, value, kind: RecordKind::Bad(kind) };
        }
        GeneratedRecord { key, value: Some(event.to_json()), kind: RecordKind::Good }
    }

    fn user(&mut self) -> u128 {
        let fresh = self.random.u128(..);
        let Some(users) = &mut self.users else {
            return fresh;
        };
        if users.len() < Self::USERS {
            users.push(fresh);
            return fresh;
        }
        let at = self.random.usize(..Self::USERS);
        if self.random.u8(..4) == 0 {
            users[at] = fresh;
        }
        users[at]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};
    use std::net::Ipv4Addr;

    use serde_json::Value;

    use super::*;

    fn records(config: GeneratorConfig, count: usize) -> Vec<GeneratedRecord> {
        let mut generator = EventGenerator::new(config).unwrap();
        (0..count).map(|_| generator.next_record()).collect()
    }

    #[test]
    fn a_seed_decides_every_record() {
        let config = GeneratorConfig { seed: 3, bad: 0.2, keyed: true, ..Default::default() };
        assert_eq!(records(config.clone(), 500), records(config.clone(), 500));
        assert_ne!(records(config.clone(), 5), records(GeneratorConfig { seed: 4, ..config }, 5));
    }

    #[test]
    fn good_events_look_like_real_ones() {
        let mut absent = 0;
        let mut users = HashSet::new();
        for record in records(GeneratorConfig::default(), 4_000) {
            let text = String::from_utf8(record.value.unwrap()).unwrap();
            let event: Value = serde_json::from_str(&text).unwrap();
            let field = |name: &str| event[name].as_str().unwrap().to_owned();
            assert_eq!(field("user_id").len(), 36);
            assert!(users.insert(field("user_id")), "a user came twice");
            assert_eq!(field("app_version").split('.').count(), 3);
            assert!(field("ip").parse::<Ipv4Addr>().is_ok());
            assert_eq!(field("locale").len(), 2);
            assert!(matches!(field("device_id").len(), 11 | 36));
            assert_eq!(event["timestamp"].as_i64(), Some(1_694_479_551));
            match event.get("device_type") {
                None => absent += 1,
                Some(_) => assert!(text.ends_with(&format!(",\"device_type\":\"{}\"}}", field("device_type")))),
            }
        }
        assert!((120..280).contains(&absent), "{absent} of 4000 without a device type");
    }

    #[test]
    fn keyed_users_come_again_and_are_the_key() {
        let mut times: HashMap<Vec<u8>, u32> = HashMap::new();
        for record in records(GeneratorConfig { keyed: true, ..Default::default() }, 10_000) {
            let event: Value = serde_json::from_slice(&record.value.unwrap()).unwrap();
            let key = record.key.unwrap();
            assert_eq!(event["user_id"].as_str().unwrap().as_bytes(), key);
            *times.entry(key).or_default() += 1;
        }
        assert!((2_000..5_000).contains(&times.len()), "{} users", times.len());
    }

    #[test]
    fn the_share_of_bad_records_is_kept_and_checked() {
        let config = GeneratorConfig { bad: 0.1, ..Default::default() };
        let bad = records(config, 10_000).iter().filter(|r| r.kind != RecordKind::Good).count();
        assert!((800..1_200).contains(&bad), "{bad} of 10000 bad");
        for bad in [-0.1, 1.1, f64::NAN] {
            assert!(EventGenerator::new(GeneratorConfig { bad, ..Default::default() }).is_err());
        }
    }
}
