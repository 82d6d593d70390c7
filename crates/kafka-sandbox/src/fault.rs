//! Faults that a test arms and requests set off. Pure: requests in, a plan of misbehaviour out.
//!
//! ```text
//! fault(Fault::on(Api::Produce).topic("x").partition(0).skip(1).times(2), Action::Error(6))
//!            which requests ──────────────────────┘     when ┘              what happens
//! ```
//!
//! Of the faults that match one partition of a request, the oldest fires and the others wait for a
//! later request; faults on different partitions of one request all fire. The idea is `pkg/kfake`'s
//! in twmb/franz-go.

use std::time::Duration;

use kafka_protocol::messages::ApiKey as Api;
use tokio::sync::watch;

use super::stale::Snapshot;

/// Which requests a fault hits, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    api: Option<Api>,
    node: Option<i32>,
    topic: Option<String>,
    partition: Option<i32>,
    group: Option<String>,
    transaction: Option<String>,
    client: Option<String>,
    from_offset: Option<i64>,
    skip: u64,
    times: Option<u64>,
}

impl Fault {
    /// The next request of that API.
    pub fn on(api: Api) -> Self {
        Self { api: Some(api), ..Self::any() }
    }

    /// The next request, whatever it asks.
    pub fn any() -> Self {
        Self {
            api: None,
            node: None,
            topic: None,
            partition: None,
            group: None,
            transaction: None,
            client: None,
            from_offset: None,
            skip: 0,
            times: Some(1),
        }
    }

    /// Only requests to that node.
    #[must_use]
    pub fn node(mut self, node: i32) -> Self {
        self.node = Some(node);
        self
    }

    /// Only requests of clients that call themselves so (`client.id`).
    #[must_use]
    pub fn client(mut self, client_id: impl Into<String>) -> Self {
        self.client = Some(client_id.into());
        self
    }

    /// Only requests that name that topic; a Metadata request for all topics names each.
    #[must_use]
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topic = Some(topic.into());
        self
    }

    /// Only requests that name that group: those to its coordinator, and the question who that is.
    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Only requests that name that transactional id: those to its coordinator, the question who that is, and
    /// what is written and committed within its transactions.
    #[must_use]
    pub fn transaction(mut self, transactional_id: impl Into<String>) -> Self {
        self.transaction = Some(transactional_id.into());
        self
    }

    /// Only requests that name that partition (Produce, Fetch, `ListOffsets`, `DeleteRecords`,
    /// `OffsetCommit`, `OffsetFetch`, `AddPartitionsToTxn`, `TxnOffsetCommit`).
    #[must_use]
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Only fetches from that offset, or one behind it.
    #[must_use]
    pub fn from_offset(mut self, offset: i64) -> Self {
        self.from_offset = Some(offset);
        self
    }

    /// Lets that many matching requests pass first.
    #[must_use]
    pub fn skip(mut self, requests: u64) -> Self {
        self.skip = requests;
        self
    }

    /// Fires that often; once unless said otherwise.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// Fires until it is removed.
    #[must_use]
    pub fn forever(mut self) -> Self {
        self.times = None;
        self
    }

    fn matches(&self, asked: Asked<'_>, target: &Target) -> bool {
        self.api.is_none_or(|wanted| wanted == asked.api)
            && self.node.is_none_or(|wanted| wanted == asked.node)
            && self.client.as_deref().is_none_or(|wanted| wanted == asked.client)
            && self.covers(target)
    }

    fn covers(&self, target: &Target) -> bool {
        (self.topic.is_none() || self.topic == target.topic)
            && (self.partition.is_none() || self.partition == target.partition)
            && (self.group.is_none() || self.group == target.group)
            && (self.transaction.is_none() || self.transaction == target.transaction)
            && self.from_offset.is_none_or(|from| target.offset.is_some_and(|offset| offset >= from))
    }
}

