//! The dead-letter topic, read from where is wanted to where it ended when the command began.
//!
//! Read by the wire and committed: what a transaction gave up is no dead letter.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kafka_client::{At, Isolation};
use kafka_protocol::ResponseError;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Context, Failure};
use crate::config;
use crate::kafka::Error;
use crate::record::{Offset, Position};
use crate::retry::{ErrorClass, Policy};
use crate::source::{Entry, PartitionReader, ReaderConfig, Reserve, RskafkaClients, SourceBatch};
use crate::topic::TopicId;

/// The topic as it was at the start.
#[derive(Debug)]
pub(super) struct Log {
    /// Its id, where the brokers tell one.
    pub topic_id: Option<TopicId>,
    /// The stretch of each chosen partition.
    pub stretches: BTreeMap<i32, (Offset, Offset)>,
}

impl Log {
    /// Asks where the partitions begin and end; of `chosen` ones, all where there are none.
    ///
    /// # Errors
    /// Where the topic or a partition is not there, or the brokers don't tell.
    pub(super) async fn ask(context: &Context, chosen: &[i32]) -> Result<Self, Failure> {
        let topic = context.topic();
        let found = context.patiently(|| async { context.describe(topic).await }).await?;
        let count = found.partition_count();
        if let Some(wrong) = chosen.iter().find(|partition| **partition >= count) {
            return Err(format!("{topic}/{wrong} is not there: the topic has {count} partitions").into());
        }
        let mut stretches = BTreeMap::new();
        for partition in (0..count).filter(|partition| chosen.is_empty() || chosen.contains(partition)) {
            let at = |at| async move {
                let found = context.cluster.offset_as(Isolation::Committed, topic, partition, at).await;
                found.map(Option::unwrap_or_default)
            };
            let earliest = context.patiently(|| at(At::Earliest)).await?;
            let latest = context.patiently(|| at(At::Latest)).await?;
            stretches.insert(partition, (earliest, latest));
        }
        Ok(Self { topic_id: found.id, stretches })
    }
}

/// Reads one partition up to an offset.
pub(super) struct Reader<'c> {
    context: &'c Context,
    partition: i32,
    reader: PartitionReader,
    position: Position,
    end: Offset,
}

impl<'c> Reader<'c> {
    /// From `position` up to `end`, of the topic with this id, where it is known.
    pub(super) fn new(
        context: &'c Context,
        topic_id: Option<TopicId>,
        partition: i32,
        (position, end): (Offset, Offset),
    ) -> Self {
        let kafka = &context.config.kafka;
        let source = config::Source {
            topic: context.topic().to_owned(),
            reader: config::ReaderKind::Wire,
            isolation: config::Isolation::ReadCommitted,
            ..context.config.source.clone()
        };
        let clients = Arc::new(RskafkaClients::new(context.cluster.options(), source.max_fetch_bytes.as_usize()));
        // A dead letter is read whole: one that was cut could not be replayed.
        let max_record_bytes = usize::try_from(i32::MAX).unwrap_or(usize::MAX);
        let reserve = Reserve::new(context.config.pipeline.max_in_flight_bytes.as_usize());
        let config = ReaderConfig { kafka, source: &source, rskafka_cannot: None, max_record_bytes };
        let reader = PartitionReader::new(topic_id, partition, clients, Arc::clone(&context.cluster), reserve, config);
        Self { context, partition, reader, position: position.into(), end }
    }

    /// The next records; `None` at the end. The last batch may go on behind that: [`Reader::entries`]
    /// does not.
    ///
    /// # Errors
    /// What lasts, or does not pass in time; where the log was cut before its end.
    pub(super) async fn next(&mut self) -> Result<Option<SourceBatch>, Failure> {
        let most = self.context.config.source.max_fetch_bytes.as_usize();
        let mut waiting = self.context.waiting();
        while self.position.offset < self.end {
            match waiting.attempt(self.reader.fetch(self.position, most)).await? {
                // The log went on when this began. A leader that was just elected may not tell of all of it yet.
                Ok(batch) if batch.range.is_empty() => {
                    waiting.after(ErrorClass::Transient, self.nothing().await).await?;
                }
                Ok(batch) => {
                    self.position = batch.end();
                    if !batch.is_empty() {
                        return Ok(Some(batch));
                    }
                    waiting = self.context.waiting();
                }
                Err(error) if error.is(ResponseError::OffsetOutOfRange) => {
                    match waiting.attempt(self.reader.earliest()).await? {
                        Ok(earliest) if earliest > self.position.offset => self.expired(earliest),
                        Ok(_) => return Err(self.nothing().await),
                        Err(error) => waiting.after(error.class(), error).await?,
                    }
                }
                Err(error) => waiting.after(error.class(), error).await?,
            }
        }
        Ok(None)
    }

    /// Goes on where the log begins now: retention was faster.
    fn expired(&mut self, earliest: Offset) {
        let (topic, partition, first) = (self.context.topic(), self.partition, self.position.offset);
        let behind = earliest.min(self.end);
        tell!("login-pipeline: retention deleted {topic}/{partition} from {first} up to {behind} before it was read");
        self.position = earliest.into();
    }

