//! Assignors: how the leader of a classic group shares partitions. Names and results are those of Kafka's own
//! clients, so that members of both kinds can be in one group, whoever leads it.

mod cooperative_sticky;
mod range;
mod round_robin;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::subscription::{Partitions, Subscription};

/// A way to share partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assignor {
    /// Neighbouring partitions of each topic to each member. Racks are not looked at.
    Range,
    /// One partition after another to the members in turn.
    RoundRobin,
    /// Balanced, and with as few moves as that takes; what moves is first given up, and given to
    /// its new owner in the next round.
    CooperativeSticky,
}

/// A member as the leader sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    /// The id that survives restarts.
    pub instance_id: Option<String>,
    /// Its topics, and the partitions that it has.
    pub subscription: Subscription,
}

/// Members by their ids.
pub type Members = BTreeMap<String, Member>;

impl Assignor {
    /// Its name in the protocol.
    pub fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
            Self::CooperativeSticky => "cooperative-sticky",
        }
    }

    /// The assignor of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        [Self::Range, Self::RoundRobin, Self::CooperativeSticky].into_iter().find(|assignor| assignor.name() == name)
    }

    /// Returns whether members keep their partitions while the group rebalances.
    pub fn is_cooperative(self) -> bool {
        self == Self::CooperativeSticky
    }

    /// Shares `topics`, by their numbers of partitions. Every member is in the result, perhaps with nothing.
    pub fn assign(self, members: &Members, topics: &BTreeMap<String, i32>) -> BTreeMap<String, Partitions> {
        let mut given: BTreeMap<String, Partitions> =
            members.keys().map(|id| (id.clone(), Partitions::new())).collect();
        let pairs = match self {
            Self::Range => range::assign(members, topics),
            Self::RoundRobin => round_robin::assign(members, topics),
            Self::CooperativeSticky => cooperative_sticky::assign(members, topics),
        };
        for ((topic, partition), member) in pairs {
            if let Some(partitions) = given.get_mut(member) {
                partitions.entry(topic.to_owned()).or_default().insert(partition);
            }
        }
        given
    }
}

/// A partition and its topic.
type Partition<'a> = (&'a str, i32);

/// Partitions, each with the member that gets it.
type Given<'a> = Vec<(Partition<'a>, &'a str)>;

/// Members in the order of Kafka's clients: static ones by instance id, then the others by id.
fn in_order(members: &Members) -> Vec<(&str, &Subscription)> {
    let mut sorted: Vec<_> = members.iter().collect();
    sorted.sort_by_key(|(id, member)| match &member.instance_id {
        Some(instance) => (0, instance),
        None => (1, *id),
    });
    sorted.into_iter().map(|(id, member)| (id.as_str(), &member.subscription)).collect()
}

/// All partitions, by topic and number.
fn all<'a>(topics: &'a BTreeMap<String, i32>) -> impl Iterator<Item = Partition<'a>> {
    topics.iter().flat_map(|(topic, count)| (0..*count).map(move |partition| (topic.as_str(), partition)))
}
