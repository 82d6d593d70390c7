//! Subscriptions and assignments of a classic group, which other clients write: read as kafka-protocol reads them, written
//! so that they are read as the same; and what assignors make of the members: each partition is one subscriber's.
//!
//! An input: fields in turns, a member's subscription and an assignment.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kafka_client::membership::assignor::{Assignor, Member, Members};
use kafka_client::membership::{Partitions, Subscription};
use kafka_client::testing::{assignment, assignment_bytes};
use kafka_protocol::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
use kafka_protocol::protocol::Decodable;

use super::{MIB, Target};
use crate::input::{Input, put_field};

/// See the module.
pub const TARGET: Target = Target {
    name: "group_bytes",
    about: "subscriptions and assignments of a group's other members",
    run,
    seeds,
    words: &["login-pipeline 1\n", "\0\u{1}a", "\0\u{2}bc", "\0\0\0\u{1}", "\0\u{3}"],
    longest: 4 * 1024,
    memory: 16 * MIB,
};

/// The topics that there are, and how many partitions each has.
const TOPICS: [(&str, i32); 3] = [("a", 7), ("bc", 3), ("t", 1)];

fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let mut members = Members::new();
    while !input.is_empty() && members.len() < 8 {
        let instance_id = input.byte().is_multiple_of(3).then(|| format!("instance-{}", members.len()));
        if let Some(subscription) = subscription(input.field()) {
            members.insert(format!("member-{}", members.len()), Member { instance_id, subscription });
        }
        assigned(input.field());
    }
    let topics: BTreeMap<String, i32> = TOPICS.iter().map(|(topic, count)| ((*topic).to_owned(), *count)).collect();
    for assignor in [Assignor::Range, Assignor::RoundRobin, Assignor::CooperativeSticky] {
        share(assignor, &members, &topics);
    }
}

fn version(bytes: &[u8]) -> i16 {
    bytes.first_chunk().map_or(-1, |version| i16::from_be_bytes(*version))
}

fn by_topic<T: AsRef<str>>(topics: impl Iterator<Item = (T, Vec<i32>)>) -> Partitions {
    let mut found = Partitions::new();
    topics.for_each(|(topic, partitions)| found.entry(topic.as_ref().to_owned()).or_default().extend(partitions));
    found
}

fn subscription(bytes: &[u8]) -> Option<Subscription> {
    let found = Subscription::decode(bytes).ok()?;
    let again = Subscription::decode(&found.encode());
    assert_eq!(again.as_ref(), Ok(&found), "a subscription that is written");
    // Later versions are read as the last that is known, by Kafka's rule.
    let version = version(bytes).min(3);
    let mut rest = Bytes::copy_from_slice(bytes).slice(2..);
    let theirs = ConsumerProtocolSubscription::decode(&mut rest, version);
    let theirs = theirs.unwrap_or_else(|error| panic!("kafka-protocol refuses the subscription: {error:#}"));
    let topics: BTreeSet<_> = theirs.topics.iter().map(ToString::to_string).collect();
    let owned = by_topic(theirs.owned_partitions.into_iter().map(|topic| (topic.topic.0.to_string(), topic.partitions)));
    assert_eq!((&found.topics, &found.owned), (&topics, &owned));
    assert_eq!(found.rack, theirs.rack_id.map(|rack| rack.to_string()));
    if version >= 2 {
        assert_eq!(found.generation, Some(theirs.generation_id).filter(|generation| *generation >= 0));
    }
    Some(found)
}

fn assigned(bytes: &[u8]) {
    let Some((partitions, shared)) = assignment(bytes) else { return };
    let written = assignment_bytes(&partitions, shared.as_ref());
    assert_eq!(assignment(&written), Some((partitions.clone(), shared)), "an assignment that is written");
    if bytes.is_empty() {
        return;
    }
    let mut rest = Bytes::copy_from_slice(bytes).slice(2..);
    // The note behind it may be cut off, for us.
    if let Ok(theirs) = ConsumerProtocolAssignment::decode(&mut rest, version(bytes).min(3)) {
        let theirs = by_topic(theirs.assigned_partitions.into_iter().map(|topic| (topic.topic.0.to_string(), topic.partitions)));
        assert_eq!(partitions, theirs);
    }
}

fn share(assignor: Assignor, members: &Members, topics: &BTreeMap<String, i32>) {
    let shares = assignor.assign(members, topics);
    assert!(shares.keys().eq(members.keys()), "{assignor:?} leaves a member out");
    let mut given = BTreeSet::new();
    for (member, partitions) in &shares {
        for (topic, partitions) in partitions {
            assert!(members[member].subscription.topics.contains(topic), "{assignor:?} gives {topic} to who does not read it");
            for partition in partitions {
                assert!((0..topics[topic]).contains(partition), "{assignor:?} gives {topic}/{partition}, which there is none of");
                assert!(given.insert((topic.clone(), *partition)), "{assignor:?} gives {topic}/{partition} twice");
            }
        }
    }
    // What moves is nobody's for a round, by the cooperative one: it must be somebody's until now.
    for (topic, count) in topics {
        let has_reader = members.values().any(|member| member.subscription.topics.contains(topic));
        for partition in (0..*count).filter(|_| has_reader) {
            let is_owned = |member: &Member| member.subscription.owned.get(topic).is_some_and(|owned| owned.contains(&partition));
            let moves = assignor.is_cooperative() && members.values().any(is_owned);
            assert!(moves || given.contains(&(topic.clone(), partition)), "{assignor:?} gives {topic}/{partition} to nobody");
        }
    }
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let topics = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let owned = Partitions::from([("a".to_owned(), BTreeSet::from([0, 2]))]);
    let member = |out: &mut Vec<u8>, subscription: &[u8], assignment: &[u8]| {
        out.push(u8::try_from(out.len() % 3).unwrap_or(0));
        put_field(out, subscription);
        put_field(out, assignment);
    };
    let modern = Subscription { topics: topics(&["a", "bc"]), owned: owned.clone(), generation: Some(7), rack: Some("r".to_owned()) };
    let plain = Subscription { topics: topics(&["a"]), ..Subscription::default() };
    let shared = BTreeMap::from([("a".to_owned(), 7)]);
    let mut group = Vec::new();
    member(&mut group, &modern.encode(), &assignment_bytes(&owned, Some(&shared)));
    member(&mut group, &plain.encode(), &assignment_bytes(&owned, None));
    member(&mut group, &Subscription { owned, ..plain.clone() }.encode(), b"");
    let mut old = Vec::new();
    member(&mut old, b"\0\0\0\0\0\x01\0\x01a\xff\xff\xff\xff", b"\0\0\0\0\0\x01\0\x01a\0\0\0\x01\0\0\0\x01\xff\xff\xff\xff");
    member(&mut old, b"\0\x01\0\0\0\x01\0\x01a\0\0\0\x04\0\0\0\x05\0\0\0\0", b"\0\x09\0\0\0\0\0\0\0\x02hm");
    vec![("seed-group".to_owned(), group), ("seed-old".to_owned(), old)]
}
