//! Who takes connections and never answers, and connections that nobody on the way remembers: neither may hold up what
//! others can do.

use std::time::Duration;

use kafka_client::{Cluster, Options};
use kafka_sandbox::{Api, Sandbox};
use login_pipeline::config::ReaderKind::{Rskafka, Wire};
use login_pipeline::config::{ByteSize, Config, ReaderKind};
use rstest::rstest;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

use crate::pipeline::support::{SOURCE, World};

/// Longer than any test waits for anything.
const NEVER: Duration = Duration::from_secs(600);
const SOON: Duration = Duration::from_secs(20);

/// A broker that is stopped: its kernel takes connections, and nobody answers.
async fn hung() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// How many connections it was sent.
async fn taken(hung: &TcpListener) -> usize {
    let mut taken = 0;
    while timeout(Duration::from_millis(100), hung.accept()).await.is_ok() {
        taken += 1;
    }
    taken
}

async fn a_sandbox() -> (Sandbox, Config) {
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.create_topic(SOURCE, 1).unwrap();
    let mut config = Config::default();
    config.kafka.brokers = vec![sandbox.bootstrap()];
    (sandbox, config)
}

#[rstest]
#[tokio::test]
async fn brokers_that_hang_first_in_kafka_brokers_hold_up_nothing(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut world = World::new(reader, 2).await;
    world.fill(20);
    let (first, second) = (hung().await, hung().await);
    world.config.kafka.brokers.insert(0, second.1);
    world.config.kafka.brokers.insert(0, first.1);
    world.config.kafka.connect_timeout = NEVER;
    world.config.kafka.request_timeout = NEVER;
    world.run_and_audit().await.0.assert_once();
    assert!(taken(&first.0).await > 0, "it was tried");
}

#[tokio::test]
async fn a_broker_that_hangs_is_waited_for_once() {
    let (_sandbox, mut config) = a_sandbox().await;
    let (first, address) = hung().await;
    config.kafka.brokers.insert(0, address);
    config.kafka.connect_timeout = NEVER;
    config.kafka.request_timeout = NEVER;
    let cluster = Cluster::new(Options::from(&config.kafka));
    for _ in 0..20 {
        let found = timeout(SOON, cluster.topics(&[SOURCE])).await.unwrap().unwrap();
        assert_eq!(found[SOURCE].as_ref().unwrap().partition_count(), 1);
    }
    assert_eq!(taken(&first).await, 1);
}

#[tokio::test]
async fn brokers_that_all_hang_are_given_up_in_time() {
    let (first, address) = hung().await;
    let mut config = Config::default();
    config.kafka.brokers = vec![address];
    config.kafka.connect_timeout = Duration::from_millis(50);
    let cluster = Cluster::new(Options::from(&config.kafka));
    let error = timeout(SOON, cluster.topics(&[SOURCE])).await.unwrap().unwrap_err().to_string();
    assert!(error.contains("no answer within 50ms"), "the deadline of setting up a connection: {error}");
    assert_eq!(taken(&first).await, 1);
}

#[tokio::test]
async fn a_connection_that_was_idle_is_opened_anew_before_it_is_needed_and_once_for_all() {
    let (sandbox, mut config) = a_sandbox().await;
    config.kafka.connections_max_idle = Duration::from_millis(200);
    let cluster = Cluster::new(Options::from(&config.kafka));
    // Each connection begins with the versions.
    let opened = || sandbox.requests(Api::ApiVersions);
    for _ in 0..3 {
        cluster.topics(&[SOURCE]).await.unwrap();
    }
    let before = opened();
    assert_eq!(before, 1);
    sleep(Duration::from_millis(400)).await;
    let asked = (0..50).map(|_| cluster.topics(&[SOURCE]));
    for found in futures::future::join_all(asked).await {
        found.unwrap();
    }
    assert_eq!(opened(), before + 1);
}

#[rstest]
#[tokio::test]
async fn connections_that_are_idle_again_and_again_lose_and_double_nothing(
    #[values(Rskafka, Wire)] reader: ReaderKind,
) {
    let mut world = World::new(reader, 2).await;
    world.config.kafka.connections_max_idle = Duration::from_millis(50);
    let pipeline = world.start().await;
    for _ in 0..4 {
        world.fill(20);
        world.until_done(&pipeline).await;
        sleep(Duration::from_millis(150)).await;
    }
    assert_eq!(pipeline.metric("login_pipeline_retries_total", ""), 0);
    world.finish(pipeline).await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn a_cluster_of_more_topics_than_a_frame_holds_is_read_or_the_key_is_named(
    #[values(Rskafka, Wire)] reader: ReaderKind,
) {
    let mut world = World::new(reader, 1).await;
    world.fill(20);
    for number in 0..400 {
        world.sandbox.create_topic(&format!("{number:0>240}"), 1).unwrap();
    }
    world.config.kafka.max_frame_bytes = ByteSize::kib(64);
    world.config.source.max_fetch_bytes = ByteSize::kib(32);
    let pipeline = world.start().await;
    // rskafka asks for all topics of a cluster: then our own reader takes its place.
    world.until_done(&pipeline).await;
    pipeline.stop().await;
}