/// What happens to a request that sets a fault off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The matching partitions (or topics) are answered with this error code, and nothing is done to
    /// them; a request that names none is answered with it as a whole.
    Error(i16),
    /// The request waits for so long, then goes its normal way.
    Delay(Duration),
    /// The connection closes and nothing was done.
    DisconnectBefore,
    /// It is done, and the connection closes in place of an answer.
    DisconnectAfter,
    /// Nothing is done and nothing answered; the connection stays open and serves later requests.
    Silence,
    /// It is done and never answered; the connection stays open and serves later requests.
    SilenceAfter,
    /// It is done; half of the answer is sent, then the connection closes.
    TruncatedFrame,
    /// A Fetch answer whose records have a flipped byte; the log keeps them whole. Counts, skips and
    /// fires on answers that carry records only.
    CorruptRecords,
    /// It is done, and answered with this throttle time in milliseconds, until the end of which nothing
    /// more is read from the connection. A Fetch is answered with no partition at all, as by Kafka.
    Throttle(i32),
    /// It is answered from what the cluster was then: by a leader that does not know yet that it is none,
    /// a high watermark or a group's offset that goes back, metadata of a node that lags behind. For
    /// what reads; what writes is written there, and lost.
    Stale(Snapshot),
    /// It is done, and the answer's frame is made this many bytes long with zeros at its end.
    Oversize(usize),
    /// It is done, and so many bytes follow the last field of the answer, as some services send them.
    Trailing(usize),
}

/// What is asked, of whom and by whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub api: Api,
    pub node: i32,
    pub client: &'a str,
}

/// One thing that a request names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub topic: Option<String>,
    pub partition: Option<i32>,
    pub group: Option<String>,
    pub transaction: Option<String>,
    /// That it asks for records from.
    pub offset: Option<i64>,
}

impl Target {
    /// For a request that names neither topic nor partition.
    pub(crate) const REQUEST: Self =
        Self { topic: None, partition: None, group: None, transaction: None, offset: None };

    pub(crate) fn topic(topic: &str) -> Self {
        Self { topic: Some(topic.to_owned()), ..Self::REQUEST }
    }

    pub(crate) fn partition(topic: &str, partition: i32) -> Self {
        Self { partition: Some(partition), ..Self::topic(topic) }
    }

    pub(crate) fn group(group: &str) -> Self {
        Self { group: Some(group.to_owned()), ..Self::REQUEST }
    }

    /// The same, from that offset on.
    pub(crate) fn from(self, offset: i64) -> Self {
        Self { offset: Some(offset), ..self }
    }

    pub(crate) fn transaction(transactional_id: &str) -> Self {
        Self { transaction: Some(transactional_id.to_owned()), ..Self::REQUEST }
    }

    /// The same, named within a transaction.
    pub(crate) fn within(self, transactional_id: &str) -> Self {
        Self { transaction: Some(transactional_id.to_owned()), ..self }
    }

    /// The same, named by a group's request.
    pub(crate) fn of(self, group: &str) -> Self {
        Self { group: Some(group.to_owned()), ..self }
    }
}

/// What happens in place of the request's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    Disconnect,
    Silence,
}

/// What happens in place of a whole answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    Disconnect,
    Silence,
    Truncate,
    Oversize(usize),
    Trailing(usize),
}

/// All that goes wrong with one request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub delay: Duration,
    pub before: Option<Before>,
    pub after: Option<After>,
    pub throttle_ms: i32,
    pub stale: Option<Snapshot>,
    errors: Vec<(Target, i16)>,
}

impl Plan {
    /// The error code with which to answer that partition, if any.
    pub(crate) fn partition_error(&self, topic: &str, partition: i32) -> Option<i16> {
        self.error(|target| target.topic.as_deref() == Some(topic) && target.partition == Some(partition))
    }

    /// The error code with which to answer that topic, if any.
    pub(crate) fn topic_error(&self, topic: &str) -> Option<i16> {
        self.error(|target| target.topic.as_deref() == Some(topic) && target.partition.is_none())
    }

    /// The error code with which to answer a request that names nothing, if any.
    pub(crate) fn request_error(&self) -> Option<i16> {
        self.error(|target| *target == Target::REQUEST)
    }

    /// The error code with which to answer for that group, if any.
    pub(crate) fn group_error(&self, group: &str) -> Option<i16> {
        self.error(|target| target.topic.is_none() && target.group.as_deref() == Some(group))
    }

    /// The error code with which to answer for that transactional id, if any.
    pub(crate) fn transaction_error(&self, id: &str) -> Option<i16> {
        self.error(|target| target.topic.is_none() && target.transaction.as_deref() == Some(id))
    }

    fn error(&self, wanted: impl Fn(&Target) -> bool) -> Option<i16> {
        let found = self.errors.iter().find(|(target, _)| wanted(target));
        found.map(|(_, code)| *code)
    }

