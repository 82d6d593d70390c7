//! `ConsumerGroupDescribe` (KIP-848): a group whose members speak the consumer protocol. It knows no others, so that
//! `DescribeGroups` is asked as well.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::ConsumerGroupDescribeRequest;
use kafka_protocol::protocol::Request;
use kafka_records::schema::Field::{self, Fixed, Since, Struct, Structs, Text, Values};

use super::describe_groups::{DOING, GroupDescription, Member, count, host};
use crate::response_schema::{ERROR, INTS, THROTTLE, UUID};
use crate::versions::Api;
use crate::{Coordinator, Error};

/// The API, as it is spoken here.
pub(crate) const API: Api = Api::of::<ConsumerGroupDescribeRequest>(0, 1, RESPONSE);

const RESPONSE: &[Field] = &[
    THROTTLE,
    Structs(&[
        ERROR,
        Text,
        Text,
        Text,
        Fixed(4 + 4),
        Text,
        Structs(&[
            Text,
            Text,
            Text,
            Fixed(4),
            Text,
            Text,
            Values(&Text),
            Text,
            ASSIGNMENT,
            ASSIGNMENT, // the target
            Since(1, &Fixed(1)),
        ]),
        Fixed(4),
    ]),
];

const ASSIGNMENT: Field = Struct(&[Structs(&[UUID, Text, INTS])]);

impl Coordinator {
    /// Describes the group, whichever protocol its members speak; `None` where there is no such group.
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
}
