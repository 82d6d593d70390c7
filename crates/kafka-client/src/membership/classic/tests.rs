use kafka_protocol::ResponseError as Code;
use kafka_protocol::messages::{HeartbeatResponse, JoinGroupRequest};
use proptest::prelude::*;

use super::*;
use crate::membership::Request;
use crate::membership::simulation::byzantine::Byzantine;
use crate::membership::simulation::classic::ClassicCoordinator;
use crate::membership::simulation::{
    HEARTBEAT, Lost, REBALANCE, SESSION, SimulatedCoordinator, TICK, Upset, World, options, refusal, text, upsets,
};
use crate::membership::subscription::encode_assignment;
use kafka_records::topic::TopicId;

fn world(assignors: &[Assignor], asks_for_ids: bool) -> World<ClassicCoordinator> {
    World::new(ClassicCoordinator::new(asks_for_ids), assignors, |options| Box::new(Classic::new(options)))
}

const COOPERATIVE: &[Assignor] = &[Assignor::CooperativeSticky];
const EAGER: &[Assignor] = &[Assignor::Range, Assignor::RoundRobin];

proptest! {
    #[test]
    fn cooperative_members_share_whatever_happens(upsets in upsets(), ids in any::<bool>(), short in any::<bool>()) {
        let world = world(COOPERATIVE, ids);
        if short { world.with_short_rebalances() } else { world }.run(upsets);
    }

    #[test]
    fn eager_members_share_whatever_happens(upsets in upsets(), ids in any::<bool>(), short in any::<bool>()) {
        let world = world(EAGER, ids);
        if short { world.with_short_rebalances() } else { world }.run(upsets);
    }

    #[test]
    fn nonsense_is_endured(seed in any::<u64>(), upsets in upsets(), eager in any::<bool>()) {
        let assignors = if eager { EAGER } else { COOPERATIVE };
        World::new(Byzantine::new(seed), assignors, |options| Box::new(Classic::new(options))).endure(upsets);
    }
}

/// A static member is deaf while a round passes it by, and joins again because its topic was made
/// anew, not because it heard of the round: what it held is another's.
#[test]
fn what_a_missed_round_gave_on_is_not_held_again() {
    let upsets = vec![
        (Upset::Join { is_static: true }, 2),
        (Upset::Leave(0), 113),
        (Upset::Lose(0, Lost::Request, 1), 3),
        (Upset::Releases(0, None), 1),
        (Upset::Lose(0, Lost::Request, 30), 4),
        (Upset::Join { is_static: false }, 27),
        (Upset::Recreate(2), 0),
    ];
    world(COOPERATIVE, false).with_short_rebalances().run(upsets);
}

/// A coordinator that takes over counts on from what it read: a generation comes twice.
#[test]
fn what_was_claimed_and_lost_in_one_answer_does_not_stay_nobodys() {
    let upsets = vec![
        (Upset::Move(Code::NotCoordinator, 26), 50),
        (Upset::Join { is_static: false }, 50),
        (Upset::Delete(8), 4),
        (Upset::Move(Code::NotCoordinator, 2), 1),
        (Upset::Nothing, 1),
    ];
    world(COOPERATIVE, false).run(upsets);
}

/// A member that is alone with a script.
struct Alone {
    machine: Classic,
    now: Instant,
}

impl Alone {
    fn new(assignor: Assignor) -> Self {
        let options = MemberOptions { assignors: vec![assignor], instance_id: Some("i".to_owned()), ..options() };
        let mut machine = Classic::new(options);
        let now = Instant::now();
        machine.described(&topic(1, 4), now);
        Self { machine, now }
    }

    /// One that has partitions 0 to 2.
    fn stable(assignor: Assignor) -> Self {
        let mut alone = Self::new(assignor);
        alone.until_synced(&[0, 1, 2]);
        alone.events();
        alone
    }

    fn sent(&mut self) -> Request {
        match self.machine.poll(self.now) {
            Step::Send(request) => request,
            step => panic!("it sends nothing: {step:?}"),
        }
    }

    fn until_synced(&mut self, given: &[i32]) {
        let Request::Join(_) = self.sent() else { panic!("it joins") };
        self.answer(joined(&self.machine)).unwrap();
        let Request::Sync(_) = self.sent() else { panic!("it asks for its part") };
        self.answer(synced(given)).unwrap();
    }

