//! The task that carries a membership: sends what the machine says, and passes on what changes.
//!
//! Its connection to the coordinator is its own and nothing here waits for workers, so that a
//! heartbeat never waits for records.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::ConsumerGroupHeartbeatRequest;
use kafka_protocol::protocol::Request as _;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use super::assignor::Assignor;
use super::classic::Classic;
use super::consumer::Consumer;
use super::member::{Described, Event, Membership, Request, Response, Settings, Step};
use crate::assignment::{AssignmentError, Change, Changes, Order, Reporter, Topics};
use crate::broker::wire::{Cluster, Coordinator, Identity, Topic};
use crate::broker::{Error, Trouble, Watch};
use crate::config::{self, GroupProtocol};
use crate::observe::{GroupMetrics, GroupReport, Observe};
use crate::offsets::Committer;
use crate::record::TopicId;
use crate::tenure::{Lease, Tenure};

/// What a membership is made of.
pub struct Parts<'a> {
    /// The group, as configured.
    pub group: &'a config::Group,
    /// The source topic.
    pub topics: Topics,
    /// How often it is looked up.
    pub interval: Duration,
    /// How long an answer that nobody holds back may take.
    pub request_timeout: Duration,
    /// The brokers.
    pub cluster: &'a Arc<Cluster>,
    /// Who is told of failures.
    pub watch: &'a Watch,
    /// Who is told of everything.
    pub observe: &'a Observe,
}

/// Joins the group, in a task of its own. The committer is the member's.
pub fn join(parts: Parts<'_>) -> (Changes, Committer) {
    let Parts { group, topics, interval, request_timeout, cluster, watch, observe } = parts;
    let (identity, identities) = watch::channel(None);
    let doubt = Arc::new(Notify::new());
    let committer = Committer::Member { identity: identities, doubt: Arc::clone(&doubt) };
    let settings = Settings {
        group_id: group.id.clone(),
        instance_id: group.instance_id.clone(),
        topic: topics.source().to_owned(),
        session_timeout: group.session_timeout,
        rebalance_timeout: group.rebalance_timeout,
        heartbeat_interval: group.heartbeat_interval,
        assignors: group.assignors.iter().copied().map(Assignor::from).collect(),
        server_assignor: group.server_assignor.clone(),
    };
    let report = GroupReport { id: group.id.clone(), instance_id: group.instance_id.clone(), ..GroupReport::default() };
    let trouble = watch.operation("group", format!("membership in group {}", group.id));
    let connection = Arc::new(Coordinator::new(Arc::clone(cluster), &group.id));
    let sender = Sender {
        coordinator: connection,
        // One that is lost leaves time for others before the session ends.
        timeout: request_timeout.min(group.session_timeout / 3),
        held: group.rebalance_timeout + request_timeout,
    };
    let metadata = watch.operation("metadata", format!("look up the topics of group {}", group.id));
    let lookup = Lookup::new(topics, cluster, metadata, interval);
    let driver = Driver {
        protocol: group.protocol,
        settings,
        sender,
        lookup,
        trouble,
        doubt,
        view: View {
            identity,
            lease: Lease::unlimited(),
            topic_id: None,
            held: BTreeMap::new(),
            metrics: observe.metrics.group(&group.id),
            observe: observe.clone(),
            report,
            failed: None,
        },
    };
    (Changes::of(|reporter| driver.run(reporter)), committer)
}

struct Driver {
    protocol: GroupProtocol,
    settings: Settings,
    sender: Sender,
    lookup: Lookup,
    trouble: Trouble,
    doubt: Arc<Notify>,
    view: View,
}

impl Driver {
    async fn run(mut self, reporter: Reporter) -> Result<(), AssignmentError> {
        let Reporter { changes, mut orders } = reporter;
        let Some(mut machine) = self.choose(&mut orders).await else { return Ok(()) };
        loop {
            if self.view.pass_on(&mut *machine, &changes).await.is_err() {
                return Ok(()); // nobody listens: the process ends
            }
            match machine.poll(Instant::now()) {
                Step::Send(request) => match self.exchange(&mut *machine, request, &mut orders, &changes).await {
                    Err(error) if self.falls_back(&error) => machine = self.classic(),
                    outcome => self.note(&mut *machine, outcome),
                },
                Step::Wait { until, describe } => self.wait(&mut *machine, until, &describe, &mut orders).await,
                Step::Left => break,
            }
            self.view.refresh(&*machine);
        }
        let _ = self.view.pass_on(&mut *machine, &changes).await; // as above
        self.view.failed.map_or(Ok(()), |failed| Err(AssignmentError(failed)))
    }

