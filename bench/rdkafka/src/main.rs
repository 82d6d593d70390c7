//! What `make bench` holds the pipeline against: the same work on librdkafka, written for the least
//! CPU time that its Rust crate allows.
//!
//! ```text
//! rdkafka-login BROKERS SOURCE OUTPUT DEAD_LETTERS GROUP
//!
//! consumer ──poll──► parse, check, enrich ──► producer ──delivery reports──► offsets, every second
//!            └──────────── one thread of ours, beside librdkafka's own ────────────┘
//! ```
//!
//! What was chosen, and why:
//!
//! - One thread polls the consumer, works, and serves delivery reports: no channel, no lock and no
//!   async runtime of ours. librdkafka has a thread for each broker and one more beside it. Taking
//!   messages by the hundred (`rd_kafka_consume_batch_queue`) takes about 6 % less CPU time; the crate
//!   has no safe way to that.
//! - All partitions are assigned, none by a group's rebalance; offsets are the group's all the same.
//! - `enable.idempotence`, and with it `acks=all`; no compression. A long `linger.ms`
//!   fills batches. Longer queues than these, up to librdkafka's defaults, cost memory and save nothing.
//! - The consumer checks no checksums (`check.crcs` is off by default); the pipeline does.
//! - serde_json into borrowed fields by a visitor of its own: `#[serde(flatten)]` would buffer every
//!   member to keep those that nobody knows. They stay since the value is written from its own bytes.
//! - Rules are the pipeline's but for twins among the fields that nobody knows, which pass here.
//!   Reasons of dead letters are coarser, their headers the same.
//!
//! Prints `drained N` when all that was there when it began is acknowledged and committed, and then
//! waits for the end of its input, so that whoever measures can read its memory and CPU time.

mod event;
mod progress;

use std::collections::HashMap;
use std::error::Error;
use std::io::Read as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};

use event::{Event, Rejection};
use progress::{Acknowledged, Lane, ticket};

type AnyError = Box<dyn Error>;

const DEADLINE: Duration = Duration::from_secs(30);
/// How long to wait for records before delivery reports are looked for.
const POLL: Duration = Duration::from_millis(10);
/// After how many records they are looked for under load. A report tells of a whole batch.
const REPORTS_EVERY: u64 = 256;
const COMMIT_EVERY: Duration = Duration::from_secs(1);
const PREFIX: &str = "__dlq.errors.";

fn main() -> Result<(), AnyError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [brokers, source, output, dead, group] = arguments.as_slice() else {
        return Err("usage: rdkafka-login BROKERS SOURCE OUTPUT DEAD_LETTERS GROUP".into());
    };
    let mut work = Work::start(brokers, group, [source, output, dead])?;
    work.run()?;
    println!("drained {}", work.there);
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn consumer(brokers: &str, group: &str) -> Result<BaseConsumer, KafkaError> {
    ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("fetch.wait.max.ms", "500")
        .set("max.partition.fetch.bytes", "1048576")
        .set("queued.min.messages", "20000")
        .set("queued.max.messages.kbytes", "4096")
        // The default waits a second once the queue is full.
        .set("fetch.queue.backoff.ms", "5")
        .create()
}

fn producer(brokers: &str, acknowledged: Acknowledged) -> Result<BaseProducer<Acknowledged>, KafkaError> {
    ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.codec", "none")
        .set("linger.ms", "100")
        .set("batch.size", "1000000")
        .set("batch.num.messages", "10000")
        .set("queue.buffering.max.messages", "100000")
        .set("queue.buffering.max.kbytes", "32768")
        .create_with_context(acknowledged)
}

/// The group's offsets. A new group has no coordinator for a moment.
fn committed(consumer: &BaseConsumer, wanted: &TopicPartitionList) -> Result<TopicPartitionList, KafkaError> {
    let until = Instant::now() + DEADLINE;
    loop {
        match consumer.committed_offsets(wanted.clone(), DEADLINE) {
            Err(_) if Instant::now() < until => std::thread::sleep(POLL),
            committed => return committed,
        }
    }
}

