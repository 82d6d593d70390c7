//! What a seed draws: how the world is set up, what is sent through it, and what goes wrong meanwhile.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use fastrand::Rng;
use kafka_records::compression::Compression;
use kafka_sandbox::{Action, Api, Damage};

use crate::disk::DiskTrouble;
use crate::release::{Countries, RELEASES};

/// All that happens in a simulation, but for what chance does in the programs themselves.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Whence all chance comes.
    pub seed: u64,
    /// How the world is set up.
    pub setting: Setting,
    /// What is written to the source, and when.
    pub batches: Vec<Drawn<Sending>>,
    /// What goes wrong, and when.
    pub faults: Vec<Drawn<Fault>>,
}

/// Something that happens, and when.
#[derive(Debug, Clone)]
pub struct Drawn<T> {
    /// Its number among all that the seed draws.
    pub number: usize,
    /// When it happens.
    pub at: Duration,
    /// What it is.
    pub what: T,
}

/// How the world is set up.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Brokers.
    pub nodes: usize,
    /// Partitions of the source.
    pub partitions: i32,
    /// Partitions of the output and of the dead-letter topic.
    pub outputs: i32,
    /// Instances of the pipeline.
    pub instances: usize,
    /// How long a machine runs at a time.
    pub step: Duration,
    /// How long what is sent takes.
    pub latency: Duration,
    /// Bytes of a segment.
    pub segment_bytes: usize,
    /// `fetch.max.bytes` of the brokers.
    pub fetch_max_bytes: usize,
    /// Whether the brokers leave a fetch's last batch out instead of cutting it.
    pub whole_batches: bool,
    /// Whether a group's members are those of KIP-848.
    pub is_consumer: bool,
    /// `transaction.version` of the cluster.
    pub transaction_version: i16,
    /// `delivery.guarantee` is `exactly_once`.
    pub is_exactly_once: bool,
    /// The largest batch that the output takes.
    pub output_max_bytes: usize,
    /// Whether there is a group, static assignment else.
    pub is_group: bool,
    /// The pipelines' configuration.
    pub keys: Vec<(&'static str, String)>,
    /// Whether there are releases of it, each with rules and fields of its own.
    pub has_releases: bool,
    /// Whether countries are written, too.
    pub has_countries: bool,
}

/// Records that are written to the source in one batch.
#[derive(Debug, Clone)]
pub struct Sending {
    /// The partition, of as many as there are by then.
    pub partition: i32,
    /// How many records.
    pub records: usize,
    /// What is odd about them.
    pub kind: Kind,
    /// The batch's codec.
    pub codec: Compression,
}

/// What is odd about records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A quarter of them is bad.
    Usual,
    /// Each is larger than a small fetch.
    Large,
    /// Their headers have null values, names twice, and names that are no text.
    OddHeaders,
    /// Their timestamps are none, or far away.
    OddTimes,
    /// One unpacks to a mebibyte of nothing.
    Bomb,
    /// The first half is of a transaction that is aborted, the second of one by the same producer that is committed.
    Transactions,
}

