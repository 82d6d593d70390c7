//! The consumer machine on a clock of the test's own.

use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions as Owned;
use kafka_protocol::messages::{GroupId, TopicName};

use super::*;

const SESSION: Duration = Duration::from_secs(10);
const REBALANCE: Duration = Duration::from_secs(60);
const TOPIC: Uuid = Uuid::from_u128(7);

struct World {
    group: ConsumerGroup,
    topics: Topics,
    now: Instant,
}

impl World {
    fn new(partitions: i32) -> Self {
        let options = ConsumerGroupOptions { session_timeout: SESSION, heartbeat_interval: Duration::from_secs(1) };
        let mut world = Self { group: ConsumerGroup::new(options), topics: Topics::new(), now: Instant::now() };
        world.set_topic(TOPIC, partitions);
        world
    }

    /// `a` alone, with everything, in epoch 1.
    fn of_one(partitions: i32) -> Self {
        let mut world = Self::new(partitions);
        assert_eq!(world.join("a"), Ok((1, (0..partitions).collect())));
        assert_eq!(world.group.state(), ConsumerGroupState::Stable);
        world
    }

    fn set_topic(&mut self, id: Uuid, partitions: i32) {
        self.topics.insert("t".to_owned(), TopicMetadata { id, partitions });
    }