    fn add(&mut self, action: &Action, targets: Vec<Target>) {
        match *action {
            Action::Error(code) => {
                let errors = targets.into_iter().map(|target| (target, code));
                self.errors.extend(errors);
            }
            Action::Delay(delay) => self.delay += delay,
            Action::DisconnectBefore => self.before = Some(Before::Disconnect),
            Action::Silence => self.before = Some(Before::Silence),
            Action::DisconnectAfter => self.after = Some(After::Disconnect),
            Action::SilenceAfter => self.after = Some(After::Silence),
            Action::TruncatedFrame => self.after = Some(After::Truncate),
            Action::Oversize(bytes) => self.after = Some(After::Oversize(bytes)),
            Action::Trailing(bytes) => self.after = Some(After::Trailing(bytes)),
            Action::Throttle(ms) => self.throttle_ms = self.throttle_ms.max(ms),
            Action::Stale(snapshot) => self.stale = Some(snapshot),
            Action::CorruptRecords => {}
        }
    }
}

/// All armed faults, oldest first.
#[derive(Debug, Default)]
pub(super) struct FaultBook {
    armed: Vec<Armed>,
    next_id: u64,
}

#[derive(Debug)]
struct Armed {
    id: u64,
    fault: Fault,
    action: Action,
    fired: watch::Sender<u64>,
}

impl Armed {
    /// Counts one matching request; whether the fault fires on it.
    fn trigger(&mut self) -> bool {
        if self.fault.skip > 0 {
            self.fault.skip -= 1;
            return false;
        }
        self.fault.times = self.fault.times.map(|left| left.saturating_sub(1));
        self.fired.send_modify(|fired| *fired += 1);
        true
    }

    fn is_spent(&self) -> bool {
        self.fault.times == Some(0)
    }
}

impl FaultBook {
    /// Arms a fault; returns its id and where its firings are counted.
    pub(crate) fn arm(&mut self, fault: Fault, action: Action) -> (u64, watch::Receiver<u64>) {
        let (fired, firings) = watch::channel(0);
        self.next_id += 1;
        let armed = Armed { id: self.next_id, fault, action, fired };
        if !armed.is_spent() {
            self.armed.push(armed);
        }
        (self.next_id, firings)
    }

    pub(crate) fn remove(&mut self, id: u64) {
        self.armed.retain(|armed| armed.id != id);
    }

    pub(crate) fn clear(&mut self) {
        self.armed.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.armed.is_empty()
    }

    /// What goes wrong with a request that names `targets`.
    pub(crate) fn plan(&mut self, asked: Asked<'_>, mut targets: Vec<Target>) -> Plan {
        let mut plan = Plan::default();
        if targets.is_empty() {
            targets.push(Target::REQUEST);
        }
        for armed in &mut self.armed {
            if armed.action == Action::CorruptRecords {
                continue;
            }
            let hit: Vec<Target> =
                targets.iter().filter(|target| armed.fault.matches(asked, target)).cloned().collect();
            if !hit.is_empty() && armed.trigger() {
                targets.retain(|target| !hit.contains(target));
                plan.add(&armed.action, hit);
            }
        }
        self.armed.retain(|armed| !armed.is_spent());
        plan
    }

    /// Whether the records of that partition, about to be sent, get a flipped byte.
    pub(crate) fn corrupts(&mut self, node: i32, client: &str, topic: &str, partition: i32) -> bool {
        let asked = Asked { api: Api::Fetch, node, client };
        let target = Target::partition(topic, partition);
        let fires = self.armed.iter_mut().any(|armed| {
            armed.action == Action::CorruptRecords && armed.fault.matches(asked, &target) && armed.trigger()
        });
        self.armed.retain(|armed| !armed.is_spent());
        fires
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(api: Api, node: i32) -> Asked<'static> {
        Asked { api, node, client: "c" }
    }

    fn two_partitions() -> Vec<Target> {
        vec![Target::partition("x", 0), Target::partition("x", 1)]
    }

    #[test]
    fn fires_once_and_on_what_it_names_only() {
        let mut book = FaultBook::default();
        let fault = Fault::on(Api::Produce).topic("x").partition(1);
        let (_, fired) = book.arm(fault, Action::Error(6));

        let other = book.plan(asked(Api::Fetch, 1), two_partitions());
        assert_eq!(other, Plan::default());

        let plan = book.plan(asked(Api::Produce, 1), two_partitions());
        assert_eq!(plan.partition_error("x", 0), None);
        assert_eq!(plan.partition_error("x", 1), Some(6));
        assert_eq!(*fired.borrow(), 1);

        let later = book.plan(asked(Api::Produce, 1), two_partitions());
        assert_eq!(later, Plan::default());
        assert!(book.is_empty());
    }