    fn answer(&mut self, response: Response) -> Result<(), Error> {
        self.machine.answered(response, self.now, self.now)
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.machine.next_event()).collect()
    }

    /// What it would work on, and whether it could commit.
    fn after(&mut self, events: &[Event]) -> (BTreeSet<i32>, bool) {
        let identity = events.iter().rev().find_map(|event| match event {
            Event::Identity(identity) => Some(identity.is_some()),
            _ => None,
        });
        (self.machine.owned().clone(), identity.unwrap_or(true))
    }
}

fn topic(log: u8, partitions: i32) -> BTreeMap<String, Option<Described>> {
    BTreeMap::from([("t".to_owned(), Some(Described { id: Some(TopicId([log; 16])), partitions }))])
}

fn joined(machine: &Classic) -> Response {
    Response::Join(
        JoinGroupResponse::default()
            .with_generation_id(machine.generation + 1)
            .with_protocol_name(Some(text(machine.options.assignors[0].name())))
            .with_leader(text("another"))
            .with_member_id(text("m")),
    )
}

fn synced(given: &[i32]) -> Response {
    let given = Partitions::from([("t".to_owned(), given.iter().copied().collect())]);
    Response::Sync(SyncGroupResponse::default().with_assignment(encode_assignment(&given, None)))
}

fn heard(code: i16) -> Response {
    Response::Heartbeat(HeartbeatResponse::default().with_error_code(code))
}

/// A member in each phase in which a request is under way, and the request.
fn phases() -> Vec<(&'static str, Alone, Request)> {
    let mut phases = Vec::new();
    let mut first = Alone::new(Assignor::CooperativeSticky);
    let join = first.sent();
    phases.push(("first join", first, join));
    let mut again = Alone::stable(Assignor::CooperativeSticky);
    again.now += HEARTBEAT;
    again.sent();
    again.answer(heard(Code::RebalanceInProgress.code())).unwrap();
    let join = again.sent();
    phases.push(("join again", again, join));
    let mut sync = Alone::stable(Assignor::CooperativeSticky);
    sync.now += HEARTBEAT;
    sync.sent();
    sync.answer(heard(Code::RebalanceInProgress.code())).unwrap();
    sync.sent();
    let answer = joined(&sync.machine);
    sync.answer(answer).unwrap();
    let request = sync.sent();
    phases.push(("sync", sync, request));
    let mut stable = Alone::stable(Assignor::Range);
    stable.now += HEARTBEAT;
    let heartbeat = stable.sent();
    phases.push(("stable", stable, heartbeat));
    let mut releasing = Alone::stable(Assignor::Range);
    releasing.now += HEARTBEAT;
    releasing.sent();
    releasing.answer(heard(Code::RebalanceInProgress.code())).unwrap();
    releasing.now += HEARTBEAT;
    let heartbeat = releasing.sent();
    phases.push(("releasing", releasing, heartbeat));
    let mut leaving = Alone::stable(Assignor::CooperativeSticky);
    leaving.machine.leave();
    leaving.now += HEARTBEAT;
    let heartbeat = leaving.sent();
    phases.push(("leaving", leaving, heartbeat));
    for (_, alone, _) in &mut phases {
        alone.events();
    }
    phases
}

#[test]
fn every_error_in_every_phase_has_its_meaning() {
    let codes = (-1..=130).chain([999]).filter_map(Code::try_from_code);
    for code in codes {
        for (phase, mut alone, request) in phases() {
            let owned = alone.machine.owned().clone();
            let outcome = alone.answer(refusal(&request, code));
            let events = alone.events();
            let (left, commits) = alone.after(&events);
            let case = format!("{code} while {phase}: {outcome:?}, {events:?}");
            match code {
                Code::UnknownMemberId | Code::IllegalGeneration => {
                    assert!(outcome.is_ok() && left.is_empty() && !commits, "{case}");
                    assert_eq!(events.contains(&Event::Lost(owned.clone())), !owned.is_empty(), "{case}");
                    assert_eq!(
                        alone.machine.member_id.is_empty(),
                        code == Code::UnknownMemberId || phase == "first join",
                        "{case}"
                    );
                    let step = alone.machine.poll(alone.now);
                    let waits = matches!(step, Step::Wait { until, .. } if until > alone.now);
                    assert!(waits || phase == "leaving" && matches!(step, Step::Left | Step::Send(_)), "{case}");
                }
                Code::FencedInstanceId => {
                    assert!(outcome.is_ok() && left.is_empty() && !commits, "{case}");
                    assert!(events.contains(&Event::Fenced), "{case}");
                    assert!(matches!(alone.machine.poll(alone.now), Step::Left), "{case}");
                }
                Code::RebalanceInProgress => {
                    assert!(outcome.is_ok() && left == owned && commits, "{case}");
                }
                // Whatever else it is, nothing is lost by it, and it is tried again.
                code => {
                    let error = outcome.unwrap_err();
                    assert!(error.is(code) && left == owned && commits && events.is_empty(), "{case}");
                    alone.machine.pause(alone.now + TICK);
                    assert!(matches!(alone.machine.poll(alone.now), Step::Wait { .. }), "{case}");
                    alone.now += TICK;
                    assert!(matches!(alone.machine.poll(alone.now), Step::Send(_)), "{case}");
                }
            }
        }
    }
}

