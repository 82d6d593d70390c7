//! `cooperative-sticky`: everybody keeps what balance allows, and nothing is given to one member
//! while another still has it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Given, Members, Partition, all, in_order};
use crate::membership::subscription::Subscription;

pub(super) fn assign<'a>(members: &'a Members, topics: &'a BTreeMap<String, i32>) -> Given<'a> {
    let members = in_order(members);
    let claims = claims(&members, topics);
    let mut shares = Shares::new(&members);
    for (partition, claimants) in &claims {
        if let [only] = claimants[..] {
            shares.give(*partition, only);
        }
    }
    for partition in all(topics).filter(|partition| claims.get(partition).is_none_or(|found| found.len() != 1)) {
        if let Some(fewest) = shares.fewest(partition.0) {
            shares.give(partition, fewest);
        }
    }
    shares.balance();
    // What another member still has is withheld: that one gives it up in this round, and the next
    // round gives it on.
    let is_free = |partition: &Partition<'_>, member: usize| {
        claims.get(partition).is_none_or(|claimants| claimants.iter().all(|claimant| *claimant == member))
    };
    let mut given = Given::new();
    for (member, (id, _)) in members.iter().enumerate() {
        let kept = shares.of(member).iter().filter(|partition| is_free(partition, member));
        given.extend(kept.map(|partition| (*partition, *id)));
    }
    given
}

/// The owner of each partition by the members' own word: of several the one of the latest generation,
/// and all of them where that is no help.
fn claims<'a>(
    members: &[(&'a str, &'a Subscription)],
    topics: &'a BTreeMap<String, i32>,
) -> BTreeMap<Partition<'a>, Vec<usize>> {
    let mut latest: BTreeMap<Partition<'a>, (Option<i32>, Vec<usize>)> = BTreeMap::new();
    for (member, (_, subscription)) in members.iter().enumerate() {
        for (topic, owned) in &subscription.owned {
            let Some((topic, count)) = topics.get_key_value(topic) else { continue };
            if !subscription.topics.contains(topic) {
                continue;
            }
            for partition in owned.iter().filter(|partition| (0..*count).contains(*partition)) {
                let generation = subscription.generation;
                let claim = latest.entry((topic.as_str(), *partition)).or_insert((generation, Vec::new()));
                if generation > claim.0 {
                    *claim = (generation, vec![member]);
                } else if generation == claim.0 {
                    claim.1.push(member);
                }
            }
        }
    }
    latest.into_iter().map(|(partition, (_, claimants))| (partition, claimants)).collect()
}

/// Each member's share, while partitions are shared out.
struct Shares<'a> {
    members: Vec<(&'a Subscription, BTreeSet<Partition<'a>>)>,
}

impl<'a> Shares<'a> {
    fn new(members: &[(&'a str, &'a Subscription)]) -> Self {
        Self { members: members.iter().map(|(_, subscription)| (*subscription, BTreeSet::new())).collect() }
    }

    fn of(&self, member: usize) -> &BTreeSet<Partition<'a>> {
        &self.members[member].1
    }

    fn give(&mut self, partition: Partition<'a>, member: usize) {
        self.members[member].1.insert(partition);
    }

    /// Returns the member with the fewest partitions of those that want the topic.
    fn fewest(&self, topic: &str) -> Option<usize> {
        let wants = |member: &usize| self.members[*member].0.topics.contains(topic);
        (0..self.members.len()).filter(wants).min_by_key(|member| self.of(*member).len())
    }

    /// Moves single partitions from those with more to those with fewer, until no move helps. Each
    /// makes the shares more even, so that it ends.
    fn balance(&mut self) {
        while let Some((partition, from, to)) = self.helpful_move() {
            self.members[from].1.remove(&partition);
            self.give(partition, to);
        }
    }

    fn helpful_move(&self) -> Option<(Partition<'a>, usize, usize)> {
        let mut fullest: Vec<_> = (0..self.members.len()).collect();
        fullest.sort_by_key(|member| std::cmp::Reverse(self.of(*member).len()));
        fullest.into_iter().find_map(|from| {
            // One topic is as good as another of the same takers: each is tried once.
            let mut tried = None;
            self.of(from).iter().rev().find_map(|partition| {
                if tried.replace(partition.0) == Some(partition.0) {
                    return None;
                }
                let to = self.fewest(partition.0)?;
                (self.of(to).len() + 2 <= self.of(from).len()).then_some((*partition, from, to))
            })
        })
    }
}
