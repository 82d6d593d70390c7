//! The offsets topic as operators use it: looked at without taking anything over, and set.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_client::Cluster;

use super::ledger::{Ledger, Standing};
use super::log::Log;
use super::record::{Entry, State};
use super::{Owner, TopicError, TopicSettings};
use crate::offsets::{Checkpoint, StoreError};

/// One group's offsets in the offsets topic, as they stood when it was read.
#[derive(Debug)]
pub struct TopicAdmin {
    log: Log,
    ledger: Ledger,
}

impl TopicAdmin {
    /// Reads the topic to its end.
    ///
    /// # Errors
    /// Where the topic is not there or not fit, or can't be read whole.
    pub async fn open(cluster: Arc<Cluster>, settings: &TopicSettings) -> Result<Self, StoreError> {
        let (mut log, mut ledger) = settings.open(cluster);
        log.read_on(&mut ledger).await?;
        Ok(Self { log, ledger })
    }

    /// Every checkpoint of a source topic, by partition; damaged ones among them as errors.
    pub fn list(&self, topic: &str) -> BTreeMap<i32, Result<Checkpoint, StoreError>> {
        let found = self.ledger.partitions(topic).filter_map(|partition| {
            let checkpoint = self.ledger.checkpoint(topic, partition).transpose()?;
            Some((partition, checkpoint.cloned().map_err(StoreError::from)))
        });
        found.collect()
    }

    /// Who has a partition and has not given it up: it works, or it died. `None` also where what it
    /// said last can't be read.
    pub fn holder(&self, topic: &str, partition: i32) -> Option<Owner> {
        self.ledger.holder(topic, partition).ok().flatten()
    }

    /// Takes over the partitions of these checkpoints, sets their offsets, and gives them up again:
    /// whoever has them now is fenced.
    ///
    /// # Errors
    /// Where the brokers don't take them, or somebody takes a partition over meanwhile.
    pub async fn set(&mut self, checkpoints: &[Checkpoint]) -> Result<(), StoreError> {
        self.log.read_on(&mut self.ledger).await?;
        let claim = |checkpoint: &Checkpoint| {
            let entry = Entry { state: State::Released, checkpoint: Some(checkpoint.clone()) };
            self.ledger.claim(&checkpoint.topic, checkpoint.partition, &entry)
        };
        let records: Vec<_> = checkpoints.iter().flat_map(claim).collect();
        self.log.append(&records).await?;
        self.log.read_on(&mut self.ledger).await?;
        for Checkpoint { topic, partition, .. } in checkpoints {
            if let Standing::Fenced { ours, by } = self.ledger.standing(topic, *partition) {
                return Err(TopicError::Fenced { topic: topic.clone(), partition: *partition, ours, by }.into());
            }
        }
        Ok(())
    }
}
