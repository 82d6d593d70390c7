//! Topics and partitions as a group of the consumer protocol needs to know them.

use std::collections::BTreeMap;

use uuid::Uuid;

/// A partition of a topic, which has another id once it is recreated.
pub type Partition = (Uuid, i32);

/// Topics by name.
pub type Topics = BTreeMap<String, TopicMetadata>;

/// A topic as far as an assignor needs to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicMetadata {
    /// Its id.
    pub id: Uuid,
    /// The number of its partitions.
    pub partitions: i32,
}
