//! A valid configuration, wired into a running pipeline.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::OptionFuture;
use kafka_client::{Cluster, Coordinator, Options, Transport};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::assignment::{AssignmentError, Changes, Topics, fixed, group};
use crate::config::{AssignmentMode, Config, Guarantee, OffsetStoreKind, ProcessorKind};
use crate::geoip::{Countries, CountryFile};
use crate::kafka::{self, Admin, options};
use crate::observe::{AdminServer, BindError, GeoIpMetrics, Members, Observe, Snapshot, stats};
use crate::offsets::{
    CommitIdentity, FileStore, GroupStore, OffsetStore, StoreError, TopicSettings, TopicStore, Watched,
};
use crate::output::OutputTopics;
use crate::retry::Retries;
use crate::source::{LogEnds, Reserve, RskafkaClients};
use crate::stages::{Login, Processor, Routes, StagesFactory, configured, edits, possible};
use crate::supervisor::{Drained, Supervisor};
use crate::worker::{Budget, ShutdownHandle, Transactions, WorkerFactory};

/// The time that an operation may fail before the process counts as unready: a blip is none.
const READINESS_GRACE: Duration = Duration::from_secs(10);

/// The time that telling the offset store of the end may take, once everything is stored.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// The age up to which what is known of the group's members is good enough for the page.
const MEMBERS_REST: Duration = Duration::from_secs(10);

