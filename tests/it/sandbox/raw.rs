//! What rskafka would not send: bare bytes over a socket.

use kafka_sandbox::{Action, Api, Fault, NewBatch, NewRecord, Sandbox};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{TOPIC, partition, produce, soon, values, with_topic};

#[tokio::test]
async fn a_future_api_versions_is_told_what_is_known() {
    let sandbox = Sandbox::start().await.unwrap();
    let mut stream = TcpStream::connect(sandbox.bootstrap()).await.unwrap();
    let answer = ask(&mut stream, &[0, 18, 0, 99, 0, 0, 0, 7, 0xde, 0xad]).await;
    let unsupported_with_own_range = [
        0, 0, 0, 7, // correlation id
        0, 35, // UNSUPPORTED_VERSION
        0, 0, 0, 1, // one API:
        0, 18, 0, 0, 0, 3, // ApiVersions 0 to 3
    ];
    assert_eq!(answer, unsupported_with_own_range);
    // The connection is good for another try, of version 0.
    let answer = ask(&mut stream, &[0, 18, 0, 0, 0, 0, 0, 8, 0xff, 0xff]).await;
    assert_eq!(answer[..6], [0, 0, 0, 8, 0, 0]);
    assert_eq!(
        answer.len(),
        4 + 2 + 4 + 6 * (kafka_sandbox::versions().count() - 2),
        "all but the two of KIP-848, which are hidden"
    );
}

#[tokio::test]
async fn bad_bytes_close_their_connection_only() {
    let sandbox = with_topic().await;
    let bad: [&[u8]; 6] = [
        &[0x7f, 0xff, 0xff, 0xff],                                 // a frame of 2 GiB
        &[0xff, 0xff, 0xff, 0xff],                                 // of -1
        &[0, 0, 0, 2, 0, 0],                                       // too short for a header
        &[0, 0, 0, 10, 0, 99, 0, 0, 0, 0, 0, 0, 0xff, 0xff],       // an unknown API
        &[0, 0, 0, 10, 0, 1, 0, 12, 0, 0, 0, 0, 0xff, 0xff],       // Fetch 12
        b"\0\0\0\x0e\0\x03\0\x04\0\0\0\0\xff\xff\x7f\xff\xff\xff", // 2^31-1 topics
    ];
    for bytes in bad {
        let mut stream = TcpStream::connect(sandbox.bootstrap()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut rest = Vec::new();
        // Reset or end: both are a closed connection.
        let _ = soon(stream.read_to_end(&mut rest)).await;
        assert!(rest.is_empty(), "{bytes:?} was answered {rest:?}");
    }
    let mut half_open = TcpStream::connect(sandbox.bootstrap()).await.unwrap();
    half_open.write_all(&[0, 0, 0, 50, 0, 3]).await.unwrap();
    produce(&partition(&sandbox).await, "still served").await.unwrap();
}

#[tokio::test]
async fn an_idempotent_batch_is_written_once() {
    let sandbox = with_topic().await;
    let mut stream = TcpStream::connect(sandbox.bootstrap()).await.unwrap();
    let mut batch = NewBatch::new(vec![NewRecord::new("k", "once")]);
    (batch.producer_id, batch.producer_epoch, batch.base_sequence) = (1001, 0, 0);
    let request = raw_produce(-1, &batch.to_bytes());

    sandbox.fault(Fault::on(Api::Produce), Action::SilenceAfter);
    send(&mut stream, &request).await;
    for _ in 0..2 {
        let answer = ask(&mut stream, &request).await;
        assert_eq!(raw_outcome(&answer), (0, 0), "error code and base offset");
    }
    batch.base_sequence = 5;
    let gap = ask(&mut stream, &raw_produce(-1, &batch.to_bytes())).await;
    assert_eq!(raw_outcome(&gap), (45, -1), "OUT_OF_ORDER_SEQUENCE_NUMBER");
    assert_eq!(values(&sandbox, 0), ["once"]);
}

#[tokio::test]
async fn a_corrupt_produce_is_refused() {
    let sandbox = with_topic().await;
    let mut stream = TcpStream::connect(sandbox.bootstrap()).await.unwrap();
    let mut bytes = NewBatch::new(vec![NewRecord::new("k", "v")]).to_bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let answer = ask(&mut stream, &raw_produce(-1, &bytes)).await;
    assert_eq!(raw_outcome(&answer), (2, -1), "CORRUPT_MESSAGE");
}

#[tokio::test]
async fn acks_0_is_never_answered_and_an_error_closes() {
    let sandbox = with_topic().await;
    let mut stream = TcpStream::connect(sandbox.bootstrap()).await.unwrap();
    let batch = NewBatch::new(vec![NewRecord::new("k", "v")]).to_bytes();
    send(&mut stream, &raw_produce(0, &batch)).await;
    assert_eq!(soon(sandbox.until_end_offset(TOPIC, 0, 1)).await.unwrap(), 1);
    let next = ask(&mut stream, &raw_produce(1, &batch)).await;
    assert_eq!(raw_outcome(&next), (0, 1), "the first answer is the second request's");
    sandbox.fault(Fault::on(Api::Produce), Action::Error(19));
    send(&mut stream, &raw_produce(0, &batch)).await;
    assert_eq!(soon(stream.read(&mut [0; 1])).await.unwrap(), 0);
}

async fn ask(stream: &mut TcpStream, request: &[u8]) -> Vec<u8> {
    send(stream, request).await;
    let size = soon(stream.read_u32()).await.unwrap();
    let mut answer = vec![0; usize::try_from(size).unwrap()];
    soon(stream.read_exact(&mut answer)).await.unwrap();
    answer
}

/// Produce version 7 to partition 0 of [`TOPIC`].
fn raw_produce(acks: i16, batch: &[u8]) -> Vec<u8> {
    let mut request = vec![0, 0, 0, 7, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff];
    request.extend(acks.to_be_bytes());
    request.extend(1000i32.to_be_bytes());
    request.extend([0, 0, 0, 1, 0, 6]);
    request.extend(TOPIC.as_bytes());
    request.extend([0, 0, 0, 1, 0, 0, 0, 0]);
    request.extend(u32::try_from(batch.len()).unwrap().to_be_bytes());
    request.extend(batch);
    request
}

/// Error code and base offset in the answer to [`raw_produce`].
fn raw_outcome(answer: &[u8]) -> (i16, i64) {
    let at = 4 + 4 + 2 + TOPIC.len() + 4 + 4;
    let code = i16::from_be_bytes(answer[at..at + 2].try_into().unwrap());
    let base_offset = i64::from_be_bytes(answer[at + 2..at + 10].try_into().unwrap());
    (code, base_offset)
}

async fn send(stream: &mut TcpStream, request: &[u8]) {
    let length = u32::try_from(request.len()).unwrap();
    stream.write_all(&length.to_be_bytes()).await.unwrap();
    stream.write_all(request).await.unwrap();
}
