//! What others wrote, made fit for a line of ours: brokers choose the texts of errors, senders the names of headers,
//! members of a group their ids.
//!
//! ```text
//! a text of theirs ──► Plain ──► a line ──► visible, at the edge ──► log, terminal, answer of the admin port
//! ```
//! [`Plain`] stands where such a text is put into one of ours, so that it can't pass for more than it is. [`visible`]
//! stands where bytes leave the process, for whatever has come by another way.

use std::borrow::Cow;
use std::fmt::{self, Display, Write};

/// Whether a character stays as it is: what can be seen, and does nothing else. Control characters, line breaks of any
/// kind, what turns the direction of writing, marks that pile up on others, and what is not assigned don't.
pub fn is_plain(c: char) -> bool {
    match c {
        // As they came: what is quoted in a text is to be found again.
        '"' | '\'' | '\\' | ' '..='~' => true,
        '\0'..='\u{1f}' | '\u{7f}' => false,
        _ => c.escape_debug().len() == 1,
    }
}

/// A text whose control and format characters are told by an escape: it can't end the line, colour the terminal, or turn
/// the direction of what follows. All else stays as it is, quotes included.
#[derive(Debug, Clone, Copy)]
pub struct Plain<T>(pub T);

impl<T: Display> Display for Plain<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| match is_plain(c) {
            true => self.0.write_char(c),
            false => write!(self.0, "{}", c.escape_debug()),
        })
    }
}

/// Text of a broker's or a token endpoint's, fit for a log: its first 200 characters.
pub fn printable(text: &str) -> String {
    Plain(text.chars().take(200).collect::<String>()).to_string()
}

/// What a terminal does with a character that is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Nothing but what can be seen: a text is one line, and `visible` is given its end apart.
    Nothing,
    /// Line breaks, and tabs.
    Lines,
    /// Colours, as this program's own log has them.
    Colours,
}

/// Bytes as they may leave for where people look: what can't be seen is told by an escape of JSON's, such as `\u202e`,
/// so that what was JSON is the same JSON still.
pub fn visible(bytes: &[u8], keep: Keep) -> Cow<'_, [u8]> {
    let passes = |byte: &u8| matches!(byte, b' '..=b'~') || keep == Keep::Lines && matches!(byte, b'\n' | b'\t');
    if bytes.iter().all(passes) {
        return Cow::Borrowed(bytes);
    }
    let mut shown = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(c) = rest.chars().next() {
            if keep == Keep::Colours
                && let Some(colour) = colour(rest)
            {
                shown.push_str(colour);
                rest = rest.get(colour.len()..).unwrap_or_default();
                continue;
            }
            if is_plain(c) || keep == Keep::Lines && matches!(c, '\n' | '\t') {
                shown.push(c);
            } else {
                escape(c, &mut shown);
            }
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
        }
        if !chunk.invalid().is_empty() {
            shown.push(char::REPLACEMENT_CHARACTER);
        }
    }
    Cow::Owned(shown.into_bytes())
}

fn escape(c: char, shown: &mut String) {
    match c {
        '\n' => shown.push_str("\\n"),
        '\r' => shown.push_str("\\r"),
        '\t' => shown.push_str("\\t"),
        _ => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
            let _ = write!(shown, "\\u{unit:04x}"); // writing to a String does not fail
        }),
    }
}

/// The sequence that a text begins with, where it chooses a colour and does nothing else.
fn colour(text: &str) -> Option<&str> {
    let numbers = text.strip_prefix("\u{1b}[")?;
    let end = numbers.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    numbers.get(end..)?.starts_with('m').then(|| text.get(..end + 3)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What no line may have in it.
    const HOSTILE: &str =
        "a\u{1b}[2J\r\n\0\u{7f}\u{9b}31m\u{202e}\u{2066}\u{200b}\u{feff}\u{2028}\u{61c}\u{e0001}é 日本";

    #[test]
    fn what_can_be_seen_stays() {
        assert_eq!(Plain("a \"b\" isn't \\c é 日本").to_string(), "a \"b\" isn't \\c é 日本");
        assert_eq!(Plain("two\nlines \u{1b}[2J \u{202e}x").to_string(), "two\\nlines \\u{1b}[2J \\u{202e}x");
        let shown = Plain(HOSTILE).to_string();
        assert!(shown.chars().all(is_plain) && shown.ends_with("é 日本"), "{shown}");
        for c in '\0'..='\u{9f}' {
            assert_eq!(is_plain(c), !c.is_control(), "{c:?}");
        }
    }

    #[test]
    fn what_leaves_can_be_seen() {
        let shown = |bytes: &[u8], keep| String::from_utf8(visible(bytes, keep).into_owned()).unwrap();
        let expected =
            "a\\u001b[2J\\r\\n\\u0000\\u007f\\u009b31m\\u202e\\u2066\\u200b\\ufeff\\u2028\\u061c\\udb40\\udc01é 日本";
        assert_eq!(shown(HOSTILE.as_bytes(), Keep::Nothing), expected);
        assert_eq!(shown(HOSTILE.as_bytes(), Keep::Colours), expected);
        assert_eq!(shown(b"a\tb\nc\r\x1b[31m", Keep::Lines), "a\tb\nc\\r\\u001b[31m");
        assert_eq!(shown(b"\xff\x9b31m\xc3", Keep::Lines), "\u{fffd}\u{fffd}31m\u{fffd}");
        let plain = "nothing to do: \"é\" \\ ok";
        assert_eq!(shown(plain.as_bytes(), Keep::Nothing), plain);
        assert!(matches!(visible(b"ascii", Keep::Nothing), Cow::Borrowed(_)));
    }

    #[test]
    fn colours_pass_where_they_are_kept_and_nothing_that_looks_like_them() {
        let shown = |text: &str| String::from_utf8(visible(text.as_bytes(), Keep::Colours).into_owned()).unwrap();
        let own = "\u{1b}[2m12:00\u{1b}[0m \u{1b}[1;38;5;9mERROR\u{1b}[0m é";
        assert_eq!(shown(own), own);
        for other in ["\u{1b}[2J", "\u{1b}]0;title\u{7}", "\u{1b}[31", "\u{1b}[3A", "\u{1b}c", "\u{1b}"] {
            assert!(shown(other).starts_with("\\u001b"), "{other:?}");
        }
    }

    #[test]
    fn json_stays_the_same_json() {
        let value = serde_json::json!({ "a": HOSTILE, "b\u{202e}": [HOSTILE] });
        for text in [serde_json::to_vec(&value).unwrap(), serde_json::to_vec_pretty(&value).unwrap()] {
            let shown = visible(&text, Keep::Lines);
            assert!(str::from_utf8(&shown).unwrap().chars().all(|c| is_plain(c) || c == '\n'));
            assert_eq!(serde_json::from_slice::<serde_json::Value>(&shown).unwrap(), value);
        }
    }
}
