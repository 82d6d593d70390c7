//! Writes generated events to a topic, at a steady rate or as fast as the brokers take them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kafka_client::Options;
use rskafka::BackoffConfig;
use rskafka::chrono::DateTime;
use rskafka::client::Client;
use rskafka::client::error::{Error as KafkaError, ProtocolError};
use rskafka::record::Record;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::error::{GenerateError, within};
use super::event::{EventGenerator, GeneratedRecord, GeneratorConfig, RecordKind};
use super::sender::{Acknowledged, Senders};
use crate::config;
use crate::kafka::{self, Secured, security};
use crate::murmur2::partition_of;
use crate::retry::ErrorClass;

/// Deadline of a question about the cluster, its connection included.
const ASK_TIMEOUT: Duration = Duration::from_secs(15);
/// The largest answer to a question about the cluster.
const LARGEST_ANSWER: usize = 16 * 1024 * 1024;
/// How often a paced run writes what is due: what Kafka's own producer waits for company
/// (`linger.ms`). Less often, and whoever measures latency sees bursts of the generator's making.
const TICK: Duration = Duration::from_millis(5);
/// How many records are made between two looks at the clock and at the shutdown token.
const BURST: u64 = 1_000;
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// The options of a run: what to write, and where to.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateOptions {
    /// Bootstrap brokers, each `host:port`.
    pub brokers: Vec<String>,
    /// The client id that brokers log and count quotas by.
    pub client_id: String,
    /// TLS and SASL.
    pub security: config::Security,
    /// The topic to write to.
    pub topic: String,
    /// Records a second; as many as the brokers take where `None`.
    pub rate: Option<f64>,
    /// How many records; for ever, until shut down, where `None`.
    pub count: Option<u64>,
    /// The share of bad records, from 0 to 1.
    pub bad: f64,
    /// The same seed gives the same records, their times aside.
    pub seed: u64,
    /// Whether records have their user as key, which keeps a user in one partition.
    pub keyed: bool,
    /// Creates the topic with so many partitions where it is missing; -1 is the brokers' number.
    pub partitions: Option<i32>,
    /// Of a topic that is created, how many replicas; -1 is the brokers' number.
    pub replication: i16,
    /// How long to wait for brokers that don't answer.
    pub patience: Duration,
    /// Whether each record has its number, from 0 on, in the header [`NUMBER`]: an audit can then tell what became of it.
    pub numbered: bool,
}

/// The header of a record's number, in decimal digits.
pub const NUMBER: &str = "generator.number";

/// The progress of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Records that all in-sync replicas have.
    pub records: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Since the first record was made.
    pub elapsed: Duration,
}

/// The totals of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Records that all in-sync replicas have.
    pub records: u64,
    /// How many of them are bad.
    pub bad: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// From the first record made to the last one acknowledged.
    pub elapsed: Duration,
}

/// Generates records and writes them until `count` are written or `shutdown` is cancelled; then
/// writes out what it has made. `progress` is called about once a second.
///
/// # Errors
/// Where an option is wrong, the topic is missing, or the brokers don't answer or refuse.
pub async fn run(
    options: GenerateOptions,
    shutdown: CancellationToken,
    mut progress: impl FnMut(Progress),
) -> Result<Summary, GenerateError> {
    let pace = options.rate.map(pace_of).transpose()?;
    let mut source = Source::new(&options)?;
    let client = connect(&options).await?;
    let partitions = partitions(&client, &options).await?;
    let acknowledged = Arc::new(Acknowledged::default());
    let mut senders = Senders::start(&client, &options.topic, &partitions, Arc::clone(&acknowledged)).await?;

    let started = Instant::now();
    let so_far = || Progress {
        records: acknowledged.records.load(Ordering::Relaxed),
        bytes: acknowledged.bytes.load(Ordering::Relaxed),
        elapsed: started.elapsed(),
    };
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut told = Instant::now();
    let limit = options.count.unwrap_or(u64::MAX);
    while source.made < limit && !shutdown.is_cancelled() {
        let due = pace.map_or(u64::MAX, |pace| due_after(started.elapsed(), pace)).min(limit);
        source.set_clock();
        for _ in source.made..due.min(source.made.saturating_add(BURST)) {
            let (index, record) = source.next(partitions.len());
            if !senders.push(index, record).await {
                return Err(senders.failure().await);
            }
        }
        if source.made >= due {
            if !senders.flush().await {
                return Err(senders.failure().await);
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                _ = ticks.tick() => {}
            }
        }
        if told.elapsed() >= PROGRESS_EVERY {
            told = Instant::now();
            progress(so_far());
        }
    }
    senders.finish().await?;
    let Progress { records, bytes, elapsed } = so_far();
    Ok(Summary { records, bad: source.bad, bytes, elapsed })
}

