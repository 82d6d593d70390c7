//! rskafka's fetch, made here for its decoding's sake: an `async fn` is compiled where it is awaited, which
//! boxing it is.

use std::ops::Range;

use futures::future::BoxFuture;
use rskafka::client::error::Result;
use rskafka::client::partition::PartitionClient;
use rskafka::record::RecordAndOffset;

use crate::record::Offset;

/// [`PartitionClient::fetch_records`] from `offset` on: the records and the high watermark, for as many
/// `bytes` as there are within `max_wait_ms`.
pub fn fetch_records(
    client: &PartitionClient,
    offset: Offset,
    bytes: Range<i32>,
    max_wait_ms: i32,
) -> BoxFuture<'_, Result<(Vec<RecordAndOffset>, i64)>> {
    Box::pin(client.fetch_records(offset.0, bytes, max_wait_ms))
}
