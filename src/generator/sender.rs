//! One task a partition that writes its batches in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use rskafka::client::Client;
use rskafka::client::error::{Error as KafkaError, ProtocolError};
use rskafka::client::partition::{Compression, PartitionClient, UnknownTopicHandling};
use rskafka::record::Record;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::error::{GenerateError, within};

/// rskafka leaves Nagle's algorithm on: a request of 9 to 60 kB waits 40 ms for a delayed ACK.
/// Batches are therefore either this large ...
const FULL_BATCH: usize = 120_000;
/// ... or cut into pieces as small as this.
const SMALL_BATCH: usize = 7_000;
/// Roughly what a record takes besides its key and value.
const RECORD_OVERHEAD: usize = 12;

const PRODUCE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a partition may refuse for want of replicas or time before that ends the run.
const PATIENCE: Duration = Duration::from_secs(60);

/// The counts of what was acknowledged, for a run's [`Progress`](super::driver::Progress).
#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    pub(super) records: AtomicU64,
    pub(super) bytes: AtomicU64,
}

type Batch = Vec<Record>;

/// The batches under construction and the tasks that write them.
pub(super) struct Senders {
    topic: String,
    pending: Vec<Pending>,
    tasks: JoinSet<Result<(), GenerateError>>,
}

/// The batch of one partition, and the way to the task that sends it.
struct Pending {
    batch: Batch,
    bytes: usize,
    /// Holds one batch: a sender that falls behind holds the generator back.
    queue: mpsc::Sender<Batch>,
}

impl Senders {
    pub(super) async fn start(
        client: &Client,
        topic: &str,
        partitions: &[i32],
        acknowledged: Arc<Acknowledged>,
    ) -> Result<Self, GenerateError> {
        let mut pending = Vec::with_capacity(partitions.len());
        let mut tasks = JoinSet::new();
        for partition in partitions {
            let doing = format!("connecting to partition {partition} of {topic:?}");
            let connecting = rskafka_calls::partition_client(client, topic, *partition, UnknownTopicHandling::Retry);
            let client = within(PRODUCE_TIMEOUT, doing, connecting).await?;
            let (queue, batches) = mpsc::channel(1);
            tasks.spawn(send_all(client, batches, Arc::clone(&acknowledged)).boxed());
            pending.push(Pending { batch: Batch::new(), bytes: 0, queue });
        }
        Ok(Self { topic: topic.to_owned(), pending, tasks })
    }

    /// Adds a record to the batch of the partition at this index, and hands the batch on when it is full. False where
    /// the partition's sender has ended: see [`Self::failure`].
    pub(super) async fn push(&mut self, index: usize, record: Record) -> bool {
        let pending = &mut self.pending[index];
        pending.bytes += size(&record);
        pending.batch.push(record);
        pending.bytes < FULL_BATCH || pending.hand_on().await
    }

    /// Hands every batch on as it is. False where a sender has ended.
    pub(super) async fn flush(&mut self) -> bool {
        for pending in &mut self.pending {
            if !pending.hand_on().await {
                return false;
            }
        }
        true
    }

    /// Writes out what is there and waits for every answer.
    pub(super) async fn finish(mut self) -> Result<(), GenerateError> {
        if !self.flush().await {
            return Err(self.failure().await);
        }
        self.pending.clear();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap_or_else(|_| Err(GenerateError::Sender { topic: self.topic.clone() }))?;
        }
        Ok(())
    }

    /// Why a sender has ended.
    pub(super) async fn failure(mut self) -> GenerateError {
        self.pending.clear();
        while let Some(ended) = self.tasks.join_next().await {
            if let Ok(Err(error)) = ended {
                return error;
            }
        }
        GenerateError::Sender { topic: self.topic }
    }
}

impl Pending {
    async fn hand_on(&mut self) -> bool {
        self.bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        batch.is_empty() || self.queue.send(batch).await.is_ok()
    }
}

async fn send_all(
    client: PartitionClient,
    mut batches: mpsc::Receiver<Batch>,
    acknowledged: Arc<Acknowledged>,
) -> Result<(), GenerateError> {
    while let Some(batch) = batches.recv().await {
        for piece in pieces(batch) {
            let records = u64::try_from(piece.len()).unwrap_or(u64::MAX);
            let bytes = piece.iter().map(Record::approximate_size).sum::<usize>();
            send(&client, piece).await?;
            acknowledged.records.fetch_add(records, Ordering::Relaxed);
            acknowledged.bytes.fetch_add(u64::try_from(bytes).unwrap_or(0), Ordering::Relaxed);
        }
    }
    Ok(())
}

/// Writes one batch, again where the partition can't take it just now.
async fn send(client: &PartitionClient, batch: Batch) -> Result<(), GenerateError> {
    let until = Instant::now() + PATIENCE;
    loop {
        let doing = format!("writing to partition {} of {:?}", client.partition(), client.topic());
        let sent = rskafka_calls::produce(client, batch.clone(), Compression::NoCompression);
        match within(PRODUCE_TIMEOUT, doing, sent).await {
            Ok(_) => return Ok(()),
            Err(error) if passes(&error) && Instant::now() < until => {
                sleep(Duration::from_millis(500)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether the partition may well take it later. rskafka tries these only once.
fn passes(error: &GenerateError) -> bool {
    let GenerateError::Kafka { source: KafkaError::ServerError { protocol_error, .. }, .. } = error else {
        return false;
    };
    matches!(
        protocol_error,
        ProtocolError::NotEnoughReplicas
            | ProtocolError::NotEnoughReplicasAfterAppend
            | ProtocolError::RequestTimedOut
            | ProtocolError::KafkaStorageError
    )
}

fn size(record: &Record) -> usize {
    record.approximate_size() + RECORD_OVERHEAD
}

/// A batch in the sizes that rskafka writes without waiting.
fn pieces(batch: Batch) -> Vec<Batch> {
    if batch.iter().map(size).sum::<usize>() >= FULL_BATCH {
        return vec![batch];
    }
    let mut pieces = Vec::new();
    let (mut piece, mut bytes) = (Batch::new(), 0);
    for record in batch {
        let more = size(&record);
        if bytes + more > SMALL_BATCH && !piece.is_empty() {
            pieces.push(std::mem::take(&mut piece));
            bytes = 0;
        }
        bytes += more;
        piece.push(record);
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use rskafka::chrono::DateTime;

    use super::*;

    fn batch(records: usize) -> Batch {
        (0..records)
            .map(|n| Record {
                key: None,
                value: Some(vec![u8::try_from(n % 256).unwrap(); 200]),
                headers: Default::default(),
                timestamp: DateTime::UNIX_EPOCH,
            })
            .collect()
    }

    #[test]
    fn no_piece_has_a_size_that_nagle_delays() {
        for records in [0, 1, 10, 40, 200, 500, 566, 567, 900] {
            let pieces = pieces(batch(records));
            assert_eq!(pieces.concat(), batch(records), "{records} records, in order");
            for piece in &pieces {
                let bytes = piece.iter().map(size).sum::<usize>();
                assert!(bytes <= SMALL_BATCH || bytes >= FULL_BATCH, "{bytes} bytes");
            }
        }
    }
}