/// The records, each with the partition it goes to.
struct Source {
    events: EventGenerator,
    made: u64,
    bad: u64,
    turn: usize,
    numbered: bool,
    now: DateTime<rskafka::chrono::Utc>,
}

impl Source {
    fn new(options: &GenerateOptions) -> Result<Self, GenerateError> {
        let config = GeneratorConfig {
            seed: options.seed,
            bad: options.bad,
            keyed: options.keyed,
            ..GeneratorConfig::default()
        };
        let events = EventGenerator::new(config)?;
        let numbered = options.numbered;
        let mut source = Self { events, made: 0, bad: 0, turn: 0, numbered, now: DateTime::UNIX_EPOCH };
        source.set_clock();
        Ok(source)
    }

    fn set_clock(&mut self) {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
        self.now = DateTime::from_timestamp_millis(millis).unwrap_or(DateTime::UNIX_EPOCH);
        self.events.set_timestamp(self.now.timestamp());
    }

    fn next(&mut self, partitions: usize) -> (usize, Record) {
        let GeneratedRecord { key, value, kind } = self.events.next_record();
        let number = self.numbered.then(|| (NUMBER.to_owned(), self.made.to_string().into_bytes()));
        self.made += 1;
        self.bad += u64::from(kind != RecordKind::Good);
        let index = match &key {
            Some(key) => index_of(partition_of(key, i32::try_from(partitions).unwrap_or(i32::MAX))),
            None => {
                self.turn = (self.turn + 1) % partitions;
                self.turn
            }
        };
        (index, Record { key, value, headers: number.into_iter().collect(), timestamp: self.now })
    }
}

/// A partition as an index: the same number, and never negative.
fn index_of(partition: i32) -> usize {
    usize::try_from(partition).unwrap_or(0)
}

/// The time between two records.
fn pace_of(rate: f64) -> Result<Duration, GenerateError> {
    let valid = rate > 0.0 && rate <= 1e9;
    let pace = if valid { Duration::try_from_secs_f64(rate.recip()).ok() } else { None };
    pace.filter(|pace| !pace.is_zero()).ok_or(GenerateError::Rate(rate))
}

/// How many records are due after `elapsed`: the first at once.
fn due_after(elapsed: Duration, pace: Duration) -> u64 {
    let whole = elapsed.as_nanos() / pace.as_nanos().max(1);
    u64::try_from(whole).unwrap_or(u64::MAX).saturating_add(1)
}

/// How long to wait before a broker that takes no connection is tried again.
const CONNECT_PAUSE: Duration = Duration::from_millis(500);

async fn connect(options: &GenerateOptions) -> Result<Client, GenerateError> {
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(1),
        base: 2.0,
        deadline: Some(Duration::from_secs(20)),
    };
    let doing = format!("asking {} for the cluster", options.brokers.join(", "));
    let late = || GenerateError::Timeout { doing: doing.clone(), after: options.patience };
    // One deadline for all of it.
    let (until, connecting, mut last) = (Instant::now() + options.patience, connecting(options), None);
    let (builder, _) = loop {
        let built = timeout_at(until, Secured::builder(&connecting, backoff.clone())).await;
        match built {
            // A broker may start at the same time. Nothing was asked of it that it may have done.
            Ok(Err(error)) if matches!(error.class(), ErrorClass::Transient | ErrorClass::Ambiguous) => {
                if last.is_none() {
                    tracing::warn!("{error}; retrying for {}", humantime::format_duration(options.patience));
                }
                last = Some(error);
                sleep(CONNECT_PAUSE).await;
            }
            Ok(built) => break built?,
            Err(_) => return Err(last.map_or_else(late, GenerateError::Connect)),
        }
    };
    match timeout_at(until, rskafka_calls::connect(builder)).await {
        Ok(connected) => connected.map_err(|source| GenerateError::Kafka { doing: doing.clone(), source }),
        Err(_) => Err(late()),
    }
}