/// Why the pipeline could not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The admin port is not to be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The offset store is not to be had, or did not take the last checkpoint.
    #[error(transparent)]
    Offsets(#[from] StoreError),
    /// Partitions whose last checkpoint is not stored, because there was no time for it, or because they were lost.
    #[error(
        "{0} partitions were not drained, and their last checkpoints are not stored: what came after the ones before will be \
         read again; raise shutdown.timeout where it was too short"
    )]
    Unfinished(usize),
    /// There will be no partitions for this instance any more.
    #[error(transparent)]
    Assignment(#[from] AssignmentError),
    /// Too many dead letters, where that is to end the program.
    #[error("stopped, since dead_letter.on_limit is \"stop\": {0}; fix the source or the rules, or raise the limit")]
    DeadLetters(String),
    /// Pseudonyms have no key; the configuration had it when it was checked.
    #[error("privacy.key_file: {0}")]
    Key(String),
    /// The configuration asks for what only the login's processor does.
    #[error("enrich and privacy are rules for logins, and {processor} would ignore them: take them out")]
    ForLogins {
        /// The processor that runs.
        processor: &'static str,
    },
    /// Rules of routing that can hold of no event.
    #[error("{0}")]
    Rules(String),
    /// A rule's expression; the configuration has checked it.
    #[error("a route's expression: {0}")]
    Route(#[from] regex_lite::Error),
}

/// The counts of a pipeline that has ended.
#[derive(Debug)]
pub struct Summary {
    /// All it counted.
    pub counted: Snapshot,
}

/// A pipeline that has its admin port and its offset store, and has asked no broker yet.
pub struct App {
    config: Arc<Config>,
    observe: Observe,
    /// What is shown of it, where that is.
    admin: Option<AdminServer>,
    /// The network that brokers are reached by, where that is not TCP.
    transport: Option<Arc<dyn Transport>>,
    /// The store, where it is one that only one process may have.
    store: Option<FileStore>,
    routes: Arc<Routes>,
    /// Makes the stages that records go through.
    processor: Arc<dyn StagesFactory>,
    countries: Option<(Countries, CountryFile)>,
}

impl App {
    /// Takes what can be had once only: the admin port and the lock of the offset store.
    ///
    /// # Errors
    /// Where either is not to be had.
    pub async fn open(config: Config) -> Result<Self, AppError> {
        match config.pipeline.processor {
            ProcessorKind::Login => Self::open_logins(config).await,
        }
    }

    /// Like [`App::open`] with a processor of the caller's, whatever `pipeline.processor` says.
    ///
    /// # Errors
    /// Those of [`App::open`], and where the configuration asks for what that processor would ignore.
    pub async fn open_with<P: Processor + Clone>(config: Config, processor: P) -> Result<Self, AppError> {
        if edits(&config.enrich, &config.privacy, None).is_some() {
            return Err(AppError::ForLogins { processor: P::NAME });
        }
        Self::assemble::<P>(config, |_, _| (Arc::new(processor), None))?.with_admin_port().await
    }

    /// A pipeline of logins that reaches its brokers over this network, and has no admin port: for a simulation, where
    /// neither is the machine's. Its reader must be `wire`, since rskafka knows TCP only.
    ///
    /// # Errors
    /// Where the offset store is not to be had, or the configuration is not valid.
    pub fn over(transport: Arc<dyn Transport>, config: Config) -> Result<Self, AppError> {
        Ok(Self { transport: Some(transport), ..Self::logins(config)? })
    }

    async fn open_logins(config: Config) -> Result<Self, AppError> {
        Self::logins(config)?.with_admin_port().await
    }

    fn logins(config: Config) -> Result<Self, AppError> {
        possible::check(&config).map_err(AppError::Rules)?;
        let key = config.privacy.key().map_err(AppError::Key)?;
        let made = |config: &Config, metrics| configured(config, key.as_ref(), metrics);
        Self::assemble::<Login>(config, made)
    }

    /// Around what `made` gives: a processor with the name and the dimensions of `P`, and the countries that it needs.
    fn assemble<P: Processor>(
        config: Config,
        made: impl FnOnce(&Config, GeoIpMetrics) -> (Arc<dyn StagesFactory>, Option<Countries>),
    ) -> Result<Self, AppError> {
        let routes = Arc::new(Routes::new(&config)?);
        let store = match config.offsets.store {
            OffsetStoreKind::File => Some(FileStore::open(&config.offsets.path)?),
            OffsetStoreKind::Group | OffsetStoreKind::Topic => None,
        };
        let mut shown = serde_json::to_value(&config).unwrap_or_default();
        shown["pipeline"]["processor"] = P::NAME.into();
        let observe = Observe::new(env!("CARGO_PKG_VERSION"), P::DIMENSIONS, READINESS_GRACE, shown);
        #[cfg(feature = "otlp")]
        let observe = Observe { traces: crate::observe::traces::Traces::start(group_of(&config)), ..observe };
        let (processor, countries) = made(&config, observe.geoip());
        let countries = countries.zip(config.enrich.geoip.file.as_deref().map(CountryFile::new));
        let config = Arc::new(config);
        Ok(Self { config, observe, admin: None, transport: None, store, routes, processor, countries })
    }

    async fn with_admin_port(self) -> Result<Self, AppError> {
        let admin = AdminServer::bind(&self.config.admin).await?;
        Ok(Self { admin: Some(admin), ..self })
    }

    /// The address of `/metrics` and its siblings; where there is none, the one that is configured.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin.as_ref().map_or(self.config.admin.listen, AdminServer::local_addr)
    }

    /// Metrics, readiness and status.
    pub fn observe(&self) -> &Observe {
        &self.observe
    }

    /// Runs until `stop`, then drains.
    ///
    /// # Errors
    /// Where the last checkpoint of a partition could not be stored: its records since the one
    /// before will be processed again.
    pub async fn run(self, stop: CancellationToken) -> Result<Summary, AppError> {
        let admin_address = self.admin_address();
        let Self { config, observe, admin, transport, store, routes, processor, countries } = self;
        let watched_until = CancellationToken::new();
        let serving = admin.map(|admin| tokio::spawn(admin.serve(observe.clone(), watched_until.clone()).boxed()));
        let reporting =
            tokio::spawn(stats::report(observe.tallies.clone(), config.stats.interval, watched_until.clone()).boxed());
        info!(admin = %admin_address, source = config.source.topic, output = config.output.topic, "started");

        if let Some((countries, file)) = countries {
            // Read before the first record is. Ends with the token.
            countries.keep_fresh(file, config.enrich.geoip.check_interval, watched_until.clone()).await;
        }
        let cluster = cluster(&config, &observe, transport);
        let ends = LogEnds::new(Arc::clone(&cluster), observe.partitions.clone(), config.source.lag_interval);
        let asking = tokio::spawn(ends.ask(watched_until.clone()).boxed());
        let retries = Retries::new(observe.clone(), &config);
        let topics =
            Topics::new(Admin::new(Arc::clone(&cluster)), &config.source.topic, routes.topics(), config.topics.clone());
        let (changes, committer) = assignment(&config, topics, &cluster, &retries, &observe);
        let group = Arc::new(Coordinator::new(Arc::clone(&cluster), &config.group.id));
        if config.assignment.mode == AssignmentMode::Group {
            let telling = tell_members(Arc::clone(&group), observe.members.clone());
            let until = watched_until.clone();
            tokio::spawn(async move { until.run_until_cancelled(telling).await }.boxed());
        }
        let store: Arc<dyn OffsetStore> = match store {
            Some(store) => Arc::new(store),
            None => shared_store(&config, &observe, &cluster, &group, committer.clone()),
        };
        // Cancelled by who runs this, or from within.
        let stop = stop.child_token();
        let shutdown = ShutdownHandle::new(stop.clone());
        let outputs = OutputTopics::new(&config, routes.topics(), Arc::clone(&cluster), retries.clone(), &observe);
        let outputs = Arc::new(outputs);
        let transactions = (config.delivery.guarantee == Guarantee::ExactlyOnce).then(|| {
            Arc::new(Transactions {
                settings: config.delivery.clone(),
                id_prefix: config.transactional_id_prefix().to_owned(),
                cluster: Arc::clone(&cluster),
                group,
                committer,
                refresh_interval: store.refresh_interval(),
                outputs: Arc::clone(&outputs),
                retries: retries.clone(),
                told: Default::default(),
            })
        });
        let (timeout, max_fetch_bytes) = (config.shutdown.timeout, config.source.max_fetch_bytes.as_usize());
        let max_in_flight_bytes = config.pipeline.max_in_flight_bytes.as_usize();
        let workers = WorkerFactory {
            config,
            observe: observe.clone(),
            retries,
            clients: Arc::new(RskafkaClients::new(cluster.options(), max_fetch_bytes)),
            cluster,
            outputs,
            store: Arc::clone(&store),
            transactions,
            routes,
            processor,
            budget: Budget::new(max_in_flight_bytes, max_fetch_bytes),
            reserve: Reserve::new(max_in_flight_bytes),
            shutdown: shutdown.clone(),
        };
        observe.health.started();
        let draining = drain_note(observe.clone(), stop.clone());
        let drained = Supervisor::new(workers).run(changes, &stop, timeout).await;
        draining.abort();
        close(&*store).await;
        #[cfg(feature = "otlp")]
        if let Some(traces) = &observe.traces {
            traces.finish().await;
        }

        watched_until.cancel();
        let _ = tokio::join!(OptionFuture::from(serving), reporting, asking); // all end with the token; a panic is logged already
        outcome(drained, &shutdown).map(|()| Summary { counted: observe.tallies.snapshot() })
    }
}