#[test]
fn a_member_id_is_asked_for_once() {
    let mut alone = Alone::new(Assignor::Range);
    alone.sent();
    let required = |id: &str| {
        let answer = JoinGroupResponse::default().with_error_code(Code::MemberIdRequired.code());
        Response::Join(answer.with_member_id(text(id)))
    };
    alone.answer(required("m-1")).unwrap();
    let Request::Join(JoinGroupRequest { member_id, .. }) = alone.sent() else { panic!("it joins at once") };
    assert_eq!(member_id.as_str(), "m-1");
    assert!(alone.answer(required("m-2")).is_err(), "or a broker that says so for ever is asked for ever");
}

#[test]
fn the_lease_counts_from_when_the_request_was_sent() {
    let mut alone = Alone::stable(Assignor::CooperativeSticky);
    alone.now += HEARTBEAT;
    alone.sent();
    let sent = alone.now;
    alone.now += TICK * 5;
    alone.machine.answered(heard(0), sent, alone.now).unwrap();
    assert_eq!(alone.machine.lease(), Some(sent + SESSION));
    // An answer that was held back, or lay there while the process was stopped, proves no more.
    alone.now = sent + HEARTBEAT;
    alone.sent();
    alone.answer(heard(Code::RebalanceInProgress.code())).unwrap();
    alone.sent();
    let (sent, answer) = (alone.now, joined(&alone.machine));
    alone.now += REBALANCE;
    alone.machine.answered(answer, sent, alone.now).unwrap();
    assert_eq!(alone.machine.lease(), Some(sent + SESSION), "over, until the coordinator answers again");
    alone.events();
    let Request::Sync(_) = alone.sent() else { panic!("it goes on with what it was told") };
    assert_eq!(alone.events(), [], "the group may count it in all the same: nothing is lost yet");
    alone.answer(synced(&[0, 1, 2])).unwrap();
    assert_eq!(alone.machine.lease(), Some(alone.now + SESSION));
}

#[test]
fn the_lease_is_no_longer_than_a_rebalance_that_is_missed() {
    let options = MemberOptions { rebalance_timeout: SESSION / 2, ..options() };
    let mut alone = Alone { machine: Classic::new(options), now: Instant::now() };
    alone.machine.described(&topic(1, 4), alone.now);
    alone.until_synced(&[0]);
    let quiet = alone.now;
    assert_eq!(alone.machine.lease(), Some(quiet + SESSION / 2));
    alone.now += HEARTBEAT;
    alone.sent();
    alone.answer(heard(Code::RebalanceInProgress.code())).unwrap();
    assert_eq!(alone.machine.lease(), Some(quiet + SESSION / 2), "it may have begun right after the last quiet answer");
}

/// What it held may be another's by then, and it has just claimed all of that: to go on with this round would leave
/// what it loses nobody's.
#[test]
fn a_round_that_was_missed_costs_everything_and_is_followed_by_a_join_that_claims_nothing() {
    let mut alone = Alone::stable(Assignor::CooperativeSticky);
    alone.now += HEARTBEAT;
    alone.sent();
    alone.answer(heard(Code::RebalanceInProgress.code())).unwrap();
    let claimed = |request: Request| {
        let Request::Join(request) = request else { panic!("it does not join: {request:?}") };
        Subscription::decode(&request.protocols[0].metadata).unwrap().owned
    };
    let all = BTreeSet::from([0, 1, 2]);
    assert_eq!(claimed(alone.sent()), Partitions::from([("t".to_owned(), all.clone())]));
    let Response::Join(answer) = joined(&alone.machine) else { panic!("the answer to a join") };
    let later = answer.generation_id + 1;
    alone.answer(Response::Join(answer.with_generation_id(later))).unwrap();
    assert!(alone.events().contains(&Event::Lost(all)));
    assert_eq!(claimed(alone.sent()), Partitions::new());
}

