//! Look-up of the source topic, and creation of topics that are missing.

use kafka_client::Topic;

use crate::config::{self, CreateTopics};
use crate::kafka::{Admin, Error};
use crate::topic::TopicId;

/// Looks up the source topic.
#[derive(Debug)]
pub struct Topics {
    admin: Admin,
    source: String,
    /// Every topic that is written to.
    outputs: Vec<String>,
    settings: config::Topics,
}

impl Topics {
    /// A look-up of this source, which creates missing outputs where the configuration wants it.
    pub fn new(admin: Admin, source: &str, outputs: &[String], settings: config::Topics) -> Self {
        Self { admin, source: source.to_owned(), outputs: outputs.to_vec(), settings }
    }

    /// The source topic's name.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The source topic; before that, where the configuration wants it, all topics that are
    /// missing.
    ///
    /// # Errors
    /// No broker answers, or the topic does not exist.
    pub async fn look_up(&self) -> Result<Topic, Error> {
        let Self { admin, source, settings, .. } = self;
        let create = settings.create == CreateTopics::Missing;
        if create {
            admin.ensure_topic(source, settings.partitions.unwrap_or(-1), settings.replication).await?;
        }
        let found = admin.topic(source).await?;
        for output in self.outputs.iter().filter(|_| create) {
            let partitions = settings.partitions.unwrap_or(found.partition_count());
            admin.ensure_topic(output, partitions, settings.replication).await?;
        }
        Ok(found)
    }
}

/// The incarnation of the source topic that this instance knows: its id, and how many partitions it had at first. A
/// topic that is deleted and recreated has another.
#[derive(Debug, Default)]
pub(super) struct TopicIncarnation {
    id: Option<TopicId>,
    partitions: Option<i32>,
}

impl TopicIncarnation {
    /// Notes how the brokers describe the topic.
    pub(super) fn saw(&mut self, id: Option<TopicId>, partitions: i32) {
        let anew = self.id.zip(id).is_some_and(|(old, new)| old != new);
        self.id = id.or(self.id);
        if anew {
            self.partitions = Some(0);
        } else {
            self.partitions.get_or_insert(partitions);
        }
    }

    /// Returns the topic's id, where the brokers report one.
    pub(super) fn id(&self) -> Option<TopicId> {
        self.id
    }

    /// Returns whether a partition was not there at first, or not in this incarnation.
    pub(super) fn is_new(&self, partition: i32) -> bool {
        self.partitions.is_some_and(|there| partition >= there)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_later_is_new() {
        let (first, second) = (Some(TopicId([1; 16])), Some(TopicId([2; 16])));
        let mut topic = TopicIncarnation::default();
        assert!(!topic.is_new(0), "nothing is known");
        topic.saw(first, 2);
        topic.saw(first, 4);
        assert_eq!([1, 2, 3].map(|partition| topic.is_new(partition)), [false, true, true]);
        topic.saw(None, 4);
        assert_eq!(topic.id(), first, "a broker that reports no id changes nothing");
        topic.saw(second, 2);
        assert!(topic.is_new(0), "the topic was recreated");
    }
}
