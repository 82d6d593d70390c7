//! Brokers, instances and the network between them, and the time in which all of it happens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use kafka_client::clock;
use kafka_client::testing::{Network, Path};
use kafka_records::compression::Compression;
use kafka_sandbox::{ConsumerGroupOptions, FaultHandle, NewRecord, Sandbox, SandboxError, TopicConfig};

use crate::disk::Folder;
use crate::host::Host;
use crate::instance::{Instance, STOPPING};
use crate::ledger::{ABROAD, DEAD, Ledger, OUTPUT, SOURCE};
use crate::records::{Records, packed, packed_in_transaction};
use crate::release::{Countries, Rules};
use crate::scenario::{CHECK_SECONDS, Drawn, Kind, Scenario, Sending, Setting};
use crate::watch::Watch;

/// Something that is to happen later.
type Later = Box<dyn FnOnce(&mut World)>;

/// How often what must hold at every moment is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// The time within which everything is delivered once the world is well. The longest that the programs wait for
/// something: a session that ends, a transaction that is given up, pauses between attempts, each once or twice.
const PATIENCE: Duration = Duration::from_secs(240);

/// The time in which a file with countries that is another is read again.
const CHECKED: Duration = Duration::from_secs(CHECK_SECONDS * 3);

/// The ids of who writes transactions to the source begin here: no broker gives out so many.
const FIRST_PRODUCER: i64 = 1 << 40;

/// The group of the instances.
pub(crate) const GROUP: &str = "login-pipeline";

/// `UNKNOWN_TOPIC_OR_PARTITION`.
pub(crate) const UNKNOWN_TOPIC: i16 = 3;

/// Everything there is.
pub(crate) struct World {
    /// What the scenario says of it.
    pub setting: Setting,
    /// The network.
    pub network: Network,
    /// The brokers.
    pub sandbox: Arc<Sandbox>,
    /// The instances.
    pub instances: Vec<Instance>,
    brokers: Host,
    ledger: Arc<Mutex<Ledger>>,
    records: Records,
    /// What chance draws beside the scenario.
    pub random: Rng,
    now: Duration,
    agenda: BTreeMap<(Duration, u64), Later>,
    planned: u64,
    /// Whether something may have been written twice by right: a process was killed, or lost what it had.
    pub may_repeat: bool,
    watch: Watch,
    /// What a former coordinator answers as if it were one still.
    pub(crate) former: Vec<FaultHandle>,
    /// Gone when the instances are.
    _folder: Folder,
}

/// A node's address.
pub(crate) fn address(node: i32) -> String {
    format!("127.0.0.1:{}", 9091 + node)
}

impl World {
    /// As a scenario has it: the brokers are up, the instances about to start.
    ///
    /// # Panics
    /// Where the brokers can't be started.
    pub(crate) fn new(scenario: &Scenario, watch: Watch) -> Self {
        let (setting, brokers) = (scenario.setting.clone(), Host::start(Duration::ZERO));
        let network = brokers.run(async { Network::default() });
        let rules = setting.has_releases.then(|| Rules::new(setting.has_countries));
        let ledger = Arc::new(Mutex::new(Ledger::new(setting.output_max_bytes, rules)));
        let sandbox = brokers.run(start_brokers(&setting, &network, Arc::clone(&ledger)));
        for node in sandbox.nodes() {
            network.path(&address(node)).delay(setting.latency);
        }
        let bootstrap: Vec<_> = sandbox.nodes().into_iter().map(address).collect();
        let mut random = Rng::with_seed(scenario.seed ^ 0x5eed);
        let begin = |random: &mut Rng| Duration::from_millis(random.u64(..3_000));
        let folder = Folder::new(scenario.seed);
        let instance = |number| Instance::new(number, &setting, &bootstrap.join(","), &folder, begin(&mut random));
        let instances = (0..setting.instances).map(instance).collect();
        let mut world = Self {
            setting,
            network,
            sandbox,
            instances,
            brokers,
            ledger,
            records: Records::new(scenario.seed),
            random,
            now: Duration::ZERO,
            agenda: BTreeMap::new(),
            planned: 0,
            may_repeat: false,
            watch,
            former: Vec::new(),
            _folder: folder,
        };
        for Drawn { at, what, .. } in scenario.batches.clone() {
            world.at(at, move |world| world.send(&what));
        }
        for Drawn { at, what, .. } in scenario.faults.clone() {
            world.at(at, move |world| what.strike(world));
        }
        world
    }

    /// The time that all have in common.
    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    /// The account.
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has something happen then.
    pub(crate) fn at(&mut self, at: Duration, what: impl FnOnce(&mut Self) + 'static) {
        self.planned += 1;
        self.agenda.insert((at, self.planned), Box::new(what));
    }