#[test]
fn what_is_not_released_in_time_is_lost_and_heartbeats_go_on_until_then() {
    let mut alone = Alone::stable(Assignor::Range);
    let quiet = alone.now;
    alone.now += HEARTBEAT;
    alone.sent();
    alone.answer(heard(Code::RebalanceInProgress.code())).unwrap();
    assert_eq!(alone.events(), [Event::Revoked(BTreeSet::from([0, 1, 2]))]);
    alone.machine.released(&BTreeSet::from([1]));
    let mut heartbeats = 0;
    loop {
        match alone.machine.poll(alone.now) {
            Step::Send(Request::Heartbeat(request)) => {
                assert_eq!(request.generation_id, 0, "commits go on under it");
                heartbeats += 1;
                alone.answer(heard(Code::RebalanceInProgress.code())).unwrap();
            }
            Step::Send(Request::Join(_)) => break,
            Step::Wait { until, .. } => alone.now = until,
            step => panic!("{step:?}"),
        }
    }
    assert_eq!(alone.now, quiet + REBALANCE - HEARTBEAT, "in time to join before the group goes on");
    assert_eq!(heartbeats, 6);
    assert_eq!(alone.events(), [Event::Rebalance(RebalanceCause::NotReleased), Event::Lost(BTreeSet::from([0, 2]))]);
}

#[test]
fn a_recreated_topic_begins_again_for_members_that_do_not_lead_too() {
    let mut alone = Alone::stable(Assignor::CooperativeSticky);
    alone.machine.described(&topic(1, 5), alone.now);
    assert_eq!(alone.events(), [], "the leader's business");
    alone.machine.described(&topic(2, 5), alone.now);
    let all = BTreeSet::from([0, 1, 2]);
    let expected = [Event::Rebalance(RebalanceCause::TopicChanged), Event::Lost(all.clone()), Event::Assigned(all)];
    assert_eq!(alone.events(), expected, "of the new log, which has another id");
}

#[test]
fn nothing_is_joined_before_the_topic_is_known() {
    let now = Instant::now();
    let mut machine = Classic::new(options());
    let Step::Wait { describe, .. } = machine.poll(now) else { panic!("it waits") };
    assert_eq!(describe, BTreeSet::from(["t".to_owned()]));
    machine.described(&BTreeMap::from([("t".to_owned(), None)]), now);
    assert!(matches!(machine.poll(now), Step::Wait { .. }), "it may come late");
    machine.described(&topic(1, 1), now);
    assert!(matches!(machine.poll(now), Step::Send(Request::Join(_))));
}

#[test]
fn a_static_leader_that_comes_back_notices_partitions_added_meanwhile() {
    for assignors in [COOPERATIVE, EAGER] {
        let mut world = world(assignors, true);
        world.join(true);
        world.settle();
        world.upset(Upset::Die(0));
        world.upset(Upset::AddPartition);
        world.pass(5);
        world.join(true);
        world.settle();
        world.leave_all();
    }
}

#[test]
fn leaving_while_a_join_is_held_back_gives_it_up() {
    let mut alone = Alone::new(Assignor::Range);
    alone.sent();
    alone.machine.leave();
    assert!(alone.machine.abandons_request());
    alone.machine.unanswered();
    assert!(matches!(alone.machine.poll(alone.now), Step::Left), "nobody knows it yet");
    let mut again = Alone::stable(Assignor::CooperativeSticky);
    again.now += HEARTBEAT;
    again.sent();
    again.answer(heard(Code::RebalanceInProgress.code())).unwrap();
    again.sent();
    again.machine.leave();
    assert!(!again.machine.abandons_request(), "what it has is finished first");
    again.machine.released(&BTreeSet::from([0, 1, 2]));
    assert!(again.machine.abandons_request());
}

#[test]
fn a_static_member_is_fenced_by_its_double() {
    let mut coordinator = ClassicCoordinator::new(false);
    let join = |token, coordinator: &mut ClassicCoordinator, now| {
        let mut machine = Classic::new(MemberOptions { instance_id: Some("i".to_owned()), ..options() });
        machine.described(&topic(1, 1), now);
        let Step::Send(request) = machine.poll(now) else { panic!("it joins") };
        coordinator.receive(token, request, now);
        machine
    };
    let now = Instant::now();
    let mut first = join(1, &mut coordinator, now);
    let _second = join(2, &mut coordinator, now);
    let (_, fenced) = coordinator.answers().into_iter().find(|(token, _)| *token == 1).unwrap();
    first.answered(fenced, now, now).unwrap();
    assert!(matches!(first.poll(now), Step::Left));
    assert!(std::iter::from_fn(|| first.next_event()).any(|event| matches!(event, Event::Fenced)));
}
