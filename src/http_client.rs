//! A request over HTTP/1.1 to whom we ask but brokers: a token endpoint, a collector of traces.

use std::error::Error;
use std::pin::pin;

use bytes::Bytes;
use futures::future::{Either, select};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// TCP, or TLS on it.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Asks once, and takes up the answer: a head and a body of at most so many bytes each.
///
/// # Errors
/// [`hyper::Error`], or [`http_body_util::LengthLimitError`] where the body is larger.
pub(crate) async fn exchange(
    stream: Box<dyn Stream>,
    request: Request<Full<Bytes>>,
    largest: usize,
) -> Result<Response<Bytes>, Box<dyn Error + Send + Sync>> {
    let (mut sender, connection) = http1::Builder::new().max_buf_size(largest).handshake(TokioIo::new(stream)).await?;
    let asking = pin!(async move {
        let (head, body) = sender.send_request(request).await?.into_parts();
        Ok(Response::from_parts(head, Limited::new(body, largest).collect().await?.to_bytes()))
    });
    // The connection works only while it is polled, and may end before the answer has been taken up.
    match select(asking, pin!(connection)).await {
        Either::Left((answer, _)) => answer,
        Either::Right((_, asking)) => asking.await,
    }
}
