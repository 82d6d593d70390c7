//! The ledger that the offsets topic amounts to: which record counts, and who may write the next one. Pure:
//! records in by [`Ledger::apply`], records to append out by [`Ledger::claim`] and
//! [`Ledger::update`].
//!
//! Of all that is said of a partition the greatest [`Owner`] is right, and of its own records the
//! last. Since every owner has keys of its own, neither the order in which owners wrote nor what
//! compaction has left of them changes the result.

use std::collections::BTreeMap;

use super::error::TopicError;
use super::record::{Entry, EntryError, Key, Owner, State};
use crate::offsets::Checkpoint;
use crate::record::Offset;

/// A record to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    /// Its key.
    pub key: String,
    /// Its value; `None` is a tombstone.
    pub value: Option<String>,
}

/// The standing of an instance to a partition, by what it has read so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It never owned it.
    Unclaimed,
    /// It owns it.
    Held(Owner),
    /// It owned it, and another has taken over.
    Fenced {
        /// The owner that it was.
        ours: Owner,
        /// The owner now.
        by: Owner,
    },
}

/// One group's part of the offsets topic, as far as it has been read.
#[derive(Debug)]
pub(super) struct Ledger {
    /// The offsets topic's name, for errors.
    log: String,
    group: String,
    /// This process.
    instance: u64,
    partitions: BTreeMap<(String, i32), BTreeMap<Owner, Said>>,
    /// Records that are not ours at all, by key, and where they are.
    strangers: BTreeMap<Option<Vec<u8>>, Offset>,
}

/// The last record of a key.
#[derive(Debug)]
enum Said {
    Whole(Entry),
    Damaged(Offset, EntryError),
    Deleted(Offset),
}

impl Ledger {
    /// A group's part of the topic `log` as an instance sees it before anything is read.
    pub(super) fn new(log: &str, group: &str, instance: u64) -> Self {
        let (log, group) = (log.to_owned(), group.to_owned());
        Self { log, group, instance, partitions: BTreeMap::new(), strangers: BTreeMap::new() }
    }

    /// Forgets everything: the log is another.
    pub(super) fn clear(&mut self) {
        self.partitions.clear();
        self.strangers.clear();
    }

    /// Takes in the record at `at`; to be called in the order of the log.
    pub(super) fn apply(&mut self, at: Offset, key: Option<&[u8]>, value: Option<&[u8]>) {
        let Some(found) = key.and_then(Key::decode) else {
            let stranger = key.map(<[u8]>::to_vec);
            if stranger.is_some() && value.is_none() {
                self.strangers.remove(&stranger); // whoever put it there has taken it away
            } else {
                self.strangers.insert(stranger, at);
            }
            return;
        };
        if found.group != self.group {
            return;
        }
        let said = match value.map(|value| Entry::decode(&found, value)) {
            None => Said::Deleted(at),
            Some(Ok(entry)) => Said::Whole(entry),
            Some(Err(error)) => Said::Damaged(at, error),
        };
        self.partitions.entry((found.topic, found.partition)).or_default().insert(found.owner, said);
    }

    /// The standing of this instance to a partition.
    pub(super) fn standing(&self, topic: &str, partition: i32) -> Standing {
        let Some(owners) = self.owners(topic, partition) else { return Standing::Unclaimed };
        let ours = owners.keys().rev().find(|owner| owner.instance == self.instance);
        match (ours, owners.last_key_value()) {
            (Some(ours), Some((by, _))) if ours == by => Standing::Held(*ours),
            (Some(ours), Some((by, _))) => Standing::Fenced { ours: *ours, by: *by },
            _ => Standing::Unclaimed,
        }
    }

    /// The progress of a partition; `None` where nobody ever said.
    ///
    /// # Errors
    /// Where what its owner says is damaged or deleted, or the topic holds what is not ours: never a
    /// guess.
    pub(super) fn checkpoint(&self, topic: &str, partition: i32) -> Result<Option<&Checkpoint>, TopicError> {
        Ok(self.entry(topic, partition)?.and_then(|entry| entry.checkpoint.as_ref()))
    }

    /// The owner that has a partition and has not given it up: it works, or it died.
    ///
    /// # Errors
    /// As [`Ledger::checkpoint`].
    pub(super) fn holder(&self, topic: &str, partition: i32) -> Result<Option<Owner>, TopicError> {
        let held = self.entry(topic, partition)?.is_some_and(|entry| entry.state == State::Held);
        Ok(self
            .owners(topic, partition)
            .and_then(|owners| owners.last_key_value())
            .map(|(owner, _)| *owner)
            .filter(|_| held))
    }

    /// The partitions of a topic of which anything is said.
    pub(super) fn partitions(&self, topic: &str) -> impl Iterator<Item = i32> {
        self.partitions.keys().filter(move |(found, _)| found == topic).map(|(_, partition)| *partition)
    }

    /// The partitions that this instance owns.
    pub(super) fn held(&self) -> impl Iterator<Item = (&str, i32)> {
        let held = |(topic, partition): &(String, i32)| matches!(self.standing(topic, *partition), Standing::Held(_));
        self.partitions.keys().filter(move |found| held(found)).map(|(topic, partition)| (topic.as_str(), *partition))
    }

    /// What makes this instance the owner of a partition. What earlier owners said is deleted
    /// behind it, so that the topic does not grow with every start.
    pub(super) fn claim(&self, topic: &str, partition: i32, entry: &Entry) -> Vec<Written> {
        let before = self.owners(topic, partition);
        let last = before.and_then(|owners| owners.last_key_value()).map_or(0, |(owner, _)| owner.epoch);
        let owner = Owner { epoch: last.saturating_add(1), instance: self.instance };
        let key = self.key(topic, partition, owner);
        let claim = Written { key: key.encode(), value: Some(entry.encode(&key)) };
        let there = before.into_iter().flatten().filter(|(_, said)| !matches!(said, Said::Deleted(_)));
        let delete =
            |(owner, _): (&Owner, &Said)| Written { key: self.key(topic, partition, *owner).encode(), value: None };
        std::iter::once(claim).chain(there.map(delete)).collect()
    }

    /// What makes `entry` the last that `owner`, this instance, says of a partition.
    pub(super) fn update(&self, topic: &str, partition: i32, owner: Owner, entry: &Entry) -> Written {
        let key = self.key(topic, partition, owner);
        Written { value: Some(entry.encode(&key)), key: key.encode() }
    }

    fn key(&self, topic: &str, partition: i32, owner: Owner) -> Key {
        Key { group: self.group.clone(), topic: topic.to_owned(), partition, owner }
    }

    fn owners(&self, topic: &str, partition: i32) -> Option<&BTreeMap<Owner, Said>> {
        self.partitions.get(&(topic.to_owned(), partition))
    }

    fn entry(&self, topic: &str, partition: i32) -> Result<Option<&Entry>, TopicError> {
        if let Some(at) = self.strangers.values().next() {
            return Err(TopicError::Stranger { log: self.log.clone(), at: *at });
        }
        let (log, topic_of) = (|| self.log.clone(), || topic.to_owned());
        match self.owners(topic, partition).and_then(|owners| owners.last_key_value()) {
            None => Ok(None),
            Some((_, Said::Whole(entry))) => Ok(Some(entry)),
            Some((_, Said::Damaged(at, why))) => {
                Err(TopicError::Damaged { log: log(), at: *at, topic: topic_of(), partition, why: why.clone() })
            }
            Some((_, Said::Deleted(at))) => {
                Err(TopicError::Deleted { log: log(), at: *at, topic: topic_of(), partition })
            }
        }
    }
}

#[cfg(test)]
mod tests;
