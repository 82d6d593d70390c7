//! A scanner for one JSON object: it says where each member lies and copies nothing.
//!
//! It accepts exactly the grammar that serde_json accepts (a property test compares the two), up
//! to a nesting of [`MAX_DEPTH`], and never recurses, so that no input can exhaust the stack.

use std::borrow::Cow;
use std::ops::Range;

/// How deep objects and arrays may nest, the outermost included.
pub const MAX_DEPTH: u32 = 128;

/// Why a text is not one JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanError {
    /// Not JSON; the byte where that shows.
    Malformed(usize),
    /// JSON, but not an object.
    NotAnObject,
    /// Nested deeper than [`MAX_DEPTH`].
    TooDeep,
}

/// What kind of value stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A string; `escaped` where it holds a backslash.
    String {
        /// Whether it must be unescaped to be read.
        escaped: bool,
    },
    /// A number.
    Number,
    /// `true` or `false`.
    Bool,
    /// `null`.
    Null,
    /// An object or an array.
    Container,
}

/// A value: what it is and where it stands, quotes and brackets included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its bytes, as they stand in the text.
    pub raw: &'a str,
    start: usize,
}

impl<'a> Value<'a> {
    /// Where it stands in the text.
    pub fn span(&self) -> Range<usize> {
        self.start..self.start + self.raw.len()
    }

    /// The text of a string, unescaped; `None` where it is not a string, or one that no text can
    /// hold (half of a surrogate pair).
    pub fn text(&self) -> Option<Cow<'a, str>> {
        match self.kind {
            Kind::String { escaped: false } => Some(Cow::Borrowed(unquoted(self.raw))),
            Kind::String { escaped: true } => serde_json::from_str(self.raw).ok().map(Cow::Owned),
            _ => None,
        }
    }
}

fn unquoted(raw: &str) -> &str {
    raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default()
}

/// The members of the object in `text`, one by one, and at the end the place of its closing brace.
#[derive(Debug)]
pub struct Members<'a> {
    text: &'a str,
    at: usize,
    first: bool,
}

/// A step of [`Members`].
#[derive(Debug)]
pub enum Step<'a> {
    /// A member: its name, unescaped, and its value.
    Member(Cow<'a, str>, Value<'a>),
    /// The object ended; its closing brace stands here, and only white space follows.
    End(usize),
}

impl<'a> Members<'a> {
    /// Begins with the members of the object that `text` is.
    pub fn of(text: &'a str) -> Result<Self, ScanError> {
        let mut members = Self { text, at: 0, first: true };
        members.skip_white_space();
        match members.peek() {
            Some(b'{') => {
                members.at += 1;
                Ok(members)
            }
            _ => Err(members.why_not_an_object()),
        }
    }

