//! `roundrobin`: all partitions of all topics, one after another to the members in turn.

use std::collections::BTreeMap;

use super::{Given, Members, all, in_order};

pub(super) fn assign<'a>(members: &'a Members, topics: &'a BTreeMap<String, i32>) -> Given<'a> {
    let members = in_order(members);
    let mut given = Given::new();
    let mut turn = 0;
    for (topic, partition) in all(topics) {
        // The next in turn that wants the topic; nobody, where a whole round brings none.
        let mut next = members.iter().enumerate().cycle().skip(turn).take(members.len());
        if let Some((at, (id, _))) = next.find(|(_, (_, wanted))| wanted.topics.contains(topic)) {
            given.push(((topic, partition), *id));
            turn = (at + 1) % members.len();
        }
    }
    given
}
