//! Requests of a member and the coordinator's responses.

use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, HeartbeatRequest, HeartbeatResponse,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::Request as _;

/// A request to the coordinator.
#[derive(Debug, Clone)]
pub enum Request {
    /// Joins a classic group; the coordinator holds the response back until all members have joined.
    Join(JoinGroupRequest),
    /// Gives or asks for the assignment; held back until the leader has given it.
    Sync(SyncGroupRequest),
    /// Keeps a classic membership.
    Heartbeat(HeartbeatRequest),
    /// Ends a classic membership.
    Leave(LeaveGroupRequest),
    /// All of KIP-848.
    ConsumerHeartbeat(ConsumerGroupHeartbeatRequest),
}

/// The response to a [`Request`] of the same name.
#[derive(Debug, Clone)]
pub enum Response {
    /// To [`Request::Join`].
    Join(JoinGroupResponse),
    /// To [`Request::Sync`].
    Sync(SyncGroupResponse),
    /// To [`Request::Heartbeat`].
    Heartbeat(HeartbeatResponse),
    /// To [`Request::Leave`].
    Leave(LeaveGroupResponse),
    /// To [`Request::ConsumerHeartbeat`].
    ConsumerHeartbeat(ConsumerGroupHeartbeatResponse),
}

/// The broker's version of a request can't name a static member: it is older than Kafka 2.3 (KIP-345).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("static membership needs Kafka 2.3")]
pub struct NoStaticMembership;

impl Request {
    /// The API's key.
    pub fn api_key(&self) -> i16 {
        match self {
            Self::Join(_) => JoinGroupRequest::KEY,
            Self::Sync(_) => SyncGroupRequest::KEY,
            Self::Heartbeat(_) => HeartbeatRequest::KEY,
            Self::Leave(_) => LeaveGroupRequest::KEY,
            Self::ConsumerHeartbeat(_) => ConsumerGroupHeartbeatRequest::KEY,
        }
    }

    /// The request as a version can say it. The encoder refuses fields that a version lacks, rather than leave them out.
    ///
    /// # Errors
    /// The member is static, and the version is of before there were static members.
    pub fn for_version(self, version: i16) -> Result<Self, NoStaticMembership> {
        let (instance, since) = match &self {
            Self::Join(request) => (&request.group_instance_id, 5),
            Self::Sync(request) => (&request.group_instance_id, 3),
            Self::Heartbeat(request) => (&request.group_instance_id, 3),
            Self::Leave(_) | Self::ConsumerHeartbeat(_) => (&None, 0),
        };
        if instance.is_some() && version < since {
            return Err(NoStaticMembership);
        }
        Ok(match self {
            Self::Leave(request) if version < 3 => {
                let member = request.members.first().map(|member| member.member_id.clone()).unwrap_or_default();
                Self::Leave(request.with_members(Vec::new()).with_member_id(member))
            }
            request => request,
        })
    }
}

impl Response {
    /// The error code of the whole response; 0 is none.
    pub fn error_code(&self) -> i16 {
        match self {
            Self::Join(response) => response.error_code,
            Self::Sync(response) => response.error_code,
            Self::Heartbeat(response) => response.error_code,
            Self::Leave(response) => response.error_code,
            Self::ConsumerHeartbeat(response) => response.error_code,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::protocol::Encodable;
    use tokio::time::Instant;

    use super::super::simulation::options;
    use super::super::{Classic, Consumer, MemberOptions, Membership, Step};
    use super::*;
    use crate::api;

    /// The versions that a [`Connection`](crate::Connection) may choose of a request.
    fn versions(request: &Request) -> std::ops::RangeInclusive<i16> {
        let api = api::ALL.iter().find(|api| api.key == request.api_key()).unwrap();
        api.versions.min..=api.versions.max
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

    fn consumer_requests(options: MemberOptions) -> Vec<Request> {
        let now = Instant::now();
        let mut machine = Consumer::new(options);
        let Step::Send(join) = machine.poll(now) else { panic!("it joins") };
        machine.unanswered();
        machine.leave();
        let Step::Send(leave) = machine.poll(now) else { panic!("it leaves") };
        vec![join, leave]
    }

    #[test]
    fn every_request_is_written_in_every_version() {
        let of = |options: MemberOptions| [Classic::requests(options.clone()), consumer_requests(options)].concat();
        let requests = of(options());
        assert_eq!(requests.len(), 6);
        for request in requests {
            for version in versions(&request) {
                let fitted = request.clone().for_version(version).unwrap();
                encode(&fitted, version).unwrap_or_else(|error| panic!("{request:?} in version {version}: {error}"));
            }
        }
        let mut refused = 0;
        for request in of(MemberOptions { instance_id: Some("i".to_owned()), ..options() }) {
            for version in versions(&request) {
                match request.clone().for_version(version) {
                    Ok(fitted) => encode(&fitted, version).unwrap(),
                    Err(NoStaticMembership) => refused += 1,
                }
            }
        }
        assert_eq!(refused, 3 + 2 + 2, "of joins, syncs and heartbeats the versions before KIP-345");
    }
}
