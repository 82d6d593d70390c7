//! The classic machine on a clock of the test's own.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use tokio::time::Instant;

use super::classic::{ClassicGroup, ClassicGroupState};
use super::member::{Claim, Join, Joined, NotJoined, Reply, Sync, Synced, Ticket};
use crate::error_codes;

const DELAY: Duration = Duration::from_millis(100);
const SESSION: Duration = Duration::from_secs(10);
const REBALANCE: Duration = Duration::from_secs(60);

/// A group, its time, and the answers that it has given.
struct World {
    group: ClassicGroup,
    now: Instant,
    tickets: Ticket,
    members: u32,
    answers: BTreeMap<Ticket, Reply>,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        Self { group: ClassicGroup::new(DELAY, now), now, tickets: 0, members: 0, answers: BTreeMap::new() }
    }

    fn pass(&mut self, time: Duration) {
        // As the clock does: never past a deadline.
        let end = self.now + time;
        while let Some(due) = self.group.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.group.tick(self.now);
        }
        self.now = end;
        self.collect();
    }

    fn collect(&mut self) {
        while let Some((ticket, reply)) = self.group.poll_reply() {
            assert!(self.answers.insert(ticket, reply).is_none(), "ticket {ticket} is answered twice");
        }
    }

    fn send(&mut self, join: Join) -> Ticket {
        self.tickets += 1;
        self.members += 1;
        let join = Join { new_member_id: format!("m{}", self.members), ..join };
        self.group.handle_join(self.tickets, join, self.now);
        self.collect();
        self.tickets
    }

    fn send_sync(&mut self, joined: &Joined, assignments: &[(&str, &str)]) -> Ticket {
        self.tickets += 1;
        let part = |(id, part): &(&str, &str)| ((*id).to_owned(), Bytes::copy_from_slice(part.as_bytes()));
        let assignments = assignments.iter().map(part).collect();
        let sync = Sync { member: claim(joined), assignments, ..Sync::default() };
        self.group.handle_sync(self.tickets, sync, self.now);
        self.collect();
        self.tickets
    }

    fn joined(&self, ticket: Ticket) -> Joined {
        match self.answers.get(&ticket) {
            Some(Reply::Joined(Ok(joined))) => joined.clone(),
            other => panic!("not joined: {other:?}"),
        }
    }

    fn not_joined(&self, ticket: Ticket) -> NotJoined {
        match self.answers.get(&ticket) {
            Some(Reply::Joined(Err(refused))) => refused.clone(),
            other => panic!("not refused: {other:?}"),
        }
    }

    fn part(&self, ticket: Ticket) -> Result<String, i16> {
        match self.answers.get(&ticket) {
            Some(Reply::Synced(Ok(Synced { assignment, .. }))) => Ok(String::from_utf8(assignment.to_vec()).unwrap()),
            Some(Reply::Synced(Err(code))) => Err(*code),
            other => panic!("no answer to a sync: {other:?}"),
        }
    }

    fn heartbeat(&mut self, joined: &Joined) -> Result<(), i16> {
        self.group.handle_heartbeat(&claim(joined), self.now)
    }

    fn commit(&mut self, joined: &Joined) -> Result<(), i16> {
        self.group.handle_commit(&claim(joined), self.now)
    }

    /// Two members, the first of which leads, each with its part.
    fn of_two() -> (Self, Joined, Joined) {
        let mut world = Self::new();
        let (first, second) = (world.send(join("a")), world.send(join("b")));
        world.pass(3 * DELAY);
        let (first, second) = (world.joined(first), world.joined(second));
        let asked = world.send_sync(&second, &[]);
        assert!(!world.answers.contains_key(&asked), "held back until the leader has shared");
        let given = world.send_sync(&first, &[(&first.member_id, "one"), (&second.member_id, "two")]);
        assert_eq!((world.part(given).unwrap(), world.part(asked).unwrap()), ("one".to_owned(), "two".to_owned()));
        assert_eq!(world.group.state(), ClassicGroupState::Stable);
        (world, first, second)
    }
}

fn join(name: &str) -> Join {
    Join {
        client_id: name.to_owned(),
        session_timeout: SESSION,
        rebalance_timeout: REBALANCE,
        protocol_type: "consumer".to_owned(),
        protocols: vec![("range".to_owned(), Bytes::from_static(b"topics"))],
        ..Join::default()
    }
}

