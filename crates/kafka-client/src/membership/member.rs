//! The interface of both protocols of group membership.
//!
//! A machine knows no socket, no task and no clock: it says which request is next, hears what became of it, and reports
//! changes by events. One request is under way at a time.

use std::collections::{BTreeMap, BTreeSet};

use kafka_records::topic::TopicId;
use tokio::time::Instant;

use super::request::{Request, Response};
use crate::{Error, Identity};

/// A member of a consumer group.
pub trait Membership: Send {
    /// Says what to do now.
    fn poll(&mut self, now: Instant) -> Step;

    /// Hears the response to the request under way, which was sent at `sent`.
    ///
    /// # Errors
    /// The response is an error that the protocol does not provide for: the driver says when to retry, by
    /// [`Membership::pause`]. Being expelled and a rebalance are no errors.
    fn answered(&mut self, response: Response, sent: Instant, now: Instant) -> Result<(), Error>;

    /// Hears that the request under way has no response and will get none.
    fn unanswered(&mut self);

    /// Sends nothing before `until`.
    fn pause(&mut self, until: Instant);

    /// Hears how the brokers describe topics; `None` of those that do not exist.
    fn described(&mut self, topics: &BTreeMap<String, Option<Described>>, now: Instant);

    /// Hears that these revoked partitions are finished.
    fn released(&mut self, partitions: &BTreeSet<i32>);

    /// Gives everything up and leaves the group.
    fn leave(&mut self);

    /// Asks the coordinator at once: someone doubts the membership.
    fn doubt(&mut self, now: Instant);

    /// Says whether to give up the request under way: the coordinator holds its response back, and it is of no more use.
    fn abandons_request(&self) -> bool;

    /// Returns the next change, in order.
    fn next_event(&mut self) -> Option<Event>;

    /// Returns until when the coordinator is known to count this member in; `None` while it does not.
    fn lease(&self) -> Option<Instant>;

    /// Returns the member's state in its protocol, in Kafka's words.
    fn state(&self) -> &'static str;

    /// Returns the partitions that it owns, including those that it is giving up.
    fn owned(&self) -> &BTreeSet<i32>;
}

/// The next thing to do.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time, a few a second at most")]
pub enum Step {
    /// Send this to the coordinator.
    Send(Request),
    /// Wait until the member hears something.
    Wait {
        /// Or until then.
        until: Instant,
        /// Topics that the member needs to hear of before it can go on.
        describe: BTreeSet<String>,
    },
    /// Nothing any more: the member has left.
    Left,
}

/// A topic as the brokers describe it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Described {
    /// Its id, where the brokers report one.
    pub id: Option<TopicId>,
    /// The number of its partitions.
    pub partitions: i32,
}

/// A change that others must hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Commits carry this from now on; `None`: this is no member, and nothing may be committed.
    Identity(Option<Identity>),
    /// This member owns these from now on.
    Assigned(BTreeSet<i32>),
    /// These are to be finished, then released. Commits go on meanwhile.
    Revoked(BTreeSet<i32>),
    /// Another owns these by now.
    Lost(BTreeSet<i32>),
    /// The group changes, and why.
    Rebalance(RebalanceCause),
    /// Another member has taken this one's instance id: the membership has ended for good.
    Fenced,
}

/// The reason for a rebalance, as far as a member can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RebalanceCause {
    /// This member joins.
    Joined,
    /// Members come or go, or give up partitions for others.
    MembersChanged,
    /// The topic has more partitions, or was recreated.
    TopicChanged,
    /// The coordinator no longer knew this member.
    Expelled,
    /// The coordinator was not heard for a whole session.
    Expired,
    /// Partitions were not given up in time.
    NotReleased,
}

impl RebalanceCause {
    /// The name as a label.
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