struct Work {
    source: String,
    topics: [String; 2],
    /// Partitions of the output and of the dead letters.
    partitions: [i32; 2],
    consumer: BaseConsumer,
    producer: BaseProducer<Acknowledged>,
    progress: Vec<Progress>,
    /// Records in the source when this began.
    there: u64,
    clock: Clock,
    value: Vec<u8>,
}

/// How far a source partition is.
struct Progress {
    /// The next offset to read.
    next: i64,
    committed: i64,
    /// The last offset sent to each lane.
    sent: [i64; 2],
}

impl Work {
    fn start(brokers: &str, group: &str, [source, output, dead]: [&String; 3]) -> Result<Self, AnyError> {
        let consumer = consumer(brokers, group)?;
        let metadata = consumer.fetch_metadata(None, DEADLINE)?;
        let counts: HashMap<_, _> =
            metadata.topics().iter().map(|topic| (topic.name(), topic.partitions().len())).collect();
        let count_of = |topic: &String| match counts.get(topic.as_str()) {
            Some(count) if *count > 0 => Ok(i32::try_from(*count)?),
            _ => Err(AnyError::from(format!("there is no topic {topic:?}"))),
        };
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition_range(source, 0, count_of(source)? - 1);
        let mut assigned = TopicPartitionList::new();
        let (mut there, mut starts) = (0, Vec::new());
        for stored in committed(&consumer, &wanted)?.elements() {
            let (first, end) = consumer.fetch_watermarks(source, stored.partition(), DEADLINE)?;
            let start = stored.offset().to_raw().map_or(first, |stored| stored.max(first));
            assigned.add_partition_offset(source, stored.partition(), Offset::Offset(start))?;
            there += u64::try_from(end - start)?;
            starts.push(start);
        }
        consumer.assign(&assigned)?;
        let new = |start: &i64| Progress { next: *start, committed: *start, sent: [start - 1; 2] };
        Ok(Self {
            source: source.clone(),
            topics: [output.clone(), dead.clone()],
            partitions: [count_of(output)?, count_of(dead)?],
            consumer,
            producer: producer(brokers, Acknowledged::from(&starts))?,
            progress: starts.iter().map(new).collect(),
            there,
            clock: Clock::default(),
            value: Vec::new(),
        })
    }

    /// Works until all that was there is delivered and committed.
    fn run(&mut self) -> Result<(), AnyError> {
        let mut unreported = 0;
        let mut committed = Instant::now();
        while self.acknowledged().records() < self.there {
            // Apart from `self`: a message borrows the consumer.
            let Self { consumer, producer, topics, partitions, progress, clock, value, source, .. } = self;
            match consumer.poll(POLL) {
                Some(message) => {
                    let message = message?;
                    let mut stage = Stage { producer, topics, partitions, progress, clock, value, source };
                    stage.process(&message)?;
                    unreported += 1;
                }
                None => unreported = REPORTS_EVERY,
            }
            if unreported < REPORTS_EVERY {
                continue;
            }
            unreported = 0;
            self.producer.poll(Duration::ZERO);
            if self.acknowledged().has_failed() {
                return Err("a record was not delivered".into());
            }
            if committed.elapsed() >= COMMIT_EVERY {
                committed = Instant::now();
                self.commit(CommitMode::Async)?;
            }
        }
        self.commit(CommitMode::Sync)
    }

    fn acknowledged(&self) -> &Acknowledged {
        self.producer.context()
    }

    /// Commits what is acknowledged.
    fn commit(&mut self, mode: CommitMode) -> Result<(), AnyError> {
        let mut offsets = TopicPartitionList::new();
        let acknowledged = self.producer.context();
        for (partition, progress) in self.progress.iter_mut().enumerate() {
            let bound = |lane| match acknowledged.last(partition, lane) {
                last if last == progress.sent[lane as usize] => progress.next,
                last => last + 1,
            };
            let done = bound(Lane::Output).min(bound(Lane::Dead));
            if done > progress.committed {
                progress.committed = done;
                offsets.add_partition_offset(&self.source, i32::try_from(partition)?, Offset::Offset(done))?;
            }
        }
        if offsets.count() > 0 {
            self.consumer.commit(&offsets, mode)?;
        }
        Ok(())
    }
}

