//! The sandbox's transactions are Apache Kafka's: both are asked the same, request by request, and answer the same.
//! What they answer stands here, so that the sandbox is held to it where there is no Java.

use std::time::Duration;

use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, FetchRequest, FindCoordinatorRequest, GroupId,
    InitProducerIdRequest, ListOffsetsRequest, OffsetFetchRequest, ProduceRequest, TransactionalId,
    TxnOffsetCommitRequest,
};
use kafka_protocol::protocol::StrBytes;
use kafka_sandbox::{NewBatch, NewRecord, Sandbox};
use test_support::kafka::KafkaCluster;
use test_support::wire::{self, Connection, topic_name};
use tokio::time::{Instant, sleep};

const PATIENCE: Duration = Duration::from_secs(60);
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
/// `CONCURRENT_TRANSACTIONS`: the one before is not over everywhere.
const NOT_YET: i16 = 51;
/// `NOT_LEADER_OR_FOLLOWER`: it has not heard yet that it leads a new topic's partition.
const NOT_LEADER: i16 = 6;
/// `COORDINATOR_LOAD_IN_PROGRESS`: a coordinator that has just made its log reads it.
const LOADING: i16 = 14;

/// A producer: its id, and its epoch.
type Producer = (i64, i16);

/// Who asks, and what was answered.
struct Conversation {
    id: TransactionalId,
    group: StrBytes,
    topic: String,
    transactions: Connection,
    groups: Connection,
    leader: Connection,
    heard: Vec<(&'static str, String)>,
}

/// The connection to the coordinator of a key. One that is asked for the first time makes its log first.
async fn coordinator(bootstrap: &str, key: &str, key_type: i8) -> Connection {
    let find =
        FindCoordinatorRequest::default().with_key(StrBytes::from_string(key.to_owned())).with_key_type(key_type);
    let until = Instant::now() + PATIENCE;
    loop {
        let found = Connection::any(bootstrap).await.unwrap().call(&find, 3).await.unwrap();
        if found.error_code == 0 {
            return Connection::open(&format!("{}:{}", found.host.as_str(), found.port)).await.unwrap();
        }
        assert!(Instant::now() < until, "error code {} for a coordinator", found.error_code);
        sleep(Duration::from_millis(300)).await;
    }
}

impl Conversation {
    async fn new(bootstrap: &str, name: &str) -> Self {
        Self {
            id: TransactionalId(StrBytes::from_string(name.to_owned())),
            group: StrBytes::from_string(name.to_owned()),
            topic: name.to_owned(),
            transactions: coordinator(bootstrap, name, TRANSACTION).await,
            groups: coordinator(bootstrap, name, GROUP).await,
            leader: Connection::open(&wire::leader(bootstrap, name, 0).await.unwrap()).await.unwrap(),
            heard: Vec::new(),
        }
    }

    fn note(&mut self, step: &'static str, heard: impl ToString) {
        self.heard.push((step, heard.to_string()));
    }

