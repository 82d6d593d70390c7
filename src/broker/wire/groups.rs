//! Whether a group has members: `ConsumerGroupDescribe` (KIP-848) and `DescribeGroups` (classic).
//!
//! Each knows the groups of its own protocol only, so that both are asked.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{ConsumerGroupDescribeRequest, DescribeGroupsRequest, GroupId};
use kafka_protocol::protocol::{Request, StrBytes};

use super::Coordinator;
use crate::broker::{Cause, Error};

const DOING: &str = "describe group";

/// A group as its coordinator describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    /// Kafka's word for its state, such as `Stable`, `Empty` or `Dead`.
    pub state: String,
    /// How many members it has.
    pub members: usize,
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
            None => Ok(Some(GroupDescription { state: group.group_state.to_string(), members: group.members.len() })),
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
            None => Ok(Some(GroupDescription { state: group.group_state.to_string(), members: group.members.len() })),
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
