//! Subscriptions and assignments, which members of a classic group exchange through the coordinator: Kafka's `consumer`
//! protocol type. The bytes are another client's, so that nothing in them is trusted.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut, Bytes, BytesMut};

/// Partitions by topic.
pub type Partitions = BTreeMap<String, BTreeSet<i32>>;

/// The version that is written; later ones are read as this one, as Kafka's rule has it.
const VERSION: i16 = 3;

/// Begins the note of ours beside an assignment. It bears the first user's name: members of all versions know it so.
const NOTE: &[u8] = b"login-pipeline 1\n";

/// The topics that a member subscribes to, and the partitions that it has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subscription {
    /// The topics.
    pub topics: BTreeSet<String>,
    /// The partitions that it has, where its assignor is cooperative.
    pub owned: Partitions,
    /// The generation in which it was given them.
    pub generation: Option<i32>,
    /// The rack that it runs in.
    pub rack: Option<String>,
}

/// Bytes that are no subscription, or no assignment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the bytes end early, or hold what they can't")]
pub struct Malformed;

impl Subscription {
    /// Encodes it as the coordinator passes it on to the leader.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_i16(VERSION);
        put_length(&mut out, self.topics.len());
        self.topics.iter().for_each(|topic| put_text(&mut out, topic));
        // Kafka's cooperative-sticky assignor, before version 2, looks for the generation here.
        match self.generation {
            Some(generation) => {
                out.put_i32(4);
                out.put_i32(generation);
            }
            None => out.put_i32(-1),
        }
        put_partitions(&mut out, &self.owned);
        out.put_i32(self.generation.unwrap_or(-1));
        match &self.rack {
            Some(rack) => put_text(&mut out, rack),
            None => out.put_i16(-1),
        }
        out.freeze()
    }

    /// Decodes what another member has sent.
    ///
    /// # Errors
    /// The bytes are no subscription.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut input = Input(bytes);
        let version = input.i16()?;
        if version < 0 {
            return Err(Malformed);
        }
        let topics = input.array(|input| input.text())?.into_iter().collect();
        let user_data = input.bytes()?;
        let owned = if version >= 1 { input.partitions()? } else { Partitions::new() };
        let generation =
            if version >= 2 { Some(input.i32()?) } else { user_data.and_then(|data| Input(data).i32().ok()) };
        let rack = if version >= 3 { input.nullable_text()? } else { None };
        Ok(Self { topics, owned, generation: generation.filter(|generation| *generation >= 0), rack })
    }
}

/// The part that one member is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Assignment {
    /// Its part.
    pub partitions: Partitions,
    /// The topics and numbers of partitions that were shared, where a leader of our kind noted
    /// them. A static member that comes back as the leader without having shared knows by them
    /// whether the topic has more partitions than anybody reads.
    pub shared: Option<BTreeMap<String, i32>>,
}

/// Encodes the part of one member, with what the leader shared by as a note of its own: other clients'
/// assignors don't look at it.
pub(crate) fn encode_assignment(partitions: &Partitions, shared: Option<&BTreeMap<String, i32>>) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(VERSION);
    put_partitions(&mut out, partitions);
    match shared {
        Some(shared) => {
            let mut note = BytesMut::new();
            note.put_slice(NOTE);
            put_length(&mut note, shared.len());
            for (topic, count) in shared {
                put_text(&mut note, topic);
                note.put_i32(*count);
            }
            put_length(&mut out, note.len());
            out.put_slice(&note);
        }
        None => out.put_i32(-1),
    }
    out.freeze()
}

/// Decodes the part of this member; no bytes at all are no partitions.
///
/// # Errors
/// The bytes are no assignment.
pub(crate) fn decode_assignment(bytes: &[u8]) -> Result<Assignment, Malformed> {
    if bytes.is_empty() {
        return Ok(Assignment::default());
    }
    let mut input = Input(bytes);
    if input.i16()? < 0 {
        return Err(Malformed);
    }
    let partitions = input.partitions()?;
    let note = input.bytes().ok().flatten(); // where it is missing or another's, nothing is noted
    let shared = note.and_then(|note| note.strip_prefix(NOTE)).and_then(|note| {
        let topics = Input(note).array(|input| Ok((input.text()?, input.i32()?)));
        topics.ok().map(BTreeMap::from_iter)
    });
    Ok(Assignment { partitions, shared })
}

fn put_length(out: &mut BytesMut, length: usize) {
    out.put_i32(i32::try_from(length).unwrap_or(i32::MAX)); // never so many
}

fn put_text(out: &mut BytesMut, text: &str) {
    // Kafka's names are shorter than this by far.
    out.put_i16(i16::try_from(text.len()).unwrap_or(i16::MAX));
    out.put_slice(text.as_bytes());
}

fn put_partitions(out: &mut BytesMut, partitions: &Partitions) {
    put_length(out, partitions.len());
    for (topic, partitions) in partitions {
        put_text(out, topic);
        put_length(out, partitions.len());
        partitions.iter().for_each(|partition| out.put_i32(*partition));
    }
}

