//! Several of a kind on one line.

use std::fmt;

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
