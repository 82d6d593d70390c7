//! A real Apache Kafka for the tests: brokers as processes on ports of their own, which a test
//! may stop, kill, freeze and start again.
//!
//! Nodes are numbered from 1, as their `node.id`. Whatever way the test process ends, a watchdog
//! kills the brokers and removes their data.

use std::env;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::{CreateTopicsRequest, MetadataResponse};
use kafka_protocol::protocol::StrBytes;
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

use self::watchdog::Watchdog;
use super::{ROOT, free_ports, wire};

mod watchdog;

const STARTING: Duration = Duration::from_secs(120);
const STOPPING: Duration = Duration::from_secs(30);

/// Lets sessions (KIP-848's are the brokers' to set) and transactions end as soon as a test can wait.
pub const SHORT_WAITS: [(&str, &str); 6] = [
    ("group.consumer.min.session.timeout.ms", "1000"),
    ("group.consumer.session.timeout.ms", "6000"),
    ("group.consumer.min.heartbeat.interval.ms", "500"),
    ("group.consumer.heartbeat.interval.ms", "1000"),
    ("group.min.session.timeout.ms", "1000"),
    ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "500"),
];

/// Among the settings: a cluster that has transactions of version 1 only. A new one has version 2.
pub const TRANSACTIONS_1: (&str, &str) = ("--feature", "transaction.version=1");

/// The listener of which clients are told other ports: see [`KafkaCluster::start_proxied`].
pub const PROXIED: &str = "PROXIED";

/// Kafka's cluster for one test, or for all of a test binary: see [`KafkaCluster::shared`].
pub struct KafkaCluster {
    folder: PathBuf,
    libs: PathBuf,
    nodes: Vec<Node>,
    watchdog: Mutex<Watchdog>,
}

struct Node {
    id: usize,
    port: u16,
    /// More listeners, by name.
    listeners: Vec<(String, u16)>,
    settings: PathBuf,
    log: PathBuf,
    process: Mutex<Option<Child>>,
}

impl KafkaCluster {
    /// Whether there is what it takes to run Kafka here; what is missing where there is not.
    pub fn available() -> Result<(), String> {
        let java = Command::new("java").arg("-version").output().map_err(|_| "Java is not installed")?;
        let words = String::from_utf8_lossy(&java.stderr).into_owned();
        let version = words.split('"').nth(1).unwrap_or_default();
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        if !java.status.success() || major.is_none_or(|major| major < 17) {
            return Err(format!("Java 17 or newer is needed, this is {version:?}"));
        }
        let fetched = fs::read_dir(libs()).is_ok_and(|mut files| files.next().is_some());
        if !fetched && Command::new("mvn").arg("-v").output().is_err() {
            return Err("Maven is not installed, and Kafka's jars have not been fetched".to_owned());
        }
        Ok(())
    }

    /// The first line of every test that needs Kafka: `if KafkaCluster::left_out() { return; }`.
    /// Where Kafka can't run it says so, and with `CI` in the environment fails.
    #[track_caller]
    pub fn left_out() -> bool {
        let Err(why) = Self::available() else { return false };
        assert!(env::var_os("CI").is_none(), "CI is set, so Kafka must not be left out: {why}");
        // Not through print!, which the test harness keeps to itself.
        let _ = writeln!(std::io::stderr(), "LEFT OUT: {} needs a real Kafka: {why}", name_of_test());
        true
    }

