//! All layers merged, each key parsed: the values that [`super::build`] puts in their places.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use figment::value::Value;
use figment::{Figment, Metadata};

use super::layers::{DEFAULT, Layer, ROUTE, STATIC};
use super::parse::{Setting, parse};
use super::problem::{Found, Problem, Problems, show_at};
use super::schema::KEYS;
use super::words::Word;
use super::{ByteSize, EndpointUrl, Extensions, Ratio, Secret};

/// What each key is set to.
pub(super) struct Settings {
    given: BTreeMap<&'static str, Given>,
    /// The `[[route]]` tables and where they were set.
    pub(super) route: Option<(Value, String)>,
    /// The `[enrich.static]` table and where it was set.
    pub(super) statics: Option<(Value, String)>,
}

struct Given {
    value: Value,
    origin: String,
    /// `None` where the value is not of its kind, which is a problem noted.
    setting: Option<Setting>,
}

impl Settings {
    /// Merges `layers`, the later over the earlier, and parses each key.
    pub(super) fn read(layers: Vec<Layer>, problems: &mut Problems) -> Self {
        let merged = layers.into_iter().fold(Figment::new(), Figment::merge);
        let find = |path: &str| {
            let value = merged.find_value(path).ok()?;
            let origin = merged.get_metadata(value.tag()).map_or_else(|| DEFAULT.to_owned(), origin);
            Some((value, origin))
        };
        let mut given = BTreeMap::new();
        for key in KEYS {
            let Some((value, origin)) = find(key.path) else { continue };
            let setting = parse(key.kind, &value).map_err(|refusal| {
                let problem = Problem::new(key.path, refusal.wrong).found(show_at(key.path, &value), &origin);
                problems.push(problem.allowed(key.kind.to_string()).did_you_mean(refusal.did_you_mean));
            });
            given.insert(key.path, Given { value, origin, setting: setting.ok() });
        }
        Self { given, route: find(ROUTE), statics: find(STATIC) }
    }

    /// The value of `path`, or one that stands in for it where it is unset or a problem.
    pub(super) fn at<T: FromSetting>(&self, path: &'static str) -> T {
        T::from_setting(self.setting(path))
    }

    /// The value of `path` if it is set and of its kind.
    pub(super) fn setting(&self, path: &'static str) -> Option<&Setting> {
        debug_assert!(KEYS.iter().any(|key| key.path == path), "the schema has no {path}");
        self.given.get(path).and_then(|given| given.setting.as_ref())
    }

    /// Whether anybody set `path`, rightly or wrongly.
    pub(super) fn is_given(&self, path: &'static str) -> bool {
        self.given.get(path).is_some_and(|given| given.origin != DEFAULT)
    }

    /// Whether the value of `path` can be reasoned about: it is of its kind, or unset.
    pub(super) fn is_sound(&self, path: &'static str) -> bool {
        self.given.get(path).is_none_or(|given| given.setting.is_some())
    }

    /// What `path` is set to and by whom, for a problem that concerns several keys.
    pub(super) fn found(&self, path: &'static str) -> Option<Found> {
        let given = self.given.get(path)?;
        Some(Found { value: format!("{path} = {}", show_at(path, &given.value)), origin: given.origin.clone() })
    }
}

fn origin(metadata: &Metadata) -> String {
    metadata.name.clone().into_owned()
}

/// A type that a key's value ends as.
pub(super) trait FromSetting {
    /// The value, or any other where there is none of this type: then either a problem is noted
    /// and nobody sees it, or the type says "unset".
    fn from_setting(setting: Option<&Setting>) -> Self;
}

macro_rules! from_setting {
    ($($type:ty: $pattern:pat => $value:expr, else $otherwise:expr;)+) => {$(
        impl FromSetting for $type {
            fn from_setting(setting: Option<&Setting>) -> Self {
                match setting {
                    Some($pattern) => $value,
                    _ => $otherwise,
                }
            }
        }
    )+};
}

from_setting! {
    String: Setting::Text(text) => text.clone(), else Self::new();
    Vec<String>: Setting::Texts(texts) => texts.clone(), else Self::new();
    Duration: Setting::Duration(duration) => *duration, else Self::ZERO;
    ByteSize: Setting::Size(size) => *size, else Self(0);
    PathBuf: Setting::Path(path) => path.clone(), else Self::new();
    SocketAddr: Setting::Address(address) => *address, else Self::from((Ipv4Addr::LOCALHOST, 0));
    Option<Vec<i32>>: Setting::Partitions(partitions) => Some(partitions.clone()), else None;
    bool: Setting::Boolean(boolean) => *boolean, else false;
    Option<Secret>: Setting::Secret(secret) => Some(secret.clone()), else None;
    Extensions: Setting::Extensions(extensions) => extensions.clone(), else Self::default();
    Option<EndpointUrl>: Setting::Url(url) => Some(url.clone()), else None;
    Option<PathBuf>: Setting::Path(path) => Some(path.clone()), else None;
    Option<String>: Setting::Text(text) => Some(text.clone()), else None;
    Option<i32>: Setting::Integer(number) => (*number).try_into().ok(), else None;
    Option<u16>: Setting::Integer(number) => (*number).try_into().ok(), else None;
    Option<u64>: Setting::Integer(number) => (*number).try_into().ok(), else None;
    u64: Setting::Integer(number) => (*number).try_into().unwrap_or_default(), else 0;
    Option<Ratio>: Setting::Ratio(ratio) => Some(*ratio), else None;
    Option<u32>: Setting::Integer(number) => (*number).try_into().ok(), else None;
    usize: Setting::Integer(number) => (*number).try_into().unwrap_or_default(), else 0;
    i16: Setting::Integer(number) => (*number).try_into().unwrap_or(Self::MAX), else 0;
}

impl<T: Word> FromSetting for Vec<T> {
    fn from_setting(setting: Option<&Setting>) -> Self {
        match setting {
            Some(Setting::WordList(words)) => words.iter().filter_map(|word| T::of_word(word)).collect(),
            _ => Self::new(),
        }
    }
}

impl<T: Word> FromSetting for Option<T> {
    fn from_setting(setting: Option<&Setting>) -> Self {
        match setting {
            Some(Setting::Word(word)) => T::of_word(word),
            _ => None,
        }
    }
}

impl<T: Word> FromSetting for T {
    fn from_setting(setting: Option<&Setting>) -> Self {
        match setting {
            Some(Setting::Word(word)) => T::of_word(word).unwrap_or(T::FIRST),
            _ => T::FIRST,
        }
    }
}