    #[test]
    fn skips_then_fires_as_often_as_told() {
        let mut book = FaultBook::default();
        let fault = Fault::any().node(2).skip(1).times(2);
        let (_, fired) = book.arm(fault, Action::DisconnectBefore);
        let mut fires = |node| book.plan(asked(Api::Metadata, node), vec![]).before.is_some();
        assert!(!fires(1));
        assert!(!fires(2));
        assert!(fires(2));
        assert!(fires(2));
        assert!(!fires(2));
        assert_eq!(*fired.borrow(), 2);
    }

    #[test]
    fn the_oldest_fires_first_and_the_next_waits() {
        let mut book = FaultBook::default();
        book.arm(Fault::on(Api::Produce), Action::Error(7));
        book.arm(Fault::on(Api::Produce), Action::Silence);
        let first = book.plan(asked(Api::Produce, 1), two_partitions());
        assert_eq!(first.partition_error("x", 1), Some(7));
        assert_eq!(first.before, None);
        let second = book.plan(asked(Api::Produce, 1), two_partitions());
        assert_eq!(second.before, Some(Before::Silence));
    }

    #[test]
    fn faults_on_different_partitions_fire_together() {
        let mut book = FaultBook::default();
        book.arm(Fault::any().partition(0), Action::Error(6));
        book.arm(Fault::any().partition(1), Action::Error(7));
        let plan = book.plan(asked(Api::Fetch, 1), two_partitions());
        assert_eq!(plan.partition_error("x", 0), Some(6));
        assert_eq!(plan.partition_error("x", 1), Some(7));
    }

    #[test]
    fn a_removed_fault_fires_no_more() {
        let mut book = FaultBook::default();
        let (id, fired) = book.arm(Fault::any().forever(), Action::Silence);
        assert!(book.plan(asked(Api::Fetch, 1), vec![]).before.is_some());
        book.remove(id);
        assert!(book.plan(asked(Api::Fetch, 1), vec![]).before.is_none());
        assert_eq!(*fired.borrow(), 1);
    }

    #[test]
    fn a_client_and_a_group_are_told_apart() {
        let mut book = FaultBook::default();
        book.arm(Fault::any().client("d"), Action::Error(1));
        book.arm(Fault::any().group("g"), Action::Error(2));
        let named = |group: &str| vec![Target::partition("x", 0).of(group), Target::group(group)];
        let other = book.plan(asked(Api::OffsetFetch, 1), named("h"));
        assert_eq!((other.group_error("h"), other.partition_error("x", 0)), (None, None));
        let plan = book.plan(asked(Api::OffsetFetch, 1), named("g"));
        assert_eq!((plan.group_error("g"), plan.partition_error("x", 0)), (Some(2), Some(2)));
        let asked = Asked { client: "d", ..asked(Api::OffsetFetch, 1) };
        assert_eq!(book.plan(asked, named("h")).group_error("h"), Some(1));
    }

    #[test]
    fn a_transactional_id_is_no_group() {
        let mut book = FaultBook::default();
        book.arm(Fault::any().transaction("t"), Action::Error(51));
        book.arm(Fault::any().group("t"), Action::Error(16));
        let plan = book.plan(asked(Api::FindCoordinator, 1), vec![Target::group("t")]);
        assert_eq!((plan.group_error("t"), plan.transaction_error("t")), (Some(16), None));
        let offsets = vec![Target::partition("x", 0).of("g").within("t"), Target::group("g").within("t")];
        let plan = book.plan(asked(Api::TxnOffsetCommit, 1), offsets);
        assert_eq!((plan.partition_error("x", 0), plan.transaction_error("t")), (Some(51), Some(51)));
    }

    #[test]
    fn corruption_waits_for_an_answer_with_records() {
        let mut book = FaultBook::default();
        book.arm(Fault::on(Api::Fetch).topic("x"), Action::CorruptRecords);
        assert_eq!(book.plan(asked(Api::Fetch, 1), two_partitions()), Plan::default());
        assert!(!book.corrupts(1, "c", "y", 0));
        assert!(book.corrupts(1, "c", "x", 0));
        assert!(!book.corrupts(1, "c", "x", 0));
    }
}
