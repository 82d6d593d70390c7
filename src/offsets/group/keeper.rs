//! The keeper of a group's offsets, as the store asks for them.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use kafka_client::{Committed, Committing, Coordinator, GroupOffset, OffsetsHeld};

use crate::kafka::Error;
use crate::record::Offset;

/// Offsets of one topic, by partition.
pub(super) type Offsets = BTreeMap<i32, GroupOffset>;

/// The offsets that a partition may have had before; `None` stands for no offset.
pub(super) type Before = BTreeMap<i32, Vec<Option<Offset>>>;

/// Tells whether a partition has one of these.
pub(super) fn had(found: &Offsets, partition: i32, before: &[Option<Offset>]) -> bool {
    before.contains(&found.get(&partition).map(|found| found.offset))
}

/// The keeper of a group's offsets: its coordinator, or a test's script.
pub(super) trait Group: std::fmt::Debug + Send + Sync {
    fn id(&self) -> &str;

    /// Commits what is still this instance's once it is written.
    fn commit<'a>(
        &'a self,
        who: Committing<'a>,
        topic: &'a str,
        offsets: &'a OffsetsHeld,
    ) -> BoxFuture<'a, Result<Committed, Error>>;

    /// Commits, where all of these partitions had one of these offsets: else it says what they have, and
    /// commits nothing.
    fn commit_over<'a>(
        &'a self,
        who: Committing<'a>,
        topic: &'a str,
        offsets: &'a OffsetsHeld,
        before: &'a Before,
    ) -> BoxFuture<'a, Result<Result<Committed, Offsets>, Error>>;

    fn committed<'a>(&'a self, topic: &'a str, partitions: &'a [i32]) -> BoxFuture<'a, Result<Offsets, Error>>;
}

impl Group for Coordinator {
    fn id(&self) -> &str {
        self.group()
    }

    fn commit<'a>(
        &'a self,
        who: Committing<'a>,
        topic: &'a str,
        offsets: &'a OffsetsHeld,
    ) -> BoxFuture<'a, Result<Committed, Error>> {
        Coordinator::commit(self, who, topic, offsets).err_into().boxed()
    }

    fn commit_over<'a>(
        &'a self,
        who: Committing<'a>,
        topic: &'a str,
        offsets: &'a OffsetsHeld,
        before: &'a Before,
    ) -> BoxFuture<'a, Result<Result<Committed, Offsets>, Error>> {
        let partitions: Vec<i32> = before.keys().copied().collect();
        async move {
            let agrees = |found: &Offsets| before.iter().all(|(partition, before)| had(found, *partition, before));
            Ok(self.commit_where(who, topic, offsets, &partitions, agrees).await?)
        }
        .boxed()
    }

    fn committed<'a>(&'a self, topic: &'a str, partitions: &'a [i32]) -> BoxFuture<'a, Result<Offsets, Error>> {
        Coordinator::committed(self, topic, partitions).err_into().boxed()
    }
}