fn again(joined: &Joined) -> Join {
    Join { member_id: joined.member_id.clone(), ..join("again") }
}

fn fixed(instance: &str) -> Join {
    Join { instance_id: Some(instance.to_owned()), ..join(instance) }
}

fn claim(joined: &Joined) -> Claim {
    Claim { member_id: joined.member_id.clone(), instance_id: None, generation: joined.generation }
}

fn static_claim(joined: &Joined, instance: &str) -> Claim {
    Claim { instance_id: Some(instance.to_owned()), ..claim(joined) }
}

#[test]
fn a_new_group_waits_for_more_members() {
    let mut world = World::new();
    let first = world.send(join("a"));
    world.pass(DELAY / 2);
    let second = world.send(join("b"));
    world.pass(DELAY / 2);
    assert!(world.answers.is_empty(), "somebody came: as long again");
    world.pass(DELAY);
    let (first, second) = (world.joined(first), world.joined(second));
    assert_eq!((first.generation, second.generation), (1, 1));
    assert_eq!((first.leader.as_str(), second.leader.as_str()), ("m1", "m1"));
    let members: Vec<_> = first.members.iter().map(|member| member.member_id.as_str()).collect();
    assert_eq!((members, second.members.len()), (vec!["m1", "m2"], 0), "the leader alone is told who there is");
}

#[test]
fn a_new_member_is_told_its_id_first() {
    let mut world = World::new();
    let asked = Join { id_required: true, ..join("a") };
    let first = world.send(asked.clone());
    let told = world.not_joined(first);
    assert_eq!((told.code, told.member_id.as_str()), (error_codes::MEMBER_ID_REQUIRED, "m1"));
    assert_eq!(world.group.state(), ClassicGroupState::Empty);
    let second = world.send(Join { member_id: told.member_id, ..asked.clone() });
    world.pass(DELAY);
    assert_eq!(world.joined(second).member_id, "m1");

    let stranger = world.send(Join { member_id: "m77".to_owned(), ..asked });
    assert_eq!(world.not_joined(stranger).code, error_codes::UNKNOWN_MEMBER_ID);
}

#[test]
fn an_id_that_nobody_joins_with_holds_a_rebalance_up_for_a_session_only() {
    let (mut world, first, second) = World::of_two();
    let pending = world.send(Join { id_required: true, ..join("c") });
    assert_eq!(world.not_joined(pending).code, error_codes::MEMBER_ID_REQUIRED);
    let (one, two) = (world.send(again(&first)), world.send(again(&second)));
    assert!(!world.answers.contains_key(&one) && !world.answers.contains_key(&two));
    world.pass(SESSION);
    assert_eq!((world.joined(one).generation, world.joined(two).generation), (2, 2));
}

#[test]
fn a_third_member_makes_the_others_join_again() {
    let (mut world, first, second) = World::of_two();
    let third = world.send(join("c"));
    assert_eq!(world.group.state(), ClassicGroupState::PreparingRebalance);
    assert_eq!(world.heartbeat(&first), Err(error_codes::REBALANCE_IN_PROGRESS));
    assert_eq!(world.commit(&second), Ok(()), "what is in flight is stored while members are awaited");
    let early = world.send_sync(&first, &[]);
    assert_eq!(world.part(early), Err(error_codes::REBALANCE_IN_PROGRESS));
    let (one, two) = (world.send(again(&first)), world.send(again(&second)));
    let (third, one) = (world.joined(third), world.joined(one));
    assert_eq!((third.generation, one.generation, world.joined(two).generation), (2, 2, 2));
    assert_eq!(world.commit(&first), Err(error_codes::ILLEGAL_GENERATION));
    assert_eq!(world.commit(&one), Err(error_codes::REBALANCE_IN_PROGRESS), "the parts are not handed out");
    assert_eq!(world.heartbeat(&one), Ok(()));
}