    /// Has something happen that much later.
    pub(crate) fn later(&mut self, after: Duration, what: impl FnOnce(&mut Self) + 'static) {
        self.at(self.now + after, what);
    }

    /// Does something at the brokers.
    pub(crate) fn with_brokers<T>(&self, work: impl FnOnce(&Sandbox) -> T) -> T {
        self.brokers.run(async { work(&self.sandbox) })
    }

    /// Does something at the brokers that they take time for.
    pub(crate) fn brokers_run<T>(&self, work: impl Future<Output = T>) -> T {
        self.brokers.run(work)
    }

    /// The way from an instance, or from all, to a node.
    pub(crate) fn path(&self, from: Option<usize>, node: i32) -> Path {
        let to = address(node);
        match from.and_then(|instance| self.instances.get(instance)) {
            Some(instance) => self.network.path_from(instance.name(), &to),
            None => self.network.path(&to),
        }
    }

    /// How long what goes that way takes where nothing is wrong, beside what it takes for all.
    pub(crate) fn usual_delay(&self, from: Option<usize>) -> Duration {
        if from.is_none() { self.setting.latency } else { Duration::ZERO }
    }

    /// A partition of the source that there is.
    pub(crate) fn source_partition(&self, partition: i32) -> i32 {
        partition % self.with_brokers(|sandbox| sandbox.partitions(SOURCE)).max(1)
    }

    /// Tells a former coordinator that it is none.
    pub(crate) fn end_former(&mut self) {
        self.former.drain(..).for_each(|handle| handle.remove());
    }

    /// Writes a batch to the source.
    pub(crate) fn send(&mut self, sending: &Sending) {
        let Sending { partition, records, kind, codec } = *sending;
        let partition = self.source_partition(partition);
        let now_ms = self.brokers.run(async { clock::unix_ms() });
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let records: Vec<_> = (0..records).map(|index| ledger.name(index, self.records.next(kind, now_ms))).collect();
        if kind == Kind::Transactions {
            return self.send_in_transactions(&mut ledger, partition, records, codec);
        }
        let batch = packed(&records, codec);
        let appended = self.brokers.run(async { self.sandbox.append_encoded(SOURCE, partition, &batch) });
        match appended {
            Ok(base) => ledger.enter(partition, base, records, kind == Kind::OddTimes),
            Err(SandboxError::Refused { code: UNKNOWN_TOPIC }) => {} // it is away
            Err(error) => ledger.note(format!("a batch was not appended: {error}")),
        }
    }

    /// Writes a batch of a transaction that is aborted, and one of the next, by the same producer, that is committed.
    fn send_in_transactions(
        &self,
        ledger: &mut Ledger,
        partition: i32,
        mut aborted: Vec<NewRecord>,
        codec: Compression,
    ) {
        let committed = aborted.split_off(aborted.len().div_ceil(2));
        let producer = FIRST_PRODUCER + i64::try_from(ledger.records()).unwrap_or_default();
        let halves = [(0, aborted, false), (1, committed, true)];
        for (sequence, records, commits) in halves.into_iter().filter(|(_, records, _)| !records.is_empty()) {
            let batch = packed_in_transaction(&records, codec, producer, sequence);
            let appended = self.brokers.run(async {
                let base = self.sandbox.append_encoded(SOURCE, partition, &batch)?;
                self.sandbox.append_control_batch(SOURCE, partition, producer, commits).map(|_| base)
            });
            match appended {
                Ok(base) if commits || !self.setting.has("source.isolation", "read_committed") => {
                    ledger.enter(partition, base, records, false)
                }
                Ok(base) => ledger.enter_aborted(partition, base, records),
                Err(SandboxError::Refused { code: UNKNOWN_TOPIC }) => return, // it is away
                Err(error) => ledger.note(format!("a batch was not appended: {error}")),
            }
        }
    }

    /// Replaces an instance's file with countries, where it has one.
    pub(crate) fn put_countries(&mut self, instance: usize, by: Countries) {
        if let Some(instance) = self.instances.get_mut(instance) {
            instance.put_countries(by);
        }
        // What can't be read, changes nothing.
        if let Some(rules) = self.ledger().rules().filter(|_| by.is_sound()) {
            rules.has_read(by);
        }
    }

