//! Sends a member's requests to its coordinator, each in the version that the broker speaks.

use std::sync::Arc;
use std::time::Duration;

use kafka_client::{Connection, Coordinator};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::Request as _;

use super::member::{Request, Response};
use crate::kafka::{Cause, Error};

/// Sends the machine's requests.
pub struct Sender {
    /// The broker that keeps the group.
    pub coordinator: Arc<Coordinator>,
    /// How long it may take to find the coordinator and connect to it: with a request, less than a session.
    pub look_up: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// The same for answers that the coordinator holds back.
    pub held: Duration,
}

const DOING: &str = "ask the coordinator of group";

impl Sender {
    /// The answer to a request. Dropped, it is not waited for.
    pub fn send(&self, request: Request) -> impl Future<Output = Result<Response, Error>> + use<> {
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
    let code = match response {
        Response::Join(response) => response.error_code,
        Response::Sync(response) => response.error_code,
        Response::Heartbeat(response) => response.error_code,
        Response::Leave(response) => response.error_code,
        Response::ConsumerHeartbeat(response) => response.error_code,
    };
    ResponseError::try_from_code(code).is_some_and(|code| Coordinator::has_moved(&Error::code("", "", code)))
}

/// The request as this connection's broker can read it.
///
/// # Errors
/// Where it can't say what it has to.
fn fitted(request: Request, connection: &Connection) -> Result<Request, Cause> {
    let key = match &request {
        Request::Join(_) => JoinGroupRequest::KEY,
        Request::Sync(_) => SyncGroupRequest::KEY,
        Request::Heartbeat(_) => HeartbeatRequest::KEY,
        Request::Leave(_) => LeaveGroupRequest::KEY,
        Request::ConsumerHeartbeat(_) => ConsumerGroupHeartbeatRequest::KEY,
    };
    match connection.version(key) {
        Ok(version) => for_version(request, version),
        Err(_) if key == ConsumerGroupHeartbeatRequest::KEY => Err(Cause::Unsupported(
            "the consumer protocol (KIP-848) needs Kafka 4.0, or 3.7 with it switched on: set group.protocol = \"classic\"".to_owned(),
        )),
        Err(cause) => Err(cause),
    }
}

/// The encoder refuses fields that a version lacks, rather than leave them out.
fn for_version(request: Request, version: i16) -> Result<Request, Cause> {
    let (instance, since) = match &request {
        Request::Join(request) => (&request.group_instance_id, 5),
        Request::Sync(request) => (&request.group_instance_id, 3),
        Request::Heartbeat(request) => (&request.group_instance_id, 3),
        Request::Leave(_) | Request::ConsumerHeartbeat(_) => (&None, 0),
    };
    if instance.is_some() && version < since {
        return Err(Cause::Unsupported("group.instance_id needs Kafka 2.3: leave it out".to_owned()));
    }
    Ok(match request {
        Request::Leave(request) if version < 3 => {
            let member = request.members.first().map(|member| member.member_id.clone()).unwrap_or_default();
            Request::Leave(request.with_members(Vec::new()).with_member_id(member))
        }
        request => request,
    })
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::protocol::Encodable;
    use tokio::time::Instant;

    use super::*;
    use crate::assignment::group::classic::Classic;
    use crate::assignment::group::consumer::Consumer;
    use crate::assignment::group::member::{Membership, Settings, Step};
    use crate::assignment::group::trial::settings;

    /// The versions that `Connection` may choose of each.
    fn versions(request: &Request) -> std::ops::RangeInclusive<i16> {
        match request {
            Request::Join(_) => 2..=9,
            Request::Sync(_) | Request::Leave(_) => 1..=5,
            Request::Heartbeat(_) => 1..=4,
            Request::ConsumerHeartbeat(_) => 0..=1,
        }
    }

    fn encode(request: &Request, version: i16) -> anyhow::Result<()> {
        let mut out = BytesMut::new();
        match request {
            Request::Join(request) => request.encode(&mut out, version),
            Request::Sync(request) => request.encode(&mut out, version),
            Request::Heartbeat(request) => request.encode(&mut out, version),
            Request::Leave(request) => request.encode(&mut out, version),
            Request::ConsumerHeartbeat(request) => request.encode(&mut out, version),
        }
    }

    fn consumer_requests(settings: Settings) -> Vec<Request> {
        let now = Instant::now();
        let mut machine = Consumer::new(settings);
        let Step::Send(join) = machine.poll(now) else { panic!("it joins") };
        machine.unanswered();
        machine.leave();
        let Step::Send(leave) = machine.poll(now) else { panic!("it leaves") };
        vec![join, leave]
    }

    #[test]
    fn every_request_is_written_in_every_version() {
        let of = |settings: Settings| [Classic::requests(settings.clone()), consumer_requests(settings)].concat();
        let requests = of(settings());
        assert_eq!(requests.len(), 6);
        for request in requests {
            for version in versions(&request) {
                let fitted = for_version(request.clone(), version).unwrap();
                encode(&fitted, version).unwrap_or_else(|error| panic!("{request:?} in version {version}: {error}"));
            }
        }
        for request in of(Settings { instance_id: Some("i".to_owned()), ..settings() }) {
            for version in versions(&request) {
                match for_version(request.clone(), version) {
                    Ok(fitted) => encode(&fitted, version).unwrap(),
                    Err(cause) => assert!(cause.to_string().contains("group.instance_id"), "{cause}"),
                }
            }
        }
    }
}
