//! A sandbox with topics, a ledger of what is in them, and pipelines to run on it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use kafka_sandbox::{NewBatch, NewRecord, Sandbox, SandboxBuilder, TopicConfig};
use login_pipeline::app::{App, AppError, Summary};
use login_pipeline::config::{AssignmentMode, Config, OffsetStoreKind, ReaderKind};
use login_pipeline::generator::{EventGenerator, GeneratedRecord, GeneratorConfig, RecordKind};
use login_pipeline::observe::Observe;
use login_pipeline::offsets::{FileStore, StoreError};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::pipeline::audit::{self, Audit, reasons_of};

pub(super) const SOURCE: &str = "user-login";
pub(super) const OUTPUT: &str = "processed-user-login";
pub(super) const DLQ: &str = "user-login-dlq";

/// Whatever a test waits for comes within this time, or never.
const DEADLINE: Duration = Duration::from_secs(30);

/// The header that tells records apart.
pub(super) const ID: &str = "id";

/// What must become of a record.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fate {
    /// It goes to this topic, enriched.
    Good(&'static str),
    /// A rule drops it.
    Dropped,
    /// It goes to the dead-letter topic.
    Dead(Dead),
}

/// How a record must lie in the dead-letter topic.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Dead {
    /// One of these.
    pub reasons: Vec<&'static str>,
    pub stage: &'static str,
    /// Whether its value is cut.
    pub truncated: bool,
}

pub(super) const GOOD: Fate = Fate::Good(OUTPUT);

pub(super) fn dead(stage: &'static str, reason: &'static str) -> Fate {
    Fate::Dead(Dead { reasons: vec![reason], stage, truncated: false })
}

/// What was appended to the source topic.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub partition: i32,
    pub offset: i64,
    pub record: NewRecord,
    pub fate: Fate,
}

/// The broker, its topics and what they must hold.
pub(super) struct World {
    pub sandbox: Sandbox,
    pub config: Config,
    ledger: Mutex<Vec<Sent>>,
    generator: Mutex<EventGenerator>,
    next_id: Mutex<i64>,
    folder: TempDir,
}

impl World {
    /// One node, and the three topics with so many partitions each.
    pub(super) async fn new(reader: ReaderKind, partitions: i32) -> Self {
        Self::with_nodes(reader, 1, partitions).await
    }

    pub(super) async fn with_nodes(reader: ReaderKind, nodes: usize, partitions: i32) -> Self {
        Self::on(reader, Sandbox::builder().nodes(nodes), partitions).await
    }

    /// The three topics on such a broker.
    pub(super) async fn on(reader: ReaderKind, broker: SandboxBuilder, partitions: i32) -> Self {
        let world = Self::on_empty(reader, broker).await;
        for topic in [SOURCE, OUTPUT, DLQ] {
            world.sandbox.create_topic(topic, partitions).unwrap();
        }
        world
    }

    pub(super) async fn without_topics(reader: ReaderKind, nodes: usize) -> Self {
        Self::on_empty(reader, Sandbox::builder().nodes(nodes)).await
    }

    async fn on_empty(reader: ReaderKind, broker: SandboxBuilder) -> Self {
        let sandbox = broker.start().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let config = config(reader, &sandbox, folder.path());
        let generator = GeneratorConfig { seed: 1, bad: 0.25, keyed: true, ..GeneratorConfig::default() };
        let generator = Mutex::new(EventGenerator::new(generator).unwrap());
        Self { sandbox, config, ledger: Mutex::default(), generator, next_id: Mutex::new(0), folder }
    }

    /// One node and topics of one partition, the output or the dead-letter topic with a small
    /// `max.message.bytes`.
    pub(super) async fn with_limits(reader: ReaderKind, output: usize, dead_letter: usize) -> Self {
        let world = Self::without_topics(reader, 1).await;
        world.sandbox.create_topic(SOURCE, 1).unwrap();
        for (topic, max_message_bytes) in [(OUTPUT, output), (DLQ, dead_letter)] {
            let config = TopicConfig { max_message_bytes, ..TopicConfig::new(1) };
            world.sandbox.create_topic_with(topic, config).unwrap();
        }
        world
    }

    /// Appends `count` generated records to each partition, a quarter of them bad, in small batches.
    pub(super) fn fill(&self, count: usize) {
        for partition in 0..self.sandbox.partitions(SOURCE) {
            self.send(partition, count);
        }
    }

    /// The same for one partition.
    pub(super) fn send(&self, partition: i32, count: usize) {
        let records: Vec<_> = (0..count).map(|_| self.generated()).collect();
        for batch in records.chunks(17) {
            self.append(partition, batch.to_vec());
        }
    }

    /// A record of the generator's, and what must become of it.
    pub(super) fn generated(&self) -> (NewRecord, Fate) {
        let GeneratedRecord { key, value, kind } = self.generator.lock().unwrap().next_record();
        let fate = match kind {
            RecordKind::Good => GOOD,
            RecordKind::Bad(kind) => {
                Fate::Dead(Dead { reasons: reasons_of(kind), stage: "validate", truncated: false })
            }
        };
        (self.named(key, value), fate)
    }

