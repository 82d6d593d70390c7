//! What a broker says of who writes, and of who leads.

use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::FindCoordinatorResponse;
use kafka_protocol::messages::find_coordinator_response::Coordinator as Found;

use super::*;
use crate::{Cause, Coordinator, Error};

#[tokio::test]
async fn an_id_that_is_none_is_not_written_under() {
    for (id, epoch) in [(-1, 0), (3, -1), (-1, -1)] {
        let broker = ScriptedBroker::new().respond(ApiKey::InitProducerId, move |_| identified(id, epoch));
        let given = broker.start().init_producer_id().await;
        assert!(matches!(given, Err(Error { cause: Cause::Undecodable(_), .. })), "{given:?}");
    }
}

/// The transaction before is still being ended: that is asked every 10 ms, and says nothing of who leads.
#[tokio::test]
async fn a_leader_that_refuses_stays_the_leader() {
    use ResponseError as Code;
    for (code, forgets) in [
        (Code::ConcurrentTransactions, false),
        (Code::OutOfOrderSequenceNumber, false),
        (Code::MessageTooLarge, false),
        (Code::NotLeaderOrFollower, true),
    ] {
        let asked = Arc::new(AtomicUsize::new(0));
        let (counter, code) = (Arc::clone(&asked), code.code());
        let broker = ScriptedBroker::new()
            .respond(ApiKey::Metadata, move |port| {
                counter.fetch_add(1, Ordering::Relaxed);
                metadata(port, &[0])
            })
            .respond(ApiKey::Produce, move |_| produced(code));
        let cluster = broker.start();
        for _ in 0..3 {
            cluster.produce("t", 0, Bytes::from_static(b"a batch"), Duration::from_secs(1)).await.unwrap_err();
        }
        assert_eq!(asked.load(Ordering::Relaxed), if forgets { 3 } else { 1 }, "code {code}");
    }
}

/// A node that is cut off from the others goes on naming itself.
#[tokio::test]
async fn who_failed_as_the_coordinator_is_asked_last_who_it_is() {
    let names_itself = || {
        ScriptedBroker::new().respond(ApiKey::FindCoordinator, |port| {
            let found = Found::default().with_key(text("g")).with_host(text("127.0.0.1")).with_port(i32::from(port));
            FindCoordinatorResponse::default().with_coordinators(vec![found])
        })
    };
    let network = Network::default();
    names_itself().serve(&network, 9092);
    names_itself().serve(&network, 9093);
    let options = network.options("client", &["127.0.0.1:9092", "127.0.0.1:9093"]);
    let coordinator = Coordinator::new(Arc::new(Cluster::new(options)), "g");
    let mut before = coordinator.connection().await.unwrap();
    for _ in 0..4 {
        coordinator.forget(&before).await;
        let next = coordinator.connection().await.unwrap();
        assert_ne!(next.address(), before.address());
        before = next;
    }
    // Where there is nobody else, it is asked all the same.
    let alone = Coordinator::new(names_itself().start(), "g");
    let first = alone.connection().await.unwrap();
    alone.forget(&first).await;
    assert_eq!(alone.connection().await.unwrap().address(), first.address());
}
