//! A request on its way to its answer: what each API's file implements, and what it is given for it.

use std::fmt;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use futures::future::BoxFuture;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Encodable, Request, StrBytes};
use thiserror::Error;

use crate::cluster::{Cluster, Shared};
use crate::error_codes;
use crate::fault::{Plan, Target};
use crate::schema::Field;

/// The isolation level of who reads what is committed.
pub(super) const READ_COMMITTED: i8 = 1;

/// Why a connection is closed on a client.
#[derive(Debug, Error)]
pub(crate) enum Refusal {
    #[error("a frame of {0} bytes holds no request header")]
    Header(usize),
    #[error("API {0} is not known")]
    UnknownApi(i16),
    #[error("{api:?} has no version {version} here")]
    UnknownVersion { api: ApiKey, version: i16 },
    #[error("the bytes are no {api:?} request of version {version}")]
    Malformed { api: ApiKey, version: i16 },
    #[error("acks=0 and the batch was refused: there is no other way to say so")]
    RefusedUnacknowledged,
    #[error("the answer cannot be written: {0}")]
    Encode(String),
}

/// An API that the sandbox answers: implemented by its request, in the file of its name.
pub(super) trait Serve: Request + fmt::Debug + Send + 'static {
    /// The lowest and highest version that is answered.
    const SERVED: (i16, i16);

    /// The fields of the request's body, in that version's order.
    fn schema(version: i16) -> &'static [Field];

    /// The topics, partitions, groups and transactions that the request names, for the faults to match.
    fn targets(&self, version: i16, cluster: &Cluster) -> Vec<Target>;

    /// Does what is asked.
    fn answer(self, call: Call<'_>) -> Answer<'_>;
}

/// What an API is given besides its request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub shared: &'a Shared,
    /// The node that is asked.
    pub node: i32,
    pub version: i16,
    /// The client's name for itself.
    pub client: &'a str,
    /// What goes wrong.
    pub plan: &'a Plan,
    /// All that is answered here.
    pub apis: &'static [Row],
}

/// What comes of a request.
pub(super) enum Answer<'a> {
    Now(Box<dyn Body>),
    /// Held back; without a body in the end, nothing is answered.
    Later(BoxFuture<'a, Option<Box<dyn Body>>>),
    /// Done, and no answer is due.
    None,
    /// The connection closes.
    Refused(Refusal),
}

impl<R: Body + 'static> From<R> for Answer<'_> {
    fn from(response: R) -> Self {
        Self::Now(Box::new(response))
    }
}

impl<'a> Answer<'a> {
    /// An answer that is waited for.
    pub(super) fn later<R: Body + 'static>(work: impl Future<Output = Option<R>> + Send + 'a) -> Self {
        Self::Later(work.map(|response| response.map(|response| Box::new(response) as Box<dyn Body>)).boxed())
    }
}

/// The body of a response.
pub(super) trait Body: Send {
    /// Writes it in that version.
    fn put(&self, version: i16, out: &mut BytesMut) -> Result<(), Refusal>;
}

impl<R: Encodable + Send> Body for R {
    fn put(&self, version: i16, out: &mut BytesMut) -> Result<(), Refusal> {
        self.encode(out, version).map_err(|error| Refusal::Encode(error.to_string()))
    }
}

/// A request, whatever it asks.
pub(super) trait Asked: fmt::Debug + Send {
    fn targets(&self, version: i16, cluster: &Cluster) -> Vec<Target>;
    fn answer<'a>(self: Box<Self>, call: Call<'a>) -> Answer<'a>;
}

impl<R: Serve> Asked for R {
    fn targets(&self, version: i16, cluster: &Cluster) -> Vec<Target> {
        Serve::targets(self, version, cluster)
    }

    fn answer<'a>(self: Box<Self>, call: Call<'a>) -> Answer<'a> {
        Serve::answer(*self, call)
    }
}

/// A row of the list of APIs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub key: i16,
    pub lowest: i16,
    pub highest: i16,
    pub schema: fn(i16) -> &'static [Field],
    pub read: fn(Bytes, i16) -> Option<Box<dyn Asked>>,
}

impl Row {
    /// The row of an API.
    pub(super) const fn of<R: Serve>() -> Self {
        let (lowest, highest) = R::SERVED;
        Self { key: R::KEY, lowest, highest, schema: R::schema, read: read::<R> }
    }
}

fn read<R: Serve>(mut body: Bytes, version: i16) -> Option<Box<dyn Asked>> {
    R::decode(&mut body, version).ok().map(|request| Box::new(request) as Box<dyn Asked>)
}

/// The partitions of topics, for the faults to match.
pub(super) fn partitions<'a, P: Iterator<Item = i32>>(topics: impl Iterator<Item = (&'a StrBytes, P)>) -> Vec<Target> {
    topics
        .flat_map(|(topic, partitions)| partitions.map(move |partition| Target::partition(topic, partition)))
        .collect()
}

/// The code of an answer about a transaction: before version 2, clients know no `PRODUCER_FENCED`.
pub(super) fn told_fenced(code: i16, version: i16) -> i16 {
    if code == error_codes::PRODUCER_FENCED && version < 2 { error_codes::INVALID_PRODUCER_EPOCH } else { code }
}