/// What goes wrong.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Requests are answered wrongly, late or not at all.
    Requests {
        /// Which.
        api: Api,
        /// To which node; to any where it is none.
        node: Option<i32>,
        /// How often.
        times: u64,
        /// What happens to each.
        answer: Action,
    },
    /// For so long, the group's coordinator of now, which ceases to be it, goes on answering what offsets the group has.
    Former {
        /// Who is the coordinator from now on.
        node: i32,
        /// For how long.
        lasts: Duration,
    },
    /// For so long, such requests are answered from what is known now.
    Stale {
        /// Which.
        api: Api,
        /// For how long.
        lasts: Duration,
    },
    /// The way between an instance, or all, and a node.
    Way {
        /// The instance; all where it is none.
        from: Option<usize>,
        /// The node.
        to: i32,
        /// What becomes of it.
        trouble: Trouble,
    },
    /// An instance.
    Instance {
        /// Which.
        instance: usize,
        /// What becomes of it.
        trouble: Mishap,
    },
    /// A broker dies, and is back after that.
    Crash {
        /// Which.
        node: i32,
        /// For how long.
        lasts: Duration,
    },
    /// A partition gets another leader.
    Lead {
        /// 0 the source, 1 the output, 2 the dead letters.
        topic: usize,
        /// The partition.
        partition: i32,
        /// Its leader to be.
        node: i32,
    },
    /// A partition of the source gets a leader that lacks the last so many offsets.
    Unclean {
        /// The partition.
        partition: i32,
        /// Its leader to be.
        node: i32,
        /// How many offsets it lacks.
        lacks: i64,
    },
    /// The group gets another coordinator.
    Coordinator {
        /// Who that is to be.
        node: i32,
    },
    /// The transactions of a partition's transactional id get another coordinator.
    TransactionCoordinator {
        /// The source partition.
        partition: i32,
        /// Who that is to be.
        node: i32,
    },
    /// The group's coordinator reads what it has for so long.
    Loading {
        /// For how long.
        lasts: Duration,
    },
    /// Markers of transactions are not written for so long.
    Markers {
        /// For how long.
        lasts: Duration,
    },
    /// A segment of the source ends.
    Roll {
        /// The partition.
        partition: i32,
    },
    /// Offsets of the source have no records.
    Hole {
        /// The partition.
        partition: i32,
        /// How many.
        offsets: u32,
    },
    /// Retention takes the older part of a partition of the source, whether it was read or not.
    Trim {
        /// The partition.
        partition: i32,
        /// The part of it, in percent.
        percent: i64,
    },
    /// A batch of the source is damaged.
    Damage {
        /// The partition.
        partition: i32,
        /// Where in it, in percent.
        percent: i64,
        /// In what way.
        harm: Damage,
    },
    /// The source gets another partition.
    Partition,
    /// An instance's disk.
    Disk {
        /// Whose.
        instance: usize,
        /// What becomes of it.
        trouble: DiskTrouble,
    },
    /// Instances are started again, one after another, with another release of the configuration.
    Deploy {
        /// Which.
        release: u8,
        /// How long after one the next is asked to stop.
        apart: Duration,
    },
    /// An instance's file with countries is replaced.
    Countries {
        /// Whose.
        instance: usize,
        /// By what.
        by: Countries,
    },
    /// A topic is deleted, and made anew after that.
    Anew {
        /// 0 the source, 1 the output, 2 the dead letters.
        topic: usize,
        /// For how long there is none.
        lasts: Duration,
    },
}

/// What becomes of the way to a node.
#[derive(Debug, Clone, Copy)]
pub enum Trouble {
    /// Its connections break.
    Cut,
    /// A connection breaks after so many bytes.
    CutAfter(usize),
    /// Nothing passes for so long.
    Stall(Duration),
    /// All takes so much longer, for so long.
    Slow(Duration, Duration),
}

/// What becomes of an instance.
#[derive(Debug, Clone, Copy)]
pub enum Mishap {
    /// It is killed, and started again after that.
    Kill(Duration),
    /// It is asked to stop, and started again that long after it has.
    Restart(Duration),
    /// It stands still for so long.
    Stop(Duration),
    /// Its machine is suspended for so long.
    Sleep(Duration),
    /// The same as either, in the middle of writing: brokers take nothing from it before.
    StopWriting {
        /// For how long.
        lasts: Duration,
        /// Whether the machine is suspended.
        is_sleep: bool,
    },
    /// Its clock of the day is moved by so many milliseconds.
    Day(i64),
}

/// How often the file with countries is looked at.
pub(crate) const CHECK_SECONDS: u64 = 1;

/// The most partitions that the source has.
pub(crate) const PARTITIONS: i32 = 8;

/// More than a client takes.
const OVERSIZE: usize = 200 << 20;

/// An error that a fetch may have.
const OFFSET_OUT_OF_RANGE: i16 = 1;

/// APIs whose answers are read only.
const READS: [Api; 4] = [Api::Fetch, Api::Metadata, Api::FindCoordinator, Api::ListOffsets];

fn seconds(random: &mut Rng, range: RangeInclusive<u64>) -> Duration {
    Duration::from_millis(random.u64(range.start() * 1_000..=range.end() * 1_000))
}

fn pick<T: Clone>(random: &mut Rng, choices: &[T]) -> T {
    choices[random.usize(..choices.len())].clone()
}

