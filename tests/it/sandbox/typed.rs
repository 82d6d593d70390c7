//! A client that sends any request in any version, one after the other.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use kafka_sandbox::Sandbox;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::soon;

pub(super) struct Typed(TcpStream);

impl Typed {
    /// Connects to the first node.
    pub(super) async fn to(sandbox: &Sandbox) -> Self {
        Self::to_node(sandbox, 0).await
    }

    /// Connects to one of the nodes, counted from 0.
    pub(super) async fn to_node(sandbox: &Sandbox, index: usize) -> Self {
        let bootstrap = sandbox.bootstrap();
        Self(TcpStream::connect(bootstrap.split(',').nth(index).unwrap()).await.unwrap())
    }

    pub(super) async fn ask<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        self.send(request, version).await;
        soon(self.answer::<R>(version)).await.expect("the connection was closed")
    }

    pub(super) async fn send<R: Request>(&mut self, request: &R, version: i16) {
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_client_id(Some(StrBytes::from_static_str("typed")));
        let mut frame = BytesMut::new();
        frame.put_i32(0);
        header.encode(&mut frame, R::header_version(version)).unwrap();
        request.encode(&mut frame, version).unwrap();
        let length = u32::try_from(frame.len() - 4).unwrap();
        frame[..4].copy_from_slice(&length.to_be_bytes());
        self.0.write_all(&frame).await.unwrap();
    }

    /// The next answer; `None` where the connection is closed instead.
    pub(super) async fn answer<R: Request>(&mut self, version: i16) -> Option<R::Response> {
        let length = usize::try_from(self.0.read_u32().await.ok()?).unwrap();
        let mut answer = vec![0; length];
        self.0.read_exact(&mut answer).await.ok()?;
        let mut answer = Bytes::from(answer);
        ResponseHeader::decode(&mut answer, R::Response::header_version(version)).unwrap();
        let response = R::Response::decode(&mut answer, version).unwrap();
        assert!(answer.is_empty(), "bytes behind the answer");
        Some(response)
    }
}
