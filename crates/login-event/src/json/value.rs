//! A value in a JSON text, as the scanner finds it.

use std::borrow::Cow;
use std::ops::Range;

/// The kind of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A string; `escaped` where it holds a backslash.
    String {
        /// Whether it must be unescaped to be read.
        escaped: bool,
    },
    /// A number.
    Number {
        /// Whether it has neither fraction nor exponent.
        integer: bool,
    },
    /// `true` or `false`.
    Bool,
    /// `null`.
    Null,
    /// An object or an array.
    Container,
}

/// The place of bytes in a text. Kafka's records are shorter than 2^31 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// From `start` up to `end`.
    #[inline(always)]
    pub fn new(start: usize, end: usize) -> Self {
        Self { start: u32::try_from(start).unwrap_or(u32::MAX), end: u32::try_from(end).unwrap_or(u32::MAX) }
    }

    /// The number of bytes it holds.
    #[inline(always)]
    pub fn bytes(self) -> usize {
        self.range().len()
    }

    /// The place as a range of indices.
    #[inline(always)]
    pub fn range(self) -> Range<usize> {
        usize::try_from(self.start).unwrap_or(usize::MAX)..usize::try_from(self.end).unwrap_or(usize::MAX)
    }
}

/// A value: what it is and where it stands, quotes and brackets included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    /// The kind.
    pub kind: Kind,
    /// The place in the text.
    pub span: Span,
}

impl Value {
    /// Its bytes, as they stand in the text.
    #[inline]
    pub fn raw(self, text: &str) -> &str {
        text.get(self.span.range()).unwrap_or_default()
    }

    /// The text of a string, unescaped; `None` where it is not a string, or one that no text can
    /// hold (half of a surrogate pair).
    #[inline(always)]
    pub fn text(self, text: &str) -> Option<Cow<'_, str>> {
        match self.kind {
            Kind::String { escaped: false } => {
                let Range { start, end } = self.span.range();
                text.get(start + 1..end.saturating_sub(1)).map(Cow::Borrowed)
            }
            Kind::String { escaped: true } => self.unescaped(text).map(Cow::Owned),
            _ => None,
        }
    }

    #[cold]
    fn unescaped(self, text: &str) -> Option<String> {
        serde_json::from_str(self.raw(text)).ok()
    }
}
