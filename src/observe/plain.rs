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
    fn what_can_be_seen_stays() {
        assert_eq!(Plain("a \"b\" isn't \\c é 日本").to_string(), "a \"b\" isn't \\c é 日本");
        assert_eq!(Plain("two\nlines \u{1b}[2J \u{202e}x").to_string(), "two\\nlines \\u{1b}[2J \\u{202e}x");
    }
}
