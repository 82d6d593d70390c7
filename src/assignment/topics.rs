//! The source topic as the brokers describe it, and the topics made that are missing.

use crate::broker::wire::Topic;
use crate::broker::{Admin, Error};
use crate::config::{self, CreateTopics};

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
    /// Of this source and these outputs.
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
    /// Where no broker answers, or the topic is not there.
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
