//! What goes out, decided as late as can be: a request is built when the pause that its broker asked for is
//! over and the connection's writer is its own. Whatever ended while it waited is left out of it then.

use bytes::BytesMut;
use kafka_protocol::protocol::Request;

use super::buf_chain::BufChain;
use crate::Cause;
use crate::Permit;

/// A request's body, in one version of its layout.
#[derive(Debug)]
pub(super) struct Body {
    pub bytes: BufChain,
    pub version: i16,
}

impl Body {
    /// A request's in this version.
    ///
    /// # Errors
    /// Where the version lacks what the request says.
    pub(crate) fn of<R: Request>(request: &R, version: i16) -> anyhow::Result<Self> {
        let mut body = BytesMut::with_capacity(request.compute_size(version)?);
        request.encode(&mut body, version)?;
        let mut bytes = BufChain::default();
        bytes.push(body.freeze());
        Ok(Self { bytes, version })
    }
}

/// A request that waits for its turn.
pub(super) trait Outbound: Send {
    /// Its body, once it may be written. Called once.
    ///
    /// # Errors
    /// [`Cause::NotHeld`] where nothing of it may be sent any more; nothing is sent after any other, either.
    fn body(&mut self) -> Result<Body, Cause>;

    /// Whether what the system has not taken yet may still go out. Looked at before each piece: a process
    /// that was stopped in the middle of a request wakes up there.
    fn may_go_on(&self) -> bool {
        true
    }
}

/// A request that needs no permit.
#[derive(Debug)]
pub(super) struct Unconditional(Option<Body>);

impl Unconditional {
    pub(crate) fn new(body: Body) -> Self {
        Self(Some(body))
    }
}

impl Outbound for Unconditional {
    fn body(&mut self) -> Result<Body, Cause> {
        self.0.take().ok_or(Cause::NotHeld)
    }
}

/// A request that goes out only while its partition is this instance's.
#[derive(Debug)]
pub(super) struct Permitted<'a> {
    body: Unconditional,
    permit: &'a dyn Permit,
}

impl<'a> Permitted<'a> {
    pub(crate) fn new(body: Body, permit: &'a dyn Permit) -> Self {
        Self { body: Unconditional::new(body), permit }
    }
}

impl Outbound for Permitted<'_> {
    fn body(&mut self) -> Result<Body, Cause> {
        if self.permit.holds() { self.body.body() } else { Err(Cause::NotHeld) }
    }

    fn may_go_on(&self) -> bool {
        self.permit.holds()
    }
}
