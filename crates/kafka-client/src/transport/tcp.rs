//! TCP: to whichever address of a name answers first.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::net::TcpStream;

use super::{Connected, ReadHalf, Stream, Transport, WriteHalf};
use crate::{Cause, dial};

/// TCP as the system has it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tcp;

impl Transport for Tcp {
    fn connect<'a>(&'a self, host: &'a str, port: u16, deadline: Duration) -> BoxFuture<'a, Result<Connected, Cause>> {
        let failed = |error: io::Error| Cause::Connect(error.to_string());
        async move {
            let stream = dial::connect(host, port, deadline).await.map_err(failed)?;
            let peer = stream.peer_addr().map_err(failed)?;
            Ok(Connected { stream: Box::new(stream), peer })
        }
        .boxed()
    }

    fn avoid(&self, peer: SocketAddr) {
        dial::avoid(peer);
    }
}

/// Its halves share nothing: neither waits for the other.
impl Stream for TcpStream {
    fn halves(self: Box<Self>) -> (Box<dyn ReadHalf>, Box<dyn WriteHalf>) {
        let (read, write) = self.into_split();
        (Box::new(read), Box::new(write))
    }
}
