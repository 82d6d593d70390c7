//! The task that drives a membership: sends what the machine says, and passes on what changes.
//!
//! Its connection to the coordinator is its own and nothing here waits for workers, so that a
//! heartbeat never waits for records.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use kafka_client::membership::{Assignor, Classic, Consumer, MemberOptions, Membership, Request, Step};
use kafka_client::{Cluster, Coordinator};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::ConsumerGroupHeartbeatRequest;
use kafka_protocol::protocol::Request as _;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::info;

use super::publisher::MembershipPublisher;
use super::sender::Sender;
use super::topic_watcher::TopicWatcher;
use crate::assignment::{AssignmentError, Change, Changes, Order, Reporter, Topics};
use crate::config::{self, AssignorKind, GroupProtocol};
use crate::kafka::{Cause, Error};
use crate::observe::{GroupReport, Observe};
use crate::offsets::CommitIdentity;
use crate::retry::{Operation, Retries};

/// The first version of ConsumerGroupHeartbeat that is final: Kafka 3.7 to 3.9 offer version 0, of a preview that 4.0
/// brokers need not understand (KIP-848, KIP-1082).
const FINAL_VERSION: i16 = 1;

/// Configuration of a membership.
pub struct GroupConfig<'a> {
    /// The group, as configured.
    pub group: &'a config::Group,
    /// The source topic.
    pub topics: Topics,
    /// The interval of its look-ups.
    pub interval: Duration,
    /// The deadline for an answer that nobody holds back.
    pub request_timeout: Duration,
    /// The brokers.
    pub cluster: &'a Arc<Cluster>,
    /// The policy of retries, and who is told of failures.
    pub retries: &'a Retries,
    /// The observer that hears of everything.
    pub observe: &'a Observe,
}

/// Joins the group, in a task of its own. Commits bear the member's identity.
pub fn join(config: GroupConfig<'_>) -> (Changes, CommitIdentity) {
    let GroupConfig { group, topics, interval, request_timeout, cluster, retries, observe } = config;
    let (identity, identities) = watch::channel(None);
    let doubt = Arc::new(Notify::new());
    let committer = CommitIdentity::Member { identity: identities, doubt: Arc::clone(&doubt) };
    let options = MemberOptions {
        group_id: group.id.clone(),
        instance_id: group.instance_id.clone(),
        topic: topics.source().to_owned(),
        session_timeout: group.session_timeout,
        rebalance_timeout: group.rebalance_timeout,
        heartbeat_interval: group.heartbeat_interval,
        assignors: group.assignors.iter().copied().map(assignor).collect(),
        server_assignor: group.server_assignor.clone(),
    };
    let report = GroupReport { id: group.id.clone(), instance_id: group.instance_id.clone(), ..GroupReport::default() };
    let operation = retries.operation("group", format!("membership in group {}", group.id));
    let connection = Arc::new(Coordinator::new(Arc::clone(cluster), &group.id));
    let sender = Sender {
        coordinator: connection,
        look_up: group.session_timeout / 2,
        // One that is lost leaves time for others before the session ends.
        timeout: request_timeout.min(group.session_timeout / 3),
        held: group.rebalance_timeout + request_timeout,
    };
    let metadata = retries.operation("metadata", format!("look up the topics of group {}", group.id));
    let watcher = TopicWatcher::new(topics, cluster, metadata, interval);
    let driver = |orders| Driver {
        protocol: group.protocol,
        options,
        sender,
        watcher,
        operation,
        doubt,
        orders: Orders { orders, leaving: false, gone: false },
        publisher: MembershipPublisher::new(identity, &group.id, observe, report),
    };
    (Changes::of(|Reporter { changes, orders }| driver(orders).run(changes)), committer)
}

struct Driver {
    protocol: GroupProtocol,
    options: MemberOptions,
    sender: Sender,
    watcher: TopicWatcher,
    operation: Operation,
    doubt: Arc<Notify>,
    publisher: MembershipPublisher,
    orders: Orders,
}

/// Orders of the supervisor, as long as there is one.
struct Orders {
    orders: mpsc::UnboundedReceiver<Order>,
    /// Set once it has said to leave, or is gone: then nobody says anything any more.
    leaving: bool,
    gone: bool,
}

impl Orders {
    /// Returns the next order; never returns once the supervisor is gone and that is told.
    async fn next(&mut self) -> Order {
        if self.gone {
            return std::future::pending().await;
        }
        let order = self.orders.recv().await;
        self.gone = order.is_none();
        let order = order.unwrap_or(Order::Leave);
        self.leaving |= matches!(order, Order::Leave);
        order
    }
}

impl Driver {
    async fn run(mut self, changes: mpsc::Sender<Change>) -> Result<(), AssignmentError> {
        let Some(mut machine) = self.choose().await else { return Ok(()) };
        loop {
            if self.publisher.pass_on(&mut *machine, &changes).await.is_err() {
                return Ok(()); // nobody listens: the process ends
            }
            let step = machine.poll(Instant::now());
            self.publisher.renew(&*machine);
            match step {
                Step::Send(request) => match self.exchange(&mut *machine, request, &changes).await {
                    Err(error) if self.falls_back(&error) => {
                        info!(group = self.options.group_id, %error, "the consumer protocol is not to be had");
                        if self.publisher.lose(machine.owned(), &changes).await.is_err() || self.orders.leaving {
                            return Ok(());
                        }
                        machine = self.classic();
                    }
                    outcome => self.note(&mut *machine, outcome),
                },
                Step::Wait { until, describe } => self.wait(&mut *machine, until, &describe).await,
                Step::Left => break,
            }
            self.publisher.refresh(&*machine);
        }
        let _ = self.publisher.pass_on(&mut *machine, &changes).await; // as above
        self.publisher.failed.map_or(Ok(()), |failed| Err(AssignmentError(failed)))
    }

