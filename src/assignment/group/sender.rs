//! Sends a member's requests to its coordinator, each in the version that the broker speaks.

use std::sync::Arc;
use std::time::Duration;

use kafka_client::membership::{NoStaticMembership, Request, Response};
use kafka_client::{Connection, Coordinator};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::ConsumerGroupHeartbeatRequest;
use kafka_protocol::protocol::Request as _;

use crate::kafka::{Cause, Error};

/// The sender of a machine's requests.
pub(super) struct Sender {
    /// The broker that keeps the group.
    pub coordinator: Arc<Coordinator>,
    /// The deadline for finding the coordinator and connecting to it: with a request, less than a session.
    pub look_up: Duration,
    /// The deadline for an answer.
    pub timeout: Duration,
    /// The deadline for an answer that the coordinator holds back.
    pub held: Duration,
}

const DOING: &str = "ask the coordinator of group";

impl Sender {
    /// Sends a request and returns its answer. Dropped, it is not waited for.
    pub(super) fn send(&self, request: Request) -> impl Future<Output = Result<Response, Error>> + use<> {
        let (coordinator, timeout, held) = (Arc::clone(&self.coordinator), self.timeout, self.held);
        let look_up = self.look_up;
        async move {
            // A session that ends while the coordinator is looked for ends the membership.
            let connection = match tokio::time::timeout(look_up, coordinator.connection()).await {
                Ok(connection) => connection?,
                Err(_) => {
                    let cause = Cause::Timeout(look_up);
                    return Err(Error::new("reach the coordinator of group", coordinator.group().to_owned(), cause));
                }
            };
            let answer = match fitted(request, &connection) {
                Ok(Request::Join(request)) => ask(&connection, &request, held, Response::Join).await,
                Ok(Request::Sync(request)) => ask(&connection, &request, held, Response::Sync).await,
                Ok(Request::Heartbeat(request)) => ask(&connection, &request, timeout, Response::Heartbeat).await,
                Ok(Request::Leave(request)) => ask(&connection, &request, timeout, Response::Leave).await,
                Ok(Request::ConsumerHeartbeat(request)) => {
                    ask(&connection, &request, timeout, Response::ConsumerHeartbeat).await
                }
                Err(cause) => Err(Error::new(DOING, coordinator.group().to_owned(), cause)),
            };
            let moved = match &answer {
                Ok(response) => has_moved(response),
                Err(error) => Coordinator::has_moved(error),
            };
            if moved {
                coordinator.forget(&connection).await;
            }
            answer
        }
    }
}

async fn ask<R: kafka_protocol::protocol::Request>(
    connection: &Connection,
    request: &R,
    deadline: Duration,
    response: impl Fn(R::Response) -> Response,
) -> Result<Response, Error> {
    Ok(response(connection.request_within(DOING, request, deadline).await?))
}

fn has_moved(response: &Response) -> bool {
    let code = ResponseError::try_from_code(response.error_code());
    code.is_some_and(|code| Coordinator::has_moved(&Error::code("", "", code)))
}

/// The request as this connection's broker can read it.
///
/// # Errors
/// The broker has no version that says what the request has to.
fn fitted(request: Request, connection: &Connection) -> Result<Request, Cause> {
    let key = request.api_key();
    match connection.version(key) {
        Ok(version) => request.for_version(version).map_err(|NoStaticMembership| {
            Cause::Unsupported("group.instance_id needs Kafka 2.3: leave it out".to_owned())
        }),
        Err(_) if key == ConsumerGroupHeartbeatRequest::KEY => Err(Cause::Unsupported(
            "the consumer protocol (KIP-848) needs Kafka 4.0, or 3.7 with it switched on: set group.protocol = \"classic\"".to_owned(),
        )),
        Err(cause) => Err(cause),
    }
}