    /// Lets time pass until then, or until something is wrong.
    pub(crate) fn run_until(&mut self, until: Duration) {
        while self.now < until && !self.ledger().is_wrong() {
            let next = (self.now + self.setting.step).min(until);
            while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= self.now) {
                entry.remove()(self);
            }
            self.step(next);
            if self.now.as_millis() / LOOK.as_millis() != next.as_millis() / LOOK.as_millis() {
                self.look();
            }
            self.now = next;
        }
    }

    /// All run for a step, in an order that chance draws.
    fn step(&mut self, to: Duration) {
        let mut turns: Vec<_> = (0..=self.instances.len()).collect();
        self.random.shuffle(&mut turns);
        for turn in turns {
            let ended = match turn.checked_sub(1) {
                None => {
                    self.brokers.run_until(to);
                    Ok(())
                }
                Some(instance) => {
                    self.note_start(instance);
                    self.instances[instance].step(&self.network, self.now, to)
                }
            };
            if let Err(why) = ended {
                self.ledger().note(why);
            }
        }
    }

    /// Notes what an instance has read of countries that is about to start: perhaps none.
    fn note_start(&self, instance: usize) {
        let instance = &self.instances[instance];
        let countries = instance.countries().filter(|_| instance.starts(self.now));
        let read = countries.map(|countries| if countries.is_sound() { countries } else { Countries::Gone });
        if let (Some(read), Some(rules)) = (read, self.ledger().rules()) {
            rules.has_read(read);
        }
    }

    /// What must hold at every moment: no offset is stored of what is not written. Within a transaction it counts when
    /// that is committed, partition after partition, so that only the end is looked at.
    fn look(&mut self) {
        if self.setting.is_exactly_once {
            return;
        }
        for (partition, offset) in self.stored() {
            let now = self.now;
            self.ledger().stored(partition, offset, now, !self.setting.is_files());
        }
    }

    /// The offsets that the group has, or the files.
    fn stored(&self) -> BTreeMap<i32, i64> {
        if self.setting.is_files() {
            let all = self.instances.iter().map(Instance::stored).collect::<Result<Vec<_>, _>>();
            return match all {
                Ok(all) => all.into_iter().flatten().collect(),
                Err(why) => {
                    self.ledger().note(why);
                    BTreeMap::new()
                }
            };
        }
        self.with_brokers(|sandbox| {
            let partitions = 0..sandbox.partitions(SOURCE);
            let stored = partitions.filter_map(|partition| {
                let committed = sandbox.committed(GROUP, SOURCE, partition)?;
                Some((partition, committed.offset))
            });
            stored.collect()
        })
    }

    /// Lets what was planned happen, lets all get well, waits until everything is delivered, and stops the instances.
    pub(crate) fn play(&mut self) {
        while let Some((at, _)) = self.agenda.last_key_value().map(|(key, _)| *key) {
            self.run_until(at + self.setting.step);
            if self.ledger().is_wrong() {
                return;
            }
        }
        self.heal();
        if !self.gets_done() {
            return;
        }
        if self.setting.has_releases {
            self.settle();
            if !self.gets_done() {
                return;
            }
        }
        // What comes late, comes now: copies, for one.
        self.run_until(self.now + Duration::from_secs(3));
        for instance in &mut self.instances {
            instance.stop(STOPPING * 2);
        }
        // One that does not says so itself.
        while self.instances.iter().any(Instance::is_up) && !self.ledger().is_wrong() {
            self.run_until(self.now + LOOK);
        }
        let may_repeat = self.may_repeat || self.watch.admits_repeats();
        let mut ledger = self.ledger();
        if ledger.repeated() > 0 && (self.setting.is_exactly_once || !may_repeat) {
            ledger.note_repeated();
        }
    }

    /// Waits until all is delivered. Returns whether it is, and nothing is wrong.
    fn gets_done(&mut self) -> bool {
        let until = self.now + PATIENCE;
        while self.now < until && !self.is_done() && !self.ledger().is_wrong() {
            self.run_until(self.now + LOOK);
        }
        if !self.ledger().is_wrong() && !self.is_done() {
            let why = self.why_not_done();
            let mut ledger = self.ledger();
            let (missing, all) = (ledger.missing(), ledger.records());
            ledger.note(format!("{missing} of {all} records are stuck: {why}"));
            ledger.note_missing("stuck");
        }
        !self.ledger().is_wrong()
    }

    /// Sends something to each partition once all instances have the last release that they were given, and have read the
    /// last countries: it is written by these and no others.
    fn settle(&mut self) {
        for instance in 0..self.instances.len() {
            if self.instances[instance].countries().is_some_and(|countries| !countries.is_sound()) {
                self.put_countries(instance, Countries::Second);
            }
        }
        self.run_until(self.now + CHECKED);
        let releases = self.instances.iter().filter_map(Instance::is_release).collect();
        let countries = self.instances.iter().filter_map(Instance::countries).collect();
        let last = self.ledger().rules().map(|rules| rules.only(releases, countries));
        if let Some(last) = last {
            self.ledger().settle_rules(last);
        }
        for partition in 0..self.with_brokers(|sandbox| sandbox.partitions(SOURCE)) {
            self.send(&Sending { partition, records: 5, kind: Kind::Usual, codec: Compression::None });
        }
    }

    /// Ends all that is wrong with the world.
    fn heal(&mut self) {
        self.with_brokers(|sandbox| {
            sandbox.clear_faults();
            sandbox.hold_markers(false);
            sandbox.set_loading(GROUP, false);
        });
        let nodes = self.sandbox.nodes();
        for node in nodes {
            let restarted = self.brokers_run(self.sandbox.restart(node));
            if let Err(error) = restarted {
                self.ledger().note(format!("a broker is not back: {error}"));
            }
            for from in [None].into_iter().chain((0..self.instances.len()).map(Some)) {
                let path = self.path(from, node);
                path.resume();
                path.delay(self.usual_delay(from));
            }
        }
    }

    fn is_done(&self) -> bool {
        if self.ledger().missing() > 0 || !self.instances.iter().all(Instance::is_well) {
            return false;
        }
        // What the offsets topic has is not read here.
        (self.setting.has("offsets.store", "topic") || self.is_stored())
            && self.instances.iter().all(|instance| instance.unready().is_none())
    }

    /// Whether the group has the end of each partition that was sent to.
    fn is_stored(&self) -> bool {
        let (partitions, stored) = (self.ledger().partitions(), self.stored());
        self.with_brokers(|sandbox| {
            partitions.iter().all(|partition| {
                let end = sandbox.end_offset(SOURCE, *partition).unwrap_or_default();
                let begin = sandbox.log_start_offset(SOURCE, *partition).unwrap_or_default();
                begin == end || stored.get(partition).is_some_and(|stored| *stored == end)
            })
        })
    }

    fn why_not_done(&self) -> String {
        let unready = self.instances.iter().filter_map(|instance| Some((instance.name(), instance.unready()?)));
        let unready: Vec<_> = unready.map(|(name, why)| format!("{name} is not ready: {why}")).collect();
        let ends: BTreeMap<_, _> = self.with_brokers(|sandbox| {
            let partitions = 0..sandbox.partitions(SOURCE);
            partitions.filter_map(|partition| Some((partition, sandbox.end_offset(SOURCE, partition).ok()?))).collect()
        });
        format!("logs end at {ends:?}, stored is {:?}, {}", self.stored(), unready.join(", "))
    }
}

