//! What the client's connections make of a network that fails, under a paused clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use kafka_records::record::Offset;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::super::{ScriptedBroker, offset};
use super::*;
use crate::{At, Cluster, Connection, Error};

const BROKER: &str = "127.0.0.1:9092";

/// A broker whose partition ends at 7, and how often it was asked where.
fn broker(network: &Network) -> Arc<AtomicUsize> {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let broker = ScriptedBroker::new().respond(ApiKey::ListOffsets, move |port| {
        counter.fetch_add(1, Ordering::Relaxed);
        offset(0, 7)(port)
    });
    broker.serve(network, 9092);
    asked
}

async fn end(cluster: &Cluster) -> Result<Option<Offset>, Error> {
    cluster.offset_at("t", 0, At::Latest).await
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_cut_in_the_middle_is_lost_and_the_next_request_reconnects() {
    let network = Network::default();
    let asked = broker(&network);
    let cluster = Cluster::new(network.options("client", &[BROKER]));
    assert_eq!(end(&cluster).await.unwrap(), Some(Offset(7)));
    for bytes in 1..20 {
        let before = cluster.leader("t", 0).await.unwrap();
        network.path(BROKER).cut_after(bytes);
        let error = end(&cluster).await.unwrap_err();
        assert!(matches!(error.cause, Cause::Disconnected(_)), "{bytes} bytes: {error}");
        assert!(error.leaves_doubt() && before.is_broken(), "{bytes} bytes");
        assert_eq!(end(&cluster).await.unwrap(), Some(Offset(7)), "on another connection");
        assert!(!Arc::ptr_eq(&before, &cluster.leader("t", 0).await.unwrap()));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1 + 2 * 19, "nothing is tried again in secret");
    assert_eq!(network.path(BROKER).connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stalled_broker_costs_the_deadline_of_a_request() {
    let network = Network::default();
    broker(&network);
    let options = network.options("client", &[BROKER]);
    let (request_timeout, connect_timeout) = (options.request_timeout, options.connect_timeout);
    let cluster = Cluster::new(options);
    let connection = cluster.leader("t", 0).await.unwrap();
    let path = network.path(BROKER);
    path.stall();
    let begun = Instant::now();
    let error = end(&cluster).await.unwrap_err();
    assert!(matches!(error.cause, Cause::Timeout(after) if after == request_timeout), "{error}");
    assert_eq!(begun.elapsed(), request_timeout);
    assert!(connection.is_broken(), "nobody waits on it again");

    let begun = Instant::now();
    let error = Connection::open(BROKER, cluster.options()).await.unwrap_err();
    assert!(matches!(&error.cause, Cause::Connect(why) if why == "no connection within 10s"), "{error}");
    assert_eq!(begun.elapsed(), connect_timeout);

    path.resume();
    assert_eq!(end(&cluster).await.unwrap(), Some(Offset(7)));
}

#[tokio::test(start_paused = true)]
async fn a_cut_breaks_one_clients_connections_and_no_others() {
    let network = Network::default();
    broker(&network);
    let [ours, theirs] = ["a", "b"].map(|client| Cluster::new(network.options(client, &[BROKER])));
    let (cut, whole) = (ours.leader("t", 0).await.unwrap(), theirs.leader("t", 0).await.unwrap());
    assert_eq!(cut.peer(), whole.peer(), "one host has one address");
    assert_eq!(network.path_from("a", BROKER).cut(), 1);
    sleep(Duration::from_millis(1)).await;
    assert!(cut.is_broken() && !whole.is_broken());
    assert_eq!(end(&ours).await.unwrap(), Some(Offset(7)));
    network.path_from("a", BROKER).stall();
    assert_eq!(end(&theirs).await.unwrap(), Some(Offset(7)));
    assert!(end(&ours).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_there_and_back() {
    let network = Network::default();
    broker(&network);
    let cluster = Cluster::new(network.options("client", &[BROKER]));
    cluster.leader("t", 0).await.unwrap();
    network.path(BROKER).delay(Duration::from_millis(40));
    network.path_from("client", BROKER).delay(Duration::from_millis(2));
    let begun = Instant::now();
    end(&cluster).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_millis(84));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_reached_where_nobody_listens_any_more() {
    let network = Network::default();
    let options = network.options("client", &["a:1", "[::1]:2"]);
    let refused = async |address| Connection::open(address, &options).await.unwrap_err().cause.to_string();
    assert!(refused("a:1").await.contains("refused"));
    drop(network.listen("[::1]:2"));
    assert!(refused("[::1]:2").await.contains("refused"));
}

/// A broker of bytes: they arrive in their order, whole, and no more of them at a time than a socket holds.
#[tokio::test(start_paused = true)]
async fn a_writer_waits_for_whoever_reads() {
    let network = Network::default();
    let mut listener = network.listen("a:1");
    let host = network.host("client");
    let Connected { stream, .. } = host.connect("a", 1, Duration::from_secs(1)).await.unwrap();
    let mut broker = listener.accept().await.unwrap();
    let (mut read, mut write) = stream.halves();
    let sent: Vec<u8> = (0..=u8::MAX).cycle().take(200_000).collect();
    let mut writing = Box::pin(write.write_all(&sent));
    assert!(timeout(Duration::from_secs(3600), &mut writing).await.is_err(), "it is more than there is room for");
    let mut received = vec![0; sent.len()];
    let (written, read_exactly) = tokio::join!(writing, broker.read_exact(&mut received));
    assert!(written.is_ok() && read_exactly.is_ok() && received == sent);
    write.shutdown().await.unwrap();
    assert_eq!(broker.read(&mut received).await.unwrap(), 0, "it writes no more");
    broker.write_all(b"still").await.unwrap();
    drop(broker);
    let mut rest = Vec::new();
    read.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"still", "what was written before the end arrives");
    assert_eq!(network.path("a:1").connections(), 1);
    drop((read, write));
    assert_eq!(network.path("a:1").connections(), 0);
}