#[test]
fn who_does_not_join_again_is_left_behind() {
    let (mut world, first, second) = World::of_two();
    let one = world.send(again(&first));
    for _ in 0..12 {
        assert_eq!(world.heartbeat(&second), Err(error_codes::REBALANCE_IN_PROGRESS));
        world.pass(REBALANCE / 12);
    }
    let one = world.joined(one);
    assert_eq!((one.generation, one.members.len()), (2, 1));
    assert_eq!(world.heartbeat(&second), Err(error_codes::UNKNOWN_MEMBER_ID));
}

#[test]
fn who_does_not_ask_for_its_part_is_left_behind() {
    let mut world = World::new();
    let (first, second) = (world.send(join("a")), world.send(join("b")));
    world.pass(2 * DELAY);
    let (first, second) = (world.joined(first), world.joined(second));
    let given = world.send_sync(&first, &[(&first.member_id, "one")]);
    assert_eq!(world.part(given), Ok("one".to_owned()));
    for _ in 0..12 {
        world.pass(REBALANCE / 12);
        let _ = world.heartbeat(&second);
        let _ = world.heartbeat(&first);
    }
    assert_eq!(world.heartbeat(&second), Err(error_codes::UNKNOWN_MEMBER_ID));
    assert_eq!(world.heartbeat(&first), Err(error_codes::REBALANCE_IN_PROGRESS));
}

#[test]
fn a_session_without_heartbeats_ends() {
    let (mut world, first, second) = World::of_two();
    world.pass(SESSION / 2);
    assert_eq!(world.heartbeat(&first), Ok(()));
    world.pass(SESSION / 2);
    assert_eq!(world.heartbeat(&second), Err(error_codes::UNKNOWN_MEMBER_ID));
    assert_eq!(world.heartbeat(&first), Err(error_codes::REBALANCE_IN_PROGRESS));
    let one = world.send(again(&first));
    assert_eq!(world.joined(one).members.len(), 1);
}

#[test]
fn a_commit_counts_as_a_heartbeat() {
    let (mut world, first, second) = World::of_two();
    world.pass(SESSION * 3 / 4);
    assert_eq!((world.heartbeat(&first), world.commit(&second)), (Ok(()), Ok(())));
    world.pass(SESSION * 3 / 4);
    assert_eq!(world.heartbeat(&second), Ok(()));
}

#[test]
fn whoever_leaves_starts_a_rebalance_and_the_last_one_empties_the_group() {
    let (mut world, first, second) = World::of_two();
    assert_eq!(world.group.handle_leave(&first.member_id, None, world.now), Ok(()));
    assert_eq!(world.heartbeat(&second), Err(error_codes::REBALANCE_IN_PROGRESS));
    assert_eq!(world.group.handle_leave(&first.member_id, None, world.now), Err(error_codes::UNKNOWN_MEMBER_ID));
    let two = world.send(again(&second));
    let two = world.joined(two);
    assert_eq!((two.leader.as_str(), two.members.len()), (second.member_id.as_str(), 1), "another leads");
    assert_eq!(world.group.handle_leave(&second.member_id, None, world.now), Ok(()));
    assert_eq!((world.group.state(), world.group.membership().generation), (ClassicGroupState::Empty, 3));
}

#[test]
fn plain_commits_are_taken_of_an_empty_group_only() {
    let plain = Claim { generation: -1, ..Claim::default() };
    let mut empty = World::new();
    assert_eq!(empty.group.handle_commit(&plain, empty.now), Ok(()));
    let (mut world, first, _) = World::of_two();
    assert_eq!(world.group.handle_commit(&plain, world.now), Err(error_codes::UNKNOWN_MEMBER_ID));
    let stranger = Claim { member_id: "m9".to_owned(), ..claim(&first) };
    assert_eq!(world.group.handle_commit(&stranger, world.now), Err(error_codes::UNKNOWN_MEMBER_ID));
}

#[test]
fn a_lost_answer_is_given_again_without_a_rebalance() {
    let (mut world, first, second) = World::of_two();
    let two = world.send(again(&second));
    assert_eq!(world.joined(two).generation, 1);
    let part = world.send_sync(&second, &[]);
    assert_eq!(world.part(part), Ok("two".to_owned()));
    assert_eq!(world.heartbeat(&first), Ok(()));
    // What a member says of itself has changed, or it leads: everybody joins again.
    let mut other = again(&second);
    other.protocols[0].1 = Bytes::from_static(b"other topics");
    world.send(other);
    assert_eq!(world.heartbeat(&first), Err(error_codes::REBALANCE_IN_PROGRESS));
}

