//! Who the members of a group are: `ConsumerGroupDescribe` (KIP-848) and `DescribeGroups` (classic).
//!
//! Each knows the groups of its own protocol only, so that both are asked.

use bytes::{Buf, Bytes};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerProtocolAssignment, DescribeGroupsRequest, GroupId,
};
use kafka_protocol::protocol::{Decodable, Request, StrBytes};
use serde::Serialize;

use super::Coordinator;
use crate::{Cause, Error};

const DOING: &str = "describe group";

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Its id, which the coordinator gave it.
    pub member_id: String,
    /// What its client calls itself (`client.id`).
    pub client_id: String,
    /// Where it asks from, as the broker sees it.
    pub host: String,
    /// How many partitions it has, where that is known.
    pub partitions: Option<u64>,
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// A group as its coordinator describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    /// Kafka's word for its state, such as `Stable`, `Empty` or `Dead`.
    pub state: String,
    /// How many members it has.
    pub members: usize,
    /// Who they are.
    pub who: Vec<Member>,
}

impl GroupDescription {
    fn new(state: &str, who: Vec<Member>) -> Self {
        Self { state: state.to_owned(), members: who.len(), who }
    }
}

/// A client's host, which brokers write with a slash before it.
fn host(told: &str) -> String {
    told.trim_start_matches('/').to_owned()
}

/// How many partitions a classic member has, where it is a consumer and the group is not being shared anew.
fn assigned(mut assignment: Bytes) -> Option<u64> {
    let version = assignment.try_get_i16().ok()?;
    let decoded = ConsumerProtocolAssignment::decode(&mut assignment, version.clamp(0, 3)).ok()?;
    Some(count(decoded.assigned_partitions.iter().map(|topic| topic.partitions.len()).sum()))
}

impl Coordinator {
    /// The group, whichever protocol its members speak; `None` where there is no such group.
    ///
    /// # Errors
    /// Where the coordinator can't be reached, or refuses.
    pub async fn describe(&self) -> Result<Option<GroupDescription>, Error> {
        match self.describe_consumer().await? {
            None => self.describe_classic().await,
            found => Ok(found),
        }
    }

    /// `None` also where the brokers don't speak KIP-848.
    async fn describe_consumer(&self) -> Result<Option<GroupDescription>, Error> {
        let connection = self.connection().await?;
        if connection.version(ConsumerGroupDescribeRequest::KEY).is_err() {
            return Ok(None);
        }
        let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![self.group_id()]);
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
                    partitions: Some(count(
                        member.assignment.topic_partitions.iter().map(|topic| topic.partitions.len()).sum(),
                    )),
                });
                Ok(Some(GroupDescription::new(&group.group_state, who.collect())))
            }
            // The second: brokers that know KIP-848 and have it switched off.
            Some(ResponseError::GroupIdNotFound | ResponseError::UnsupportedVersion) => Ok(None),
            Some(code) => self.checked(&connection, Err(Error::code(DOING, self.group(), code))).await,
        }
    }

    async fn describe_classic(&self) -> Result<Option<GroupDescription>, Error> {
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

    /// Of a group that is asked for, every broker says something.
    fn not_told(&self) -> Error {
        let cause = Cause::Undecodable("it names another group".to_owned());
        Error { doing: DOING, on: self.group().to_owned(), cause }
    }

    fn group_id(&self) -> GroupId {
        GroupId(StrBytes::from_string(self.group().to_owned()))
    }
}
