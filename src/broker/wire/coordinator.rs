//! The broker that keeps a consumer group, and a connection of its own to it.

use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::FindCoordinatorRequest;
use kafka_protocol::protocol::{Request, StrBytes};
use tokio::sync::Mutex;

use super::address::address;
use super::{Cluster, Connection};
use crate::broker::{Cause, Error};

/// The coordinator of one group. Its connection is nobody else's: a broker answers the requests of
/// a connection one after another, and a heartbeat must not wait behind a slow produce.
#[derive(Debug)]
pub struct Coordinator {
    cluster: Arc<Cluster>,
    group: String,
    connection: Mutex<Option<Arc<Connection>>>,
}

impl Coordinator {
    /// Asks nobody yet.
    pub fn new(cluster: Arc<Cluster>, group: &str) -> Self {
        Self { cluster, group: group.to_owned(), connection: Mutex::default() }
    }

    /// The group's id.
    pub fn group(&self) -> &str {
        &self.group
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
        let mut current = self.connection.lock().await;
        if let Some(connection) = current.as_ref().filter(|connection| connection.takes_request()) {
            return Ok(Arc::clone(connection));
        }
        let address = self.find().await?;
        let connection = Arc::new(self.cluster.open(&address).await?);
        Ok(Arc::clone(current.insert(connection)))
    }

    /// Lets go of a connection after an error that says that its broker is not the coordinator, or
    /// not reached, unless another has taken its place already.
    pub async fn forget(&self, connection: &Arc<Connection>) {
        let mut current = self.connection.lock().await;
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, connection)) {
            *current = None;
        }
    }

    /// Lets go of whichever connection there is.
    pub async fn forget_any(&self) {
        *self.connection.lock().await = None;
    }

    /// Whether this error of the coordinator's means that another must be looked up.
    pub fn has_moved(error: &Error) -> bool {
        error.is(ResponseError::NotCoordinator)
            || error.is(ResponseError::CoordinatorNotAvailable)
            || error.breaks_connection()
    }

    async fn find(&self) -> Result<String, Error> {
        const DOING: &str = "find the coordinator of group";
        let key = StrBytes::from_string(self.group.clone());
        let ask = |connection: Arc<Connection>| {
            let batched = connection.version(FindCoordinatorRequest::KEY).is_ok_and(|version| version >= 4);
            let request = FindCoordinatorRequest::default();
            let request =
                if batched { request.with_coordinator_keys(vec![key.clone()]) } else { request.with_key(key.clone()) };
            async move { connection.request(DOING, &request).await }
        };
        let response = self.cluster.ask_any(ask).await?;
        let undecodable = |why| Error { doing: DOING, on: self.group.clone(), cause: Cause::Undecodable(why) };
        let (code, host, port) = match &response.coordinators[..] {
            [] => (response.error_code, &response.host, response.port),
            all => {
                let found = all.iter().find(|found| found.key == key);
                let found = found.ok_or_else(|| undecodable("it names another group".to_owned()))?;
                (found.error_code, &found.host, found.port)
            }
        };
        match ResponseError::try_from_code(code) {
            None => address(host, port).map_err(undecodable),
            Some(code) => Err(Error::code(DOING, self.group.clone(), code)),
        }
    }
}
