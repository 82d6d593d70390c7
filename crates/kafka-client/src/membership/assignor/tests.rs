use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn member(topics: &[&str]) -> Member {
    let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
    Member { instance_id: None, subscription: Subscription { topics, ..Subscription::default() } }
}

fn members(of: &[(&str, &[&str])]) -> Members {
    of.iter().map(|(id, topics)| ((*id).to_owned(), member(topics))).collect()
}

fn topics(of: &[(&str, i32)]) -> BTreeMap<String, i32> {
    of.iter().map(|(topic, count)| ((*topic).to_owned(), *count)).collect()
}

/// `a: t[0, 1]` for each member.
fn shown(given: &BTreeMap<String, Partitions>) -> Vec<String> {
    let topics = |partitions: &Partitions| {
        let topics = partitions.iter().map(|(topic, partitions)| {
            let partitions: Vec<_> = partitions.iter().collect();
            format!(" {topic}{partitions:?}")
        });
        topics.collect::<String>()
    };
    given.iter().map(|(id, partitions)| format!("{id}:{}", topics(partitions))).collect()
}

#[test]
fn names_are_kafkas() {
    for assignor in [Assignor::Range, Assignor::RoundRobin, Assignor::CooperativeSticky] {
        assert_eq!(Assignor::by_name(assignor.name()), Some(assignor));
    }
    assert_eq!(Assignor::by_name("sticky"), None);
}

/// The examples in the documentation of Kafka's RangeAssignor and RoundRobinAssignor.
#[test]
fn the_examples_of_kafkas_documentation() {
    let both = members(&[("c0", &["t0", "t1"]), ("c1", &["t0", "t1"])]);
    let three_each = topics(&[("t0", 3), ("t1", 3)]);
    assert_eq!(shown(&Assignor::Range.assign(&both, &three_each)), ["c0: t0[0, 1] t1[0, 1]", "c1: t0[2] t1[2]"]);
    assert_eq!(shown(&Assignor::RoundRobin.assign(&both, &three_each)), ["c0: t0[0, 2] t1[1]", "c1: t0[1] t1[0, 2]"]);
    let unequal = members(&[("c0", &["t0"]), ("c1", &["t0", "t1"]), ("c2", &["t0", "t1", "t2"])]);
    assert_eq!(
        shown(&Assignor::RoundRobin.assign(&unequal, &topics(&[("t0", 1), ("t1", 2), ("t2", 3)]))),
        ["c0: t0[0]", "c1: t1[0]", "c2: t1[1] t2[0, 1, 2]"]
    );
}

#[test]
fn static_members_come_first_and_in_their_own_order() {
    let mut three = members(&[("a", &["t"]), ("b", &["t"]), ("c", &["t"])]);
    three.get_mut("c").unwrap().instance_id = Some("x".into());
    three.get_mut("b").unwrap().instance_id = Some("y".into());
    assert_eq!(shown(&Assignor::Range.assign(&three, &topics(&[("t", 4)]))), ["a: t[3]", "b: t[2]", "c: t[0, 1]"]);
}

#[test]
fn topics_that_are_not_there_are_left_out() {
    let one = members(&[("a", &["t", "gone"])]);
    for assignor in [Assignor::Range, Assignor::RoundRobin, Assignor::CooperativeSticky] {
        assert_eq!(shown(&assignor.assign(&one, &topics(&[("t", 1)]))), ["a: t[0]"]);
        assert_eq!(shown(&assignor.assign(&one, &topics(&[]))), ["a:"]);
        assert!(assignor.assign(&Members::new(), &topics(&[("t", 1)])).is_empty());
    }
}

#[test]
fn what_moves_is_given_up_before_it_is_given_on() {
    let mut group = members(&[("a", &["t"])]);
    let four = topics(&[("t", 4)]);
    settle(&mut group, &four, 1);
    group.insert("b".into(), member(&["t"]));
    let first = adopt(&mut group, &four, 2);
    assert_eq!(shown(&first), ["a: t[0, 1]", "b:"]);
    let second = adopt(&mut group, &four, 3);
    assert_eq!(shown(&second), ["a: t[0, 1]", "b: t[2, 3]"]);
}

#[test]
fn of_two_claims_the_later_generation_counts_and_of_equal_ones_none() {
    let owned = Partitions::from([("t".to_owned(), BTreeSet::from([0]))]);
    let mut group = members(&[("a", &["t"]), ("b", &["t"])]);
    for (id, generation) in [("a", 4), ("b", 5)] {
        let subscription = &mut group.get_mut(id).unwrap().subscription;
        (subscription.owned, subscription.generation) = (owned.clone(), Some(generation));
    }
    assert_eq!(shown(&Assignor::CooperativeSticky.assign(&group, &topics(&[("t", 1)]))), ["a:", "b: t[0]"]);
    group.get_mut("a").unwrap().subscription.generation = Some(5);
    assert_eq!(shown(&Assignor::CooperativeSticky.assign(&group, &topics(&[("t", 1)]))), ["a:", "b:"]);
}

/// One round: members take what they are given.
fn adopt(group: &mut Members, topics: &BTreeMap<String, i32>, generation: i32) -> BTreeMap<String, Partitions> {
    let given = Assignor::CooperativeSticky.assign(group, topics);
    for (id, member) in group {
        member.subscription.owned = given[id].clone();
        member.subscription.generation = Some(generation);
    }
    given
}

