//! An input taken apart: numbers and fields from the front of the bytes, whatever they are.

/// Bytes that a target takes its choices from. Past their end everything is zero or empty, so that each input means
/// something and a shorter one means less.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// All of these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether everything is taken.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    /// The next two bytes as a number.
    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.array())
    }

    /// The next eight bytes as a number.
    pub fn i64(&mut self) -> i64 {
        i64::from_be_bytes(self.array())
    }

    /// A small number mostly, from a byte; one of the ends of the range at times.
    pub fn number(&mut self) -> i32 {
        match self.byte() {
            255 => i32::MAX,
            254 => i32::MIN,
            253 => -1,
            byte => byte.into(),
        }
    }

    /// One of `choices`.
    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()]
    }

    /// A field: its length in two bytes, and as much of it as there is.
    pub fn field(&mut self) -> &'a [u8] {
        let length = usize::from(self.u16()).min(self.0.len());
        self.take(length)
    }

    /// A field, or null where its length is the greatest.
    pub fn nullable(&mut self) -> Option<&'a [u8]> {
        if self.0.starts_with(&[0xff, 0xff]) {
            self.take(2);
            return None;
        }
        Some(self.field())
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        self.take(self.0.len())
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.take(N.min(self.0.len()));
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }
}

/// A field as [`Input::nullable`] takes it, for seeds.
pub fn put_nullable(out: &mut Vec<u8>, field: Option<&[u8]>) {
    match field {
        None => out.extend([0xff, 0xff]),
        Some(field) => put_field(out, field),
    }
}

/// A field as [`Input::field`] takes it, for seeds.
pub fn put_field(out: &mut Vec<u8>, field: &[u8]) {
    let length = u16::try_from(field.len()).unwrap_or(u16::MAX - 1);
    out.extend(length.to_be_bytes());
    out.extend(field);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_is_taken_and_past_the_end_is_nothing() {
        let mut bytes = vec![7];
        put_nullable(&mut bytes, None);
        put_nullable(&mut bytes, Some(b"ab"));
        put_field(&mut bytes, b"");
        bytes.extend([1, 2]);
        let mut input = Input::new(&bytes);
        assert_eq!((input.byte(), input.nullable(), input.nullable()), (7, None, Some(&b"ab"[..])));
        assert_eq!((input.field(), input.u16()), (&b""[..], 0x0102));
        assert!(input.is_empty());
        assert_eq!((input.byte(), input.i64(), input.field(), input.rest()), (0, 0, &b""[..], &b""[..]));
        assert_eq!(Input::new(&[0, 9, b'x']).field(), b"x");
    }
}