    /// The protocol to use: as configured, or by what the coordinator offers. `None` where everything
    /// is given up before that is known.
    async fn choose(&mut self, orders: &mut mpsc::UnboundedReceiver<Order>) -> Option<Box<dyn Membership>> {
        loop {
            let offered = match self.protocol {
                GroupProtocol::Classic => Ok(false),
                GroupProtocol::Consumer => Ok(true),
                GroupProtocol::Auto => {
                    let found = self.sender.coordinator.connection().map(|connection| {
                        connection.map(|found| found.version(ConsumerGroupHeartbeatRequest::KEY).is_ok())
                    });
                    tokio::select! {
                        offered = found => offered,
                        order = orders.recv() => match order {
                            Some(Order::Released(_)) => continue,
                            Some(Order::Leave) | None => return None,
                        },
                    }
                }
            };
            match offered {
                Ok(true) => {
                    info!(group = self.settings.group_id, "joining by the consumer protocol (KIP-848)");
                    self.view.report.protocol = "consumer";
                    return Some(Box::new(Consumer::new(self.settings.clone())));
                }
                Ok(false) => return Some(self.classic()),
                Err(error) => {
                    let again = Instant::now() + self.trouble.failed(&error);
                    tokio::select! {
                        () = sleep_until(again) => {}
                        order = orders.recv() => if !matches!(order, Some(Order::Released(_))) {
                            return None;
                        }
                    }
                }
            }
        }
    }

    fn classic(&mut self) -> Box<dyn Membership> {
        let assignors: Vec<_> = self.settings.assignors.iter().map(|assignor| assignor.name()).collect();
        info!(group = self.settings.group_id, ?assignors, "joining by the classic protocol");
        self.view.report.protocol = "classic";
        Box::new(Classic::new(self.settings.clone()))
    }

    /// Whether brokers that know KIP-848 have it switched off.
    fn falls_back(&self, error: &Error) -> bool {
        let unsupported = error.is(ResponseError::UnsupportedVersion);
        unsupported && self.protocol == GroupProtocol::Auto && self.view.report.protocol == "consumer"
    }

    /// Sends a request and passes on what is told meanwhile.
    ///
    /// # Errors
    /// Where there is no answer, or it is an error that the protocol does not provide for.
    async fn exchange(
        &mut self,
        machine: &mut dyn Membership,
        request: Request,
        orders: &mut mpsc::UnboundedReceiver<Order>,
        changes: &mpsc::Sender<Change>,
    ) -> Result<(), Error> {
        let sent = Instant::now();
        let mut answer = self.sender.send(request).boxed();
        let nothing = BTreeSet::new();
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut answer => break answer,
                order = orders.recv() => obey(machine, order),
                () = self.lookup.advance(&nothing) => self.lookup.pass_on(machine, &mut self.view),
            }
            if self.view.pass_on(machine, changes).await.is_err() || machine.abandons_request() {
                drop(answer);
                self.sender.coordinator.forget_any().await;
                machine.unanswered();
                return Ok(());
            }
        };
        match answer {
            Ok(response) => {
                self.view.heard();
                machine.answered(response, sent, Instant::now())
            }
            Err(error) => {
                machine.unanswered();
                Err(error)
            }
        }
    }

    async fn wait(
        &mut self,
        machine: &mut dyn Membership,
        until: Instant,
        describe: &BTreeSet<String>,
        orders: &mut mpsc::UnboundedReceiver<Order>,
    ) {
        tokio::select! {
            () = sleep_until(until) => {}
            order = orders.recv() => obey(machine, order),
            () = self.doubt.notified() => machine.doubt(Instant::now()),
            () = self.lookup.advance(describe) => self.lookup.pass_on(machine, &mut self.view),
        }
    }

    fn note(&mut self, machine: &mut dyn Membership, outcome: Result<(), Error>) {
        match outcome {
            Ok(()) => self.trouble.passed(),
            Err(error) => machine.pause(Instant::now() + self.trouble.failed(&error)),
        }
    }
}

fn obey(machine: &mut dyn Membership, order: Option<Order>) {
    match order {
        Some(Order::Released(partitions)) => machine.released(&partitions),
        Some(Order::Leave) | None => machine.leave(),
    }
}

/// Sends the machine's requests.
struct Sender {
    coordinator: Arc<Coordinator>,
    timeout: Duration,
    /// The same for answers that the coordinator holds back.
    held: Duration,
}

