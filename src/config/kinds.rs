//! The kinds of values that keys have, each with the type of its field: how it is read, and written again.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::key::Kind;
use super::keyword::Keyword;
use super::parse::Setting;
use super::{ByteSize, EndpointUrl, Extensions, Ratio, Secret};

/// A kind of value that is read as `T`.
#[derive(Debug, Clone, Copy)]
pub struct Of<T> {
    pub(super) kind: Kind,
    pub(super) read: fn(&Setting) -> Option<T>,
    pub(super) write: fn(&T) -> serde_json::Result<Value>,
}

macro_rules! kinds {
    ($($(#[$about:meta])+ $name:ident -> $type:ty: $kind:expr, $setting:pat => $value:expr;)+) => {$(
        $(#[$about])+
        pub fn $name() -> Of<$type> {
            let read = |setting: &Setting| match setting {
                $setting => Some($value),
                _ => None,
            };
            Of { kind: $kind, read, write: |value| serde_json::to_value(value) }
        }
    )+};
}

kinds! {
    /// Text, such as a name.
    text -> String: Kind::Text, Setting::Text(text) => text.clone();
    /// A topic's name.
    topic -> String: Kind::Topic, Setting::Text(name) => name.clone();
    /// The name of a field that the event does not have.
    new_field -> String: Kind::NewField, Setting::Text(name) => name.clone();
    /// A log level, or filter directives.
    log_filter -> String: Kind::LogFilter, Setting::Text(filter) => filter.clone();
    /// Bootstrap brokers.
    brokers -> Vec<String>: Kind::Brokers, Setting::Texts(brokers) => brokers.clone();
    /// A file or folder.
    path -> PathBuf: Kind::Path, Setting::Path(path) => path.clone();
    /// An address to listen on.
    address -> SocketAddr: Kind::Address, Setting::Address(address) => *address;
    /// Where an HTTP request goes.
    url -> EndpointUrl: Kind::Url, Setting::Url(url) => url.clone();
    /// Text that is never shown.
    secret -> Secret: Kind::Secret, Setting::Secret(secret) => secret.clone();
    /// SASL extensions.
    extensions -> Extensions: Kind::Extensions, Setting::Extensions(extensions) => extensions.clone();
    /// The numbers of partitions; all of them where `None`.
    partitions -> Option<Vec<i32>>: Kind::Partitions, Setting::Partitions(partitions) => partitions.clone();
    /// true or false.
    boolean -> bool: Kind::Boolean, Setting::Boolean(boolean) => *boolean;
    /// A share of a whole.
    ratio -> Ratio: Kind::Ratio, Setting::Ratio(ratio) => *ratio;
}

/// A length of time.
pub fn duration(range: RangeInclusive<Duration>) -> Of<Duration> {
    Of {
        kind: Kind::Duration(*range.start(), *range.end()),
        read: |setting| if let Setting::Duration(duration) = setting { Some(*duration) } else { None },
        write: |duration| Ok(humantime::format_duration(*duration).to_string().into()),
    }
}

/// A number of bytes.
pub fn size(range: RangeInclusive<ByteSize>) -> Of<ByteSize> {
    Of {
        kind: Kind::Size(*range.start(), *range.end()),
        read: |setting| if let Setting::Size(size) = setting { Some(*size) } else { None },
        write: |size| serde_json::to_value(size),
    }
}

/// A whole number of the field's type.
pub fn whole<T>(range: RangeInclusive<T>) -> Of<T>
where
    T: Copy + TryFrom<i64> + TryInto<i64> + Into<Value>,
{
    let bound = |bound: &T| (*bound).try_into().unwrap_or(i64::MAX);
    Of {
        kind: Kind::Integer(bound(range.start()), bound(range.end())),
        read: |setting| if let Setting::Integer(number) = setting { T::try_from(*number).ok() } else { None },
        write: |number| Ok((*number).into()),
    }
}

/// One of the keywords of `T`.
pub fn keyword<T: Keyword>() -> Of<T> {
    Of {
        kind: Kind::Words(T::WORDS),
        read: |setting| if let Setting::Word(word) = setting { T::of_word(word) } else { None },
        write: |value| Ok(value.word().into()),
    }
}

/// One or more of the keywords of `T`, each once.
pub fn keywords<T: Keyword>() -> Of<Vec<T>> {
    Of {
        kind: Kind::WordList(T::WORDS),
        read: |setting| match setting {
            Setting::WordList(words) => words.iter().map(|word| T::of_word(word)).collect(),
            _ => None,
        },
        write: |values| Ok(values.iter().map(|value| value.word()).collect()),
    }
}

/// A type of which some value is put where a key's own is a problem: the problem is noted, and nobody sees the value.
pub trait StandIn {
    /// Any value.
    fn stand_in() -> Self;
}

impl<T: Keyword> StandIn for T {
    fn stand_in() -> Self {
        T::FIRST
    }
}

impl StandIn for SocketAddr {
    fn stand_in() -> Self {
        Self::from((Ipv4Addr::LOCALHOST, 0))
    }
}

macro_rules! stand_ins {
    ($($type:ty),+) => {$(
        impl StandIn for $type {
            fn stand_in() -> Self {
                <$type>::default()
            }
        }
    )+};
}

stand_ins!(String, PathBuf, Duration, ByteSize, bool, u64, usize, i16, Option<Vec<i32>>);

impl<T> StandIn for Vec<T> {
    fn stand_in() -> Self {
        Self::new()
    }
}
