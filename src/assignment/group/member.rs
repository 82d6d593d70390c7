//! What the two protocols of group membership have in common.
//!
//! A machine knows no socket, no task and no clock: it says which request is next, hears what
//! became of it, and tells of changes by events. One request is under way at a time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use kafka_client::Identity;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, HeartbeatRequest, HeartbeatResponse,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use tokio::time::Instant;

use super::assignor::Assignor;
use crate::kafka::Error;
use crate::topic::TopicId;

/// A member of a consumer group.
pub trait Membership: Send {
    /// What to do now.
    fn poll(&mut self, now: Instant) -> Step;

    /// The answer to the request under way, which was sent at `sent`.
    ///
    /// # Errors
    /// Where it is an error that lasts or passes by itself: the driver says when to try again, by
    /// [`Membership::pause`]. What the protocol provides for (being expelled, a rebalance) is none.
    fn answered(&mut self, response: Response, sent: Instant, now: Instant) -> Result<(), Error>;

    /// The request under way has no answer and will get none.
    fn unanswered(&mut self);

    /// Nothing is to be sent before `until`.
    fn pause(&mut self, until: Instant);

    /// What the brokers say of topics; `None` of those that are not there.
    fn described(&mut self, topics: &BTreeMap<String, Option<Described>>, now: Instant);

    /// These revoked partitions are finished.
    fn released(&mut self, partitions: &BTreeSet<i32>);

    /// Gives everything up and leaves the group.
    fn leave(&mut self);

    /// The coordinator is to be heard at once: someone doubts the membership.
    fn doubt(&mut self, now: Instant);

    /// Whether the request under way, which the coordinator holds back, is of no more use.
    fn abandons_request(&self) -> bool;

    /// What has changed, in order.
    fn next_event(&mut self) -> Option<Event>;

    /// Until when the coordinator is known to count this member in; `None` while it does not.
    fn lease(&self) -> Option<Instant>;

    /// Where the member is in its protocol, in Kafka's words.
    fn state(&self) -> &'static str;

    /// The partitions that it has, those being given up included.
    fn owned(&self) -> &BTreeSet<i32>;
}

/// How a member takes part.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The group's id.
    pub group_id: String,
    /// The id that survives restarts.
    pub instance_id: Option<String>,
    /// The one topic it subscribes to.
    pub topic: String,
    /// Not heard of for this long, it is expelled.
    pub session_timeout: Duration,
    /// How long giving up partitions may take.
    pub rebalance_timeout: Duration,
    /// Classic: how often it is heard of.
    pub heartbeat_interval: Duration,
    /// Classic: how partitions are shared, in order of preference.
    pub assignors: Vec<Assignor>,
    /// KIP-848: the broker's assignor; its default where `None`.
    pub server_assignor: Option<String>,
}

/// The next thing to do.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time, a few a second at most")]
pub enum Step {
    /// Send this to the coordinator.
    Send(Request),
    /// Nothing, until something is told.
    Wait {
        /// Or until then.
        until: Instant,
        /// Topics that the member needs to know of before it can go on.
        describe: BTreeSet<String>,
    },
    /// Nothing any more.
    Left,
}

/// A request to the coordinator.
#[derive(Debug, Clone)]
pub enum Request {
    /// Joins a classic group; the coordinator holds the answer back until all members have joined.
    Join(JoinGroupRequest),
    /// Gives or asks for the assignment; held back until the leader has given it.
    Sync(SyncGroupRequest),
    /// Keeps a classic membership.
    Heartbeat(HeartbeatRequest),
    /// Ends a classic membership.
    Leave(LeaveGroupRequest),
    /// All of KIP-848.
    ConsumerHeartbeat(ConsumerGroupHeartbeatRequest),
}

/// The answer to a [`Request`] of the same name.
#[derive(Debug, Clone)]
pub enum Response {
    /// To [`Request::Join`].
    Join(JoinGroupResponse),
    /// To [`Request::Sync`].
    Sync(SyncGroupResponse),
    /// To [`Request::Heartbeat`].
    Heartbeat(HeartbeatResponse),
    /// To [`Request::Leave`].
    Leave(LeaveGroupResponse),
    /// To [`Request::ConsumerHeartbeat`].
    ConsumerHeartbeat(ConsumerGroupHeartbeatResponse),
}

