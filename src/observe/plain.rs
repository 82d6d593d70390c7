//! Several of a kind on one line.

use std::fmt;

/// The sign that stands for a partition in a text that is of several.
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
}
