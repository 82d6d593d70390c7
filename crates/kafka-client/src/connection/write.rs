//! Writes a request, as far as it may go out.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader};
use kafka_protocol::protocol::{Encodable, StrBytes};

use crate::buf_chain::BufChain;
use crate::outbound::Outbound;
use crate::transport::WriteHalf;

/// The most buffers of a request that are handed to the system at once.
const MOST_SLICES: usize = 64;

/// Puts a body behind what stands before it: the frame's length, and the request's header.
///
/// # Errors
/// Where a header can't be written.
pub(super) fn frame(
    mut body: BufChain,
    (api_key, version): (i16, i16),
    id: i32,
    client_id: &StrBytes,
) -> anyhow::Result<BufChain> {
    let key = ApiKey::try_from(api_key).map_err(|()| anyhow::anyhow!("{api_key} is no API"))?;
    let header_version = key.request_header_version(version);
    let header = RequestHeader::default()
        .with_request_api_key(api_key)
        .with_request_api_version(version)
        .with_correlation_id(id)
        .with_client_id(Some(client_id.clone()));
    let size = header.compute_size(header_version)?;
    let mut head = BytesMut::with_capacity(4 + size);
    head.put_i32(i32::try_from(size + body.remaining())?);
    header.encode(&mut head, header_version)?;
    body.push_front(head.freeze());
    Ok(body)
}

/// How much of a request the system took before its permit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    None,
    Part,
    Whole,
}

/// Writes a frame of so many bytes, and looks before each step whether it may go on.
pub(super) fn write(
    writer: &mut dyn WriteHalf,
    frame: &mut BufChain,
    whole: usize,
    outbound: &mut dyn Outbound,
    context: &mut Context<'_>,
) -> Poll<io::Result<Progress>> {
    let mut writer = Pin::new(writer);
    while frame.has_remaining() {
        if !outbound.may_go_on() {
            let untouched = frame.remaining() == whole;
            return Poll::Ready(Ok(if untouched { Progress::None } else { Progress::Part }));
        }
        let mut slices = [IoSlice::new(&[]); MOST_SLICES];
        let count = frame.chunks_vectored(&mut slices);
        let written = ready!(writer.as_mut().poll_write_vectored(context, &slices[..count]))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        frame.advance(written);
    }
    writer.poll_flush(context).map_ok(|()| Progress::Whole)
}
