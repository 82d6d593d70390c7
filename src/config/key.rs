//! What is known of a key, whatever its type: its path, what is allowed, its default and what it does.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use super::ByteSize;

/// The environment variables that carry keys begin with this; `__` stands between levels.
pub const ENV_PREFIX: &str = "LOGIN_PIPELINE__";

/// One key of the configuration.
#[derive(Debug)]
pub struct Key {
    /// Section and name, such as `kafka.brokers`. Its flag has the same name.
    pub path: &'static str,
    /// What its value must be.
    pub kind: Kind,
    /// What holds where nobody sets it.
    pub default: Default,
    /// What it does, in one line.
    pub doc: &'static str,
}

impl Key {
    /// The part before the last dot, such as `kafka` or `kafka.tls`.
    pub fn section(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// The part after the last dot.
    pub fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }

    /// Whether its value is never shown, and never taken from a flag.
    pub fn is_secret(&self) -> bool {
        matches!(self.kind, Kind::Secret)
    }

    /// The environment variable that sets it.
    pub fn env(&self) -> String {
        format!("{ENV_PREFIX}{}", self.path.replace('.', "__").to_uppercase())
    }
}

/// A key's value where nobody sets it.
#[derive(Debug, Clone, Copy)]
pub enum Default {
    /// This text, read as any other.
    Text(&'static str),
    /// Nothing; what that means, in words.
    Unset(&'static str),
}

/// The kind of value that a key has.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Text: not empty, at most 255 bytes, no control characters.
    Text,
    /// A topic's name, by Kafka's rule.
    Topic,
    /// One or more `host:port`.
    Brokers,
    /// A length of time from the first to the second.
    Duration(Duration, Duration),
    /// A number of bytes from the first to the second.
    Size(ByteSize, ByteSize),
    /// One of a few words.
    Words(&'static [&'static str]),
    /// One or more of a few words, each once.
    WordList(&'static [&'static str]),
    /// A whole number from the first to the second.
    Integer(i64, i64),
    /// A share, from 0 to less than 1.
    Ratio,
    /// An address and port to listen on.
    Address,
    /// A path in the file system.
    Path,
    /// `all`, or the numbers of partitions.
    Partitions,
    /// A log level, or filter directives.
    LogFilter,
    /// The name of a field that the event does not have of its own.
    NewField,
    /// SASL extensions, each a name and a value.
    Extensions,
    /// Where an HTTP request goes: http or https, without user name, password or fragment.
    Url,
    /// true or false.
    Boolean,
    /// Text that is never shown: not empty, at most 1024 bytes, no control characters.
    Secret,
}

impl Kind {
    /// Whether a file has it as a list.
    pub fn is_list(&self) -> bool {
        matches!(self, Self::Brokers | Self::WordList(_) | Self::Partitions | Self::Extensions)
    }

    /// The placeholder for a value in a flag's help.
    pub fn value_name(&self) -> &'static str {
        match self {
            Self::Text => "TEXT",
            Self::Topic => "TOPIC",
            Self::Brokers => "HOST:PORT,...",
            Self::Duration(..) => "DURATION",
            Self::Size(..) => "SIZE",
            Self::Words(_) => "WORD",
            Self::WordList(_) => "WORD,...",
            Self::Integer(..) => "N",
            Self::Ratio => "RATIO",
            Self::Address => "IP:PORT",
            Self::Path => "PATH",
            Self::Partitions => "PARTITIONS",
            Self::LogFilter => "FILTER",
            Self::NewField => "FIELD",
            Self::Extensions => "NAME=VALUE,...",
            Self::Url => "URL",
            Self::Boolean => "BOOLEAN",
            Self::Secret => "SECRET",
        }
    }
}

/// What is allowed, in words.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("1 to 255 bytes of text without control characters"),
            Self::Topic => f.write_str("1 to 249 of the characters a-z, A-Z, 0-9, `.`, `_` and `-`; not `.` or `..`"),
            Self::Brokers => f.write_str("a list of host:port, such as broker-1:9092, 10.0.0.7:9092 or [::1]:9092"),
            Self::Duration(from, to) => {
                let (from, to) = (humantime::format_duration(*from), humantime::format_duration(*to));
                write!(f, "a duration from {from} to {to}, such as 500ms, 30s or 1m 30s")
            }
            Self::Size(from, to) => write!(f, "a size from {from} to {to}, such as 512KiB, 4MiB or 1048576"),
            Self::WordList(words) => write!(f, "a list of {}", Self::Words(words)),
            Self::Words(words) => {
                for (i, word) in words.iter().enumerate() {
                    let before = match i {
                        0 => "",
                        _ if i + 1 == words.len() => " or ",
                        _ => ", ",
                    };
                    write!(f, "{before}{word}")?;
                }
                Ok(())
            }
            Self::Integer(from, to) => write!(f, "a whole number from {from} to {to}"),
            Self::Ratio => f.write_str("a number from 0 to less than 1, such as 0.2"),
            Self::Address => f.write_str("an IP address and port, such as 127.0.0.1:9464 or [::]:9464"),
            Self::Path => f.write_str("a path"),
            Self::Partitions => f.write_str("all, or numbers and ranges such as [0, 2, 5] or 0,2,5-7"),
            Self::LogFilter => f.write_str(
                "off, error, warn, info, debug or trace, alone or for a target: info,login_pipeline::worker=debug",
            ),
            Self::NewField => f.write_str(
                "1 to 64 of the characters a-z, A-Z, 0-9, `_` and `-`, a letter or `_` first; no field that the event has or the pipeline adds",
            ),
            Self::Extensions => f.write_str(
                "a list of name=value: names of the letters a-z and A-Z, not auth; values of printable ASCII, those with a comma in the file only",
            ),
            Self::Url => f.write_str("an http or https URL, such as https://login.example/oauth2/token"),
            Self::Boolean => f.write_str("true or false"),
            Self::Secret => f.write_str("1 to 1024 bytes of text without control characters"),
        }
    }
}

/// Keys in the order of their declaration, those of a section together.
#[derive(Debug)]
pub struct Keys(Vec<Key>);

impl Keys {
    pub(super) fn new(keys: Vec<Key>) -> Self {
        Self(keys)
    }

    /// The key at `path`.
    pub fn find(&self, path: &str) -> Option<&Key> {
        self.iter().find(|key| key.path == path)
    }

    /// The sections, in the order of the keys.
    pub fn sections(&self) -> impl Iterator<Item = &'static str> {
        self.chunk_by(|a, b| a.section() == b.section()).filter_map(|keys| keys.first()).map(Key::section)
    }
}

impl Deref for Keys {
    type Target = [Key];

    fn deref(&self) -> &[Key] {
        &self.0
    }
}