#[test]
fn a_second_join_takes_the_place_of_the_first() {
    let (mut world, first, second) = World::of_two();
    let lost = world.send(again(&first));
    let one = world.send(again(&first));
    assert_eq!(world.answers.get(&lost), Some(&Reply::Superseded));
    world.send(again(&second));
    assert_eq!(world.joined(one).generation, 2);
}

#[test]
fn protocols_must_have_one_in_common_and_the_preferred_one_is_chosen() {
    let mut world = World::new();
    let named = |names: &[&str]| {
        let protocols = names.iter().map(|name| ((*name).to_owned(), Bytes::new())).collect();
        Join { protocols, ..join("a") }
    };
    let first = world.send(named(&["sticky", "range"]));
    world.send(named(&["range", "sticky"]));
    world.send(named(&["range", "round"]));
    let odd = world.send(named(&["round"]));
    assert_eq!(world.not_joined(odd).code, error_codes::INCONSISTENT_GROUP_PROTOCOL);
    let connect = world.send(Join { protocol_type: "connect".to_owned(), ..named(&["range"]) });
    assert_eq!(world.not_joined(connect).code, error_codes::INCONSISTENT_GROUP_PROTOCOL);
    world.pass(3 * DELAY);
    assert_eq!(world.joined(first).protocol.as_deref(), Some("range"));
    let never = world.send(Join { session_timeout: Duration::ZERO, ..named(&["range"]) });
    assert_eq!(world.not_joined(never).code, error_codes::INVALID_SESSION_TIMEOUT);
}

#[test]
fn a_static_member_that_is_back_takes_its_place_and_fences_the_old_one() {
    for may_skip in [false, true] {
        let mut world = World::new();
        let (first, second) = (world.send(fixed("x")), world.send(fixed("y")));
        world.pass(3 * DELAY);
        let (first, second) = (world.joined(first), world.joined(second));
        world.tickets += 1;
        let sync = Sync {
            member: static_claim(&first, "x"),
            assignments: vec![(first.member_id.clone(), Bytes::from_static(b"one"))],
            ..Sync::default()
        };
        world.group.handle_sync(world.tickets, sync, world.now);
        world.collect();

        let back = world.send(Join { may_skip, ..fixed("x") });
        let back = world.joined(back);
        assert_ne!(back.member_id, first.member_id);
        assert_eq!(back.generation, first.generation, "no rebalance");
        assert_eq!(world.group.handle_heartbeat(&static_claim(&second, "y"), world.now), Ok(()));
        let old = static_claim(&first, "x");
        assert_eq!(world.group.handle_heartbeat(&old, world.now), Err(error_codes::FENCED_INSTANCE_ID));
        assert_eq!(world.group.handle_commit(&old, world.now), Err(error_codes::FENCED_INSTANCE_ID));
        assert_eq!((back.skip_assignment, back.leader == back.member_id), (may_skip, may_skip));

        world.tickets += 1;
        let sync = Sync { member: static_claim(&back, "x"), ..Sync::default() };
        world.group.handle_sync(world.tickets, sync, world.now);
        world.collect();
        assert_eq!(world.part(world.tickets), Ok("one".to_owned()));
        assert_eq!(world.group.handle_leave("", Some("x"), world.now), Ok(()), "by its instance alone");
        assert_eq!(
            world.group.handle_leave(&second.member_id, Some("z"), world.now),
            Err(error_codes::UNKNOWN_MEMBER_ID)
        );
    }
}

#[test]
fn a_successor_knows_what_was_handed_out_and_nothing_under_way() {
    let (mut world, first, second) = World::of_two();
    let third = world.send(join("c"));
    let one = world.send(again(&first));
    world.group.reload(world.now);
    world.collect();
    assert_eq!(world.not_joined(third).code, error_codes::NOT_COORDINATOR);
    assert_eq!(world.not_joined(one).code, error_codes::NOT_COORDINATOR);
    assert_eq!(world.group.state(), ClassicGroupState::Stable);
    assert_eq!((world.heartbeat(&first), world.heartbeat(&second)), (Ok(()), Ok(())));
    let part = world.send_sync(&second, &[]);
    assert_eq!(world.part(part), Ok("two".to_owned()));
}