    /// A record of the generator's that is good.
    pub(super) fn good(&self) -> (NewRecord, Fate) {
        loop {
            let (record, fate) = self.generated();
            if fate == GOOD {
                return (record, fate);
            }
        }
    }

    /// A record with headers that tell it from any other.
    pub(super) fn named(&self, key: Option<Vec<u8>>, value: Option<Vec<u8>>) -> NewRecord {
        let mut next_id = self.next_id.lock().unwrap();
        *next_id += 1;
        let record = NewRecord {
            key: key.map(Into::into),
            value: value.map(Into::into),
            headers: Vec::new(),
            timestamp_ms: 1_700_000_000_000 + *next_id,
        };
        record.header(ID, Some(next_id.to_string().as_bytes())).header("trace", Some(b"\x00\xff"))
    }

    /// Appends one batch, and enters it in the ledger.
    pub(super) fn append(&self, partition: i32, records: Vec<(NewRecord, Fate)>) -> i64 {
        self.append_as(partition, records, |batch| batch)
    }

    /// The same, after a change to the batch.
    pub(super) fn append_as(
        &self,
        partition: i32,
        records: Vec<(NewRecord, Fate)>,
        change: impl FnOnce(NewBatch) -> NewBatch,
    ) -> i64 {
        let batch = NewBatch::new(records.iter().map(|(record, _)| record.clone()).collect());
        let base = self.sandbox.append_batch(SOURCE, partition, &change(batch)).unwrap();
        for ((record, fate), offset) in records.into_iter().zip(base..) {
            self.enter(Sent { partition, offset, record, fate });
        }
        base
    }

    /// Enters what another way has appended.
    pub(super) fn enter(&self, sent: Sent) {
        self.ledger().push(sent);
    }

