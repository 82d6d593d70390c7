//! Text of others on a line of ours.

use std::fmt::{self, Write};

/// A text whose control and format characters are told by an escape: it can't end the line, colour the terminal, or turn
/// the direction of what follows. All else stays as it is, quotes included.
#[derive(Debug, Clone, Copy)]
pub struct Plain<'a>(pub &'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '"' | '\'' | '\\' => f.write_char(c)?,
                _ => write!(f, "{}", c.escape_debug())?,
            }
        }
        Ok(())
    }
}

/// What stands for a partition in a text that is of several.
pub const ANY: &str = "…";

/// A text without the words that are numbers: the same for any number of records, bytes or seconds, and another for
/// another address.
pub(super) fn without_numbers(text: &str) -> String {
    let is_number = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
    text.split(' ').filter(|word| !is_number(word)).collect::<Vec<_>>().join(" ")
}

/// So many of several are named.
const NAMED: usize = 3;

/// The first three of several, and how many more there are.
pub fn first_of<T: fmt::Display>(all: &[T]) -> String {
    let named: Vec<String> = all.iter().take(NAMED).map(ToString::to_string).collect();
    let named = named.join(", ");
    match all.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_make_no_difference_and_addresses_do() {
        let said = |dead, broker| without_numbers(&format!("{dead} of 251 records: connect to 10.0.0.{broker}:9092"));
        assert_eq!(said(51, 1), said(52, 1));
        assert_ne!(said(51, 1), said(51, 2));
    }

    #[test]
    fn what_can_be_seen_stays() {
        assert_eq!(Plain("a \"b\" isn't \\c é 日本").to_string(), "a \"b\" isn't \\c é 日本");
        assert_eq!(Plain("two\nlines \u{1b}[2J \u{202e}x").to_string(), "two\\nlines \\u{1b}[2J \\u{202e}x");
    }
}
