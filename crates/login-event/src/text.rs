//! Text where it lies.

use std::borrow::Cow;

use super::{Reason, Rejection};

/// The text that a record's value is.
///
/// # Errors
/// It is null, empty, or not UTF-8.
#[inline]
pub fn utf8_text(value: Option<&[u8]>) -> Result<&str, Rejection> {
    let value = value.ok_or(Rejection::NULL_VALUE)?;
    if value.is_empty() {
        return Err(Rejection::record(Reason::Tombstone, "the value is empty"));
    }
    simdutf8::basic::from_utf8(value).map_err(|_| not_utf8(value))
}

/// Looks again for the place, which is not told where the check was quick.
#[cold]
fn not_utf8(value: &[u8]) -> Rejection {
    let at = std::str::from_utf8(value).map_or_else(|error| error.valid_up_to(), str::len);
    // That of UTF-32 first: it begins as that of UTF-16 does.
    let mark = match value {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => ": it begins with the byte order mark of UTF-32",
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => ": it begins with the byte order mark of UTF-16",
        _ => "",
    };
    Rejection::record(Reason::InvalidUtf8, format!("the value is not UTF-8 at byte {at}{mark}"))
}

/// Text that is known to be UTF-8, kept as its bytes: to make a `str` of them is to check them once
/// more, which most never need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text<'a>(Cow<'a, [u8]>);

impl<'a> Text<'a> {
    /// A text of bytes that are UTF-8.
    #[inline]
    pub(super) fn known(bytes: &'a [u8]) -> Self {
        Self(Cow::Borrowed(bytes))
    }

    /// Its bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text as a `str`.
    pub fn to_str(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl<'a> From<Cow<'a, str>> for Text<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        Self(match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        })
    }
}

impl AsRef<[u8]> for Text<'_> {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq<&str> for Text<'_> {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == *other.as_bytes()
    }
}