    fn send(&mut self, request: ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse {
        let caller = Caller { client_id: "client".to_owned(), new_member_id: "made".to_owned() };
        self.group.handle_heartbeat(&request, caller, &self.topics, self.now)
    }

    /// The epoch and what is assigned, or the error code.
    fn told(&mut self, request: ConsumerGroupHeartbeatRequest) -> Result<(i32, Vec<i32>), i16> {
        let response = self.send(request);
        if response.error_code != error_codes::NONE {
            return Err(response.error_code);
        }
        let topics = response.assignment.map(|assignment| assignment.topic_partitions).unwrap_or_default();
        Ok((response.member_epoch, topics.into_iter().flat_map(|topic| topic.partitions).collect()))
    }

    fn join(&mut self, id: &str) -> Result<(i32, Vec<i32>), i16> {
        self.told(joins(id))
    }

    /// A heartbeat that says nothing new; the epoch that is answered.
    fn beat(&mut self, id: &str, epoch: i32) -> Result<i32, i16> {
        self.told(beat(id, epoch)).map(|(epoch, _)| epoch)
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.group.tick(self.now);
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn beat(id: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_member_id(text(id))
        .with_member_epoch(epoch)
}

fn joins(id: &str) -> ConsumerGroupHeartbeatRequest {
    beat(id, 0)
        .with_rebalance_timeout_ms(i32::try_from(REBALANCE.as_millis()).unwrap())
        .with_subscribed_topic_names(Some(vec![TopicName(text("t"))]))
        .with_topic_partitions(Some(Vec::new()))
}

fn owns(id: &str, epoch: i32, partitions: &[i32]) -> ConsumerGroupHeartbeatRequest {
    let owned = Owned::default().with_topic_id(TOPIC).with_partitions(partitions.to_vec());
    beat(id, epoch).with_topic_partitions(Some(vec![owned]))
}

fn fixed(request: ConsumerGroupHeartbeatRequest, instance: &str) -> ConsumerGroupHeartbeatRequest {
    request.with_instance_id(Some(text(instance)))
}

#[test]
fn what_moves_is_given_up_before_it_is_given_on() {
    let mut world = World::of_one(4);
    assert_eq!(world.join("b"), Ok((2, vec![])), "the other still has it");
    assert_eq!(world.group.state(), ConsumerGroupState::Reconciling);
    assert_eq!(world.told(beat("a", 1)), Ok((1, vec![0, 1])), "in its epoch, until it has given up the rest");
    assert_eq!(world.told(beat("a", 1)), Ok((1, vec![])), "said once");
    assert_eq!(world.beat("b", 2), Ok(2));
    assert_eq!(world.told(owns("a", 1, &[0, 1, 2])), Ok((1, vec![])), "one of them is left");
    assert_eq!(world.told(owns("a", 1, &[0, 1])), Ok((2, vec![])));
    assert_eq!(world.told(beat("b", 2)), Ok((2, vec![2, 3])));
    assert_eq!(world.group.state(), ConsumerGroupState::Stable);
}

#[test]
fn an_answer_that_was_lost_is_given_again_and_no_other_epoch_is_taken() {
    let mut world = World::of_one(2);
    world.join("b").unwrap();
    world.told(beat("a", 1)).unwrap();
    assert_eq!(world.told(owns("a", 1, &[0])), Ok((2, vec![])), "and this answer is lost");
    assert_eq!(world.beat("a", 1), Err(error_codes::FENCED_MEMBER_EPOCH), "it says nothing of what it owns");
    assert_eq!(world.told(owns("a", 1, &[0, 1])), Err(error_codes::FENCED_MEMBER_EPOCH), "another's by now");
    assert_eq!(world.told(owns("a", 1, &[0])).map(|(epoch, _)| epoch), Ok(2));
    assert_eq!(world.beat("a", 3), Err(error_codes::FENCED_MEMBER_EPOCH));
    assert_eq!(world.beat("c", 2), Err(error_codes::UNKNOWN_MEMBER_ID));
    assert_eq!(World::new(1).beat("a", 1), Err(error_codes::GROUP_ID_NOT_FOUND));
}

#[test]
fn commits_are_taken_in_the_members_epoch_only() {
    let mut world = World::new(2);
    assert_eq!(world.group.handle_commit("", -1), Ok(()), "nobody is in it");
    world.join("a").unwrap();
    assert_eq!(world.group.handle_commit("a", 1), Ok(()));
    assert_eq!(world.group.handle_commit("a", 0), Err(error_codes::STALE_MEMBER_EPOCH));
    assert_eq!(world.group.handle_commit("b", 1), Err(error_codes::UNKNOWN_MEMBER_ID));
    assert_eq!(world.group.handle_commit("", -1), Err(error_codes::UNKNOWN_MEMBER_ID));
}

#[test]
fn who_is_not_heard_for_a_session_or_gives_nothing_up_is_expelled() {
    let mut world = World::of_one(2);
    world.join("b").unwrap();
    world.pass(SESSION / 2);
    world.beat("b", 2).unwrap();
    world.pass(SESSION / 2);
    assert_eq!(world.group.state(), ConsumerGroupState::Assigning);
    assert_eq!(world.told(beat("b", 2)), Ok((3, vec![0, 1])));
    assert_eq!(world.beat("a", 1), Err(error_codes::UNKNOWN_MEMBER_ID));

    world.join("c").unwrap();
    for _ in 0..12 {
        assert_eq!(world.told(beat("b", 3)).map(|(epoch, _)| epoch), Ok(3));
        world.beat("c", 4).unwrap();
        world.pass(REBALANCE / 12);
    }
    assert_eq!(world.beat("b", 3), Err(error_codes::UNKNOWN_MEMBER_ID));
    assert_eq!(world.told(beat("c", 4)), Ok((5, vec![0, 1])));
    assert_eq!(world.group.deadline(), Some(world.now + SESSION));
}

#[test]
fn a_static_member_keeps_what_it_has_while_it_is_away() {
    let mut world = World::new(2);
    world.told(fixed(joins("a"), "x")).unwrap();
    assert_eq!(world.told(fixed(joins("a2"), "x")), Err(error_codes::UNRELEASED_INSTANCE_ID));
    assert_eq!(world.told(fixed(beat("a", -2), "x")), Ok((-2, vec![])));
    assert_eq!(world.told(fixed(joins("a2"), "x")), Ok((1, vec![0, 1])), "in the same epoch");
    assert_eq!(world.told(fixed(beat("a", 1), "x")), Err(error_codes::FENCED_INSTANCE_ID));
    assert_eq!(world.told(fixed(beat("b", 1), "y")), Err(error_codes::UNKNOWN_MEMBER_ID));
    world.told(fixed(beat("a2", -2), "x")).unwrap();
    world.pass(SESSION);
    assert_eq!(world.group.state(), ConsumerGroupState::Empty);
}

#[test]
fn a_topic_that_grows_or_is_recreated_is_another_epoch() {
    let mut world = World::of_one(2);
    world.set_topic(TOPIC, 3);
    assert_eq!(world.told(beat("a", 1)), Ok((2, vec![0, 1, 2])));
    world.set_topic(Uuid::from_u128(8), 1);
    assert_eq!(world.told(beat("a", 2)), Ok((2, vec![])), "the old ones are given up first");
    let response = world.send(beat("a", 2).with_topic_partitions(Some(Vec::new())));
    let given = response.assignment.unwrap().topic_partitions;
    assert_eq!((given.len(), given[0].topic_id, response.member_epoch), (1, Uuid::from_u128(8), 3));
}

#[test]
fn whoever_leaves_gives_its_part_to_the_others() {
    let mut world = World::of_one(2);
    world.join("b").unwrap();
    assert_eq!(world.told(beat("a", -1)), Ok((-1, vec![])));
    assert_eq!(world.told(beat("b", 2)), Ok((3, vec![0, 1])));
    assert_eq!(world.told(beat("a", -1)), Err(error_codes::UNKNOWN_MEMBER_ID));
    world.group.reload(world.now + SESSION);
    assert_eq!(world.group.deadline(), Some(world.now + SESSION * 2), "a coordinator that takes over gives all time");
}

#[test]
fn requests_that_say_too_little_or_too_much_are_refused() {
    let mut world = World::new(1);
    let wrong = [
        beat("a", 0),
        joins("a").with_rebalance_timeout_ms(-1),
        joins("a").with_subscribed_topic_names(None),
        joins("a").with_topic_partitions(None),
        joins("a").with_subscribed_topic_regex(Some(text("t.*"))),
        fixed(joins("a"), ""),
        beat("", 1),
        beat("", -1),
        beat("a", -2),
        beat("a", -3),
    ];
    for request in wrong {
        assert_eq!(world.told(request.clone()), Err(error_codes::INVALID_REQUEST), "{request:?}");
    }
    let range = joins("a").with_server_assignor(Some(text("range")));
    assert_eq!(world.told(range), Err(error_codes::UNSUPPORTED_ASSIGNOR));
    let uniform = joins("").with_server_assignor(Some(text(UNIFORM)));
    assert_eq!(world.send(uniform).member_id.as_deref(), Some("made"));
}

#[test]
fn shares_are_even_and_members_get_only_what_they_subscribe_to() {
    let topics: Topics = [("s", 1, 3), ("t", 2, 4)]
        .map(|(name, id, partitions)| (name.to_owned(), TopicMetadata { id: Uuid::from_u128(id), partitions }))
        .into();
    let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let subscribed = BTreeMap::from([("a", ["s", "t"].as_slice()), ("b", &["t"]), ("c", &["s", "t"])]);
    let subscribed = subscribed.into_iter().map(|(id, names)| (id.to_owned(), named(names))).collect();
    let all = topics.values().flat_map(|topic| (0..topic.partitions).map(|index| (topic.id, index))).collect();
    let target = assignor::uniform(&subscribed, &topics, &Target::from([("a".to_owned(), all)]));
    let sizes: Vec<usize> = target.values().map(BTreeSet::len).collect();
    assert_eq!((sizes.iter().sum::<usize>(), sizes.iter().min(), sizes.iter().max()), (7, Some(&2), Some(&3)));
    assert!(target["b"].iter().all(|(topic, _)| *topic == Uuid::from_u128(2)));
    assert_eq!(assignor::uniform(&subscribed, &topics, &target), target, "what is even stays");
}