/// Bytes to be read from the front.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn i16(&mut self) -> Result<i16, Malformed> {
        self.take().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Result<i32, Malformed> {
        self.take().map(i32::from_be_bytes)
    }

    fn slice(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn nullable_text(&mut self) -> Result<Option<String>, Malformed> {
        match self.i16()? {
            -1 => Ok(None),
            length => {
                let bytes = self.slice(usize::try_from(length).map_err(|_| Malformed)?)?;
                std::str::from_utf8(bytes).map(|text| Some(text.to_owned())).map_err(|_| Malformed)
            }
        }
    }

    fn text(&mut self) -> Result<String, Malformed> {
        self.nullable_text()?.ok_or(Malformed)
    }

    fn bytes(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        match self.i32()? {
            -1 => Ok(None),
            length => self.slice(usize::try_from(length).map_err(|_| Malformed)?).map(Some),
        }
    }

    /// Reads as many as are announced; what is announced and not there ends it.
    fn array<T>(&mut self, mut read: impl FnMut(&mut Self) -> Result<T, Malformed>) -> Result<Vec<T>, Malformed> {
        let length = usize::try_from(self.i32()?).map_err(|_| Malformed)?;
        let mut items = Vec::new();
        for _ in 0..length {
            items.push(read(self)?);
        }
        Ok(items)
    }

    fn partitions(&mut self) -> Result<Partitions, Malformed> {
        let mut found = Partitions::new();
        for (topic, partitions) in self.array(|input| Ok((input.text()?, input.array(Self::i32)?)))? {
            found.entry(topic).or_default().extend(partitions);
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn subscription() -> Subscription {
        Subscription {
            topics: BTreeSet::from(["a".to_owned(), "bc".to_owned()]),
            owned: Partitions::from([("a".to_owned(), BTreeSet::from([0, 2]))]),
            generation: Some(7),
            rack: None,
        }
    }

    /// Written down from Kafka's ConsumerProtocolSubscription.json.
    const WRITTEN: &[u8] = b"\0\x03\
        \0\0\0\x02\0\x01a\0\x02bc\
        \0\0\0\x04\0\0\0\x07\
        \0\0\0\x01\0\x01a\0\0\0\x02\0\0\0\0\0\0\0\x02\
        \0\0\0\x07\
        \xff\xff";

    #[test]
    fn a_subscription_is_written_as_kafka_does() {
        assert_eq!(subscription().encode(), WRITTEN);
        assert_eq!(Subscription::decode(WRITTEN), Ok(subscription()));
    }

    #[test]
    fn older_and_newer_versions_are_read() {
        let first = b"\0\0\0\0\0\x01\0\x01a\xff\xff\xff\xff";
        let topics = BTreeSet::from(["a".to_owned()]);
        assert_eq!(Subscription::decode(first), Ok(Subscription { topics: topics.clone(), ..Subscription::default() }));
        let sticky = b"\0\x01\0\0\0\x01\0\x01a\0\0\0\x04\0\0\0\x05\0\0\0\0";
        let expected = Subscription { topics, generation: Some(5), ..Subscription::default() };
        assert_eq!(Subscription::decode(sticky), Ok(expected), "the generation lies in the user data");
        let mut later = WRITTEN.to_vec();
        later[1] = 9;
        later.extend(b"what is to come");
        assert_eq!(Subscription::decode(&later), Ok(subscription()));
    }

    #[test]
    fn an_assignment_is_written_as_kafka_does() {
        let given = Partitions::from([("a".to_owned(), BTreeSet::from([1]))]);
        let written = b"\0\x03\0\0\0\x01\0\x01a\0\0\0\x01\0\0\0\x01\xff\xff\xff\xff";
        assert_eq!(encode_assignment(&given, None), &written[..]);
        assert_eq!(decode_assignment(written), Ok(Assignment { partitions: given, shared: None }));
        assert_eq!(decode_assignment(b""), Ok(Assignment::default()));
    }

    #[test]
    fn notes_of_others_are_none() {
        let written = b"\0\x03\0\0\0\x01\0\x01a\0\0\0\x01\0\0\0\x01\0\0\0\x02hm";
        let partitions = Partitions::from([("a".to_owned(), BTreeSet::from([1]))]);
        assert_eq!(decode_assignment(written), Ok(Assignment { partitions, shared: None }));
    }

    #[test]
    fn cut_short_is_refused() {
        for length in 0..WRITTEN.len() {
            assert_eq!(Subscription::decode(&WRITTEN[..length]), Err(Malformed), "{length} bytes");
        }
        assert_eq!(Subscription::decode(b"\0\0\x7f\xff\xff\xff"), Err(Malformed), "an array of two thousand million");
        assert_eq!(Subscription::decode(b"\xff\xff\0\0\0\0\xff\xff\xff\xff"), Err(Malformed));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (Subscription::decode(&bytes), decode_assignment(&bytes));
        }

        #[test]
        fn what_is_written_is_read(
            topics in prop::collection::btree_set("[a-z]{1,5}", 0..4),
            owned in prop::collection::btree_map("[a-z]{1,5}", prop::collection::btree_set(0..50i32, 0..5), 0..4),
            generation in prop::option::of(0..i32::MAX),
            rack in prop::option::of("[a-z]{0,5}"),
            shared in prop::option::of(prop::collection::btree_map("[a-z]{1,5}", any::<i32>(), 0..4)),
        ) {
            let subscription = Subscription { topics, owned, generation, rack };
            prop_assert_eq!(Subscription::decode(&subscription.encode()), Ok(subscription.clone()));
            let assignment = Assignment { partitions: subscription.owned, shared };
            let written = encode_assignment(&assignment.partitions, assignment.shared.as_ref());
            prop_assert_eq!(decode_assignment(&written), Ok(assignment));
        }
    }
}
