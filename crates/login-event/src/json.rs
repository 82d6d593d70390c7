//! A scanner for one JSON object: it says where each member lies and copies nothing.
//!
//! It accepts exactly the grammar that serde_json accepts (a property test compares the two), up
//! to a nesting of [`MAX_DEPTH`], and never recurses, so that no input can exhaust the stack.

mod value;

use std::borrow::Cow;

pub use value::{Kind, Span, Value};

/// The depth to which objects and arrays may nest, the outermost included.
pub const MAX_DEPTH: u32 = 128;

/// Why a text is not one JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanError {
    /// Not JSON; the byte where that shows.
    Malformed(usize),
    /// Something behind a byte order mark, which is no part of JSON (RFC 8259, section 8.1).
    ByteOrderMark,
    /// JSON, but not an object.
    NotAnObject,
    /// Nested deeper than [`MAX_DEPTH`].
    TooDeep,
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
    Member(Cow<'a, str>, Value),
    /// The object ended; its closing brace stands here, and only white space follows.
    End(usize),
}

/// The opening of a member that is not the first, where there is no white space: a comma, its name and
/// a colon, in at most 16 bytes, which are compared as one number.
#[derive(Debug, Clone, Copy)]
pub struct Opening {
    bytes: [u8; 16],
    len: usize,
}

impl Opening {
    /// The opening of a member of this name, which has at most 12 bytes and no escapes.
    pub const fn of(name: &str) -> Self {
        let name = name.as_bytes();
        assert!(name.len() <= 12);
        let mut bytes = [0; 16];
        bytes[0] = b',';
        bytes[1] = b'"';
        let mut at = 0;
        while at < name.len() {
            bytes[at + 2] = name[at];
            at += 1;
        }
        bytes[at + 2] = b'"';
        bytes[at + 3] = b':';
        Self { bytes, len: at + 4 }
    }

    #[inline(always)]
    fn opens(&self, text: &[u8; 16]) -> bool {
        let beyond = (16 - self.len) * 8;
        (u128::from_le_bytes(*text) ^ u128::from_le_bytes(self.bytes)) << beyond == 0
    }
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

    /// The value of the next member, where that begins just so: a quicker step for whoever can
    /// guess which comes next. `None` changes nothing.
    #[inline(always)]
    pub fn value_behind(&mut self, opening: &Opening) -> Option<Result<Value, ScanError>> {
        let next = self.text.as_bytes().get(self.at..)?.first_chunk()?;
        if self.first || !opening.opens(next) {
            return None;
        }
        self.at += opening.len;
        Some(self.value())
    }

    fn end(&mut self) -> Result<Step<'a>, ScanError> {
        let close = self.at;
        self.at += 1;
        self.skip_white_space();
        if self.at < self.text.len() { Err(self.malformed()) } else { Ok(Step::End(close)) }
    }

    fn why_not_an_object(mut self) -> ScanError {
        if self.text.starts_with('\u{feff}') {
            return ScanError::ByteOrderMark;
        }
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
        let end = self.at;
        self.skip_white_space();
        self.expect(b':')?;
        let unquoted = self.text.get(start + 1..end - 1).unwrap_or_default();
        if !escaped {
            return Ok(Cow::Borrowed(unquoted));
        }
        // A name that no text can hold keeps its escapes: it is none that anybody asks for.
        let raw = self.text.get(start..end).unwrap_or_default();
        Ok(serde_json::from_str(raw).map_or(Cow::Borrowed(unquoted), Cow::Owned))
    }

    #[inline(always)]
    fn value(&mut self) -> Result<Value, ScanError> {
        self.skip_white_space();
        let start = self.at;
        let kind = match self.peek() {
            Some(b'{' | b'[') => self.container()?,
            _ => self.scalar()?,
        };
        Ok(Value { kind, span: Span::new(start, self.at) })
    }

    #[inline(always)]
    fn scalar(&mut self) -> Result<Kind, ScanError> {
        match self.peek() {
            Some(b'"') => Ok(Kind::String { escaped: self.string()? }),
            Some(b'-' | b'0'..=b'9') => self.number().map(|integer| Kind::Number { integer }),
            Some(b't') => self.literal("true").map(|()| Kind::Bool),
            Some(b'f') => self.literal("false").map(|()| Kind::Bool),
            Some(b'n') => self.literal("null").map(|()| Kind::Null),
            _ => Err(self.malformed()),
        }
    }

    /// An object or array with all it holds. Which of the two each open one is, is a bit of `open`.
    #[inline(never)]
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
            match self.special() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.at += 1;
                    self.escape()?;
                }
                _ => return Err(self.malformed()),
            }
        }
    }

    /// Goes to the next byte that means something in a string, eight at a time.
    #[inline(always)]
    fn special(&mut self) -> Option<u8> {
        while let Some(chunk) = self.text.as_bytes().get(self.at..).and_then(|rest| rest.first_chunk()) {
            let bytes = u64::from_le_bytes(*chunk);
            let special = special_bytes(bytes);
            if special != 0 {
                let first = special.trailing_zeros() / 8;
                self.at += usize::try_from(first).unwrap_or(0);
                return Some((bytes >> (first * 8)).to_le_bytes()[0]);
            }
            self.at += 8;
        }
        while let Some(byte) = self.peek() {
            if byte < 0x20 || byte == b'"' || byte == b'\\' {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    #[cold]
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

    /// A number; whether it has neither fraction nor exponent.
    fn number(&mut self) -> Result<bool, ScanError> {
        let mut integer = true;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            integer = false;
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            integer = false;
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(integer)
    }

    fn digits(&mut self) -> Result<(), ScanError> {
        let start = self.at;
        while let Some(chunk) = self.text.as_bytes().get(self.at..).and_then(|rest| rest.first_chunk()) {
            if !are_digits(u64::from_le_bytes(*chunk)) {
                break;
            }
            self.at += 8;
        }
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

    #[cold]
    fn malformed(&self) -> ScanError {
        ScanError::Malformed(self.at)
    }
}

/// Tells whether eight bytes are decimal digits: each has 3 as its high half, and still has with 6 added.
#[inline(always)]
pub fn are_digits(bytes: u64) -> bool {
    const HIGH_HALVES: u64 = 0xf0f0_f0f0_f0f0_f0f0;
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    (bytes & HIGH_HALVES) | ((bytes.wrapping_add(0x0606_0606_0606_0606) & HIGH_HALVES) >> 4) == (ZEROS | ZEROS >> 4)
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

#[cfg(test)]
mod tests;