/// Kafka would fence the one member that there is, by itself.
#[test]
fn a_successor_knows_a_static_member_that_came_back_while_the_group_rebalanced() {
    let mut world = World::new();
    let first = world.send(fixed("x"));
    world.pass(3 * DELAY);
    let first = world.joined(first);
    world.tickets += 1;
    let sync = Sync { member: static_claim(&first, "x"), ..Sync::default() };
    world.group.handle_sync(world.tickets, sync, world.now);
    world.send(join("another"));
    assert_eq!(world.group.state(), ClassicGroupState::PreparingRebalance);
    let back = world.send(fixed("x"));
    let back = world.joined(back);
    assert_ne!(back.member_id, first.member_id);
    world.group.reload(world.now);
    assert_eq!(world.group.membership().with_instance("x"), Some(back.member_id.as_str()));
    assert_eq!(world.group.membership().leader.as_deref(), Some(back.member_id.as_str()));
}

/// What a careless client may send.
#[derive(Debug, Clone)]
enum Ask {
    Join { member: Option<u8>, instance: Option<u8>, id_required: bool },
    Sync { member: u8, generation: i32 },
    Heartbeat { member: u8, generation: i32 },
    Leave(u8),
    Pass(u16),
    Reload,
}

fn asks() -> impl Strategy<Value = Vec<Ask>> {
    let member = 1u8..6;
    let ask = prop_oneof![
        (proptest::option::of(1u8..6), proptest::option::weighted(0.2, 0u8..2), any::<bool>())
            .prop_map(|(member, instance, id_required)| Ask::Join { member, instance, id_required }),
        (member.clone(), 0i32..5).prop_map(|(member, generation)| Ask::Sync { member, generation }),
        (member.clone(), 0i32..5).prop_map(|(member, generation)| Ask::Heartbeat { member, generation }),
        member.prop_map(Ask::Leave),
        (0u16..20_000).prop_map(Ask::Pass),
        Just(Ask::Reload),
    ];
    proptest::collection::vec(ask, 0..60)
}

proptest! {
    #[test]
    fn every_request_is_answered_once_in_the_end_whoever_asks_what(asks in asks()) {
        let mut world = World::new();
        for ask in asks {
            let generation = world.group.membership().generation;
            let named = |member: u8, generation| Claim { member_id: format!("m{member}"), instance_id: None, generation };
            match ask {
                Ask::Join { member, instance, id_required } => {
                    let instance_id = instance.map(|instance| format!("i{instance}"));
                    let member_id = member.map_or_else(String::new, |member| format!("m{member}"));
                    world.send(Join { member_id, instance_id, id_required, ..join("p") });
                }
                Ask::Sync { member, generation } => {
                    world.tickets += 1;
                    let sync = Sync { member: named(member, generation), ..Sync::default() };
                    world.group.handle_sync(world.tickets, sync, world.now);
                }
                Ask::Heartbeat { member, generation } => {
                    let _ = world.group.handle_heartbeat(&named(member, generation), world.now);
                }
                Ask::Leave(member) => {
                    let _ = world.group.handle_leave(&format!("m{member}"), None, world.now);
                }
                Ask::Pass(ms) => world.pass(Duration::from_millis(ms.into())),
                Ask::Reload => world.group.reload(world.now),
            }
            world.collect();
            let membership = world.group.membership();
            prop_assert!(membership.generation >= generation || world.group.state() != ClassicGroupState::PreparingRebalance);
            prop_assert_eq!(membership.members.is_empty(), membership.leader.is_none());
            prop_assert!(membership.leader.iter().all(|leader| membership.members.contains_key(leader)));
            prop_assert!(world.group.state() != ClassicGroupState::Empty || membership.members.is_empty());
        }
        world.pass(Duration::from_secs(24 * 3600));
        prop_assert_eq!(world.group.state(), ClassicGroupState::Empty);
        prop_assert_eq!(world.answers.len(), usize::try_from(world.tickets).unwrap());
        prop_assert_eq!(world.group.deadline(), None);
    }
}