    /// Chooses the protocol: as configured, or by what the coordinator offers. `None` where everything
    /// is given up before that is known.
    async fn choose(&mut self) -> Option<Box<dyn Membership>> {
        loop {
            let offered = match self.protocol {
                GroupProtocol::Classic => Ok(false),
                GroupProtocol::Consumer => Ok(true),
                GroupProtocol::Auto => {
                    let found = self.sender.coordinator.connection().map(|connection| {
                        connection.map(|found| found.offers(ConsumerGroupHeartbeatRequest::KEY, FINAL_VERSION))
                    });
                    tokio::select! {
                        offered = found => offered,
                        order = self.orders.next() => match order {
                            Order::Released(_) => continue,
                            Order::Leave => return None,
                        },
                    }
                }
            };
            match offered {
                Ok(true) => {
                    info!(group = self.options.group_id, "joining by the consumer protocol (KIP-848)");
                    self.publisher.report.protocol = "consumer";
                    return Some(Box::new(Consumer::new(self.options.clone())));
                }
                Ok(false) => return Some(self.classic()),
                Err(error) => {
                    let again = Instant::now() + self.operation.failed(&Error::from(error));
                    tokio::select! {
                        () = sleep_until(again) => {}
                        order = self.orders.next() => if matches!(order, Order::Leave) {
                            return None;
                        }
                    }
                }
            }
        }
    }

    fn classic(&mut self) -> Box<dyn Membership> {
        let assignors: Vec<_> = self.options.assignors.iter().map(|assignor| assignor.name()).collect();
        info!(group = self.options.group_id, ?assignors, "joining by the classic protocol");
        self.publisher.report.protocol = "classic";
        Box::new(Classic::new(self.options.clone()))
    }

    /// Returns whether the classic protocol is left to try: brokers that know KIP-848 have it switched off,
    /// the coordinator moved to one that does not know it, or the group has classic members that it
    /// may not be taken over from.
    fn falls_back(&self, error: &Error) -> bool {
        let not_to_be_had = match error.cause {
            Cause::Code(code) => matches!(code, ResponseError::UnsupportedVersion | ResponseError::GroupIdNotFound),
            Cause::Unsupported(_) => true,
            _ => false,
        };
        not_to_be_had && self.protocol == GroupProtocol::Auto && self.publisher.report.protocol == "consumer"
    }

    /// Sends a request and passes on what is told meanwhile.
    ///
    /// # Errors
    /// There is no answer, or it is an error that the protocol does not provide for.
    async fn exchange(
        &mut self,
        machine: &mut dyn Membership,
        request: Request,
        changes: &mpsc::Sender<Change>,
    ) -> Result<(), Error> {
        let begun = self.publisher.lease.now();
        let sent = begun.monotonic;
        let mut answer = self.sender.send(request).boxed();
        let nothing = BTreeSet::new();
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut answer => break answer,
                order = self.orders.next() => obey(machine, &order),
                () = self.watcher.advance(&nothing) => self.watcher.pass_on(machine, &mut self.publisher),
            }
            if self.publisher.pass_on(machine, changes).await.is_err() || machine.abandons_request() {
                drop(answer);
                self.sender.coordinator.forget_any().await;
                machine.unanswered();
                return Ok(());
            }
        };
        match answer {
            Ok(response) => {
                self.publisher.heard();
                let outcome = machine.answered(response, sent, Instant::now()).map_err(Error::from);
                self.publisher.renew_from(begun, &*machine);
                outcome
            }
            Err(error) => {
                machine.unanswered();
                Err(error)
            }
        }
    }

    async fn wait(&mut self, machine: &mut dyn Membership, until: Instant, describe: &BTreeSet<String>) {
        tokio::select! {
            () = sleep_until(until) => {}
            order = self.orders.next() => obey(machine, &order),
            () = self.doubt.notified() => machine.doubt(Instant::now()),
            () = self.watcher.advance(describe) => self.watcher.pass_on(machine, &mut self.publisher),
        }
    }

    fn note(&mut self, machine: &mut dyn Membership, outcome: Result<(), Error>) {
        match outcome {
            Ok(()) => self.operation.succeeded(),
            Err(error) => {
                // A membership that there is must not run out while this waits.
                let longest = self.options.session_timeout / 3;
                machine.pause(Instant::now() + self.operation.failed(&error).min(longest));
            }
        }
    }
}

fn assignor(kind: AssignorKind) -> Assignor {
    match kind {
        AssignorKind::CooperativeSticky => Assignor::CooperativeSticky,
        AssignorKind::Range => Assignor::Range,
        AssignorKind::RoundRobin => Assignor::RoundRobin,
    }
}

fn obey(machine: &mut dyn Membership, order: &Order) {
    match order {
        Order::Released(partitions) => machine.released(partitions),
        Order::Leave => machine.leave(),
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_supervisor_that_is_gone_is_told_once() {
        let (supervisor, orders) = mpsc::unbounded_channel();
        let mut orders = Orders { orders, leaving: false, gone: false };
        supervisor.send(Order::Released(BTreeSet::from([1]))).unwrap();
        assert!(matches!(orders.next().await, Order::Released(_)) && !orders.leaving);
        drop(supervisor);
        assert!(matches!(orders.next().await, Order::Leave) && orders.leaving);
        assert!(orders.next().now_or_never().is_none(), "else whoever waits for it spins");
    }
}