impl Scenario {
    /// What a seed draws.
    pub fn draw(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let setting = Setting::draw(&mut random);
        let lasts = seconds(&mut random, 5..=40);
        let moment =
            |random: &mut Rng| Duration::from_millis(random.u64(..u64::try_from(lasts.as_millis()).unwrap_or(1)));
        let count = random.usize(5..80);
        let batches = (0..count).map(|_| (moment(&mut random), Sending::draw(&mut random))).collect();
        // Now and then nothing goes wrong: what is promised of that is most.
        let count = match random.u8(..8) {
            0 => 0,
            1 => random.usize(20..80),
            _ => random.usize(1..20),
        };
        let mut faults: Vec<_> =
            (0..count).map(|_| (moment(&mut random), Fault::draw(&mut random, &setting))).collect();
        // Who says of a position that it is gone, and of the log's end where that once was, is believed.
        if faults.iter().any(|(_, fault)| matches!(fault, Fault::Stale { api: Api::ListOffsets, .. })) {
            faults.retain(|(_, fault)| !fault.says_out_of_range());
        }
        // What came to be drawn later has chance of its own, so that a seed draws all else as it did.
        let (mut setting, mut random) = (setting, Rng::with_seed(seed ^ LATER));
        setting.widen(&mut random);
        let count = random.usize(..12);
        let more = (0..count).filter_map(|_| Some((moment(&mut random), Fault::draw_more(&mut random, &setting)?)));
        let more = more.collect();
        let (batches, mut faults) = (in_order(batches, 0), in_order(faults, 0));
        faults.extend(in_order(more, faults.len()));
        Self { seed, batches, faults, setting }
    }
}

/// What distinguishes the chance of what came to be drawn later.
const LATER: u64 = 0x1a7e_1a7e;

fn in_order<T>(mut all: Vec<(Duration, T)>, first: usize) -> Vec<Drawn<T>> {
    all.sort_by_key(|(at, _)| *at);
    (first..).zip(all).map(|(number, (at, what))| Drawn { number, at, what }).collect()
}

impl Setting {
    fn draw(random: &mut Rng) -> Self {
        let is_exactly_once = random.u8(..3) == 0;
        let is_group = random.u8(..5) > 0;
        let is_consumer = is_group && random.bool();
        // The offsets topic is for who has no group.
        let is_topic = !is_exactly_once && !is_group && random.bool();
        let transaction_version = random.i16(1..=2);
        let fetches = [("16KiB", "64KiB"), ("16KiB", "4MiB"), ("64KiB", "256KiB"), ("1MiB", "1MiB"), ("1MiB", "4MiB")];
        let (max_fetch_bytes, max_in_flight_bytes) = pick(random, &fetches);
        let millis = |random: &mut Rng, of: &[u64]| format!("{}ms", pick(random, of));
        let mut keys = vec![
            ("source.reader", "wire".to_owned()),
            ("topics.create", if is_topic { "missing" } else { "never" }.to_owned()),
            ("kafka.request_timeout", millis(random, &[800, 2_000, 5_000])),
            ("kafka.connect_timeout", millis(random, &[500, 2_000])),
            ("source.lag_interval", "500ms".to_owned()),
            ("source.max_wait", millis(random, &[50, 500])),
            ("source.max_fetch_bytes", max_fetch_bytes.to_owned()),
            ("pipeline.max_in_flight_bytes", max_in_flight_bytes.to_owned()),
            ("output.max_batch_bytes", pick(random, &["16KiB", "900KiB"]).to_owned()),
            ("pipeline.max_record_bytes", "256KiB".to_owned()),
            ("retry.initial", millis(random, &[10, 100])),
            ("retry.max", millis(random, &[200, 2_000])),
            ("offsets.checkpoint_interval", millis(random, &[20, 200, 1_000])),
            ("offsets.store", if is_topic { "topic" } else { "group" }.to_owned()),
            ("assignment.mode", if is_group { "group" } else { "static" }.to_owned()),
            ("assignment.discovery_interval", "500ms".to_owned()),
            ("output.compression", pick(random, &["none", "lz4", "zstd", "gzip", "snappy"]).to_owned()),
        ];
        if is_group {
            let assignor = pick(random, &["cooperative-sticky", "range", "roundrobin"]);
            keys.push(("group.protocol", if is_consumer { "consumer" } else { "classic" }.to_owned()));
            keys.push(("group.rebalance_timeout", millis(random, &[3_000, 10_000])));
            if is_consumer {
                keys.push(("group.session_timeout", "6s".to_owned())); // as its broker has it
            } else {
                keys.push(("group.session_timeout", millis(random, &[6_000, 10_000])));
                keys.push(("group.heartbeat_interval", millis(random, &[300, 1_000])));
                keys.push(("group.assignors", assignor.to_owned()));
            }
        }
        if is_exactly_once {
            let version = if random.bool() { "auto" } else { "1" };
            keys.push(("delivery.guarantee", "exactly_once".to_owned()));
            keys.push(("delivery.transaction_version", version.to_owned()));
            keys.push(("delivery.transaction_interval", millis(random, &[50, 100, 500])));
            keys.push(("delivery.transaction_timeout", millis(random, &[10_000, 30_000])));
        }
        if random.u8(..3) == 0 {
            keys.push(("source.isolation", "read_committed".to_owned()));
        }
        Self {
            nodes: random.usize(1..=3),
            partitions: random.i32(1..=6),
            outputs: random.i32(1..=6),
            instances: if is_group { random.usize(1..=3) } else { 1 },
            step: Duration::from_millis(pick(random, &[2, 5, 10, 20])),
            latency: Duration::from_millis(pick(random, &[0, 1, 5, 50])),
            segment_bytes: pick(random, &[4 << 10, 32 << 10, 1 << 20]),
            fetch_max_bytes: pick(random, &[8 << 10, 64 << 10, 55 << 20]),
            whole_batches: random.u8(..4) == 0,
            is_consumer,
            transaction_version,
            is_exactly_once,
            is_group,
            output_max_bytes: pick(random, &[64 << 10, 1_048_588]),
            keys,
            has_releases: false,
            has_countries: false,
        }
    }
}

