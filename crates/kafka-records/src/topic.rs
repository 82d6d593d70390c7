//! Topics: the rule for their names, their ids, and their partitions.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::Serialize;

/// The most characters that a topic's name may have.
pub const MAX_NAME: usize = 249;

/// Why a text can't be a topic's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It is empty.
    #[error("a topic's name can't be empty")]
    Empty,
    /// It is `.` or `..`.
    #[error("Kafka reserves this topic name")]
    Reserved,
    /// It has another character than letters and digits of ASCII, `.`, `_` and `-`.
    #[error("a character that topic names can't have")]
    Character,
    /// It is longer than [`MAX_NAME`].
    #[error("longer than topic names may be")]
    TooLong,
}

/// Checks a name by Kafka's rule for the names of topics.
///
/// # Errors
/// The first part of the rule that the name breaks.
pub fn check_name(name: &str) -> Result<(), NameError> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match name {
        "" => Err(NameError::Empty),
        "." | ".." => Err(NameError::Reserved),
        _ if !name.chars().all(is_allowed) => Err(NameError::Character),
        _ if name.len() > MAX_NAME => Err(NameError::TooLong),
        _ => Ok(()),
    }
}

/// Whether Kafka takes this for a topic's name.
pub fn is_name(name: &str) -> bool {
    check_name(name).is_ok()
}

/// A partition of a topic, shown as `user-login/3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPartition {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
}

impl TopicPartition {
    /// This partition of this topic.
    pub fn new(topic: &str, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// A topic's id (KIP-516): a topic deleted and made anew has another. Shown in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicId(pub [u8; 16]);

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Text that is no topic id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a topic id has 32 hexadecimal digits")]
pub struct ParseTopicIdError;

impl FromStr for TopicId {
    type Err = ParseTopicIdError;

    fn from_str(text: &str) -> Result<Self, ParseTopicIdError> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = digits.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        number.map(|number| Self(number.to_be_bytes())).ok_or(ParseTopicIdError)
    }
}

impl Serialize for TopicId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafkas_rule() {
        for legal in ["user-login", "a", "A.b_c-9", &"x".repeat(MAX_NAME)] {
            assert_eq!(check_name(legal), Ok(()), "{legal}");
        }
        let too_long = "x".repeat(MAX_NAME + 1);
        let refused = [
            ("", NameError::Empty),
            (".", NameError::Reserved),
            ("..", NameError::Reserved),
            ("a b", NameError::Character),
            ("lock~", NameError::Character),
            ("größe", NameError::Character),
            (too_long.as_str(), NameError::TooLong),
        ];
        for (name, why) in refused {
            assert_eq!(check_name(name), Err(why), "{name}");
        }
    }
}