impl Sender {
    fn send(&self, request: Request) -> impl Future<Output = Result<Response, Error>> + use<> {
        let (coordinator, timeout, held) = (Arc::clone(&self.coordinator), self.timeout, self.held);
        async move {
            let connection = coordinator.connection().await?;
            let doing = "ask the coordinator of group";
            let answer = match request {
                Request::Join(request) => connection.request_within(doing, &request, held).await.map(Response::Join),
                Request::Sync(request) => {
                    // The version before this one has no such fields.
                    let named =
                        connection.version(kafka_protocol::messages::SyncGroupRequest::KEY).is_ok_and(|v| v >= 5);
                    let request =
                        if named { request } else { request.with_protocol_type(None).with_protocol_name(None) };
                    connection.request_within(doing, &request, held).await.map(Response::Sync)
                }
                Request::Heartbeat(request) => {
                    connection.request_within(doing, &request, timeout).await.map(Response::Heartbeat)
                }
                Request::Leave(request) => {
                    connection.request_within(doing, &request, timeout).await.map(Response::Leave)
                }
                Request::ConsumerHeartbeat(request) => {
                    let answer = connection.request_within(doing, &request, timeout).await;
                    answer.map(Response::ConsumerHeartbeat)
                }
            };
            let moved = match &answer {
                Ok(response) => has_moved(response),
                Err(error) => Coordinator::has_moved(error),
            };
            if moved {
                coordinator.forget(&connection).await;
            }
            answer
        }
    }
}

fn has_moved(response: &Response) -> bool {
    let code = match response {
        Response::Join(response) => response.error_code,
        Response::Sync(response) => response.error_code,
        Response::Heartbeat(response) => response.error_code,
        Response::Leave(response) => response.error_code,
        Response::ConsumerHeartbeat(response) => response.error_code,
    };
    ResponseError::try_from_code(code).is_some_and(|code| Coordinator::has_moved(&Error::code("", "", code)))
}

/// What others see of the membership.
struct View {
    identity: watch::Sender<Option<Identity>>,
    lease: Lease,
    topic_id: Option<TopicId>,
    held: BTreeMap<i32, Held>,
    metrics: GroupMetrics,
    observe: Observe,
    report: GroupReport,
    /// Why the membership ended for good.
    failed: Option<String>,
}

/// A partition that was assigned.
struct Held {
    tenure: Tenure,
    /// The topic that its worker was told.
    topic_id: Option<TopicId>,
    /// It is being given up, or has been.
    revoked: bool,
}

impl View {
    /// Passes on what has changed.
    ///
    /// # Errors
    /// Where nobody listens any more.
    async fn pass_on(
        &mut self,
        machine: &mut dyn Membership,
        changes: &mpsc::Sender<Change>,
    ) -> Result<(), mpsc::error::SendError<Change>> {
        while let Some(event) = machine.next_event() {
            match event {
                Event::Identity(identity) => self.note_identity(identity),
                Event::Assigned(partitions) => self.assign(partitions, changes).await?,
                Event::Revoked(partitions) => {
                    let held = self.held.iter_mut().filter(|(partition, _)| partitions.contains(partition));
                    held.for_each(|(_, held)| held.revoked = true);
                    changes.send(Change::Revoked(partitions)).await?;
                }
                Event::Lost(partitions) => self.lose(partitions, changes).await?,
                Event::Rebalance(cause) => {
                    let (group, cause) = (&self.report.id, cause.as_str());
                    info!(group, cause, "rebalance");
                    self.metrics.rebalanced(cause);
                    *self.report.rebalances.entry(cause).or_default() += 1;
                }
                Event::Failed(why) => {
                    error!(group = self.report.id, "{why}");
                    self.failed = Some(why);
                }
            }
        }
        let anew = self.made_anew();
        if !anew.is_empty() {
            warn!(group = self.report.id, "the topic was deleted and made anew: its partitions begin again");
            self.lose(anew.clone(), changes).await?;
            self.assign(anew, changes).await?;
        }
        Ok(())
    }

    async fn assign(
        &mut self,
        partitions: BTreeSet<i32>,
        changes: &mpsc::Sender<Change>,
    ) -> Result<(), mpsc::error::SendError<Change>> {
        let topic_id = self.topic_id;
        let tenure = |partition| (partition, Tenure::under(&self.lease));
        let partitions: BTreeMap<_, _> = partitions.into_iter().map(tenure).collect();
        let held = |(partition, tenure): (&i32, &Tenure)| {
            (*partition, Held { tenure: tenure.clone(), topic_id, revoked: false })
        };
        self.held.extend(partitions.iter().map(held));
        changes.send(Change::Assigned { topic_id, partitions }).await
    }

    async fn lose(
        &mut self,
        partitions: BTreeSet<i32>,
        changes: &mpsc::Sender<Change>,
    ) -> Result<(), mpsc::error::SendError<Change>> {
        // Before anything else is sent: from here on no offset of theirs is stored.
        for partition in &partitions {
            self.held.remove(partition).iter().for_each(|held| held.tenure.end());
        }
        changes.send(Change::Lost(partitions)).await
    }

