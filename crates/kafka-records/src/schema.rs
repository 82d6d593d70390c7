//! Walks over a message's bytes before anything is decoded from them. Pure.
//!
//! The codec allocates an array by the length that the bytes claim; four bytes of garbage would cost
//! gigabytes, and an allocation that fails ends the process. What has passed here holds every element
//! that it claims. The sandbox checks requests by it, the client answers.

/// No sane message has more elements and tags, all arrays together: decoded, the smallest take many
/// times the room that they take on the wire.
const MAX_ITEMS: usize = 1_000_000;

/// One field of a message, as far as its length is concerned.
#[derive(Debug, Clone, Copy)]
pub enum Field {
    /// So many bytes.
    Fixed(usize),
    /// A string, null or not.
    Text,
    /// Bytes, null or not.
    Blob,
    /// An array of structures, each of these fields; null or not.
    Structs(&'static [Field]),
    /// An array of plain values, null or not.
    Values(&'static Field),
    /// A structure.
    Struct(&'static [Field]),
    /// A structure behind a byte that says whether it is there.
    Maybe(&'static [Field]),
    /// A field that is there from this version on.
    Since(i16, &'static Field),
    /// A field that is there up to this version.
    Until(i16, &'static Field),
    /// The tagged fields of this structure that the codec looks into, wherever they stand in the
    /// table; all others are skipped by their size.
    Tags(&'static [(u32, Field)]),
}

/// How a message is written.
#[derive(Debug, Clone, Copy)]
pub struct Version {
    /// The version's number.
    pub number: i16,
    /// Whether lengths are compact, and structures end in tagged fields (KIP-482).
    pub flexible: bool,
}

/// What follows these fields, and their tags; `None` where `bytes` do not hold them.
pub fn after<'a>(fields: &[Field], version: Version, bytes: &'a [u8]) -> Option<&'a [u8]> {
    let mut walk = Walk { at: bytes, version, items_left: MAX_ITEMS };
    walk.structure(fields)?;
    Some(walk.at)
}

/// Whether `bytes` are exactly these fields.
pub fn fits(fields: &[Field], version: Version, bytes: &[u8]) -> bool {
    after(fields, version, bytes).is_some_and(<[u8]>::is_empty)
}

struct Walk<'a> {
    at: &'a [u8],
    version: Version,
    items_left: usize,
}

impl<'a> Walk<'a> {
    fn structure(&mut self, fields: &[Field]) -> Option<()> {
        let mut known: &[(u32, Field)] = &[];
        for field in fields {
            match field {
                Field::Tags(tags) => known = tags,
                field => self.field(field)?,
            }
        }
        if self.version.flexible { self.tags(known) } else { Some(()) }
    }

    fn field(&mut self, field: &Field) -> Option<()> {
        match field {
            Field::Fixed(bytes) => self.take(*bytes).map(drop),
            Field::Text => {
                let length = if self.version.flexible { self.compact_length()? } else { self.i16_length()? };
                self.take(length).map(drop)
            }
            Field::Blob => {
                let length = self.i32_length()?;
                self.take(length).map(drop)
            }
            Field::Structs(fields) => (0..self.items()?).try_for_each(|_| self.structure(fields)),
            Field::Values(field) => (0..self.items()?).try_for_each(|_| self.field(field)),
            Field::Struct(fields) => self.structure(fields),
            Field::Maybe(fields) => match self.take(1)? {
                [1] => self.structure(fields),
                [0xff] => Some(()),
                _ => None,
            },
            Field::Since(first, field) if self.version.number >= *first => self.field(field),
            Field::Until(last, field) if self.version.number <= *last => self.field(field),
            Field::Since(..) | Field::Until(..) | Field::Tags(_) => Some(()),
        }
    }

    /// The codec reads the tags that it knows whatever size they claim, so that they must fill it.
    fn tags(&mut self, known: &[(u32, Field)]) -> Option<()> {
        let count = usize::try_from(self.unsigned_varint()?).ok()?;
        for _ in 0..self.affordable(count)? {
            let tag = self.unsigned_varint()?;
            let size = usize::try_from(self.unsigned_varint()?).ok()?;
            let value = self.take(size)?;
            if let Some((_, field)) = known.iter().find(|(known, _)| *known == tag) {
                let mut inside = Walk { at: value, version: self.version, items_left: self.items_left };
                inside.field(field)?;
                if !inside.at.is_empty() {
                    return None;
                }
                self.items_left = inside.items_left;
            }
        }
        Some(())
    }

    /// The number of an array's elements: at most as many as there are bytes.
    fn items(&mut self) -> Option<usize> {
        let items = self.i32_length()?;
        self.affordable(items)
    }

    fn affordable(&mut self, items: usize) -> Option<usize> {
        self.items_left = self.items_left.checked_sub(items)?;
        (items <= self.at.len()).then_some(items)
    }

    /// A length of 16 bits; null counts as none.
    fn i16_length(&mut self) -> Option<usize> {
        match i16::from_be_bytes(*self.take(2)?.first_chunk()?) {
            -1 => Some(0),
            length => usize::try_from(length).ok(),
        }
    }

    /// A length of 32 bits, or compact; null counts as none.
    fn i32_length(&mut self) -> Option<usize> {
        if self.version.flexible {
            return self.compact_length();
        }
        match i32::from_be_bytes(*self.take(4)?.first_chunk()?) {
            -1 => Some(0),
            length => usize::try_from(length).ok(),
        }
    }

    /// Compact lengths are one more than the length; 0 is null.
    fn compact_length(&mut self) -> Option<usize> {
        usize::try_from(self.unsigned_varint()?.saturating_sub(1)).ok()
    }

    fn unsigned_varint(&mut self) -> Option<u32> {
        let mut value = 0_u32;
        for shift in (0..32).step_by(7) {
            let [byte] = *self.take(1)?.first_chunk()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.at.split_at_checked(bytes)?;
        self.at = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::Field::{Fixed, Maybe, Since, Structs, Tags, Text, Until, Values};
    use super::*;

    const TOPICS: &[Field] = &[Structs(&[Text, Values(&Fixed(4))]), Fixed(1)];
    const PLAIN: Version = Version { number: 3, flexible: false };
    const FLEXIBLE: Version = Version { number: 3, flexible: true };

    #[test]
    fn takes_what_is_whole_and_nothing_else() {
        let whole = b"\0\0\0\x01\0\x01x\0\0\0\x02aaaabbbb!";
        assert!(fits(TOPICS, PLAIN, whole));
        for end in 0..whole.len() {
            assert!(!fits(TOPICS, PLAIN, &whole[..end]));
        }
        assert!(!fits(TOPICS, PLAIN, b"\0\0\0\0!!"));
        assert_eq!(after(TOPICS, PLAIN, b"\0\0\0\0!!"), Some(&b"!"[..]));
    }

    #[test]
    fn a_claim_of_billions_is_refused() {
        assert!(!fits(TOPICS, PLAIN, b"\x7f\xff\xff\xff\0\x01x!"));
        assert!(!fits(TOPICS, FLEXIBLE, b"\xff\xff\xff\xff\x0f\x02x!"));
    }

    #[test]
    fn elements_that_are_there_are_refused_where_they_are_too_many() {
        let array = |items: usize| [&u32::try_from(items).unwrap().to_be_bytes()[..], &vec![0; items]].concat();
        let bytes: &[Field] = &[Values(&Fixed(1))];
        assert!(fits(bytes, PLAIN, &array(MAX_ITEMS)));
        assert!(!fits(bytes, PLAIN, &array(MAX_ITEMS + 1)));
        let twice: &[Field] = &[Values(&Fixed(1)), Values(&Fixed(1))];
        assert!(!fits(twice, PLAIN, &[array(MAX_ITEMS), array(1)].concat()));
    }

    #[test]
    fn null_is_minus_one_and_no_other_negative() {
        assert!(fits(&[Text, Values(&Text)], PLAIN, b"\xff\xff\xff\xff\xff\xff"));
        assert!(!fits(&[Text], PLAIN, b"\xff\xfe"));
        assert!(!fits(&[Values(&Text)], PLAIN, b"\xff\xff\xff\xfe"));
    }

    #[test]
    fn flexible_versions_have_tags() {
        let whole = b"\x02\x02x\x02aaaa\0!\x01\x05\x02zz";
        assert!(fits(TOPICS, FLEXIBLE, whole));
    }

    #[test]
    fn known_tags_are_looked_into() {
        let fields: &[Field] = &[Tags(&[(0, Values(&Fixed(1)))])];
        assert!(fits(fields, FLEXIBLE, b"\x01\0\x03\x03aa"));
        assert!(!fits(fields, FLEXIBLE, b"\x01\0\x03\x7faa"), "a lying count");
        assert!(!fits(fields, FLEXIBLE, b"\x01\0\x04\x03aaa"), "a size that the codec would not heed");
        assert!(fits(fields, FLEXIBLE, b"\x01\x01\x03\x7faa"), "an unknown tag");
    }

    #[test]
    fn fields_come_and_go_with_versions() {
        let fields: &[Field] = &[Since(2, &Fixed(1)), Until(2, &Fixed(2)), Since(3, &Until(4, &Fixed(4)))];
        for (number, length) in [(1, 2), (2, 3), (3, 5), (4, 5), (5, 1)] {
            let version = Version { number, flexible: false };
            assert!(fits(fields, version, &[0; 5][..length]), "{number}");
        }
    }

    #[test]
    fn a_structure_that_may_be_missing_says_so() {
        let fields: &[Field] = &[Maybe(&[Fixed(2)])];
        assert!(fits(fields, PLAIN, b"\x01aa"));
        assert!(fits(fields, PLAIN, b"\xff"));
        assert!(!fits(fields, PLAIN, b"\x01a"));
        assert!(!fits(fields, PLAIN, b"\x02aa"));
    }
}