    async fn init_as(&mut self, id: Option<&str>, timeout_ms: i32, before: Producer, version: i16) -> (i16, Producer) {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(id.map(|id| TransactionalId(StrBytes::from_string(id.to_owned()))))
            .with_transaction_timeout_ms(timeout_ms)
            .with_producer_id(before.0.into())
            .with_producer_epoch(before.1);
        let until = Instant::now() + PATIENCE;
        loop {
            let told = self.transactions.call(&request, version).await.unwrap();
            if told.error_code != LOADING || Instant::now() >= until {
                return (told.error_code, (told.producer_id.0, told.producer_epoch));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// As whom is written from now on, once nothing is left of what was before.
    async fn init(&mut self, step: &'static str, before: Producer, version: i16) -> Producer {
        let id = self.id.to_string();
        let until = Instant::now() + PATIENCE;
        loop {
            let (code, given) = self.init_as(Some(&id), 60_000, before, version).await;
            if code != NOT_YET || Instant::now() >= until {
                self.note(step, format!("{code} epoch {}", given.1));
                return given;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn add(&mut self, producer: Producer, partitions: &[i32], version: i16) -> Vec<i16> {
        let topic =
            AddPartitionsToTxnTopic::default().with_name(topic_name(&self.topic)).with_partitions(partitions.to_vec());
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(self.id.clone())
            .with_v3_and_below_producer_id(producer.0.into())
            .with_v3_and_below_producer_epoch(producer.1)
            .with_v3_and_below_topics(vec![topic]);
        let until = Instant::now() + PATIENCE;
        loop {
            let told = self.transactions.call(&request, version).await.unwrap();
            let told = &told.results_by_topic_v3_and_below[0].results_by_partition;
            let code = |partition: &i32| {
                told.iter().find(|found| found.partition_index == *partition).unwrap().partition_error_code
            };
            let codes: Vec<i16> = partitions.iter().map(code).collect();
            if !codes.iter().any(|code| [NOT_YET, LOADING].contains(code)) || Instant::now() >= until {
                return codes;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn added(&mut self, step: &'static str, producer: Producer, version: i16) {
        let codes = self.add(producer, &[0], version).await;
        self.note(step, codes[0]);
    }

    /// Writes two records.
    async fn write(&mut self, step: &'static str, producer: Producer, sequence: i32, version: i16) {
        let within = Some(self.id.clone());
        self.write_within(step, within, true, producer, sequence, version).await;
    }

    async fn write_within(
        &mut self,
        step: &'static str,
        id: Option<TransactionalId>,
        transactional: bool,
        producer: Producer,
        sequence: i32,
        version: i16,
    ) {
        let mut batch = NewBatch::new(vec![NewRecord::new("k", "v"), NewRecord::new("k", "w")]);
        (batch.producer_id, batch.producer_epoch, batch.base_sequence) = (producer.0, producer.1, sequence);
        batch.transactional = transactional;
        let data = PartitionProduceData::default().with_index(0).with_records(Some(batch.to_bytes()));
        let data = TopicProduceData::default().with_name(topic_name(&self.topic)).with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_transactional_id(id)
            .with_acks(-1)
            .with_timeout_ms(15_000)
            .with_topic_data(vec![data]);
        let until = Instant::now() + PATIENCE;
        loop {
            let told = self.leader.call(&request, version).await.unwrap();
            let told = &told.responses[0].partition_responses[0];
            if ![NOT_YET, NOT_LEADER].contains(&told.error_code) || Instant::now() >= until {
                self.note(step, format!("{} at {}", told.error_code, told.base_offset));
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn add_offsets(&mut self, step: &'static str, producer: Producer, version: i16) {
        let request = AddOffsetsToTxnRequest::default()
            .with_transactional_id(self.id.clone())
            .with_producer_id(producer.0.into())
            .with_producer_epoch(producer.1)
            .with_group_id(GroupId(self.group.clone()));
        let told = self.transactions.call(&request, version).await.unwrap();
        self.note(step, told.error_code);
    }

    /// Commits an offset of each of these partitions as this member in this generation.
    async fn commit(
        &mut self,
        step: &'static str,
        (producer, version): (Producer, i16),
        (member, generation): (&str, i32),
        offset: i64,
        partitions: &[i32],
    ) {
        let partition = |partition: &i32| {
            TxnOffsetCommitRequestPartition::default()
                .with_partition_index(*partition)
                .with_committed_offset(offset)
                .with_committed_metadata(Some(StrBytes::from_static_str("note")))
        };
        let topic = TxnOffsetCommitRequestTopic::default()
            .with_name(topic_name(&self.topic))
            .with_partitions(partitions.iter().map(partition).collect());
        let mut request = TxnOffsetCommitRequest::default()
            .with_transactional_id(self.id.clone())
            .with_group_id(GroupId(self.group.clone()))
            .with_producer_id(producer.0.into())
            .with_producer_epoch(producer.1)
            .with_topics(vec![topic]);
        if version >= 3 {
            request = request.with_member_id(StrBytes::from_string(member.to_owned())).with_generation_id(generation);
        }
        let until = Instant::now() + PATIENCE;
        loop {
            let told = self.groups.call(&request, version).await.unwrap();
            let found = &told.topics[0].partitions;
            let code =
                |partition: &i32| found.iter().find(|found| found.partition_index == *partition).unwrap().error_code;
            let codes: Vec<i16> = partitions.iter().map(code).collect();
            if !codes.contains(&NOT_YET) || Instant::now() >= until {
                self.note(step, format!("{codes:?}"));
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn committed(&mut self, step: &'static str, require_stable: bool) {
        let topic =
            OffsetFetchRequestTopics::default().with_name(topic_name(&self.topic)).with_partition_indexes(vec![0]);
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(GroupId(self.group.clone()))
            .with_topics(Some(vec![topic]));
        let request = OffsetFetchRequest::default().with_groups(vec![group]).with_require_stable(require_stable);
        let told = self.groups.call(&request, 8).await.unwrap();
        let found = &told.groups[0].topics[0].partitions[0];
        self.note(step, format!("{} at {}", found.error_code, found.committed_offset));
    }

    async fn end_as(&mut self, producer: Producer, commit: bool, version: i16) -> (i16, Producer) {
        let request = EndTxnRequest::default()
            .with_transactional_id(self.id.clone())
            .with_producer_id(producer.0.into())
            .with_producer_epoch(producer.1)
            .with_committed(commit);
        let until = Instant::now() + PATIENCE;
        loop {
            let told = self.transactions.call(&request, version).await.unwrap();
            if told.error_code != NOT_YET || Instant::now() >= until {
                return (told.error_code, (told.producer_id.0, told.producer_epoch));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn end(&mut self, step: &'static str, producer: Producer, commit: bool, version: i16) {
        let (code, _) = self.end_as(producer, commit, version).await;
        self.note(step, code);
    }

    /// Ends a transaction of version 2; says as whom the next is written.
    async fn end_2(&mut self, step: &'static str, producer: Producer, commit: bool) -> Producer {
        let (code, next) = self.end_as(producer, commit, 5).await;
        self.note(step, format!("{code} epoch {}", next.1));
        next
    }

    /// Where the log ends: for who reads what is committed, and for who reads all.
    async fn ends(&mut self) -> (i64, i64) {
        let mut ends = [0; 2];
        for (end, isolation) in ends.iter_mut().zip([1, 0]) {
            let partition = ListOffsetsPartition::default().with_partition_index(0).with_timestamp(-1);
            let topic = ListOffsetsTopic::default().with_name(topic_name(&self.topic)).with_partitions(vec![partition]);
            let request = ListOffsetsRequest::default()
                .with_replica_id((-1).into())
                .with_isolation_level(isolation)
                .with_topics(vec![topic]);
            *end = self.leader.call(&request, 2).await.unwrap().topics[0].partitions[0].offset;
        }
        ends.into()
    }

    /// Both ends, once nothing is open any more.
    async fn settle(&mut self, step: &'static str) {
        let until = Instant::now() + PATIENCE;
        let mut ends = self.ends().await;
        while ends.0 < ends.1 && Instant::now() < until {
            sleep(Duration::from_millis(20)).await;
            ends = self.ends().await;
        }
        self.note(step, format!("{ends:?}"));
    }

    /// What a fetch from an offset says of the transaction there.
    async fn fetch(&mut self, step: &'static str, from: i64, producer: Producer) {
        let partition =
            FetchPartition::default().with_partition(0).with_fetch_offset(from).with_partition_max_bytes(1 << 20);
        let topic = FetchTopic::default().with_topic(topic_name(&self.topic)).with_partitions(vec![partition]);
        let request = FetchRequest::default()
            .with_replica_id((-1).into())
            .with_max_bytes(1 << 20)
            .with_isolation_level(1)
            .with_topics(vec![topic]);
        let told = self.leader.call(&request, 11).await.unwrap();
        let told = &told.responses[0].partitions[0];
        // How far it looks ahead is each broker's own affair.
        let aborted = told.aborted_transactions.iter().flatten().filter(|it| it.first_offset <= from);
        let aborted: Vec<_> = aborted.map(|it| (it.producer_id.0 - producer.0, it.first_offset)).collect();
        self.note(step, format!("stable {}, aborted {aborted:?}", told.last_stable_offset));
    }

    /// The epochs of batches, and of markers in brackets.
    async fn epochs(&mut self, step: &'static str, bootstrap: &str) {
        let batches = wire::batches(bootstrap, &self.topic, 0).await.unwrap();
        let shown = batches.iter().map(|batch| {
            let epoch = batch.producer_epoch;
            if batch.is_control() { format!("[{epoch}]") } else { epoch.to_string() }
        });
        self.note(step, shown.collect::<Vec<_>>().join(" "));
    }
}

const NOBODY: Producer = (-1, -1);
const NO_MEMBER: (&str, i32) = ("", -1);

/// Transactions of version 1, in the versions of requests that are its last.
async fn version_1(bootstrap: &str, name: &str) -> Vec<(&'static str, String)> {
    let mut it = Conversation::new(bootstrap, name).await;
    it.added("add to an id that is not known", (1, 0), 3).await;
    it.end("end of an id that is not known", (1, 0), true, 3).await;
    for (step, id, timeout_ms, before) in [
        ("an empty id", "", 60_000, NOBODY),
        ("no timeout", name, 0, NOBODY),
        ("too long a timeout", name, 16 * 60_000, NOBODY),
        ("an id without an epoch", name, 60_000, (5, -1)),
    ] {
        let (code, _) = it.init_as(Some(id), timeout_ms, before, 4).await;
        it.note(step, code);
    }
    let first = it.init("init", NOBODY, 4).await;
    it.end("commit of nothing", first, true, 3).await;
    it.end("abort of nothing", first, false, 3).await;
    it.write("write what is not added", first, 0, 8).await;
    it.write_within("write without an id", None, true, first, 0, 8).await;
    let codes = it.add(first, &[0, 9], 3).await;
    it.note("add a partition that is none, too", format!("{codes:?}"));
    it.write("write what was not attempted", first, 0, 8).await;
    it.added("add", first, 3).await;
    it.added("add again", first, 3).await;
    it.added("add in a later epoch", (first.0, 1), 3).await;
    it.added("add in a later epoch, of old", (first.0, 1), 1).await;
    it.added("add as another", (first.0 + 1_000_000, 0), 3).await;
    it.write("write", first, 0, 8).await;
    it.write("write again", first, 0, 8).await;
    it.write("write with a gap", first, 7, 8).await;
    it.write_within("write outside of it", None, false, first, 2, 8).await;
    it.write("write as another", (first.0 + 1_000_000, 0), 0, 8).await;
    let ends = it.ends().await;
    it.note("ends while it is open", format!("{ends:?}"));

    it.commit("commit what is not added", (first, 3), NO_MEMBER, 5, &[0]).await;
    it.add_offsets("add offsets", first, 3).await;
    it.add_offsets("add offsets in a later epoch", (first.0, 1), 3).await;
    it.commit("commit as a member of a group that is not there", (first, 3), ("m", 3), 5, &[0]).await;
    it.commit("commit in another epoch", ((first.0, 1), 3), NO_MEMBER, 5, &[0]).await;
    it.commit("commit", (first, 3), NO_MEMBER, 5, &[0, 9]).await;
    it.commit("commit, of old", (first, 2), NO_MEMBER, 5, &[0]).await;
    it.commit("commit as a member that is none", (first, 3), ("m", 3), 5, &[0]).await;
    it.committed("offsets", false).await;
    it.committed("stable offsets", true).await;

    it.end("end in a later epoch", (first.0, 1), true, 3).await;
    it.end("end in a later epoch, of old", (first.0, 1), true, 1).await;
    it.end("end as another", (first.0 + 1_000_000, 0), true, 3).await;
    it.end("commit", first, true, 3).await;
    it.settle("ends").await;
    it.committed("stable offsets when it is committed", true).await;
    it.end("commit again", first, true, 3).await;
    it.end("abort what is committed", first, false, 3).await;
    it.write("write when it is over", first, 2, 8).await;
    it.write("write again when it is over", first, 0, 8).await;

    // Another begins while it is open.
    it.added("add to the next", first, 3).await;
    it.write("write in the next what is behind what was tried", first, 2, 8).await;
    it.write("write again in the next", first, 0, 8).await;
    it.end("commit the next", first, true, 3).await;
    // There is nothing of it to wait for in the log but its marker, behind which alone another begins.
    it.added("add to the one behind", first, 3).await;
    it.settle("ends").await;
    it.write("write in the one behind", first, 2, 8).await;
    it.add_offsets("add offsets to the next", first, 3).await;
    it.commit("commit in the next", (first, 3), NO_MEMBER, 8, &[0]).await;
    let (code, _) = it.init_as(Some(name), 60_000, NOBODY, 4).await;
    it.note("init while it is open", code);
    let second = it.init("init", NOBODY, 4).await;
    it.settle("ends").await;
    it.committed("stable offsets when it is given up", true).await;
    it.added("add when it is fenced", first, 3).await;
    it.added("add when it is fenced, of old", first, 1).await;
    it.write("write when it is fenced", first, 4, 8).await;
    it.write("write by the next without adding", second, 0, 8).await;
    it.commit("commit when it is fenced", (first, 3), NO_MEMBER, 9, &[0]).await;
    it.end("end when it is fenced", first, true, 3).await;
    it.end("end when it is fenced, of old", first, true, 1).await;
    it.fetch("a fetch", 4, first).await;

    // It names itself.
    let third = it.init("init in its place", second, 4).await;
    it.init("init in its place, again", second, 4).await;
    it.init("init in a place that is gone", first, 4).await;
    it.init("init in a place that is gone, of old", first, 3).await;
    it.init("init as another", (first.0 + 1_000_000, 0), 4).await;
    it.added("add", third, 3).await;
    it.write("write with a gap", third, 3, 8).await;
    it.write("write", third, 0, 8).await;
    it.end("abort", third, false, 3).await;
    it.settle("ends").await;
    it.end("abort again", third, false, 3).await;
    it.end("commit what is given up", third, true, 3).await;
    it.fetch("a fetch", 7, first).await;
    it.epochs("epochs", bootstrap).await;
    it.heard
}

/// Transactions of version 2.
async fn version_2(bootstrap: &str, name: &str) -> Vec<(&'static str, String)> {
    let mut it = Conversation::new(bootstrap, name).await;
    let p0 = it.init("init", NOBODY, 4).await;
    it.write("begin with a gap", p0, 4, 12).await;
    it.write("write", p0, 0, 12).await;
    it.write("write again", p0, 0, 12).await;
    it.commit("commit", (p0, 5), NO_MEMBER, 5, &[0]).await;
    it.committed("stable offsets", true).await;
    let p1 = it.end_2("end", p0, true).await;
    it.settle("ends").await;
    it.committed("stable offsets when it is committed", true).await;
    it.end_2("end again", p0, true).await;
    it.end_2("abort what is committed", p0, false).await;
    it.end_2("commit of nothing", p1, true).await;
    it.write("write in the epoch that is over", p0, 2, 12).await;
    it.write("write again in the epoch that is over", p0, 0, 12).await;
    it.commit("commit in the epoch that is over", (p0, 5), NO_MEMBER, 9, &[0]).await;
    it.write("write with a gap", p1, 2, 12).await;
    it.write("write", p1, 0, 12).await;
    let p2 = it.end_2("abort", p1, false).await;
    it.settle("ends").await;
    it.end_2("abort again", p1, false).await;
    let p3 = it.end_2("abort of nothing", p2, false).await;
    it.settle("ends").await;
    it.end_2("end in an epoch that is to come", (p3.0, p3.1 + 1), true).await;
    it.commit("commit alone", (p3, 5), NO_MEMBER, 11, &[0]).await;
    let p4 = it.end_2("end", p3, true).await;
    it.write("write", p4, 0, 12).await;
    it.end_2("end again, late", p3, true).await;
    let (code, _) = it.init_as(Some(name), 60_000, NOBODY, 4).await;
    it.note("init while it is open", code);
    let next = it.init("init", NOBODY, 4).await;
    it.settle("ends").await;
    it.write("write when it is fenced", p4, 2, 12).await;
    it.end_2("end when it is fenced", p4, true).await;
    it.write("write", next, 0, 12).await;
    it.end_2("end", next, true).await;
    it.settle("ends").await;
    it.fetch("a fetch", 6, p0).await;
    it.epochs("epochs", bootstrap).await;
    it.heard
}

/// A transaction that is open for too long.
async fn timeout(bootstrap: &str, name: &str) -> Vec<(&'static str, String)> {
    let mut it = Conversation::new(bootstrap, name).await;
    let (code, first) = it.init_as(Some(name), 1_000, NOBODY, 4).await;
    it.note("init", code);
    it.added("add", first, 3).await;
    it.write("write", first, 0, 8).await;
    it.settle("ends").await;
    it.write("write when it is given up", first, 2, 8).await;
    it.end("commit", first, true, 3).await;
    it.init("init in its place", first, 4).await;
    it.init("init", NOBODY, 4).await;
    it.epochs("epochs", bootstrap).await;
    it.heard
}

/// Holds both to what is expected.
async fn alike<F: Future<Output = Vec<(&'static str, String)>>>(
    name: &'static str,
    converse: impl Fn(String, &'static str) -> F,
    expected: &str,
) {
    let sandbox = Sandbox::builder().nodes(2).start().await.unwrap();
    sandbox.create_topic(name, 2).unwrap();
    let shown = |heard: Vec<(&'static str, String)>| {
        let lines: Vec<_> = heard.into_iter().map(|(step, heard)| format!("{step}: {heard}")).collect();
        lines.join("\n")
    };
    let of_sandbox = shown(converse(sandbox.bootstrap(), name).await);
    if !KafkaCluster::left_out() {
        let cluster = KafkaCluster::shared_with_short_waits().await;
        cluster.create_topic(name, 2, &[]).await;
        let of_kafka = shown(converse(cluster.bootstrap(), name).await);
        assert_eq!(of_sandbox, of_kafka, "the sandbox, and Kafka");
    }
    assert_eq!(of_sandbox, expected.trim());
}

#[tokio::test]
async fn transactions_of_version_1_are_answered_as_by_kafka() {
    alike("alike-1", |bootstrap, name| async move { version_1(&bootstrap, name).await }, VERSION_1).await;
}

#[tokio::test]
async fn transactions_of_version_2_are_answered_as_by_kafka() {
    alike("alike-2", |bootstrap, name| async move { version_2(&bootstrap, name).await }, VERSION_2).await;
}

#[tokio::test]
async fn a_transaction_that_is_open_for_too_long_is_given_up_as_by_kafka() {
    alike("alike-timeout", |bootstrap, name| async move { timeout(&bootstrap, name).await }, TIMEOUT).await;
}

/// Error codes, and offsets or epochs.
const VERSION_1: &str = "
add to an id that is not known: 49
end of an id that is not known: 49
an empty id: 42
no timeout: 50
too long a timeout: 50
an id without an epoch: 42
init: 0 epoch 0
commit of nothing: 48
abort of nothing: 48
write what is not added: 48 at -1
write without an id: 53 at -1
add a partition that is none, too: [55, 3]
write what was not attempted: 48 at -1
add: 0
add again: 0
add in a later epoch: 90
add in a later epoch, of old: 47
add as another: 49
write: 0 at 0
write again: 0 at 0
write with a gap: 45 at -1
write outside of it: 48 at -1
write as another: 49 at -1
ends while it is open: (0, 2)
commit what is not added: [48]
add offsets: 0
add offsets in a later epoch: 90
commit as a member of a group that is not there: [22]
commit in another epoch: [47]
commit: [0, 3]
commit, of old: [0]
commit as a member that is none: [25]
offsets: 0 at -1
stable offsets: 88 at -1
end in a later epoch: 90
end in a later epoch, of old: 47
end as another: 49
commit: 0
ends: (3, 3)
stable offsets when it is committed: 0 at 5
commit again: 0
abort what is committed: 48
write when it is over: 48 at -1
write again when it is over: 48 at -1
add to the next: 0
write in the next what is behind what was tried: 45 at -1
write again in the next: 0 at 0
commit the next: 0
add to the one behind: 0
ends: (4, 4)
write in the one behind: 0 at 4
add offsets to the next: 0
commit in the next: [0]
init while it is open: 51
init: 0 epoch 2
ends: (7, 7)
stable offsets when it is given up: 0 at 5
add when it is fenced: 90
add when it is fenced, of old: 47
write when it is fenced: 47 at -1
write by the next without adding: 48 at -1
commit when it is fenced: [47]
end when it is fenced: 90
end when it is fenced, of old: 47
a fetch: stable 7, aborted [(0, 4)]
init in its place: 0 epoch 3
init in its place, again: 0 epoch 3
init in a place that is gone: 90 epoch -1
init in a place that is gone, of old: 47 epoch -1
init as another: 90 epoch -1
add: 0
write with a gap: 45 at -1
write: 0 at 7
abort: 0
ends: (10, 10)
abort again: 0
commit what is given up: 48
a fetch: stable 10, aborted [(0, 7)]
epochs: 0 [0] [0] 0 [1] 3 [3]
";
const VERSION_2: &str = "
init: 0 epoch 0
begin with a gap: 45 at -1
write: 0 at 0
write again: 0 at 0
commit: [0]
stable offsets: 88 at -1
end: 0 epoch 1
ends: (3, 3)
stable offsets when it is committed: 0 at 5
end again: 0 epoch 1
abort what is committed: 48 epoch -1
commit of nothing: 48 epoch -1
write in the epoch that is over: 47 at -1
write again in the epoch that is over: 47 at -1
commit in the epoch that is over: [47]
write with a gap: 45 at -1
write: 0 at 3
abort: 0 epoch 2
ends: (6, 6)
abort again: 0 epoch 2
abort of nothing: 0 epoch 3
ends: (6, 6)
end in an epoch that is to come: 90 epoch -1
commit alone: [0]
end: 0 epoch 4
write: 0 at 6
end again, late: 90 epoch -1
init while it is open: 51
init: 0 epoch 6
ends: (9, 9)
write when it is fenced: 47 at -1
end when it is fenced: 90 epoch -1
write: 0 at 9
end: 0 epoch 7
ends: (12, 12)
a fetch: stable 12, aborted [(0, 6)]
epochs: 0 [1] 1 [2] 4 [5] 6 [7]
";
const TIMEOUT: &str = "
init: 0
add: 0
write: 0 at 0
ends: (3, 3)
write when it is given up: 47 at -1
commit: 90
init in its place: 0 epoch 1
init: 0 epoch 2
epochs: 0 [1]
";
