//! A valid configuration, wired into a running pipeline.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use kafka_client::{Cluster, Coordinator, Options};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::assignment::{Assigned, AssignmentError, Changes, Topics, fixed, group};
use crate::broker::{self, Admin, Clients, Ends, PartitionReader, ReaderConfig, Reserve, Watch, Writer, options};
use crate::config::{AssignmentMode, Config, Guarantee, OffsetStoreKind, ProcessorKind, StartAt};
use crate::dead_letter::Envelope;
use crate::geoip::{Countries, CountryFile};
use crate::observe::{AdminServer, BindError, Dimensions, GeoIpMetrics, Members, Observe, Snapshot, stats};
use crate::offsets::{
    CommitIdentity, FileStore, GroupStore, OffsetStore, StoreError, TopicSettings, TopicStore, Watched,
};
use crate::ownership::PartitionOwnership;
use crate::stages::{Login, MakeStages, Processor, Routes, Stages, amendments, configured, possible};
use crate::supervisor::{MakeWorker, Supervisor};
use crate::topic::TopicPartition;
use crate::worker::{
    Accounts, AtLeastOnce, AtLeastOnceParts, Budget, Delivery, ExactlyOnce, ExactlyOnceParts, Gate, GateParts, Halt,
    PartitionWorker, Sink, SinkParts, Source, SourceParts, Transactions,
};

/// How long a partition may be in trouble before the process counts as unready: a blip is none.
const READINESS_GRACE: Duration = Duration::from_secs(10);

/// How long it may take to tell the offset store of the end, once everything is stored.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// How long what is known of the group's members is good enough for the page.
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
    #[error("stopped, since dead_letter.on_limit is \"stop\": {0}; mend the source or the rules, or raise the limit")]
    DeadLetters(String),
    /// Pseudonyms have no key; the configuration had it when it was checked.
    #[error("privacy.key_file: {0}")]
    Key(String),
    /// The configuration asks for what only the login's processor does.
    #[error("enrich and privacy are rules for logins, and {processor} would not heed them: take them out")]
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

/// What the pipeline did, told when it has ended.
#[derive(Debug)]
pub struct Summary {
    /// All it counted.
    pub counted: Snapshot,
}

/// A pipeline that has its admin port and its offset store, and has asked no broker yet.
pub struct App {
    config: Arc<Config>,
    observe: Observe,
    admin: AdminServer,
    /// The store, where it is one that only one process may have.
    store: Option<FileStore>,
    routes: Arc<Routes>,
    /// What is done to records.
    processor: Arc<dyn MakeStages>,
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

    /// The same with a processor of the caller's, whatever `pipeline.processor` says.
    ///
    /// # Errors
    /// The same, and where the configuration asks for what that processor would not heed.
    pub async fn open_with<P: Processor + Clone>(config: Config, processor: P) -> Result<Self, AppError> {
        if amendments(&config.enrich, &config.privacy, None).is_some() {
            return Err(AppError::ForLogins { processor: P::NAME });
        }
        Self::assemble::<P>(config, |_, _| (Arc::new(processor), None)).await
    }

    async fn open_logins(config: Config) -> Result<Self, AppError> {
        possible::check(&config).map_err(AppError::Rules)?;
        let key = config.privacy.key().map_err(AppError::Key)?;
        let made = |config: &Config, metrics| configured(config, key.as_ref(), metrics);
        Self::assemble::<Login>(config, made).await
    }

    /// Around what `made` gives: a processor with the name and the dimensions of `P`, and the countries that it needs.
    async fn assemble<P: Processor>(
        config: Config,
        made: impl FnOnce(&Config, GeoIpMetrics) -> (Arc<dyn MakeStages>, Option<Countries>),
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
        let admin = AdminServer::bind(&config.admin).await?;
        let (processor, countries) = made(&config, observe.geoip());
        let countries = countries.zip(config.enrich.geoip.file.as_deref().map(CountryFile::new));
        Ok(Self { config: Arc::new(config), observe, admin, store, routes, processor, countries })
    }

