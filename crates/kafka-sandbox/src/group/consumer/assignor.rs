//! The broker's assignor of the consumer protocol: `uniform`, which moves as few partitions as even shares allow.

use std::collections::{BTreeMap, BTreeSet};

use super::topics::{Partition, Topics};

/// The name that members ask for it by.
pub const UNIFORM: &str = "uniform";

/// Partitions by member.
pub(super) type Target = BTreeMap<String, BTreeSet<Partition>>;

/// Shares the partitions of `topics` among members, by the names of the topics that each subscribes to. Every member is
/// in the result. `before` is the share that each had.
pub(super) fn uniform(subscribed: &BTreeMap<String, BTreeSet<String>>, topics: &Topics, before: &Target) -> Target {
    let wants = |member: &str, topic: &str| subscribed.get(member).is_some_and(|topics| topics.contains(topic));
    let all: Vec<(&str, Partition)> = topics
        .iter()
        .flat_map(|(name, topic)| (0..topic.partitions).map(move |index| (name.as_str(), (topic.id, index))))
        .collect();
    let kept = |member: &String| -> BTreeSet<Partition> {
        let had = before.get(member);
        let still = all.iter().filter(|(topic, of)| wants(member, topic) && had.is_some_and(|had| had.contains(of)));
        still.map(|(_, of)| *of).collect()
    };
    let mut target: Target = subscribed.keys().map(|member| (member.clone(), kept(member))).collect();
    let fewest = |target: &Target, topic: &str| {
        let takers = target.iter().filter(|(member, _)| wants(member, topic));
        takers.min_by_key(|(_, share)| share.len()).map(|(member, share)| (member.clone(), share.len()))
    };
    for (topic, partition) in &all {
        if !target.values().any(|share| share.contains(partition))
            && let Some((member, _)) = fewest(&target, topic)
        {
            target.entry(member).or_default().insert(*partition);
        }
    }
    // Each move makes the shares more even, so that it ends.
    let helpful_move = |target: &Target| {
        all.iter().rev().find_map(|(topic, partition)| {
            let (from, share) = target.iter().find(|(_, share)| share.contains(partition))?;
            let (to, few) = fewest(target, topic)?;
            (few + 2 <= share.len()).then(|| (*partition, from.clone(), to))
        })
    };
    while let Some((partition, from, to)) = helpful_move(&target) {
        target.entry(from).or_default().remove(&partition);
        target.entry(to).or_default().insert(partition);
    }
    target
}