/// Rounds until nothing changes; there are never many.
fn settle(group: &mut Members, topics: &BTreeMap<String, i32>, generation: i32) -> BTreeMap<String, Partitions> {
    let mut before = adopt(group, topics, generation);
    for round in 1..5 {
        let now = adopt(group, topics, generation + round);
        if now == before {
            return now;
        }
        before = now;
    }
    panic!("the group does not settle");
}

fn pairs(given: &BTreeMap<String, Partitions>) -> Vec<(String, i32, String)> {
    let of = |(id, partitions): (&String, &Partitions)| {
        let id = id.clone();
        let pairs = partitions.iter().flat_map(move |(topic, partitions)| {
            let id = id.clone();
            partitions.iter().map(move |partition| (topic.clone(), *partition, id.clone()))
        });
        pairs.collect::<Vec<_>>()
    };
    let mut pairs: Vec<_> = given.iter().flat_map(of).collect();
    pairs.sort();
    pairs
}

fn any_topics() -> impl Strategy<Value = BTreeMap<String, i32>> {
    prop::collection::btree_map("[t-v]", 0..9i32, 0..4)
}

fn any_group() -> impl Strategy<Value = Members> {
    let wanted = prop::collection::btree_set("[t-w]", 0..4);
    let one = (wanted, prop::option::of("[xyz]{3}")).prop_map(|(topics, instance_id)| Member {
        instance_id,
        subscription: Subscription { topics, ..Subscription::default() },
    });
    prop::collection::btree_map("[a-f]", one, 1..6)
}

proptest! {
    #[test]
    fn everything_wanted_is_given_once(group in any_group(), topics in any_topics()) {
        let mut sticky = group.clone();
        for given in [
            Assignor::Range.assign(&group, &topics),
            Assignor::RoundRobin.assign(&group, &topics),
            settle(&mut sticky, &topics, 1),
        ] {
            let wanted = |topic: &str| group.values().any(|member| member.subscription.topics.contains(topic));
            let expected: Vec<_> = all(&topics).filter(|(topic, _)| wanted(topic)).map(|(t, p)| (t.to_owned(), p)).collect();
            let pairs = pairs(&given);
            let found: Vec<_> = pairs.iter().map(|(topic, partition, _)| (topic.clone(), *partition)).collect();
            prop_assert_eq!(found, expected);
            for (topic, _, id) in &pairs {
                prop_assert!(group[id].subscription.topics.contains(topic), "{} does not want {}", id, topic);
            }
        }
    }

    #[test]
    fn sticky_shares_are_even(group in any_group(), topics in any_topics()) {
        let mut group = group;
        let given = settle(&mut group, &topics, 1);
        let count = |id: &String| given[id].values().map(BTreeSet::len).sum::<usize>();
        for (topic, _, from) in pairs(&given) {
            for to in group.iter().filter(|(_, member)| member.subscription.topics.contains(&topic)).map(|(id, _)| id) {
                prop_assert!(count(to) + 2 > count(&from), "{} has {}, {} has {}", from, count(&from), to, count(to));
            }
        }
    }

    #[test]
    fn sticky_moves_no_more_than_it_must(size in 2..6usize, count in 0..30i32, leaves: bool) {
        let names = ["a", "b", "c", "d", "e", "f", "g"];
        let group: Vec<(&str, &[&str])> = names[..size].iter().map(|id| (*id, &["t"][..])).collect();
        let (mut group, topics) = (members(&group), topics(&[("t", count)]));
        let before = settle(&mut group, &topics, 1);
        if leaves {
            group.remove("b");
        } else {
            group.insert("z".into(), member(&["t"]));
        }
        let after = settle(&mut group, &topics, 10);
        let kept = pairs(&before).into_iter().filter(|pair| pairs(&after).contains(pair)).count();
        let moved = usize::try_from(count).unwrap() - kept;
        let touched: usize = if leaves { before["b"].values().map(BTreeSet::len).sum() } else { after["z"].values().map(BTreeSet::len).sum() };
        prop_assert_eq!(moved, touched, "only what was the leaver's, or became the newcomer's");
    }

    #[test]
    fn nobody_gets_what_another_has(
        group in any_group(),
        topics in any_topics(),
        owned in prop::collection::vec((0..6usize, "[t-w]", 0..9i32, 0..3i32), 0..20),
    ) {
        let mut group = group;
        let ids: Vec<_> = group.keys().cloned().collect();
        for (at, topic, partition, generation) in owned {
            let subscription = &mut group.get_mut(&ids[at % ids.len()]).unwrap().subscription;
            subscription.owned.entry(topic).or_default().insert(partition);
            subscription.generation = Some(generation);
        }
        let given = Assignor::CooperativeSticky.assign(&group, &topics);
        let claim = |id: &str, topic: &String, partition: &i32| {
            let subscription = &group[id].subscription;
            let owns = subscription.owned.get(topic).is_some_and(|owned| owned.contains(partition));
            (owns && subscription.topics.contains(topic)).then_some(subscription.generation)
        };
        for (topic, partition, id) in pairs(&given) {
            let latest = ids.iter().filter_map(|other| claim(other, &topic, &partition)).max();
            let holders = ids.iter().filter(|other| claim(other, &topic, &partition).is_some_and(|found| Some(found) == latest));
            let others = holders.filter(|other| **other != id).count();
            prop_assert_eq!(others, 0, "{}/{} goes to {} while another has it", topic, partition, id);
        }
        settle(&mut group, &topics, 10);
    }
}