    /// Where `/metrics` and its siblings are.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin.local_addr()
    }

    /// What it counts and shows.
    pub fn observe(&self) -> &Observe {
        &self.observe
    }

    /// Runs until `stop`, then drains.
    ///
    /// # Errors
    /// Where the last checkpoint of a partition could not be stored: its records since the one
    /// before will be processed again.
    pub async fn run(self, stop: CancellationToken) -> Result<Summary, AppError> {
        let Self { config, observe, admin, store, routes, processor, countries } = self;
        let admin_address = admin.local_addr();
        let watched_until = CancellationToken::new();
        let serving = tokio::spawn(admin.serve(observe.clone(), watched_until.clone()).boxed());
        let reporting =
            tokio::spawn(stats::report(observe.tallies.clone(), config.stats.interval, watched_until.clone()).boxed());
        info!(admin = %admin_address, source = config.source.topic, output = config.output.topic, "started");

        if let Some((countries, file)) = countries {
            // Read before the first record is. Ends with the token.
            countries.keep_fresh(file, config.enrich.geoip.check_interval, watched_until.clone()).await;
        }
        let (options, tokens) = options(&config.kafka);
        let cluster = Arc::new(Cluster::new(Options { meter: Arc::new(observe.metrics.clone()), ..options }));
        if let Some(tokens) = &tokens {
            tokens.count_in(&observe.metrics);
        }
        let clients = Arc::new(Clients::new(cluster.options(), config.source.max_fetch_bytes.as_usize()));
        let ends = Ends::new(Arc::clone(&cluster), observe.partitions.clone(), config.source.lag_interval);
        let asking = tokio::spawn(ends.ask(watched_until.clone()).boxed());
        let watch = Watch::new(observe.clone(), &config);
        let writer = Writer::new(&config, routes.topics(), Arc::clone(&cluster), watch.clone(), &observe);
        let writer = Arc::new(writer);
        let max_in_flight_bytes = config.pipeline.max_in_flight_bytes.as_usize();
        let budget = Budget::new(max_in_flight_bytes, config.source.max_fetch_bytes.as_usize());
        let reserve = Reserve::new(max_in_flight_bytes);
        let admin = Admin::new(Arc::clone(&cluster));
        let topics = Topics::new(admin, &config.source.topic, routes.topics(), config.topics.clone());
        let (changes, committer) = assignment(&config, topics, &cluster, &watch, &observe);
        let exactly_once = config.delivery.guarantee == Guarantee::ExactlyOnce;
        let committer_within = exactly_once.then(|| committer.clone());
        let group = Arc::new(Coordinator::new(Arc::clone(&cluster), &config.group.id));
        if config.assignment.mode == AssignmentMode::Group {
            let telling = tell_members(Arc::clone(&group), observe.members.clone());
            let until = watched_until.clone();
            tokio::spawn(async move { until.run_until_cancelled(telling).await }.boxed());
        }
        let store: Arc<dyn OffsetStore> = match store {
            Some(store) => Arc::new(store),
            None if config.offsets.store == OffsetStoreKind::Topic => {
                let settings = TopicSettings::from(&*config);
                Arc::new(TopicStore::new(Arc::clone(&cluster), &settings, observe.health.clone()))
            }
            // Transactional ids keep others out.
            None if exactly_once => Arc::new(GroupStore::new(Arc::clone(&group), committer)),
            None => {
                let watched = Watched { health: observe.health.clone(), metrics: observe.metrics.clone() };
                Arc::new(GroupStore::watching(Arc::clone(&group), committer, watched))
            }
        };
        let transactions = committer_within.map(|committer| {
            Arc::new(Transactions {
                settings: config.delivery.clone(),
                id_prefix: config.transactional_id_prefix().to_owned(),
                cluster: Arc::clone(&cluster),
                group: Arc::clone(&group),
                committer,
                refresh_interval: store.refresh_interval(),
                writer: Arc::clone(&writer),
                watch: watch.clone(),
                told: Default::default(),
            })
        });
        let timeout = config.shutdown.timeout;
        // Cancelled by who runs this, or from within.
        let stop = stop.child_token();
        let halt = Halt::new(stop.clone());
        let workshop = Workshop {
            config,
            observe: observe.clone(),
            watch,
            clients,
            cluster,
            writer,
            store: Arc::clone(&store),
            transactions,
            routes,
            processor,
            budget,
            reserve,
            halt: halt.clone(),
        };
        observe.health.started();
        let draining = drain_note(observe.clone(), stop.clone());
        let drained = Supervisor::new(workshop).run(changes, &stop, timeout).await;
        draining.abort();
        close(&*store).await;
        #[cfg(feature = "otlp")]
        if let Some(traces) = &observe.traces {
            traces.finish().await;
        }

        watched_until.cancel();
        let _ = tokio::join!(serving, reporting, asking); // all end with the token; a panic is logged already
        if drained.unfinished > 0 {
            warn!(unfinished = drained.unfinished, "not drained: what was in flight will be read again");
        }
        if let Some(reason) = halt.reason() {
            return Err(AppError::DeadLetters(reason.to_owned()));
        }
        if let Some(failed) = drained.failed {
            return Err(failed.into());
        }
        match drained.unstored.into_iter().next() {
            Some(error) => Err(error.into()),
            None if drained.unfinished > 0 => Err(AppError::Unfinished(drained.unfinished)),
            None => Ok(Summary { counted: observe.tallies.snapshot() }),
        }
    }
}

/// The assignment as configured, and as whom its offsets are committed to a group.
fn assignment(
    config: &Config,
    topics: Topics,
    cluster: &Arc<Cluster>,
    watch: &Watch,
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
                watch,
                observe,
            })
        }
        mode => (fixed::assign(mode.clone(), topics, interval, watch), CommitIdentity::Plain),
    }
}

/// The group that has the partitions or their offsets.
#[cfg(feature = "otlp")]
fn group_of(config: &Config) -> Option<&str> {
    let (mode, store) = (&config.assignment.mode, config.offsets.store);
    let has_group = *mode == AssignmentMode::Group || store == OffsetStoreKind::Group;
    has_group.then_some(&config.group.id)
}