/// Why the pipeline did not end well, where it did not.
fn outcome(drained: Drained, shutdown: &ShutdownHandle) -> Result<(), AppError> {
    let Drained { unfinished, unstored, failed } = drained;
    if unfinished > 0 {
        warn!(unfinished, "partitions were not drained: what was in flight will be read again");
    }
    if let Some(reason) = shutdown.reason() {
        return Err(AppError::DeadLetters(reason.to_owned()));
    }
    if let Some(failed) = failed {
        return Err(failed.into());
    }
    match unstored.into_iter().next() {
        Some(error) => Err(error.into()),
        None if unfinished > 0 => Err(AppError::Unfinished(unfinished)),
        None => Ok(()),
    }
}

/// The client as configured, which counts in the metrics and has connected to nothing yet.
fn cluster(config: &Config, observe: &Observe, transport: Option<Arc<dyn Transport>>) -> Arc<Cluster> {
    let (options, tokens) = options(&config.kafka);
    let transport = transport.unwrap_or_else(|| Arc::clone(&options.transport));
    if let Some(tokens) = &tokens {
        tokens.count_in(&observe.metrics);
    }
    Arc::new(Cluster::new(Options { meter: Arc::new(observe.metrics.clone()), transport, ..options }))
}

/// The offset store that processes share: a topic, or the group.
fn shared_store(
    config: &Config,
    observe: &Observe,
    cluster: &Arc<Cluster>,
    group: &Arc<Coordinator>,
    committer: CommitIdentity,
) -> Arc<dyn OffsetStore> {
    if config.offsets.store == OffsetStoreKind::Topic {
        let settings = TopicSettings::from(config);
        return Arc::new(TopicStore::new(Arc::clone(cluster), &settings, observe.health.clone()));
    }
    // Transactional ids keep others out.
    if config.delivery.guarantee == Guarantee::ExactlyOnce {
        return Arc::new(GroupStore::new(Arc::clone(group), committer));
    }
    let watched = Watched { health: observe.health.clone(), metrics: observe.metrics.clone() };
    Arc::new(GroupStore::watching(Arc::clone(group), committer, watched))
}

