//! The three stores as operators use them: listed, asked who works, set.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_client::{Cluster, Coordinator};

use super::Failure;
use crate::config::{Config, OffsetStoreKind};
use crate::kafka::{self, Cause};
use crate::offsets::{Checkpoint, CommitIdentity, FileStore, GroupStore, Missing, OffsetStore, StoreError};
use crate::offsets::{TopicAdmin, TopicSettings};
use crate::ownership::PartitionOwnership;

/// The checkpoints of a topic; damaged ones among them as errors.
pub(super) type Listed = BTreeMap<i32, Result<Checkpoint, StoreError>>;

/// The purpose that the store is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To look at: nothing is made, locked or written.
    Look,
    /// To set offsets.
    Set,
}

/// The configured store.
pub(super) enum Store {
    /// Files.
    File(FileStore),
    /// A group's coordinator, on connections of their own.
    Group(GroupStore, Coordinator),
    /// The offsets topic.
    Topic(TopicAdmin),
}

impl Store {
    /// Opens the store that `config` names.
    ///
    /// # Errors
    /// Where it is not to be had: a pipeline has the lock of the file store, say.
    pub(super) async fn open(config: &Config, cluster: &Arc<Cluster>, purpose: Purpose) -> Result<Self, Failure> {
        Ok(match config.offsets.store {
            OffsetStoreKind::File if purpose == Purpose::Look => Self::File(FileStore::peek(&config.offsets.path)),
            OffsetStoreKind::File => Self::File(FileStore::open(&config.offsets.path)?),
            OffsetStoreKind::Group => {
                let coordinator = || Coordinator::new(Arc::clone(cluster), &config.group.id);
                Self::Group(GroupStore::new(coordinator(), CommitIdentity::Plain), coordinator())
            }
            OffsetStoreKind::Topic => {
                let mut settings = TopicSettings::from(config);
                if purpose == Purpose::Look && settings.missing != Missing::Error {
                    settings.missing = Missing::Empty;
                }
                Self::Topic(TopicAdmin::open(Arc::clone(cluster), &settings).await?)
            }
        })
    }

    /// Every stored checkpoint of `topic`. The group store must be told which `partitions` there
    /// are.
    ///
    /// # Errors
    /// Where the store can't be read at all.
    pub(super) async fn list(&self, topic: &str, partitions: &[i32]) -> Result<Listed, Failure> {
        Ok(match self {
            Self::File(store) => store.list(topic)?.into_iter().collect(),
            Self::Group(store, _) => {
                let found = store.list(topic, partitions).await?;
                found.into_iter().map(|(partition, checkpoint)| (partition, Ok(checkpoint))).collect()
            }
            Self::Topic(store) => store.list(topic),
        })
    }

    /// Finds who works on any of these partitions, in words; `None` where nobody does as far as the store
    /// tells. A pipeline with the file store holds its lock, so that there is nobody here.
    ///
    /// # Errors
    /// Where the brokers don't say.
    pub(super) async fn worker(
        &self,
        topic: &str,
        partitions: impl Iterator<Item = i32>,
    ) -> Result<Option<String>, Failure> {
        Ok(match self {
            Self::File(_) => None,
            Self::Group(_, coordinator) => {
                let found = coordinator.describe().await.map_err(kafka::Error::from)?.filter(|group| group.members > 0);
                found.map(|group| {
                    let (id, members, state) = (coordinator.group(), group.members, group.state);
                    format!(
                        "group {id} has {members} members ({state}), and Kafka takes offsets from nobody else: stop them; \
                         --force can't change that"
                    )
                })
            }
            Self::Topic(store) => {
                let held = partitions.filter_map(|partition| Some((partition, store.holder(topic, partition)?)));
                let held: Vec<_> = held.map(|(partition, owner)| format!("{topic}/{partition} ({owner})")).collect();
                (!held.is_empty()).then(|| {
                    format!(
                        "{} not given up: an instance works, or died; stop it, or take the partitions from it by --force",
                        held.join(", ")
                    )
                })
            }
        })
    }

    /// Stores these checkpoints.
    ///
    /// # Errors
    /// Where one can't be stored; some of the others may be.
    pub(super) async fn set(&mut self, checkpoints: &[Checkpoint]) -> Result<(), Failure> {
        let ownership = PartitionOwnership::unlimited();
        match self {
            Self::File(store) => {
                for checkpoint in checkpoints {
                    store.store(checkpoint, &ownership).await?;
                }
            }
            Self::Group(store, coordinator) => {
                // Together, so that they go into one request or two.
                let storing = checkpoints.iter().map(|checkpoint| store.store(checkpoint, &ownership));
                for stored in futures::future::join_all(storing).await {
                    stored.map_err(|error| commit_refused(coordinator.group(), error))?;
                }
            }
            Self::Topic(store) => store.set(checkpoints).await?,
        }
        Ok(())
    }
}

/// Kafka's words for a commit by nobody in a group that has members don't say what to do.
fn commit_refused(group: &str, error: StoreError) -> Failure {
    match &error {
        StoreError::Broker(broker) if matches!(broker.cause, Cause::GroupHasMembers(_)) => {
            let text = "has members, and Kafka takes offsets from nobody else: stop them; --force can't change that";
            format!("group {group} {text} ({error})").into()
        }
        _ => error.into(),
    }
}