/// A topic as the brokers describe it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Described {
    /// Its id, where the brokers tell one.
    pub id: Option<TopicId>,
    /// How many partitions it has.
    pub partitions: i32,
}

/// Something that others must hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Commits carry this from now on; `None`: this is no member, and nothing may be committed.
    Identity(Option<Identity>),
    /// These are this member's from now on.
    Assigned(BTreeSet<i32>),
    /// These are to be finished, then released. Commits go on meanwhile.
    Revoked(BTreeSet<i32>),
    /// These are another's by now.
    Lost(BTreeSet<i32>),
    /// The group changes, and why.
    Rebalance(Cause),
    /// The membership has ended for good, and why.
    Failed(String),
}

/// Why a group changes, as far as a member can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// This member joins.
    Joined,
    /// Members come or go, or give up partitions for others.
    MembersChanged,
    /// The topic has more partitions, or was made anew.
    TopicChanged,
    /// The coordinator no longer knew this member.
    Expelled,
    /// The coordinator was not heard for a whole session.
    Expired,
    /// Partitions were not given up in time.
    NotReleased,
}

impl Cause {
    /// Its name as a label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::MembersChanged => "members_changed",
            Self::TopicChanged => "topic_changed",
            Self::Expelled => "expelled",
            Self::Expired => "expired",
            Self::NotReleased => "not_released",
        }
    }
}

/// The partitions that a member has, and the events that tell of them.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    owned: BTreeSet<i32>,
    /// Those of `owned` that are being given up.
    releasing: BTreeSet<i32>,
    events: VecDeque<Event>,
}

impl Holdings {
    pub fn owned(&self) -> &BTreeSet<i32> {
        &self.owned
    }

    pub fn is_releasing(&self) -> bool {
        !self.releasing.is_empty()
    }

    /// Takes what is not there yet.
    pub fn assign(&mut self, partitions: &BTreeSet<i32>) {
        let new: BTreeSet<i32> = partitions.difference(&self.owned).copied().collect();
        if !new.is_empty() {
            self.owned.extend(&new);
            self.tell(Event::Assigned(new));
        }
    }

    /// Begins to give up all but `kept`. Whether there is anything to wait for.
    pub fn keep_only(&mut self, kept: &BTreeSet<i32>) -> bool {
        let revoked: BTreeSet<i32> =
            self.owned.difference(kept).filter(|partition| !self.releasing.contains(partition)).copied().collect();
        if !revoked.is_empty() {
            self.releasing.extend(&revoked);
            self.tell(Event::Revoked(revoked));
        }
        self.is_releasing()
    }

    /// These are given up. Whether any of them were being given up.
    pub fn released(&mut self, partitions: &BTreeSet<i32>) -> bool {
        let before = self.releasing.len();
        for partition in partitions {
            if self.releasing.remove(partition) {
                self.owned.remove(partition);
            }
        }
        self.releasing.len() < before
    }

    /// What is being given up and is not finished counts as lost.
    pub fn lose_releasing(&mut self) {
        let lost = std::mem::take(&mut self.releasing);
        self.owned.retain(|partition| !lost.contains(partition));
        self.tell_lost(lost);
    }

    /// Everything is lost.
    pub fn lose_all(&mut self) {
        self.releasing.clear();
        let lost = std::mem::take(&mut self.owned);
        self.tell_lost(lost);
    }

    /// Everything is lost with the log that it is of; what is not being given up is taken anew.
    pub fn begin_again(&mut self) {
        let kept: BTreeSet<i32> = self.owned.difference(&self.releasing).copied().collect();
        self.lose_all();
        self.assign(&kept);
    }

    pub fn tell(&mut self, event: Event) {
        self.events.push_back(event);
    }

    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn tell_lost(&mut self, lost: BTreeSet<i32>) {
        if !lost.is_empty() {
            self.tell(Event::Lost(lost));
        }
    }
}