/// What a record is taken through.
struct Stage<'w> {
    producer: &'w BaseProducer<Acknowledged>,
    topics: &'w [String; 2],
    partitions: &'w [i32; 2],
    progress: &'w mut [Progress],
    clock: &'w mut Clock,
    value: &'w mut Vec<u8>,
    source: &'w str,
}

impl Stage<'_> {
    fn process(&mut self, message: &BorrowedMessage<'_>) -> Result<(), AnyError> {
        let own = message.headers().map(BorrowedHeaders::detach);
        match Event::parse(message.payload()) {
            Ok(event) => {
                self.clock.tick();
                self.value.clear();
                let latency_ms = (self.clock.unix_ms - event.timestamp_ms).max(0);
                event.write(&self.clock.rfc3339_json, latency_ms, self.value);
                let value = std::mem::take(self.value);
                self.send(message, Lane::Output, Some(&value), own)?;
                *self.value = value;
                Ok(())
            }
            Err(rejection) => {
                let headers = self.why(message, &rejection, own.unwrap_or_default());
                self.send(message, Lane::Dead, message.payload(), Some(headers))
            }
        }
    }

    fn send(
        &mut self,
        message: &BorrowedMessage<'_>,
        lane: Lane,
        value: Option<&[u8]>,
        headers: Option<OwnedHeaders>,
    ) -> Result<(), AnyError> {
        let (partition, offset) = (message.partition(), message.offset());
        let index = usize::try_from(partition)?;
        let ticket = ticket(index, offset, lane)?;
        let mut record = BaseRecord::<[u8], [u8], usize>::with_opaque_to(&self.topics[lane as usize], ticket)
            .partition(partition % self.partitions[lane as usize]);
        record.key = message.key();
        record.payload = value;
        record.headers = headers;
        record.timestamp = message.timestamp().to_millis();
        while let Err((error, same)) = self.producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            self.producer.poll(POLL);
            record = same;
        }
        let progress = &mut self.progress[index];
        progress.next = offset + 1;
        progress.sent[lane as usize] = offset;
        Ok(())
    }

    /// The headers of a dead letter.
    fn why(&self, message: &BorrowedMessage<'_>, rejection: &Rejection, own: OwnedHeaders) -> OwnedHeaders {
        let numbers = [i64::from(message.partition()), message.offset(), message.timestamp().to_millis().unwrap_or(-1)];
        let [partition, offset, timestamp] = numbers.map(|number| number.to_string());
        let headers = [
            ("topic", self.source),
            ("partition", &partition),
            ("offset", &offset),
            ("timestamp", &timestamp),
            ("reason", rejection.reason),
            ("field", rejection.field.unwrap_or_default()),
            ("message", "the record breaks a rule"),
            ("stage", "validate"),
            ("application", "login-pipeline"),
            ("version", env!("CARGO_PKG_VERSION")),
            ("replay.count", "0"),
        ];
        headers.into_iter().filter(|(_, value)| !value.is_empty()).fold(own, |headers, (name, value)| {
            headers.insert(Header { key: &format!("{PREFIX}{name}"), value: Some(value) })
        })
    }
}

/// The time, and its text, which is made once a millisecond.
#[derive(Default)]
struct Clock {
    unix_ms: i64,
    rfc3339_json: String,
}

impl Clock {
    fn tick(&mut self) {
        let now = SystemTime::now();
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let unix_ms = i64::try_from(since).unwrap_or(i64::MAX);
        if unix_ms != self.unix_ms {
            self.unix_ms = unix_ms;
            self.rfc3339_json = format!("\"{}\"", humantime::format_rfc3339_millis(now));
        }
    }
}