impl Setting {
    /// Draws what came to be drawn later.
    fn widen(&mut self, random: &mut Rng) {
        // Whose group is taken away has files.
        if self.is_group && !self.is_exactly_once && random.u8(..12) == 0 {
            (self.is_group, self.is_consumer, self.instances) = (false, false, 1);
            self.keys.retain(|(key, _)| !key.starts_with("group."));
            self.set("assignment.mode", "static");
            self.set("offsets.store", "file");
        } else if !self.is_group && !self.is_exactly_once && self.has("offsets.store", "group") && random.bool() {
            self.set("offsets.store", "file");
        }
        if !self.is_group && random.bool() {
            self.instances = random.usize(1..=3);
            self.set("assignment.mode", "ordinal");
            self.keys.push(("assignment.replicas", self.instances.to_string()));
        }
        self.has_releases = random.u8(..4) == 0;
        self.has_countries = self.has_releases && random.bool();
        if self.has_countries {
            self.keys.push(("enrich.geoip.check_interval", format!("{CHECK_SECONDS}s")));
        }
    }

    /// Has the pipelines' configuration have a key so.
    fn set(&mut self, key: &str, value: &str) {
        for (_, set) in self.keys.iter_mut().filter(|(known, _)| *known == key) {
            value.clone_into(set);
        }
    }

    /// Whether offsets are in files.
    pub(crate) fn is_files(&self) -> bool {
        self.has("offsets.store", "file")
    }

    /// Whether the pipelines' configuration has a key so.
    pub(crate) fn has(&self, key: &str, value: &str) -> bool {
        self.keys.iter().any(|(known, set)| *known == key && set == value)
    }

    /// Whether the pipelines ask such things.
    fn asks(&self, api: Api) -> bool {
        match api {
            Api::JoinGroup | Api::SyncGroup | Api::Heartbeat | Api::LeaveGroup => self.is_group && !self.is_consumer,
            Api::ConsumerGroupHeartbeat => self.is_consumer,
            Api::AddPartitionsToTxn | Api::AddOffsetsToTxn | Api::TxnOffsetCommit | Api::EndTxn => self.is_exactly_once,
            Api::OffsetCommit => !self.is_exactly_once,
            _ => true,
        }
    }
}

