use kafka_protocol::messages::consumer_group_heartbeat_response::TopicPartitions as Given;
use proptest::prelude::*;

use super::*;
use crate::membership::assignor::Assignor;
use crate::membership::simulation::byzantine::Byzantine;
use crate::membership::simulation::consumer::ConsumerCoordinator;
use crate::membership::simulation::{HEARTBEAT, REBALANCE, SESSION, TICK, World, options, refusal, upsets};

proptest! {
    #[test]
    fn members_share_whatever_happens(upsets in upsets(), short in any::<bool>()) {
        let make = |options| -> Box<dyn Membership> { Box::new(Consumer::new(options)) };
        let world = World::new(ConsumerCoordinator::new(), &[Assignor::CooperativeSticky], make);
        if short { world.with_short_rebalances() } else { world }.run(upsets);
    }

    #[test]
    fn nonsense_is_endured(seed in any::<u64>(), upsets in upsets()) {
        let make = |options| -> Box<dyn Membership> { Box::new(Consumer::new(options)) };
        World::new(Byzantine::new(seed), &[Assignor::CooperativeSticky], make).endure(upsets);
    }
}

/// A member that is alone with a script.
struct Alone {
    machine: Consumer,
    now: Instant,
}

impl Alone {
    fn new() -> Self {
        let options = MemberOptions { instance_id: Some("i".to_owned()), ..options() };
        let mut alone = Self { machine: Consumer::new(options), now: Instant::now() };
        alone.describe(1);
        alone
    }

    /// One that has partitions 0 to 2 in epoch 3, and has said so.
    fn stable() -> Self {
        let mut alone = Self::new();
        alone.sent();
        alone.answer(told(3, Some(&[(1, &[0, 1, 2])]))).unwrap();
        alone.sent();
        alone.answer(told(3, None)).unwrap();
        alone.events();
        alone
    }

    fn describe(&mut self, log: u8) {
        let found = Described { id: Some(TopicId([log; 16])), partitions: 4 };
        self.machine.described(&BTreeMap::from([("t".to_owned(), Some(found))]), self.now);
    }

    fn sent(&mut self) -> ConsumerGroupHeartbeatRequest {
        match self.machine.poll(self.now) {
            Step::Send(Request::ConsumerHeartbeat(request)) => request,
            step => panic!("it sends nothing: {step:?}"),
        }
    }

    fn answer(&mut self, response: ConsumerGroupHeartbeatResponse) -> Result<(), Error> {
        self.machine.answered(Response::ConsumerHeartbeat(response), self.now, self.now)
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.machine.next_event()).collect()
    }
}

fn told(epoch: i32, given: Option<&[(u8, &[i32])]>) -> ConsumerGroupHeartbeatResponse {
    let given = given.map(|topics| {
        let topics = topics.iter().map(|(log, partitions)| {
            Given::default().with_topic_id(Uuid::from_bytes([*log; 16])).with_partitions(partitions.to_vec())
        });
        Assignment::default().with_topic_partitions(topics.collect())
    });
    ConsumerGroupHeartbeatResponse::default()
        .with_member_epoch(epoch)
        .with_heartbeat_interval_ms(i32::try_from(HEARTBEAT.as_millis()).unwrap())
        .with_assignment(given)
}

fn owned_in(request: &ConsumerGroupHeartbeatRequest) -> Option<Vec<i32>> {
    request.topic_partitions.as_ref().map(|topics| topics.iter().flat_map(|topic| topic.partitions.clone()).collect())
}

fn set(partitions: &[i32]) -> BTreeSet<i32> {
    partitions.iter().copied().collect()
}

#[test]
fn every_error_in_every_phase_has_its_meaning() {
    use ResponseError as Code;
    type Begin = fn() -> Alone;
    let phases: [(&str, Begin); 4] = [
        ("joining", Alone::new),
        ("stable", || {
            let mut alone = Alone::stable();
            alone.now += HEARTBEAT;
            alone
        }),
        ("releasing", || {
            let mut alone = Alone::stable();
            alone.now += HEARTBEAT;
            alone.sent();
            alone.answer(told(3, Some(&[(1, &[0])]))).unwrap();
            alone.now += HEARTBEAT;
            alone
        }),
        ("draining", || {
            let mut alone = Alone::stable();
            alone.machine.leave();
            alone.now += HEARTBEAT;
            alone
        }),
    ];
    for code in (-1..=130).chain([999]).filter_map(Code::try_from_code) {
        for (phase, begin) in phases {
            let mut alone = begin();
            alone.events();
            let owned = alone.machine.owned().clone();
            let request = Request::ConsumerHeartbeat(alone.sent());
            let outcome = alone.machine.answered(refusal(&request, code), alone.now, alone.now);
            let events = alone.events();
            let case = format!("{code} while {phase}: {outcome:?}, {events:?}");
            let is_expelled = matches!(code, Code::UnknownMemberId | Code::FencedMemberEpoch | Code::FencedInstanceId)
                || code == Code::GroupIdNotFound && phase != "joining";
            if !is_expelled {
                let error = outcome.unwrap_err();
                assert!(error.is(code) && events.is_empty() && *alone.machine.owned() == owned, "{case}");
                alone.machine.pause(alone.now + TICK);
                assert!(matches!(alone.machine.poll(alone.now), Step::Wait { .. }), "{case}");
                alone.now += TICK;
                assert!(owned_in(&alone.sent()).is_some(), "it says everything again: {case}");
                continue;
            }
            assert!(outcome.is_ok() && alone.machine.owned().is_empty(), "{case}");
            if phase != "joining" {
                assert!(events.contains(&Event::Lost(owned)) && events.contains(&Event::Identity(None)), "{case}");
            }
            let failed = events.iter().any(|event| matches!(event, Event::Fenced));
            assert_eq!(failed, code == Code::FencedInstanceId, "{case}");
            match alone.machine.poll(alone.now) {
                Step::Left => assert!(failed || phase == "draining", "{case}"),
                Step::Wait { until, .. } => assert!(until > alone.now, "{case}"),
                Step::Send(_) => panic!("at once: {case}"),
            }
        }
    }
}

