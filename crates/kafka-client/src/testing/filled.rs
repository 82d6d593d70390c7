//! Responses made up from the tables of their fields, of each API in each version that is sent.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Encodable, Request};
use kafka_records::schema::Field::{Blob, Fixed, Maybe, Since, Struct, Structs, Tags, Text, Until, Values};
use kafka_records::schema::{Field, Version};

use crate::api::{self, list};
use crate::response_schema::decode;
use crate::versions::Api;

/// An API whose responses are tested.
#[derive(Debug)]
pub struct Tested {
    pub(crate) api: &'static Api,
    /// Decodes an answer, and encodes its body again.
    again: fn(&Api, Bytes, i16) -> anyhow::Result<Bytes>,
}

fn again<R: Request>(api: &Api, answer: Bytes, version: i16) -> anyhow::Result<Bytes> {
    let (response, _) = decode::<R>(api, version, &answer)?;
    let mut out = BytesMut::new();
    response.encode(&mut out, version).map_err(NotWritten)?;
    Ok(out.freeze())
}

/// A response that was decoded and can't be encoded: some null that the codec takes, and does not give.
#[derive(Debug, thiserror::Error)]
#[error("it was decoded, but can't be encoded: {0:#}")]
pub struct NotWritten(anyhow::Error);

impl Tested {
    /// The API's key.
    pub fn key(&self) -> i16 {
        self.api.key
    }

    /// The API's name in the protocol.
    pub fn name(&self) -> String {
        Api::name(self.api.key)
    }

    /// The latest version that is sent without being asked for.
    pub fn latest(&self) -> i16 {
        self.api.versions.max
    }

    /// Every version that is ever sent.
    pub fn versions(&self) -> Vec<i16> {
        (self.api.versions.min..=self.api.versions.max).chain(self.api.in_transaction_v2).collect()
    }

    /// Decodes an answer, header included, as the client does, and encodes its body again.
    ///
    /// # Errors
    /// Bytes that the client refuses; [`NotWritten`] where they were decoded.
    pub fn again(&self, answer: Bytes, version: i16) -> anyhow::Result<Bytes> {
        (self.again)(self.api, answer, version)
    }
}

macro_rules! tested {
    ($($file:ident: $request:ident,)*) => {
        /// Every API of the list.
        pub const TESTED: &[Tested] =
            &[$(Tested { api: &api::$file::API, again: again::<kafka_protocol::messages::$request> }),*];
    };
}
list!(tested);

/// Writes an answer by its table: every array of two elements, every number of ones, a tag that
/// nobody knows in every structure.
struct Filler {
    version: Version,
    out: Vec<u8>,
    /// Where the lengths of arrays, strings and bytes stand, and how many bytes each has.
    lengths: Vec<(usize, usize)>,
    /// The nullable field, counted from 0, that is null.
    null: Option<usize>,
    nullable: usize,
    /// In place of all tags, this one with three bytes.
    tag: Option<u8>,
}

impl Filler {
    fn structure(&mut self, fields: &[Field]) {
        let mut known: &[(u32, Field)] = &[];
        for field in fields {
            match field {
                Field::Tags(tags) => known = tags,
                field => self.field(field),
            }
        }
        if let (true, Some(tag)) = (self.version.flexible, self.tag) {
            self.out.extend([1, tag, 3, b'z', b'z', b'z']);
        } else if self.version.flexible {
            self.out.push(u8::try_from(known.len()).unwrap() + 1);
            for (tag, field) in known {
                self.out.push(u8::try_from(*tag).unwrap());
                let size_at = self.out.len();
                self.out.push(0);
                self.field(field);
                let size = self.out.len() - size_at - 1;
                self.out[size_at] = u8::try_from(size).ok().filter(|size| *size < 0x80).unwrap();
            }
            self.out.extend([100, 2, b'z', b'z']);
        }
    }

    fn field(&mut self, field: &Field) {
        match field {
            Fixed(bytes) => self.out.extend(vec![1; *bytes]),
            Text => self.many(2, 3, |filler| filler.out.extend(b"abc")),
            Blob => self.many(4, 5, |filler| filler.out.extend(b"01234")),
            Structs(fields) => self.many(4, 2, |filler| (0..2).for_each(|_| filler.structure(fields))),
            Values(field) => self.many(4, 2, |filler| (0..2).for_each(|_| filler.field(field))),
            Struct(fields) => self.structure(fields),
            Maybe(fields) => {
                if self.next_is_null() {
                    self.out.push(0xff);
                } else {
                    self.out.push(1);
                    self.structure(fields);
                }
            }
            Since(first, field) if self.version.number >= *first => self.field(field),
            Until(last, field) if self.version.number <= *last => self.field(field),
            Since(..) | Until(..) | Tags(_) => {}
        }
    }

    fn many(&mut self, width: usize, length: u8, content: impl FnOnce(&mut Self)) {
        let null = self.next_is_null();
        match (self.version.flexible, null) {
            (true, true) => self.out.push(0),
            (false, true) => self.out.extend(vec![0xff; width]),
            (true, false) => {
                self.lengths.push((self.out.len(), 1));
                self.out.push(length + 1);
            }
            (false, false) => {
                self.lengths.push((self.out.len(), width));
                self.out.extend(vec![0; width - 1]);
                self.out.push(length);
            }
        }
        if !null {
            content(self);
        }
    }

    fn next_is_null(&mut self) -> bool {
        self.nullable += 1;
        self.null == Some(self.nullable - 1)
    }
}

/// One answer that its table takes.
#[cfg_attr(not(test), expect(dead_code, reason = "the tests of the tables ask for all of it"))]
pub(crate) struct Filled {
    pub(crate) api: &'static Api,
    pub(crate) name: String,
    pub(crate) number: i16,
    pub(crate) answer: Bytes,
    /// How many bytes its header has.
    pub(crate) header: usize,
    /// Where the lengths of arrays, strings and bytes stand, and how many bytes each has.
    pub(crate) lengths: Vec<(usize, usize)>,
    /// How many of its fields may be null.
    pub(crate) nullable: usize,
}

impl Tested {
    /// An answer in one of the versions, with two elements in each array.
    pub fn filled(&self, version: i16) -> Bytes {
        filled(self.api, version, None).answer
    }
}

pub(crate) fn filled(api: &'static Api, number: i16, null: Option<usize>) -> Filled {
    filled_with(api, number, null, None)
}

pub(crate) fn filled_with(api: &'static Api, number: i16, null: Option<usize>, tag: Option<u8>) -> Filled {
    let key = ApiKey::try_from(api.key).unwrap();
    let mut out = vec![0, 0, 0, 7];
    if key.response_header_version(number) >= 1 {
        out.extend([1, 100, 2, b'z', b'z']);
    }
    let header = out.len();
    let flexible = key.request_header_version(number) >= 2;
    let mut filler = Filler { version: Version { number, flexible }, out, lengths: Vec::new(), null, nullable: 0, tag };
    filler.structure(api.response);
    let Filler { out, lengths, nullable, .. } = filler;
    Filled { api, name: Api::name(api.key), number, answer: out.into(), header, lengths, nullable }
}
