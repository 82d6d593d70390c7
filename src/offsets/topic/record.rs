//! The records of the offsets topic, as text.
//!
//! ```text
//! key    login-pipeline/user-login/3/7/00c0ffee00c0ffee
//!        group          topic      │ │ instance
//!                          partition epoch
//! value  login-pipeline owner v1
//!        epoch 7
//!        instance 00c0ffee00c0ffee
//!        state held
//!        login-pipeline checkpoint v1      ┐
//!        ...                               │ as the file store has it; absent where nothing was
//!        crc32c 0123abcd                   ┘ ever stored
//!        crc32c 4567cdef
//! ```

use std::fmt;

use super::super::codec::{self, CodecError};
use crate::offsets::Checkpoint;

const HEAD: &str = "login-pipeline owner v1";

/// The one that stores a partition's offsets: of several, the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// Greater than that of the owner before.
    pub epoch: u64,
    /// Told at random for each start of a process, so that two that take the same epoch differ.
    pub instance: u64,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {} of instance {:016x}", self.epoch, self.instance)
    }
}

/// The key of everything that one owner says of one partition.
///
/// Compaction keeps the last record of a key, whoever wrote it. Were the owner no part of the key,
/// the late write of an instance that was replaced could take the place of its successor's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    /// The consumer group's id, which may hold any character.
    pub group: String,
    /// The source topic.
    pub topic: String,
    /// The source partition.
    pub partition: i32,
    /// The owner that says it.
    pub owner: Owner,
}

impl Key {
    /// The text of a key.
    pub(super) fn encode(&self) -> String {
        let Self { group, topic, partition, owner: Owner { epoch, instance } } = self;
        format!("{group}/{topic}/{partition}/{epoch}/{instance:016x}")
    }

    /// The key that a text is; `None` where it is not exactly one that [`Key::encode`] writes.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut parts = text.rsplitn(5, '/');
        let instance = u64::from_str_radix(parts.next()?, 16).ok()?;
        // One that could not be followed by another is none of ours.
        let epoch = parts.next()?.parse().ok().filter(|epoch| *epoch < u64::MAX)?;
        let partition = parts.next()?.parse().ok().filter(|partition| *partition >= 0)?;
        let (topic, group) = (parts.next()?.to_owned(), parts.next()?.to_owned());
        let key = Self { group, topic, partition, owner: Owner { epoch, instance } };
        (key.encode() == text).then_some(key)
    }
}

/// Whether an owner is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It works, or it died.
    Held,
    /// It has given the partition up, and stores nothing any more.
    Released,
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Released => "released",
        }
    }
}

/// The claim of an owner about its partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Whether it is there.
    pub state: State,
    /// The progress of the partition; `None` where nobody ever said.
    pub checkpoint: Option<Checkpoint>,
}

/// Why a value is not an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// It is damaged, or foreign.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// It is another key's.
    #[error("it belongs to another key")]
    Foreign,
}

impl Entry {
    /// The text of what `key`'s owner says.
    pub(super) fn encode(&self, key: &Key) -> String {
        let Owner { epoch, instance } = key.owner;
        let (state, checkpoint) = (self.state.word(), self.checkpoint.as_ref().map(codec::encode).unwrap_or_default());
        codec::seal(format!("{HEAD}\nepoch {epoch}\ninstance {instance:016x}\nstate {state}\n{checkpoint}"))
    }

    /// Reads the value under `key`.
    ///
    /// # Errors
    /// Where it is not exactly what [`Entry::encode`] writes for this key.
    pub(super) fn decode(key: &Key, bytes: &[u8]) -> Result<Self, EntryError> {
        let body = codec::unseal(HEAD, bytes)?;
        let mut rest = body.splitn(5, '\n').skip(3);
        let state = [State::Held, State::Released]
            .into_iter()
            .find(|state| rest.clone().next().and_then(|line| line.strip_prefix("state ")) == Some(state.word()));
        let state = state.ok_or(CodecError::Shape)?;
        let checkpoint = match rest.nth(1).ok_or(CodecError::Shape)? {
            "" => None,
            text => Some(codec::decode(text.as_bytes())?),
        };
        let entry = Self { state, checkpoint };
        let names = |found: &Checkpoint| found.topic == key.topic && found.partition == key.partition;
        let ours = entry.checkpoint.as_ref().is_none_or(names) && entry.encode(key).as_bytes() == bytes;
        if ours { Ok(entry) } else { Err(EntryError::Foreign) }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::Offset;

    pub(crate) fn checkpoint(partition: i32, next_offset: i64) -> Checkpoint {
        let topic = "user-login".to_owned();
        Checkpoint { topic, topic_id: None, partition, next_offset: Offset(next_offset), leader_epoch: None }
    }

    pub(crate) fn key(partition: i32, epoch: u64, instance: u64) -> Key {
        let (group, topic) = ("g".to_owned(), "user-login".to_owned());
        Key { group, topic, partition, owner: Owner { epoch, instance } }
    }

    proptest! {
        #[test]
        fn keys_of_any_group_are_read_as_written(
            group in "[^\\x00-\\x1f]{1,40}", topic in "[a-zA-Z0-9._-]{1,40}", partition in 0..i32::MAX,
            epoch in 0..u64::MAX, instance in any::<u64>(),
        ) {
            let key = Key { group, topic, partition, owner: Owner { epoch, instance } };
            prop_assert_eq!(Key::decode(key.encode().as_bytes()), Some(key));
        }

        #[test]
        fn any_other_bytes_are_no_key(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Some(key) = Key::decode(&bytes) {
                prop_assert_eq!(key.encode().into_bytes(), bytes);
            }
        }

        #[test]
        fn entries_are_read_as_written_and_refused_otherwise(
            offset in prop::option::of(0..i64::MAX), held in any::<bool>(), at in any::<prop::sample::Index>(), bit in 0..8_u8,
        ) {
            let state = if held { State::Held } else { State::Released };
            let (key, entry) = (key(3, 7, 9), Entry { state, checkpoint: offset.map(|offset| checkpoint(3, offset)) });
            let whole = entry.encode(&key).into_bytes();
            prop_assert_eq!(Entry::decode(&key, &whole), Ok(entry));
            let at = at.index(whole.len());
            prop_assert!(Entry::decode(&key, &whole[..at]).is_err());
            let mut flipped = whole;
            flipped[at] ^= 1 << bit;
            prop_assert!(Entry::decode(&key, &flipped).is_err());
        }
    }

    #[test]
    fn an_entry_under_another_key_is_foreign() {
        let entry = Entry { state: State::Held, checkpoint: Some(checkpoint(3, 42)) };
        let text = entry.encode(&key(3, 7, 9));
        for other in [key(3, 8, 9), key(3, 7, 8), key(2, 7, 9)] {
            assert_eq!(Entry::decode(&other, text.as_bytes()), Err(EntryError::Foreign));
        }
        let misplaced = Entry { state: State::Held, checkpoint: Some(checkpoint(2, 42)) };
        let text = misplaced.encode(&key(3, 7, 9));
        assert_eq!(Entry::decode(&key(3, 7, 9), text.as_bytes()), Err(EntryError::Foreign));
    }
}