impl Setting {
    /// The settings of a topic.
    pub(crate) fn topic(&self, name: &str, partitions: i32) -> TopicConfig {
        let usual = TopicConfig { segment_bytes: Some(self.segment_bytes), ..TopicConfig::new(partitions) };
        if [OUTPUT, ABROAD].contains(&name) {
            TopicConfig { max_message_bytes: self.output_max_bytes, ..usual }
        } else {
            usual
        }
    }
}

async fn start_brokers(setting: &Setting, network: &Network, ledger: Arc<Mutex<Ledger>>) -> Arc<Sandbox> {
    let outputs = setting.outputs;
    let tell = move |topic: &str, partition: i32, records: &[kafka_sandbox::StoredRecord]| {
        let at = kafka_client::testing::clocks().map_or(Duration::ZERO, |clocks| clocks.common);
        let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.written(topic, partition, outputs, records, at);
    };
    let mut brokers = Sandbox::builder()
        .nodes(setting.nodes)
        .ports((9092..).take(setting.nodes))
        .unbound()
        .clock(clock::unix_ms)
        .segment_bytes(setting.segment_bytes)
        .fetch_max_bytes(setting.fetch_max_bytes)
        .transaction_version(setting.transaction_version)
        .on_append(tell);
    if setting.whole_batches {
        brokers = brokers.whole_batches();
    }
    if setting.is_consumer {
        let session_timeout = Duration::from_secs(6);
        let heartbeat_interval = Duration::from_millis(500);
        brokers = brokers.consumer_groups(ConsumerGroupOptions { session_timeout, heartbeat_interval });
    }
    let sandbox = Arc::new(brokers.start().await.expect("brokers without ports"));
    let abroad = setting.has_releases.then_some((ABROAD, outputs));
    for (name, partitions) in
        [(SOURCE, setting.partitions), (OUTPUT, outputs), (DEAD, outputs)].into_iter().chain(abroad)
    {
        sandbox.create_topic_with(name, setting.topic(name, partitions)).expect("a topic");
    }
    for node in sandbox.nodes() {
        let (mut listener, sandbox) = (network.listen(&address(node)), Arc::downgrade(&sandbox));
        tokio::spawn(async move {
            while let Some(stream) = listener.accept().await {
                let Some(sandbox) = sandbox.upgrade() else { return };
                let _ = sandbox.connect(node, stream); // the node is one of its own
            }
        });
    }
    sandbox
}
