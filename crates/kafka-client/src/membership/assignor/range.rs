//! `range`: each topic for itself, neighbouring partitions to each member.

use std::collections::BTreeMap;

use super::{Given, Members, in_order};

pub(super) fn assign<'a>(members: &'a Members, topics: &'a BTreeMap<String, i32>) -> Given<'a> {
    let members = in_order(members);
    let mut given = Given::new();
    for (topic, count) in topics {
        let subscribed: Vec<_> = members.iter().filter(|(_, wanted)| wanted.topics.contains(topic)).collect();
        let Ok(among @ 1..) = i32::try_from(subscribed.len()) else { continue };
        // The first ones get one more each, as long as there is a remainder.
        let (each, mut extra) = (count / among, count % among);
        let mut next = 0;
        for (id, _) in subscribed {
            let end = next + each + i32::from(extra > 0);
            extra -= i32::from(extra > 0);
            given.extend((next..end).map(|partition| ((topic.as_str(), partition), *id)));
            next = end;
        }
    }
    given
}
