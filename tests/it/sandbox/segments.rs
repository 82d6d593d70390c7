//! What a fetch gets of a log of segments, of a damaged log, and of a log that was.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_client::Error;
use kafka_client::{Answer, Ask, At, Cluster, Isolation, LeaderConnection, Options};
use kafka_records::records::Window;
use kafka_sandbox::{Action, Api, Damage, Fault, NewBatch, NewRecord, Sandbox, SandboxError, TopicConfig};
use login_pipeline::config::Config;
use login_pipeline::record::{Offset, Position};
use login_pipeline::source::Reserve;

use super::support::{TOPIC, soon, with_topic};

fn cluster(sandbox: &Sandbox) -> Arc<Cluster> {
    let mut kafka = Config::default().kafka;
    kafka.brokers = sandbox.bootstrap().split(',').map(str::to_owned).collect();
    Arc::new(Cluster::new(Options::from(&kafka)))
}

/// Appends batches of ten records, at the end.
fn append(sandbox: &Sandbox, batches: usize) {
    for _ in 0..batches {
        let records = (0..10).map(|n| NewRecord::new(format!("{n}"), "v")).collect();
        sandbox.append_batch(TOPIC, 0, &NewBatch::new(records)).unwrap();
    }
}

fn size(sandbox: &Sandbox) -> usize {
    sandbox.stored_batch(TOPIC, 0, 0).unwrap().len()
}

fn ask(offset: i64) -> Ask<'static> {
    let isolation = Isolation::Uncommitted;
    Ask { topic: TOPIC, partition: 0, isolation, offset: Offset(offset), max_bytes: 10_000, max_wait_ms: 0 }
}

async fn bytes_of(cluster: &Cluster, offset: i64, max_bytes: usize) -> Result<bytes::Bytes, Error> {
    let max_bytes = i32::try_from(max_bytes).unwrap();
    soon(cluster.fetch(&Ask { max_bytes, ..ask(offset) })).await.map(|fetched| fetched.batches)
}

/// What the batches of a fetch say that they begin at; a last one that is cut short left out.
async fn bases(cluster: &Cluster, offset: i64, max_bytes: usize) -> Vec<i64> {
    let (mut at, mut bases) = (&bytes_of(cluster, offset, max_bytes).await.unwrap()[..], Vec::new());
    while let Some((head, _)) = at.split_first_chunk::<12>() {
        let (base, length) = head.split_at(8);
        let size = 12 + usize::try_from(i32::from_be_bytes(length.try_into().unwrap())).unwrap();
        let Some(rest) = at.get(size..) else { break };
        bases.push(i64::from_be_bytes(base.try_into().unwrap()));
        at = rest;
    }
    bases
}

const MUCH: usize = 10 << 20;

#[tokio::test]
async fn a_fetch_ends_with_its_segment_however_much_may_come() {
    let sandbox = with_topic().await;
    append(&sandbox, 2);
    sandbox.roll_segment(TOPIC, 0).unwrap();
    append(&sandbox, 3);
    assert_eq!(sandbox.segments(TOPIC, 0).unwrap(), [0, 20]);
    let cluster = cluster(&sandbox);
    assert_eq!(bases(&cluster, 0, MUCH).await, [0, 10]);
    assert_eq!(bases(&cluster, 15, MUCH).await, [10]);
    assert_eq!(bases(&cluster, 20, MUCH).await, [20, 30, 40]);
    // Nothing is left of the first segment behind there: the next one answers.
    sandbox.compact(TOPIC, 0, 10).unwrap();
    assert_eq!(bases(&cluster, 10, MUCH).await, [20, 30, 40]);
}

#[tokio::test]
async fn segments_are_of_the_size_that_is_set() {
    let sandbox = Sandbox::builder().segment_bytes(1000).start().await.unwrap();
    sandbox.create_topic(TOPIC, 1).unwrap();
    append(&sandbox, 20);
    let each = 1000 / size(&sandbox) * 10;
    let begin: Vec<i64> = (0..200).step_by(each).collect();
    assert_eq!(sandbox.segments(TOPIC, 0).unwrap(), begin);
    let config = TopicConfig { segment_bytes: Some(1), ..TopicConfig::new(1) };
    sandbox.create_topic_with("small", config).unwrap();
    for _ in 0..3 {
        sandbox.produce("small", 0, [("k", "v")]).unwrap();
    }
    assert_eq!(sandbox.segments("small", 0).unwrap(), [0, 1, 2]);
}

