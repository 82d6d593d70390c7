//! `Fetch`: reads batches; a long poll that a produce wakes.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{FetchRequest, FetchResponse, ProducerId};
use tokio::time::{Instant, timeout_at};

use super::call::{Answer, Call, READ_COMMITTED, Serve};
use crate::batch;
use crate::cluster::Cluster;
use crate::error_codes;
use crate::fault::{Plan, Target};
use crate::log::Unreadable;
use crate::partition::Partition;
use crate::schema::Field;
use crate::segment::Limits;

impl Serve for FetchRequest {
    const SERVED: (i16, i16) = (4, 11);

    fn schema(version: i16) -> &'static [Field] {
        use Field::{Fixed, Structs, Text, Values};
        /// Of a partition: its index, an offset and a limit; then a follower's log start, then the leader epoch.
        const PLAIN: Field = Structs(&[Text, Structs(&[Fixed(4 + 8 + 4)])]);
        const WITH_START: Field = Structs(&[Text, Structs(&[Fixed(4 + 8 + 8 + 4)])]);
        const WITH_EPOCH: Field = Structs(&[Text, Structs(&[Fixed(4 + 4 + 8 + 8 + 4)])]);
        const FORGOTTEN: Field = Structs(&[Text, Values(&Fixed(4))]);
        match version {
            ..=4 => &[Fixed(4 * 4 + 1), PLAIN],
            5..=6 => &[Fixed(4 * 4 + 1), WITH_START],
            7..=8 => &[Fixed(4 * 4 + 1 + 4 + 4), WITH_START, FORGOTTEN],
            9..=10 => &[Fixed(4 * 4 + 1 + 4 + 4), WITH_EPOCH, FORGOTTEN],
            _ => &[Fixed(4 * 4 + 1 + 4 + 4), WITH_EPOCH, FORGOTTEN, Text],
        }
    }

    fn targets(&self, _: i16, _: &Cluster) -> Vec<Target> {
        let of = |topic: &FetchTopic| {
            let name = topic.topic.clone();
            topic.partitions.iter().map(move |p| Target::partition(&name, p.partition).from(p.fetch_offset)).collect()
        };
        self.topics.iter().flat_map(|topic| -> Vec<Target> { of(topic) }).collect()
    }

    fn answer(self, call: Call<'_>) -> Answer<'_> {
        Answer::later(async move { Some(fetch(&self, call).await) })
    }
}

/// A throttled fetch names no partition at all (`FetchContext.getThrottledResponse`). Else:
/// answers at once if a partition errs or enough is there, else when it is, else at the deadline.
async fn fetch(request: &FetchRequest, call: Call<'_>) -> FetchResponse {
    let Call { shared, node, plan, client, .. } = call;
    if plan.throttle_ms > 0 {
        return FetchResponse::default().with_throttle_time_ms(plan.throttle_ms);
    }
    let max_wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let deadline = Instant::now() + max_wait;
    let mut changes = shared.changes();
    loop {
        changes.borrow_and_update();
        let attempt = Attempt::new(&mut shared.lock(), node, plan, request);
        if attempt.suffices(request) || Instant::now() >= deadline {
            let topics = attempt.corrupted(&mut shared.lock(), node, client);
            return FetchResponse::default().with_responses(topics);
        }
        // The deadline or a change: both are answered by another look.
        let _ = timeout_at(deadline, changes.changed()).await;
    }
}

/// One look at all partitions of a request.
struct Attempt {
    topics: Vec<FetchableTopicResponse>,
    bytes: usize,
    failed: bool,
}

impl Attempt {
    fn new(cluster: &mut Cluster, node: i32, plan: &Plan, request: &FetchRequest) -> Self {
        let mut attempt = Self { topics: Vec::with_capacity(request.topics.len()), bytes: 0, failed: false };
        for topic in &request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for wanted in &topic.partitions {
                let data = attempt.partition(cluster, node, plan, request, &topic.topic, wanted);
                attempt.bytes += data.records.as_ref().map_or(0, Bytes::len);
                attempt.failed |= data.error_code != error_codes::NONE;
                partitions.push(data);
            }
            let response = FetchableTopicResponse::default().with_topic(topic.topic.clone());
            attempt.topics.push(response.with_partitions(partitions));
        }
        attempt
    }

    fn partition(
        &self,
        cluster: &mut Cluster,
        node: i32,
        plan: &Plan,
        request: &FetchRequest,
        topic: &str,
        wanted: &FetchPartition,
    ) -> PartitionData {
        if let Some(code) = plan.partition_error(topic, wanted.partition) {
            return no_records(wanted.partition, code);
        }
        let whole = usize::try_from(request.max_bytes).unwrap_or(0).min(cluster.defaults.fetch_max_bytes);
        let max_bytes = whole.saturating_sub(self.bytes);
        let max_bytes = max_bytes.min(usize::try_from(wanted.partition_max_bytes).unwrap_or(0));
        let limits = Limits { max_bytes, at_least_one: self.bytes == 0, whole: cluster.defaults.whole_batches };
        let found = cluster.led_by(node, topic, wanted.partition);
        let read = found.and_then(|partition| {
            partition.check_epoch(wanted.current_leader_epoch)?;
            read(partition, request, wanted, limits)
        });
        read.unwrap_or_else(|code| no_records(wanted.partition, code))
    }

    fn suffices(&self, request: &FetchRequest) -> bool {
        let enough = usize::try_from(request.min_bytes).unwrap_or(0);
        self.failed || self.bytes >= enough || self.topics.is_empty()
    }

    /// The answer, its records flipped where a fault says so.
    fn corrupted(self, cluster: &mut Cluster, node: i32, client: &str) -> Vec<FetchableTopicResponse> {
        let mut topics = self.topics;
        if cluster.faults.is_empty() {
            return topics;
        }
        for topic in &mut topics {
            for partition in &mut topic.partitions {
                let Some(records) = partition.records.as_mut().filter(|r| !r.is_empty()) else {
                    continue;
                };
                let index = partition.partition_index;
                if cluster.faults.corrupts(node, client, &topic.topic, index) {
                    *records = batch::corrupted(records);
                }
            }
        }
        topics
    }
}

fn read(
    partition: &Partition,
    request: &FetchRequest,
    wanted: &FetchPartition,
    limits: Limits,
) -> Result<PartitionData, i16> {
    let log = &partition.log;
    let committed = request.isolation_level == READ_COMMITTED;
    let limit = if committed { log.last_stable() } else { log.high_watermark() };
    let from = wanted.fetch_offset;
    let records = log.read(from, limit, limits).map_err(Unreadable::code)?;
    let aborted = committed.then(|| {
        log.aborted_since(from)
            .map(|aborted| {
                AbortedTransaction::default()
                    .with_producer_id(ProducerId(aborted.producer_id))
                    .with_first_offset(aborted.first_offset)
            })
            .collect()
    });
    Ok(PartitionData::default()
        .with_partition_index(wanted.partition)
        .with_high_watermark(log.high_watermark())
        .with_last_stable_offset(log.last_stable())
        .with_log_start_offset(log.start())
        .with_aborted_transactions(aborted)
        .with_records(Some(records)))
}

fn no_records(partition: i32, code: i16) -> PartitionData {
    PartitionData::default()
        .with_partition_index(partition)
        .with_error_code(code)
        .with_high_watermark(-1)
        .with_last_stable_offset(-1)
        .with_aborted_transactions(None)
        .with_records(Some(Bytes::new()))
}