    /// The next member, or the end.
    #[inline(always)]
    pub fn step(&mut self) -> Result<Step<'a>, ScanError> {
        self.skip_white_space();
        if self.peek() == Some(b'}') && self.first {
            return self.end();
        }
        if !self.first {
            match self.peek() {
                Some(b'}') => return self.end(),
                Some(b',') => self.at += 1,
                _ => return Err(self.malformed()),
            }
            self.skip_white_space();
        }
        self.first = false;
        let name = self.name()?;
        let value = self.value()?;
        Ok(Step::Member(name, value))
    }

    fn end(&mut self) -> Result<Step<'a>, ScanError> {
        let close = self.at;
        self.at += 1;
        self.skip_white_space();
        if self.at < self.text.len() { Err(self.malformed()) } else { Ok(Step::End(close)) }
    }

    fn why_not_an_object(mut self) -> ScanError {
        let whole = self.value().map(|_| self.skip_white_space());
        match whole {
            Ok(()) if self.at == self.text.len() => ScanError::NotAnObject,
            Ok(()) => self.malformed(),
            Err(error) => error,
        }
    }

    /// A member's name and the colon behind it.
    #[inline(always)]
    fn name(&mut self) -> Result<Cow<'a, str>, ScanError> {
        let start = self.at;
        let escaped = self.string()?;
        let raw = self.slice(start);
        self.skip_white_space();
        self.expect(b':')?;
        if !escaped {
            return Ok(Cow::Borrowed(unquoted(raw)));
        }
        // A name that no text can hold keeps its escapes: it is none that anybody asks for.
        Ok(serde_json::from_str(raw).map_or(Cow::Borrowed(unquoted(raw)), Cow::Owned))
    }

    #[inline(always)]
    fn value(&mut self) -> Result<Value<'a>, ScanError> {
        self.skip_white_space();
        let start = self.at;
        let kind = match self.peek() {
            Some(b'{' | b'[') => self.container()?,
            _ => self.scalar()?,
        };
        Ok(Value { kind, raw: self.slice(start), start })
    }

    #[inline(always)]
    fn scalar(&mut self) -> Result<Kind, ScanError> {
        match self.peek() {
            Some(b'"') => Ok(Kind::String { escaped: self.string()? }),
            Some(b'-' | b'0'..=b'9') => self.number().map(|()| Kind::Number),
            Some(b't') => self.literal("true").map(|()| Kind::Bool),
            Some(b'f') => self.literal("false").map(|()| Kind::Bool),
            Some(b'n') => self.literal("null").map(|()| Kind::Null),
            _ => Err(self.malformed()),
        }
    }

    /// An object or array with all it holds. Which of the two each open one is, is a bit of `open`.
    fn container(&mut self) -> Result<Kind, ScanError> {
        let mut open: u128 = 0;
        let mut depth: u32 = 1; // of the object whose member this is
        loop {
            // Here a value begins, or a container just opened may end.
            match self.peek() {
                Some(bracket @ (b'{' | b'[')) => {
                    self.at += 1;
                    depth += 1;
                    if depth > MAX_DEPTH {
                        return Err(ScanError::TooDeep);
                    }
                    let is_object = bracket == b'{';
                    open = open << 1 | u128::from(is_object);
                    self.skip_white_space();
                    let close = if is_object { b'}' } else { b']' };
                    if self.peek() != Some(close) {
                        if is_object {
                            self.name()?;
                            self.skip_white_space();
                        }
                        continue;
                    }
                }
                _ => {
                    self.scalar()?;
                }
            }
            // Here a value, or an empty container's inside, has ended.
            loop {
                self.skip_white_space();
                let in_object = open & 1 == 1;
                match self.peek() {
                    Some(b',') => {
                        self.at += 1;
                        self.skip_white_space();
                        if in_object {
                            self.name()?;
                            self.skip_white_space();
                        }
                        break;
                    }
                    Some(b'}') if in_object => self.at += 1,
                    Some(b']') if !in_object => self.at += 1,
                    _ => return Err(self.malformed()),
                }
                open >>= 1;
                depth -= 1;
                if depth == 1 {
                    return Ok(Kind::Container);
                }
            }
        }
    }

    /// A string with its quotes; whether it holds an escape.
    #[inline(always)]
    fn string(&mut self) -> Result<bool, ScanError> {
        self.expect(b'"')?;
        let mut escaped = false;
        loop {
            self.skip_plain();
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.at += 1;
                    self.escape()?;
                }
                Some(0x20..) => self.at += 1,
                _ => return Err(self.malformed()),
            }
        }
    }

    /// Skips bytes that mean nothing in a string, eight at a time.
    #[inline(always)]
    fn skip_plain(&mut self) {
        while let Some(chunk) = self.text.as_bytes().get(self.at..).and_then(|rest| rest.first_chunk()) {
            let special = special_bytes(u64::from_le_bytes(*chunk));
            if special != 0 {
                self.at += usize::try_from(special.trailing_zeros() / 8).unwrap_or(0);
                return;
            }
            self.at += 8;
        }
    }

    fn escape(&mut self) -> Result<(), ScanError> {
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    match self.peek() {
                        Some(digit) if digit.is_ascii_hexdigit() => self.at += 1,
                        _ => return Err(self.malformed()),
                    }
                }
            }
            _ => return Err(self.malformed()),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), ScanError> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), ScanError> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(self.malformed()) }
    }

    fn literal(&mut self, word: &str) -> Result<(), ScanError> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            return Err(self.malformed());
        }
        self.at += word.len();
        Ok(())
    }

    #[inline(always)]
    fn expect(&mut self, byte: u8) -> Result<(), ScanError> {
        if self.peek() != Some(byte) {
            return Err(self.malformed());
        }
        self.at += 1;
        Ok(())
    }

    #[inline(always)]
    fn skip_white_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    #[inline(always)]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline(always)]
    fn slice(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    #[cold]
    fn malformed(&self) -> ScanError {
        ScanError::Malformed(self.at)
    }
}

/// The high bits of those of eight bytes that are a quote, a backslash or a control character. Above
/// the first of them there may be bits too many, which nobody looks at.
#[inline]
fn special_bytes(bytes: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let below = |limit: u8, bytes: u64| bytes.wrapping_sub(ONES * u64::from(limit)) & !bytes;
    let quote = bytes ^ (ONES * u64::from(b'"'));
    let backslash = bytes ^ (ONES * u64::from(b'\\'));
    (below(0x20, bytes) | below(1, quote) | below(1, backslash)) & HIGH
}

/// The names met so far, of members that nobody expects: told apart without a quadratic walk,
/// however many a sender invents.
#[derive(Debug, Default)]
pub struct Names<'a> {
    few: Vec<Cow<'a, str>>,
    many: std::collections::HashSet<Cow<'a, str>>,
}

impl<'a> Names<'a> {
    const FEW: usize = 16;

    /// Adds a name; `false` where it was there.
    pub fn insert(&mut self, name: Cow<'a, str>) -> bool {
        if self.few.contains(&name) {
            return false;
        }
        if self.few.len() < Self::FEW {
            self.few.push(name);
            return true;
        }
        self.many.insert(name)
    }
}

#[cfg(test)]
mod tests;
