//! `DescribeGroups`: a group whose members speak the classic protocol. It knows no others.

use bytes::{Buf, Bytes};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{ConsumerProtocolAssignment, DescribeGroupsRequest, GroupId};
use kafka_protocol::protocol::{Decodable, StrBytes};
use kafka_records::schema::Field::{self, Blob, Fixed, Since, Structs, Text};
use serde::Serialize;

use crate::response_schema::{ERROR, THROTTLE};
use crate::versions::Api;
use crate::{Cause, Coordinator, Error};

/// The API, as it is spoken here.
pub(crate) const API: Api = Api::of::<DescribeGroupsRequest>(0, 5, RESPONSE);

const RESPONSE: &[Field] = &[
    Since(1, &THROTTLE),
    Structs(&[
        ERROR,
        Text,
        Text,
        Text,
        Text,
        Structs(&[Text, Since(4, &Text), Text, Text, Blob, Blob]),
        Since(3, &Fixed(4)),
    ]),
];

pub(super) const DOING: &str = "describe group";

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Its id, which the coordinator gave it.
    pub member_id: String,
    /// The name of its client (`client.id`).
    pub client_id: String,
    /// The host that it asks from, as the broker sees it.
    pub host: String,
    /// The number of partitions that it has, where that is known.
    pub partitions: Option<u64>,
}

pub(super) fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// A group as its coordinator describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    /// Kafka's word for its state, such as `Stable`, `Empty` or `Dead`.
    pub state: String,
    /// The number of its members.
    pub members: usize,
    /// Its members.
    pub who: Vec<Member>,
}

impl GroupDescription {
    pub(super) fn new(state: &str, who: Vec<Member>) -> Self {
        Self { state: state.to_owned(), members: who.len(), who }
    }
}

/// A client's host, which brokers write with a slash before it.
pub(super) fn host(told: &str) -> String {
    told.trim_start_matches('/').to_owned()
}

/// How many partitions a classic member has, where it is a consumer and the group is not being shared anew.
fn assigned(mut assignment: Bytes) -> Option<u64> {
    let version = assignment.try_get_i16().ok()?;
    let decoded = ConsumerProtocolAssignment::decode(&mut assignment, version.clamp(0, 3)).ok()?;
    Some(count(decoded.assigned_partitions.iter().map(|topic| topic.partitions.len()).sum()))
}

impl Coordinator {
    /// Describes a group of the classic protocol; `None` where there is no such group.
    pub(super) async fn describe_classic(&self) -> Result<Option<GroupDescription>, Error> {
        let connection = self.connection().await?;
        let request = DescribeGroupsRequest::default().with_groups(vec![self.group_id()]);
        let answer = connection.request(DOING, &request).await;
        let response = self.checked(&connection, answer).await?;
        let group = response.groups.iter().find(|found| found.group_id == self.group_id());
        let group = group.ok_or_else(|| self.not_told())?;
        match ResponseError::try_from_code(group.error_code) {
            None => {
                let who = group.members.iter().map(|member| Member {
                    member_id: member.member_id.to_string(),
                    client_id: member.client_id.to_string(),
                    host: host(&member.client_host),
                    partitions: assigned(member.member_assignment.clone()),
                });
                Ok(Some(GroupDescription::new(&group.group_state, who.collect())))
            }
            Some(ResponseError::GroupIdNotFound) => Ok(None),
            Some(code) => self.checked(&connection, Err(Error::code(DOING, self.group(), code))).await,
        }
    }

    /// The error of a response that leaves the group out: every broker says something of a group that is asked for.
    pub(super) fn not_told(&self) -> Error {
        let cause = Cause::Undecodable("it names another group".to_owned());
        Error { doing: DOING, on: self.group().to_owned(), cause }
    }

    pub(super) fn group_id(&self) -> GroupId {
        GroupId(StrBytes::from_string(self.group().to_owned()))
    }
}