/// Asks who the members of the group are, while somebody looks at the page.
async fn tell_members(group: Arc<Coordinator>, members: Members) {
    loop {
        members.wanted().await;
        match group.describe().await {
            Ok(found) => members.tell(found.map_or_else(Vec::new, |found| found.who)),
            // Whoever needs the coordinator says that it fails; here, what was known stays.
            Err(error) => {
                debug!(error = %broker::Error::from(error), "the members of the group can't be told on the page")
            }
        }
        tokio::time::sleep(MEMBERS_REST).await;
    }
}

/// Tells others that nobody works here any more. Where that fails, `offsets set` asks for `--force`.
async fn close(store: &dyn OffsetStore) {
    match tokio::time::timeout(CLOSE_GRACE, store.close()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(%error, "nobody can be told that this instance has ended"),
        Err(_) => warn!("nobody could be told in time that this instance has ended"),
    }
}

/// Says so, in log and readiness, when draining begins.
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

/// Makes workers of shared parts.
struct Workshop {
    config: Arc<Config>,
    observe: Observe,
    watch: Watch,
    clients: Arc<Clients>,
    cluster: Arc<Cluster>,
    writer: Arc<Writer>,
    store: Arc<dyn OffsetStore>,
    /// Set where delivery is exactly once.
    transactions: Option<Arc<Transactions>>,
    routes: Arc<Routes>,
    processor: Arc<dyn MakeStages>,
    budget: Budget,
    reserve: Reserve,
    /// Ends the program from within.
    halt: Halt,
}

impl Workshop {
    fn stages(&self, partition: i32) -> Box<dyn Stages> {
        let dead_letter = &self.config.dead_letter;
        let application = &self.config.kafka.client_id;
        let envelope = Envelope::new(&dead_letter.header_prefix, application, &self.config.source.topic, partition);
        self.processor.make(Arc::clone(&self.routes), envelope, partition)
    }
}

impl Workshop {
    /// The guarantee that is configured, for one partition.
    fn delivery(&self, partition: i32, ownership: &PartitionOwnership, dimensions: Dimensions) -> Delivery {
        let (topic, ownership) = (self.config.source.topic.clone(), ownership.clone());
        match &self.transactions {
            Some(transactions) => {
                let transactions = Arc::clone(transactions);
                let parts = ExactlyOnceParts { transactions, topic, partition, ownership, dimensions };
                Delivery::ExactlyOnce(Box::new(ExactlyOnce::new(parts)))
            }
            None => Delivery::AtLeastOnce(Box::new(AtLeastOnce::new(AtLeastOnceParts {
                of: TopicPartition::new(&topic, partition),
                writer: Arc::clone(&self.writer),
                store: Arc::clone(&self.store),
                checkpoint_interval: self.config.offsets.checkpoint_interval,
                ownership,
                watch: self.watch.clone(),
            }))),
        }
    }
}

impl MakeWorker for Workshop {
    fn make(&self, partition: i32, assigned: &Assigned) -> PartitionWorker {
        let Assigned { ownership, topic_id, is_new } = assigned.clone();
        let Self { config, observe, watch, clients, cluster, writer, store, routes, budget, reserve, .. } = self;
        let topic = &config.source.topic;
        let metrics = Arc::new(observe.metrics.partition(topic, partition));
        let status = Arc::new(observe.partitions.partition(topic, partition));
        let reader = PartitionReader::new(
            topic_id,
            partition,
            Arc::clone(clients),
            Arc::clone(cluster),
            reserve.clone(),
            ReaderConfig {
                kafka: &config.kafka,
                source: &config.source,
                rskafka_cannot: config.rskafka_cannot(),
                max_record_bytes: config.pipeline.max_record_bytes.as_usize(),
            },
        );
        let source = Source::new(SourceParts {
            topic: topic.clone(),
            topic_id,
            partition,
            reader,
            store: Arc::clone(store),
            start: if is_new { StartAt::Earliest } else { config.source.start },
            out_of_range: config.source.on_offset_out_of_range,
            share: budget.join(),
            watch: watch.clone(),
            metrics: Arc::clone(&metrics),
            status: Arc::clone(&status),
        });
        let of = TopicPartition::new(topic, partition);
        let gate = GateParts {
            of: of.clone(),
            observe: observe.clone(),
            status: Arc::clone(&status),
            halt: self.halt.clone(),
        };
        let gate = Gate::new(&config.dead_letter.limits, gate);
        let stages = self.stages(partition);
        let delivery = self.delivery(partition, &ownership, stages.dimensions());
        let sink = Sink::new(SinkParts {
            of,
            stages,
            writer: Arc::clone(writer),
            delivery,
            max_batch_bytes: config.output.max_batch_bytes.as_usize(),
            oversize: config.dead_letter.oversize,
            gate,
            watch: watch.clone(),
            accounts: Arc::new(Accounts::new(
                observe.clone(),
                metrics,
                Arc::clone(&status),
                observe.tallies.register(),
                routes.names(),
            )),
        });
        PartitionWorker { ownership, source, sink, status }
    }
}