#[tokio::test]
async fn the_brokers_own_limit_is_less_than_what_is_asked_for() {
    let sandbox = Sandbox::builder().fetch_max_bytes(300).start().await.unwrap();
    sandbox.create_topic(TOPIC, 1).unwrap();
    append(&sandbox, 10);
    let cluster = cluster(&sandbox);
    assert_eq!(bytes_of(&cluster, 0, MUCH).await.unwrap().len(), 300);
    let large = NewBatch::new(vec![NewRecord::new("k", vec![0; 5000])]);
    sandbox.append_batch(TOPIC, 0, &large).unwrap();
    assert_eq!(bases(&cluster, 100, MUCH).await, [100], "one batch comes whatever its size");
}

#[tokio::test]
async fn a_last_batch_is_cut_or_left_out() {
    for whole in [false, true] {
        let builder = if whole { Sandbox::builder().whole_batches() } else { Sandbox::builder() };
        let sandbox = builder.start().await.unwrap();
        sandbox.create_topic(TOPIC, 1).unwrap();
        append(&sandbox, 3);
        let (cluster, size) = (cluster(&sandbox), size(&sandbox));
        let got = bytes_of(&cluster, 0, size + 20).await.unwrap().len();
        assert_eq!(got, if whole { size } else { size + 20 });
        assert_eq!(bytes_of(&cluster, 0, 1).await.unwrap().len(), size);
    }
}

#[tokio::test]
async fn what_no_checksum_covers_misleads_the_broker_as_it_does_kafka() {
    let sandbox = with_topic().await;
    append(&sandbox, 3);
    sandbox.roll_segment(TOPIC, 0).unwrap();
    append(&sandbox, 2);
    let cluster = cluster(&sandbox);
    sandbox.damage(TOPIC, 0, 25, &Damage::BaseOffsetBit(40)).unwrap();
    let beyond = 20 + (1 << 40);
    assert_eq!(bases(&cluster, 0, MUCH).await, [0, 10, beyond]);
    assert_eq!(bases(&cluster, 20, MUCH).await, [beyond]);
    assert_eq!(bases(&cluster, 29, MUCH).await, [beyond]);
    assert_eq!(bases(&cluster, 30, MUCH).await, [30, 40], "another segment is asked by its name");
    sandbox.damage(TOPIC, 0, 10, &Damage::BaseOffset(3)).unwrap();
    assert_eq!(bases(&cluster, 10, 1).await, [3]);
    sandbox.damage(TOPIC, 0, 30, &Damage::Length(1 << 20)).unwrap();
    assert_eq!(bases(&cluster, 30, MUCH).await, Vec::<i64>::new());
    sandbox.damage(TOPIC, 0, 30, &Damage::Length(-1)).unwrap();
    let error = bytes_of(&cluster, 30, MUCH).await.unwrap_err();
    assert!(error.to_string().contains("CorruptMessage"), "{error}");
}