impl Sending {
    fn draw(random: &mut Rng) -> Self {
        let kind = match random.u8(..20) {
            0 => Kind::Large,
            1 => Kind::OddHeaders,
            2 => Kind::OddTimes,
            3 => Kind::Bomb,
            4 => Kind::Transactions,
            _ => Kind::Usual,
        };
        let codecs = [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
        let records = match kind {
            Kind::Large | Kind::Bomb => random.usize(1..4),
            _ => random.usize(1..40),
        };
        let codec = if kind == Kind::Bomb { pick(random, &codecs[1..]) } else { pick(random, &codecs) };
        Self { partition: random.i32(0..8), records, kind, codec }
    }
}

impl Fault {
    fn says_out_of_range(&self) -> bool {
        matches!(self, Self::Requests { api: Api::Fetch, answer: Action::Error(OFFSET_OUT_OF_RANGE), .. })
    }

    fn draw(random: &mut Rng, setting: &Setting) -> Self {
        let nodes = i32::try_from(setting.nodes).unwrap_or(1);
        let node = random.i32(1..=nodes);
        let partition = random.i32(0..8);
        let instance = random.usize(..setting.instances);
        match random.u8(..41) {
            0..=11 => Self::requests(random, setting, node),
            12 => Self::Former { node, lasts: seconds(random, 0..=10) },
            13 => Self::Stale { api: pick(random, &READS), lasts: seconds(random, 0..=5) },
            14..=17 => {
                let trouble = match random.u8(..4) {
                    0 => Trouble::Cut,
                    1 => Trouble::CutAfter(random.usize(1..20_000)),
                    2 => Trouble::Stall(seconds(random, 0..=20)),
                    _ => Trouble::Slow(Duration::from_millis(random.u64(1..1_500)), seconds(random, 0..=10)),
                };
                Self::Way { from: random.bool().then_some(instance), to: node, trouble }
            }
            18..=23 => {
                let trouble = match random.u8(..10) {
                    0..=1 => Mishap::Kill(seconds(random, 0..=10)),
                    2..=4 => Mishap::Restart(seconds(random, 0..=5)),
                    5 => Mishap::Stop(seconds(random, 0..=20)),
                    6 => Mishap::Sleep(seconds(random, 0..=60)),
                    7..=8 => Mishap::StopWriting { lasts: seconds(random, 7..=25), is_sleep: random.bool() },
                    _ => Mishap::Day(random.i64(-7_200_000..7_200_000)),
                };
                Self::Instance { instance, trouble }
            }
            24..=25 => Self::Crash { node, lasts: seconds(random, 0..=15) },
            26..=27 => Self::Lead { topic: random.usize(..3), partition, node },
            28 => Self::Unclean { partition, node, lacks: random.i64(1..30) },
            29..=30 => Self::Coordinator { node },
            31 => Self::TransactionCoordinator { partition, node },
            32 => Self::Loading { lasts: seconds(random, 0..=5) },
            33 => Self::Markers { lasts: seconds(random, 0..=5) },
            34 => Self::Roll { partition },
            35 => Self::Hole { partition, offsets: random.u32(1..50) },
            36 => Self::Trim { partition, percent: random.i64(1..=100) },
            37..=38 => {
                let harm = match random.u8(..4) {
                    0 => Damage::Flip { at: random.usize(21..200), mask: 1 },
                    1 => Damage::Record(random.usize(..20)),
                    2 => Damage::RecordCount(random.i32(-1..60)),
                    _ => Damage::LeaderEpoch(random.i32(-1..100)),
                };
                Self::Damage { partition, percent: random.i64(0..100), harm }
            }
            39 => Self::Partition,
            _ => Self::Anew { topic: random.usize(..3), lasts: seconds(random, 0..=3) },
        }
    }

    /// A fault of a kind that came to be drawn later, where the world has what it is about.
    fn draw_more(random: &mut Rng, setting: &Setting) -> Option<Self> {
        let instance = random.usize(..setting.instances);
        match random.u8(..3) {
            0 if setting.is_files() => Some(Self::disk(random, instance)),
            1 if setting.has_releases => {
                Some(Self::Deploy { release: random.u8(..RELEASES), apart: seconds(random, 0..=5) })
            }
            2 if setting.has_countries => Some(Self::Countries { instance, by: Countries::draw(random) }),
            _ => None,
        }
    }