    /// Why nothing comes.
    async fn nothing(&mut self) -> Failure {
        let (topic, partition, at, end) = (self.context.topic(), self.partition, self.position.offset, self.end);
        match self.reader.latest().await {
            Ok(now) if now < end => format!(
                "{topic}/{partition} was cut while it was read: it ended at {end} when this began, and ends at {now} now; \
                 what lay between is deleted (by an unclean leader election, or with the topic, which was recreated); \
                 start again"
            )
            .into(),
            Ok(_) => format!("{topic}/{partition} gives nothing from {at} on, though it ends at {end}").into(),
            Err(error) => error.into(),
        }
    }

    /// The entries of a batch up to the end.
    pub(super) fn entries<'b>(&self, batch: &'b SourceBatch) -> impl Iterator<Item = Entry<'b>> + use<'b> {
        let end = self.end;
        let entries = (0..batch.len()).filter_map(|index| batch.entry(index));
        entries.take_while(move |entry| entry.record.offset < end)
    }
}

/// A question that is retried for a while: the attempts, and the pauses between them, have one deadline.
pub(crate) struct Waiting {
    pauses: crate::retry::Pauses,
    until: Instant,
    patience: Duration,
    /// Why the last attempt failed.
    last: Option<Failure>,
    /// Whoever waits at a terminal is told why, once.
    is_told: bool,
}

impl Waiting {
    /// One attempt, which ends at the deadline like all.
    ///
    /// # Errors
    /// At the deadline: why the attempt before failed, where there was one.
    pub(crate) async fn attempt<T>(&mut self, attempt: impl Future<Output = T>) -> Result<T, Failure> {
        let patience = self.patience;
        let late = || format!("no broker gave an answer within {}", humantime::format_duration(patience)).into();
        timeout_at(self.until, attempt).await.map_err(|_| self.last.take().unwrap_or_else(late))
    }

    /// Waits after an error of this class, where it may pass.
    ///
    /// # Errors
    /// The error, where it lasts.
    pub(crate) async fn after(&mut self, class: ErrorClass, error: impl Into<Failure>) -> Result<(), Failure> {
        let (error, left) = (error.into(), self.until.saturating_duration_since(Instant::now()));
        if matches!(class, ErrorClass::Fatal | ErrorClass::Poison) || left.is_zero() {
            return Err(error);
        }
        if !self.is_told {
            tell!("login-pipeline: {error}; retrying for {} s", left.as_secs().max(1));
            self.is_told = true;
        }
        sleep(self.pauses.after(class).min(left)).await;
        self.last = Some(error);
        Ok(())
    }
}

impl Context {
    /// Patience for one thing that is asked of the brokers.
    pub(crate) fn waiting(&self) -> Waiting {
        Waiting {
            pauses: Policy::new(&self.config.retry).pauses(),
            until: Instant::now() + self.patience,
            patience: self.patience,
            last: None,
            is_told: false,
        }
    }

    /// Asks until it is answered, or something is wrong that lasts.
    pub(crate) async fn patiently<T, E, F>(&self, ask: impl Fn() -> F) -> Result<T, Failure>
    where
        E: Into<Error>,
        F: Future<Output = Result<T, E>>,
    {
        let mut waiting = self.waiting();
        loop {
            match waiting.attempt(ask()).await?.map_err(Into::into) {
                Ok(answer) => return Ok(answer),
                Err(error) if error.is(ResponseError::UnknownTopicOrPartition) => return Err(error.into()),
                Err(error) => waiting.after(error.class(), error).await?,
            }
        }
    }
}

/// Whether a topic is not there.
pub(super) fn is_missing(error: &Failure) -> bool {
    error.downcast_ref().is_some_and(|error: &Error| error.is(ResponseError::UnknownTopicOrPartition))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use kafka_client::{Cluster, Options};

    const PATIENCE: Duration = Duration::from_secs(10);

    fn context() -> Context {
        let config = Config::default();
        let cluster = Arc::new(Cluster::new(Options::from(&config.kafka)));
        Context { config, cluster, patience: PATIENCE }
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_and_pauses_have_one_deadline() {
        let context = context();
        let begun = Instant::now();
        // The second one would end long after.
        let slow = || async {
            sleep(PATIENCE * 9 / 10).await;
            Err::<(), _>(Error::code("ask", "x", ResponseError::LeaderNotAvailable))
        };
        let error = context.patiently(slow).await.unwrap_err();
        assert_eq!(begun.elapsed(), PATIENCE);
        assert!(error.to_string().contains("LeaderNotAvailable"), "{error}");

        let begun = Instant::now();
        let error = context.patiently(std::future::pending::<Result<(), Error>>).await.unwrap_err();
        assert_eq!((begun.elapsed(), &*error.to_string()), (PATIENCE, "no broker gave an answer within 10s"));
    }
}