    /// As [`KafkaCluster::shared`], another one with [`SHORT_WAITS`].
    pub async fn shared_with_short_waits() -> &'static Self {
        static SHARED: OnceCell<KafkaCluster> = OnceCell::const_new();
        SHARED.get_or_init(|| Self::start_with(1, &SHORT_WAITS)).await
    }

    /// One node, started once for the whole test binary. Each test takes topics of its own, and
    /// none may stop it.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<KafkaCluster> = OnceCell::const_new();
        SHARED.get_or_init(|| Self::start(1)).await
    }

    /// So many nodes, ready. From three on, topics have three replicas, two of them in sync.
    pub async fn start(nodes: usize) -> Self {
        Self::start_with(nodes, &[]).await
    }

    /// As [`Self::start`], with more broker settings. What begins with `--` is for the tool that formats
    /// the brokers' folders.
    pub async fn start_with(nodes: usize, settings: &[(&str, &str)]) -> Self {
        Self::start_listening(nodes, &[], settings).await
    }

    /// As [`Self::start_with`], with more listeners: their names, in capitals, and security
    /// protocols. The settings say the rest.
    pub async fn start_listening(nodes: usize, listeners: &[(&str, &str)], settings: &[(&str, &str)]) -> Self {
        Self::start_nodes(nodes, listeners, &[], settings).await
    }

    /// As [`Self::start_with`], a node for each of these ports and a listener more, [`PROXIED`]: whoever
    /// asks there for the brokers is told of these ports, on which something carries to the listener.
    pub async fn start_proxied(proxies: &[u16], settings: &[(&str, &str)]) -> Self {
        Self::start_nodes(proxies.len(), &[(PROXIED, "PLAINTEXT")], proxies, settings).await
    }

    async fn start_nodes(nodes: usize, listeners: &[(&str, &str)], proxies: &[u16], settings: &[(&str, &str)]) -> Self {
        let libs = fetch_libs().expect("Kafka's jars");
        let folder = env::temp_dir().join(format!("login-pipeline-kafka-{}-{}", std::process::id(), fastrand::u32(..)));
        fs::create_dir_all(&folder).expect("a folder for Kafka");
        let ports = free_ports((2 + listeners.len()) * nodes);
        let (brokers, ports) = ports.split_at(nodes);
        let (controllers, ports) = ports.split_at(nodes);
        let watchdog = Mutex::new(Watchdog::start(&folder).expect("a watchdog"));
        let nodes = (1..=nodes).map(|id| {
            let own = folder.join(format!("node-{id}"));
            fs::create_dir_all(&own).expect("a folder for a node");
            let ports = ports.iter().skip((id - 1) * listeners.len());
            let more: Vec<_> = listeners.iter().zip(ports).map(|((name, of), port)| (*name, *of, *port)).collect();
            let mut text = node_settings(id, brokers, controllers, &more, &own.join("data"), settings);
            if let Some(proxy) = proxies.get(id - 1) {
                let own = brokers[id - 1];
                let _ =
                    writeln!(text, "advertised.listeners=PLAINTEXT://127.0.0.1:{own},{PROXIED}://127.0.0.1:{proxy}");
            }
            fs::write(own.join("server.properties"), text).expect("a node's settings");
            Node {
                id,
                port: brokers[id - 1],
                listeners: more.iter().map(|(name, _, port)| ((*name).to_owned(), *port)).collect(),
                settings: own.join("server.properties"),
                log: own.join("server.log"),
                process: Mutex::new(None),
            }
        });
        let cluster = Self { nodes: nodes.collect(), folder, libs, watchdog };
        cluster.format(settings);
        for node in &cluster.nodes {
            cluster.launch(node);
        }
        for node in &cluster.nodes {
            cluster.wait_ready(node, cluster.nodes.len()).await;
        }
        cluster
    }

    /// All brokers, `host:port,host:port`.
    pub fn bootstrap(&self) -> String {
        self.brokers().join(",")
    }

    /// Each broker's `host:port`, that of node 1 first.
    pub fn brokers(&self) -> Vec<String> {
        self.nodes.iter().map(Node::address).collect()
    }

    /// All brokers at another of their listeners, `host:port,host:port`.
    pub fn listener(&self, name: &str) -> String {
        let port = |node: &Node| node.listeners.iter().find(|(found, _)| found == name).expect("a listener").1;
        self.nodes.iter().map(|node| format!("127.0.0.1:{}", port(node))).collect::<Vec<_>>().join(",")
    }

    /// SIGTERM, and waits for its end. A node that can't end, as without a quorum, is killed.
    pub async fn stop(&self, node: usize) {
        self.signal(node, Signal::TERM);
        self.wait_end(node, STOPPING).await;
    }

    /// SIGKILL: no goodbye, no flush.
    pub async fn kill(&self, node: usize) {
        self.signal(node, Signal::KILL);
        self.wait_end(node, STOPPING).await;
    }

    /// SIGSTOP: the node's connections stay open and fall silent.
    pub fn pause(&self, node: usize) {
        self.signal(node, Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&self, node: usize) {
        self.signal(node, Signal::CONT);
    }

    /// Starts a node that was stopped or killed, on the data it had, and waits until it answers.
    pub async fn start_node(&self, node: usize) {
        let node = self.node(node);
        assert!(node.process.lock().unwrap().is_none(), "node {} runs already", node.id);
        self.launch(node);
        self.wait_ready(node, 1).await;
    }

    /// Creates a topic with the cluster's usual number of replicas, and waits until every living
    /// broker knows it. `configs` are topic settings such as `("cleanup.policy", "compact")`.
    pub async fn create_topic(&self, topic: &str, partitions: i32, configs: &[(&str, &str)]) {
        let setting = |(name, value): &(&str, &str)| {
            CreatableTopicConfig::default()
                .with_name(StrBytes::from_string((*name).to_owned()))
                .with_value(Some(StrBytes::from_string((*value).to_owned())))
        };
        let wanted = CreatableTopic::default()
            .with_name(wire::topic_name(topic))
            .with_num_partitions(partitions)
            .with_replication_factor(-1)
            .with_configs(configs.iter().map(setting).collect());
        let request = CreateTopicsRequest::default().with_topics(vec![wanted]).with_timeout_ms(15_000);
        let mut connection = wire::Connection::any(&self.bootstrap()).await.expect("a broker");
        let answer = connection.call(&request, 5).await.expect("an answer to CreateTopics");
        for created in answer.topics {
            let why = created.error_message.unwrap_or_default();
            assert_eq!(created.error_code, 0, "creating {topic:?}: {}", why.as_str());
        }
        let until = Instant::now() + STARTING;
        for node in self.nodes.iter().filter(|node| node.runs()) {
            while leaders(&wire::metadata(&node.address()).await, topic).len() != usize::try_from(partitions).unwrap() {
                assert!(Instant::now() < until, "node {} does not know {topic:?}", node.id);
                sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// The node that leads a partition, if one does.
    pub async fn leader(&self, topic: &str, partition: usize) -> Option<usize> {
        leaders(&wire::metadata(&self.bootstrap()).await, topic).get(partition).copied()
    }

    /// Waits until all replicas of a topic are in sync.
    pub async fn wait_in_sync(&self, topic: &str) {
        let until = Instant::now() + STARTING;
        loop {
            let known = wire::metadata(&self.bootstrap()).await;
            let found = known.iter().flat_map(|known| &known.topics).filter(|known| named(known, topic));
            let mut partitions = found.flat_map(|topic| &topic.partitions).peekable();
            if partitions.peek().is_some() && partitions.all(|p| p.isr_nodes.len() == p.replica_nodes.len()) {
                return;
            }
            assert!(Instant::now() < until, "the replicas of {topic:?} do not come into sync");
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Runs one of Kafka's own tools, such as `org.apache.kafka.tools.ConfigCommand`, with
    /// `--bootstrap-server` added.
    pub async fn cli(&self, tool: &str, args: &[&str]) -> Output {
        self.java(&[&[tool, "--bootstrap-server", &self.bootstrap()], args].concat()).await
    }

    /// Runs a program of Kafka's jars: its class, and its arguments.
    pub async fn java(&self, program: &[&str]) -> Output {
        let mut command = java(&self.libs, "WARN");
        command.args(program);
        tokio::task::spawn_blocking(move || command.output().expect("java runs")).await.expect("a tool")
    }

    /// Where a node keeps its logs.
    pub fn data(&self, node: usize) -> PathBuf {
        self.node(node).settings.with_file_name("data")
    }

    /// What a node has logged.
    pub fn log(&self, node: usize) -> String {
        fs::read_to_string(&self.node(node).log).unwrap_or_default()
    }

    fn node(&self, node: usize) -> &Node {
        self.nodes.get(node.wrapping_sub(1)).expect("nodes are numbered from 1")
    }

    fn signal(&self, node: usize, signal: Signal) {
        let process = self.node(node).process.lock().unwrap();
        let child = process.as_ref().expect("the node runs");
        kill_process(Pid::from_child(child), signal).expect("the node's process is there");
    }

    async fn wait_end(&self, node: usize, patience: Duration) {
        let node = self.node(node);
        let until = Instant::now() + patience;
        let mut child = node.process.lock().unwrap().take().expect("the node runs");
        while child.try_wait().expect("a child").is_none() {
            if Instant::now() >= until {
                child.kill().expect("the node's process is there");
            }
            sleep(Duration::from_millis(20)).await;
        }
        self.tell_watchdog();
    }

    /// All nodes at once: each takes a JVM start.
    fn format(&self, settings: &[(&str, &str)]) {
        let formatting: Vec<Child> = self
            .nodes
            .iter()
            .map(|node| {
                let log = File::create(node.log.with_file_name("format.log")).expect("a log");
                java(&self.libs, "WARN")
                    .args(["kafka.tools.StorageTool", "format", "--cluster-id", "dGVzdHMtb2YtcGlwZWxpbmU", "--config"])
                    .arg(&node.settings)
                    .args(settings.iter().filter(for_the_formatter).flat_map(|(flag, value)| [flag, value]))
                    .stdin(Stdio::null())
                    .stdout(log.try_clone().expect("a log"))
                    .stderr(log)
                    .spawn()
                    .expect("java runs")
            })
            .collect();
        for (mut child, node) in formatting.into_iter().zip(&self.nodes) {
            let ended = child.wait().expect("a child");
            let log = fs::read_to_string(node.log.with_file_name("format.log")).unwrap_or_default();
            assert!(ended.success(), "node {} can't be formatted:\n{log}", node.id);
        }
    }

    fn launch(&self, node: &Node) {
        let log = File::options().create(true).append(true).open(&node.log).expect("a log");
        let child = java(&self.libs, "INFO")
            .arg("-Xmx512m")
            .args(keys_of_tokens(&node.settings))
            .arg("kafka.Kafka")
            .arg(&node.settings)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            // Ctrl-C is for the tests; the watchdog ends the brokers.
            .process_group(0)
            .spawn()
            .expect("java runs");
        *node.process.lock().unwrap() = Some(child);
        self.tell_watchdog();
    }

    /// Until the node answers and knows of `brokers` living brokers, itself among them.
    async fn wait_ready(&self, node: &Node, brokers: usize) {
        let until = Instant::now() + STARTING;
        loop {
            if let Ok(known) = wire::metadata(&node.address()).await {
                let itself = known.brokers.iter().any(|broker| usize::try_from(broker.node_id.0) == Ok(node.id));
                if itself && known.brokers.len() >= brokers {
                    return;
                }
            }
            assert!(node.runs(), "node {} ended while starting:\n{}", node.id, tail(&self.log(node.id)));
            assert!(Instant::now() < until, "node {} does not get ready:\n{}", node.id, tail(&self.log(node.id)));
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Keeps the brokers' data and logs for who looks into a failure: where they lie from now on.
    /// Nothing works any more after this.
    pub fn keep(&self) -> PathBuf {
        self.kill_all();
        let kept = self.folder.with_extension("kept");
        fs::rename(&self.folder, &kept).expect("the folder is moved"); // out of the watchdog's reach
        kept
    }

    fn kill_all(&self) {
        for node in &self.nodes {
            if let Some(mut child) = node.process.lock().unwrap().take() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }

    fn tell_watchdog(&self) {
        let processes = self.nodes.iter().filter_map(|node| Some(node.process.lock().unwrap().as_ref()?.id()));
        self.watchdog.lock().unwrap().watch(processes);
    }
}

impl Drop for KafkaCluster {
    fn drop(&mut self) {
        self.kill_all();
        // The watchdog sees the end of its input and removes the folder.
    }
}

impl Node {
    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn runs(&self) -> bool {
        let mut process = self.process.lock().unwrap();
        process.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }
}

fn node_settings(
    id: usize,
    brokers: &[u16],
    controllers: &[u16],
    listeners: &[(&str, &str, u16)],
    data: &Path,
    more: &[(&str, &str)],
) -> String {
    let (replicas, in_sync) = if brokers.len() >= 3 { (3, 2) } else { (1, 1) };
    let voters: Vec<String> = (1..).zip(controllers).map(|(id, port)| format!("{id}@127.0.0.1:{port}")).collect();
    let (broker, controller) = (brokers[id - 1], controllers[id - 1]);
    let protocols: String = listeners.iter().map(|(name, protocol, _)| format!(",{name}:{protocol}")).collect();
    let listeners: String = listeners.iter().map(|(name, _, port)| format!(",{name}://127.0.0.1:{port}")).collect();
    let mut text = format!(
        "process.roles=broker,controller\n\
         node.id={id}\n\
         controller.quorum.voters={}\n\
         listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}{listeners}\n\
         controller.listener.names=CONTROLLER\n\
         inter.broker.listener.name=PLAINTEXT\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT{protocols}\n\
         log.dirs={}\n\
         auto.create.topics.enable=false\n\
         log.retention.ms=-1\n\
         default.replication.factor={replicas}\n\
         min.insync.replicas={in_sync}\n\
         offsets.topic.replication.factor={replicas}\n\
         offsets.topic.num.partitions=4\n\
         transaction.state.log.replication.factor={replicas}\n\
         transaction.state.log.min.isr={in_sync}\n\
         transaction.state.log.num.partitions=4\n\
         share.coordinator.state.topic.replication.factor={replicas}\n\
         share.coordinator.state.topic.min.isr={in_sync}\n\
         group.initial.rebalance.delay.ms=0\n",
        voters.join(","),
        data.display(),
    );
    // The death of a broker is noticed sooner than by default, so that tests need not wait as long.
    text += "broker.heartbeat.interval.ms=500\nbroker.session.timeout.ms=5000\nreplica.lag.time.max.ms=8000\n";
    for (name, value) in more.iter().filter(|setting| !for_the_formatter(setting)) {
        let _ = writeln!(text, "{name}={value}");
    }
    text
}

/// Kafka reads keys only from where its own command line says it may.
fn keys_of_tokens(settings: &Path) -> Option<String> {
    let settings = fs::read_to_string(settings).expect("the node's settings");
    let url = settings.lines().find_map(|line| line.strip_prefix("sasl.oauthbearer.jwks.endpoint.url="))?;
    Some(format!("-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={url}"))
}

fn for_the_formatter(setting: &&(&str, &str)) -> bool {
    setting.0.starts_with("--")
}

fn java(libs: &Path, level: &str) -> Command {
    let logging = Path::new(ROOT).join("tools/kafka/log4j2.properties");
    let mut command = Command::new("java");
    command
        // Quick to start, and small: there may be three. kafka.sh says what the archive is.
        .arg(format!("-XX:SharedArchiveFile={}", libs.with_extension("jsa").display()))
        .args(["-Xlog:cds=off,cds+dynamic=off", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"])
        .arg(libs.join("*"))
        .arg(format!("-Dlog4j2.configurationFile={}", logging.display()))
        .arg(format!("-Dkafka.log.level={level}"));
    command
}

fn libs() -> PathBuf {
    env::var_os("KAFKA_LIBS").map_or_else(|| Path::new(ROOT).join(".kafka/libs"), PathBuf::from)
}

fn fetch_libs() -> Result<PathBuf> {
    let script = Path::new(ROOT).join("tools/kafka/kafka.sh");
    let fetched = Command::new("bash").arg(script).arg("fetch").output().context("bash")?;
    ensure!(fetched.status.success(), "kafka.sh fetch: {}", String::from_utf8_lossy(&fetched.stderr));
    Ok(libs())
}

/// The leader of each partition that has one, in the partitions' order.
fn leaders(known: &Result<MetadataResponse>, topic: &str) -> Vec<usize> {
    let found = known.iter().flat_map(|known| &known.topics).filter(|known| named(known, topic));
    let mut partitions: Vec<_> = found.flat_map(|topic| &topic.partitions).collect();
    partitions.sort_by_key(|partition| partition.partition_index);
    partitions.iter().filter_map(|partition| usize::try_from(partition.leader_id.0).ok()).collect()
}

fn named(known: &kafka_protocol::messages::metadata_response::MetadataResponseTopic, topic: &str) -> bool {
    known.name.as_ref().is_some_and(|name| name.0.as_str() == topic)
}

fn name_of_test() -> String {
    std::thread::current().name().unwrap_or("a test").to_owned()
}

/// The last lines of a log.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
