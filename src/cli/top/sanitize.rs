//! Text of the other side, made fit for a terminal.
//!
//! Senders choose app versions, brokers the texts of errors, and anything may listen on the port
//! that was asked. None of that may colour, move or end a line.

use std::fmt::{self, Write};

use kafka_client::plain::is_plain;
use serde::{Deserialize, Serialize};

/// The most characters that are kept.
const MOST: usize = 256;

/// A text without control characters, of at most 256 characters. What is left out or can't be seen
/// is told by an escape.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(from = "String")]
pub(super) struct Sanitized(String);

impl Sanitized {
    /// As much of a text as can be shown.
    pub(super) fn new(text: &str) -> Self {
        let mut shown = String::new();
        let mut characters = text.chars();
        for c in characters.by_ref().take(MOST) {
            match is_plain(c) {
                true => shown.push(c),
                false => shown.extend(c.escape_debug()),
            }
        }
        if characters.next().is_some() {
            shown.push('…');
        }
        Self(shown)
    }

    /// The text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Sanitized {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl fmt::Display for Sanitized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An error and what is behind it, as one line.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> Sanitized {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let _ = write!(text, ": {error}");
        source = error.source();
    }
    Sanitized::new(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_is_left() {
        for (text, shown) in [
            ("2.3.0", "2.3.0"),
            ("Ümläut 日本 \"x\\y\"", "Ümläut 日本 \"x\\y\""),
            ("\u{1b}[31mred\u{9b}2J", "\\u{1b}[31mred\\u{9b}2J"),
            ("two\r\nlines\t", "two\\r\\nlines\\t"),
            ("\u{202e}drow\u{2066}\u{200b}\u{feff}", "\\u{202e}drow\\u{2066}\\u{200b}\\u{feff}"),
            ("e\u{301}\u{301}", "e\\u{301}\\u{301}"),
        ] {
            assert_eq!(Sanitized::new(text).as_str(), shown);
        }
        let long = Sanitized::new(&"x".repeat(1_000_000));
        assert_eq!(long.as_str().chars().count(), MOST + 1);
    }
}
