//! All layers merged, each key parsed: the values that a [`Section`](super::table::Section) reads its fields from.

use std::collections::BTreeMap;

use figment::value::Value;
use figment::{Figment, Metadata};

use super::key::{Key, Keys};
use super::layers::{DEFAULT, Layer, ROUTE, STATIC};
use super::parse::{Setting, parse};
use super::problem::{Found, Problem, Problems};
use super::shown::show_of;

/// The values that keys are set to, and who set them.
#[derive(Debug)]
pub struct Values {
    keys: &'static Keys,
    /// The host's name, where that is known.
    pub(super) hostname: Option<String>,
    given: BTreeMap<&'static str, Given>,
    /// The `[[route]]` tables and where they were set.
    pub(super) route: Option<(Value, String)>,
    /// The `[enrich.static]` table and where it was set.
    pub(super) statics: Option<(Value, String)>,
}

#[derive(Debug)]
struct Given {
    key: &'static Key,
    value: Value,
    origin: String,
    /// `None` where the value is not of its kind, which is a problem noted.
    setting: Option<Setting>,
}

impl Values {
    /// Merges `layers`, the later over the earlier, and parses each key.
    pub(super) fn read(
        keys: &'static Keys,
        layers: Vec<Layer>,
        hostname: Option<String>,
        problems: &mut Problems,
    ) -> Self {
        let merged = layers.into_iter().fold(Figment::new(), Figment::merge);
        let find = |path: &str| {
            let value = merged.find_value(path).ok()?;
            let origin = merged.get_metadata(value.tag()).map_or_else(|| DEFAULT.to_owned(), origin);
            Some((value, origin))
        };
        let mut given = BTreeMap::new();
        for key in keys.iter() {
            let Some((value, origin)) = find(key.path) else { continue };
            let setting = parse(key.kind, &value).map_err(|refusal| {
                let problem = Problem::new(key.path, refusal.wrong).found(show_of(key, &value), &origin);
                problems.push(problem.allowed(key.kind.to_string()).did_you_mean(refusal.did_you_mean));
            });
            given.insert(key.path, Given { key, value, origin, setting: setting.ok() });
        }
        Self { keys, hostname, given, route: find(ROUTE), statics: find(STATIC) }
    }

    /// The value of `path` if it is set and of its kind.
    pub(super) fn setting(&self, path: &'static str) -> Option<&Setting> {
        self.given(path).and_then(|given| given.setting.as_ref())
    }

    /// The text of `path` if it is set, of its kind and a text.
    pub(super) fn text(&self, path: &'static str) -> Option<&str> {
        match self.setting(path) {
            Some(Setting::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Whether anybody set `path`, rightly or wrongly.
    pub(super) fn is_given(&self, path: &'static str) -> bool {
        self.given(path).is_some_and(|given| given.origin != DEFAULT)
    }

    /// Whether the value of `path` can be reasoned about: it is of its kind, or unset.
    pub(super) fn is_sound(&self, path: &'static str) -> bool {
        self.given(path).is_none_or(|given| given.setting.is_some())
    }

    /// The key at `path`, whatever its value.
    pub(super) fn key(&self, path: &str) -> Option<&'static Key> {
        self.keys.find(path)
    }

    fn given(&self, path: &'static str) -> Option<&Given> {
        debug_assert!(self.key(path).is_some(), "there is no key {path}");
        self.given.get(path)
    }

    /// The value of `path` and who set it, for a problem that concerns several keys.
    pub(super) fn found(&self, path: &'static str) -> Option<Found> {
        let given = self.given(path)?;
        Some(Found { value: format!("{path} = {}", show_of(given.key, &given.value)), origin: given.origin.clone() })
    }
}

fn origin(metadata: &Metadata) -> String {
    metadata.name.clone().into_owned()
}
