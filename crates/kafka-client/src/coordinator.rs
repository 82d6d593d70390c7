//! The broker that keeps a consumer group, or a producer's transactions, and a connection of its own
//! to it.

use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, FindCoordinatorRequest, InitProducerIdRequest,
    TxnOffsetCommitRequest,
};
use kafka_protocol::protocol::{Request, StrBytes};
use tokio::sync::Mutex;

use crate::api::find_coordinator::{Of, find_request, found};
use crate::{Cause, Cluster, Connection, Error};

/// The coordinator of one group, or of one transactional id. Its connection is nobody else's: a
/// broker answers the requests of a connection one after another, and a heartbeat must not wait
/// behind a slow produce.
#[derive(Debug)]
pub struct Coordinator {
    cluster: Arc<Cluster>,
    of: Of,
    key: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    connection: Option<Arc<Connection>>,
    /// The broker that was let go of last, by its address. It is the last one to be asked who the
    /// coordinator is: a node that is cut off from the others goes on naming itself.
    failed: Option<String>,
}

impl Coordinator {
    /// The coordinator of a group. Asks nobody yet.
    pub fn new(cluster: Arc<Cluster>, group: &str) -> Self {
        Self { cluster, of: Of::Group, key: group.to_owned(), state: Mutex::default() }
    }

    /// The coordinator of the transactions under a transactional id. Asks nobody yet.
    pub fn of_transactions(cluster: Arc<Cluster>, transactional_id: &str) -> Self {
        Self { cluster, of: Of::Transactions, key: transactional_id.to_owned(), state: Mutex::default() }
    }

    /// The group's id.
    pub fn group(&self) -> &str {
        debug_assert_eq!(self.of, Of::Group);
        &self.key
    }

    /// The transactional id.
    pub fn transactional_id(&self) -> &str {
        debug_assert_eq!(self.of, Of::Transactions);
        &self.key
    }

    /// The group's id or the transactional id: what errors are about.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// The brokers.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// A connection to the coordinator, looked up where it is not known.
    ///
    /// # Errors
    /// Where no broker knows the coordinator, or it can't be reached.
    pub async fn connection(&self) -> Result<Arc<Connection>, Error> {
        let mut state = self.state.lock().await;
        if let Some(connection) = state.connection.as_ref().filter(|connection| connection.takes_request()) {
            return Ok(Arc::clone(connection));
        }
        let address = self.find(state.failed.as_deref()).await?;
        let opened = self.cluster.open(&address).await;
        if opened.is_err() {
            state.failed = Some(address);
        }
        Ok(Arc::clone(state.connection.insert(Arc::new(opened?))))
    }

    /// The connection that there is, if there is one.
    pub async fn current(&self) -> Option<Arc<Connection>> {
        self.state.lock().await.connection.clone()
    }

    /// Lets go of a connection after an error that says that its broker is not the coordinator, or
    /// not reached, unless another has taken its place already.
    pub async fn forget(&self, connection: &Arc<Connection>) {
        let mut state = self.state.lock().await;
        if state.connection.as_ref().is_some_and(|current| Arc::ptr_eq(current, connection)) {
            state.connection = None;
            state.failed = Some(connection.address().to_owned());
        }
    }

    /// Lets go of the connection where an error says that it leads nowhere.
    pub(super) async fn checked<T>(&self, connection: &Arc<Connection>, result: Result<T, Error>) -> Result<T, Error> {
        if result.as_ref().is_err_and(Coordinator::has_moved) {
            self.forget(connection).await;
        }
        result
    }

    /// Lets go of whichever connection there is.
    pub async fn forget_any(&self) {
        self.state.lock().await.connection = None;
    }

    /// Returns whether this error of the coordinator's means that another must be looked up.
    pub fn has_moved(error: &Error) -> bool {
        error.is(ResponseError::NotCoordinator)
            || error.is(ResponseError::CoordinatorNotAvailable)
            || error.breaks_connection()
    }

    /// Finds where the coordinator listens. One that `failed` is asked only where no other broker answers.
    async fn find(&self, failed: Option<&str>) -> Result<String, Error> {
        let doing = self.of.finding();
        let key = StrBytes::from_string(self.key.clone());
        // Who is asked though it failed is asked last, and only where nobody else answers.
        let asking = |but: Option<&str>| {
            let (of, key, but) = (self.of, key.clone(), but.map(str::to_owned));
            move |connection: Arc<Connection>| {
                let version = connection.version(FindCoordinatorRequest::KEY).unwrap_or_default();
                let (request, is_out) = (find_request(of, &key, version), but.as_deref() == Some(connection.address()));
                async move {
                    if of == Of::Transactions {
                        has_transactions(&connection)?;
                    }
                    match is_out {
                        true => Err(Error::code(doing, connection.address(), ResponseError::CoordinatorNotAvailable)),
                        false => connection.request(doing, &request).await,
                    }
                }
            }
        };
        let response = match self.cluster.ask_any(asking(failed)).await {
            Err(_) if failed.is_some() => self.cluster.ask_any(asking(None)).await?,
            response => response?,
        };
        found(&response, &key).map_err(|cause| Error { doing, on: self.key.clone(), cause })
    }
}

/// Makes sure that a broker offers what exactly once takes: else nobody would find a coordinator, and not say why.
fn has_transactions(connection: &Connection) -> Result<(), Error> {
    let taken = [
        InitProducerIdRequest::KEY,
        AddPartitionsToTxnRequest::KEY,
        AddOffsetsToTxnRequest::KEY,
        TxnOffsetCommitRequest::KEY,
        EndTxnRequest::KEY,
    ];
    for key in taken {
        if let Err(Cause::Unsupported(request)) = connection.version(key) {
            let (doing, on) = ("look for transactions at", connection.address().to_owned());
            return Err(Error { doing, on, cause: Cause::NoTransactions(request) });
        }
    }
    Ok(())
}