/// The assignment as configured, and as whom its offsets are committed to a group.
fn assignment(
    config: &Config,
    topics: Topics,
    cluster: &Arc<Cluster>,
    retries: &Retries,
    observe: &Observe,
) -> (Changes, CommitIdentity) {
    let interval = config.assignment.discovery_interval;
    match &config.assignment.mode {
        AssignmentMode::Group => {
            let request_timeout = config.kafka.request_timeout;
            group::join(group::GroupConfig {
                group: &config.group,
                topics,
                interval,
                request_timeout,
                cluster,
                retries,
                observe,
            })
        }
        mode => (fixed::assign(mode.clone(), topics, interval, retries), CommitIdentity::Plain),
    }
}

/// The group that has the partitions or their offsets.
#[cfg(feature = "otlp")]
fn group_of(config: &Config) -> Option<&str> {
    let (mode, store) = (&config.assignment.mode, config.offsets.store);
    let has_group = *mode == AssignmentMode::Group || store == OffsetStoreKind::Group;
    has_group.then_some(&config.group.id)
}

/// Tells the page who the members of the group are, while somebody looks at it.
async fn tell_members(group: Arc<Coordinator>, members: Members) {
    loop {
        members.wanted().await;
        match group.describe().await {
            Ok(found) => members.tell(found.map_or_else(Vec::new, |found| found.who)),
            // Whoever needs the coordinator says that it fails; here, what was known stays.
            Err(error) => {
                debug!(error = %kafka::Error::from(error), "the members of the group can't be told on the page")
            }
        }
        tokio::time::sleep(MEMBERS_REST).await;
    }
}

/// Tells the offset store that nobody works here any more. Where that fails, `offsets set` asks for `--force`.
async fn close(store: &dyn OffsetStore) {
    match tokio::time::timeout(CLOSE_GRACE, store.close()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            warn!(%error, "the offset store was not told that this instance has ended: 'offsets set' will ask for --force")
        }
        Err(_) => warn!(
            "the offset store was not told in time that this instance has ended: 'offsets set' will ask for --force"
        ),
    }
}

/// Tells log and readiness when draining begins.
fn drain_note(observe: Observe, stop: CancellationToken) -> tokio::task::JoinHandle<()> {
    tokio::spawn(
        async move {
            stop.cancelled().await;
            observe.health.draining();
            info!("stopping: draining what is in flight");
        }
        .boxed(),
    )
}