fn connecting(options: &GenerateOptions) -> Options {
    let most = ASK_TIMEOUT.min(options.patience / 2);
    Options {
        bootstrap: options.brokers.clone(),
        client_id: options.client_id.clone(),
        software: kafka::SOFTWARE,
        connect_timeout: most,
        request_timeout: most,
        connections_max_idle: ASK_TIMEOUT,
        max_frame_bytes: LARGEST_ANSWER,
        security: Arc::new(security(&options.security, most, most).0),
        ..Options::default()
    }
}

/// The partitions of the topic, which is created where that was asked for.
async fn partitions(client: &Client, options: &GenerateOptions) -> Result<Vec<i32>, GenerateError> {
    let topic = &options.topic;
    if let Some(found) = find(client, topic).await? {
        return Ok(found);
    }
    let Some(count) = options.partitions else {
        return Err(GenerateError::NoTopic { topic: topic.clone() });
    };
    create(client, options, count).await?;
    // Created is not yet known to every broker.
    let wanted = usize::try_from(count).unwrap_or(1);
    let known = async {
        loop {
            match find(client, topic).await? {
                Some(found) if found.len() >= wanted => return Ok(found),
                _ => sleep(Duration::from_millis(50)).await,
            }
        }
    };
    timeout(ASK_TIMEOUT, known).await.unwrap_or_else(|_| {
        let doing = format!("waiting for the new topic {topic:?} to be known");
        Err(GenerateError::Timeout { doing, after: ASK_TIMEOUT })
    })
}

async fn find(client: &Client, topic: &str) -> Result<Option<Vec<i32>>, GenerateError> {
    let topics = within(ASK_TIMEOUT, "listing the topics".to_owned(), rskafka_calls::list_topics(client)).await?;
    let found = topics.into_iter().find(|known| known.name == topic);
    let partitions: Option<Vec<i32>> = found.map(|known| known.partitions.into_iter().collect());
    Ok(partitions.filter(|partitions| !partitions.is_empty()))
}

async fn create(client: &Client, options: &GenerateOptions, partitions: i32) -> Result<(), GenerateError> {
    let GenerateOptions { topic, replication, .. } = options;
    let doing = format!("creating the topic {topic:?}");
    let controller = match client.controller_client() {
        Ok(controller) => controller,
        Err(source) => return Err(GenerateError::Kafka { doing, source }),
    };
    // A cluster that has just started names no controller yet, which rskafka calls an invalid response.
    let created = async {
        loop {
            match rskafka_calls::create_topic(&controller, topic, partitions, *replication, 10_000).await {
                Err(KafkaError::InvalidResponse(_)) => sleep(Duration::from_millis(200)).await,
                other => return other,
            }
        }
    };
    match within(ASK_TIMEOUT, doing, created).await {
        // Another one was quicker.
        Err(GenerateError::Kafka {
            source: KafkaError::ServerError { protocol_error: ProtocolError::TopicAlreadyExists, .. },
            ..
        }) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_kept_by_counting_what_is_due() {
        let pace = pace_of(1_000.0).unwrap();
        assert_eq!(due_after(Duration::ZERO, pace), 1);
        assert_eq!(due_after(Duration::from_millis(500), pace), 501);
        assert_eq!(due_after(Duration::from_secs(10), pace_of(0.5).unwrap()), 6);
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 2e9] {
            assert!(matches!(pace_of(rate), Err(GenerateError::Rate(_))), "{rate}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_broker_is_a_clear_error() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = GenerateOptions {
            brokers: vec![listener.local_addr().unwrap().to_string()],
            client_id: "test".to_owned(),
            security: config::Security::default(),
            topic: "t".to_owned(),
            rate: None,
            count: Some(1),
            bad: 0.0,
            seed: 0,
            keyed: false,
            partitions: None,
            replication: -1,
            patience: Duration::from_secs(15),
            numbered: false,
        };
        let begun = Instant::now();
        let error = run(options, CancellationToken::new(), |_| {}).await.unwrap_err();
        assert!(error.to_string().ends_with("no answer within 7s 500ms"), "{error}");
        assert_eq!(begun.elapsed().as_secs(), 15, "it is asked again, and no longer than that in all");
    }
}