#[test]
fn what_is_given_up_is_told_before_anything_is_taken() {
    let mut alone = Alone::stable();
    alone.now += HEARTBEAT;
    assert_eq!(owned_in(&alone.sent()), None, "nothing has changed");
    let revoked_at = alone.now;
    alone.answer(told(3, Some(&[(1, &[0, 3])]))).unwrap();
    assert_eq!(alone.events(), [Event::Revoked(set(&[1, 2]))]);
    alone.now += HEARTBEAT;
    assert_eq!(owned_in(&alone.sent()), None, "heartbeats go on, and say no more than before");
    alone.answer(told(3, None)).unwrap();
    alone.machine.released(&set(&[1]));
    assert_eq!(alone.events(), []);
    assert_eq!(alone.machine.lease(), Some((alone.now + SESSION).min(revoked_at + REBALANCE)));
    alone.machine.released(&set(&[2]));
    assert_eq!(alone.events(), [Event::Assigned(set(&[3]))]);
    assert_eq!(owned_in(&alone.sent()), Some(vec![0, 3]), "at once: others wait for it");
}

#[test]
fn what_is_not_released_in_time_costs_everything_before_it_is_anothers() {
    let mut alone = Alone::stable();
    alone.now += HEARTBEAT;
    alone.sent();
    // The answer that says so first is lost: the coordinator counts from there.
    let asked = alone.now;
    alone.machine.unanswered();
    alone.now += HEARTBEAT;
    alone.sent();
    alone.answer(told(3, Some(&[(1, &[0])]))).unwrap();
    alone.events();
    let mut heartbeats = 0;
    while alone.machine.owned().len() == 3 && alone.now < asked + REBALANCE * 2 {
        match alone.machine.poll(alone.now) {
            Step::Send(_) if alone.machine.owned().is_empty() => {}
            Step::Send(_) => {
                heartbeats += 1;
                alone.answer(told(3, None)).unwrap();
            }
            Step::Wait { until, .. } => alone.now = until,
            Step::Left => panic!("it left"),
        }
    }
    assert_eq!(alone.now, asked + REBALANCE);
    assert!(heartbeats >= 7, "they go on while partitions are given up: {heartbeats}");
    let expected = [Event::Rebalance(RebalanceCause::NotReleased), Event::Identity(None), Event::Lost(set(&[0, 1, 2]))];
    assert_eq!(alone.events(), expected);
}

#[test]
fn one_that_was_not_heard_asks_whether_it_is_still_a_member() {
    let mut alone = Alone::stable();
    alone.now += SESSION;
    let request = alone.sent();
    let lost = [Event::Rebalance(RebalanceCause::Expired), Event::Identity(None), Event::Lost(set(&[0, 1, 2]))];
    assert_eq!(alone.events(), lost);
    assert_eq!((request.member_epoch, owned_in(&request)), (3, Some(vec![])), "joining anew would be refused");
    alone.answer(told(3, Some(&[(1, &[0, 1, 2])]))).unwrap();
    let events = alone.events();
    assert!(
        matches!(&events[..], [Event::Identity(Some(_)), Event::Assigned(all)] if *all == set(&[0, 1, 2])),
        "{events:?}"
    );
}

#[test]
fn a_recreated_topic_is_another_topic() {
    // Whether the coordinator or the brokers' description comes first.
    let mut first = Alone::stable();
    first.now += HEARTBEAT;
    first.sent();
    first.answer(told(4, Some(&[(2, &[0, 1])]))).unwrap();
    assert!(matches!(first.machine.poll(first.now), Step::Wait { describe, .. } if describe.contains("t")));
    first.events();
    first.describe(2);
    let expected =
        [Event::Rebalance(RebalanceCause::TopicChanged), Event::Lost(set(&[0, 1, 2])), Event::Assigned(set(&[0, 1]))];
    assert_eq!(first.events(), expected);

    let mut second = Alone::stable();
    second.describe(1);
    assert_eq!(second.events(), [], "the same as before");
    second.describe(2);
    assert_eq!(second.events(), [Event::Rebalance(RebalanceCause::TopicChanged), Event::Lost(set(&[0, 1, 2]))]);
    let request = second.sent();
    assert_eq!(owned_in(&request), Some(vec![]));
    assert!(request.subscribed_topic_names.is_some(), "all is said, so that all is told");
    second.answer(told(4, Some(&[(2, &[0, 1])]))).unwrap();
    assert!(second.events().contains(&Event::Assigned(set(&[0, 1]))));
}

#[test]
fn a_description_alone_assigns_nothing() {
    let mut alone = Alone { machine: Consumer::new(options()), now: Instant::now() };
    alone.describe(1);
    alone.describe(2);
    assert_eq!(alone.events(), []);
    assert_eq!(alone.sent().member_epoch, JOIN);
}

#[test]
fn one_that_may_have_joined_says_that_it_leaves() {
    let mut alone = Alone { machine: Consumer::new(options()), now: Instant::now() };
    alone.sent();
    alone.machine.unanswered();
    alone.machine.leave();
    assert_eq!(alone.sent().member_epoch, LEAVE);
    alone.machine.unanswered();
    assert!(matches!(alone.machine.poll(alone.now), Step::Left), "said once");
    let mut never = Alone { machine: Consumer::new(options()), now: Instant::now() };
    never.machine.leave();
    assert!(matches!(never.machine.poll(never.now), Step::Left));
}