    fn disk(random: &mut Rng, instance: usize) -> Self {
        let trouble = match random.u8(..8) {
            0..=1 => DiskTrouble::Full(seconds(random, 0..=20)),
            2 => DiskTrouble::ReadOnly(seconds(random, 0..=20)),
            3..=4 => DiskTrouble::Slow(Duration::from_millis(random.u64(1..5_000)), seconds(random, 1..=20)),
            5 => {
                let (partition, percent) = (random.i32(..PARTITIONS), random.usize(..100));
                DiskTrouble::Damaged { partition, percent, lasts: seconds(random, 0..=20) }
            }
            // With files, what a process leaves behind that dies is most to be looked at.
            _ => return Self::Instance { instance, trouble: Mishap::Kill(seconds(random, 0..=10)) },
        };
        Self::Disk { instance, trouble }
    }

    fn requests(random: &mut Rng, setting: &Setting, node: i32) -> Self {
        let asked: Vec<_> = FAILING.into_iter().filter(|(api, _)| setting.asks(*api)).collect();
        // What reads and what writes records has most to lose.
        let records: Vec<_> =
            asked.iter().filter(|(api, _)| matches!(api, Api::Fetch | Api::Produce)).copied().collect();
        let (api, codes) = if random.u8(..4) == 0 { pick(random, &records) } else { pick(random, &asked) };
        let code = match random.u8(..3) {
            // What nobody expects of it. Of a produce some codes judge the records.
            0 if api != Api::Produce => random.i16(-1..=130),
            _ => pick(random, codes),
        };
        let code = if code == 0 { -1 } else { code };
        let answer = match random.u8(..14) {
            0..=3 => Action::Error(code),
            4 => Action::Delay(Duration::from_millis(random.u64(1..8_000))),
            5 => Action::DisconnectBefore,
            6 => Action::DisconnectAfter,
            7 => Action::Silence,
            8 => Action::SilenceAfter,
            9 => Action::TruncatedFrame,
            10 if api == Api::Fetch => Action::CorruptRecords,
            11 if api != Api::ApiVersions => Action::Throttle(random.i32(1..3_000)),
            12 => Action::Trailing(random.usize(1..50)),
            13 => Action::Oversize(OVERSIZE),
            _ => Action::Error(code),
        };
        let node = random.bool().then_some(node);
        // Of answers that are wrong again and again it is the log that is taken for damaged.
        let times = if matches!(answer, Action::CorruptRecords) { 1 } else { random.u64(1..5) };
        Self::Requests { api, node, times, answer }
    }
}

/// APIs, and errors of theirs that go by: by Kafka's protocol, those that are worth another try.
const FAILING: [(Api, &[i16]); 20] = [
    (Api::ApiVersions, &[7]),
    (Api::Metadata, &[5, 3]),
    (Api::Fetch, &[OFFSET_OUT_OF_RANGE, 3, 5, 6, 7, 74, 75, 100]),
    (Api::Produce, &[2, 3, 5, 6, 7, 19, 20]),
    (Api::ListOffsets, &[3, 5, 6, 74, 78]),
    (Api::OffsetForLeaderEpoch, &[3, 5, 6, 74, 75]),
    (Api::FindCoordinator, &[14, 15]),
    (Api::JoinGroup, &[14, 15, 16, 25]),
    (Api::SyncGroup, &[14, 15, 16, 22, 25, 27]),
    (Api::Heartbeat, &[14, 15, 16, 22, 25, 27]),
    (Api::LeaveGroup, &[14, 15, 16, 25]),
    (Api::ConsumerGroupHeartbeat, &[14, 15, 16, 25, 110]),
    (Api::OffsetCommit, &[7, 14, 15, 16]),
    (Api::OffsetFetch, &[14, 15, 16]),
    (Api::DescribeProducers, &[3, 6, 7]),
    (Api::InitProducerId, &[7, 14, 15, 16, 51]),
    (Api::AddPartitionsToTxn, &[7, 14, 15, 16, 51]),
    (Api::AddOffsetsToTxn, &[7, 14, 15, 16, 51]),
    (Api::TxnOffsetCommit, &[7, 14, 15, 16]),
    (Api::EndTxn, &[7, 14, 15, 16, 51]),
];

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, setting, batches, faults } = self;
        writeln!(f, "seed {seed}")?;
        writeln!(f, "{setting:?}")?;
        for Drawn { number, at, what } in faults {
            writeln!(f, "fault {number} at {:.3} s: {what:?}", at.as_secs_f64())?;
        }
        for Drawn { number, at, what } in batches {
            writeln!(f, "batch {number} at {:.3} s: {what:?}", at.as_secs_f64())?;
        }
        Ok(())
    }
}