    /// Forgets what the source topic no longer has, or what is not to be read.
    pub(super) fn forget(&self, which: impl Fn(&Sent) -> bool) {
        self.ledger().retain(|sent| !which(sent));
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Vec<Sent>> {
        self.ledger.lock().unwrap()
    }

    pub(super) fn offsets(&self) -> &Path {
        self.folder.path()
    }

    /// The stored offset of a partition.
    pub(super) fn stored(&self, partition: i32) -> Option<i64> {
        if self.config.offsets.store == OffsetStoreKind::Group {
            let committed = self.sandbox.committed(&self.config.group.id, SOURCE, partition);
            return committed.map(|committed| committed.offset);
        }
        let store = FileStore::peek(self.offsets());
        store.read(SOURCE, partition).unwrap().map(|checkpoint| checkpoint.next_offset.0)
    }

    /// Starts a pipeline. One that was here before may hold its lock a moment longer.
    pub(super) async fn start(&self) -> Pipeline {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match App::open(self.config.clone()).await {
                Ok(app) => return Pipeline::run(app),
                Err(AppError::Offsets(StoreError::Locked { .. })) if Instant::now() < deadline => {
                    sleep(Duration::from_millis(5)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// What a pipeline of that name calls itself before brokers.
    pub(super) fn client(&self, name: &str) -> String {
        format!("{}-{name}", self.config.kafka.client_id)
    }

    /// Starts a pipeline of that name, on a runtime of its own: it can be killed.
    pub(super) async fn start_alone(&self, name: &str) -> Pipeline {
        let mut config = self.config.clone();
        config.kafka.client_id = self.client(name);
        let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let opened = runtime.spawn(async { Pipeline::run(App::open(config).await.unwrap()) });
        Pipeline { runtime: Alone(Some(runtime)), ..opened.await.unwrap() }
    }

    /// Waits until every record of the ledger is where it must be, and that is stored.
    pub(super) async fn until_done(&self, pipeline: &Pipeline) {
        let done = || self.missing() == 0 && self.all_stored();
        let state = || {
            let stored: Vec<_> = (0..self.sandbox.partitions(SOURCE)).map(|p| self.stored(p)).collect();
            format!("{} missing, stored {stored:?}", self.missing())
        };
        pipeline.until_or("all records are delivered", done, state).await;
    }

    /// How many records are not delivered yet.
    pub(super) fn missing(&self) -> usize {
        let delivered = audit::delivered(self);
        let wanted = |sent: &&Sent| sent.fate != Fate::Dropped && !delivered.contains(&(sent.partition, sent.offset));
        self.ledger().iter().filter(wanted).count()
    }

    /// How many delivered records lie at or behind the stored offsets: a crash now repeats these.
    pub(super) fn unstored(&self) -> usize {
        let unstored =
            |(partition, offset): &(i32, i64)| self.stored(*partition).is_none_or(|stored| stored <= *offset);
        audit::delivered(self).iter().filter(|place| unstored(place)).count()
    }

    fn all_stored(&self) -> bool {
        let ledger = self.ledger();
        ledger.iter().all(|sent| self.stored(sent.partition).is_some_and(|stored| stored > sent.offset))
    }

    /// Runs a pipeline until all is done, stops it, and accounts for every record.
    pub(super) async fn run_and_audit(&self) -> (Audit, Summary) {
        let pipeline = self.start().await;
        self.finish(pipeline).await
    }

    /// Waits until all is done, stops the pipeline, and accounts for every record.
    pub(super) async fn finish(&self, pipeline: Pipeline) -> (Audit, Summary) {
        self.until_done(&pipeline).await;
        let summary = pipeline.stop().await;
        (audit::audit(self), summary)
    }

    pub(super) fn audit(&self) -> Audit {
        audit::audit(self)
    }
}

/// Defaults, but impatient.
fn config(reader: ReaderKind, sandbox: &Sandbox, offsets: &Path) -> Config {
    let mut config = Config::default();
    config.kafka.brokers = sandbox.bootstrap().split(',').map(str::to_owned).collect();
    config.kafka.request_timeout = Duration::from_millis(500);
    config.kafka.connect_timeout = Duration::from_millis(500);
    config.source.reader = reader;
    config.source.max_wait = Duration::from_millis(100);
    config.source.lag_interval = Duration::from_millis(200);
    config.retry.initial = Duration::from_millis(10);
    config.retry.max = Duration::from_millis(100);
    config.assignment.discovery_interval = Duration::from_millis(200);
    config.offsets.checkpoint_interval = Duration::from_millis(20);
    config.assignment.mode = AssignmentMode::Static { partitions: None };
    config.offsets.store = OffsetStoreKind::File;
    config.offsets.path = offsets.to_owned();
    config.admin.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config
}

/// A pipeline that runs.
pub(super) struct Pipeline {
    pub observe: Observe,
    pub admin: SocketAddr,
    stop: CancellationToken,
    run: JoinHandle<Result<Summary, AppError>>,
    runtime: Alone,
}

/// The runtime of one pipeline, where it has one. Dropped, it takes all tasks with it as they are.
struct Alone(Option<runtime::Runtime>);

impl Drop for Alone {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Pipeline {
    fn run(app: App) -> Self {
        let (observe, admin) = (app.observe().clone(), app.admin_address());
        let stop = CancellationToken::new();
        let run = tokio::spawn(app.run(stop.clone()));
        Self { observe, admin, stop, run, runtime: Alone(None) }
    }

    /// Stops it as SIGTERM would.
    pub(super) async fn stop(self) -> Summary {
        self.try_stop().await.unwrap()
    }

    pub(super) async fn try_stop(self) -> Result<Summary, AppError> {
        self.stop.cancel();
        timeout(DEADLINE, self.run).await.expect("it does not stop").unwrap()
    }

    /// Waits until it ends by itself.
    pub(super) async fn ended(self) -> Result<Summary, AppError> {
        timeout(DEADLINE, self.run).await.expect("it does not end").unwrap()
    }

    /// Ends it as SIGKILL would: nothing is drained, nothing said.
    pub(super) fn kill(mut self) {
        assert!(self.runtime.0.is_some(), "only a pipeline that was started alone");
        self.runtime = Alone(None);
    }

    /// The partitions that it has as a member of its group.
    pub(super) fn owned(&self) -> Vec<i32> {
        self.observe.status().group.map(|group| group.partitions).unwrap_or_default()
    }

    /// How often its group has changed for that cause.
    pub(super) fn rebalances(&self, cause: &str) -> u64 {
        let group = self.observe.status().group;
        group.and_then(|group| group.rebalances.get(cause).copied()).unwrap_or(0)
    }

    /// Whether it runs on, whatever has happened.
    pub(super) fn is_running(&self) -> bool {
        !self.run.is_finished()
    }

    /// What makes it unready; nothing where it is ready.
    pub(super) fn unready(&self) -> String {
        let reasons = self.observe.health.is_ready().err().unwrap_or_default();
        reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    /// Waits until `/readyz` would say this.
    pub(super) async fn until_unready(&self, text: &str) {
        self.until(&format!("unready for {text}"), || self.unready().contains(text)).await;
    }

    pub(super) async fn until_ready(&self) {
        self.until("ready", || self.unready().is_empty()).await;
    }

    /// The sum of a metric's series whose labels contain `label`.
    pub(super) fn metric(&self, name: &str, label: &str) -> u64 {
        let encoded = self.observe.metrics.encode();
        let series = encoded.lines().filter(|line| line.starts_with(name) && line.contains(label));
        series.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    pub(super) async fn until(&self, what: &str, done: impl Fn() -> bool) {
        self.until_or(what, done, String::new).await;
    }

    pub(super) async fn until_or(&self, what: &str, done: impl Fn() -> bool, state: impl Fn() -> String) {
        let deadline = Instant::now() + DEADLINE;
        while !done() {
            assert!(self.is_running(), "it ended before: {what}; {}", state());
            let late = Instant::now() > deadline;
            assert!(!late, "it never came: {what}; {}; unready: {:?}", state(), self.unready());
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// What an admin page says, over TCP.
    pub(super) async fn page(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\n")).await
    }

    /// What the admin port answers to a request that begins with these lines.
    pub(super) async fn ask(&self, lines: &str) -> String {
        let mut stream = TcpStream::connect(self.admin).await.unwrap();
        let request = format!("{lines}host: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(DEADLINE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    }
}
