//! Connections over a network in memory, whose other end does as it likes.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::Encodable;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use super::*;
use crate::buf_chain::BufChain;
use crate::testing::{Network, Revocable};
use crate::{Options, Security, Tls, TlsError, TlsFiles};

const BROKER: &str = "broker:9092";

/// A broker that answers the first bytes with these, and closes.
async fn answered(bytes: &'static [u8], security: Security) -> Error {
    answered_to(bytes, Arc::new(security)).await
}

async fn answered_to(bytes: &'static [u8], security: Arc<Security>) -> Error {
    let network = Network::default();
    let mut listener = network.listen(BROKER);
    tokio::spawn(async move {
        let mut stream = listener.accept().await.unwrap();
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer).await.unwrap();
        stream.write_all(bytes).await.unwrap();
    });
    let options = Options { security, ..network.options("client", &[]) };
    Connection::open(BROKER, &options).await.unwrap_err()
}

#[tokio::test]
async fn a_port_for_tls_is_told_by_its_alert() {
    // Fatal, unexpected message: as Kafka answers what is no TLS.
    let error = answered(&[21, 3, 3, 0, 2, 2, 10], Security::default()).await;
    assert!(matches!(&error.cause, Cause::Tls(TlsError::Wanted)), "{error}");
}

#[tokio::test]
async fn a_port_that_closes_at_once_hints_at_the_protocol() {
    let error = answered(&[], Security::default()).await;
    assert!(matches!(error.cause, Cause::Unproven(_)), "{error}");
    assert_eq!(error.class(), crate::ErrorClass::Ambiguous);
}

#[tokio::test]
async fn settings_that_a_broker_has_taken_before_are_not_doubted() {
    let security = Arc::new(Security::default());
    security.let_in();
    let error = answered_to(&[], security).await;
    assert!(!matches!(error.cause, Cause::Unproven(_)), "{error}");
    assert!(error.to_string().contains("max.connections.per.ip"), "it was closed at once: {error}");
    assert_eq!(error.class(), crate::ErrorClass::Ambiguous);
}

#[tokio::test]
async fn a_port_without_tls_is_told_in_the_handshake() {
    let tls = || Security::new(Some(Tls::new("tls", TlsFiles::default())), None);
    let error = answered(&[], tls()).await;
    assert!(matches!(&error.cause, Cause::Handshake { is_proven: false, .. }), "{error}");
    let error = answered(&[0, 0, 0, 8, 0, 0, 0, 0, 0, 35, 0, 0], tls()).await;
    assert!(matches!(&error.cause, Cause::Tls(TlsError::Refused(rustls::Error::InvalidMessage(_)))), "{error}");
}

/// Large enough to fill the buffers of both sides.
const LARGE: usize = 1024 * 1024;

/// A request of so many bytes.
fn request(bytes: usize, permit: &dyn Permit) -> Permitted<'_> {
    let mut chain = BufChain::default();
    chain.push(Bytes::from(vec![7; bytes]));
    Permitted::new(Body { bytes: chain, version: 0 }, permit)
}

/// A connection to a broker that has told its versions, and reads no more until it is told to. Then it counts
/// the bytes.
async fn stalled() -> (Connection, oneshot::Sender<()>, JoinHandle<usize>) {
    let network = Network::default();
    let mut listener = network.listen(BROKER);
    let (go, going) = oneshot::channel::<()>();
    let counting = tokio::spawn(async move {
        let mut stream = listener.accept().await.unwrap();
        let mut buffer = vec![0; 1 << 16];
        let _ = stream.read(&mut buffer).await.unwrap();
        let mut told = BytesMut::new();
        told.put_i32(0);
        kafka_protocol::messages::ApiVersionsResponse::default().encode(&mut told, 3).unwrap();
        let size = u32::try_from(told.len()).unwrap().to_be_bytes();
        stream.write_all(&[&size, &told[..]].concat()).await.unwrap();
        going.await.unwrap();
        let mut bytes = 0;
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return bytes,
                Ok(read) => bytes += read,
            }
        }
    });
    let connection = Connection::open(BROKER, &network.options("client", &[])).await.unwrap();
    (connection, go, counting)
}

async fn ask(connection: &Connection, bytes: usize, permit: &dyn Permit) -> Result<Bytes, Error> {
    let api = crate::api::produce::API;
    let answer = connection.carry("ask", &mut request(bytes, permit), &api, Duration::from_secs(60)).await;
    answer.map(|(answer, _)| answer)
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_behind_another_is_looked_at_again() {
    let (connection, go, counting) = stalled().await;
    let (held, lost) = (Revocable::default(), Revocable::default());
    let first = ask(&connection, LARGE, &held);
    let second = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let waiting = ask(&connection, 1_000, &lost);
        let ends = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            lost.revoke();
            go.send(()).unwrap();
        };
        tokio::join!(waiting, ends).0
    };
    tokio::select! {
        answer = first => panic!("nobody answers: {answer:?}"),
        refused = second => assert!(matches!(refused, Err(Error { cause: Cause::NotHeld, .. })), "{refused:?}"),
    }
    assert!(!connection.is_broken(), "nothing of it was sent");
    drop(connection);
    assert_eq!(counting.await.unwrap() / LARGE, 1, "the first, and nothing of the second");
}

#[tokio::test(start_paused = true)]
async fn a_request_is_cut_short_where_its_permit_ends_on_the_way() {
    let (connection, go, counting) = stalled().await;
    let permit = Revocable::default();
    let ends = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        permit.revoke();
        go.send(()).unwrap();
    };
    let (refused, ()) = tokio::join!(ask(&connection, LARGE, &permit), ends);
    assert!(matches!(refused, Err(Error { cause: Cause::NotHeld, .. })), "{refused:?}");
    assert!(connection.is_broken(), "what follows would be taken for the rest of it");
    drop(connection);
    assert!(counting.await.unwrap() < LARGE, "a part of a request is none");
}