    /// What is read of a topic that is there no more, though its name is. The group knows names
    /// only: the partitions stay this member's. One that is being given up is finished as it is, and
    /// whoever has it next knows by the id beside its offset.
    fn made_anew(&self) -> BTreeSet<i32> {
        let old = |held: &Held| held.topic_id.zip(self.topic_id).is_some_and(|(old, new)| old != new);
        let anew = self.held.iter().filter(|(_, held)| !held.revoked && old(held));
        anew.map(|(partition, _)| *partition).collect()
    }

    fn note_identity(&mut self, identity: Option<Identity>) {
        if let Some(Identity { member_id, generation_or_epoch, .. }) = &identity {
            info!(group = self.report.id, member_id, generation = generation_or_epoch, "member of the group");
            self.metrics.generation(*generation_or_epoch);
        }
        self.report.generation = identity.as_ref().map(|identity| identity.generation_or_epoch);
        self.report.member_id = identity.as_ref().map(|identity| identity.member_id.clone());
        self.identity.send_replace(identity);
    }

    /// The coordinator has answered now.
    fn heard(&mut self) {
        self.metrics.heartbeat();
        self.report.heartbeat = Some(Instant::now());
    }

    fn refresh(&mut self, machine: &dyn Membership) {
        if let Some(until) = machine.lease() {
            self.lease.renew(until);
        }
        self.metrics.assigned(machine.owned().len());
        self.report.state = machine.state();
        self.report.partitions = machine.owned().iter().copied().collect();
        self.observe.partitions.group(self.report.clone());
    }
}

/// Looks topics up, beside everything else.
struct Lookup {
    topics: Arc<Topics>,
    cluster: Arc<Cluster>,
    trouble: Trouble,
    interval: Duration,
    /// When the source topic is looked up next.
    due: Instant,
    /// Before this none that a member waits for is made either.
    not_before: Instant,
    running: Option<BoxFuture<'static, Result<Found, Error>>>,
    found: Option<Result<Found, Error>>,
}

type Found = BTreeMap<String, Option<Described>>;

/// The pause between two look-ups that a member waits for.
const DESCRIBE_PAUSE: Duration = Duration::from_millis(200);

impl Lookup {
    fn new(topics: Topics, cluster: &Arc<Cluster>, trouble: Trouble, interval: Duration) -> Self {
        let now = Instant::now();
        let (topics, cluster) = (Arc::new(topics), Arc::clone(cluster));
        Self { topics, cluster, trouble, interval, due: now, not_before: now, running: None, found: None }
    }

    /// Returns when something was found out: of the source topic when it is due, of `wanted` soon.
    /// Dropped before, it goes on with the next call.
    async fn advance(&mut self, wanted: &BTreeSet<String>) {
        let running = match &mut self.running {
            Some(running) => running,
            None => {
                sleep_until(if wanted.is_empty() { self.due } else { self.not_before }).await;
                let asked = look_up(Arc::clone(&self.topics), Arc::clone(&self.cluster), wanted.clone());
                self.running.insert(asked.boxed())
            }
        };
        self.found = Some(running.await);
        self.running = None;
    }

    fn pass_on(&mut self, machine: &mut dyn Membership, view: &mut View) {
        let now = Instant::now();
        let source = self.topics.source();
        match self.found.take() {
            None => {}
            Some(Ok(found)) => {
                let described = found.get(source).copied().flatten();
                let pause = match described {
                    Some(described) => {
                        self.trouble.passed();
                        view.topic_id = described.id.or(view.topic_id);
                        self.interval
                    }
                    None => {
                        let unknown = Error::code("look up topic", source, ResponseError::UnknownTopicOrPartition);
                        self.trouble.failed(&unknown)
                    }
                };
                self.due = now + pause;
                self.not_before = now + DESCRIBE_PAUSE;
                machine.described(&found, now);
            }
            Some(Err(error)) => {
                self.due = now + self.trouble.failed(&error);
                self.not_before = self.due;
            }
        }
    }
}

/// The source topic and others as the brokers describe them.
async fn look_up(topics: Arc<Topics>, cluster: Arc<Cluster>, wanted: BTreeSet<String>) -> Result<Found, Error> {
    let described = |topic: &Topic| Described { id: topic.id, partitions: topic.partition_count() };
    let unknown = |error: &Error| error.is(ResponseError::UnknownTopicOrPartition);
    let source = match topics.look_up().await {
        Ok(topic) => Some(described(&topic)),
        Err(error) if unknown(&error) => None,
        Err(error) => return Err(error),
    };
    let mut found = Found::from([(topics.source().to_owned(), source)]);
    let others: Vec<_> = wanted.iter().map(String::as_str).filter(|name| *name != topics.source()).collect();
    if !others.is_empty() {
        for (name, topic) in cluster.topics(&others).await? {
            // One that this client may not see counts as one that is not there.
            found.insert(name, topic.ok().as_ref().map(described));
        }
    }
    Ok(found)
}