#[tokio::test]
async fn damage_under_a_right_checksum() {
    let packed = NewBatch::packed(4, 10, &b"no zstd at all"[..]);
    for damage in [None, Some(Damage::Record(3)), Some(Damage::RecordCount(11)), Some(Damage::LastOffsetDelta(8))] {
        let sandbox = with_topic().await;
        match &damage {
            Some(damage) => {
                append(&sandbox, 1);
                sandbox.damage(TOPIC, 0, 0, damage).unwrap();
            }
            None => drop(sandbox.append_batch(TOPIC, 0, &packed).unwrap()),
        }
        let fetched = soon(cluster(&sandbox).fetch(&ask(0))).await.unwrap();
        let mut answer = Answer::new(fetched, Offset(0).into(), true, false);
        let (stretch, _) = answer.read(&mut Window::unlimited()).unwrap();
        let why = &stretch.records.flaws()[0].why;
        let wanted = if damage.is_none() { "decompression failed" } else { "record" };
        assert!(why.contains(wanted) && !why.contains("checksum"), "{damage:?}: {why}");
        let error = sandbox.damage(TOPIC, 0, 10, &Damage::LeaderEpoch(7)).unwrap_err();
        assert!(matches!(error, SandboxError::OffsetOutOfRange(10)), "there is none: {error}");
    }
    let sandbox = with_topic().await;
    sandbox.append_batch(TOPIC, 0, &packed).unwrap();
    assert!(sandbox.damage(TOPIC, 0, 0, &Damage::Record(0)).is_err(), "it is compressed");
}

#[tokio::test]
async fn what_was_is_answered_once_or_for_a_while() {
    let sandbox = with_topic().await;
    append(&sandbox, 1);
    let before = sandbox.snapshot();
    append(&sandbox, 1);
    let cluster = cluster(&sandbox);
    let latest = async || soon(cluster.offset_as(Isolation::Uncommitted, TOPIC, 0, At::Latest)).await.unwrap();
    let late = sandbox.fault(Fault::on(Api::ListOffsets), Action::Stale(before));
    assert_eq!((latest().await, latest().await), (Some(Offset(10)), Some(Offset(20))));
    assert_eq!(late.fired(), 1);
    sandbox.fault(Fault::on(Api::Fetch).times(2), Action::Stale(before));
    for expected in [vec![0], vec![0], vec![0, 10]] {
        assert_eq!(bases(&cluster, 0, MUCH).await, expected);
    }
    sandbox.set_high_watermark(TOPIC, 0, Some(10)).unwrap();
    assert_eq!((bases(&cluster, 0, MUCH).await, latest().await), (vec![0], Some(Offset(10))));
    assert_eq!(bases(&cluster, 15, MUCH).await, Vec::<i64>::new(), "it is no error to ask for what is not seen yet");
}

/// A node that led until just now answers who comes to it, until it hears that it does not.
#[tokio::test]
async fn a_leader_that_was_says_so_to_who_knows_the_epoch() {
    let sandbox = Sandbox::builder().nodes(2).start().await.unwrap();
    sandbox.create_topic(TOPIC, 1).unwrap();
    append(&sandbox, 1);
    let before = sandbox.snapshot();
    sandbox.move_leader(TOPIC, 0, 2).unwrap();
    append(&sandbox, 1);
    let lagging = sandbox.fault(Fault::any().node(1).forever(), Action::Stale(before));
    let mut leader = LeaderConnection::new(cluster(&sandbox), Reserve::new(1 << 20));
    soon(leader.open(TOPIC, 0, Position::default())).await.unwrap();
    lagging.remove();
    let error = soon(leader.fetch(&ask(0))).await.unwrap_err();
    assert!(error.to_string().contains("NotLeaderOrFollower"), "{error}");
    sandbox.move_leader(TOPIC, 0, 1).unwrap();
    sandbox.fault(Fault::on(Api::Metadata).forever(), Action::Stale(before));
    soon(leader.open(TOPIC, 0, Position::default())).await.unwrap();
    let error = soon(leader.fetch(&ask(0))).await.unwrap_err();
    assert!(error.to_string().contains("FencedLeaderEpoch"), "{error}");
}

#[tokio::test]
async fn a_throttled_connection_is_mute_and_a_throttled_fetch_names_nothing() {
    let sandbox = with_topic().await;
    append(&sandbox, 1);
    let cluster = cluster(&sandbox);
    sandbox.fault(Fault::on(Api::Fetch), Action::Throttle(100));
    let begun = Instant::now();
    let error = bytes_of(&cluster, 0, MUCH).await.unwrap_err();
    assert!(error.to_string().contains("Throttling"), "{error}");
    assert_eq!(bases(&cluster, 0, MUCH).await, [0]);
    assert!(begun.elapsed() >= Duration::from_millis(100));
}
